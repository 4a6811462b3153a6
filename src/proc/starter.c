/* The starter: a small process with a blocking loop and no loop library. It forks control and relays when
 * the supervisor asks (SPAWN), tells it of their end (EXITED), and opens manifests and credential files for
 * control, which has no privilege (FILES_GET, CREDENTIAL_GET). It looks after the configuration file, and has
 * a child read it when it has changed (CONFIG).
 *
 * It exists because of `portald run`: there the supervisor lives in a network namespace of its own, and a
 * process that has entered one cannot put a child back outside. The starter stays outside. It never sees
 * a byte from the network, and of the files it opens it never reads one. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/ipc.h"
#include "portald/log.h"
#include "portald/relay.h"
#include "portald/stats.h"
#include "proc/config_load.h"
#include "proc/config_watch.h"
#include "proc/control.h"
#include "proc/program.h"
#include "proc/reload.h"
#include "proc/starter_core.h"

/* How long children may take to end after the supervisor is gone. */
#define LINGER_MS 2000
/* How long a program may take to become the new starter. */
#define SUCCESSOR_LIMIT_S 60
/* How often the access log and the configuration file are looked after. */
#define TICK_MS (ACCESS_LOG_TICK_MS < CONFIG_WATCH_MS ? ACCESS_LOG_TICK_MS : CONFIG_WATCH_MS)

/* ---- children ---- */

/* What a fork needs to become a child: descriptors that are its own. */
struct birth {
	enum ipc_role role;
	uint32_t index;
	int channel_fd, stats_fd;
	int files_fd; /* control only, else -1 */
};

static int give_up_privilege(const struct starter *starter)
{
	int rc = confine_child(&starter->setup->user);

	if (rc < 0)
		log_error("cannot give up privilege", log_errno("error", -rc));
	return rc;
}

/* What the relay's title says. */
struct face {
	const struct title *title;
	uint32_t index;
};

static void on_drains(void *context)
{
	const struct face *face = context;

	title_set(face->title, "relay %u, draining", face->index);
}

static int relay_main(const struct starter *starter, const struct birth *birth)
{
	struct face face = {.title = starter->setup->title, .index = birth->index};
	struct relay_options options = {
		.index = birth->index,
		.confine = confine_relay_seccomp,
		.udp_max_flows = starter->options->udp_max_flows,
		.access_log = access_log_is_on(&starter->access_log),
		.access_fd = starter->access_log.write_fd,
		.drains = on_drains,
		.context = &face,
	};
	struct stats *stats = stats_map(birth->stats_fd, 1);

	if (!stats) {
		log_error("cannot map the counters", log_errno("error", errno));
		return 1;
	}
	close(birth->stats_fd);
	if (give_up_privilege(starter) < 0)
		return 1;
	return relay_run(&options, stats, birth->channel_fd);
}

static int control_main(const struct starter *starter, const struct birth *birth)
{
	struct control_setup setup = {
		.options = starter->options,
		.channel_fd = birth->channel_fd,
		.files_fd = birth->files_fd,
		.inotify_fd = starter->setup->inotify_fd,
		.status_fd = starter->setup->status_fd,
		.first = birth->index == 0,
		.waits = birth->index == 0 && starter->setup->succeeds,
	};

	/* Without /proc there is no such descriptor, and control does without the counters. */
	setup.stats_fd = stats_open_readonly(birth->stats_fd);
	if (setup.stats_fd < 0)
		log_warning("no counters in the metrics", log_errno("error", -setup.stats_fd));
	close(birth->stats_fd);
	if (give_up_privilege(starter) < 0)
		return 1;
	return control_run(&setup);
}

static void reset_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* ^C in the terminal reaches the whole process group; the supervisor alone decides. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
}

/* In the new writer of the access log. */
static void writer_main(struct starter *starter, int file_fd)
{
	const struct starter_setup *setup = starter->setup;
	const int unused[] = {starter->signal_fd, setup->stdin_fd, setup->inotify_fd, setup->status_fd,
		setup->life_fd, starter->access_log.write_fd};

	title_set(setup->title, "access log");
	log_init("access-log", starter->options->log_format, starter->options->verbosity);
	ipc_channel_free(starter->supervisor);
	ipc_channel_free(starter->control);
	for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++) {
		if (unused[i] >= 0)
			close(unused[i]);
	}
	reset_signals();
	_exit(give_up_privilege(starter) < 0 ? 1 : access_log_write(starter->access_log.read_fd, file_fd));
}

static void look_after_access_log(struct starter *starter)
{
	int file_fd = access_log_tick(&starter->access_log, clock_now_ms());
	pid_t pid;

	if (file_fd < 0)
		return;
	pid = fork();
	if (pid == 0)
		writer_main(starter, file_fd);
	close(file_fd);
	if (pid > 0)
		access_log_started(&starter->access_log, pid);
	else
		log_error("cannot fork", log_errno("error", errno));
}

/* In the new child: nothing of the starter's stays but what the role was given. */
static void child_main(struct starter *starter, const struct birth *birth)
{
	const struct starter_setup *setup = starter->setup;
	bool relay = birth->role == IPC_ROLE_RELAY;
	char role[32];

	if (relay) {
		snprintf(role, sizeof(role), "relay-%u", birth->index);
		title_set(setup->title, "relay %u", birth->index);
	} else {
		snprintf(role, sizeof(role), "control");
		title_set(setup->title, "control");
	}
	log_init(role, starter->options->log_format, starter->options->verbosity);
	ipc_channel_free(starter->supervisor);
	ipc_channel_free(starter->control);
	close(starter->signal_fd);
	if (setup->life_fd >= 0)
		close(setup->life_fd);
	if (setup->stdin_fd >= 0)
		close(setup->stdin_fd);
	if (relay && setup->inotify_fd >= 0)
		close(setup->inotify_fd);
	if (relay && setup->status_fd >= 0)
		close(setup->status_fd);
	if (relay && access_log_is_on(&starter->access_log))
		close(starter->access_log.read_fd);
	if (!relay)
		access_log_close(&starter->access_log);
	reset_signals();
	_exit(relay ? relay_main(starter, birth) : control_main(starter, birth));
}

static struct child *free_child(struct starter *starter)
{
	for (size_t i = 0; i < LISTEN_MAX_RELAYS + 1; i++) {
		if (starter->children[i].pid == 0)
			return &starter->children[i];
	}
	return NULL;
}

static void report_exit(struct starter *starter, enum ipc_role role, uint32_t index, int status)
{
	struct ipc_exited exited = {.role = role, .index = index, .status = status};

	if (starter->supervisor && ipc_send_exited(starter->supervisor, &exited) < 0)
		log_v(2, "the supervisor does not listen");
}

static int spawn(struct starter *starter, const struct birth *birth)
{
	struct child *child = free_child(starter);
	pid_t pid = child ? fork() : -1;

	if (pid == 0)
		child_main(starter, birth);
	if (pid < 0) {
		log_error("cannot fork", log_errno("error", errno));
		/* 1 << 8 is how waitpid() reports exit code 1. */
		report_exit(starter, birth->role, birth->index, 1 << 8);
		return -errno;
	}
	*child = (struct child){.pid = pid, .role = birth->role, .index = birth->index};
	return 0;
}

static void spawn_control(struct starter *starter, struct birth *birth)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		log_error("cannot make a channel", log_errno("error", errno));
		report_exit(starter, birth->role, birth->index, 1 << 8);
		return;
	}
	ipc_channel_free(starter->control);
	starter->control = NULL;
	birth->files_fd = pair[1];
	if (spawn(starter, birth) == 0)
		starter->control = ipc_channel_new(pair[0]);
	else
		close(pair[0]);
	close(pair[1]);
}

/* Children that are born from now on have the new settings. */
static int take_settings(struct starter *starter, const struct ipc_frame *frame)
{
	struct ipc_storage storage;
	const char *text;

	if (ipc_decode_settings(frame, &text, &storage) < 0)
		return -EPROTO;
	if (reload_replace(&starter->renewed, starter->options, text) == 0) {
		starter->options = starter->renewed;
		log_init("starter", starter->options->log_format, starter->options->verbosity);
	}
	ipc_storage_free(&storage);
	return 0;
}

/* Back to what a program expects that was just started. */
static void become_successor(void *context)
{
	(void)context;
	reset_signals();
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	/* A program that hangs before it is portald ends by this; portald takes it back. */
	alarm(SUCCESSOR_LIMIT_S);
}

/* The program anew, as a starter: with what this one has, and no more. */
static int succeed(const struct starter *starter, const struct ipc_frame *frame)
{
	const struct successor successor = {
		.role = SUCCESSOR_STARTER,
		.channel_fd = -1,
		.starter_fd = frame->fds[0],
		.life_fd = frame->fds[1],
		.keeper_fd = -1,
		.sockets_fd = -1,
		.instance_fd = -1,
		.status_fd = starter->setup->status_fd,
		.stdin_fd = starter->setup->stdin_fd,
	};
	pid_t pid;

	if (ipc_decode_succeed(frame) < 0)
		return -EPROTO;
	pid = program_succeed(
		starter->setup->program, &successor, &(struct program_extra){.in_child = become_successor});
	/* The new supervisor learns of it by the end of its channel. */
	if (pid < 0)
		log_error("cannot start a new starter", log_errno("error", (int)-pid));
	return 0;
}

static int supervisor_frame(struct starter *starter, struct ipc_frame *frame)
{
	struct birth birth;
	struct ipc_spawn request;

	if (frame->type == IPC_SETTINGS)
		return take_settings(starter, frame);
	if (frame->type == IPC_SUCCEED)
		return succeed(starter, frame);
	if (frame->type != IPC_SPAWN || ipc_decode_spawn(frame, &request) < 0 || frame->fd_count != 2)
		return -EPROTO;
	birth = (struct birth){
		.role = request.role,
		.index = request.index,
		.channel_fd = frame->fds[0],
		.stats_fd = frame->fds[1],
		.files_fd = -1,
	};
	/* Taken from the frame: the child frees its copy of the channel, but needs these. */
	frame->fds[0] = frame->fds[1] = -1;
	if (request.role == IPC_ROLE_CONTROL)
		spawn_control(starter, &birth);
	else
		spawn(starter, &birth);
	close(birth.channel_fd);
	close(birth.stats_fd);
	return 0;
}

/* In the new child. The daemon's channels and files are not a parser's. */
static void become_reader(void *context)
{
	struct starter *starter = context;
	const int unused[] = {starter->signal_fd, starter->setup->stdin_fd, starter->setup->inotify_fd,
		starter->setup->status_fd, starter->setup->life_fd};
	sigset_t none;

	title_set(starter->setup->title, "config");
	ipc_channel_free(starter->supervisor);
	ipc_channel_free(starter->control);
	access_log_close(&starter->access_log);
	for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++) {
		if (unused[i] >= 0)
			close(unused[i]);
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Has the configuration file read by a child, whose settings go to the supervisor. */
static void read_config(struct starter *starter)
{
	pid_t pid;
	int fd = config_reader_start(starter->options, become_reader, starter, &pid);
	int rc = fd < 0 ? fd : ipc_send_config(starter->supervisor, fd);

	if (rc < 0)
		log_error("cannot read the configuration", log_errno("error", -rc));
	if (fd >= 0)
		close(fd);
}

static bool has_children(const struct starter *starter)
{
	for (size_t i = 0; i < LISTEN_MAX_RELAYS + 1; i++) {
		if (starter->children[i].pid)
			return true;
	}
	return starter->access_log.writer != 0;
}

/* Children that are not known are a reader of the configuration, or a starter that succeeds this one. */
static void reap(struct starter *starter)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(starter->signal_fd, &info, sizeof(info)) == sizeof(info))
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (access_log_exited(&starter->access_log, pid, clock_now_ms()))
			continue;
		for (size_t i = 0; i < LISTEN_MAX_RELAYS + 1; i++) {
			struct child *child = &starter->children[i];

			if (child->pid != pid)
				continue;
			child->pid = 0;
			report_exit(starter, child->role, child->index, status);
		}
	}
}

/* ---- the loop ---- */

/* Handles every frame that is there. Returns 0, or a negative errno when the channel is over. */
static int drain(struct starter *starter, struct ipc_channel *channel,
	int (*handle)(struct starter *starter, struct ipc_frame *frame))
{
	struct ipc_frame frame;
	int rc;

	while ((rc = ipc_receive(channel, &frame)) > 0) {
		rc = handle(starter, &frame);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static struct pollfd poll_entry(const struct ipc_channel *channel)
{
	if (!channel)
		return (struct pollfd){.fd = -1};
	return (struct pollfd){
		.fd = ipc_channel_fd(channel),
		.events = (short)(POLLIN | (ipc_wants_write(channel) ? POLLOUT : 0)),
	};
}

static void serve_control(struct starter *starter)
{
	if (ipc_flush(starter->control) < 0 || drain(starter, starter->control, starter_control_frame) < 0) {
		ipc_channel_free(starter->control);
		starter->control = NULL;
	}
}

/* Not oftener than asked for, however busy the channels are: the looks must lie apart. */
static void watch_config(struct starter *starter)
{
	int64_t now_ms = clock_now_ms();

	if (!starter->config.path || now_ms < starter->next_look_ms)
		return;
	starter->next_look_ms = now_ms + CONFIG_WATCH_MS;
	if (config_watch_changed(&starter->config))
		read_config(starter);
}

static void starter_loop(struct starter *starter)
{
	bool ticks = access_log_is_on(&starter->access_log) || starter->config.path;

	for (;;) {
		struct pollfd fds[] = {
			poll_entry(starter->supervisor),
			poll_entry(starter->control),
			{.fd = starter->signal_fd, .events = POLLIN},
		};

		look_after_access_log(starter);
		if (poll(fds, 3, ticks ? TICK_MS : -1) < 0 && errno != EINTR)
			return;
		watch_config(starter);
		if (fds[2].revents)
			reap(starter);
		if (fds[1].revents && starter->control)
			serve_control(starter);
		if (ipc_flush(starter->supervisor) < 0)
			return;
		if (fds[0].revents && drain(starter, starter->supervisor, supervisor_frame) < 0)
			return;
	}
}

/* The supervisor is gone: the children end by themselves; what does not is killed. */
static void await_children(struct starter *starter)
{
	int64_t deadline_ms = clock_now_ms() + LINGER_MS;

	ipc_channel_free(starter->control);
	starter->control = NULL;
	/* Its writer ends when it has the relays' last lines. */
	access_log_close(&starter->access_log);
	for (reap(starter); has_children(starter); reap(starter)) {
		struct pollfd exits = {.fd = starter->signal_fd, .events = POLLIN};
		int64_t left_ms = deadline_ms - clock_now_ms();

		if (left_ms > 0) {
			poll(&exits, 1, (int)left_ms);
			continue;
		}
		for (size_t i = 0; i < LISTEN_MAX_RELAYS + 1; i++) {
			if (starter->children[i].pid)
				kill(starter->children[i].pid, SIGKILL);
		}
		if (starter->access_log.writer)
			kill(starter->access_log.writer, SIGKILL);
		poll(&exits, 1, LINGER_MS);
	}
}

/* The new supervisor has no right to read the file itself. */
static int send_file_settings(struct starter *starter)
{
	char *text = settings_to_text(&starter->options->file);
	int rc = ipc_send_settings(starter->supervisor, text);

	free(text);
	return rc;
}

int starter_run(const struct starter_setup *setup, int channel_fd)
{
	struct starter starter = {
		.setup = setup,
		.options = setup->options,
		.access_log = setup->access_log,
	};
	sigset_t mask;

	log_init("starter", setup->options->log_format, setup->options->verbosity);
	title_set(setup->title, "starter");
	/* Its end is the supervisor's end, nothing else's. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	starter.signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	starter.supervisor = ipc_channel_new(channel_fd);
	if (starter.signal_fd < 0 || !starter.supervisor || confine_starter() < 0) {
		log_error("the starter cannot begin");
		return 1;
	}
	/* Manifests need no credentials. */
	if (setup->options->manifest_count > 0)
		permits_close(&starter.permits);
	config_watch_init(&starter.config, setup->options->config_path, setup->config);
	if (setup->succeeds && send_file_settings(&starter) < 0)
		return 1;
	starter_loop(&starter);
	ipc_channel_free(starter.supervisor);
	starter.supervisor = NULL;
	await_children(&starter);
	permits_fini(&starter.permits);
	reload_drop(&starter.renewed);
	return 0;
}
