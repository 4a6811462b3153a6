/* Decodes the part of a Pod that makes an endpoint of it. Runs in control, in `portald plan` and in the
 * fuzzers. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode.h"

static void add_ports(struct set_pod *pod, struct scope *scope, const struct doc_node *container)
{
	const struct doc_node *list = doc_get(container, "ports");
	size_t mark = scope_enter(scope, "ports");

	for (size_t i = 0; i < doc_get_count(container, "ports"); i++) {
		const struct doc_node *number = doc_get(list->items[i], "containerPort");
		const char *name = doc_get_text(list->items[i], "name");
		size_t index_mark = scope_enter_index(scope, i);
		struct pod_port port = {.proto = decode_protocol(scope, list->items[i])};

		if (number)
			port.port = decode_port_number(scope, "containerPort", number);
		else
			scope_required(scope, "containerPort", list->items[i], "");
		/* Only a name is ever looked up. */
		if (name && port.port) {
			port.name = mem_strdup(name);
			pod->ports = mem_grow(pod->ports, pod->port_count, &pod->port_capacity, sizeof(port));
			pod->ports[pod->port_count++] = port;
		}
		scope_leave(scope, index_mark);
	}
	scope_leave(scope, mark);
}

/* Init containers count only if they go on running beside the others. */
static void decode_containers(
	struct set_pod *pod, struct scope *scope, const struct doc_node *spec, const char *field, bool init)
{
	const struct doc_node *list = doc_get(spec, field);
	size_t mark = scope_enter(scope, field);

	for (size_t i = 0; i < doc_get_count(spec, field); i++) {
		const char *policy = doc_get_text(list->items[i], "restartPolicy");
		size_t index_mark = scope_enter_index(scope, i);

		if (!init || (policy && strcmp(policy, "Always") == 0))
			add_ports(pod, scope, list->items[i]);
		scope_leave(scope, index_mark);
	}
	scope_leave(scope, mark);
}

static void add_ip(struct set_pod *pod, struct scope *scope, const char *field, const struct doc_node *node)
{
	struct addr addr;

	if (!node || !*node->text || !decode_endpoint_address(scope, field, node, &addr))
		return;
	for (size_t i = 0; i < pod->ip_count; i++) {
		/* At most one of each family. */
		if (addr_family(&pod->ips[i]) == addr_family(&addr))
			return;
	}
	pod->ips[pod->ip_count++] = addr;
}

static void decode_ips(struct set_pod *pod, struct scope *scope, const struct doc_node *status)
{
	const struct doc_node *list = doc_get(status, "podIPs");
	size_t mark;

	add_ip(pod, scope, "podIP", doc_get(status, "podIP"));
	mark = scope_enter(scope, "podIPs");
	for (size_t i = 0; i < doc_get_count(status, "podIPs"); i++) {
		size_t index_mark = scope_enter_index(scope, i);

		add_ip(pod, scope, "ip", doc_get(list->items[i], "ip"));
		scope_leave(scope, index_mark);
	}
	scope_leave(scope, mark);
}

static bool is_ready(const struct doc_node *status)
{
	const struct doc_node *list = doc_get(status, "conditions");

	for (size_t i = 0; i < doc_get_count(status, "conditions"); i++) {
		const char *type = doc_get_text(list->items[i], "type");
		const char *state = doc_get_text(list->items[i], "status");

		if (type && state && strcmp(type, "Ready") == 0)
			return strcmp(state, "True") == 0;
	}
	return false;
}

void decode_pod(struct decoder *decoder, struct scope *scope, const struct doc_node *node)
{
	const struct doc_node *meta = doc_get(node, "metadata"), *spec = doc_get(node, "spec");
	const struct doc_node *status = doc_get(node, "status");
	const char *phase = doc_get_text(status, "phase");
	struct set_pod *pod = mem_calloc(1, sizeof(*pod));
	size_t mark;

	pod->object.place = scope_place(scope, node);
	pod->object.title = mem_strdup(scope->object);
	pod->namespace = mem_strdup(decode_namespace(node));
	pod->name = mem_strdup(decode_name(node));
	pod->node_name = mem_strdup(doc_get_text(spec, "nodeName"));
	pod->labels = labels_from(doc_get(meta, "labels"));
	pod->has_weight = decode_weight(scope, node, &pod->weight);
	pod->ready = is_ready(status);
	pod->terminating = doc_get(meta, "deletionTimestamp") != NULL;
	pod->ended = phase && (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0);
	mark = scope_enter(scope, "spec");
	decode_containers(pod, scope, spec, "containers", false);
	decode_containers(pod, scope, spec, "initContainers", true);
	scope_leave(scope, mark);
	mark = scope_enter(scope, "status");
	decode_ips(pod, scope, status);
	scope_leave(scope, mark);
	if (scope->error_count == 0)
		set_take_pod(decoder->set, pod);
	else
		set_pod_free(pod);
}
