/* Pipes for splicing: pooled, bounded, and only ever reused empty. */
#ifndef RELAY_PIPES_H
#define RELAY_PIPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The size asked for; an unprivileged user gets less once all of his pipes hold pipe-user-pages-soft. */
#define PIPE_BYTES (256 * 1024)

/* A pipe of less than that moves no more a call than the copy buffer does, for more calls. */
#define PIPE_MIN_BYTES (64 * 1024)

#define PIPES_MAX_OPEN 128
#define PIPES_MAX_IDLE 16

/* After a pipe could not be made, none is tried for that long. */
#define PIPES_RETRY_MS 1000

struct pipe {
	int read_fd, write_fd;
	uint32_t capacity;
	uint32_t bytes; /* in it now */
	struct pipe *next;
};

struct pipes {
	struct pipe *idle;
	uint32_t idle_count;
	uint32_t open_count; /* idle and lent */
	int64_t retry_at_ms;
};

/* An empty pipe, or NULL: then the caller copies. may_open: descriptors may be used for a new one. */
struct pipe *pipes_get(struct pipes *pipes, bool may_open, int64_t now_ms);

/* Takes a pipe back; one that is not empty is closed. */
void pipes_put(struct pipes *pipes, struct pipe *pipe);

/* Closes all idle pipes: descriptors are short, or the relay ends. */
void pipes_trim(struct pipes *pipes);

#endif
