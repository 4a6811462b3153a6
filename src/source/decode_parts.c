/* Decodes what several kinds of objects have in common. Runs in control, in `portald plan` and in the
 * fuzzers. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode.h"
#include "source/names.h"

static const char port_range[] = "must be between 1 and 65535, inclusive";

void decode_labels_check(struct scope *scope, const struct doc_node *parent, const char *field)
{
	const struct doc_node *map = doc_get(parent, field);
	size_t mark = scope_enter(scope, field);

	for (size_t i = 0; map && map->kind == DOC_MAP && i < map->count; i++) {
		const struct doc_pair *pair = &map->pairs[i];
		size_t key_mark;

		if (names_label_key(pair->key))
			scope_invalid(scope, NULL, pair->value, pair->key, names_label_key(pair->key));
		key_mark = scope_enter_key(scope, pair->key);
		if (pair->value->kind == DOC_STRING && names_label_value(pair->value->text))
			scope_invalid(scope, NULL, pair->value, pair->value->text,
				names_label_value(pair->value->text));
		scope_leave(scope, key_mark);
	}
	scope_leave(scope, mark);
}

enum proto decode_protocol(struct scope *scope, const struct doc_node *parent)
{
	static const char *const protocols[] = {"SCTP", "TCP", "UDP", NULL};
	const char *text = doc_get_text(parent, "protocol");
	enum proto proto = PROTO_TCP;

	if (text && proto_parse(&proto, text) < 0)
		scope_unsupported(scope, "protocol", doc_get(parent, "protocol"), text, protocols);
	return proto;
}

uint16_t decode_port_number(struct scope *scope, const char *field, const struct doc_node *node)
{
	if (node->kind == DOC_INT && node->number >= 1 && node->number <= UINT16_MAX)
		return (uint16_t)node->number;
	scope_invalid(scope, field, node, node->text, port_range);
	return 0;
}

bool decode_endpoint_address(
	struct scope *scope, const char *field, const struct doc_node *node, struct addr *out)
{
	const char *why = NULL;

	if (addr_parse(out, node->text) < 0)
		why = "must be a valid IP address, such as 10.9.8.7 or 2001:db8::ffff";
	else if (addr_is_any(out))
		why = "may not be unspecified";
	else if (addr_is_multicast(out))
		why = "may not be a multicast address";
	if (why)
		scope_invalid(scope, field, node, node->text, why);
	return !why;
}

static void decode_slice_port(struct scope *scope, const struct doc_node *node, bool needs_name,
	bool none_is_all, struct model_slice_port *port)
{
	const struct doc_node *number = doc_get(node, "port");
	const char *name = doc_get_text(node, "name");

	port->name = mem_strdup(name ? name : "");
	port->proto = decode_protocol(scope, node);
	if (needs_name && !name)
		scope_required(scope, "name", node, "a port of several needs a name");
	if (name && names_dns1123_label(name))
		scope_invalid(scope, "name", doc_get(node, "name"), name, names_dns1123_label(name));
	if (number)
		port->port = decode_port_number(scope, "port", number);
	else if (!none_is_all)
		scope_required(scope, "port", node, "");
}

struct model_slice_port *decode_slice_ports(
	struct scope *scope, const struct doc_node *parent, bool none_is_all, size_t *count)
{
	const struct doc_node *list = doc_get(parent, "ports");
	struct model_slice_port *ports = mem_calloc(doc_get_count(parent, "ports"), sizeof(*ports));
	size_t mark = scope_enter(scope, "ports");

	*count = doc_get_count(parent, "ports");
	if (*count > MODEL_MAX_PORTS) {
		scope_report(scope, SOURCE_ERROR, list, "Too many: %zu: must have at most %d items", *count,
			MODEL_MAX_PORTS);
		*count = 0;
	}
	for (size_t i = 0; i < *count; i++) {
		size_t index_mark = scope_enter_index(scope, i);

		/* EndpointSlices may have one unnamed port among others. */
		decode_slice_port(scope, list->items[i], *count > 1 && !none_is_all, none_is_all, &ports[i]);
		for (size_t j = 0; j < i; j++) {
			if (strcmp(ports[j].name, ports[i].name) == 0 && none_is_all)
				scope_duplicate(scope, "name", list->items[i], ports[i].name);
		}
		scope_leave(scope, index_mark);
	}
	scope_leave(scope, mark);
	return ports;
}

char *decode_target(const struct doc_node *parent, const char *namespace)
{
	const struct doc_node *reference = doc_get(parent, "targetRef");
	const char *kind = doc_get_text(reference, "kind"), *name = doc_get_text(reference, "name");
	const char *own = doc_get_text(reference, "namespace");

	if (!name)
		return NULL;
	return mem_printf("%s %s/%s", kind ? kind : "Pod", own ? own : namespace, name);
}
