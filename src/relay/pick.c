/* Owns the choice of backends. Runs in every relay; relays agree through the atomics in stats:
 *
 *     until_ms = 0        in use
 *     until_ms > now      set aside, or being tried by one connection
 *     until_ms <= now     the pause is over: whoever moves until_ms on first is the one that tries
 */
#include "relay/pick.h"

#include <stdlib.h>

/* Cursor moves for one pick. With more dead backends than that in a row, finding one that lives matters
 * more than spreading their share. */
#define MAX_CURSOR_MOVES 64

struct backends *backends_new(uint32_t count)
{
	struct backends *backends = calloc(1, sizeof(*backends) + count * sizeof(struct backend));

	if (!backends)
		return NULL;
	backends->refs = 1;
	backends->count = count;
	return backends;
}

struct backends *backends_ref(struct backends *backends)
{
	backends->refs++;
	return backends;
}

void backends_unref(struct backends *backends)
{
	if (backends && --backends->refs == 0)
		free(backends);
}

void backends_finish(struct backends *backends)
{
	backends->equal = true;
}

int64_t backends_find(const struct backends *backends, uint32_t slot)
{
	for (uint32_t i = 0; i < backends->count; i++) {
		if (backends->entries[i].slot == slot)
			return i;
	}
	return -1;
}

/* ---- what a connection has tried ---- */

static bool bit_get(const uint64_t *words, uint32_t index)
{
	return words[index / 64] >> index % 64 & 1;
}

static void bit_set(uint64_t *words, uint32_t index)
{
	words[index / 64] |= UINT64_C(1) << index % 64;
}

struct tried *tried_new(uint32_t count)
{
	size_t words = (count + 63) / 64;
	struct tried *tried = calloc(1, sizeof(*tried) + 2 * words * sizeof(uint64_t));

	if (!tried)
		return NULL;
	tried->count = count;
	tried->round = tried->words;
	tried->refused = tried->words + words;
	return tried;
}

void tried_mark(struct tried *tried, uint32_t index, bool refused)
{
	if (!bit_get(tried->round, index))
		tried->marked++;
	bit_set(tried->round, index);
	if (refused)
		bit_set(tried->refused, index);
}

bool tried_has(const struct tried *tried, uint32_t index)
{
	return bit_get(tried->round, index);
}

bool tried_again(struct tried *tried)
{
	tried->marked = 0;
	for (uint32_t word = 0; word < (tried->count + 63) / 64; word++) {
		tried->round[word] = tried->refused[word];
		tried->marked += (uint32_t)__builtin_popcountll(tried->refused[word]);
	}
	return tried->marked < tried->count;
}

/* ---- choice ---- */

enum fitness { FIT, FIT_TO_PROBE, UNFIT };

/* Whether this connection may go to a backend; FIT_TO_PROBE has just reserved it. */
static enum fitness backend_fitness(struct stats_backend_shared *shared, int64_t now_ms)
{
	int64_t until_ms = atomic_load_explicit(&shared->set_aside_until_ms, memory_order_relaxed);

	if (until_ms == 0)
		return FIT;
	if (until_ms > now_ms)
		return UNFIT;
	if (atomic_compare_exchange_strong(&shared->set_aside_until_ms, &until_ms, now_ms + PICK_PROBE_MS))
		return FIT_TO_PROBE;
	return UNFIT;
}

static bool consider(struct stats *stats, const struct backends *backends, const struct tried *tried,
	uint32_t index, int64_t now_ms, struct picked *out)
{
	enum fitness fitness;

	if (tried && tried_has(tried, index))
		return false;
	fitness = backend_fitness(stats_backend_shared(stats, backends->entries[index].slot), now_ms);
	*out = (struct picked){.index = index, .probe = fitness == FIT_TO_PROBE};
	return fitness != UNFIT;
}

/* The first untried one from start on, set aside or not. */
static bool pick_any(
	const struct backends *backends, const struct tried *tried, uint32_t start, struct picked *out)
{
	for (uint32_t i = 0; i < backends->count; i++) {
		uint32_t index = (start + i) % backends->count;

		if (!tried || !tried_has(tried, index)) {
			*out = (struct picked){.index = index};
			return true;
		}
	}
	return false;
}

bool pick_next(const struct pick_request *request, struct picked *out)
{
	struct stats *stats = request->stats;
	const struct backends *backends = request->backends;
	const struct tried *tried = request->tried;
	int64_t now_ms = request->now_ms;
	struct stats_listener_shared *shared = stats_listener_shared(stats, request->listener_slot);
	uint32_t count = backends->count, index = 0;

	if (count == 0 || (tried && tried->marked >= count))
		return false;
	for (uint32_t moves = 0; moves < count && moves < MAX_CURSOR_MOVES; moves++) {
		uint64_t turn = atomic_fetch_add_explicit(&shared->cursor, 1, memory_order_relaxed);

		index = (uint32_t)(turn % count);
		if (consider(stats, backends, tried, index, now_ms, out))
			return true;
	}
	/* Other relays have moved the cursor in between, or there are many: look at each one. */
	for (uint32_t i = 1; i <= count; i++) {
		if (consider(stats, backends, tried, (index + i) % count, now_ms, out))
			return true;
	}
	return pick_any(backends, tried, index, out);
}

bool pick_wants_client(const struct service_options *options)
{
	return options->scheduler == SCHEDULER_SH || options->affinity_timeout_s > 0;
}

/* ---- load ---- */

void pick_hold(struct stats *stats, uint32_t relay, uint32_t backend_slot)
{
	stats_add(&stats_backend(stats, relay, backend_slot)->active, 1);
}

void pick_release(struct stats *stats, uint32_t relay, uint32_t backend_slot)
{
	stats_drop(&stats_backend(stats, relay, backend_slot)->active);
}

/* ---- outcomes ---- */

static int64_t pause_ms(uint32_t level)
{
	int64_t pause = PICK_FIRST_PAUSE_MS;

	while (level-- > 1 && pause < PICK_LAST_PAUSE_MS)
		pause *= 2;
	return pause < PICK_LAST_PAUSE_MS ? pause : PICK_LAST_PAUSE_MS;
}

void pick_succeeded(struct stats *stats, const struct backend *backend)
{
	struct stats_backend_shared *shared = stats_backend_shared(stats, backend->slot);

	/* Read first: in the usual case the line stays shared between the relays. */
	if (atomic_load_explicit(&shared->set_aside_until_ms, memory_order_relaxed) == 0)
		return;
	atomic_store(&shared->set_aside_level, 0);
	atomic_store(&shared->set_aside_until_ms, 0);
}

void pick_failed(struct stats *stats, const struct backend *backend, bool probe, int64_t now_ms)
{
	struct stats_backend_shared *shared = stats_backend_shared(stats, backend->slot);
	int64_t in_use = 0;
	uint32_t level;

	if (probe) {
		level = atomic_fetch_add(&shared->set_aside_level, 1) + 1;
		atomic_store(&shared->set_aside_until_ms, now_ms + pause_ms(level));
		return;
	}
	if (atomic_compare_exchange_strong(
		    &shared->set_aside_until_ms, &in_use, now_ms + PICK_FIRST_PAUSE_MS))
		atomic_store(&shared->set_aside_level, 1);
}

void pick_probe_abandoned(struct stats *stats, const struct backend *backend, int64_t now_ms)
{
	atomic_store(&stats_backend_shared(stats, backend->slot)->set_aside_until_ms, now_ms);
}
