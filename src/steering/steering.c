/* Owns the steering engine: when which rules are brought into force. Runs in the supervisor.
 *
 *     state     event                    next
 *     idle      steering_apply()         due
 *     idle      audit timer, disturbed   due
 *     due       timer                    changing if a set waits, else auditing
 *     changing  steering_apply()         changing; the newest set waits
 *     changing  success                  idle, or due if there is more to do; the pause is reset
 *     changing  failure                  due after a pause: the newest set (or the failed one) waits
 *     auditing  steering_apply()         due: the audit is given up, or finished first if it corrects already
 *     auditing  success, failure         as above; an audit that failed is due again
 *
 * A change is sent as the difference from what is believed to be in force. Where that fails, and at the first
 * time, and in an audit, the back end looks at what is there. */
#include "portald/steering.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "steering/backend.h"
#include "steering/conntrack.h"
#include "steering/left.h"
#include "steering/pace.h"
#include "steering/refused.h"
#include "steering/route.h"
#include "steering/rules.h"

struct steering {
	struct event_base *base;
	struct steering_options options;
	const struct backend_ops *ops;
	struct backend *backend;
	struct backend_events events;
	struct pace pace;
	struct event *start_event; /* the next pass */
	struct event *audit_event;
	struct steering_rules *wanted;    /* the newest set; NULL: none yet */
	struct steering_rules *waiting;   /* the newest set if it is not in force and in no pass */
	struct steering_rules *in_flight; /* what the pass is about; NULL: none */
	struct steering_rules *in_force;  /* what is believed to be; NULL: unknown */
	struct refused refused;           /* of the newest pass that tried all */
	struct refused refused_before;    /* of the one before, while the newest is in flight */
	bool tries_all;                   /* the pass in flight */
	size_t recovered;                 /* how many of those before the last such pass was rid of */
	bool auditing;                    /* the pass is an audit */
	bool audit_due;
	struct conntrack *conntrack; /* NULL: the kernel has none, or the back end needs none */
	struct left left;            /* of an earlier run */
	struct addr *routed;         /* the ClusterIPs whose routes were seen to */
	size_t routed_count;
};

static const struct backend_ops *const backends[STEERING_KINDS] = {
	[STEERING_IPTABLES] = &backend_iptables,
	[STEERING_NFTABLES] = &backend_nftables,
	[STEERING_LOCAL] = &backend_local,
};

/* ---- routes ---- */

/* all: what was seen to before may not be so any more. */
static void sync_routes(struct steering *steering, const struct steering_rules *rules, bool all)
{
	size_t count;
	struct addr *addrs = rules_cluster_ips(rules, &count);
	int rc = all || !steering->routed
			 ? route_sync(addrs, count)
			 : route_change(steering->routed, steering->routed_count, addrs, count);

	if (rc < 0)
		log_warning("cannot see to routes for clusterIPs", log_errno("error", -rc));
	free(steering->routed);
	/* After a failure nothing is known, and the next pass asks again. */
	steering->routed = rc < 0 ? NULL : addrs;
	steering->routed_count = rc < 0 ? 0 : count;
	if (rc < 0)
		free(addrs);
}

/* ---- rules that were refused ---- */

static void on_refused(void *context, const struct steering_rule *rule, const char *detail)
{
	struct steering *steering = context;

	if (!refused_have(&steering->refused_before, rule) && !refused_have(&steering->refused, rule))
		log_error("a rule was refused: the portal stays closed, and is tried again later",
			log_str("service", rule->key), log_str("protocol", proto_name(rule->proto)),
			log_addr_port("portal", &rule->portal.at), log_str("detail", detail));
	refused_add(&steering->refused, rule, detail);
}

/* Tells of those that are not among the others; returns how many. */
static size_t tell_difference(
	struct steering *steering, const struct refused *some, const struct refused *others)
{
	size_t count = 0;

	for (size_t i = 0; i < some->rules.count; i++) {
		if (refused_have(others, &some->rules.rules[i]))
			continue;
		if (steering->options.refusal)
			steering->options.refusal(steering->options.context, some->rules.rules[i].key);
		count++;
	}
	return count;
}

/* What a pass that has tried all has found. */
static void refused_found(struct steering *steering)
{
	if (!steering->tries_all)
		return;
	tell_difference(steering, &steering->refused, &steering->refused_before);
	steering->recovered = tell_difference(steering, &steering->refused_before, &steering->refused);
	if (steering->recovered > 0)
		log_info("rules that were refused are taken now",
			log_int("rules", (int64_t)steering->recovered));
}

/* The pass was given up, or has failed. */
static void refused_restore(struct steering *steering)
{
	if (steering->tries_all)
		refused_move(&steering->refused, &steering->refused_before);
}

/* ---- when ---- */

static void start_after(struct event *timer, int64_t delay_ms)
{
	struct timeval delay = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};

	evtimer_add(timer, &delay);
}

static void schedule(struct steering *steering)
{
	if (!steering->in_flight && (steering->waiting || steering->audit_due))
		start_after(steering->start_event, pace_delay_ms(&steering->pace, clock_now_ms()));
}

static void schedule_audit(struct steering *steering)
{
	if (steering->options.sync_period_ms > 0)
		start_after(steering->audit_event, steering->options.sync_period_ms);
}

void steering_set_periods(struct steering *steering, int min_sync_period_ms, int sync_period_ms)
{
	steering->options.min_sync_period_ms = min_sync_period_ms;
	steering->options.sync_period_ms = sync_period_ms;
	pace_set_period(&steering->pace, min_sync_period_ms);
	evtimer_del(steering->audit_event);
	schedule_audit(steering);
}

void steering_audit(struct steering *steering)
{
	steering->audit_due = steering->wanted != NULL;
	schedule(steering);
}

static void on_audit_time(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	steering_audit(context);
}

static void on_disturbed(void *context)
{
	steering_audit(context);
}

/* ---- passes ---- */

static void take_in_force(struct steering *steering, struct steering_rules *rules)
{
	rules_unref(steering->in_force);
	steering->in_force = rules;
}

/* These may free the engine. */
static void report_change(struct steering *steering, int error, const char *detail)
{
	if (steering->options.synced)
		steering->options.synced(steering->options.context, error, detail);
}

static void report_audit(struct steering *steering, int error, const char *detail, bool corrected)
{
	if (error < 0)
		log_error("cannot audit the rules: will try again", log_errno("error", -error),
			log_str("detail", detail));
	else if (corrected && steering->recovered == 0)
		log_warning("somebody else had changed rules of ours: put right");
	if (steering->options.audited)
		steering->options.audited(steering->options.context, error, corrected);
}

static void pass_succeeded(struct steering *steering)
{
	take_in_force(steering, rules_without(steering->in_flight, &steering->refused.rules));
	if (steering->conntrack)
		conntrack_update(steering->conntrack, steering->in_force);
	rules_unref(steering->in_flight);
	steering->in_flight = NULL;
	pace_succeeded(&steering->pace);
	refused_found(steering);
}

static void pass_failed(struct steering *steering, int error, bool retry_at_once)
{
	if (!steering->auditing && !steering->waiting)
		steering->waiting = rules_ref(steering->in_flight);
	steering->audit_due |= steering->auditing;
	rules_unref(steering->in_flight);
	steering->in_flight = NULL;
	refused_restore(steering);
	take_in_force(steering, NULL);
	if (error == -EBUSY)
		pace_was_kept_waiting(&steering->pace, clock_now_ms());
	else if (!retry_at_once)
		pace_failed(&steering->pace, clock_now_ms());
}

static void on_done(void *context, int error, const char *detail, bool corrected)
{
	struct steering *steering = context;
	bool audited = steering->auditing;
	/* What was believed may not have been so; somebody may have changed it meanwhile. */
	bool disbelieved =
		error < 0 && error != -ETIMEDOUT && error != -EBUSY && !audited && steering->in_force;

	if (error == 0)
		pass_succeeded(steering);
	else
		pass_failed(steering, error, disbelieved);
	steering->auditing = false;
	schedule(steering);
	if (audited)
		report_audit(steering, error, detail, corrected);
	else if (!disbelieved)
		report_change(steering, error, detail);
}

/* What the pass is to bring into force. Those that were refused are not tried with every change. */
static struct steering_rules *take_up(struct steering *steering)
{
	struct steering_rules *rules = steering->waiting, *tried;

	steering->auditing = !rules;
	steering->tries_all = false;
	steering->waiting = NULL;
	if (!steering->auditing && steering->in_force) {
		tried = rules_without(rules, &steering->refused.rules);
		rules_unref(rules);
		return tried;
	}
	steering->tries_all = true;
	refused_move(&steering->refused_before, &steering->refused);
	steering->audit_due = false;
	schedule_audit(steering);
	return rules ? rules : rules_ref(steering->wanted);
}

static void on_start(evutil_socket_t fd, short what, void *context)
{
	struct steering *steering = context;
	struct steering_rules *was;

	(void)fd;
	(void)what;
	steering->in_flight = take_up(steering);
	was = steering->auditing ? NULL : steering->in_force;
	if (was && rules_same(was, steering->in_flight)) {
		on_done(steering, 0, NULL, false);
		return;
	}
	pace_begin(&steering->pace, clock_now_ms());
	if (steering->ops->wants_routes)
		sync_routes(steering, steering->in_flight, !was);
	steering->ops->start(steering->backend, was, steering->in_flight);
}

/* An audit must not keep a change waiting. */
static void abandon_audit(struct steering *steering)
{
	if (!steering->auditing || !steering->ops->abandon || !steering->ops->abandon(steering->backend))
		return;
	rules_unref(steering->in_flight);
	steering->in_flight = NULL;
	steering->auditing = false;
	steering->audit_due = true;
	refused_restore(steering);
}

/* ---- the engine ---- */

static bool open_backend(struct steering *steering)
{
	steering->start_event = evtimer_new(steering->base, on_start, steering);
	steering->audit_event = evtimer_new(steering->base, on_audit_time, steering);
	if (!steering->start_event || !steering->audit_event)
		return false;
	steering->backend = steering->ops->open(steering->base, &steering->options, &steering->events);
	return steering->backend != NULL;
}

/* What an earlier run has left by other back ends leads to ports that are closed by now, or will be. What it
 * has left by this one is taken over by the first pass. */
static void clean_others(const struct steering_options *options)
{
	for (enum steering_kind kind = 0; kind < STEERING_KINDS; kind++) {
		/* A failure is logged, and keeps nobody from working. */
		if (kind != options->kind)
			backends[kind]->cleanup(options->tool_timeout_ms);
	}
	if (!backends[options->kind]->wants_routes)
		route_sync(NULL, 0);
}

struct steering *steering_new(struct event_base *base, const struct steering_options *options)
{
	struct steering *steering = mem_calloc(1, sizeof(*steering));

	*steering = (struct steering){
		.base = base,
		.options = *options,
		.ops = backends[options->kind],
		.events = {.done = on_done,
			.refused = on_refused,
			.disturbed = on_disturbed,
			.context = steering},
	};
	pace_init(&steering->pace, options->min_sync_period_ms);
	if (!open_backend(steering)) {
		steering_free(steering);
		return NULL;
	}
	if (options->take_over)
		clean_others(options);
	if (options->take_over && steering->ops->look_for_left)
		steering->ops->look_for_left(steering->backend, &steering->left);
	left_sort(&steering->left);
	if (steering->ops->wants_conntrack)
		steering->conntrack = conntrack_new(base);
	return steering;
}

void steering_free(struct steering *steering)
{
	if (!steering)
		return;
	steering->ops->close(steering->backend);
	conntrack_free(steering->conntrack);
	if (steering->start_event)
		event_free(steering->start_event);
	if (steering->audit_event)
		event_free(steering->audit_event);
	rules_unref(steering->wanted);
	rules_unref(steering->waiting);
	rules_unref(steering->in_flight);
	rules_unref(steering->in_force);
	refused_clear(&steering->refused);
	refused_clear(&steering->refused_before);
	left_fini(&steering->left);
	free(steering->routed);
	free(steering);
}

void steering_apply(struct steering *steering, const struct steering_rules *rules)
{
	rules_unref(steering->wanted);
	rules_unref(steering->waiting);
	steering->wanted = rules_copy(rules);
	steering->waiting = rules_ref(steering->wanted);
	abandon_audit(steering);
	schedule(steering);
}

bool steering_is_behind(const struct steering *steering)
{
	return steering->waiting || (steering->in_flight && !steering->auditing);
}

uint16_t steering_left_port(const struct steering *steering, enum proto proto, const struct addr_port *portal)
{
	return left_find(&steering->left, proto, portal);
}

size_t steering_refused(const struct steering *steering, const char **detail)
{
	size_t count = steering->refused.rules.count;

	*detail = count > 0 ? steering->refused.details[count - 1] : NULL;
	return count;
}

const char *steering_refusal(
	const struct steering *steering, enum proto proto, const struct plan_portal *portal)
{
	bool unfinished = steering->in_flight && steering->tries_all;

	return refused_find(unfinished ? &steering->refused_before : &steering->refused, proto, portal);
}

/* ---- choosing ---- */

enum steering_kind steering_choose(int tool_timeout_ms)
{
	/* By what they cost and ask of the host. The last one always works, but serves less traffic. */
	static const enum steering_kind order[] = {STEERING_NFTABLES, STEERING_IPTABLES, STEERING_LOCAL};
	enum steering_kind taken = STEERING_IPTABLES;
	bool found = false;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]) && !found; i++) {
		char *why;

		taken = order[i];
		found = backends[taken]->works(tool_timeout_ms, &why);
		log_info(found ? "steering: auto takes this" : "steering: auto passes over this",
			log_str("steering", backends[taken]->name), log_str("because", why));
		free(why);
	}
	return taken;
}

/* ---- cleanup ---- */

int steering_cleanup(int tool_timeout_ms)
{
	int first;

	if (geteuid() != 0) {
		log_error("cannot remove rules: not root");
		return -EPERM;
	}
	first = route_sync(NULL, 0);
	if (first < 0)
		log_error("cannot remove routes", log_errno("error", -first));
	for (size_t i = 0; i < STEERING_KINDS; i++) {
		int rc = backends[i]->cleanup(tool_timeout_ms);

		if (first == 0)
			first = rc;
	}
	return first;
}
