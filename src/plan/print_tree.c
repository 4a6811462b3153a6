/* Owns the plan as JSON and YAML: one walk over the plan, two emitters. Runs in `portald plan`. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>
#include <yaml.h>

#include "plan/print_text.h"

/* Where the tree goes. */
struct emitter {
	void (*map)(void *state, bool open);
	void (*list)(void *state, bool open);
	void (*text)(void *state, const char *text);
	void (*number)(void *state, unsigned number);
	void (*flag)(void *state, bool flag);
	void *state;
	const struct service_options *usual;
};

/* ---- the walk ---- */

static void emit_text(const struct emitter *emitter, const char *name, const char *value)
{
	if (!value)
		return;
	emitter->text(emitter->state, name);
	emitter->text(emitter->state, value);
}

static void emit_number(const struct emitter *emitter, const char *name, unsigned value)
{
	emitter->text(emitter->state, name);
	emitter->number(emitter->state, value);
}

static void emit_at(const struct emitter *emitter, const struct addr_port *at)
{
	char text[ADDR_TEXT_BYTES];

	emit_text(emitter, "address", addr_format(&at->addr, text));
	if (at->port != 0)
		emit_number(emitter, "port", at->port);
}

static void emit_list(const struct emitter *emitter, const char *name, bool open)
{
	if (open)
		emitter->text(emitter->state, name);
	emitter->list(emitter->state, open);
}

static void emit_portals(const struct emitter *emitter, const struct plan_listener *listener)
{
	emit_list(emitter, "portals", true);
	for (size_t i = 0; i < listener->portal_count; i++) {
		const struct plan_portal *portal = &listener->portals[i];

		emitter->map(emitter->state, true);
		emit_text(emitter, "kind", plan_kind_name(portal->kind));
		emit_at(emitter, &portal->at);
		emit_text(emitter, "scope", plan_scope_name(portal->scope));
		if (portal->check_source) {
			emitter->text(emitter->state, "checkSource");
			emitter->flag(emitter->state, true);
		}
		emitter->map(emitter->state, false);
	}
	emit_list(emitter, "portals", false);
}

static void emit_backends(const struct emitter *emitter, const struct plan_listener *listener)
{
	emit_list(emitter, "backends", true);
	for (size_t i = 0; i < listener->backend_count; i++) {
		emitter->map(emitter->state, true);
		emit_at(emitter, &listener->backends[i].at);
		if (listener->backends[i].weight != SERVICE_WEIGHT_DEFAULT)
			emit_number(emitter, "weight", listener->backends[i].weight);
		emit_text(emitter, "target", listener->backends[i].target);
		emitter->map(emitter->state, false);
	}
	emit_list(emitter, "backends", false);
}

static void emit_left_out(const struct emitter *emitter, const struct plan_listener *listener)
{
	emit_list(emitter, "leftOut", true);
	for (size_t i = 0; i < listener->left_out_count; i++) {
		emitter->map(emitter->state, true);
		emit_at(emitter, &listener->left_out[i].at);
		emit_text(emitter, "target", listener->left_out[i].target);
		emit_text(emitter, "reason", listener->left_out[i].reason);
		emitter->map(emitter->state, false);
	}
	emit_list(emitter, "leftOut", false);
}

static void emit_option(void *context, const char *name, const char *text, unsigned number)
{
	const struct emitter *emitter = context;

	if (text)
		emit_text(emitter, name, text);
	else
		emit_number(emitter, name, number);
}

static void emit_options(const struct emitter *emitter, const struct plan_listener *listener)
{
	if (plan_options_each(listener, emitter->usual, NULL, NULL) == 0)
		return;
	emitter->text(emitter->state, "options");
	emitter->map(emitter->state, true);
	plan_options_each(listener, emitter->usual, emit_option, (void *)emitter);
	emitter->map(emitter->state, false);
}

static void emit_source_ranges(const struct emitter *emitter, const struct plan_listener *listener)
{
	char text[ADDR_TEXT_BYTES + 4];

	if (listener->source_range_count == 0)
		return;
	emit_list(emitter, "sourceRanges", true);
	for (size_t i = 0; i < listener->source_range_count; i++)
		emitter->text(emitter->state, plan_prefix_format(&listener->source_ranges[i], text));
	emit_list(emitter, "sourceRanges", false);
}

static void emit_listener(const struct emitter *emitter, const struct plan_listener *listener)
{
	emitter->map(emitter->state, true);
	emit_text(emitter, "id", listener->id);
	emit_text(emitter, "key", listener->key);
	emit_text(emitter, "protocol", proto_name(listener->proto));
	emit_text(emitter, "family", listener->family == ADDR_V4 ? "IPv4" : "IPv6");
	emit_text(emitter, "action", plan_action_name(listener->action));
	emit_options(emitter, listener);
	emit_source_ranges(emitter, listener);
	emit_portals(emitter, listener);
	emit_backends(emitter, listener);
	emit_left_out(emitter, listener);
	emit_text(emitter, "note", listener->note);
	emitter->map(emitter->state, false);
}

static void emit_health_checks(const struct emitter *emitter, const struct plan *plan)
{
	emit_list(emitter, "healthChecks", true);
	for (size_t i = 0; i < plan->health_check_count; i++) {
		const struct plan_health_check *check = &plan->health_checks[i];

		emitter->map(emitter->state, true);
		emit_number(emitter, "port", check->port);
		emit_text(emitter, "namespace", check->namespace);
		emit_text(emitter, "name", check->name);
		emit_number(emitter, "localEndpoints", (unsigned)check->local_endpoints);
		emitter->map(emitter->state, false);
	}
	emit_list(emitter, "healthChecks", false);
}

static void emit_plan(const struct emitter *emitter, const struct plan *plan)
{
	emitter->map(emitter->state, true);
	emit_list(emitter, "listeners", true);
	for (size_t i = 0; i < plan->listener_count; i++)
		emit_listener(emitter, plan->listeners[i]);
	emit_list(emitter, "listeners", false);
	emit_health_checks(emitter, plan);
	emit_list(emitter, "skipped", true);
	for (size_t i = 0; i < plan->skipped_count; i++) {
		emitter->map(emitter->state, true);
		emit_text(emitter, "key", plan->skipped[i].key);
		emit_text(emitter, "reason", plan->skipped[i].reason);
		emitter->map(emitter->state, false);
	}
	emit_list(emitter, "skipped", false);
	emitter->map(emitter->state, false);
}

/* ---- JSON ---- */

static void json_map(void *state, bool open)
{
	if (open)
		yajl_gen_map_open(state);
	else
		yajl_gen_map_close(state);
}

static void json_list(void *state, bool open)
{
	if (open)
		yajl_gen_array_open(state);
	else
		yajl_gen_array_close(state);
}

static void json_text(void *state, const char *text)
{
	yajl_gen_string(state, (const unsigned char *)text, strlen(text));
}

static void json_number(void *state, unsigned number)
{
	yajl_gen_integer(state, number);
}

static void json_flag(void *state, bool flag)
{
	yajl_gen_bool(state, flag);
}

static void json_write(void *out, const char *bytes, size_t count)
{
	fwrite(bytes, 1, count, out);
}

static int print_json(const struct plan *plan, FILE *out)
{
	yajl_gen gen = yajl_gen_alloc(NULL);
	struct emitter emitter = {json_map, json_list, json_text, json_number, json_flag, gen, &plan->usual};

	if (!gen)
		return -EIO;
	yajl_gen_config(gen, yajl_gen_beautify, 1);
	yajl_gen_config(gen, yajl_gen_indent_string, "  ");
	yajl_gen_config(gen, yajl_gen_print_callback, json_write, out);
	emit_plan(&emitter, plan);
	yajl_gen_free(gen);
	return 0;
}

/* ---- YAML ---- */

struct yaml_state {
	yaml_emitter_t emitter;
	bool failed; /* libyaml is out of memory */
};

static void yaml_put(struct yaml_state *yaml, yaml_event_t *event, int initialized)
{
	/* yaml_emitter_emit takes the event, also when it fails. */
	if (!initialized || !yaml_emitter_emit(&yaml->emitter, event))
		yaml->failed = true;
}

static void yaml_map(void *state, bool open)
{
	yaml_event_t event;

	yaml_put(state, &event,
		open ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)
		     : yaml_mapping_end_event_initialize(&event));
}

static void yaml_list(void *state, bool open)
{
	yaml_event_t event;

	yaml_put(state, &event,
		open ? yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE)
		     : yaml_sequence_end_event_initialize(&event));
}

static void yaml_text(void *state, const char *text)
{
	/* Some readers take 1:2:3 for a number of base 60, as YAML 1.1 had it. */
	bool like_number = text[0] >= '0' && text[0] <= '9' && strchr(text, ':');
	yaml_event_t event;

	yaml_put(state, &event,
		yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text),
			1, 1, like_number ? YAML_SINGLE_QUOTED_SCALAR_STYLE : YAML_ANY_SCALAR_STYLE));
}

static void yaml_number(void *state, unsigned number)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", number);
	yaml_text(state, text);
}

static void yaml_flag(void *state, bool flag)
{
	yaml_text(state, flag ? "true" : "false");
}

static int yaml_write(void *out, unsigned char *bytes, size_t count)
{
	return fwrite(bytes, 1, count, out) == count;
}

static void yaml_begin(struct yaml_state *yaml, FILE *out)
{
	yaml_event_t event;

	yaml_emitter_set_output(&yaml->emitter, yaml_write, out);
	yaml_emitter_set_unicode(&yaml->emitter, 1);
	yaml_emitter_set_width(&yaml->emitter, -1);
	yaml_put(yaml, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
	yaml_put(yaml, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1));
}

static int yaml_end(struct yaml_state *yaml)
{
	yaml_event_t event;

	yaml_put(yaml, &event, yaml_document_end_event_initialize(&event, 1));
	yaml_put(yaml, &event, yaml_stream_end_event_initialize(&event));
	yaml_emitter_delete(&yaml->emitter);
	return yaml->failed ? -EIO : 0;
}

static int print_yaml(const struct plan *plan, FILE *out)
{
	struct yaml_state yaml = {.failed = false};
	struct emitter emitter = {
		yaml_map, yaml_list, yaml_text, yaml_number, yaml_flag, &yaml, &plan->usual};

	if (!yaml_emitter_initialize(&yaml.emitter))
		return -EIO;
	yaml_begin(&yaml, out);
	emit_plan(&emitter, plan);
	return yaml_end(&yaml);
}

int plan_print_tree(const struct plan *plan, enum plan_output output, FILE *out)
{
	return output == PLAN_JSON ? print_json(plan, out) : print_yaml(plan, out);
}
