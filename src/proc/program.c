/* Owns the execution of the program by itself. Runs in the supervisor and in the starter, each of which makes
 * its own successor: so that this one has what it has, and nobody has the powers of both. */
#include "proc/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "portald/log.h"
#include "portald/mem.h"

#define VARIABLE "PORTALD_SUCCESSOR"

static char *own_file(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (length < 0)
		return NULL;
	path[length] = '\0';
	return mem_strdup(path);
}

int program_init(struct program *program, char **argv)
{
	*program = (struct program){.argv = argv};
	program->path = strchr(argv[0], '/') ? mem_strdup(argv[0]) : own_file();
	return program->path ? 0 : -ENOENT;
}

void program_fini(struct program *program)
{
	free(program->path);
}

/* ---- what a process is told ---- */

static char *successor_text(const struct successor *successor)
{
	return mem_printf("%d %d %d %d %d %d %d %d %d", (int)successor->role, successor->channel_fd,
		successor->starter_fd, successor->life_fd, successor->keeper_fd, successor->sockets_fd,
		successor->instance_fd, successor->status_fd, successor->stdin_fd);
}

static int parse(struct successor *out, const char *text)
{
	int *const fds[] = {&out->channel_fd, &out->starter_fd, &out->life_fd, &out->keeper_fd,
		&out->sockets_fd, &out->instance_fd, &out->status_fd, &out->stdin_fd};
	char *end;
	long number = strtol(text, &end, 10);

	if (end == text || number < SUCCESSOR_SUPERVISOR || number > SUCCESSOR_STARTER)
		return -EINVAL;
	out->role = (enum successor_role)number;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		text = end;
		number = strtol(text, &end, 10);
		if (end == text || number < -1 || number > INT_MAX)
			return -EINVAL;
		*fds[i] = (int)number;
		/* The status socket is the starter's. */
		if (fds[i] == &out->status_fd && out->role == SUCCESSOR_SUPERVISOR)
			continue;
		if (*fds[i] >= 0 && fcntl(*fds[i], F_SETFD, FD_CLOEXEC) < 0)
			return -EINVAL;
	}
	return *end == '\0' && out->starter_fd >= 0 && out->life_fd >= 0 ? 0 : -EINVAL;
}

int successor_take(struct successor *successor)
{
	const char *text = getenv(VARIABLE);
	int rc = 0;

	*successor = (struct successor){
		.role = SUCCESSOR_NONE,
		.channel_fd = -1,
		.starter_fd = -1,
		.life_fd = -1,
		.keeper_fd = -1,
		.sockets_fd = -1,
		.instance_fd = -1,
		.status_fd = -1,
		.stdin_fd = -1,
	};
	if (text)
		rc = parse(successor, text);
	unsetenv(VARIABLE);
	return rc;
}

/* ---- executing ---- */

static void keep(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

static void execute(
	const struct program *program, const struct successor *successor, const struct program_extra *extra)
{
	char *text = successor_text(successor);
	sigset_t none;

	keep(successor->channel_fd);
	keep(successor->starter_fd);
	keep(successor->life_fd);
	keep(successor->keeper_fd);
	keep(successor->sockets_fd);
	keep(successor->instance_fd);
	keep(successor->stdin_fd);
	if (successor->role == SUCCESSOR_STARTER)
		keep(successor->status_fd);
	for (size_t i = 0; i < extra->fd_count; i++)
		keep(extra->fds[i]);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setenv(VARIABLE, text, 1);
	execv(program->path, program->argv);
	log_error("cannot execute the program", log_str("path", program->path), log_errno("error", errno));
	_exit(1);
}

/* Signals that came for the parent are not for the child, whose handlers are the parent's until it executes.
 */
static void drop_handlers(void)
{
	static const int handled[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};

	for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
		signal(handled[i], SIG_DFL);
	signal(SIGUSR2, SIG_IGN);
}

static pid_t fork_program(
	const struct program *program, const struct successor *successor, const struct program_extra *extra)
{
	pid_t pid = fork();

	if (pid == 0) {
		drop_handlers();
		if (extra->in_child)
			extra->in_child(extra->context);
		execute(program, successor, extra);
	}
	return pid < 0 ? -errno : pid;
}

/* By a process between, which ends. */
static pid_t fork_orphan(
	const struct program *program, const struct successor *successor, const struct program_extra *extra)
{
	pid_t middle, pid = -EAGAIN;
	int pipes[2];

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	middle = fork();
	if (middle == 0) {
		drop_handlers();
		pid = fork_program(program, successor, extra);
		_exit(write(pipes[1], &pid, sizeof(pid)) == (ssize_t)sizeof(pid) ? 0 : 1);
	}
	close(pipes[1]);
	if (middle > 0) {
		if (read(pipes[0], &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
			pid = -EAGAIN;
		while (waitpid(middle, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(pipes[0]);
	return pid;
}

pid_t program_succeed(
	const struct program *program, const struct successor *successor, const struct program_extra *extra)
{
	return extra->orphaned ? fork_orphan(program, successor, extra)
			       : fork_program(program, successor, extra);
}
