/* Control: takes Services from its feed, plans, and sends the supervisor what changed. Unprivileged: files
 * come as descriptors from the starter. If it dies, connections flow on; its successor sends the whole plan
 * and the supervisor finds the differences. */
#include "proc/control.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portald/admin.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "portald/plan_book.h"
#include "portald/stats.h"
#include "proc/feed.h"
#include "proc/link.h"
#include "proc/report.h"

struct control {
	const struct control_setup *setup;
	struct event_base *base;
	struct link supervisor;
	struct ipc_channel *files;
	struct stats *stats;
	struct report *report;
	struct admin *admin; /* the report's */
	struct feed *feed;
	struct plan_facts facts;
	char *zone; /* of the own node, as the feed says */
	struct plan_book *book;
	/* Since the last sync: Services, and those whose endpoints did. */
	size_t services_changed, endpoints_changed;
	bool waits;      /* as in setup, until then */
	bool whole_sent; /* the supervisor knows the plan, and nothing else */
	bool syncing;    /* SYNC_BEGIN of `sync` has been sent, SYNC_END not */
	struct ipc_sync sync;
	int exit_code;
};

static void control_stop(struct control *control, int exit_code)
{
	control->exit_code = exit_code;
	event_base_loopbreak(control->base);
}

/* ---- sending the plan ---- */

/* Notes what a send returned. */
static void sent(struct control *control, int rc)
{
	link_sent(&control->supervisor, rc);
	if (rc < 0 && control->exit_code == 0) {
		log_error("cannot send the plan", log_errno("error", -rc));
		control_stop(control, 1);
	}
}

static void begin_sync(struct control *control, bool full)
{
	control->sync.generation++;
	control->sync.full = full;
	control->syncing = true;
	sent(control, ipc_send_sync(control->supervisor.channel, IPC_SYNC_BEGIN, &control->sync));
}

static void end_sync(struct control *control)
{
	control->syncing = false;
	sent(control, ipc_send_sync(control->supervisor.channel, IPC_SYNC_END, &control->sync));
	admin_sync_queued(control->admin);
}

static void log_note(const struct plan_listener *listener)
{
	if (listener->note)
		log_v(1, "note", log_str("service", listener->key), log_str("reason", listener->note));
}

/* A sync begins with the first change, so that no change is no sync. */
static void send_change(void *context, enum plan_change kind, const struct plan_listener *listener)
{
	struct control *control = context;

	if (!control->syncing)
		begin_sync(control, false);
	if (kind == PLAN_REMOVED) {
		report_forget(control->report, listener->id);
		sent(control, ipc_send_listener_del(control->supervisor.channel, listener->id));
		return;
	}
	log_note(listener);
	report_expect(control->report, listener->id);
	sent(control, ipc_send_listener_put(control->supervisor.channel, listener));
}

static void ignore_change(void *context, enum plan_change kind, const struct plan_listener *listener)
{
	(void)context;
	(void)kind;
	(void)listener;
}

/* Until the plan was sent whole, each is sent with everything that it has. What is not whole is sent as a
 * change, so that nothing is removed for it. */
static void send_all(struct control *control, bool whole)
{
	const struct plan *plan;

	plan_book_settle(control->book, ignore_change, control);
	plan = plan_book_view(control->book);
	for (size_t i = 0; i < plan->skipped_count; i++)
		log_v(1, "not opened", log_str("service", plan->skipped[i].key),
			log_str("reason", plan->skipped[i].reason));
	begin_sync(control, whole);
	for (size_t i = 0; i < plan->listener_count; i++)
		send_change(control, PLAN_ADDED, plan->listeners[i]);
	end_sync(control);
	control->whole_sent = whole;
}

static void send_changes(struct control *control)
{
	plan_book_settle(control->book, send_change, control);
	if (control->syncing) {
		end_sync(control);
		return;
	}
	admin_sync_unneeded(control->admin);
	/* Who has edited a file wants to know; most events of a cluster change nothing. */
	if (control->setup->options->manifest_count > 0)
		log_info("nothing to change");
	else
		log_v(2, "nothing to change");
}

/* On a node only: elsewhere the ports would be opened where nobody meant them to be. */
static void serve_health_checks(struct control *control)
{
	const struct options *options = control->setup->options;
	struct admin_health_check *checks;
	const struct plan *plan;

	if (options->command == OPTIONS_RUN || options->steering == OPTIONS_STEERING_NONE ||
		!plan_book_health_checks_changed(control->book))
		return;
	plan = plan_book_view(control->book);
	checks = mem_calloc(plan->health_check_count, sizeof(*checks));
	for (size_t i = 0; i < plan->health_check_count; i++) {
		const struct plan_health_check *from = &plan->health_checks[i];

		checks[i] = (struct admin_health_check){
			.port = from->port,
			.namespace = from->namespace,
			.name = from->name,
			.local_endpoints = from->local_endpoints,
		};
	}
	admin_set_health_checks(control->admin, checks, plan->health_check_count);
	free(checks);
}

/* ---- what the feed says ---- */

static void on_node(void *context, const struct feed_node *node)
{
	struct control *control = context;

	admin_set_node_leaving(control->admin, node->deleting);
	free(control->zone);
	control->zone = mem_strdup(node->zone);
	control->facts.zone = control->setup->options->zone ? control->setup->options->zone : control->zone;
}

static void on_service(void *context, const struct feed_service *service)
{
	struct control *control = context;
	int64_t trigger_ms = 0;

	for (size_t i = 0; i < service->slice_count; i++) {
		if (service->slices[i]->trigger_ms > trigger_ms)
			trigger_ms = service->slices[i]->trigger_ms;
	}
	if (!service->service || (service->endpoints_changed && trigger_ms > 0))
		admin_note_trigger(control->admin, service->namespace, service->name, trigger_ms);
	control->services_changed += service->service_changed;
	control->endpoints_changed += service->endpoints_changed;
	if (service->service)
		plan_book_put(control->book, service->service, service->slices, service->slice_count,
			&control->facts);
	else
		plan_book_remove(control->book, service->namespace, service->name);
}

static void on_fed(void *context, bool whole)
{
	struct control *control = context;

	if (control->exit_code != 0)
		return;
	admin_count_changes(control->admin, control->services_changed, control->endpoints_changed);
	control->services_changed = control->endpoints_changed = 0;
	if (control->whole_sent)
		send_changes(control);
	else
		send_all(control, whole);
	serve_health_checks(control);
}

/* What the socket does not take waits in memory: then changes are better gathered than queued. */
static bool is_ready(void *context)
{
	struct control *control = context;

	return !link_is_up(&control->supervisor) || !ipc_wants_write(control->supervisor.channel);
}

static void on_asked(void *context, unsigned status, const char *host)
{
	struct control *control = context;

	admin_count_request(control->admin, status, "GET", host);
}

static void on_feed_failed(void *context, int exit_code)
{
	control_stop(context, exit_code);
}

static const struct feed_handlers feed_handlers = {
	.node = on_node,
	.service = on_service,
	.settled = on_fed,
	.ready = is_ready,
	.asked = on_asked,
	.failed = on_feed_failed,
};

/* ---- the supervisor's side ---- */

static int on_frame(void *context, struct ipc_frame *frame)
{
	struct control *control = context;
	struct ipc_sync_done done;

	if (frame->type == IPC_LISTENER_STATE)
		return report_take_state(control->report, frame);
	if (frame->type != IPC_SYNC_DONE || ipc_decode_sync_done(frame, &done) < 0)
		return -EPROTO;
	if (control->waits) {
		control->waits = false;
		report_serve(control->report);
	}
	/* Of an older plan, success says nothing: a newer one is on its way. */
	if (done.error < 0 || done.generation == control->sync.generation)
		admin_sync_done(control->admin, done.error);
	log_v(2, "the supervisor has it in force", log_int("generation", (int64_t)done.generation),
		log_int("failed", done.failed));
	return 0;
}

static void on_down(void *context, int error)
{
	control_stop(context, error == -EPIPE ? 0 : 1);
}

static const struct link_handlers supervisor_handlers = {.frame = on_frame, .down = on_down};

static const struct plan *plan_now(void *context)
{
	const struct control *control = context;

	return control->sync.generation > 0 ? plan_book_view(control->book) : NULL;
}

/* Returns 0, or -EADDRNOTAVAIL if an address can't be had that must be. */
static int control_open(struct control *control)
{
	const struct control_setup *setup = control->setup;
	struct report_setup report = {
		.options = setup->options,
		.status_fd = setup->status_fd,
		.plan = plan_now,
		.context = control,
	};
	struct feed_setup feed = {
		.options = setup->options,
		.inotify_fd = setup->inotify_fd,
		.first = setup->first,
		.handlers = &feed_handlers,
		.context = control,
	};

	control->base = event_base_new();
	control->files = ipc_channel_new(setup->files_fd);
	link_open(&control->supervisor, control->base, setup->channel_fd, &supervisor_handlers, control);
	if (setup->stats_fd >= 0)
		control->stats = stats_map(setup->stats_fd, 0);
	control->facts = options_facts(setup->options);
	control->book = plan_book_new(&control->facts.defaults);
	report.stats = control->stats;
	report.base = control->base;
	control->report = report_new(&report);
	control->waits = setup->waits;
	if (!control->waits && report_serve(control->report) < 0)
		return -EADDRNOTAVAIL;
	control->admin = report_admin(control->report);
	feed.base = control->base;
	feed.files = control->files;
	control->feed = feed_open(&feed);
	return 0;
}

static void control_close(struct control *control)
{
	feed_close(control->feed);
	link_close(&control->supervisor);
	ipc_channel_free(control->files);
	report_free(control->report);
	stats_unmap(control->stats);
	plan_book_free(control->book);
	free(control->zone);
	event_base_free(control->base);
	if (control->setup->inotify_fd >= 0)
		close(control->setup->inotify_fd);
	if (control->setup->stats_fd >= 0)
		close(control->setup->stats_fd);
}

int control_run(const struct control_setup *setup)
{
	struct control control = {.setup = setup};

	if (control_open(&control) < 0)
		control.exit_code = CONTROL_EXIT_BIND;
	if (control.exit_code == 0)
		event_base_dispatch(control.base);
	control_close(&control);
	return control.exit_code;
}
