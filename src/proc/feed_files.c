/* Owns the manifests in control: when they are read again, and what of it is new. Runs in control. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "proc/control.h"
#include "proc/feed.h"
#include "proc/manifests.h"

/* A change is taken up when the files have been quiet this long: a copy of many files is one reload. But
 * endless changes can't put it off for longer than this. */
#define SETTLE_MS 50
#define SETTLE_MAX_MS 1000
/* Files are compared this often even where inotify works: it doesn't on some network file systems, and a
 * watched directory may have been replaced. */
#define POLL_MS 5000
/* Without inotify. */
#define POLL_ALONE_MS 1000

struct feed_files {
	struct feed_setup setup;
	struct event *changed, *settle, *poll;
	int64_t settle_by_ms;       /* while settle is pending: at the latest */
	struct manifests manifests; /* as of the last load */
	bool loaded;
	struct model_snapshot *snapshot; /* the last good one */
};

/* Constant messages, so that the level stands in the line and the finding in its field; findings are not
 * rate-limited, since each is a different one. */
static void print_finding(enum source_severity severity, const char *line)
{
	enum log_level level = severity == SOURCE_ERROR     ? LOG_LEVEL_ERROR
			       : severity == SOURCE_WARNING ? LOG_LEVEL_WARNING
							    : LOG_LEVEL_INFO;

	log_each(level, "manifest", log_str("finding", line));
}

/* ---- what is new ---- */

/* A walk over a snapshot's Services and, as both are sorted alike, the slices of each. */
struct walk {
	const struct model_snapshot *snapshot;
	size_t at;                 /* the Service */
	size_t first, slice_count; /* its slices */
};

/* Finds the slices of the Service at which it is. */
static void walk_find_slices(struct walk *walk)
{
	const struct model_snapshot *snapshot = walk->snapshot;
	const struct model_service *service;

	walk->first += walk->slice_count;
	walk->slice_count = 0;
	if (walk->at == snapshot->service_count)
		return;
	service = snapshot->services[walk->at];
	while (walk->first < snapshot->slice_count &&
		model_slice_service_cmp(snapshot->slices[walk->first], service) < 0)
		walk->first++;
	while (walk->first + walk->slice_count < snapshot->slice_count &&
		model_slice_service_cmp(snapshot->slices[walk->first + walk->slice_count], service) == 0)
		walk->slice_count++;
}

static struct walk walk_begin(const struct model_snapshot *snapshot)
{
	struct walk walk = {.snapshot = snapshot};

	walk_find_slices(&walk);
	return walk;
}

static void walk_next(struct walk *walk)
{
	walk->at++;
	walk_find_slices(walk);
}

/* NULL at the end. */
static const struct model_service *walk_service(const struct walk *walk)
{
	return walk->at < walk->snapshot->service_count ? walk->snapshot->services[walk->at] : NULL;
}

static void tell_service(
	const struct feed_files *feed, const struct walk *walk, bool service_changed, bool endpoints_changed)
{
	const struct model_service *service = walk_service(walk);
	struct feed_service told = {
		.namespace = service->namespace,
		.name = service->name,
		.service = service,
		.slices = walk->snapshot->slices + walk->first,
		.slice_count = walk->slice_count,
		.service_changed = service_changed,
		.endpoints_changed = endpoints_changed,
	};

	feed->setup.handlers->service(feed->setup.context, &told);
}

static void tell_gone(const struct feed_files *feed, const struct model_service *service)
{
	struct feed_service told = {
		.namespace = service->namespace,
		.name = service->name,
		.service_changed = true,
	};

	feed->setup.handlers->service(feed->setup.context, &told);
}

static bool same_slices(const struct walk *old, const struct walk *new)
{
	if (old->slice_count != new->slice_count)
		return false;
	for (size_t i = 0; i < old->slice_count; i++) {
		if (!model_slice_equal(
			    old->snapshot->slices[old->first + i], new->snapshot->slices[new->first + i]))
			return false;
	}
	return true;
}

/* NULL: behind all. */
static int services_order(const struct model_service *a, const struct model_service *b)
{
	if (!a || !b)
		return a ? -1 : 1;
	return model_service_cmp(a, b);
}

/* again: also what is the same. */
static void tell_same(
	const struct feed_files *feed, const struct walk *was, const struct walk *is, bool again)
{
	bool service_changed = !model_service_equal(walk_service(was), walk_service(is));
	bool endpoints_changed = !same_slices(was, is);

	if (again || service_changed || endpoints_changed)
		tell_service(feed, is, service_changed, endpoints_changed);
}

static void tell_changes(const struct feed_files *feed, const struct model_snapshot *old,
	const struct model_snapshot *new, bool again)
{
	struct walk was = walk_begin(old), is = walk_begin(new);

	while (walk_service(&was) || walk_service(&is)) {
		int order = services_order(walk_service(&was), walk_service(&is));

		if (order < 0)
			tell_gone(feed, walk_service(&was));
		else if (order > 0)
			tell_service(feed, &is, true, true);
		else
			tell_same(feed, &was, &is, again);
		if (order <= 0)
			walk_next(&was);
		if (order >= 0)
			walk_next(&is);
	}
}

static const char *zone_of(const struct feed_files *feed, const struct model_snapshot *snapshot)
{
	const struct model_node *node = model_find_node(snapshot, feed->setup.options->node_name);

	return node ? node->zone : NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Takes the snapshot. whole: nothing was left out of it. */
static void take_snapshot(struct feed_files *feed, struct model_snapshot *snapshot, bool whole)
{
	struct model_snapshot *old = feed->snapshot;
	struct feed_node node = {.zone = zone_of(feed, snapshot)};
	bool moved;

	if (!old)
		old = model_builder_finish(model_builder_new());
	moved = !same_text(zone_of(feed, old), node.zone);
	feed->snapshot = snapshot;
	if (moved)
		feed->setup.handlers->node(feed->setup.context, &node);
	tell_changes(feed, old, snapshot, moved);
	feed->setup.handlers->settled(feed->setup.context, whole);
	/* Which takes a while if there is much of it. */
	model_snapshot_unref(old);
}

/* ---- loading ---- */

static void take_up(struct feed_files *feed)
{
	const struct options *options = feed->setup.options;
	struct model_snapshot *snapshot;
	size_t errors;

	snapshot = manifests_decode(&feed->manifests, options, feed->snapshot, print_finding, &errors);
	if (errors && options->strict && feed->setup.first && !feed->snapshot) {
		log_error("--strict: the manifests have errors", log_int("errors", (int64_t)errors));
		model_snapshot_unref(snapshot);
		feed->setup.handlers->failed(feed->setup.context, CONTROL_EXIT_FATAL);
		return;
	}
	if (!snapshot) {
		log_error("manifests not taken: the last good state stays in force",
			log_int("errors", (int64_t)errors));
		return;
	}
	log_info("manifests loaded", log_int("services", (int64_t)snapshot->service_count),
		log_int("errors", (int64_t)errors));
	/* A restarted control whose manifests have errors must not have the rest removed that its predecessor
	 * had put in force. */
	take_snapshot(feed, snapshot, errors == 0 || feed->setup.first);
}

static void load(struct feed_files *feed)
{
	struct manifests fresh;
	int rc = manifests_fetch(&fresh, feed->setup.options, feed->setup.files);

	if (rc < 0) {
		log_error("the starter does not answer", log_errno("error", -rc));
		feed->setup.handlers->failed(feed->setup.context, 1);
		return;
	}
	if (feed->loaded && manifests_equal(&fresh, &feed->manifests)) {
		manifests_free(&fresh);
		return;
	}
	manifests_free(&feed->manifests);
	feed->manifests = fresh;
	feed->loaded = true;
	take_up(feed);
}

static void on_settled(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	load(context);
}

static void on_changed(evutil_socket_t fd, short what, void *context)
{
	struct feed_files *feed = context;
	int64_t now_ms = clock_now_ms(), delay_ms = SETTLE_MS;
	struct timeval settle = {.tv_sec = 0};
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

	(void)what;
	/* What exactly happened doesn't matter: everything is read again and compared. */
	while (read(fd, events, sizeof(events)) > 0)
		;
	if (!event_pending(feed->settle, EV_TIMEOUT, NULL))
		feed->settle_by_ms = now_ms + SETTLE_MAX_MS;
	else if (delay_ms > feed->settle_by_ms - now_ms)
		delay_ms = feed->settle_by_ms > now_ms ? feed->settle_by_ms - now_ms : 0;
	settle.tv_usec = (suseconds_t)delay_ms * 1000;
	event_add(feed->settle, &settle);
}

struct feed_files *feed_files_open(const struct feed_setup *setup)
{
	struct feed_files *feed = mem_calloc(1, sizeof(*feed));
	int poll_ms = setup->inotify_fd >= 0 ? POLL_MS : POLL_ALONE_MS;
	struct timeval interval = {.tv_sec = poll_ms / 1000};

	feed->setup = *setup;
	feed->settle = event_new(setup->base, -1, 0, on_settled, feed);
	feed->poll = event_new(setup->base, -1, EV_PERSIST, on_settled, feed);
	event_add(feed->poll, &interval);
	if (setup->inotify_fd >= 0) {
		feed->changed =
			event_new(setup->base, setup->inotify_fd, EV_READ | EV_PERSIST, on_changed, feed);
		event_add(feed->changed, NULL);
	}
	load(feed);
	return feed;
}

void feed_files_close(struct feed_files *feed)
{
	if (!feed)
		return;
	if (feed->changed)
		event_free(feed->changed);
	event_free(feed->settle);
	event_free(feed->poll);
	manifests_free(&feed->manifests);
	model_snapshot_unref(feed->snapshot);
	free(feed);
}
