/* Owns what control knows of the listeners in the supervisor. Runs in control. */
#include "proc/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "config.h"
#include "portald/admin.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "portald/stats.h"

struct entry {
	UT_hash_handle hh;
	struct report_listener listener; /* the hash's key is its id */
};

struct report {
	struct admin *admin;
	struct stats *stats;
	const struct plan *plan;
	struct entry *entries; /* a uthash */
};

/* ---- states ---- */

static struct entry *find(struct report *report, const char *id)
{
	struct entry *entry;

	HASH_FIND(hh, report->entries, id, strlen(id), entry);
	return entry;
}

static void drop(struct report *report, struct entry *entry)
{
	HASH_DEL(report->entries, entry);
	ipc_storage_free(&entry->listener.storage);
	free(entry);
}

/* The counters that a message names must exist. */
static bool slots_ok(const struct ipc_listener_state *state)
{
	if (state->slot >= STATS_MAX_LISTENERS)
		return false;
	for (size_t i = 0; i < state->backend_count; i++) {
		if (state->backends[i].slot >= STATS_MAX_BACKENDS)
			return false;
	}
	return true;
}

int report_take_state(struct report *report, const struct ipc_frame *frame)
{
	struct report_listener fresh;
	struct entry *entry;

	if (ipc_decode_listener_state(frame, &fresh.state, &fresh.storage) < 0)
		return -EPROTO;
	entry = find(report, fresh.state.id);
	if (entry)
		drop(report, entry);
	/* What is not in the plan any more is being closed. */
	if (!slots_ok(&fresh.state) || !report->plan || !plan_find(report->plan, fresh.state.id)) {
		ipc_storage_free(&fresh.storage);
		return 0;
	}
	entry = mem_calloc(1, sizeof(*entry));
	entry->listener = fresh;
	HASH_ADD_KEYPTR(
		hh, report->entries, entry->listener.state.id, strlen(entry->listener.state.id), entry);
	return 0;
}

const struct report_listener *report_find(struct report *report, const char *id)
{
	struct entry *entry = find(report, id);

	return entry ? &entry->listener : NULL;
}

void report_set_plan(struct report *report, const struct plan *plan)
{
	struct entry *entry, *next;

	report->plan = plan;
	if (plan)
		return;
	HASH_ITER (hh, report->entries, entry, next)
		drop(report, entry);
}

void report_forget(struct report *report, const char *id)
{
	struct entry *entry = find(report, id);

	if (entry)
		drop(report, entry);
}

/* ---- for admin ---- */

/* A key's parts: namespace/service or namespace/service:port. */
struct parts {
	char text[PLAN_MAX_KEY_BYTES];
	const char *namespace, *service, *port;
};

static void split(struct parts *parts, const char *key)
{
	char *slash, *colon;

	snprintf(parts->text, sizeof(parts->text), "%s", key);
	parts->namespace = parts->text;
	parts->service = parts->port = "";
	slash = strchr(parts->text, '/');
	if (!slash)
		return;
	*slash = '\0';
	parts->service = slash + 1;
	colon = strchr(slash + 1, ':');
	if (!colon)
		return;
	*colon = '\0';
	parts->port = colon + 1;
}

/* What tells the listeners of a Service port and family apart: what follows in the id. */
static const char *traffic_of(const struct plan_listener *listener)
{
	const char *suffix = listener->id + strlen(listener->key);

	if (strncmp(suffix, "#v6", strlen("#v6")) == 0)
		suffix += strlen("#v6");
	return *suffix == '#' ? suffix + 1 : "all";
}

static void visit_listener(const struct plan_listener *listener, const struct ipc_listener_state *state,
	admin_listener_fn visit, void *visitor)
{
	struct admin_backend *backends = mem_calloc(state->backend_count, sizeof(*backends));
	struct parts parts;
	struct admin_listener told = {
		.traffic = traffic_of(listener),
		.proto = listener->proto,
		.family = listener->family,
		.slot = state->slot,
		.backends = backends,
		.backend_count = state->backend_count,
	};

	split(&parts, listener->key);
	told.namespace = parts.namespace;
	told.service = parts.service;
	told.port = parts.port;
	for (size_t i = 0; i < state->backend_count; i++)
		backends[i] =
			(struct admin_backend){.at = state->backends[i].at, .slot = state->backends[i].slot};
	visit(visitor, &told);
	free(backends);
}

static void each_listener(void *context, admin_listener_fn visit, void *visitor)
{
	struct report *report = context;

	for (size_t i = 0; report->plan && i < report->plan->listener_count; i++) {
		const struct plan_listener *listener = report->plan->listeners[i];
		struct entry *entry = find(report, listener->id);

		if (entry && entry->listener.state.error == 0)
			visit_listener(listener, &entry->listener.state, visit, visitor);
	}
}

/* ---- life ---- */

struct report *report_new(struct event_base *base, const struct options *options, struct stats *stats)
{
	struct report *report = mem_calloc(1, sizeof(*report));
	struct admin_options admin = {
		.health = options_health_at(options),
		.metrics = options_metrics_at(options),
		.bind_hard_fail = options->bind_hard_fail,
		.sync_period_ms = options->sync_period_ms,
		.max_series = options->max_series,
		.proxy_mode = "userspace",
		.version = PACKAGE_VERSION,
		.stats = stats,
		.relay_count = options->relay_count,
		.each_listener = each_listener,
		.context = report,
	};

	report->stats = stats;
	report->admin = admin_new(base, &admin);
	if (admin_serve(report->admin) == 0)
		return report;
	report_free(report);
	return NULL;
}

void report_free(struct report *report)
{
	if (!report)
		return;
	report_set_plan(report, NULL);
	admin_free(report->admin);
	free(report);
}

struct admin *report_admin(struct report *report)
{
	return report->admin;
}
