/* Owns the channels to control, the relays and the starter. Runs in the supervisor.
 *
 *   state    | event         | next
 *   ---------+---------------+---------------------------------------------------------------
 *   stopped  | restart timer | SPAWN sent, channel open: running
 *   running  | frame         | running; a broken one closes the channel
 *   running  | channel down  | running, without a link, until the starter tells of the exit
 *   running  | EXITED        | stopped; the timer runs: at once after a long life, else doubling
 */
#include "proc/children.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "portald/stats.h"

/* Restart delays. A child that lived LONG_LIFE_MS starts again with the shortest. */
#define DELAY_FIRST_MS 20
#define DELAY_MOST_MS 10000
#define LONG_LIFE_MS 10000
/* A child may go without a long life for this time. */
#define UNWELL_MS 60000

struct child {
	struct children *owner;
	enum ipc_role role;
	uint32_t index;
	struct link link;
	struct event *restart;
	int64_t started_ms;
	int64_t well_ms; /* the end of its last long life, or when the daemon started */
	int64_t delay_ms;
	uint32_t starts;
	bool running;
	bool renewed; /* its end is wanted, and says nothing about it */
	bool last;    /* is not started again */
};

struct children {
	struct event_base *base;
	struct link starter;
	int stats_fd;
	struct stats *stats;
	const struct child_handlers *handlers;
	void *context;
	struct child control;
	struct child *relays;
	uint32_t relay_count;
};

static const char *role_name(enum ipc_role role)
{
	return role == IPC_ROLE_CONTROL ? "control" : "relay";
}

static int on_child_frame(void *context, struct ipc_frame *frame)
{
	struct child *child = context;

	return child->owner->handlers->frame(child->owner->context, child->role, child->index, frame);
}

static void on_child_down(void *context, int error)
{
	struct child *child = context;

	/* A plain end is logged when the exit status is known. */
	if (error != -EPIPE)
		log_error("a child broke the protocol", log_str("child", role_name(child->role)),
			log_int("index", child->index), log_errno("error", -error));
}

static const struct link_handlers child_link_handlers = {.frame = on_child_frame, .down = on_child_down};

static void child_schedule(struct child *child)
{
	struct timeval delay = {
		.tv_sec = child->delay_ms / 1000,
		.tv_usec = child->delay_ms % 1000 * 1000,
	};

	event_add(child->restart, &delay);
	child->delay_ms = child->delay_ms * 2 < DELAY_MOST_MS ? child->delay_ms * 2 : DELAY_MOST_MS;
}

/* Asks the starter for the child, which gets one end of a new channel. */
static int child_spawn(struct child *child)
{
	struct children *children = child->owner;
	/* For control the index tells how often it was started. */
	struct ipc_spawn spawn = {
		.role = child->role,
		.index = child->role == IPC_ROLE_CONTROL ? child->starts : child->index,
	};
	int pair[2], fds[2], rc;

	if (!link_is_up(&children->starter))
		return -EPIPE;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	fds[0] = pair[1];
	fds[1] = children->stats_fd;
	rc = ipc_send_spawn(children->starter.channel, &spawn, fds, 2);
	link_sent(&children->starter, rc);
	close(pair[1]);
	if (rc < 0) {
		close(pair[0]);
		return rc;
	}
	link_close(&child->link);
	link_open(&child->link, children->base, pair[0], &child_link_handlers, child);
	return 0;
}

static void on_restart(evutil_socket_t fd, short what, void *context)
{
	struct child *child = context;
	int rc = child_spawn(child);

	(void)fd;
	(void)what;
	if (rc < 0) {
		log_error("cannot start a child", log_str("child", role_name(child->role)),
			log_int("index", child->index), log_errno("error", -rc));
		child_schedule(child);
		return;
	}
	child->running = true;
	child->starts++;
	child->started_ms = clock_now_ms();
	child->owner->handlers->up(child->owner->context, child->role, child->index);
}

static void child_exited(struct child *child, int status)
{
	struct children *children = child->owner;

	child->running = false;
	link_close(&child->link);
	if (child->last) {
		children->handlers->gone(children->context, child->role, child->index, status);
		return;
	}
	if (child->renewed) {
		child->renewed = false;
		child->well_ms = clock_now_ms();
		child->delay_ms = DELAY_FIRST_MS;
		child_schedule(child);
		children->handlers->gone(children->context, child->role, child->index, status);
		return;
	}
	log_warning("a child ended", log_str("child", role_name(child->role)), log_int("index", child->index),
		WIFSIGNALED(status) ? log_int("signal", WTERMSIG(status))
				    : log_int("code", WEXITSTATUS(status)));
	if (clock_now_ms() - child->started_ms >= LONG_LIFE_MS) {
		child->delay_ms = DELAY_FIRST_MS;
		child->well_ms = clock_now_ms();
	}
	child_schedule(child);
	children->handlers->gone(children->context, child->role, child->index, status);
}

static int take_config(struct children *children, struct ipc_frame *frame)
{
	int fd;

	if (ipc_decode_config(frame) < 0)
		return -EPROTO;
	fd = frame->fds[0];
	frame->fds[0] = -1;
	children->handlers->config(children->context, fd);
	return 0;
}

static int on_starter_frame(void *context, struct ipc_frame *frame)
{
	struct children *children = context;
	struct ipc_exited exited;

	if (frame->type == IPC_CONFIG)
		return take_config(children, frame);
	if (frame->type != IPC_EXITED || ipc_decode_exited(frame, &exited) < 0)
		return -EPROTO;
	if (exited.role == IPC_ROLE_CONTROL)
		child_exited(&children->control, exited.status);
	else if (exited.index < children->relay_count)
		child_exited(&children->relays[exited.index], exited.status);
	return 0;
}

static void on_starter_down(void *context, int error)
{
	struct children *children = context;

	log_error("the starter is gone", log_errno("error", -error));
	children->handlers->starter_gone(children->context);
}

static const struct link_handlers starter_handlers = {.frame = on_starter_frame, .down = on_starter_down};

static void child_init(struct child *child, struct children *owner, enum ipc_role role, uint32_t index)
{
	*child = (struct child){
		.owner = owner,
		.role = role,
		.index = index,
		.restart = event_new(owner->base, -1, 0, on_restart, child),
		.delay_ms = DELAY_FIRST_MS,
		.well_ms = clock_now_ms(),
	};
}

struct children *children_new(struct event_base *base, int starter_fd, int stats_fd, struct stats *stats,
	uint32_t relay_count, const struct child_handlers *handlers, void *context)
{
	struct children *children = mem_calloc(1, sizeof(*children));

	*children = (struct children){
		.base = base,
		.stats_fd = stats_fd,
		.stats = stats,
		.handlers = handlers,
		.context = context,
		.relays = mem_calloc(relay_count, sizeof(struct child)),
		.relay_count = relay_count,
	};
	link_open(&children->starter, base, starter_fd, &starter_handlers, children);
	child_init(&children->control, children, IPC_ROLE_CONTROL, 0);
	for (uint32_t i = 0; i < relay_count; i++)
		child_init(&children->relays[i], children, IPC_ROLE_RELAY, i);
	return children;
}

static void child_fini(struct child *child)
{
	link_close(&child->link);
	event_free(child->restart);
}

void children_free(struct children *children)
{
	if (!children)
		return;
	child_fini(&children->control);
	for (uint32_t i = 0; i < children->relay_count; i++)
		child_fini(&children->relays[i]);
	link_close(&children->starter);
	free(children->relays);
	free(children);
}

void children_start(struct children *children)
{
	for (uint32_t i = 0; i < children->relay_count; i++)
		event_active(children->relays[i].restart, EV_TIMEOUT, 0);
	event_active(children->control.restart, EV_TIMEOUT, 0);
}

void children_take_settings(struct children *children, const struct settings *file)
{
	struct child *control = &children->control;
	char *text;

	if (!link_is_up(&children->starter))
		return;
	text = settings_to_text(file);
	link_sent(&children->starter, ipc_send_settings(children->starter.channel, text));
	free(text);
	/* Control takes the end of its channel for the end of its work. */
	if (control->running && link_is_up(&control->link)) {
		control->renewed = true;
		link_close(&control->link);
	}
}

/* ---- the end of a supervisor that is succeeded ---- */

int children_succeed(struct children *children, int channel_fd, int life_fd)
{
	int rc;

	if (!link_is_up(&children->starter))
		return -EPIPE;
	rc = ipc_send_succeed(children->starter.channel, channel_fd, life_fd);
	link_sent(&children->starter, rc);
	return rc;
}

void children_pause_control(struct children *children, bool paused)
{
	link_pause(&children->control.link, paused);
}

void children_end_control(struct children *children)
{
	children->control.last = true;
	event_del(children->control.restart);
	link_close(&children->control.link);
}

void children_resume_control(struct children *children)
{
	struct child *control = &children->control;

	if (!control->last)
		return;
	control->last = false;
	/* One that has not ended yet is started again when it has. */
	control->renewed = control->running;
	if (!control->running)
		event_active(control->restart, EV_TIMEOUT, 0);
}

void children_drain(struct children *children)
{
	for (uint32_t i = 0; i < children->relay_count; i++) {
		struct link *link = &children->relays[i].link;

		children->relays[i].last = true;
		event_del(children->relays[i].restart);
		if (link_is_up(link))
			link_sent(link, ipc_send_relay_drain(link->channel));
	}
}

bool children_control_runs(const struct children *children)
{
	return children->control.running;
}

uint32_t children_relays_running(const struct children *children)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < children->relay_count; i++)
		count += children->relays[i].running;
	return count;
}

bool children_relays_are_up(const struct children *children)
{
	for (uint32_t i = 0; i < children->relay_count; i++) {
		if (!children->relays[i].running || atomic_load(&stats_relay(children->stats, i)->pid) == 0)
			return false;
	}
	return true;
}

/* The channel hangs up when its other end is closed, too, which is when the process has ended. */
static void wait_for_end(const struct link *link, int64_t until_ms)
{
	struct pollfd channel = {.fd = ipc_channel_fd(link->channel)};
	int64_t left_ms;

	do
		left_ms = until_ms - clock_now_ms();
	while (poll(&channel, 1, left_ms > 0 ? (int)left_ms : 0) < 0 && errno == EINTR && left_ms > 0);
}

void children_end_relays(struct children *children, int limit_ms)
{
	int64_t until_ms = clock_now_ms() + limit_ms;

	for (uint32_t i = 0; i < children->relay_count; i++) {
		if (link_is_up(&children->relays[i].link))
			shutdown(ipc_channel_fd(children->relays[i].link.channel), SHUT_WR);
	}
	for (uint32_t i = 0; i < children->relay_count; i++) {
		if (link_is_up(&children->relays[i].link))
			wait_for_end(&children->relays[i].link, until_ms);
	}
}

/* ---- how they are ---- */

static bool child_is_well(const struct child *child, int64_t now_ms)
{
	if (child->running && now_ms - child->started_ms >= LONG_LIFE_MS)
		return true;
	return now_ms - child->well_ms < UNWELL_MS;
}

bool children_are_well(void *context)
{
	const struct children *children = context;
	int64_t now_ms = clock_now_ms();
	bool well = child_is_well(&children->control, now_ms);

	for (uint32_t i = 0; i < children->relay_count; i++)
		well = well && child_is_well(&children->relays[i], now_ms);
	return well &&
	       !stats_has_hung_relay(children->stats, children->relay_count, (uint64_t)clock_now_us());
}

struct link *children_control(struct children *children)
{
	return &children->control.link;
}

struct link *children_relay(struct children *children, uint32_t index)
{
	return &children->relays[index].link;
}
