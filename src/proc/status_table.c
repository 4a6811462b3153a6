/* Owns the status as text for people: a table of all, and an explanation of one. Runs in control. */
#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "portald/admin.h"
#include "portald/stats.h"
#include "proc/report.h"
#include "proc/status.h"

/* ---- the table ---- */

/* What is wrong with a listener, or "open". */
static const char *state_text(
	char *buf, size_t bytes, const struct plan_listener *listener, const struct ipc_listener_state *state)
{
	if (!state)
		return "not in force yet";
	if (state->error < 0) {
		snprintf(buf, bytes, "not open: %s", strerrordesc_np(-state->error));
		return buf;
	}
	if (state->unclaimed_count > 0) {
		snprintf(buf, bytes, "%zu of %zu portals closed", state->unclaimed_count,
			listener->portal_count);
		return buf;
	}
	if (listener->action == PLAN_REJECT)
		return "refused: no endpoint";
	if (listener->action == PLAN_DROP)
		return "dropped: no endpoint on this node";
	return "open";
}

static size_t count_set_aside(
	struct report *report, const struct plan_listener *listener, const struct ipc_listener_state *state)
{
	size_t count = 0;

	for (size_t i = 0; i < listener->backend_count; i++) {
		struct status_backend read;

		status_backend_read(report, state, &listener->backends[i], &read);
		count += read.set_aside;
	}
	return count;
}

static int key_width(const struct plan *plan)
{
	int width = (int)strlen("SERVICE");

	for (size_t i = 0; i < plan->listener_count; i++) {
		if ((int)strlen(plan->listeners[i]->id) > width)
			width = (int)strlen(plan->listeners[i]->id);
	}
	return width;
}

static void table_row(
	struct report *report, const struct plan_listener *listener, int width, struct evbuffer *out)
{
	const struct ipc_listener_state *state = report_find(report, listener->id);
	struct stats *stats = report_setup(report)->stats;
	struct stats_listener_sum sum = {.accepted = 0};
	char at[ADDR_TEXT_BYTES], text[128], backends[48];

	if (stats && state)
		stats_listener_add_up(stats, state->slot, &sum);
	snprintf(backends, sizeof(backends), "%zu/%zu",
		listener->backend_count - count_set_aside(report, listener, state),
		listener->backend_count + listener->left_out_count);
	evbuffer_add_printf(out, "%-*s  %-4s  %-28s  %-8s  %-6llu  %-9llu  %s\n", width, listener->id,
		proto_name(listener->proto), addr_port_format(&listener->portals[0].at, at), backends,
		(unsigned long long)sum.active, (unsigned long long)sum.accepted,
		state_text(text, sizeof(text), listener, state));
}

static void print_head(struct report *report, struct evbuffer *out)
{
	const struct admin *admin = report_admin(report);

	evbuffer_add_printf(out, "portald %s: %s, %s\n", PACKAGE_VERSION,
		admin_is_ready(admin) ? "ready" : "not ready",
		admin_is_healthy(admin) ? "healthy" : "unhealthy");
}

size_t status_table(struct report *report, struct evbuffer *out)
{
	const struct report_setup *setup = report_setup(report);
	const struct plan *plan = setup->plan(setup->context);
	int width;

	print_head(report, out);
	if (!plan)
		return 0;
	width = key_width(plan);
	evbuffer_add_printf(out, "\n%-*s  %-4s  %-28s  %-8s  %-6s  %-9s  %s\n", width, "SERVICE", "",
		"PORTAL", "BACKENDS", "ACTIVE", "TOTAL", "STATE");
	for (size_t i = 0; i < plan->listener_count; i++)
		table_row(report, plan->listeners[i], width, out);
	for (size_t i = 0; i < plan->skipped_count; i++)
		evbuffer_add_printf(out, "%-*s  %s\n", width, plan->skipped[i].key, plan->skipped[i].reason);
	return plan->listener_count + plan->skipped_count;
}

/* ---- the explanation ---- */

static const char *at_text(const struct addr_port *at, char *buf)
{
	return at->port ? addr_port_format(at, buf) : addr_format(&at->addr, buf);
}

static void explain_portals(
	const struct plan_listener *listener, const struct ipc_listener_state *state, struct evbuffer *out)
{
	char at[ADDR_TEXT_BYTES], buf[STATUS_REASON_BYTES];

	for (size_t i = 0; i < listener->portal_count; i++) {
		const struct plan_portal *portal = &listener->portals[i];
		const char *scope = plan_scope_name(portal->scope);
		const char *reason = status_portal_reason(state, portal, buf, sizeof(buf));

		evbuffer_add_printf(out, "  portal   %-28s  %s%s%s%s: %s%s\n", at_text(&portal->at, at),
			plan_kind_name(portal->kind), scope ? " (" : "", scope ? scope : "", scope ? ")" : "",
			reason ? "closed: " : "open", reason ? reason : "");
	}
}

static void explain_backends(struct report *report, const struct plan_listener *listener,
	const struct ipc_listener_state *state, struct evbuffer *out)
{
	char at[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < listener->backend_count; i++) {
		const struct plan_backend *backend = &listener->backends[i];
		struct status_backend read;

		status_backend_read(report, state, backend, &read);
		evbuffer_add_printf(out, "  backend  %-28s  %s%s", at_text(&backend->at, at),
			backend->target ? backend->target : "", backend->target ? ": " : "");
		if (read.set_aside)
			evbuffer_add_printf(out, "set aside after %llu failures, for %.1f s yet",
				(unsigned long long)read.failures, (double)read.set_aside_ms / 1000);
		else
			evbuffer_add_printf(
				out, "%s", backend->weight ? "used" : "no new connections: weight 0");
		evbuffer_add_printf(out, "; %llu active, %llu connections\n", (unsigned long long)read.active,
			(unsigned long long)read.connections);
	}
	for (size_t i = 0; i < listener->left_out_count; i++) {
		const struct plan_left_out *left = &listener->left_out[i];

		evbuffer_add_printf(out, "  left out %-28s  %s%s%s\n", at_text(&left->at, at),
			left->target ? left->target : "", left->target ? ": " : "", left->reason);
	}
}

static void explain_listener(
	struct report *report, const struct plan_listener *listener, struct evbuffer *out)
{
	const struct ipc_listener_state *state = report_find(report, listener->id);
	char at[ADDR_TEXT_BYTES], text[128];

	evbuffer_add_printf(out, "%s (%s): %s\n", listener->id, proto_name(listener->proto),
		state_text(text, sizeof(text), listener, state));
	if (listener->note)
		evbuffer_add_printf(out, "  note     %s\n", listener->note);
	if (state && state->error == 0)
		evbuffer_add_printf(out, "  proxy    %s\n", addr_port_format(&state->proxy, at));
	explain_portals(listener, state, out);
	explain_backends(report, listener, state, out);
}

size_t status_explain(struct report *report, const struct status_query *query, struct evbuffer *out)
{
	const struct report_setup *setup = report_setup(report);
	const struct plan *plan = setup->plan(setup->context);
	size_t found = 0;

	for (size_t i = 0; plan && i < plan->listener_count; i++) {
		if (!status_query_listener(query, plan->listeners[i]))
			continue;
		explain_listener(report, plan->listeners[i], out);
		found++;
	}
	for (size_t i = 0; plan && i < plan->skipped_count; i++) {
		if (!status_query_key(query, plan->skipped[i].key))
			continue;
		evbuffer_add_printf(
			out, "%s: opens nothing: %s\n", plan->skipped[i].key, plan->skipped[i].reason);
		found++;
	}
	return found;
}
