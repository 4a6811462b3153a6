/* The supervisor: holds the listeners and the rules, keeps the other processes alive. */
#ifndef PROC_SUPERVISOR_H
#define PROC_SUPERVISOR_H

#include <sys/types.h>

#include "proc/options.h"

struct notify_target;

struct supervisor_setup {
	const struct options *options;
	int starter_fd; /* the channel to the starter */
	int stats_fd;   /* the shared counters */
	const struct notify_target *notify;
};

/* Runs until SIGTERM, SIGINT or the end of COMMAND. Takes starter_fd. Returns the exit code. */
int supervisor_run(const struct supervisor_setup *setup);

#endif
