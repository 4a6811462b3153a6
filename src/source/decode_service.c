/* Decodes Services and checks each by itself, as the API server checks it on creation. Runs in control, in
 * `portald plan` and in the fuzzers. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode.h"
#include "source/names.h"

/* The API's limits for sessionAffinityConfig.clientIP.timeoutSeconds. */
#define AFFINITY_MAX_SECONDS 86400

/* A Service on its way through the checks. */
struct checked {
	struct scope *scope;
	const struct doc_node *spec;
	struct set_service *service;
	struct model_service *model;
};

/* ---- small parts ---- */

/* spec's field is one of the words (ended by NULL), or missing. Returns its index, or fallback. */
static size_t check_choice(
	struct checked *checked, const char *field, const char *const *words, size_t fallback)
{
	const char *text = doc_get_text(checked->spec, field);

	for (size_t i = 0; text && words[i]; i++) {
		if (strcmp(text, words[i]) == 0)
			return i;
	}
	if (text)
		scope_unsupported(checked->scope, field, doc_get(checked->spec, field), text, words);
	return fallback;
}

static void forbid(struct checked *checked, const char *field, const char *why)
{
	const struct doc_node *node = doc_get(checked->spec, field);
	size_t mark;

	if (!node || (node->kind == DOC_STRING && !*node->text) ||
		(node->kind == DOC_SEQUENCE && node->count == 0))
		return;
	mark = scope_enter(checked->scope, field);
	scope_report(checked->scope, SOURCE_ERROR, node, "Forbidden: %s", why);
	scope_leave(checked->scope, mark);
}

static void check_type(struct checked *checked)
{
	static const char *const types[] = {
		[MODEL_CLUSTER_IP] = "ClusterIP",
		[MODEL_NODE_PORT] = "NodePort",
		[MODEL_LOAD_BALANCER] = "LoadBalancer",
		[MODEL_EXTERNAL_NAME] = "ExternalName",
		NULL,
	};

	checked->model->type =
		(enum model_service_type)check_choice(checked, "type", types, MODEL_CLUSTER_IP);
}

static void check_selector(struct checked *checked)
{
	const struct doc_node *selector = doc_get(checked->spec, "selector");

	decode_labels_check(checked->scope, checked->spec, "selector");
	/* An ExternalName Service's selector has no meaning to the endpoints controller. */
	if (checked->model->type != MODEL_EXTERNAL_NAME)
		checked->service->selector = labels_from(selector);
	checked->service->selector_place =
		selector ? scope_place(checked->scope, selector) : checked->service->object.place;
}

static void check_affinity(struct checked *checked)
{
	static const char *const affinities[] = {"ClientIP", "None", NULL};
	const struct doc_node *client_ip =
		doc_get(doc_get(checked->spec, "sessionAffinityConfig"), "clientIP");
	const struct doc_node *seconds = doc_get(client_ip, "timeoutSeconds");

	/* With None the API server drops the configuration. */
	if (check_choice(checked, "sessionAffinity", affinities, 1) != 0 || !seconds)
		return;
	if (seconds->number < 1 || seconds->number > AFFINITY_MAX_SECONDS)
		scope_invalid(checked->scope, "sessionAffinityConfig.clientIP.timeoutSeconds", seconds,
			seconds->text, "must be greater than 0 and at most 86400");
}

static void check_external_name(struct checked *checked)
{
	const char *name = doc_get_text(checked->spec, "externalName");
	size_t length = name ? strlen(name) : 0;
	char *host;

	if (checked->model->type != MODEL_EXTERNAL_NAME)
		return;
	forbid(checked, "clusterIPs", "may not be set for ExternalName services");
	forbid(checked, "clusterIP", "may not be set for ExternalName services");
	forbid(checked, "ipFamilies", "may not be set for ExternalName services");
	forbid(checked, "ipFamilyPolicy", "may not be set for ExternalName services");
	if (!name) {
		scope_required(checked->scope, "externalName", checked->spec, "");
		return;
	}
	/* One dot at the end says that the name is complete. */
	host = mem_strdup(name);
	if (length > 1 && host[length - 1] == '.')
		host[length - 1] = '\0';
	if (names_dns1123_subdomain(host))
		scope_invalid(checked->scope, "externalName", doc_get(checked->spec, "externalName"), name,
			names_dns1123_subdomain(host));
	free(host);
}

static bool is_external(const struct checked *checked)
{
	return checked->model->type == MODEL_NODE_PORT || checked->model->type == MODEL_LOAD_BALANCER ||
	       (checked->model->type == MODEL_CLUSTER_IP && doc_get_count(checked->spec, "externalIPs") > 0);
}

static void check_health_port(struct checked *checked, bool local)
{
	const struct doc_node *port = doc_get(checked->spec, "healthCheckNodePort");

	if (!port || port->number == 0)
		return;
	if (!local || checked->model->type != MODEL_LOAD_BALANCER)
		scope_invalid(checked->scope, "healthCheckNodePort", port, port->text,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is "
			"'Local'");
	else
		checked->service->health_check_node_port =
			decode_port_number(checked->scope, "healthCheckNodePort", port);
}

static void check_policies(struct checked *checked)
{
	static const char *const policies[] = {"Cluster", "Local", NULL};
	static const char *const distributions[] = {"PreferClose", "PreferSameNode", "PreferSameZone", NULL};
	const char *external = doc_get_text(checked->spec, "externalTrafficPolicy");
	bool local = false;

	if (is_external(checked))
		local = check_choice(checked, "externalTrafficPolicy", policies, 0) == 1;
	else if (external)
		scope_invalid(checked->scope, "externalTrafficPolicy",
			doc_get(checked->spec, "externalTrafficPolicy"), external,
			"may only be set for externally-accessible services");
	check_choice(checked, "internalTrafficPolicy", policies, 0);
	check_choice(checked, "trafficDistribution", distributions, 0);
	check_health_port(checked, local);
}

static void check_external_ips(struct checked *checked)
{
	const struct doc_node *list = doc_get(checked->spec, "externalIPs");
	size_t mark = scope_enter(checked->scope, "externalIPs");

	for (size_t i = 0; i < doc_get_count(checked->spec, "externalIPs"); i++) {
		const struct doc_node *node = list->items[i];
		size_t index_mark = scope_enter_index(checked->scope, i);
		struct addr addr;

		if (decode_endpoint_address(checked->scope, NULL, node, &addr)) {
			if (addr_is_loopback(&addr) || addr_is_link_local(&addr))
				scope_invalid(checked->scope, NULL, node, node->text,
					"may not be a loopback or link-local address");
		}
		scope_leave(checked->scope, index_mark);
	}
	scope_leave(checked->scope, mark);
}

static void check_load_balancer(struct checked *checked)
{
	static const char only[] = "may only be used when `type` is 'LoadBalancer'";
	const struct doc_node *list = doc_get(checked->spec, "loadBalancerSourceRanges");

	checked->service->wants_node_ports =
		checked->model->type == MODEL_NODE_PORT ||
		(checked->model->type == MODEL_LOAD_BALANCER &&
			doc_get_bool(checked->spec, "allocateLoadBalancerNodePorts", true));
	if (checked->model->type != MODEL_LOAD_BALANCER) {
		forbid(checked, "loadBalancerSourceRanges", only);
		forbid(checked, "allocateLoadBalancerNodePorts", only);
		forbid(checked, "loadBalancerClass", only);
		return;
	}
	for (size_t i = 0; i < doc_get_count(checked->spec, "loadBalancerSourceRanges"); i++) {
		const char *slash = strchr(list->items[i]->text, '/');

		/* Host bits and spaces are allowed here, for history's sake: only what is no CIDR at all is
		 * refused. */
		if (!slash)
			scope_invalid(checked->scope, "loadBalancerSourceRanges", list->items[i],
				list->items[i]->text, "must be a valid CIDR value, such as 10.9.8.0/24");
	}
}

/* ---- cluster IPs ---- */

static void check_families(struct checked *checked)
{
	static const char *const families[] = {"IPv4", "IPv6", NULL};
	static const char *const policies[] = {"PreferDualStack", "RequireDualStack", "SingleStack", NULL};
	const struct doc_node *list = doc_get(checked->spec, "ipFamilies");
	struct set_service *service = checked->service;
	size_t mark = scope_enter(checked->scope, "ipFamilies");

	for (size_t i = 0; i < doc_get_count(checked->spec, "ipFamilies"); i++) {
		const char *text = list->items[i]->text;
		enum addr_family family = strcmp(text, "IPv6") == 0 ? ADDR_V6 : ADDR_V4;
		size_t index_mark = scope_enter_index(checked->scope, i);

		if (strcmp(text, "IPv4") != 0 && family == ADDR_V4)
			scope_unsupported(checked->scope, NULL, list->items[i], text, families);
		else if (i >= 2 || (i == 1 && service->family_count == 1 && service->families[0] == family))
			scope_duplicate(checked->scope, NULL, list->items[i], text);
		else
			service->families[service->family_count++] = family;
		scope_leave(checked->scope, index_mark);
	}
	scope_leave(checked->scope, mark);
	check_choice(checked, "ipFamilyPolicy", policies, 0);
}

/* One address of spec.clusterIPs, or spec.clusterIP if there is no list. */
static void check_cluster_ip(struct checked *checked, const char *field, const struct doc_node *node)
{
	struct model_service *model = checked->model;
	size_t index = model->cluster_ip_count;
	struct addr addr;

	if (!decode_endpoint_address(checked->scope, field, node, &addr))
		return;
	if (addr_is_loopback(&addr) || addr_is_link_local(&addr))
		scope_invalid(checked->scope, field, node, node->text,
			"may not be a loopback or link-local address");
	else if (index > 0 && addr_family(&addr) == addr_family(&model->cluster_ips[0]))
		scope_invalid(
			checked->scope, field, node, node->text, "may only hold one address of each family");
	else if (index < checked->service->family_count &&
		 addr_family(&addr) != checked->service->families[index])
		scope_invalid(checked->scope, field, node, node->text,
			"is not of the family that ipFamilies names");
	else
		model->cluster_ips[model->cluster_ip_count++] = addr;
}

static void check_cluster_ip_list(struct checked *checked)
{
	const struct doc_node *list = doc_get(checked->spec, "clusterIPs");
	const char *primary = doc_get_text(checked->spec, "clusterIP");
	size_t count = doc_get_count(checked->spec, "clusterIPs");
	size_t mark = scope_enter(checked->scope, "clusterIPs");

	if (!primary)
		scope_report(checked->scope, SOURCE_ERROR, list,
			"Forbidden: must be empty when `clusterIP` is not specified");
	else if (strcmp(primary, list->items[0]->text) != 0)
		scope_invalid(checked->scope, NULL, list->items[0], list->items[0]->text,
			"the first must be the same as `clusterIP`");
	else if (count > 2)
		scope_report(checked->scope, SOURCE_ERROR, list, "Too many: %zu: must have at most 2 items",
			count);
	else if (count > 1 && checked->model->headless)
		scope_report(checked->scope, SOURCE_ERROR, list, "may hold nothing else beside 'None'");
	for (size_t i = 0; i < count && i < 2 && !checked->model->headless; i++) {
		size_t index_mark = scope_enter_index(checked->scope, i);

		check_cluster_ip(checked, NULL, list->items[i]);
		scope_leave(checked->scope, index_mark);
	}
	scope_leave(checked->scope, mark);
}

static void check_cluster_ips(struct checked *checked)
{
	const char *text = doc_get_text(checked->spec, "clusterIP");
	const struct doc_node *node = decode_at(checked->spec, "clusterIP");

	checked->service->cluster_ip_place = scope_place(checked->scope, node);
	if (checked->model->type == MODEL_EXTERNAL_NAME)
		return;
	checked->model->headless = text && strcmp(text, "None") == 0;
	if (checked->model->headless && checked->model->type != MODEL_CLUSTER_IP)
		scope_invalid(checked->scope, "clusterIP", node, text,
			"may not be set to 'None' for NodePort and LoadBalancer services");
	check_families(checked);
	if (doc_get_count(checked->spec, "clusterIPs") > 0)
		check_cluster_ip_list(checked);
	else if (text && !checked->model->headless)
		check_cluster_ip(checked, "clusterIP", node);
	checked->service->wants_cluster_ip = !text;
}

/* ---- ports ---- */

static void check_port_name(struct checked *checked, const struct doc_node *node, bool needed)
{
	const char *name = doc_get_text(node, "name");

	if (!name) {
		if (needed)
			scope_required(checked->scope, "name", node, "a port of several needs a name");
		return;
	}
	if (names_dns1123_label(name))
		scope_invalid(checked->scope, "name", doc_get(node, "name"), name, names_dns1123_label(name));
	for (size_t i = 0; i < checked->model->port_count; i++) {
		if (strcmp(checked->model->ports[i].name, name) == 0)
			scope_duplicate(checked->scope, "name", doc_get(node, "name"), name);
	}
}

/* targetPort: a number, a name, or missing (also as 0 and ""), which means the same as port. */
static void check_target_port(
	struct checked *checked, const struct doc_node *node, struct target_port *target, uint16_t port)
{
	const struct doc_node *value = doc_get(node, "targetPort");

	target->number = port;
	if (!value || (value->kind == DOC_STRING && !*value->text) ||
		(value->kind == DOC_INT && value->number == 0))
		return;
	if (value->kind == DOC_INT) {
		target->number = decode_port_number(checked->scope, "targetPort", value);
		return;
	}
	if (names_iana_service(value->text))
		scope_invalid(
			checked->scope, "targetPort", value, value->text, names_iana_service(value->text));
	target->name = mem_strdup(value->text);
}

static void check_node_port(struct checked *checked, const struct doc_node *node,
	struct model_service_port *port, const struct source_options *options)
{
	const struct doc_node *value = doc_get(node, "nodePort");

	/* An ExternalName Service gets no nodePort whatever it says. */
	if (!value || value->number == 0 || checked->model->type == MODEL_EXTERNAL_NAME)
		return;
	if (checked->model->type == MODEL_CLUSTER_IP) {
		size_t mark = scope_enter(checked->scope, "nodePort");

		scope_report(checked->scope, SOURCE_ERROR, value,
			"Forbidden: may not be used when `type` is 'ClusterIP'");
		scope_leave(checked->scope, mark);
	} else if (value->number < options->node_port_first || value->number > options->node_port_last) {
		char *why = mem_printf("provided port is not in the valid range. The range of valid ports "
				       "is %u-%u",
			options->node_port_first, options->node_port_last);

		scope_invalid(checked->scope, "nodePort", value, value->text, why);
		free(why);
	} else {
		port->node_port = (uint16_t)value->number;
	}
}

/* No other port of the Service has the same protocol and number. */
static void check_port_conflicts(
	struct checked *checked, const struct doc_node *node, const struct model_service_port *port)
{
	for (const struct model_service_port *other = checked->model->ports; other < port; other++) {
		if (other->proto != port->proto)
			continue;
		if (port->port && other->port == port->port)
			scope_report(checked->scope, SOURCE_ERROR, decode_at(node, "port"),
				"Duplicate value: port %u and protocol %s are those of another port",
				port->port, proto_name(port->proto));
		if (port->node_port && other->node_port == port->node_port)
			scope_duplicate(checked->scope, "nodePort", doc_get(node, "nodePort"),
				doc_get(node, "nodePort")->text);
	}
}

static void check_port(struct checked *checked, const struct doc_node *node, struct target_port *target,
	const struct source_options *options, bool needs_name)
{
	const struct doc_node *number = doc_get(node, "port");
	const char *name = doc_get_text(node, "name"), *app = doc_get_text(node, "appProtocol");
	struct model_service_port *port;

	check_port_name(checked, node, needs_name);
	port = model_service_add_port(checked->model);
	free(port->name);
	port->name = mem_strdup(name ? name : "");
	port->proto = decode_protocol(checked->scope, node);
	if (number)
		port->port = decode_port_number(checked->scope, "port", number);
	else
		scope_required(checked->scope, "port", node, "must be between 1 and 65535, inclusive");
	check_target_port(checked, node, target, port->port);
	check_node_port(checked, node, port, options);
	target->node_port_place = scope_place(checked->scope, decode_at(node, "nodePort"));
	if (app && names_label_key(app))
		scope_invalid(checked->scope, "appProtocol", doc_get(node, "appProtocol"), app,
			names_label_key(app));
	check_port_conflicts(checked, node, port);
}

static void check_ports(struct checked *checked, const struct source_options *options)
{
	const struct doc_node *list = doc_get(checked->spec, "ports");
	size_t count = doc_get_count(checked->spec, "ports"), mark = scope_enter(checked->scope, "ports");

	if (count == 0 && !checked->model->headless && checked->model->type != MODEL_EXTERNAL_NAME)
		scope_required(checked->scope, NULL, checked->spec, "");
	if (count > MODEL_MAX_PORTS) {
		scope_report(checked->scope, SOURCE_ERROR, list, "Too many: %zu: must have at most %d items",
			count, MODEL_MAX_PORTS);
		count = 0;
	}
	checked->service->targets = mem_calloc(count, sizeof(*checked->service->targets));
	for (size_t i = 0; i < count; i++) {
		size_t index_mark = scope_enter_index(checked->scope, i);

		check_port(checked, list->items[i], &checked->service->targets[i], options, count > 1);
		scope_leave(checked->scope, index_mark);
	}
	scope_leave(checked->scope, mark);
}

void decode_service(struct decoder *decoder, struct scope *scope, const struct doc_node *node)
{
	struct set_service *service = mem_calloc(1, sizeof(*service));
	const struct doc_node *spec = doc_get(node, "spec");
	struct checked checked = {.scope = scope, .spec = spec ? spec : node, .service = service};
	size_t mark = scope_enter(scope, "spec");

	service->object.place = scope_place(scope, node);
	service->object.title = mem_strdup(scope->object);
	checked.model = service->model = model_service_new(decode_namespace(node), decode_name(node));
	checked.model->publish_not_ready = doc_get_bool(spec, "publishNotReadyAddresses", false);
	check_type(&checked);
	check_cluster_ips(&checked);
	check_ports(&checked, decoder->options);
	check_selector(&checked);
	check_affinity(&checked);
	check_external_name(&checked);
	check_policies(&checked);
	check_external_ips(&checked);
	check_load_balancer(&checked);
	scope_leave(scope, mark);
	if (scope->error_count == 0)
		set_take_service(decoder->set, service);
	else
		set_service_free(service);
}
