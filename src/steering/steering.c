/* Owns the steering engine: when which rules are brought into force. Runs in the supervisor.
 *
 *     state    event              next
 *     idle     steering_apply()   due: a sync starts from the loop
 *     due      loop               syncing: routes first, then the firewall of IPv4, then that of IPv6
 *     syncing  steering_apply()   syncing; the newest set waits
 *     syncing  success            idle, or due if a set waits; the pause is reset
 *     syncing  failure            pausing: the newest set (or the failed one) waits
 *     pausing  steering_apply()   pausing; the newest set waits
 *     pausing  pause is over      syncing
 *
 * idle: nothing in flight, nothing waits. due and pausing are one timer, with and without delay. */
#include "portald/steering.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "steering/conntrack.h"
#include "steering/host.h"
#include "steering/route.h"
#include "steering/rules.h"
#include "steering/sync.h"

#define FIRST_PAUSE_MS 1000
#define LONGEST_PAUSE_MS 30000

struct steering {
	struct event_base *base;
	struct steering_options options;
	struct host_tools tools;
	struct sync *sync;                /* in flight; NULL: none */
	struct steering_rules *in_flight; /* what the sync is about */
	struct steering_rules *waiting;   /* what comes next; NULL: nothing */
	struct event *start_event;        /* the next sync */
	int pause_ms;                     /* after the next failure */
	bool v6_unseen;                   /* ip6tables may hold rules of ours */
	bool v6_reported;                 /* that there is no ip6tables */
	struct conntrack *conntrack;      /* NULL: the kernel has none */
	struct addr *routed;              /* the ClusterIPs whose routes were seen to */
	size_t routed_count;
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

/* ---- one sync ---- */

static void sync_routes(struct steering *steering, const struct steering_rules *rules)
{
	size_t count;
	struct addr *addrs = rules_cluster_ips(rules, &count);
	bool same = steering->routed && steering->routed_count == count &&
		    memcmp(addrs, steering->routed, count * sizeof(*addrs)) == 0;
	int rc = same ? 0 : route_sync(addrs, count);

	if (rc < 0)
		log_warning("cannot see to routes for clusterIPs", log_errno("error", -rc));
	free(steering->routed);
	/* After a failure nothing is known, and the next sync asks again. */
	steering->routed = rc < 0 ? NULL : addrs;
	steering->routed_count = rc < 0 ? 0 : count;
	if (rc < 0)
		free(addrs);
}

static void start_after(struct steering *steering, int delay_ms)
{
	struct timeval delay = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};

	evtimer_add(steering->start_event, &delay);
}

static void sync_succeeded(struct steering *steering)
{
	if (steering->conntrack)
		conntrack_update(steering->conntrack, steering->in_flight);
	rules_copy_free(steering->in_flight);
	steering->in_flight = NULL;
	steering->pause_ms = FIRST_PAUSE_MS;
	if (steering->waiting)
		start_after(steering, 0);
}

static void sync_failed(struct steering *steering)
{
	if (steering->waiting)
		rules_copy_free(steering->in_flight);
	else
		steering->waiting = steering->in_flight;
	steering->in_flight = NULL;
	start_after(steering, steering->pause_ms);
	steering->pause_ms *= 2;
	if (steering->pause_ms > LONGEST_PAUSE_MS)
		steering->pause_ms = LONGEST_PAUSE_MS;
}

static void finish(struct steering *steering, int error, const char *detail)
{
	if (error == 0)
		sync_succeeded(steering);
	else
		sync_failed(steering);
	/* Last: it may free the engine. */
	if (steering->options.synced)
		steering->options.synced(steering->options.context, error, detail);
}

static void start_sync(struct steering *steering, enum addr_family family, const struct steering_rules *rules,
	void (*done)(void *context, int error, const char *detail))
{
	steering->sync = sync_start(&(struct sync_job){
		.base = steering->base,
		.tools = &steering->tools,
		.family = family,
		.rules = rules,
		.timeout_ms = steering->options.tool_timeout_ms,
		.done = done,
		.context = steering,
	});
	if (!steering->sync)
		finish(steering, -ENOMEM, "out of memory");
}

/* A host without IPv6 rules has its IPv4 ones all the same. */
static void report_no_v6(struct steering *steering, const char *detail)
{
	if (steering->v6_reported || !steering_rules_have(steering->in_flight, ADDR_V6))
		return;
	steering->v6_reported = true;
	log_error("no ip6tables: Services are not reached at IPv6 addresses", log_str("detail", detail));
}

static void on_v6_synced(void *context, int error, const char *detail)
{
	struct steering *steering = context;

	sync_free(steering->sync);
	steering->sync = NULL;
	if (error == -EOPNOTSUPP) {
		report_no_v6(steering, detail);
		error = 0;
	} else if (error == 0) {
		steering->v6_unseen = steering_rules_have(steering->in_flight, ADDR_V6);
		steering->v6_reported = false;
	}
	finish(steering, error, error < 0 ? detail : NULL);
}

static void on_v4_synced(void *context, int error, const char *detail)
{
	struct steering *steering = context;
	bool wanted = steering_rules_have(steering->in_flight, ADDR_V6);
	bool there = steering->tools.v6.save != NULL;

	sync_free(steering->sync);
	steering->sync = NULL;
	if (error == 0 && wanted && !there)
		report_no_v6(steering, "the tools are not installed");
	/* Without IPv6 Services ip6tables gets no chains, and loses those that an earlier run has left. */
	if (error == 0 && there && (wanted || steering->v6_unseen))
		start_sync(steering, ADDR_V6, wanted ? steering->in_flight : NULL, on_v6_synced);
	else
		finish(steering, error, detail);
}

static void on_start(evutil_socket_t fd, short what, void *context)
{
	struct steering *steering = context;

	(void)fd;
	(void)what;
	steering->in_flight = steering->waiting;
	steering->waiting = NULL;
	sync_routes(steering, steering->in_flight);
	start_sync(steering, ADDR_V4, steering->in_flight, on_v4_synced);
}

/* ---- the engine ---- */

struct steering *steering_new(struct event_base *base, const struct steering_options *options)
{
	struct steering *steering = mem_calloc(1, sizeof(*steering));

	*steering = (struct steering){
		.base = base, .options = *options, .pause_ms = FIRST_PAUSE_MS, .v6_unseen = true};
	if (host_tools_find(&steering->tools, options->tool, options->tool_timeout_ms) < 0) {
		free(steering);
		return NULL;
	}
	steering->start_event = evtimer_new(base, on_start, steering);
	if (!steering->start_event) {
		steering_free(steering);
		return NULL;
	}
	steering->conntrack = conntrack_new(base);
	log_v(1, "steering by iptables", log_str("variant", tool_word(steering->tools.kind)),
		log_str("tool", steering->tools.v4.restore),
		log_str("lock", steering->tools.lock_fd > 0 ? "private" : "common"));
	return steering;
}

void steering_free(struct steering *steering)
{
	if (!steering)
		return;
	sync_free(steering->sync);
	conntrack_free(steering->conntrack);
	if (steering->start_event)
		event_free(steering->start_event);
	rules_copy_free(steering->in_flight);
	rules_copy_free(steering->waiting);
	host_tools_fini(&steering->tools);
	free(steering->routed);
	free(steering);
}

void steering_apply(struct steering *steering, const struct steering_rules *rules)
{
	bool due = steering->waiting != NULL;

	rules_copy_free(steering->waiting);
	steering->waiting = rules_copy(rules);
	if (!steering->sync && !due)
		start_after(steering, 0);
}

bool steering_is_behind(const struct steering *steering)
{
	return steering->waiting != NULL;
}

/* ---- cleanup ---- */

struct cleanup {
	int error;
	char *detail;
};

static void on_cleaned(void *context, int error, const char *detail)
{
	struct cleanup *cleanup = context;

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

int steering_cleanup(int tool_timeout_ms)
{
	struct host_tools tools[2];
	int count, first;

	if (geteuid() != 0) {
		log_error("cannot remove rules: not root");
		return -EPERM;
	}
	count = host_tools_find_all(tools);
	first = route_sync(NULL, 0);
	if (first < 0)
		log_error("cannot remove routes", log_errno("error", -first));
	for (int i = 0; i < count; i++) {
		int rc = cleanup_tools(&tools[i], tool_timeout_ms);

		if (first == 0)
			first = rc;
		host_tools_fini(&tools[i]);
	}
	return first;
}
