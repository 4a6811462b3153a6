/* Owns the connection between the watches, which know the protocol but do no I/O, and the client, which does
 * I/O but knows no protocol; and says what changed in the store. Runs in control.
 *
 * Changes are gathered for a moment under load: a feed that has just been taken up waits GATHER_MS, one that
 * was quiet says at once. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "portald/apiclient.h"
#include "portald/clock.h"
#include "portald/kubeconfig.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "portald/watch.h"
#include "proc/control.h"
#include "proc/feed.h"
#include "proc/opener.h"

/* The least between two changes that are taken up. */
#define GATHER_MS 5
/* How often a restarted control tries again to load a configuration that is broken now. */
#define RELOAD_MS 5000

/* One resource. */
struct follower {
	struct feed_api *feed;
	struct watch *watch;
	struct apiclient_request *request; /* NULL: none is under way */
	bool answered;                     /* its answer has begun */
	struct event *timer;
};

struct feed_api {
	struct feed_setup setup;
	struct kubeconfig_opener opener;
	struct kubeconfig *config;
	struct apiclient *client;
	struct watch_store *store;
	struct follower followers[WATCH_RESOURCES];
	struct event *gather;
	char *host;      /* of the server, with its port */
	int64_t told_ms; /* when changes were told last */
	bool begun;      /* something was told */
	char *zone;      /* as it was told */
	bool deleting;
};

/* ---- what is new ---- */

static void tell_service(const struct feed_api *feed, const struct watch_change *change)
{
	const char *namespace = change->namespace, *name = change->name;
	struct model_slice *const *slices = NULL;
	struct feed_service told = {
		.namespace = namespace,
		.name = name,
		.service = watch_store_service(feed->store, namespace, name),
		.service_changed = change->service,
		.endpoints_changed = change->endpoints,
	};

	if (told.service)
		told.slice_count = watch_store_slices(feed->store, namespace, name, &slices);
	told.slices = slices;
	feed->setup.handlers->service(feed->setup.context, &told);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Returns true if all Services must be told again. */
static bool tell_node(struct feed_api *feed)
{
	const struct watch_node *node = watch_store_node(feed->store);
	const char *zone = node ? node->model->zone : NULL;
	struct feed_node told = {.zone = zone, .deleting = node && node->deleting};
	bool moved = !same_text(zone, feed->zone);

	if (!moved && told.deleting == feed->deleting)
		return false;
	feed->deleting = told.deleting;
	if (moved) {
		free(feed->zone);
		feed->zone = mem_strdup(zone);
	}
	feed->setup.handlers->node(feed->setup.context, &told);
	return moved;
}

static void tell_all(const struct feed_api *feed)
{
	struct model_snapshot *snapshot = watch_store_snapshot(feed->store);

	for (size_t i = 0; i < snapshot->service_count; i++) {
		struct watch_change again = {
			.namespace = snapshot->services[i]->namespace,
			.name = snapshot->services[i]->name,
		};

		tell_service(feed, &again);
	}
	model_snapshot_unref(snapshot);
}

static void tell_changes(struct feed_api *feed)
{
	bool moved = watch_store_node_changed(feed->store) && tell_node(feed);
	const struct watch_change *change = watch_store_changes(feed->store);
	bool any = moved || change || !feed->begun;

	for (; change; change = change->next)
		tell_service(feed, change);
	if (moved && feed->begun)
		tell_all(feed);
	watch_store_changes_clear(feed->store);
	feed->begun = true;
	feed->told_ms = clock_now_ms();
	if (any)
		feed->setup.handlers->settled(feed->setup.context, true);
}

/* Nothing may be programmed before Services and endpoints have both been listed. The node's zone decides
 * about endpoints too, so it is waited for, but not when it can't be had. */
static bool may_begin(const struct feed_api *feed)
{
	return watch_store_synced(feed->store) &&
	       (watch_store_listed(feed->store, WATCH_NODE) ||
		       watch_status(feed->followers[WATCH_NODE].watch).problem);
}

static void gather_later(struct feed_api *feed, int64_t delay_ms)
{
	struct timeval delay = {.tv_usec = delay_ms * 1000};

	if (!event_pending(feed->gather, EV_TIMEOUT, NULL))
		event_add(feed->gather, &delay);
}

static void on_gathered(evutil_socket_t fd, short what, void *context)
{
	struct feed_api *feed = context;

	(void)fd;
	(void)what;
	if (feed->setup.handlers->ready(feed->setup.context))
		tell_changes(feed);
	else
		gather_later(feed, GATHER_MS);
}

static void look_for_changes(struct feed_api *feed)
{
	int64_t since_ms = clock_now_ms() - feed->told_ms;

	if (!feed->begun && !may_begin(feed))
		return;
	if (!feed->begun || watch_store_changes(feed->store) || watch_store_node_changed(feed->store))
		gather_later(feed, since_ms < GATHER_MS ? GATHER_MS - since_ms : 0);
}

/* ---- requests ---- */

static const struct apiclient_handlers request_handlers;

static void set_timer(struct follower *follower, int64_t now_ms)
{
	int64_t due_ms = watch_due_ms(follower->watch), wait_ms;
	struct timeval wait;

	if (due_ms == INT64_MAX) {
		event_del(follower->timer);
		return;
	}
	wait_ms = due_ms > now_ms ? due_ms - now_ms : 0;
	wait = (struct timeval){.tv_sec = wait_ms / 1000, .tv_usec = (wait_ms % 1000) * 1000};
	event_add(follower->timer, &wait);
}

/* After each input of the watch: the request that is due, and the time at which to look again. */
static void proceed(struct follower *follower)
{
	int64_t now_ms = clock_now_ms();
	struct watch_request request;

	if (!follower->request && watch_next(follower->watch, now_ms, &request)) {
		/* The watch sees to the deadline, and the client to credentials that have met a 401. */
		follower->answered = false;
		follower->request =
			apiclient_get(follower->feed->client, request.target, 0, &request_handlers, follower);
	}
	set_timer(follower, now_ms);
	look_for_changes(follower->feed);
}

static void drop_request(struct follower *follower)
{
	if (follower->request)
		apiclient_cancel(follower->request);
	follower->request = NULL;
}

static void tell_asked(struct follower *follower, unsigned status)
{
	const struct feed_setup *setup = &follower->feed->setup;

	if (!follower->answered)
		setup->handlers->asked(setup->context, status, follower->feed->host);
	follower->answered = true;
}

static void on_start(void *context, const struct apiclient_answer *answer)
{
	struct follower *follower = context;
	int64_t retry_after_s = answer->retry_after_ms < 0 ? -1 : answer->retry_after_ms / 1000;

	tell_asked(follower, (unsigned)answer->status);
	watch_response(follower->watch, clock_now_ms(), answer->status, retry_after_s);
	proceed(follower);
}

static void on_bytes(void *context, const char *bytes, size_t count)
{
	struct follower *follower = context;

	if (watch_body(follower->watch, clock_now_ms(), bytes, count) < 0)
		drop_request(follower);
	proceed(follower);
}

static void on_end(void *context, int error, const char *message)
{
	struct follower *follower = context;

	follower->request = NULL;
	tell_asked(follower, 0);
	watch_ended(follower->watch, clock_now_ms(), error, error < 0 ? message : NULL);
	proceed(follower);
}

static const struct apiclient_handlers request_handlers = {
	.start = on_start, .bytes = on_bytes, .end = on_end};

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct follower *follower = context;

	(void)fd;
	(void)what;
	if (watch_timer(follower->watch, clock_now_ms()) < 0)
		drop_request(follower);
	proceed(follower);
}

static uint32_t random_number(void *context)
{
	uint32_t number = 0;

	(void)context;
	/* Without it, jitter is nothing but less jittery. */
	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) < 0)
		return 0;
	return number;
}

static void report(void *context, enum watch_level level, const char *text)
{
	(void)context;
	if (level == WATCH_WARNING)
		log_warning("API server", log_str("problem", text));
	else if (level == WATCH_INFO)
		log_info("API server", log_str("event", text));
	else
		log_v(2, "API server", log_str("event", text));
}

/* ---- the configuration ---- */

static void print_finding(void *context, const struct source_diag *diag)
{
	char *line = source_diag_format(diag);

	(void)context;
	if (diag->severity == SOURCE_ERROR)
		log_each(LOG_LEVEL_ERROR, "kubeconfig", log_str("finding", line));
	else
		log_each(LOG_LEVEL_WARNING, "kubeconfig", log_str("finding", line));
	free(line);
}

static int load_config(struct feed_api *feed)
{
	struct kubeconfig_request request = options_kubeconfig_request(feed->setup.options);
	int rc = kubeconfig_load(&request, &feed->opener, print_finding, NULL, &feed->config);

	/* What the network says comes after this: no file can be added for it. */
	if (rc == 0)
		rc = opener_close_list(feed->setup.files);
	return rc;
}

static int begin(struct feed_api *feed)
{
	int rc = load_config(feed);

	if (rc < 0)
		return rc;
	feed->client = apiclient_new(feed->setup.base, feed->config, &feed->opener, NULL);
	if (!feed->client)
		return -ENOMEM;
	feed->host = mem_printf("%s:%u", feed->config->host, feed->config->port);
	log_info("following the API server", log_str("server", feed->config->server),
		log_str("node", feed->setup.options->node_name));
	for (size_t i = 0; i < WATCH_RESOURCES; i++) {
		struct watch_config config = {
			.resource = (enum watch_resource)i,
			.node_name = feed->setup.options->node_name,
			.random = random_number,
			.report = report,
		};
		struct follower *follower = &feed->followers[i];

		follower->feed = feed;
		follower->watch = watch_new(&config, feed->store);
		follower->timer = event_new(feed->setup.base, -1, 0, on_timer, follower);
	}
	for (size_t i = 0; i < WATCH_RESOURCES; i++) {
		watch_start(feed->followers[i].watch, clock_now_ms());
		proceed(&feed->followers[i]);
	}
	return 0;
}

/* At the first start a configuration that can't be used ends the daemon. Later what is in force stays. */
static void on_reload(evutil_socket_t fd, short what, void *context)
{
	struct feed_api *feed = context;
	struct timeval later = {.tv_sec = RELOAD_MS / 1000};

	(void)fd;
	(void)what;
	if (begin(feed) == 0)
		return;
	if (feed->setup.first)
		feed->setup.handlers->failed(feed->setup.context, CONTROL_EXIT_FATAL);
	else
		event_base_once(feed->setup.base, -1, EV_TIMEOUT, on_reload, feed, &later);
}

struct feed_api *feed_api_open(const struct feed_setup *setup)
{
	struct feed_api *feed = mem_calloc(1, sizeof(*feed));

	feed->setup = *setup;
	feed->opener = opener_of(setup->files);
	feed->store = watch_store_new();
	feed->gather = event_new(setup->base, -1, 0, on_gathered, feed);
	on_reload(-1, 0, feed);
	return feed;
}

void feed_api_close(struct feed_api *feed)
{
	if (!feed)
		return;
	apiclient_free(feed->client);
	for (size_t i = 0; i < WATCH_RESOURCES; i++) {
		watch_free(feed->followers[i].watch);
		if (feed->followers[i].timer)
			event_free(feed->followers[i].timer);
	}
	event_free(feed->gather);
	watch_store_free(feed->store);
	kubeconfig_free(feed->config);
	free(feed->host);
	free(feed->zone);
	free(feed);
}
