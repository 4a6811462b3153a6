/* Owns the old process's side of an upgrade. Runs in the supervisor.
 *
 *   stage      event                              next
 *   serving    SIGUSR2                            serving; a successor is started
 *   serving    PLANNED from it                    released: its are the rules, control is not heard
 *   released   READY from it                      leaving: control is ended
 *   leaving    control has ended                  draining: relays drain; GO to it
 *   draining   the last relay has ended           the process ends, or is the keeper
 *   before     it ends, breaks the protocol,      serving, as if nothing had been
 *   draining   or takes too long
 *
 * Two processes have the sockets meanwhile, but one at a time has the rules, and control's ports.
 *
 * Somebody looks after the process that was started first: a shell, a container, a service manager. A manager
 * that listens is told the successor's number. For all others the first process stays, as the keeper: it
 * passes signals on to the one that serves, and ends as that ends. A later successor's channel is passed to
 * it. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/log.h"
#include "proc/confine.h"
#include "proc/program.h"
#include "proc/supervisor_core.h"
#include "proc/title.h"

/* Control ends in some milliseconds. If not, its successor tries its ports again until it can have them. */
#define CONTROL_LIMIT_S 2
/* A successor whose plan does not come (the API server is away, say) is given up. */
#define LIMIT_S 60

static const struct link_handlers successor_handlers;

/* A manager was told, or the keeper is another process. */
static bool leaves(const struct supervisor *supervisor)
{
	return supervisor->setup->notify->socket_bytes > 0 || link_is_up(&supervisor->predecessor);
}

/* ---- giving it up ---- */

static void take_back(struct supervisor *supervisor)
{
	if (supervisor->stage == STAGE_SERVING)
		return;
	supervisor->stage = STAGE_SERVING;
	if (supervisor_open_steering(supervisor) < 0)
		log_error("the rules cannot be taken back: start again");
	children_pause_control(supervisor->children, false);
	children_resume_control(supervisor->children);
	supervisor_retry(supervisor);
	supervisor_apply_rules(supervisor);
}

static void end_successor(struct supervisor *supervisor)
{
	/* While its end of the channel is open, the number is its. */
	if (link_is_up(&supervisor->successor) && supervisor->successor_pid > 0)
		kill(supervisor->successor_pid, SIGKILL);
	link_close(&supervisor->successor);
	supervisor->failed_pid = supervisor->successor_pid;
	supervisor->successor_pid = 0;
	if (supervisor->step_timer)
		event_del(supervisor->step_timer);
}

static void fail(struct supervisor *supervisor, const char *why)
{
	log_error("the upgrade has failed: this process goes on", log_str("reason", why));
	end_successor(supervisor);
	take_back(supervisor);
}

/* ---- the steps ---- */

static void release(struct supervisor *supervisor)
{
	supervisor->stage = STAGE_RELEASED;
	children_pause_control(supervisor->children, true);
	/* A tool in flight is killed; what it does is one transaction. */
	steering_free(supervisor->steering);
	supervisor->steering = NULL;
	link_sent(
		&supervisor->successor, ipc_send_handover(supervisor->successor.channel, IPC_STEP_RELEASED));
}

/* Nothing is left to be done here but to wait for relays. The sockets are the successor's. */
static void let_go(struct supervisor *supervisor)
{
	event_del(supervisor->reopen);
	addresses_watch_free(supervisor->watch);
	supervisor->watch = NULL;
	ports_free(supervisor->ports);
	supervisor->ports = NULL;
	table_free(supervisor->table);
	supervisor->table = NULL;
	reload_free(supervisor->reload);
	supervisor->reload = NULL;
}

static void check_drained(struct supervisor *supervisor)
{
	if (supervisor->stage != STAGE_DRAINING || !supervisor->children ||
		children_relays_running(supervisor->children) > 0)
		return;
	log_info("all connections of before the upgrade have ended");
	/* Later: the caller is one of them. */
	event_active(supervisor->drain_timer, EV_TIMEOUT, 0);
}

/* All relays have ended, or are to. */
static void on_drain_limit(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *supervisor = context;

	(void)fd;
	(void)what;
	if (supervisor->children && children_relays_running(supervisor->children) > 0)
		log_warning("the time for connections of before the upgrade is over: they are reset");
	children_free(supervisor->children);
	supervisor->children = NULL;
	if (!supervisor->keeps)
		event_base_loopbreak(supervisor->base);
}

static void on_keeper_end(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *supervisor = context;

	(void)fd;
	(void)what;
	event_base_loopbreak(supervisor->base);
}

static void watch_keeper(struct supervisor *supervisor)
{
	int fd = supervisor->setup->successor->keeper_fd;

	if (supervisor->setup->successor->role == SUCCESSOR_NONE || fd < 0)
		return;
	supervisor->keeper_end = event_new(supervisor->base, fd, EV_READ, on_keeper_end, supervisor);
	event_add(supervisor->keeper_end, NULL);
}

static void drain(struct supervisor *supervisor)
{
	uint32_t limit_ms = supervisor->options->upgrade_drain_ms;
	struct timeval limit = {.tv_sec = limit_ms / 1000, .tv_usec = limit_ms % 1000 * 1000};

	int rc = confine_drained();

	if (rc < 0)
		log_warning("cannot give up privilege", log_errno("error", -rc));
	supervisor->stage = STAGE_DRAINING;
	supervisor->drain_timer = evtimer_new(supervisor->base, on_drain_limit, supervisor);
	if (limit_ms > 0)
		event_add(supervisor->drain_timer, &limit);
	title_set(supervisor->setup->title, supervisor->keeps ? "keeper" : "supervisor, draining");
	let_go(supervisor);
	/* It may stay for long. */
	malloc_trim(0);
	watch_keeper(supervisor);
	check_drained(supervisor);
}

static void go(struct supervisor *supervisor)
{
	struct link *successor = &supervisor->successor;
	struct link *keeper = &supervisor->predecessor;
	bool told = supervisor->setup->notify->socket_bytes > 0;
	enum ipc_step step = told ? IPC_STEP_GO_ALONE : IPC_STEP_GO;

	event_del(supervisor->step_timer);
	supervisor->keeps = !leaves(supervisor);
	/* Later successors, and their starters, come to the keeper when their parents end. */
	if (supervisor->keeps)
		prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	children_drain(supervisor->children);
	notify_main_pid(supervisor->notify, supervisor->successor_pid);
	log_info("upgraded: another process serves from now on", log_int("pid", supervisor->successor_pid),
		log_int("relays_draining", children_relays_running(supervisor->children)));
	link_sent(successor, ipc_send_handover(successor->channel, step));
	if (link_is_up(keeper))
		link_sent(keeper, ipc_send_successor(keeper->channel, (uint32_t)supervisor->successor_pid,
					  ipc_channel_fd(successor->channel)));
	if (!supervisor->keeps) {
		link_close(keeper);
		link_close(successor);
	}
	drain(supervisor);
}

static void leave(struct supervisor *supervisor)
{
	const struct timeval limit = {.tv_sec = CONTROL_LIMIT_S};

	supervisor->stage = STAGE_LEAVING;
	event_add(supervisor->step_timer, &limit);
	children_end_control(supervisor->children);
	if (!children_control_runs(supervisor->children))
		go(supervisor);
}

void upgrade_child_gone(struct supervisor *supervisor, enum ipc_role role)
{
	if (supervisor->stage == STAGE_LEAVING && role == IPC_ROLE_CONTROL)
		go(supervisor);
	else
		check_drained(supervisor);
}

static void on_limit(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *supervisor = context;

	(void)fd;
	(void)what;
	if (supervisor->stage == STAGE_LEAVING)
		go(supervisor);
	else
		fail(supervisor, "the new process was not ready in time");
}

/* ---- what the successor says ---- */

/* The keeper is told of the one after the next. */
static int take_successor(struct supervisor *supervisor, struct ipc_frame *frame)
{
	uint32_t pid;
	int fd;

	if (!supervisor->keeps || ipc_decode_successor(frame, &pid) < 0)
		return -EPROTO;
	fd = frame->fds[0];
	frame->fds[0] = -1;
	supervisor->successor_pid = (pid_t)pid;
	link_close(&supervisor->successor);
	link_open(&supervisor->successor, supervisor->base, fd, &successor_handlers, supervisor);
	return 0;
}

static int on_successor_frame(void *context, struct ipc_frame *frame)
{
	struct supervisor *supervisor = context;
	enum ipc_step step;

	if (frame->type == IPC_SUCCESSOR)
		return take_successor(supervisor, frame);
	if (frame->type != IPC_HANDOVER || ipc_decode_handover(frame, &step) < 0)
		return -EPROTO;
	if (step == IPC_STEP_PLANNED && supervisor->stage == STAGE_SERVING)
		release(supervisor);
	else if (step == IPC_STEP_READY && supervisor->stage == STAGE_RELEASED)
		leave(supervisor);
	else
		return -EPROTO;
	return 0;
}

static void on_successor_down(void *context, int error)
{
	struct supervisor *supervisor = context;

	(void)error;
	if (supervisor->stage < STAGE_DRAINING)
		fail(supervisor, "the new process has ended before it was ready");
}

static const struct link_handlers successor_handlers = {
	.frame = on_successor_frame,
	.down = on_successor_down,
};

/* ---- the beginning ---- */

static const char *reason_against(const struct supervisor *supervisor)
{
	if (supervisor->options->command == OPTIONS_RUN)
		return "`portald run` cannot be upgraded";
	if (supervisor->stage == STAGE_DRAINING)
		return "another process serves already";
	if (succeed_waits(supervisor) || !supervisor->ready)
		return "this process is not ready yet";
	if (link_is_up(&supervisor->successor))
		return "an upgrade is under way";
	return NULL;
}

static void give_environment(void *context)
{
	const struct supervisor *supervisor = context;

	notify_target_give(supervisor->setup->notify);
}

/* Starts both processes. pair: of the channel to the successor, [1] is its end. Returns its number, or a
 * negative errno. */
static pid_t start(struct supervisor *supervisor, int end_fd, int sockets_fd, const struct inherit_fds *fds)
{
	struct successor successor = {
		.role = SUCCESSOR_SUPERVISOR,
		.channel_fd = end_fd,
		.keeper_fd = leaves(supervisor) ? supervisor->setup->successor->keeper_fd
						: supervisor->keeper_fds[0],
		.sockets_fd = sockets_fd,
		.instance_fd = supervisor->setup->instance_fd,
		.status_fd = supervisor->setup->status_fd,
		.stdin_fd = -1,
	};
	int pair[2], life[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	if (pipe2(life, O_CLOEXEC) < 0) {
		pid = -errno;
		close(pair[0]);
		close(pair[1]);
		return pid;
	}
	successor.starter_fd = pair[0];
	successor.life_fd = life[0];
	pid = children_succeed(supervisor->children, pair[1], life[1]);
	if (pid == 0)
		pid = program_succeed(supervisor->setup->program, &successor,
			&(struct program_extra){.fds = fds->list,
				.fd_count = fds->count,
				.orphaned = leaves(supervisor),
				.in_child = give_environment,
				.context = supervisor});
	for (size_t i = 0; i < 2; i++) {
		close(pair[i]);
		close(life[i]);
	}
	return pid;
}

/* By which a process that drains learns that the daemon ends. Returns 0 or a negative errno. */
static int open_keeper_pipe(struct supervisor *supervisor)
{
	if (leaves(supervisor) || supervisor->keeper_fds[0] > 0)
		return 0;
	return pipe2(supervisor->keeper_fds, O_CLOEXEC) < 0 ? -errno : 0;
}

static int begin(struct supervisor *supervisor)
{
	const struct inherit_facts facts = {
		.kind = supervisor->kind,
		.tool = supervisor->options->iptables_variant,
		.relay_count = supervisor->options->relay_count,
	};
	struct inherit_fds fds = {.list = NULL};
	struct timeval limit = {.tv_sec = LIMIT_S};
	int sockets_fd = inherit_save(supervisor->table, ports_claims(supervisor->ports), &facts, &fds);
	int pair[2];
	pid_t pid = sockets_fd < 0 ? sockets_fd : -EMFILE;

	if (sockets_fd >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
		pid = start(supervisor, pair[1], sockets_fd, &fds);
		close(pair[1]);
		link_open(&supervisor->successor, supervisor->base, pair[0], &successor_handlers, supervisor);
		supervisor->successor_pid = pid;
		event_add(supervisor->step_timer, &limit);
	}
	if (sockets_fd >= 0)
		close(sockets_fd);
	free(fds.list);
	return pid < 0 ? (int)pid : 0;
}

void upgrade_request(struct supervisor *supervisor)
{
	const char *why = reason_against(supervisor);
	int rc;

	if (why) {
		log_error("no upgrade", log_str("reason", why));
		return;
	}
	if (!supervisor->step_timer)
		supervisor->step_timer = evtimer_new(supervisor->base, on_limit, supervisor);
	log_info("upgrading", log_str("program", supervisor->setup->program->path));
	rc = open_keeper_pipe(supervisor);
	if (rc == 0)
		rc = begin(supervisor);
	if (rc < 0)
		fail(supervisor, strerrordesc_np(-rc));
}

/* ---- the keeper ---- */

bool upgrade_is_kept(const struct supervisor *supervisor, pid_t pid)
{
	return supervisor->keeps && pid == supervisor->successor_pid;
}

bool upgrade_forward(struct supervisor *supervisor, int signal_number)
{
	if (!supervisor->keeps)
		return false;
	kill(supervisor->successor_pid, signal_number);
	return true;
}

void upgrade_close(struct supervisor *supervisor)
{
	if (supervisor->stage < STAGE_DRAINING)
		end_successor(supervisor);
	link_close(&supervisor->successor);
	if (supervisor->keeper_end)
		event_free(supervisor->keeper_end);
	for (size_t i = 0; i < 2; i++) {
		if (supervisor->keeper_fds[i] > 0)
			close(supervisor->keeper_fds[i]);
	}
}
