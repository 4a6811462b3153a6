/* Owns the start of COMMAND. Runs in the supervisor of `portald run`; COMMAND lives in its namespace. */
#include "proc/command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What shells use for a command that cannot be found or run. */
#define EXIT_NOT_FOUND 127
#define EXIT_NOT_RUN 126

static void command_exec(char **argv)
{
	char *shell[] = {getenv("SHELL"), NULL};
	sigset_t none;

	if (!shell[0] || !*shell[0])
		shell[0] = "/bin/sh";
	if (!argv)
		argv = shell;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGUSR2, SIG_DFL);
	execvp(argv[0], argv);
	fprintf(stderr, "portald: %s: %s\n", argv[0], strerrordesc_np(errno));
	_exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN);
}

pid_t command_start(char **argv)
{
	pid_t pid = fork();

	if (pid == 0)
		command_exec(argv);
	return pid < 0 ? -errno : pid;
}

int command_exit_code(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
