/* The access log's way to its file: relays write lines into a pipe, and a process that does nothing else
 * copies them. So a slow disk holds up nobody, and lines that come while the writer is being replaced wait in
 * the pipe. */
#ifndef PROC_ACCESS_LOG_H
#define PROC_ACCESS_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proc/options.h"

struct access_log {
	const char *path;
	int read_fd, write_fd; /* of the pipe; -1: there is no access log */
	pid_t writer;          /* 0: none is running */
	bool replacing;        /* it was told to end: the file was renamed or removed */
	int64_t start_ms;      /* not before then */
	dev_t device;          /* of its file */
	ino_t inode;
};

/* How often access_log_tick() wants to be called. */
#define ACCESS_LOG_TICK_MS 1000

/* Makes the pipe if the options want a log, and sees that the file can be opened. Returns 0 or a negative
 * errno (logged). */
int access_log_open(struct access_log *log, const struct options *options);
void access_log_close(struct access_log *log); /* the pipe, not the writer */

static inline bool access_log_is_on(const struct access_log *log)
{
	return log->read_fd >= 0;
}

/* Looks after the writer. Returns the file that a new one is to write to, which the caller takes; or -1 if
 * there is nothing to do. */
int access_log_tick(struct access_log *log, int64_t now_ms);

/* The new writer runs. */
void access_log_started(struct access_log *log, pid_t pid);

/* True if that process was the writer; it has ended. */
bool access_log_exited(struct access_log *log, pid_t pid, int64_t now_ms);

/* The writer: copies until the pipe ends, or at SIGTERM up to the end of a line. Returns the exit code. */
int access_log_write(int pipe_fd, int file_fd);

#endif
