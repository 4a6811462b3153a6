/* Owns the back end that steers by iptables and ip6tables. Runs in the supervisor.
 *
 *     state  event                  next
 *     idle   start()                v4
 *     v4     the family is done     v6, or idle if IPv6 is not concerned: done(0)
 *     v6     the family is done     idle: done(0)
 *     any    a family has failed    idle: done(error) */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "steering/backend.h"
#include "steering/host.h"
#include "steering/iptables_private.h"
#include "steering/left.h"
#include "steering/monitor.h"
#include "steering/sync.h"
#include "steering/tool.h"

struct backend {
	struct event_base *base;
	const struct steering_options *options;
	const struct backend_events *events;
	struct host_tools tools;
	struct monitor *monitor; /* NULL: nobody tells */
	struct monitor_handlers monitor_handlers;
	struct sync *sync;                /* in flight; NULL: none */
	const struct steering_rules *was; /* of the pass in flight */
	const struct steering_rules *now;
	bool corrected;
	bool has_v6;      /* the kernel has its tables */
	bool v6_unseen;   /* ip6tables may hold rules of ours */
	bool v6_used;     /* it has had portals in this run */
	bool v6_reported; /* that there is no ip6tables */
};

static const char *tool_word(enum steering_tool kind)
{
	static const char *const words[] = {
		[STEERING_TOOL_AUTO] = "plain",
		[STEERING_TOOL_NFT] = "nft",
		[STEERING_TOOL_LEGACY] = "legacy",
	};

	return words[kind];
}

/* ---- one pass ---- */

static void finish(struct backend *backend, int error, const char *detail)
{
	sync_free(backend->sync);
	backend->sync = NULL;
	backend->events->done(backend->events->context, error, detail, backend->corrected);
}

static void on_refused(void *context, const struct steering_rule *rule, const char *detail)
{
	struct backend *backend = context;

	backend->events->refused(backend->events->context, rule, detail);
}

static void on_tool_started(void *context, pid_t tool)
{
	struct backend *backend = context;

	monitor_own(backend->monitor, tool);
}

/* Before the family is in use its chains may not be there. */
static const struct steering_rules *was_of(const struct backend *backend, enum addr_family family)
{
	if (!backend->was || family == ADDR_V4)
		return backend->was;
	return backend->has_v6 && backend->v6_used ? backend->was : NULL;
}

static void start_sync(struct backend *backend, enum addr_family family, const struct steering_rules *rules,
	void (*done)(void *context, int error, const char *detail, bool corrected))
{
	backend->sync = sync_start(&(struct sync_job){
		.base = backend->base,
		.tools = &backend->tools,
		.family = family,
		.was = rules ? was_of(backend, family) : NULL,
		.rules = rules,
		.timeout_ms = backend->options->tool_timeout_ms,
		.done = done,
		.refused = on_refused,
		.started = on_tool_started,
		.context = backend,
	});
	if (!backend->sync)
		finish(backend, -ENOMEM, "out of memory");
}

/* A host without IPv6 rules has its IPv4 ones all the same. */
static void report_no_v6(struct backend *backend, const char *detail)
{
	if (backend->v6_reported || !steering_rules_have(backend->now, ADDR_V6))
		return;
	backend->v6_reported = true;
	log_error("no ip6tables: Services are not reached at IPv6 addresses", log_str("detail", detail));
}

static void on_v6_synced(void *context, int error, const char *detail, bool corrected)
{
	struct backend *backend = context;

	backend->corrected |= corrected;
	backend->has_v6 = error == 0;
	if (error == -EOPNOTSUPP) {
		report_no_v6(backend, detail);
		error = 0;
	} else if (error == 0) {
		backend->v6_unseen = false;
		backend->v6_used |= steering_rules_have(backend->now, ADDR_V6);
		backend->v6_reported = false;
	}
	finish(backend, error, error < 0 ? detail : NULL);
}

static void on_v4_synced(void *context, int error, const char *detail, bool corrected)
{
	struct backend *backend = context;
	bool wanted = steering_rules_have(backend->now, ADDR_V6) || backend->v6_used;
	bool there = backend->tools.v6.save != NULL;

	backend->corrected |= corrected;
	if (error == 0 && wanted && !there)
		report_no_v6(backend, "the tools are not installed");
	/* Without IPv6 Services ip6tables gets no chains, and loses those that an earlier run has left. But
	 * once there were some, the empty chains stay: without any rule that asks for connection tracking the
	 * kernel ends it, and with it the connections that are to finish. */
	if (error < 0 || !there || !(wanted || backend->v6_unseen)) {
		finish(backend, error, detail);
		return;
	}
	sync_free(backend->sync);
	start_sync(backend, ADDR_V6, wanted ? backend->now : NULL, on_v6_synced);
}

static void iptables_start(
	struct backend *backend, const struct steering_rules *was, const struct steering_rules *now)
{
	backend->was = was;
	backend->now = now;
	backend->corrected = false;
	start_sync(backend, ADDR_V4, now, on_v4_synced);
}

/* What has changed rules can't be undone by forgetting about it. */
static bool iptables_abandon(struct backend *backend)
{
	if (!backend->sync || backend->corrected || !sync_is_harmless(backend->sync))
		return false;
	sync_free(backend->sync);
	backend->sync = NULL;
	return true;
}

/* ---- disturbances ---- */

static bool concerns(const struct monitor_place *place)
{
	static const char *const tables[] = {"nat", "filter"};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (strcmp(place->table, tables[i]) == 0)
			return !place->name || iptables_chain_matters(place->name);
	}
	return false;
}

static void on_disturbed(void *context)
{
	struct backend *backend = context;

	backend->events->disturbed(backend->events->context);
}

/* ---- cleanup ---- */

struct cleanup {
	int error;
	char *detail;
};

static void on_cleaned(void *context, int error, const char *detail, bool corrected)
{
	struct cleanup *cleanup = context;

	(void)corrected;
	cleanup->error = error;
	cleanup->detail = mem_strdup(detail);
}

static int cleanup_family(const struct host_tools *tools, enum addr_family family, int tool_timeout_ms)
{
	struct cleanup cleanup = {.error = -ENOMEM};
	struct event_base *base = event_base_new();
	struct sync *sync = !base ? NULL
				  : sync_start(&(struct sync_job){
					    .base = base,
					    .tools = tools,
					    .family = family,
					    .timeout_ms = tool_timeout_ms,
					    .done = on_cleaned,
					    .context = &cleanup,
				    });

	if (sync)
		event_base_dispatch(base);
	sync_free(sync);
	if (base)
		event_base_free(base);
	if (cleanup.error < 0)
		log_error("cannot remove rules", log_str("variant", tool_word(tools->kind)),
			log_str("family", family == ADDR_V6 ? "IPv6" : "IPv4"),
			log_errno("error", -cleanup.error), log_str("detail", cleanup.detail));
	free(cleanup.detail);
	return cleanup.error;
}

static int cleanup_tools(const struct host_tools *tools, int tool_timeout_ms)
{
	int v4 = cleanup_family(tools, ADDR_V4, tool_timeout_ms);
	int v6 = tools->v6.save ? cleanup_family(tools, ADDR_V6, tool_timeout_ms) : 0;

	return v4 < 0 ? v4 : v6;
}

/* From both variants, where they exist. */
static int iptables_cleanup(int tool_timeout_ms)
{
	struct host_tools tools[2];
	int count = host_tools_find_all(tools), first = 0;

	for (int i = 0; i < count; i++) {
		int rc = cleanup_tools(&tools[i], tool_timeout_ms);

		if (first == 0)
			first = rc;
		host_tools_fini(&tools[i]);
	}
	return first;
}

/* Where the plain tools are used there are no rules yet, of neither variant. */
static void clean_other_variant(enum steering_tool kind, int tool_timeout_ms)
{
	struct host_tools tools[2];
	int count = host_tools_find_all(tools);

	for (int i = 0; i < count; i++) {
		if (kind != STEERING_TOOL_AUTO && tools[i].kind != STEERING_TOOL_AUTO &&
			tools[i].kind != kind)
			cleanup_tools(&tools[i], tool_timeout_ms);
		host_tools_fini(&tools[i]);
	}
}

/* ---- life ---- */

static struct backend *iptables_open(
	struct event_base *base, const struct steering_options *options, const struct backend_events *events)
{
	struct backend *backend = mem_calloc(1, sizeof(*backend));

	*backend = (struct backend){.base = base, .options = options, .events = events, .v6_unseen = true};
	if (host_tools_find(&backend->tools, options->tool, options->tool_timeout_ms) < 0) {
		free(backend);
		return NULL;
	}
	if (options->take_over)
		clean_other_variant(backend->tools.kind, options->tool_timeout_ms);
	backend->monitor_handlers = (struct monitor_handlers){
		.concerns = concerns, .disturbed = on_disturbed, .context = backend};
	if (backend->tools.kind != STEERING_TOOL_LEGACY)
		backend->monitor = monitor_new(base, &backend->monitor_handlers);
	log_v(1, "steering by iptables", log_str("variant", tool_word(backend->tools.kind)),
		log_str("tool", backend->tools.v4.restore),
		log_str("lock", backend->tools.lock_fd > 0 ? "private" : "common"));
	return backend;
}

static void iptables_close(struct backend *backend)
{
	if (!backend)
		return;
	sync_free(backend->sync);
	monitor_free(backend->monitor);
	host_tools_fini(&backend->tools);
	free(backend);
}

/* What a tool said that failed; NULL: it didn't. */
struct trial {
	char *failure;
};

static void on_saved(void *context, const struct tool_result *result)
{
	struct trial *trial = context;

	if (result->error < 0)
		trial->failure = mem_printf("%.*s", (int)strcspn(result->err, "\n"), result->err);
}

struct reading {
	struct left *left;
	enum addr_family family;
};

static void on_left_saved(void *context, const struct tool_result *result)
{
	struct reading *reading = context;

	if (result->error == 0)
		left_add_iptables(reading->left, result->out, reading->family);
}

static void iptables_look_for_left(struct backend *backend, struct left *left)
{
	static const enum addr_family families[] = {ADDR_V4, ADDR_V6};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		const char *save = host_pair(&backend->tools, families[i])->save;
		const char *const argv[] = {save, "-t", "nat", NULL};
		struct reading reading = {.left = left, .family = families[i]};

		/* Looking would load a table of the legacy variant that is not there. */
		if (!save || (backend->tools.kind == STEERING_TOOL_LEGACY &&
				     !host_legacy_table_loaded(families[i], "nat")))
			continue;
		tool_run_wait(&(struct tool_job){
			.argv = argv,
			.timeout_ms = backend->options->tool_timeout_ms,
			.done = on_left_saved,
			.context = &reading,
		});
	}
}

static bool iptables_works(int tool_timeout_ms, char **why)
{
	struct host_tools tools[2];
	int count = host_tools_find_all(tools);
	struct trial trial = {.failure = NULL};

	if (count > 0) {
		const char *const argv[] = {tools[0].v4.save, "-t", "nat", NULL};

		tool_run_wait(&(struct tool_job){
			.argv = argv, .timeout_ms = tool_timeout_ms, .done = on_saved, .context = &trial});
	}
	for (int i = 0; i < count; i++)
		host_tools_fini(&tools[i]);
	*why = trial.failure ? trial.failure
			     : mem_strdup(count > 0 ? "iptables works" : "iptables is not installed");
	return count > 0 && !trial.failure;
}

const struct backend_ops backend_iptables = {
	.name = "iptables",
	.wants_routes = true,
	.wants_conntrack = true,
	.open = iptables_open,
	.close = iptables_close,
	.start = iptables_start,
	.abandon = iptables_abandon,
	.works = iptables_works,
	.look_for_left = iptables_look_for_left,
	.cleanup = iptables_cleanup,
};
