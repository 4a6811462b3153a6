/* HTTP to an API server: one client for one configuration, any number of GET requests at once.
 *
 * Runs in control, on its event loop, by libcurl's multi interface; nothing blocks but the opener. HTTP/2 or
 * 1.1, TLS 1.2 at least. Knows nothing of lists and watches. Credentials are kept fresh: token and
 * certificate files are read again at most once a minute, exec plugins run again when what they gave has
 * expired, and after a 401 both at once; a request that got the 401 is then sent once more, if the
 * credentials changed.
 */
#ifndef PORTALD_APICLIENT_H
#define PORTALD_APICLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct kubeconfig;
struct kubeconfig_opener;

struct apiclient;
struct apiclient_request;

/* The head of an answer. */
struct apiclient_answer {
	int status;               /* 200, 404, ... */
	int64_t retry_after_ms;   /* Retry-After in seconds, here in ms; -1 without one */
	const char *content_type; /* "" without one; valid during the call */
};

/* start comes once, before bytes; end comes once and last, after which the request is gone. A handler may
 * start and cancel requests, but must not free the client. None is called from within apiclient_get(). */
struct apiclient_handlers {
	void (*start)(void *context, const struct apiclient_answer *answer);
	void (*bytes)(void *context, const char *bytes, size_t count);
	/* error 0: the answer is complete, whatever its status. Otherwise a negative errno: -ETIMEDOUT for
	 * the deadline or a connect that took too long, -EPROTO for an answer cut short or not HTTP, -EACCES
	 * for credentials that could not be had, -EKEYREJECTED for TLS, -EHOSTUNREACH for name, connect and
	 * proxy. message names the host and the reason and holds no secret; "" if error is 0. */
	void (*end)(void *context, int error, const char *message);
};

/* Zero stands for the default. */
struct apiclient_options {
	int64_t connect_timeout_ms; /* name, TCP, proxy and TLS together; 10 s */
	int64_t exec_timeout_ms;    /* for a run of the exec plugin; 60 s */
	int64_t refresh_ms;         /* files are read again after so long; 60 s */
};

/* config and opener, with its context, are borrowed and must outlive the client. options may be NULL. Returns
 * NULL if libcurl can't be set up (logged). */
struct apiclient *apiclient_new(struct event_base *base, const struct kubeconfig *config,
	const struct kubeconfig_opener *opener, const struct apiclient_options *options);

/* Ends all requests without calling their handlers. NULL is fine. */
void apiclient_free(struct apiclient *client);

/* GETs path_and_query ("/api/v1/services?limit=500"), below the server's own path. deadline_ms is for all of
 * it, waiting for credentials included; 0: none. The handlers are copied. */
struct apiclient_request *apiclient_get(struct apiclient *client, const char *path_and_query,
	int64_t deadline_ms, const struct apiclient_handlers *handlers, void *context);

/* No handler is called any more. */
void apiclient_cancel(struct apiclient_request *request);

/* "portald/0.1.0 (linux/amd64) kubernetes/unknown", in fresh memory. */
char *apiclient_user_agent(void);

#endif
