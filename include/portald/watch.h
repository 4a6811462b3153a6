/* Following the API server: list and watch as state machines without I/O, and the store that they fill.
 *
 * There is one `struct watch` for each resource (Services, endpoints, the own Node) and one store for all.
 * A transport (libcurl in control, a scenario in the tests) asks each watch for its next request and tells it
 * what came of it. Behaviour is that of client-go's reflector. Time and random numbers come from outside;
 * nothing here opens, waits or reads a clock. Runs in control and in the fuzzers.
 *
 * How a transport drives a watch, after watch_start() and after each further input:
 *
 *     while a transfer runs:  watch_response(), watch_body() for each piece, watch_ended();
 *                             a negative result of watch_body() or watch_timer(): drop the transfer, which is
 *                             over for the watch (no watch_ended())
 *     otherwise:              watch_next() returns true: start that request
 *                             watch_next() returns false: nothing to do before watch_due_ms()
 *     at watch_due_ms():      watch_timer()
 */
#ifndef PORTALD_WATCH_H
#define PORTALD_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/model.h"

enum watch_resource {
	WATCH_SERVICES,
	WATCH_ENDPOINTS, /* EndpointSlices of v1, else of v1beta1, else Endpoints */
	WATCH_NODE,      /* the own one */
	WATCH_RESOURCES
};

/* ---- the store: what the API server has last said ---- */

struct watch_store;

/* The own Node, as far as anybody asks. */
struct watch_node {
	struct model_node *model; /* also in the snapshot */
	struct addr *addresses;   /* status.addresses of type InternalIP, then ExternalIP */
	size_t address_count;
	bool deleting; /* deletionTimestamp is set, or the autoscaler has tainted it for deletion */
};

/* A Service that changed, or whose endpoints did; it need not exist (any more). */
struct watch_change {
	const char *namespace, *name;
	bool service, endpoints; /* which of them */
	const struct watch_change *next;
};

struct watch_store *watch_store_new(void);
void watch_store_free(struct watch_store *store); /* NULL is fine */

/* True once Services and endpoints have both been listed: nothing may be programmed before. Never false
 * again: while the API server is away the last state stays in force. */
bool watch_store_synced(const struct watch_store *store);

/* True if the resource has been listed once. */
bool watch_store_listed(const struct watch_store *store, enum watch_resource resource);

/* All of it, with one reference for the caller. The objects are shared with the store and with other
 * snapshots; without a change in between it is the same snapshot. Copies one pointer an object. */
struct model_snapshot *watch_store_snapshot(struct watch_store *store);

/* What changed since watch_store_changes_clear(), each Service once, in no order; NULL if nothing did.
 * Valid until the store's next change. What was put in anew but says the same is no change. */
const struct watch_change *watch_store_changes(const struct watch_store *store);
bool watch_store_node_changed(const struct watch_store *store);
void watch_store_changes_clear(struct watch_store *store);

/* Single objects, borrowed until the store's next change: their cost does not grow with the store. The slices
 * of a Service are [*first, *first + returned count), sorted by name. NULL if there is none. */
const struct model_service *watch_store_service(
	const struct watch_store *store, const char *namespace, const char *name);
size_t watch_store_slices(const struct watch_store *store, const char *namespace, const char *service_name,
	struct model_slice *const **first);
const struct watch_node *watch_store_node(const struct watch_store *store);

/* How many objects of the resource there are. */
size_t watch_store_count(const struct watch_store *store, enum watch_resource resource);

/* ---- one list and watch ---- */

struct watch;

enum watch_level { WATCH_DETAIL, WATCH_INFO, WATCH_WARNING };

struct watch_config {
	enum watch_resource resource;
	const char *node_name; /* for WATCH_NODE; copied */
	/* A random number of 32 bits. */
	uint32_t (*random)(void *context);
	/* A line for the log, without secrets; the text is valid during the call. May be NULL. */
	void (*report)(void *context, enum watch_level level, const char *text);
	void *context;
};

/* A GET request. The text is valid until the watch's next input. */
struct watch_request {
	const char *target;  /* path and query: "/api/v1/services?limit=500&..." */
	bool stream;         /* a watch: the body comes for minutes, its pieces are wanted as they arrive */
	bool renew;          /* read or fetch the credentials anew before this: the last ones met a 401 */
	int64_t deadline_ms; /* when watch_timer() gives the transfer up, as far as is known now */
};

/* A watch that fills the store, which must outlive it. */
struct watch *watch_new(const struct watch_config *config, struct watch_store *store);
void watch_free(struct watch *watch); /* NULL is fine */

/* The first request becomes due. */
void watch_start(struct watch *watch, int64_t now_ms);

/* True if a request is due: it counts as sent then. */
bool watch_next(struct watch *watch, int64_t now_ms, struct watch_request *request);

/* When watch_timer() is to be called: the end of a wait or the deadline of a transfer; INT64_MAX for never.
 * May move with each input. */
int64_t watch_due_ms(const struct watch *watch);

/* The time that watch_due_ms() said has come. 0, or -ETIMEDOUT: drop the transfer. Harmless when early. */
int watch_timer(struct watch *watch, int64_t now_ms);

/* The head of the response. retry_after_s: Retry-After in seconds, -1 if there is none. */
void watch_response(struct watch *watch, int64_t now_ms, int status, int64_t retry_after_s);

/* A piece of the body, of any length. 0, or drop the transfer: -ECANCELED (no more is wanted of it) or
 * -EBADMSG (what came is no valid answer). */
int watch_body(struct watch *watch, int64_t now_ms, const char *bytes, size_t byte_count);

/* The transfer is over: error 0 if the response was complete, else a negative errno (no connection, a TLS
 * failure, a cut body). reason says it in words, without a secret; NULL: the errno's own. */
void watch_ended(struct watch *watch, int64_t now_ms, int error, const char *reason);

/* For status pages and for tests. */
struct watch_status {
	const char *api;              /* "discovery.k8s.io/v1": the version in use, or tried */
	const char *resource_version; /* how far the store has come; NULL before the first list */
	const char *problem;          /* what the last failure was; NULL once it works again */
	bool watching;                /* a watch is open */
	int64_t heard_ms;             /* of the last byte, 0 for never */
	uint64_t lists;               /* completed ones */
};
struct watch_status watch_status(const struct watch *watch);

#endif
