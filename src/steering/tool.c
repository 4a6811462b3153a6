/* Owns the runs of firewall tools: a child process, its three files and its time limit. Runs in the
 * supervisor.
 *
 *     state     event        what happens
 *     running   it ends      reaped, its output read, done() called -> ended
 *     running   time limit   its process group killed; it ends at once -> killed
 *     killed    it ends      as above, with -ETIMEDOUT -> ended
 *
 * Standard input, output and error are memfds: the whole input is there before the tool starts and the
 * whole output when it has ended, so nothing of them needs the loop, nothing can block it, and a tool that
 * ends early raises no SIGPIPE. The end is seen and reaped through a pidfd, which leaves SIGCHLD and other
 * children alone. */
#include "steering/tool.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "portald/mem.h"

/* More than a tool prints about the largest rule set; beyond it, something is wrong with the tool. */
#define MAX_OUTPUT_BYTES ((size_t)256 * 1024 * 1024)

#define STDIO_FDS 3
#define LOCK_FD 3
#define FIRST_FREE_FD 4

struct tool_run {
	struct event *end_event;
	struct event *time_event;
	pid_t pid; /* also its process group; 0 after it was reaped */
	int pidfd;
	int files[STDIO_FDS];
	bool timed_out;
	void (*done)(void *context, const struct tool_result *result);
	void *context;
};

/* ---- starting ---- */

static int write_all(int fd, const char *content)
{
	size_t left = content ? strlen(content) : 0;

	while (left > 0) {
		ssize_t written = write(fd, content, left);

		if (written < 0 && errno != EINTR)
			return -errno;
		if (written > 0) {
			content += written;
			left -= (size_t)written;
		}
	}
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

int tool_memfd(const char *name, const char *content)
{
	int low = memfd_create(name, MFD_CLOEXEC), fd, rc;

	if (low < 0)
		return -errno;
	/* Not one of the numbers that the tool's files get, whatever of our own stdio is closed. */
	fd = fcntl(low, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
	rc = fd < 0 ? -errno : write_all(fd, content);
	close(low);
	if (rc == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int open_files(int files[STDIO_FDS], const char *input)
{
	static const char *const names[STDIO_FDS] = {"tool-input", "tool-output", "tool-errors"};

	for (int i = 0; i < STDIO_FDS; i++) {
		files[i] = tool_memfd(names[i], i == STDIN_FILENO ? input : NULL);
		if (files[i] < 0)
			return files[i];
	}
	return 0;
}

/* The environment with the lock file set, if there is one. The caller frees the array. */
static char **make_environment(bool with_lock)
{
	/* What the tool opens, by that name, is the descriptor that it inherits. */
	static const char lock[] = "XTABLES_LOCKFILE=/proc/self/fd/3";
	size_t name_length = strcspn(lock, "=") + 1, count = 0, kept = 0;
	char **result;

	_Static_assert(LOCK_FD == 3, "the number in XTABLES_LOCKFILE");
	while (environ && environ[count])
		count++;
	result = mem_calloc(count + 2, sizeof(*result));
	for (size_t i = 0; i < count; i++) {
		if (!with_lock || strncmp(environ[i], lock, name_length) != 0)
			result[kept++] = environ[i];
	}
	if (with_lock)
		result[kept] = (char *)lock;
	return result;
}

/* A process group of its own, so that what the tool started dies with it; no signal blocked or ignored. */
static void set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(attributes, &none);
	posix_spawnattr_setsigdefault(attributes, &all);
	posix_spawnattr_setpgroup(attributes, 0);
	posix_spawnattr_setflags(
		attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static int spawn(pid_t *pid, const struct tool_job *job, const int files[STDIO_FDS])
{
	char **environment = make_environment(job->lock_fd > 0);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int rc;

	posix_spawn_file_actions_init(&actions);
	for (int i = 0; i < STDIO_FDS; i++)
		posix_spawn_file_actions_adddup2(&actions, files[i], i);
	if (job->lock_fd > 0)
		posix_spawn_file_actions_adddup2(&actions, job->lock_fd, LOCK_FD);
	posix_spawn_file_actions_addclosefrom_np(&actions, job->lock_fd > 0 ? FIRST_FREE_FD : LOCK_FD);
	posix_spawnattr_init(&attributes);
	set_attributes(&attributes);
	rc = posix_spawn(pid, job->argv[0], &actions, &attributes, (char *const *)job->argv, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	free(environment);
	return -rc;
}

/* ---- ending ---- */

static void kill_group(const struct tool_run *run)
{
	/* Not reaped yet, so neither number can belong to anybody else. */
	if (run->pid > 0)
		kill(-run->pid, SIGKILL);
}

/* Waits for a tool that has ended or was killed. Returns its exit code as a shell counts, or -errno. */
static int reap(struct tool_run *run)
{
	siginfo_t info = {.si_pid = 0};
	int rc;

	do
		rc = waitid(P_PIDFD, (id_t)run->pidfd, &info, WEXITED);
	while (rc < 0 && errno == EINTR);
	run->pid = 0;
	if (rc < 0)
		return -errno;
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

/* The file's content, which the caller frees. */
static char *file_content(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);
	size_t size = end < 0 ? 0 : (size_t)end, have = 0;
	char *content;

	if (size > MAX_OUTPUT_BYTES)
		size = MAX_OUTPUT_BYTES;
	content = mem_calloc(size + 1, 1);
	while (have < size) {
		ssize_t got = pread(fd, content + have, size - have, (off_t)have);

		if (got == 0 || (got < 0 && errno != EINTR))
			break;
		if (got > 0)
			have += (size_t)got;
	}
	return content;
}

static void on_end(evutil_socket_t fd, short what, void *context)
{
	struct tool_run *run = context;
	int code = reap(run);
	char *out = file_content(run->files[STDOUT_FILENO]), *err = file_content(run->files[STDERR_FILENO]);
	struct tool_result result = {.exit_code = code, .out = out, .err = err};

	(void)fd;
	(void)what;
	event_del(run->time_event);
	if (run->timed_out)
		result.error = -ETIMEDOUT;
	else if (code < 0)
		result.error = code;
	else if (code > 0)
		result.error = -EIO;
	/* done may free the run. */
	run->done(run->context, &result);
	free(out);
	free(err);
}

static void on_time(evutil_socket_t fd, short what, void *context)
{
	struct tool_run *run = context;

	(void)fd;
	(void)what;
	run->timed_out = true;
	kill_group(run);
}

static int watch(struct tool_run *run, struct event_base *base, int timeout_ms)
{
	struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

	run->pidfd = pidfd_open(run->pid, 0);
	if (run->pidfd < 0)
		return -errno;
	run->end_event = event_new(base, run->pidfd, EV_READ, on_end, run);
	run->time_event = evtimer_new(base, on_time, run);
	if (!run->end_event || !run->time_event || event_add(run->end_event, NULL) < 0 ||
		evtimer_add(run->time_event, &limit) < 0)
		return -ENOMEM;
	return 0;
}

int tool_run_start(struct tool_run **run_out, struct event_base *base, const struct tool_job *job)
{
	struct tool_run *run = mem_calloc(1, sizeof(*run));
	int rc;

	*run = (struct tool_run){
		.pidfd = -1, .files = {-1, -1, -1}, .done = job->done, .context = job->context};
	rc = open_files(run->files, job->input);
	if (rc == 0)
		rc = spawn(&run->pid, job, run->files);
	if (rc == 0)
		rc = watch(run, base, job->timeout_ms);
	if (rc < 0) {
		tool_run_free(run);
		return rc;
	}
	*run_out = run;
	return 0;
}

void tool_run_free(struct tool_run *run)
{
	if (!run)
		return;
	if (run->end_event)
		event_free(run->end_event);
	if (run->time_event)
		event_free(run->time_event);
	if (run->pid > 0) {
		pid_t pid = run->pid;

		kill_group(run);
		/* SIGKILL ends it now; without a pidfd (out of descriptors) its number serves. */
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	for (int i = 0; i < STDIO_FDS; i++) {
		if (run->files[i] >= 0)
			close(run->files[i]);
	}
	if (run->pidfd >= 0)
		close(run->pidfd);
	free(run);
}

pid_t tool_run_pid(const struct tool_run *run)
{
	return run->pid;
}

void tool_run_wait(const struct tool_job *job)
{
	struct tool_result failed = {.out = "", .err = ""};
	struct event_base *base = event_base_new();
	struct tool_run *run = NULL;

	failed.error = base ? tool_run_start(&run, base, job) : -ENOMEM;
	if (failed.error < 0)
		job->done(job->context, &failed);
	else
		event_base_dispatch(base);
	tool_run_free(run);
	if (base)
		event_base_free(base);
}
