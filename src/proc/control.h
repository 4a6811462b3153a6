/* Control: from manifests to a plan, sent to the supervisor. */
#ifndef PROC_CONTROL_H
#define PROC_CONTROL_H

#include <stdbool.h>

#include "proc/options.h"

/* The exit code by which control tells that --strict found errors at the first start. */
#define CONTROL_EXIT_STRICT 3

/* ... and that --bind-address-hard-fail was given and an address can't be had. */
#define CONTROL_EXIT_BIND 4

struct control_setup {
	const struct options *options;
	int channel_fd; /* to the supervisor */
	int files_fd;   /* to the starter, which opens the manifests */
	int stats_fd;   /* the shared counters, for reading; -1: none */
	int status_fd;  /* the status socket; -1: none */
	int inotify_fd; /* tells of changes; -1: poll */
	bool first;     /* not a restart: --strict applies */
};

/* Runs until the supervisor closes the channel. Takes the descriptors. Returns the exit code. */
int control_run(const struct control_setup *setup);

#endif
