/* Decodes Services and checks each by itself, as the API server checks it on creation. Runs in control, in
 * `portald plan` and in the fuzzers. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode_service.h"
#include "source/names.h"

#define LABEL_PROXY_NAME "service.kubernetes.io/service-proxy-name"
#define LABEL_HEADLESS "service.kubernetes.io/headless"

/* ---- small parts ---- */

size_t decode_choice(struct checked *checked, const char *field, const char *const *words, size_t fallback)
{
	const char *text = doc_get_text(checked->spec, field);

	for (size_t i = 0; text && words[i]; i++) {
		if (strcmp(text, words[i]) == 0)
			return i;
	}
	/* A value that an API server has let pass and nobody knows here is newer. */
	if (text && !checked->scope->stored)
		scope_unsupported(checked->scope, field, doc_get(checked->spec, field), text, words);
	return fallback;
}

void decode_forbid(struct checked *checked, const char *field, const char *why)
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
		(enum model_service_type)decode_choice(checked, "type", types, MODEL_CLUSTER_IP);
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
	if (decode_choice(checked, "sessionAffinity", affinities, 1) != 0)
		return;
	checked->model->options.affinity_timeout_s = SERVICE_AFFINITY_DEFAULT_S;
	if (!seconds)
		return;
	if (seconds->number < 1 || seconds->number > SERVICE_AFFINITY_MAX_S)
		scope_invalid(checked->scope, "sessionAffinityConfig.clientIP.timeoutSeconds", seconds,
			seconds->text, "must be greater than 0 and at most 86400");
	else
		checked->model->options.affinity_timeout_s = (uint32_t)seconds->number;
}

/* By these labels kube-proxy passes a Service over, whatever their values. */
static void check_scope(struct checked *checked)
{
	const struct doc_node *labels = doc_get(doc_get(checked->node, "metadata"), "labels");
	const struct doc_node *proxy_name = doc_get(labels, LABEL_PROXY_NAME);

	if (proxy_name)
		checked->model->out_of_scope = mem_printf(
			"label " LABEL_PROXY_NAME "=%s: another proxy serves it", proxy_name->text);
	else if (doc_get(labels, LABEL_HEADLESS))
		checked->model->out_of_scope =
			mem_strdup("label " LABEL_HEADLESS ": clients find its endpoints through DNS");
}

static void check_external_name(struct checked *checked)
{
	const char *name = doc_get_text(checked->spec, "externalName");
	size_t length = name ? strlen(name) : 0;
	char *host;

	if (checked->model->type != MODEL_EXTERNAL_NAME)
		return;
	decode_forbid(checked, "clusterIPs", "may not be set for ExternalName services");
	decode_forbid(checked, "clusterIP", "may not be set for ExternalName services");
	decode_forbid(checked, "ipFamilies", "may not be set for ExternalName services");
	decode_forbid(checked, "ipFamilyPolicy", "may not be set for ExternalName services");
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

uint16_t decode_node_port(struct checked *checked, const char *field, const struct doc_node *value)
{
	const struct source_options *options = checked->options;
	char *why;

	if (value->number >= options->node_port_first && value->number <= options->node_port_last)
		return (uint16_t)value->number;
	why = mem_printf("provided port is not in the valid range. The range of valid ports is %u-%u",
		options->node_port_first, options->node_port_last);
	scope_invalid(checked->scope, field, value, value->text, why);
	free(why);
	return 0;
}

static void check_node_port(
	struct checked *checked, const struct doc_node *node, struct model_service_port *port)
{
	const struct doc_node *value = doc_get(node, "nodePort");
	size_t mark;

	/* An ExternalName Service gets no nodePort whatever it says. */
	if (!value || value->number == 0 || checked->model->type == MODEL_EXTERNAL_NAME)
		return;
	if (checked->model->type != MODEL_CLUSTER_IP) {
		port->node_port = decode_node_port(checked, "nodePort", value);
		return;
	}
	mark = scope_enter(checked->scope, "nodePort");
	scope_report(
		checked->scope, SOURCE_ERROR, value, "Forbidden: may not be used when `type` is 'ClusterIP'");
	scope_leave(checked->scope, mark);
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

static void check_port(
	struct checked *checked, const struct doc_node *node, struct target_port *target, bool needs_name)
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
	check_node_port(checked, node, port);
	target->node_port_place = scope_place(checked->scope, decode_at(node, "nodePort"));
	if (app && names_label_key(app))
		scope_invalid(checked->scope, "appProtocol", doc_get(node, "appProtocol"), app,
			names_label_key(app));
	check_port_conflicts(checked, node, port);
}

static void check_ports(struct checked *checked)
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

		check_port(checked, list->items[i], &checked->service->targets[i], count > 1);
		scope_leave(checked->scope, index_mark);
	}
	scope_leave(checked->scope, mark);
}

void decode_service(struct decoder *decoder, struct scope *scope, const struct doc_node *node)
{
	struct set_service *service = mem_calloc(1, sizeof(*service));
	const struct doc_node *spec = doc_get(node, "spec");
	struct checked checked = {
		.scope = scope,
		.node = node,
		.spec = spec ? spec : node,
		.service = service,
		.options = decoder->options,
	};
	size_t mark;

	service->object.place = scope_place(scope, node);
	service->object.title = mem_strdup(scope->object);
	checked.model = service->model = model_service_new(decode_namespace(node), decode_name(node));
	checked.model->publish_not_ready = doc_get_bool(spec, "publishNotReadyAddresses", false);
	decode_service_annotations(scope, node, &checked.model->options);
	mark = scope_enter(scope, "spec");
	check_scope(&checked);
	check_type(&checked);
	decode_cluster_ips(&checked);
	check_ports(&checked);
	check_selector(&checked);
	check_affinity(&checked);
	check_external_name(&checked);
	decode_external(&checked);
	scope_leave(scope, mark);
	if (scope->error_count == 0)
		set_take_service(decoder->set, service);
	else
		set_service_free(service);
}
