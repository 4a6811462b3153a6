/* libcurl's multi interface on a libevent loop. */
#ifndef API_MULTI_H
#define API_MULTI_H

#include <curl/curl.h>

struct event;
struct event_base;

struct multi {
	CURLM *curl;
	struct event_base *base;
	struct event *timer;
	void (*turned)(void *context); /* after libcurl has done something, outside of it */
	void *context;
};

/* Returns 0 or a negative errno. */
int multi_init(struct multi *multi, struct event_base *base, void (*turned)(void *context), void *context);
/* All handles have been removed before. */
void multi_fini(struct multi *multi);

#endif
