/* Owns the back end without netfilter: the portals' addresses become the host's own, by a local route for
 * each, and the listeners are bound to them. Runs in the supervisor.
 *
 *     state  event    next
 *     idle   start()  due
 *     due    timer    idle: done()
 *
 * There is no tool to wait for; some microseconds a route are spent in the kernel. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "steering/backend.h"
#include "steering/route.h"
#include "steering/rules.h"

struct backend {
	const struct backend_events *events;
	struct event *step_event;
	const struct steering_rules *was; /* of the pass that is due */
	const struct steering_rules *now;
	struct route_monitor *monitor; /* NULL: the kernel doesn't tell */
	struct addr *routed;           /* what the last pass has made the host's own, sorted */
	size_t routed_count;
	bool brought; /* a pass has succeeded: another one without was is an audit */
};

static int addrs_cmp(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

/* What a pass removes itself is no longer among those that are wanted. */
static void on_gone(void *context, const struct addr *to)
{
	struct backend *backend = context;

	if (!to || (backend->routed_count > 0 && bsearch(to, backend->routed, backend->routed_count,
							 sizeof(*backend->routed), addrs_cmp)))
		backend->events->disturbed(backend->events->context);
}

static void on_step(evutil_socket_t fd, short what, void *context)
{
	struct backend *backend = context;
	struct addr *was = NULL, *now;
	size_t was_count = 0, now_count, changes = 0;
	bool audit = backend->brought && !backend->was;
	int rc = 0;

	(void)fd;
	(void)what;
	now = rules_addresses(backend->now, &now_count);
	if (backend->was)
		was = rules_addresses(backend->was, &was_count);
	else
		rc = route_local_load(&was, &was_count);
	if (rc == 0)
		rc = route_local_change(was, was_count, now, now_count, &changes);
	free(was);
	free(backend->routed);
	backend->routed = now;
	backend->routed_count = now_count;
	backend->brought |= rc == 0;
	backend->events->done(backend->events->context, rc, rc < 0 ? "cannot set local routes" : NULL,
		rc == 0 && audit && changes > 0);
}

static void local_start(
	struct backend *backend, const struct steering_rules *was, const struct steering_rules *now)
{
	backend->was = was;
	backend->now = now;
	evtimer_add(backend->step_event, &(struct timeval){0});
}

static bool local_abandon(struct backend *backend)
{
	event_del(backend->step_event);
	return true;
}

static void local_close(struct backend *backend)
{
	if (!backend)
		return;
	route_monitor_free(backend->monitor);
	if (backend->step_event)
		event_free(backend->step_event);
	free(backend->routed);
	free(backend);
}

static struct backend *local_open(
	struct event_base *base, const struct steering_options *options, const struct backend_events *events)
{
	struct backend *backend = mem_calloc(1, sizeof(*backend));

	(void)options;
	backend->events = events;
	backend->step_event = evtimer_new(base, on_step, backend);
	if (backend->step_event) {
		backend->monitor = route_monitor_new(base, on_gone, backend);
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
