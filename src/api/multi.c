/* Owns libcurl's sockets and its timer on the loop. Runs in control. libcurl must not be called from its own
 * callbacks, so these only set events. */
#include "api/multi.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "portald/mem.h"

struct watched {
	struct event *event;
};

static void turn(struct multi *multi, curl_socket_t fd, int what)
{
	int running;

	curl_multi_socket_action(multi->curl, fd, what, &running);
	multi->turned(multi->context);
}

static void on_socket(evutil_socket_t fd, short what, void *context)
{
	int flags = ((what & EV_READ) ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) ? CURL_CSELECT_OUT : 0);

	turn(context, fd, flags);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	turn(context, CURL_SOCKET_TIMEOUT, 0);
}

static void watched_free(struct watched *watched)
{
	if (!watched)
		return;
	event_free(watched->event);
	free(watched);
}

/* The interest changes by a new event: libevent can't change one that is pending. */
static void watched_set(struct multi *multi, curl_socket_t fd, short interest, struct watched *watched)
{
	if (!watched) {
		watched = mem_calloc(1, sizeof(*watched));
		curl_multi_assign(multi->curl, fd, watched);
	} else {
		event_free(watched->event);
	}
	watched->event = event_new(multi->base, fd, interest | EV_PERSIST, on_socket, multi);
	event_add(watched->event, NULL);
}

static int socket_function(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
	short interest =
		(short)(((what & CURL_POLL_IN) ? EV_READ : 0) | ((what & CURL_POLL_OUT) ? EV_WRITE : 0));

	(void)easy;
	if (what == CURL_POLL_REMOVE)
		watched_free(socket_context);
	else
		watched_set(context, fd, interest, socket_context);
	return 0;
}

static int timer_function(CURLM *curl, long timeout_ms, void *context)
{
	struct multi *multi = context;
	struct timeval timeout = {
		.tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};

	(void)curl;
	if (timeout_ms < 0)
		event_del(multi->timer);
	else
		event_add(multi->timer, &timeout);
	return 0;
}

int multi_init(struct multi *multi, struct event_base *base, void (*turned)(void *context), void *context)
{
	*multi = (struct multi){.base = base, .turned = turned, .context = context};
	multi->curl = curl_multi_init();
	if (!multi->curl)
		return -ENOMEM;
	multi->timer = event_new(base, -1, 0, on_timer, multi);
	curl_multi_setopt(multi->curl, CURLMOPT_SOCKETFUNCTION, socket_function);
	curl_multi_setopt(multi->curl, CURLMOPT_SOCKETDATA, multi);
	curl_multi_setopt(multi->curl, CURLMOPT_TIMERFUNCTION, timer_function);
	curl_multi_setopt(multi->curl, CURLMOPT_TIMERDATA, multi);
	curl_multi_setopt(multi->curl, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	return 0;
}

void multi_fini(struct multi *multi)
{
	/* Closing its connections, libcurl removes their sockets: the events must be there still. */
	if (multi->curl)
		curl_multi_cleanup(multi->curl);
	if (multi->timer)
		event_free(multi->timer);
	*multi = (struct multi){.curl = NULL};
}
