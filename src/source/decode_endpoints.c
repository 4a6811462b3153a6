/* Decodes Endpoints and EndpointSlices, both into slices of the model. Runs in control, in `portald plan` and
 * in the fuzzers. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode.h"
#include "source/names.h"

#define LABEL_SERVICE_NAME "kubernetes.io/service-name"
#define LABEL_MANAGED_BY "endpointslice.kubernetes.io/managed-by"
#define LABEL_SKIP_MIRROR "endpointslice.kubernetes.io/skip-mirror"
#define TOPOLOGY_HOSTNAME "kubernetes.io/hostname"
#define TOPOLOGY_ZONE "topology.kubernetes.io/zone"

/* The API's own limit for an EndpointSlice. */
#define SLICE_MAX_ENDPOINTS 1000

static struct set_endpoints *endpoints_new(struct scope *scope, const struct doc_node *node)
{
	struct set_endpoints *endpoints = mem_calloc(1, sizeof(*endpoints));

	endpoints->object.place = scope_place(scope, node);
	endpoints->object.title = mem_strdup(scope->object);
	endpoints->namespace = mem_strdup(decode_namespace(node));
	return endpoints;
}

static void finish(struct decoder *decoder, struct scope *scope, const struct doc_node *node,
	struct set_endpoints *endpoints)
{
	for (size_t i = 0; i < endpoints->slice_count; i++)
		endpoints->slices[i]->trigger_ms = decode_trigger_ms(node);
	if (scope->error_count == 0)
		set_take_endpoints(decoder->set, endpoints);
	else
		set_endpoints_free(endpoints);
}

static void free_ports(struct model_slice_port *ports, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(ports[i].name);
	free(ports);
}

static void copy_ports(struct model_slice *slice, const struct model_slice_port *ports, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct model_slice_port *port = model_slice_add_port(slice);

		free(port->name);
		*port = ports[i];
		port->name = mem_strdup(ports[i].name);
	}
}

/* ---- Endpoints ---- */

/* A subset of an Endpoints object on its way: IPv4 and IPv6 go to slices of their own. */
struct subset {
	struct set_endpoints *endpoints;
	const char *service_name;
	size_t index;
	const struct model_slice_port *ports;
	size_t port_count;
	uint16_t weight; /* of the whole object's endpoints */
	struct model_slice *by_family[2];
};

static struct model_slice *subset_slice(struct subset *subset, enum addr_family family)
{
	struct model_slice **slice = &subset->by_family[family == ADDR_V6];
	char *name;

	if (*slice)
		return *slice;
	/* A slash keeps the name apart from those of EndpointSlices. */
	name = mem_printf(
		"endpoints/%s-%zu%s", subset->service_name, subset->index, family == ADDR_V6 ? "-ipv6" : "");
	*slice = model_slice_new(subset->endpoints->namespace, subset->service_name, name);
	free(name);
	(*slice)->family = family;
	copy_ports(*slice, subset->ports, subset->port_count);
	set_endpoints_add(subset->endpoints, *slice);
	return *slice;
}

static void decode_subset_address(
	struct scope *scope, const struct doc_node *node, struct subset *subset, bool ready)
{
	const struct doc_node *ip = doc_get(node, "ip");
	struct model_endpoint *endpoint;
	struct addr addr;

	if (!ip) {
		scope_required(scope, "ip", node, "");
		return;
	}
	if (!decode_endpoint_address(scope, "ip", ip, &addr))
		return;
	endpoint = model_slice_add_endpoint(subset_slice(subset, addr_family(&addr)));
	if (!endpoint) {
		scope_report(scope, SOURCE_ERROR, node, "Too many: must have at most %d items",
			MODEL_MAX_ENDPOINTS);
		return;
	}
	endpoint->addr = addr;
	endpoint->weight = subset->weight;
	endpoint->ready = ready;
	endpoint->serving = ready;
	endpoint->target = decode_target(node, subset->endpoints->namespace);
	endpoint->node_name = mem_strdup(doc_get_text(node, "nodeName"));
}

static void decode_subset_addresses(struct scope *scope, const struct doc_node *node, struct subset *subset,
	const char *field, bool ready)
{
	const struct doc_node *list = doc_get(node, field);
	size_t mark = scope_enter(scope, field);

	for (size_t i = 0; i < doc_get_count(node, field); i++) {
		size_t index_mark = scope_enter_index(scope, i);

		decode_subset_address(scope, list->items[i], subset, ready);
		scope_leave(scope, index_mark);
	}
	scope_leave(scope, mark);
}

static void decode_subset(struct scope *scope, const struct doc_node *node, struct set_endpoints *endpoints,
	size_t index, uint16_t weight)
{
	size_t count;
	struct model_slice_port *ports = decode_slice_ports(scope, node, false, &count);
	struct subset subset = {
		.endpoints = endpoints,
		.service_name = endpoints->service_name,
		.index = index,
		.ports = ports,
		.port_count = count,
		.weight = weight,
	};

	if (doc_get_count(node, "addresses") == 0 && doc_get_count(node, "notReadyAddresses") == 0)
		scope_required(scope, NULL, node, "needs addresses or notReadyAddresses");
	decode_subset_addresses(scope, node, &subset, "addresses", true);
	decode_subset_addresses(scope, node, &subset, "notReadyAddresses", false);
	free_ports(ports, count);
}

void decode_endpoints(struct decoder *decoder, struct scope *scope, const struct doc_node *node)
{
	struct set_endpoints *endpoints = endpoints_new(scope, node);
	const struct doc_node *subsets = doc_get(node, "subsets");
	const char *skip_mirror = decode_label(node, LABEL_SKIP_MIRROR);
	uint16_t weight;
	size_t mark;

	decode_weight(scope, node, &weight);
	mark = scope_enter(scope, "subsets");
	endpoints->from_endpoints = true;
	endpoints->managed = skip_mirror && strcmp(skip_mirror, "true") == 0;
	endpoints->service_name = mem_strdup(decode_name(node));
	for (size_t i = 0; i < doc_get_count(node, "subsets"); i++) {
		size_t index_mark = scope_enter_index(scope, i);

		decode_subset(scope, subsets->items[i], endpoints, i, weight);
		scope_leave(scope, index_mark);
	}
	scope_leave(scope, mark);
	finish(decoder, scope, node, endpoints);
}

/* ---- EndpointSlice ---- */

static bool check_family(
	struct scope *scope, const struct doc_node *node, const struct addr *addr, enum addr_family family)
{
	if (addr_family(addr) == family)
		return true;
	scope_invalid(scope, NULL, node, node->text,
		family == ADDR_V4 ? "must be a valid IPv4 address, as addressType says"
				  : "must be a valid IPv6 address, as addressType says");
	return false;
}

/* Whatever of an endpoint's addresses is wrong is reported; the first one is the one that is used, as by
 * kube-proxy. Returns false after an error. */
static bool decode_addresses(
	struct scope *scope, const struct doc_node *node, enum addr_family family, struct addr *first)
{
	const struct doc_node *list = doc_get(node, "addresses");
	size_t mark = scope_enter(scope, "addresses"), errors = scope->error_count;

	if (doc_get_count(node, "addresses") == 0)
		scope_required(scope, NULL, node, "must contain at least 1 address");
	for (size_t i = 0; i < doc_get_count(node, "addresses"); i++) {
		size_t index_mark = scope_enter_index(scope, i);
		struct addr addr;

		if (decode_endpoint_address(scope, NULL, list->items[i], &addr) &&
			check_family(scope, list->items[i], &addr, family) && i == 0)
			*first = addr;
		scope_leave(scope, index_mark);
	}
	scope_leave(scope, mark);
	return scope->error_count == errors;
}

static void decode_hints(struct scope *scope, const struct doc_node *hints, const char *field,
	struct model_endpoint *endpoint, bool (*add)(struct model_endpoint *endpoint, const char *name))
{
	const struct doc_node *list = doc_get(hints, field);
	size_t count = doc_get_count(hints, field), mark = scope_enter(scope, field);

	if (count > MODEL_MAX_HINTS)
		scope_report(scope, SOURCE_ERROR, list, "Too many: %zu: must have at most %d items", count,
			MODEL_MAX_HINTS);
	for (size_t i = 0; i < count && i < MODEL_MAX_HINTS; i++) {
		const char *name = doc_get_text(list->items[i], "name");
		size_t index_mark = scope_enter_index(scope, i);

		if (name)
			add(endpoint, name);
		else
			scope_required(scope, "name", list->items[i], "");
		scope_leave(scope, index_mark);
	}
	scope_leave(scope, mark);
}

/* Before nodeName and zone there was topology (v1beta1). */
static void decode_topology(struct scope *scope, const struct doc_node *node, struct model_endpoint *endpoint)
{
	const struct doc_node *topology = doc_get(node, "topology"), *hints = doc_get(node, "hints");
	const char *node_name = doc_get_text(node, "nodeName"), *zone = doc_get_text(node, "zone");
	size_t mark = scope_enter(scope, "hints");

	endpoint->node_name = mem_strdup(node_name ? node_name : doc_get_text(topology, TOPOLOGY_HOSTNAME));
	endpoint->zone = mem_strdup(zone ? zone : doc_get_text(topology, TOPOLOGY_ZONE));
	decode_hints(scope, hints, "forZones", endpoint, model_endpoint_add_zone_hint);
	decode_hints(scope, hints, "forNodes", endpoint, model_endpoint_add_node_hint);
	scope_leave(scope, mark);
}

static void decode_slice_endpoint(
	struct scope *scope, const struct doc_node *node, struct model_slice *slice, uint16_t weight)
{
	const struct doc_node *conditions = doc_get(node, "conditions");
	struct model_endpoint *endpoint;
	struct addr addr;

	if (!decode_addresses(scope, node, slice->family, &addr))
		return;
	endpoint = model_slice_add_endpoint(slice);
	endpoint->addr = addr;
	endpoint->weight = weight;
	/* The API's defaults for conditions that are not given. */
	endpoint->ready = doc_get_bool(conditions, "ready", true);
	endpoint->serving = doc_get_bool(conditions, "serving", endpoint->ready);
	endpoint->terminating = doc_get_bool(conditions, "terminating", false);
	endpoint->target = decode_target(node, slice->namespace);
	decode_topology(scope, node, endpoint);
}

static void decode_slice_endpoints(
	struct scope *scope, const struct doc_node *node, struct model_slice *slice, uint16_t weight)
{
	const struct doc_node *list = doc_get(node, "endpoints");
	size_t count = doc_get_count(node, "endpoints"), mark = scope_enter(scope, "endpoints");

	if (count > SLICE_MAX_ENDPOINTS) {
		scope_report(scope, SOURCE_ERROR, list, "Too many: %zu: must have at most %d items", count,
			SLICE_MAX_ENDPOINTS);
		count = 0;
	}
	for (size_t i = 0; i < count; i++) {
		size_t index_mark = scope_enter_index(scope, i);

		decode_slice_endpoint(scope, list->items[i], slice, weight);
		scope_leave(scope, index_mark);
	}
	scope_leave(scope, mark);
}

static void decode_slice(struct scope *scope, const struct doc_node *node, struct set_endpoints *endpoints,
	enum addr_family family)
{
	const char *service_name = endpoints->service_name ? endpoints->service_name : "";
	struct model_slice *slice = model_slice_new(endpoints->namespace, service_name, decode_name(node));
	size_t count;
	uint16_t weight;
	struct model_slice_port *ports = decode_slice_ports(scope, node, true, &count);

	slice->family = family;
	copy_ports(slice, ports, count);
	free_ports(ports, count);
	set_endpoints_add(endpoints, slice);
	decode_weight(scope, node, &weight);
	decode_slice_endpoints(scope, node, slice, weight);
}

void decode_endpoint_slice(struct decoder *decoder, struct scope *scope, const struct doc_node *node)
{
	static const char *const types[] = {"FQDN", "IPv4", "IPv6", NULL};
	const char *type = doc_get_text(node, "addressType"),
		   *managed_by = decode_label(node, LABEL_MANAGED_BY);
	struct set_endpoints *endpoints = endpoints_new(scope, node);

	endpoints->service_name = mem_strdup(decode_label(node, LABEL_SERVICE_NAME));
	/* endpointslice-controller.k8s.io, endpointslicemirroring-controller.k8s.io */
	endpoints->managed = managed_by && strstr(managed_by, "-controller.k8s.io");
	if (!type)
		scope_required(scope, "addressType", node, "");
	else if (strcmp(type, "FQDN") == 0)
		scope_report(scope, SOURCE_NOTE, doc_get(node, "addressType"),
			"endpoints that are host names are passed over");
	else if (strcmp(type, "IPv4") == 0 || strcmp(type, "IPv6") == 0)
		decode_slice(scope, node, endpoints, type[3] == '4' ? ADDR_V4 : ADDR_V6);
	else
		scope_unsupported(scope, "addressType", doc_get(node, "addressType"), type, types);
	finish(decoder, scope, node, endpoints);
}
