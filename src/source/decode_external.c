/* Decodes how a Service is reached from outside, by whom, and whose endpoints serve that. Runs in control, in
 * `portald plan` and in the fuzzers. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode_service.h"

#define ANNOTATION_SOURCE_RANGES "service.beta.kubernetes.io/load-balancer-source-ranges"

static const char balancer_only[] = "may only be used when `type` is 'LoadBalancer'";

/* ---- policies ---- */

static bool is_external(const struct checked *checked)
{
	return checked->model->type == MODEL_NODE_PORT || checked->model->type == MODEL_LOAD_BALANCER ||
	       (checked->model->type == MODEL_CLUSTER_IP && doc_get_count(checked->spec, "externalIPs") > 0);
}

static void check_health_port(struct checked *checked)
{
	const struct doc_node *port = doc_get(checked->spec, "healthCheckNodePort");
	bool fits = checked->model->type == MODEL_LOAD_BALANCER && checked->model->external_local;

	checked->service->wants_health_check_port = fits;
	if (!port || port->number == 0)
		return;
	if (!fits)
		scope_invalid(checked->scope, "healthCheckNodePort", port, port->text,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is "
			"'Local'");
	else
		checked->model->health_check_node_port =
			decode_node_port(checked, "healthCheckNodePort", port);
}

static void check_distribution(struct checked *checked)
{
	static const char *const names[] = {"PreferClose", "PreferSameNode", "PreferSameZone", NULL};
	static const enum model_distribution meanings[] = {
		MODEL_PREFER_SAME_ZONE, MODEL_PREFER_SAME_NODE, MODEL_PREFER_SAME_ZONE, MODEL_DISTRIBUTE_ALL};

	checked->model->distribution = meanings[decode_choice(checked, "trafficDistribution", names, 3)];
}

static void check_policies(struct checked *checked)
{
	static const char *const policies[] = {"Cluster", "Local", NULL};
	const char *external = doc_get_text(checked->spec, "externalTrafficPolicy");

	if (is_external(checked))
		checked->model->external_local =
			decode_choice(checked, "externalTrafficPolicy", policies, 0) == 1;
	else if (external)
		scope_invalid(checked->scope, "externalTrafficPolicy",
			doc_get(checked->spec, "externalTrafficPolicy"), external,
			"may only be set for externally-accessible services");
	checked->model->internal_local = decode_choice(checked, "internalTrafficPolicy", policies, 0) == 1;
	check_distribution(checked);
	check_health_port(checked);
}

static void check_external_ip(struct checked *checked, const struct doc_node *node)
{
	struct addr addr, *added;

	if (!decode_endpoint_address(checked->scope, NULL, node, &addr))
		return;
	if (addr_is_loopback(&addr) || addr_is_link_local(&addr)) {
		scope_invalid(checked->scope, NULL, node, node->text,
			"may not be a loopback or link-local address");
		return;
	}
	added = model_service_add_external_ip(checked->model);
	if (added)
		*added = addr;
	else
		scope_report(checked->scope, SOURCE_ERROR, node, "Too many: must have at most %d items",
			MODEL_MAX_EXTERNAL_IPS);
}

static void check_external_ips(struct checked *checked)
{
	const struct doc_node *list = doc_get(checked->spec, "externalIPs");
	size_t mark = scope_enter(checked->scope, "externalIPs");

	for (size_t i = 0; i < doc_get_count(checked->spec, "externalIPs"); i++) {
		size_t index_mark = scope_enter_index(checked->scope, i);

		check_external_ip(checked, list->items[i]);
		scope_leave(checked->scope, index_mark);
	}
	scope_leave(checked->scope, mark);
}

/* ---- source ranges ---- */

static const char range_rule[] = "must be a valid CIDR value, such as 10.9.8.0/24 or 2001:db8::/64";

/* Host bits and spaces around are allowed here, for history's sake. */
static bool parse_range(const char *text, size_t length, struct addr_prefix *range)
{
	unsigned offset, bits = 0;
	char *copy, *slash;
	bool ok;

	while (length > 0 && strchr(" \t\r\n", text[0])) {
		text++;
		length--;
	}
	while (length > 0 && strchr(" \t\r\n", text[length - 1]))
		length--;
	copy = mem_printf("%.*s", (int)length, text);
	slash = strchr(copy, '/');
	if (slash)
		*slash = '\0';
	ok = slash && strlen(slash + 1) >= 1 && strlen(slash + 1) <= 3 &&
	     strspn(slash + 1, "0123456789") == strlen(slash + 1) && addr_parse(&range->addr, copy) == 0;
	if (ok)
		bits = (unsigned)strtoul(slash + 1, NULL, 10);
	free(copy);
	offset = ok && addr_family(&range->addr) == ADDR_V4 ? 96 : 0;
	if (!ok || bits > 128 - offset)
		return false;
	for (unsigned bit = offset + bits; bit < 128; bit++)
		range->addr.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	range->bits = (uint8_t)bits;
	return true;
}

static void add_range(struct checked *checked, const struct doc_node *node, const char *text, size_t length)
{
	struct addr_prefix range, *added;
	char *value;

	if (!parse_range(text, length, &range)) {
		value = mem_printf("%.*s", (int)length, text);
		scope_invalid(checked->scope, NULL, node, value, range_rule);
		free(value);
		return;
	}
	added = model_service_add_source_range(checked->model);
	if (added)
		*added = range;
	else
		scope_report(checked->scope, SOURCE_ERROR, node, "Too many: must have at most %d items",
			MODEL_MAX_SOURCE_RANGES);
}

/* The field's predecessor: a list with commas. It counts only if the field is empty. */
static void check_range_annotation(struct checked *checked)
{
	const struct doc_node *node =
		doc_get(doc_get(doc_get(checked->node, "metadata"), "annotations"), ANNOTATION_SOURCE_RANGES);
	const char *text = node ? node->text : "";

	if (checked->model->type != MODEL_LOAD_BALANCER) {
		if (node)
			scope_report(checked->scope, SOURCE_ERROR, node, "Forbidden: %s", balancer_only);
		return;
	}
	while (text[strspn(text, " \t\r\n")]) {
		size_t length = strcspn(text, ",");

		add_range(checked, node, text, length);
		text += length + (text[length] == ',');
	}
}

static void check_source_ranges(struct checked *checked)
{
	const struct doc_node *list = doc_get(checked->spec, "loadBalancerSourceRanges");
	size_t count = doc_get_count(checked->spec, "loadBalancerSourceRanges");
	size_t mark = scope_enter(checked->scope, "loadBalancerSourceRanges");

	for (size_t i = 0; i < count; i++) {
		size_t index_mark = scope_enter_index(checked->scope, i);

		add_range(checked, list->items[i], list->items[i]->text, strlen(list->items[i]->text));
		scope_leave(checked->scope, index_mark);
	}
	scope_leave(checked->scope, mark);
	if (count > 0)
		return;
	scope_leave(checked->scope, 0);
	scope_enter(checked->scope, "metadata.annotations");
	scope_enter_key(checked->scope, ANNOTATION_SOURCE_RANGES);
	check_range_annotation(checked);
	scope_leave(checked->scope, 0);
	scope_enter(checked->scope, "spec");
}

/* ---- the load balancer's own addresses ---- */

static bool is_unreachable(const struct addr *addr)
{
	return addr_is_any(addr) || addr_is_loopback(addr) || addr_is_multicast(addr) ||
	       addr_is_link_local(addr);
}

/* With ipMode Proxy, traffic must pass the balancer even from inside. */
static void check_ingress(struct checked *checked, const struct doc_node *node)
{
	static const char *const modes[] = {"Proxy", "VIP", NULL};
	const char *text = doc_get_text(node, "ip"), *mode = doc_get_text(node, "ipMode");
	struct addr addr, *added;

	if (mode && strcmp(mode, modes[0]) != 0 && strcmp(mode, modes[1]) != 0)
		scope_unsupported(checked->scope, "ipMode", doc_get(node, "ipMode"), mode, modes);
	if (!text || (mode && strcmp(mode, modes[0]) == 0))
		return;
	if (addr_parse(&addr, text) < 0) {
		scope_invalid(checked->scope, "ip", doc_get(node, "ip"), text,
			"must be a valid IP address, such as 10.9.8.7 or 2001:db8::ffff");
	} else if (is_unreachable(&addr)) {
		scope_report(checked->scope, SOURCE_NOTE, doc_get(node, "ip"),
			"is passed over: no traffic can be steered from a loopback, link-local, multicast or "
			"unspecified address");
	} else {
		added = model_service_add_load_balancer_ip(checked->model);
		if (added)
			*added = addr;
		else
			scope_report(checked->scope, SOURCE_ERROR, node,
				"Too many: must have at most %d items", MODEL_MAX_LOAD_BALANCER_IPS);
	}
}

/* A Service that is no LoadBalancer any more has none, whatever its status still says. */
static void check_status(struct checked *checked)
{
	const struct doc_node *balancer = doc_get(doc_get(checked->node, "status"), "loadBalancer");
	const struct doc_node *list = doc_get(balancer, "ingress");

	if (checked->model->type != MODEL_LOAD_BALANCER)
		return;
	scope_leave(checked->scope, 0);
	scope_enter(checked->scope, "status.loadBalancer.ingress");
	for (size_t i = 0; i < doc_get_count(balancer, "ingress"); i++) {
		size_t mark = scope_enter_index(checked->scope, i);

		check_ingress(checked, list->items[i]);
		scope_leave(checked->scope, mark);
	}
	scope_leave(checked->scope, 0);
	scope_enter(checked->scope, "spec");
}

static void check_load_balancer(struct checked *checked)
{
	checked->service->wants_node_ports =
		checked->model->type == MODEL_NODE_PORT ||
		(checked->model->type == MODEL_LOAD_BALANCER &&
			doc_get_bool(checked->spec, "allocateLoadBalancerNodePorts", true));
	if (checked->model->type != MODEL_LOAD_BALANCER) {
		decode_forbid(checked, "loadBalancerSourceRanges", balancer_only);
		decode_forbid(checked, "allocateLoadBalancerNodePorts", balancer_only);
		decode_forbid(checked, "loadBalancerClass", balancer_only);
	}
	if (checked->model->type == MODEL_LOAD_BALANCER ||
		doc_get_count(checked->spec, "loadBalancerSourceRanges") == 0)
		check_source_ranges(checked);
	check_status(checked);
}

void decode_external(struct checked *checked)
{
	check_policies(checked);
	check_external_ips(checked);
	check_load_balancer(checked);
}
