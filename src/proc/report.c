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
#include "proc/config_load.h"
#include "proc/status.h"

/* What became of a listener, as the supervisor has said last. */
struct entry {
	UT_hash_handle hh;
	char *id;
	bool known;                      /* it has said something */
	struct ipc_listener_state state; /* its texts and lists belong to storage */
	struct ipc_storage storage;
};

struct report {
	struct report_setup setup;
	struct admin *admin;
	struct entry *entries; /* a uthash, by id */
};

/* ---- states ---- */

static struct entry *find(struct report *report, const char *id)
{
	struct entry *entry;

	HASH_FIND(hh, report->entries, id, strlen(id), entry);
	return entry;
}

void report_expect(struct report *report, const char *id)
{
	struct entry *entry = find(report, id);

	if (entry)
		return;
	entry = mem_calloc(1, sizeof(*entry));
	entry->id = mem_strdup(id);
	HASH_ADD_KEYPTR(hh, report->entries, entry->id, strlen(entry->id), entry);
}

static void drop(struct report *report, struct entry *entry)
{
	HASH_DEL(report->entries, entry);
	ipc_storage_free(&entry->storage);
	free(entry->id);
	free(entry);
}

void report_forget(struct report *report, const char *id)
{
	struct entry *entry = find(report, id);

	if (entry)
		drop(report, entry);
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
	struct ipc_listener_state state;
	struct ipc_storage storage;
	struct entry *entry;

	if (ipc_decode_listener_state(frame, &state, &storage) < 0)
		return -EPROTO;
	entry = find(report, state.id);
	if (!entry || !slots_ok(&state)) {
		ipc_storage_free(&storage);
		return 0;
	}
	ipc_storage_free(&entry->storage);
	entry->known = true;
	entry->state = state;
	entry->storage = storage;
	return 0;
}

const struct ipc_listener_state *report_find(struct report *report, const char *id)
{
	struct entry *entry = find(report, id);

	return entry && entry->known ? &entry->state : NULL;
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
	struct parts parts = {.port = NULL};
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
	const struct plan *plan = report->setup.plan(report->setup.context);

	for (size_t i = 0; plan && i < plan->listener_count; i++) {
		const struct plan_listener *listener = plan->listeners[i];
		const struct ipc_listener_state *state = report_find(report, listener->id);

		if (state && state->error == 0)
			visit_listener(listener, state, visit, visitor);
	}
}

static bool knows_pods(const struct options *options, enum addr_family family)
{
	for (size_t i = 0; i < options_pod_ranges(options); i++) {
		if (addr_family(&options->pods[i].addr) == family)
			return true;
	}
	return false;
}

/* A portal for all traffic is in two chains: of what arrives, and of what the host sends. One for the host is
 * in both where it is for pods, too. */
static size_t portal_rules(const struct plan_portal *portal, bool pods)
{
	return portal->scope == PLAN_SCOPE_ALL || (pods && portal->scope == PLAN_SCOPE_HOST) ? 2 : 1;
}

/* As the renderer for iptables makes them (src/steering/iptables_rule.c), without --nodeport-addresses. */
static void add_rules(const struct options *options, const struct plan_listener *listener,
	const struct ipc_listener_state *state, struct admin_rules *rules)
{
	bool accepted = false, pods = knows_pods(options, listener->family);

	for (size_t i = 0; i < listener->portal_count; i++) {
		const struct plan_portal *portal = &listener->portals[i];

		if (status_portal_error(state, portal) < 0)
			continue;
		if (listener->action == PLAN_PROXY)
			rules->nat += portal_rules(portal, pods);
		else
			rules->filter += portal_rules(portal, false);
		accepted |= portal->kind != PLAN_PORTAL_CLUSTER_IP;
	}
	rules->filter += accepted && listener->action == PLAN_PROXY;
	rules->filter += listener->proto == PROTO_UDP;
}

/* What auto has taken is known to the supervisor. */
static bool may_have_rules(const struct options *options)
{
	return options->steering == OPTIONS_STEERING_IPTABLES || options->steering == OPTIONS_STEERING_AUTO;
}

static struct admin_rules count_rules(void *context)
{
	struct report *report = context;
	const struct plan *plan = report->setup.plan(report->setup.context);
	struct admin_rules rules = {.nat = 0};

	if (!may_have_rules(report->setup.options))
		return rules;
	for (size_t i = 0; plan && i < plan->listener_count; i++)
		add_rules(report->setup.options, plan->listeners[i],
			report_find(report, plan->listeners[i]->id), &rules);
	return rules;
}

static struct admin_closed count_closed(void *context)
{
	struct report *report = context;
	const struct plan *plan = report->setup.plan(report->setup.context);
	struct admin_closed closed = {.listener = 0};

	for (size_t i = 0; plan && i < plan->listener_count; i++) {
		const struct plan_listener *listener = plan->listeners[i];
		const struct ipc_listener_state *state = report_find(report, listener->id);

		if (!state)
			continue;
		if (state->error < 0)
			closed.listener += listener->portal_count;
		for (size_t p = 0; state->error == 0 && p < state->unclaimed_count; p++) {
			bool refused = state->unclaimed[p].error == IPC_REFUSED;

			closed.rule += refused;
			closed.port += !refused;
		}
	}
	return closed;
}

static char *configz(void *context)
{
	const struct report *report = context;

	return config_json(report->setup.options);
}

/* ---- life ---- */

static struct admin *admin_open(struct report *report)
{
	const struct options *options = report->setup.options;
	struct admin_options admin = {
		.health = options_health_at(options),
		.metrics = options_metrics_at(options),
		.held = true,
		.bind_hard_fail = options->bind_hard_fail,
		.sync_period_ms = options->sync_period_ms,
		.max_series = options->max_series,
		.proxy_mode = "userspace",
		.version = PACKAGE_VERSION,
		.stats = report->setup.stats,
		.relay_count = options->relay_count,
		.each_listener = each_listener,
		.count_rules = count_rules,
		.count_closed = count_closed,
		.configz = configz,
		.context = report,
	};

	return admin_new(report->setup.base, &admin);
}

struct report *report_new(const struct report_setup *setup)
{
	struct report *report = mem_calloc(1, sizeof(*report));

	report->setup = *setup;
	report->admin = admin_open(report);
	return report;
}

int report_serve(struct report *report)
{
	int fd = report->setup.status_fd;

	if (fd >= 0 && admin_serve_socket(report->admin, fd, status_answer, report) < 0)
		log_error("cannot serve the status socket");
	return admin_serve(report->admin);
}

void report_free(struct report *report)
{
	struct entry *entry, *next;

	if (!report)
		return;
	HASH_ITER (hh, report->entries, entry, next)
		drop(report, entry);
	admin_free(report->admin);
	free(report);
}

struct admin *report_admin(struct report *report)
{
	return report->admin;
}

const struct report_setup *report_setup(const struct report *report)
{
	return &report->setup;
}
