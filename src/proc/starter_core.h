/* The starter's own structures, and what its files do for each other. */
#ifndef PROC_STARTER_CORE_H
#define PROC_STARTER_CORE_H

#include <stdint.h>
#include <sys/types.h>

#include "portald/ipc.h"
#include "portald/listen.h"
#include "proc/permits.h"
#include "proc/starter.h"

struct child {
	pid_t pid; /* 0: not running */
	enum ipc_role role;
	uint32_t index;
};

struct starter {
	const struct starter_setup *setup;
	const struct options *options; /* in force: setup's, or renewed */
	struct options *renewed;       /* NULL: no changed configuration was taken up */
	struct config_watch config;
	int64_t next_look_ms;
	struct ipc_channel *supervisor;
	struct ipc_channel *control; /* requests for files; NULL while control is down */
	int signal_fd;
	struct access_log access_log;
	struct permits permits; /* credential files for control */
	struct child children[LISTEN_MAX_RELAYS + 1];
};

/* starter_files.c */
/* Handles what control asks for. Returns 0, or a negative errno: its channel is over. */
int starter_control_frame(struct starter *starter, struct ipc_frame *frame);

#endif
