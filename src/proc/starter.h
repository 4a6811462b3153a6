/* The starter: makes control and the relays, and opens what they may not. */
#ifndef PROC_STARTER_H
#define PROC_STARTER_H

#include "proc/access_log.h"
#include "proc/config_watch.h"
#include "proc/confine.h"
#include "proc/options.h"
#include "proc/program.h"
#include "proc/title.h"

struct starter_setup {
	const struct options *options;
	const struct title *title;
	struct confine_user user; /* whom the children run as */
	int inotify_fd;           /* watches are added here; -1: none, control polls */
	struct access_log access_log;
	int status_fd;              /* the status socket, for control; -1: none */
	int stdin_fd;               /* what came by standard input; -1: nothing was asked for */
	struct config_stamp config; /* the configuration file as it was read */
	const struct program *program;
	bool succeeds; /* another starter was there before: the supervisor waits for the settings in the file
			*/
	int life_fd;   /* held open until all children have ended; -1: nobody waits for that */
};

/* Runs until the supervisor's end of channel_fd closes; then waits for the children (they end when their
 * own channels close), kills those that linger, and returns the exit code. Takes channel_fd. */
int starter_run(const struct starter_setup *setup, int channel_fd);

#endif
