/* A channel on an event loop: frames in by callback, frames out without blocking. */
#ifndef PROC_LINK_H
#define PROC_LINK_H

#include <stdbool.h>

#include "portald/ipc.h"

struct event_base;
struct event;

struct link_handlers {
	/* One frame. A negative return is a broken peer: the link goes down. */
	int (*frame)(void *context, struct ipc_frame *frame);
	/* The peer is gone (-EPIPE) or broken (anything else). The link is closed already. */
	void (*down)(void *context, int error);
};

struct link {
	struct ipc_channel *channel; /* NULL while the link is down */
	struct event *readable, *writable;
	const struct link_handlers *handlers;
	void *context;
	bool paused;
};

/* Takes fd. handlers must outlive the link. */
void link_open(struct link *link, struct event_base *base, int fd, const struct link_handlers *handlers,
	void *context);

/* Closes without calling down(). A link that is down stays down. */
void link_close(struct link *link);

/* Reads nothing while paused; the end of the peer is not noticed either. */
void link_pause(struct link *link, bool paused);

static inline bool link_is_up(const struct link *link)
{
	return link->channel != NULL;
}

/* To be called after sending on link->channel, with what the send returned: waits for room where the
 * queue holds something; closes the link (and reports it by down(), later, from the loop) on an error. */
void link_sent(struct link *link, int rc);

#endif
