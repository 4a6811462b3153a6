/* Owns the status as JSON. Runs in control. */
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>

#include "config.h"
#include "portald/admin.h"
#include "portald/stats.h"
#include "proc/report.h"
#include "proc/status.h"

static void put_text(yajl_gen gen, const char *text)
{
	yajl_gen_string(gen, (const unsigned char *)text, strlen(text));
}

static void field_text(yajl_gen gen, const char *name, const char *value)
{
	if (!value)
		return;
	put_text(gen, name);
	put_text(gen, value);
}

static void field_number(yajl_gen gen, const char *name, uint64_t value)
{
	put_text(gen, name);
	yajl_gen_integer(gen, (long long)value);
}

static void field_bool(yajl_gen gen, const char *name, bool value)
{
	put_text(gen, name);
	yajl_gen_bool(gen, value);
}

static void field_at(yajl_gen gen, const char *name, const struct addr_port *at)
{
	char text[ADDR_TEXT_BYTES];

	field_text(gen, name, at->port ? addr_port_format(at, text) : addr_format(&at->addr, text));
}

static void list_open(yajl_gen gen, const char *name)
{
	put_text(gen, name);
	yajl_gen_array_open(gen);
}

static void put_portals(
	yajl_gen gen, const struct plan_listener *listener, const struct ipc_listener_state *state)
{
	char buf[STATUS_REASON_BYTES];

	list_open(gen, "portals");
	for (size_t i = 0; i < listener->portal_count; i++) {
		const struct plan_portal *portal = &listener->portals[i];
		const char *reason = status_portal_reason(state, portal, buf, sizeof(buf));

		yajl_gen_map_open(gen);
		field_text(gen, "kind", plan_kind_name(portal->kind));
		field_at(gen, "address", &portal->at);
		field_text(gen, "scope", plan_scope_name(portal->scope));
		field_bool(gen, "open", !reason);
		field_text(gen, "error", reason);
		yajl_gen_map_close(gen);
	}
	yajl_gen_array_close(gen);
}

static void put_backends(yajl_gen gen, struct report *report, const struct plan_listener *listener,
	const struct ipc_listener_state *state)
{
	list_open(gen, "backends");
	for (size_t i = 0; i < listener->backend_count; i++) {
		const struct plan_backend *backend = &listener->backends[i];
		struct status_backend read;

		status_backend_read(report, state, backend, &read);
		yajl_gen_map_open(gen);
		field_at(gen, "address", &backend->at);
		field_text(gen, "target", backend->target);
		field_number(gen, "weight", backend->weight);
		field_bool(gen, "setAside", read.set_aside);
		if (read.set_aside)
			field_number(gen, "setAsideMilliseconds", (uint64_t)read.set_aside_ms);
		field_number(gen, "active", read.active);
		field_number(gen, "connections", read.connections);
		field_number(gen, "failures", read.failures);
		yajl_gen_map_close(gen);
	}
	yajl_gen_array_close(gen);
}

static void put_left_out(yajl_gen gen, const struct plan_listener *listener)
{
	list_open(gen, "leftOut");
	for (size_t i = 0; i < listener->left_out_count; i++) {
		yajl_gen_map_open(gen);
		field_at(gen, "address", &listener->left_out[i].at);
		field_text(gen, "target", listener->left_out[i].target);
		field_text(gen, "reason", listener->left_out[i].reason);
		yajl_gen_map_close(gen);
	}
	yajl_gen_array_close(gen);
}

static void put_counters(yajl_gen gen, struct stats *stats, uint32_t slot)
{
	struct stats_listener_sum sum;

	stats_listener_add_up(stats, slot, &sum);
	field_number(gen, "active", sum.active);
	field_number(gen, "queued", sum.queued);
	field_number(gen, "connections", sum.accepted);
	field_number(gen, "retries", sum.retries);
	field_number(gen, "receivedBytes", sum.bytes_in);
	field_number(gen, "sentBytes", sum.bytes_out);
}

static void put_listener(yajl_gen gen, struct report *report, const struct plan_listener *listener)
{
	const struct ipc_listener_state *state = report_find(report, listener->id);
	struct stats *stats = report_setup(report)->stats;

	yajl_gen_map_open(gen);
	field_text(gen, "id", listener->id);
	field_text(gen, "key", listener->key);
	field_text(gen, "protocol", proto_name(listener->proto));
	field_text(gen, "family", listener->family == ADDR_V6 ? "IPv6" : "IPv4");
	field_text(gen, "action", plan_action_name(listener->action));
	field_bool(gen, "open", state && state->error == 0);
	if (state && state->error == 0)
		field_at(gen, "proxy", &state->proxy);
	if (state && state->error < 0)
		field_text(gen, "error", strerrordesc_np(-state->error));
	field_text(gen, "note", listener->note);
	if (state && stats)
		put_counters(gen, stats, state->slot);
	put_portals(gen, listener, state);
	put_backends(gen, report, listener, state);
	put_left_out(gen, listener);
	yajl_gen_map_close(gen);
}

static size_t put_listeners(
	yajl_gen gen, struct report *report, const struct plan *plan, const struct status_query *query)
{
	size_t found = 0;

	list_open(gen, "listeners");
	for (size_t i = 0; i < plan->listener_count; i++) {
		if (query && !status_query_listener(query, plan->listeners[i]))
			continue;
		put_listener(gen, report, plan->listeners[i]);
		found++;
	}
	yajl_gen_array_close(gen);
	return found;
}

static size_t put_skipped(yajl_gen gen, const struct plan *plan, const struct status_query *query)
{
	size_t found = 0;

	list_open(gen, "skipped");
	for (size_t i = 0; i < plan->skipped_count; i++) {
		if (!status_query_key(query, plan->skipped[i].key))
			continue;
		yajl_gen_map_open(gen);
		field_text(gen, "key", plan->skipped[i].key);
		field_text(gen, "reason", plan->skipped[i].reason);
		yajl_gen_map_close(gen);
		found++;
	}
	yajl_gen_array_close(gen);
	return found;
}

static void print(void *context, const char *text, size_t length)
{
	evbuffer_add(context, text, length);
}

size_t status_json(struct report *report, const struct status_query *query, struct evbuffer *out)
{
	const struct report_setup *setup = report_setup(report);
	const struct plan *plan = setup->plan(setup->context);
	yajl_gen gen = yajl_gen_alloc(NULL);
	size_t found = 0;

	if (!gen)
		return 0;
	yajl_gen_config(gen, yajl_gen_beautify, 1);
	yajl_gen_config(gen, yajl_gen_indent_string, "  ");
	yajl_gen_config(gen, yajl_gen_print_callback, print, out);
	yajl_gen_map_open(gen);
	field_text(gen, "version", PACKAGE_VERSION);
	field_bool(gen, "ready", admin_is_ready(report_admin(report)));
	field_bool(gen, "healthy", admin_is_healthy(report_admin(report)));
	if (plan) {
		found = put_listeners(gen, report, plan, query);
		found += put_skipped(gen, plan, query);
	}
	yajl_gen_map_close(gen);
	yajl_gen_free(gen);
	return found;
}
