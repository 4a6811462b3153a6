/* Owns a channel's events. Runs in the supervisor and in control, which have a libevent loop. */
#include "proc/link.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "portald/log.h"

/* Frames handled before other events get their turn. */
#define FRAMES_PER_TURN 256

static void link_fail(struct link *link, int error)
{
	link_close(link);
	link->handlers->down(link->context, error);
}

static void link_read(evutil_socket_t fd, short what, void *context)
{
	struct link *link = context;

	(void)fd;
	(void)what;
	for (int i = 0; i < FRAMES_PER_TURN && link_is_up(link) && !link->paused; i++) {
		struct ipc_frame frame;
		int rc = ipc_receive(link->channel, &frame);

		if (rc == 0)
			return;
		if (rc > 0)
			rc = link->handlers->frame(link->context, &frame);
		if (rc < 0) {
			link_fail(link, rc);
			return;
		}
	}
	/* The channel may hold whole frames that it has read already: the socket won't announce them. */
	if (link_is_up(link) && !link->paused)
		event_active(link->readable, EV_READ, 0);
}

static void link_write(evutil_socket_t fd, short what, void *context)
{
	struct link *link = context;
	int rc = ipc_flush(link->channel);

	(void)fd;
	(void)what;
	if (rc < 0)
		link_fail(link, rc);
	else
		link_sent(link, 0);
}

void link_open(struct link *link, struct event_base *base, int fd, const struct link_handlers *handlers,
	void *context)
{
	*link = (struct link){
		.channel = ipc_channel_new(fd),
		.readable = event_new(base, fd, EV_READ | EV_PERSIST, link_read, link),
		.writable = event_new(base, fd, EV_WRITE, link_write, link),
		.handlers = handlers,
		.context = context,
	};
	if (!link->channel || !link->readable || !link->writable || event_add(link->readable, NULL) < 0) {
		log_error("out of memory");
		abort();
	}
}

void link_pause(struct link *link, bool paused)
{
	if (!link_is_up(link))
		return;
	link->paused = paused;
	if (paused) {
		event_del(link->readable);
		return;
	}
	event_add(link->readable, NULL);
	/* There may be frames that were read already. */
	event_active(link->readable, EV_READ, 0);
}

void link_close(struct link *link)
{
	if (!link_is_up(link))
		return;
	event_free(link->readable);
	event_free(link->writable);
	ipc_channel_free(link->channel);
	link->channel = NULL;
}

void link_sent(struct link *link, int rc)
{
	if (!link_is_up(link))
		return;
	/* A dead peer is found out by reading: that is the one place from which links go down. */
	if (rc == 0 && ipc_wants_write(link->channel))
		event_add(link->writable, NULL);
}
