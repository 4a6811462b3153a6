/* Control: reads the manifests, decodes, plans, and sends the supervisor what changed. Unprivileged: files
 * come as descriptors from the starter. If it dies, connections flow on; its successor sends the whole plan
 * and the supervisor finds the differences. */
#include "proc/control.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "portald/admin.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "portald/stats.h"
#include "proc/link.h"
#include "proc/manifests.h"
#include "proc/report.h"

/* A change is taken up when the files have been quiet this long: a copy of many files is one reload. */
#define SETTLE_MS 50
/* Files are compared this often even where inotify works: it doesn't on some network file systems, and a
 * watched directory may have been replaced. */
#define POLL_MS 5000
/* Without inotify. */
#define POLL_ALONE_MS 1000

struct control {
	const struct control_setup *setup;
	struct event_base *base;
	struct link supervisor;
	struct ipc_channel *files;
	struct event *changed, *settle, *poll;
	struct stats *stats;
	struct report *report;
	struct admin *admin;        /* the report's */
	struct manifests manifests; /* as of the last load */
	bool loaded;
	struct model_snapshot *snapshot; /* the last good one */
	struct plan *plan;               /* as the supervisor knows it; NULL: it may know more */
	uint64_t generation;
	int exit_code;
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

static void control_stop(struct control *control, int exit_code)
{
	control->exit_code = exit_code;
	event_base_loopbreak(control->base);
}

/* ---- sending the plan ---- */

static void send_change(void *context, enum plan_change kind, const struct plan_listener *listener)
{
	struct control *control = context;
	struct ipc_channel *channel = control->supervisor.channel;
	int rc;

	if (kind == PLAN_REMOVED) {
		report_forget(control->report, listener->id);
		rc = ipc_send_listener_del(channel, listener->id);
	} else {
		report_expect(control->report, listener->id);
		rc = ipc_send_listener_put(channel, listener);
	}
	if (rc < 0) {
		log_error(
			"cannot send a listener", log_str("service", listener->key), log_errno("error", -rc));
		control_stop(control, 1);
	}
}

/* Takes the plan. Until one was sent whole, each is sent with everything it has. A restarted control whose
 * manifests have errors must not have the rest removed that its predecessor had put in force: it sends what
 * it has, as a change, and the next plan will be a whole one again. */
static void send_plan_take(struct control *control, struct plan *plan, bool errors)
{
	bool partial = !control->plan && errors && !control->setup->first;
	struct ipc_sync sync = {.generation = ++control->generation, .full = !control->plan && !partial};
	int rc = ipc_send_sync(control->supervisor.channel, IPC_SYNC_BEGIN, &sync);

	plan_diff(control->plan, plan, send_change, control);
	if (rc == 0)
		rc = ipc_send_sync(control->supervisor.channel, IPC_SYNC_END, &sync);
	link_sent(&control->supervisor, rc);
	if (rc < 0)
		control_stop(control, 1);
	admin_sync_queued(control->admin);
	plan_free(control->plan);
	control->plan = plan;
	if (partial) {
		plan_free(plan);
		control->plan = NULL;
	}
}

static void log_plan(const struct plan *plan)
{
	for (size_t i = 0; i < plan->skipped_count; i++)
		log_v(1, "not opened", log_str("service", plan->skipped[i].key),
			log_str("reason", plan->skipped[i].reason));
	for (size_t i = 0; i < plan->listener_count; i++) {
		if (plan->listeners[i]->note)
			log_v(1, "note", log_str("service", plan->listeners[i]->key),
				log_str("reason", plan->listeners[i]->note));
	}
}

/* On a node only: elsewhere the ports would be opened where nobody meant them to be. */
static void serve_health_checks(struct control *control, const struct plan *plan)
{
	const struct options *options = control->setup->options;
	struct admin_health_check *checks;

	if (options->command == OPTIONS_RUN || options->steering == OPTIONS_STEERING_NONE)
		return;
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

/* ---- loading ---- */

static void take_up(struct control *control)
{
	const struct options *options = control->setup->options;
	struct plan_facts facts = options_facts(options);
	struct model_snapshot *snapshot;
	struct plan *plan;
	size_t errors;

	snapshot = manifests_decode(&control->manifests, options, control->snapshot, print_finding, &errors);
	if (errors && options->strict && control->setup->first && !control->snapshot) {
		log_error("--strict: the manifests have errors", log_int("errors", (int64_t)errors));
		model_snapshot_unref(snapshot);
		control_stop(control, CONTROL_EXIT_STRICT);
		return;
	}
	if (!snapshot) {
		log_error("manifests not taken: the last good state stays in force",
			log_int("errors", (int64_t)errors));
		return;
	}
	model_snapshot_unref(control->snapshot);
	control->snapshot = snapshot;
	plan = plan_build(snapshot, &facts);
	log_info("manifests loaded", log_int("services", (int64_t)snapshot->service_count),
		log_int("listeners", (int64_t)plan->listener_count), log_int("errors", (int64_t)errors));
	log_plan(plan);
	serve_health_checks(control, plan);
	send_plan_take(control, plan, errors > 0);
}

static void load(struct control *control)
{
	struct manifests fresh;
	int rc = manifests_fetch(&fresh, control->setup->options, control->files);

	if (rc < 0) {
		log_error("the starter does not answer", log_errno("error", -rc));
		control_stop(control, 1);
		return;
	}
	if (control->loaded && manifests_equal(&fresh, &control->manifests)) {
		manifests_free(&fresh);
		return;
	}
	manifests_free(&control->manifests);
	control->manifests = fresh;
	control->loaded = true;
	take_up(control);
}

static void on_settled(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	load(context);
}

static void on_changed(evutil_socket_t fd, short what, void *context)
{
	struct control *control = context;
	struct timeval settle = {.tv_usec = SETTLE_MS * 1000};
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

	(void)what;
	/* What exactly happened doesn't matter: everything is read again and compared. */
	while (read(fd, events, sizeof(events)) > 0)
		;
	/* A timer that runs already keeps its time, so endless changes can't put a reload off for ever. */
	if (!event_pending(control->settle, EV_TIMEOUT, NULL))
		event_add(control->settle, &settle);
}

/* ---- the supervisor's side ---- */

static int on_frame(void *context, struct ipc_frame *frame)
{
	struct control *control = context;
	struct ipc_sync_done done;

	if (frame->type == IPC_LISTENER_STATE)
		return report_take_state(control->report, frame);
	if (frame->type != IPC_SYNC_DONE || ipc_decode_sync_done(frame, &done) < 0)
		return -EPROTO;
	/* Of an older plan, success says nothing: a newer one is on its way. */
	if (done.error < 0 || done.generation == control->generation)
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

	return control->plan;
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
	int poll_ms = setup->inotify_fd >= 0 ? POLL_MS : POLL_ALONE_MS;
	struct timeval interval = {.tv_sec = poll_ms / 1000};

	control->base = event_base_new();
	control->files = ipc_channel_new(setup->files_fd);
	link_open(&control->supervisor, control->base, setup->channel_fd, &supervisor_handlers, control);
	control->settle = event_new(control->base, -1, 0, on_settled, control);
	control->poll = event_new(control->base, -1, EV_PERSIST, on_settled, control);
	event_add(control->poll, &interval);
	if (setup->inotify_fd >= 0) {
		control->changed = event_new(
			control->base, setup->inotify_fd, EV_READ | EV_PERSIST, on_changed, control);
		event_add(control->changed, NULL);
	}
	if (setup->stats_fd >= 0)
		control->stats = stats_map(setup->stats_fd, 0);
	report.stats = control->stats;
	report.base = control->base;
	control->report = report_new(&report);
	if (!control->report)
		return -EADDRNOTAVAIL;
	control->admin = report_admin(control->report);
	return 0;
}

static void control_close(struct control *control)
{
	if (control->changed)
		event_free(control->changed);
	event_free(control->settle);
	event_free(control->poll);
	link_close(&control->supervisor);
	ipc_channel_free(control->files);
	manifests_free(&control->manifests);
	model_snapshot_unref(control->snapshot);
	plan_free(control->plan);
	report_free(control->report);
	stats_unmap(control->stats);
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
	else
		load(&control);
	if (control.exit_code == 0)
		event_base_dispatch(control.base);
	control_close(&control);
	return control.exit_code;
}
