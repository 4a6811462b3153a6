/* Derives a Service's endpoints from Pods, as the endpoints controller does it. Runs in control, in
 * `portald plan` and in the fuzzers. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/set.h"

/* Pods whose named ports have the same numbers share a slice: at most this many different sets of them are
 * looked for, beyond that each Pod begins a slice of its own. */
#define GROUPS_SEARCHED 16

struct derivation {
	const struct set_service *service;
	const struct pods *pods;
	struct model_builder *builder;
	enum addr_family family;
	struct model_slice **slices; /* of this family, the builder's */
	size_t slice_count, slice_capacity;
	size_t used;
};

/* The number that a target has in this Pod; 0 if the Pod has no such port. */
static uint16_t resolve(const struct target_port *target, enum proto proto, const struct set_pod *pod)
{
	if (!target->name)
		return target->number;
	for (size_t i = 0; i < pod->port_count; i++) {
		if (pod->ports[i].proto == proto && strcmp(pod->ports[i].name, target->name) == 0)
			return pod->ports[i].port;
	}
	return 0;
}

/* Ports that the Pod does not have are left out of its slice. */
static struct model_slice *slice_for(struct derivation *derivation, const struct set_pod *pod)
{
	const struct model_service *service = derivation->service->model;
	char *name = mem_printf("%s-pods-%zu%s", service->name, derivation->slice_count,
		derivation->family == ADDR_V6 ? "-ipv6" : "");
	struct model_slice *slice = model_slice_new(service->namespace, service->name, name);

	free(name);
	slice->family = derivation->family;
	for (size_t i = 0; i < service->port_count; i++) {
		const struct model_service_port *port = &service->ports[i];
		uint16_t number = resolve(&derivation->service->targets[i], port->proto, pod);
		struct model_slice_port *slice_port = number ? model_slice_add_port(slice) : NULL;

		if (!slice_port)
			continue;
		free(slice_port->name);
		*slice_port = (struct model_slice_port){
			.name = mem_strdup(port->name), .proto = port->proto, .port = number};
	}
	return slice;
}

static bool same_ports(const struct model_slice *a, const struct model_slice *b)
{
	if (a->port_count != b->port_count)
		return false;
	for (size_t i = 0; i < a->port_count; i++) {
		/* Both follow the Service's order. */
		if (a->ports[i].port != b->ports[i].port || strcmp(a->ports[i].name, b->ports[i].name) != 0)
			return false;
	}
	return true;
}

/* The slice for Pods with this one's ports, made if there is none with room. */
static struct model_slice *find_slice(struct derivation *derivation, const struct set_pod *pod)
{
	struct model_slice *wanted = slice_for(derivation, pod);
	size_t searched = 0;

	for (size_t i = derivation->slice_count; i-- > 0 && searched < GROUPS_SEARCHED; searched++) {
		struct model_slice *slice = derivation->slices[i];

		if (slice->endpoint_count < MODEL_MAX_ENDPOINTS && same_ports(slice, wanted)) {
			model_slice_unref(wanted);
			return slice;
		}
	}
	derivation->slices = mem_grow(derivation->slices, derivation->slice_count,
		&derivation->slice_capacity, sizeof(struct model_slice *));
	derivation->slices[derivation->slice_count++] = wanted;
	model_builder_take_slice(derivation->builder, wanted);
	return wanted;
}

static const struct addr *pod_address(const struct set_pod *pod, enum addr_family family)
{
	for (size_t i = 0; i < pod->ip_count; i++) {
		if (addr_family(&pod->ips[i]) == family)
			return &pod->ips[i];
	}
	return NULL;
}

static int node_place_cmp(const void *name, const void *node)
{
	return strcmp(name, (*(struct set_node *const *)node)->model->name);
}

static const char *zone_of(const struct pods *pods, const char *node_name)
{
	struct set_node *const *found = NULL;

	if (node_name && pods->node_count > 0)
		found = bsearch(
			node_name, pods->nodes, pods->node_count, sizeof(struct set_node *), node_place_cmp);
	return found ? (*found)->model->zone : NULL;
}

/* As the EndpointSlice controller sets them for trafficDistribution: each endpoint is for its own zone, or
 * its own node and, for proxies that know no node hints, its zone. */
static void add_hints(struct model_endpoint *endpoint, enum model_distribution distribution)
{
	if (distribution != MODEL_DISTRIBUTE_ALL && endpoint->zone)
		model_endpoint_add_zone_hint(endpoint, endpoint->zone);
	if (distribution == MODEL_PREFER_SAME_NODE && endpoint->node_name)
		model_endpoint_add_node_hint(endpoint, endpoint->node_name);
}

static void add_pod(struct derivation *derivation, const struct set_pod *pod)
{
	const struct addr *addr = pod_address(pod, derivation->family);
	struct model_endpoint *endpoint;
	struct model_slice *slice;

	if (!addr)
		return;
	slice = find_slice(derivation, pod);
	endpoint = model_slice_add_endpoint(slice);
	endpoint->addr = *addr;
	endpoint->serving = pod->ready;
	endpoint->terminating = pod->terminating;
	endpoint->ready = derivation->service->model->publish_not_ready || (pod->ready && !pod->terminating);
	endpoint->target = mem_printf("Pod %s/%s", pod->namespace, pod->name);
	endpoint->node_name = mem_strdup(pod->node_name);
	endpoint->zone = mem_strdup(zone_of(derivation->pods, pod->node_name));
	endpoint->weight = pod->weight;
	add_hints(endpoint, derivation->service->model->distribution);
	derivation->used += slice->port_count > 0 || derivation->service->model->port_count == 0;
}

static bool is_matched(const struct set_service *service, const struct set_pod *pod)
{
	return labels_matching(&service->selector, &pod->labels) == service->selector.count;
}

/* The families that the Service has endpoints of: those of its addresses; as it says if it has none. */
static bool has_family(
	const struct set_service *service, enum addr_family family, const struct source_options *options)
{
	const struct model_service *model = service->model;

	for (size_t i = 0; i < model->cluster_ip_count; i++) {
		if (addr_family(&model->cluster_ips[i]) == family)
			return true;
	}
	for (size_t i = 0; i < service->family_count && model->cluster_ip_count == 0; i++) {
		if (service->families[i] == family)
			return true;
	}
	return service->family_count == 0 && model->cluster_ip_count == 0 &&
	       addr_family(&options->service_cluster_ip_range.addr) == family;
}

struct pods_outcome pods_derive(const struct set_service *service, const struct pods *pods,
	const struct source_options *options, struct model_builder *builder)
{
	struct derivation v4 = {.service = service, .pods = pods, .builder = builder, .family = ADDR_V4};
	struct derivation v6 = {.service = service, .pods = pods, .builder = builder, .family = ADDR_V6};
	struct pods_outcome outcome = {0};

	for (size_t i = 0; i < pods->count; i++) {
		const struct set_pod *pod = pods->list[i];

		if (!is_matched(service, pod))
			continue;
		outcome.matched++;
		if (pod->ended || pod->ip_count == 0)
			continue;
		outcome.with_address++;
		if (has_family(service, ADDR_V4, options))
			add_pod(&v4, pod);
		if (has_family(service, ADDR_V6, options))
			add_pod(&v6, pod);
	}
	outcome.used = v4.used + v6.used;
	free(v4.slices);
	free(v6.slices);
	return outcome;
}
