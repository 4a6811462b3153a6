/* Which backend a connection (TCP) or flow (UDP) goes to: session affinity, else the Service's scheduler,
 * passing over backends that have just failed. Pure: time is a parameter, what relays share lies in stats,
 * so that all relays choose as one. */
#ifndef RELAY_PICK_H
#define RELAY_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"
#include "portald/service_options.h"
#include "portald/stats.h"

/* A failed backend is set aside for the first pause, which doubles with each failed trial. */
#define PICK_FIRST_PAUSE_MS 1000
#define PICK_LAST_PAUSE_MS 30000

/* How long one connection has a backend to itself to try whether it is back: longer than any attempt. With
 * a connect timeout of the Service's own, that and PICK_PROBE_MORE_MS if it is longer. */
#define PICK_PROBE_MS 3000
#define PICK_PROBE_MORE_MS 1000

struct backend {
	struct addr_port at;
	uint32_t slot; /* in stats */
	uint16_t weight;
	uint64_t hash; /* of at; set by backends_finish() */
};

/* A listener's backends. Replaced as a whole; connections that are dialing keep theirs. */
struct backends {
	uint32_t refs;
	uint32_t count;
	/* Set by backends_finish(). */
	bool equal;        /* all have the same weight */
	uint32_t turns;    /* of a round-robin period: the sum of the weights, divided by what divides all */
	uint32_t stride;   /* from one turn's place in the period to the next one's; coprime to turns */
	uint32_t *ends;    /* where each backend's share of the period ends */
	uint32_t *by_slot; /* indices in the order of their slots */
	struct backend entries[];
};

/* Zeroed entries, one reference. NULL when out of memory. The caller fills the entries in and then calls
 * backends_finish(), before the first pick. */
struct backends *backends_new(uint32_t count);
void backends_finish(struct backends *backends);
struct backends *backends_ref(struct backends *backends);
void backends_unref(struct backends *backends); /* NULL is fine */

/* The index of the backend with that slot, or -1. */
int64_t backends_find(const struct backends *backends, uint32_t slot);

/* The backends that one connection has tried, in this round and for good. */
struct tried {
	uint32_t count;
	uint32_t marked; /* in this round */
	uint64_t *round;
	uint64_t *refused;
	uint64_t words[];
};

/* For backends of that count. NULL when out of memory. The caller frees it with free(). */
struct tried *tried_new(uint32_t count);

/* Marks a backend; refused: it gave an answer, so there is no point in asking it again. */
void tried_mark(struct tried *tried, uint32_t index, bool refused);
bool tried_has(const struct tried *tried, uint32_t index);

/* Begins another round with all that were not refused. Returns false if none is left. */
bool tried_again(struct tried *tried);

/* What a choice depends on. */
struct pick_request {
	struct stats *stats;
	uint32_t relay; /* this process's number */
	uint32_t listener_slot;
	const struct service_options *options; /* scheduler, affinity_timeout_s, connect_timeout_ms */
	const struct backends *backends;
	const struct tried *tried; /* what this connection has tried; NULL: nothing */
	const struct addr *client; /* for sh and session affinity; NULL: unknown, all are one */
	const struct addr *portal; /* for dh: the address the client meant; NULL: unknown, all are one */
	int64_t now_ms;
};

struct picked {
	uint32_t index;
	bool probe; /* it was set aside: this connection alone tries whether it is back */
};

/* True if pick_next looks at request->client. */
bool pick_wants_client(const struct service_options *options);

/* Picks the backend, passing over those in tried, those set aside, and those of weight 0; then, if there is
 * no other, one that is set aside; then one of weight 0. With session affinity the client's choice is
 * recorded for all relays; one that may not be picked any more is replaced. Returns false if all have been
 * tried. */
bool pick_next(const struct pick_request *request, struct picked *out);

/* The backend has (no longer has) this relay's connection or flow: from the pick until it has failed or
 * ended. lc, sed and nq go by these counts. */
void pick_hold(struct stats *stats, uint32_t relay, uint32_t backend_slot);
void pick_release(struct stats *stats, uint32_t relay, uint32_t backend_slot);

/* Reports an attempt's outcome. A failure counts once: those of connections that were dialing already
 * when the backend was set aside do not lengthen its pause. */
void pick_succeeded(struct stats *stats, const struct backend *backend);
void pick_failed(struct stats *stats, const struct backend *backend, bool probe, int64_t now_ms);

/* Gives up a probe whose outcome says nothing about the backend: the next connection may try it. */
void pick_probe_abandoned(struct stats *stats, const struct backend *backend, int64_t now_ms);

#endif
