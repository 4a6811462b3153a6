/* Owns the back end without netfilter: the portals' addresses become the host's own, by a local route for
 * each, and the listeners are bound to them. Runs in the supervisor.
 *
 *     state    event                                next
 *     idle     start()                              due
 *     due      timer, some routes are to go         asking, for the pass: the kernel which have connections
 *     due      timer, none is to go                 idle: done()
 *     asking   answer                               idle: routes without connections go; done() if for a pass
 *     idle     linger timer, while routes linger    asking
 *     asking   start()                              due
 *
 * A route that is no longer wanted lingers while TCP connections end at its address: without it the host
 * could neither hear their clients nor answer, so that they would not even learn of a reset. New ones are
 * refused, since nobody listens there any more.
 *
 * There is no tool to wait for; some microseconds a route are spent in the kernel. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "portald/clock.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "steering/addr_set.h"
#include "steering/backend.h"
#include "steering/connections.h"
#include "steering/route.h"
#include "steering/rules.h"

/* While routes linger the kernel is asked again after a second, or later if that is much work: it shall not
 * take more than a part of the time. */
#define LINGER_MS 1000
#define LINGER_PART 50

struct backend {
	struct event_base *base;
	const struct backend_events *events;
	struct event *step_event;
	struct event *linger_event;
	const struct steering_rules *was; /* of the pass that is due */
	const struct steering_rules *now;
	struct route_monitor *monitor; /* NULL: the kernel doesn't tell */
	struct addr_set wanted;        /* by the last pass */
	struct addr_set routed;        /* the host's own by us: what is wanted and what lingers */
	struct connections_query *query;
	int64_t asked_ms; /* when the query began */
	bool passing;     /* a pass waits for the query */
	bool corrected;   /* so far it has found what should not be, or not found what should */
	int error;        /* what has gone wrong in it so far */
	bool brought;     /* a pass has succeeded: another one without was is an audit */
};

static void on_changed(void *context, const struct addr *to, bool there)
{
	struct backend *backend = context;

	/* What we do ourselves is told after it, when it is as it should be. */
	if (!to || (addr_set_find(&backend->routed, to) != NULL) != there)
		backend->events->disturbed(backend->events->context);
}

static void end_pass(struct backend *backend)
{
	int error = backend->error;

	backend->passing = false;
	backend->brought |= error == 0;
	backend->events->done(backend->events->context, error, error < 0 ? "cannot set local routes" : NULL,
		error == 0 && backend->corrected);
}

/* ---- routes that are to go ---- */

static void stop_asking(struct backend *backend)
{
	connections_query_free(backend->query);
	backend->query = NULL;
	evtimer_del(backend->linger_event);
}

static void ask_later(struct backend *backend)
{
	int64_t took_ms = clock_now_ms() - backend->asked_ms;
	int64_t pause_ms = took_ms * LINGER_PART > LINGER_MS ? took_ms * LINGER_PART : LINGER_MS;
	struct timeval pause = {.tv_sec = pause_ms / 1000, .tv_usec = pause_ms % 1000 * 1000};

	if (backend->routed.count > backend->wanted.count)
		evtimer_add(backend->linger_event, &pause);
}

/* Removes all that is neither wanted nor used. */
static void keep(struct backend *backend, const struct addr_set *used)
{
	struct addr_set kept = addr_set_union(&backend->wanted, used);
	size_t changes;
	int rc = route_local_change(
		backend->routed.list, backend->routed.count, kept.list, kept.count, &changes);

	addr_set_replace_take(&backend->routed, kept);
	if (rc < 0 && !backend->passing)
		log_warning("cannot remove local routes", log_errno("error", -rc));
	if (backend->error == 0)
		backend->error = rc;
}

static void on_answer(void *context, int error, const struct addr_set *used)
{
	struct backend *backend = context;

	if (error < 0)
		log_warning("cannot ask for connections: those of removed addresses may end",
			log_errno("error", -error));
	else if (backend->passing && used->count > 0)
		log_v(1, "removed addresses stay while connections use them",
			log_int("count", (int64_t)used->count));
	stop_asking(backend);
	keep(backend, used);
	ask_later(backend);
	if (backend->passing)
		end_pass(backend);
}

static void ask(struct backend *backend)
{
	struct addr_set going = addr_set_minus(&backend->routed, &backend->wanted);
	const struct addr_set none = {.count = 0};
	int rc;

	backend->asked_ms = clock_now_ms();
	rc = connections_ask(&backend->query, backend->base, &going, on_answer, backend);
	addr_set_fini(&going);
	if (rc < 0)
		on_answer(backend, rc, &none);
}

static void on_linger(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	ask(context);
}

/* ---- a pass ---- */

/* What there is of ours: what is known to be, or what the kernel says. Returns 0 or a negative errno. */
static int look(struct backend *backend, struct addr_set *there)
{
	struct addr_set strangers;
	int rc = 0;

	if (backend->was)
		*there = addr_set_copy(&backend->routed);
	else
		rc = route_local_load(&there->list, &there->count);
	strangers = addr_set_minus(there, &backend->routed);
	backend->corrected = backend->brought && strangers.count > 0;
	addr_set_fini(&strangers);
	return rc;
}

/* Adds what is missing, of what lingers too. */
static void add_missing(struct backend *backend)
{
	struct addr_set there = {.count = 0}, lingering = addr_set_minus(&backend->routed, &backend->wanted);
	struct addr_set all;
	size_t changes = 0;
	int rc;

	addr_set_replace_take(&backend->wanted, (struct addr_set){.count = 0});
	backend->wanted.list = rules_addresses(backend->now, &backend->wanted.count);
	rc = look(backend, &there);
	all = addr_set_union(&there, &lingering);
	addr_set_replace_take(&backend->routed, addr_set_union(&all, &backend->wanted));
	if (rc == 0)
		rc = route_local_change(
			there.list, there.count, backend->routed.list, backend->routed.count, &changes);
	backend->error = rc;
	backend->corrected |= backend->brought && !backend->was && changes > 0;
	addr_set_fini(&there);
	addr_set_fini(&all);
	addr_set_fini(&lingering);
}

static void on_step(evutil_socket_t fd, short what, void *context)
{
	struct backend *backend = context;

	(void)fd;
	(void)what;
	stop_asking(backend);
	add_missing(backend);
	backend->passing = true;
	if (backend->routed.count > backend->wanted.count)
		ask(backend);
	else
		end_pass(backend);
}

static void local_start(
	struct backend *backend, const struct steering_rules *was, const struct steering_rules *now)
{
	backend->was = was;
	backend->now = now;
	evtimer_add(backend->step_event, &(struct timeval){0});
}

/* A pass that asks has changed something, or finds what lingers, which is soon answered. */
static bool local_abandon(struct backend *backend)
{
	if (backend->passing)
		return false;
	event_del(backend->step_event);
	return true;
}

static void local_close(struct backend *backend)
{
	if (!backend)
		return;
	route_monitor_free(backend->monitor);
	connections_query_free(backend->query);
	if (backend->step_event)
		event_free(backend->step_event);
	if (backend->linger_event)
		event_free(backend->linger_event);
	addr_set_fini(&backend->wanted);
	addr_set_fini(&backend->routed);
	free(backend);
}

static struct backend *local_open(
	struct event_base *base, const struct steering_options *options, const struct backend_events *events)
{
	struct backend *backend = mem_calloc(1, sizeof(*backend));

	(void)options;
	backend->base = base;
	backend->events = events;
	backend->step_event = evtimer_new(base, on_step, backend);
	backend->linger_event = evtimer_new(base, on_linger, backend);
	if (backend->step_event && backend->linger_event) {
		backend->monitor = route_monitor_new(base, on_changed, backend);
		log_v(1, "steering by local addresses, without netfilter");
		return backend;
	}
	local_close(backend);
	return NULL;
}

static bool local_works(int tool_timeout_ms, char **why)
{
	(void)tool_timeout_ms;
	*why = mem_strdup("local routes need no tool");
	return true;
}

static int local_cleanup(int tool_timeout_ms)
{
	struct addr *routes = NULL;
	size_t count = 0, changes;
	int rc = route_local_load(&routes, &count);

	(void)tool_timeout_ms;
	if (rc == 0 && count > 0)
		rc = route_local_change(routes, count, NULL, 0, &changes);
	if (rc < 0)
		log_error("cannot remove local routes", log_errno("error", -rc));
	free(routes);
	return rc;
}

const struct backend_ops backend_local = {
	.name = "local",
	.open = local_open,
	.close = local_close,
	.start = local_start,
	.abandon = local_abandon,
	.works = local_works,
	.cleanup = local_cleanup,
};
