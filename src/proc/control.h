/* Control: from manifests or the API server to a plan, sent to the supervisor. */
#ifndef PROC_CONTROL_H
#define PROC_CONTROL_H

#include <stdbool.h>

#include "proc/options.h"

/* The exit code by which control tells that there is no use in starting it again: at the first start --strict
 * found errors, or the kubeconfig can't be used. */
#define CONTROL_EXIT_FATAL 3

/* ... and that --bind-address-hard-fail was given and an address can't be had. */
#define CONTROL_EXIT_BIND 4

struct control_setup {
	const struct options *options;
	int channel_fd; /* to the supervisor */
	int files_fd;   /* to the starter, which opens the files */
	int stats_fd;   /* the shared counters, for reading; -1: none */
	int status_fd;  /* the status socket; -1: none */
	int inotify_fd; /* tells of changes; -1: poll */
	bool first;     /* not a restart: --strict applies */
	bool waits;     /* another control process serves yet: admin begins with the first SYNC_DONE */
};

/* Runs until the supervisor closes the channel. Takes the descriptors. Returns the exit code. */
int control_run(const struct control_setup *setup);

#endif
