/* Which backend a connection goes to: round-robin, exact across relays, passing over backends that have
 * just failed. Pure: time is a parameter, what relays share lies in stats. */
#ifndef RELAY_PICK_H
#define RELAY_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"
#include "portald/stats.h"

/* A failed backend is set aside for the first pause, which doubles with each failed trial. */
#define PICK_FIRST_PAUSE_MS 1000
#define PICK_LAST_PAUSE_MS 30000

/* How long one connection has a backend to itself to try whether it is back: longer than any attempt. */
#define PICK_PROBE_MS 3000

struct backend {
	struct addr_port at;
	uint32_t slot; /* in stats */
};

/* A listener's backends. Replaced as a whole; connections that are dialing keep theirs. */
struct backends {
	uint32_t refs;
	uint32_t count;
	struct backend entries[];
};

/* Zeroed entries, one reference. NULL when out of memory. */
struct backends *backends_new(uint32_t count);
struct backends *backends_ref(struct backends *backends);
void backends_unref(struct backends *backends); /* NULL is fine */

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

struct picked {
	uint32_t index;
	bool probe; /* it was set aside: this connection alone tries whether it is back */
};

/* Picks the next backend that is neither set aside nor in tried (which may be NULL); one that is set
 * aside if there is no other. Moves the cursor once for every backend looked at, so that the share of
 * those passed over spreads evenly. Returns false if all have been tried. */
bool pick_next(struct stats *stats, uint32_t listener_slot, const struct backends *backends,
	const struct tried *tried, int64_t now_ms, struct picked *out);

/* Reports an attempt's outcome. A failure counts once: those of connections that were dialing already
 * when the backend was set aside do not lengthen its pause. */
void pick_succeeded(struct stats *stats, const struct backend *backend);
void pick_failed(struct stats *stats, const struct backend *backend, bool probe, int64_t now_ms);

/* Gives up a probe whose outcome says nothing about the backend: the next connection may try it. */
void pick_probe_abandoned(struct stats *stats, const struct backend *backend, int64_t now_ms);

#endif
