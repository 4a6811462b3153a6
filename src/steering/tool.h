/* One run of a firewall tool as a child process. */
#ifndef STEERING_TOOL_H
#define STEERING_TOOL_H

#include <stddef.h>
#include <sys/types.h>

struct event_base;
struct tool_run;

/* How a run ended. The strings are valid during the call only. */
struct tool_result {
	int error;       /* 0; -ETIMEDOUT: killed; -EIO: it failed; another negative errno: it never ran */
	int exit_code;   /* with -EIO; 128 + signal if it died of one */
	const char *out; /* what it printed on standard output and standard error; never NULL */
	const char *err;
};

struct tool_job {
	const char *const *argv; /* argv[0] is the path; NULL-terminated */
	const char *input;       /* its standard input; NULL: nothing */
	int lock_fd;             /* a private lock file for it instead of the common one; 0: none */
	int timeout_ms;
	void (*done)(void *context, const struct tool_result *result);
	void *context;
};

/* Starts the tool; done is called later from the loop, once, unless the run is freed before. Everything in
 * job but the context is copied. Returns 0 and *run, or a negative errno (done is not called then). */
int tool_run_start(struct tool_run **run, struct event_base *base, const struct tool_job *job);

/* Kills the tool if it still runs. Also to be called after done, from there or later. NULL is fine. */
void tool_run_free(struct tool_run *run);

/* The process of a tool that runs; 0 when it has ended. Also the port of its first netlink socket. */
pid_t tool_run_pid(const struct tool_run *run);

/* A memfd that holds content (NULL: empty), out of the way of the numbers that a tool's own files get.
 * Returns the descriptor or a negative errno. */
int tool_memfd(const char *name, const char *content);

/* Runs the tool and waits for it, for start-up and cleanup. done is called before the return, also when
 * the tool could not be started. */
void tool_run_wait(const struct tool_job *job);

#endif
