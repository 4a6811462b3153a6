/* The supervisor: holds the listeners and the rules, keeps the other processes alive. */
#ifndef PROC_SUPERVISOR_H
#define PROC_SUPERVISOR_H

#include <sys/types.h>

#include "proc/options.h"

struct notify_target;
struct program;
struct successor;
struct title;

struct supervisor_setup {
	const struct options *options;
	int starter_fd; /* the channel to the starter */
	int stats_fd;   /* the shared counters */
	const struct notify_target *notify;
	const struct title *title;
	const struct program *program;
	const struct successor *successor; /* what this process was started as */
	int instance_fd;                   /* what claims the network namespace; -1: nothing */
	int status_fd;                     /* of the status socket, which is the starter's; -1: none */
};

/* Runs until SIGTERM, SIGINT or the end of COMMAND, or of the process that has succeeded it. Takes
 * starter_fd, and what successor has. Returns the exit code; *in_charge: what was made on the host is this
 * process's. */
int supervisor_run(const struct supervisor_setup *setup, bool *in_charge);

#endif
