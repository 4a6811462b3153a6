/* Owns the schedulers. Runs in every relay; what is to be exact across relays goes by the cursor and the
 * counts in stats.
 *
 *   rr            The cursor counts all picks. A period has a place for each unit of weight; the cursor walks
 *                 through the places with a stride that is coprime to their number, so any period's worth of
 *                 picks in a row, by whichever relays, gives every backend exactly its share.
 *   lc, sed, nq   The least of a fraction that is made of the active connections of all relays and the
 *                 weight. Among equals the cursor decides, in turn.
 *   dh, sh        Rendezvous hashing: each backend draws a number from the hash of itself and the key, and
 *                 the best one wins. A backend that leaves takes away only its own draws, so no other key
 *                 moves. The draw is u^(1/weight), compared by -weight / ln(u).
 */
#include "relay/schedule.h"

#include <math.h>

#include "portald/hash.h"

/* Cursor moves for one pick. With more dead backends than that in a row, finding one that lives matters
 * more than spreading their share. */
#define MAX_CURSOR_MOVES 64

bool schedule_eligible(const struct pick_request *request, enum tier tier, uint32_t index)
{
	const struct backends *backends = request->backends;
	const struct backend *backend = &backends->entries[index];
	int64_t until_ms;

	if (request->tried && tried_has(request->tried, index))
		return false;
	if (tier == TIER_ANY)
		return true;
	/* Where none has a weight, all are alike. */
	if (backend->weight == 0 && !backends->equal)
		return false;
	if (tier == TIER_SET_ASIDE)
		return true;
	until_ms =
		atomic_load_explicit(&stats_backend_shared(request->stats, backend->slot)->set_aside_until_ms,
			memory_order_relaxed);
	return until_ms <= request->now_ms;
}

static uint64_t next_turn(const struct pick_request *request)
{
	struct stats_listener_shared *shared = stats_listener_shared(request->stats, request->listener_slot);

	return atomic_fetch_add_explicit(&shared->cursor, 1, memory_order_relaxed);
}

static uint32_t weight_of(const struct pick_request *request, uint32_t index)
{
	uint16_t weight = request->backends->entries[index].weight;

	return weight > 0 ? weight : 1;
}

/* ---- rr ---- */

static uint32_t owner_of_place(const struct backends *backends, uint32_t place)
{
	uint32_t low = 0, high = backends->count - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (place < backends->ends[middle])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static uint32_t owner_of_turn(const struct backends *backends, uint64_t turn)
{
	if (backends->equal)
		return (uint32_t)(turn % backends->count);
	return owner_of_place(
		backends, (uint32_t)(turn % backends->turns * backends->stride % backends->turns));
}

/* By lot among the eligible, with their weights: the cursor has met too many others. */
static bool draw_lot(const struct pick_request *request, enum tier tier, uint64_t turn, uint32_t *index)
{
	uint64_t sum = 0, lot;

	for (uint32_t i = 0; i < request->backends->count; i++) {
		if (schedule_eligible(request, tier, i))
			sum += weight_of(request, i);
	}
	if (sum == 0)
		return false;
	lot = hash_mix(turn) % sum;
	/* Other relays may set backends aside meanwhile: the last one that was eligible takes the rest. */
	for (uint32_t i = 0; i < request->backends->count; i++) {
		if (!schedule_eligible(request, tier, i))
			continue;
		*index = i;
		if (lot < weight_of(request, i))
			return true;
		lot -= weight_of(request, i);
	}
	return schedule_eligible(request, tier, *index);
}

static bool schedule_rr(const struct pick_request *request, enum tier tier, uint32_t *index)
{
	uint32_t moves = request->backends->turns;
	uint64_t turn = 0;

	if (moves > MAX_CURSOR_MOVES)
		moves = MAX_CURSOR_MOVES;
	/* Every turn looked at is used up, so that the share of those passed over spreads evenly. */
	for (uint32_t i = 0; i < moves; i++) {
		turn = next_turn(request);
		*index = owner_of_turn(request->backends, turn);
		if (schedule_eligible(request, tier, *index))
			return true;
	}
	return draw_lot(request, tier, turn, index);
}

/* ---- lc, sed, nq ---- */

struct load {
	uint32_t index;
	uint32_t weight;
	uint64_t connections;
};

struct loads {
	uint32_t count;
	struct load entries[SCHEDULE_LOOKS];
};

static void loads_add(struct loads *loads, const struct pick_request *request, enum tier tier, uint32_t index)
{
	uint64_t active;
	bool idle_first = request->options->scheduler == SCHEDULER_NQ;
	bool counts_itself = request->options->scheduler != SCHEDULER_LC;

	if (loads->count == SCHEDULE_LOOKS || !schedule_eligible(request, tier, index))
		return;
	active = stats_backend_active(request->stats, request->backends->entries[index].slot);
	if (active > 0 || !idle_first)
		active += counts_itself;
	loads->entries[loads->count++] = (struct load){index, weight_of(request, index), active};
}

static void loads_collect(
	struct loads *loads, const struct pick_request *request, enum tier tier, uint64_t turn)
{
	uint32_t count = request->backends->count;
	uint32_t start = count > SCHEDULE_LOOKS ? (uint32_t)(hash_mix(turn) % count) : 0;

	loads->count = 0;
	for (uint32_t i = 0; count > SCHEDULE_LOOKS && i < SCHEDULE_LOOKS; i++)
		loads_add(loads, request, tier, (uint32_t)(hash_mix(turn * SCHEDULE_LOOKS + i) % count));
	if (loads->count > 0)
		return;
	/* Few, or most are not eligible. */
	for (uint32_t i = 0; i < count; i++)
		loads_add(loads, request, tier, (start + i) % count);
}

/* Compares connections / weight. */
static int load_cmp(const struct load *a, const struct load *b)
{
	uint64_t left = a->connections * b->weight, right = b->connections * a->weight;

	return left < right ? -1 : left > right;
}

static bool schedule_least(const struct pick_request *request, enum tier tier, uint32_t *index)
{
	uint64_t turn = next_turn(request);
	struct loads loads;
	uint32_t ties = 0;

	loads_collect(&loads, request, tier, turn);
	if (loads.count == 0)
		return false;
	/* The equals of the least so far move to the front. */
	for (uint32_t i = 0; i < loads.count; i++) {
		int order = ties == 0 ? -1 : load_cmp(&loads.entries[i], &loads.entries[0]);

		if (order < 0)
			ties = 0;
		if (order <= 0)
			loads.entries[ties++] = loads.entries[i];
	}
	*index = loads.entries[turn % ties].index;
	return true;
}

/* ---- dh, sh ---- */

/* The backend's draw, in (0, 1). */
static double draw(const struct backends *backends, uint32_t index, uint64_t key)
{
	uint64_t bits = hash_mix(backends->entries[index].hash ^ key) >> 11;

	return ((double)bits + 0.5) * 0x1p-53;
}

/* Whether a draw is worth more than best; then best is set to it. */
static bool beats(const struct pick_request *request, uint32_t index, double u, double *best)
{
	double weight = weight_of(request, index), worth;

	/* -ln(u) is at least 1 - u: most draws lose without a logarithm. */
	if (weight <= *best * (1 - u))
		return false;
	worth = -weight / log(u);
	if (worth <= *best)
		return false;
	*best = worth;
	return true;
}

static bool schedule_hash(
	const struct pick_request *request, enum tier tier, const struct addr *addr, uint32_t *index)
{
	static const struct addr unknown;
	uint64_t key = hash_addr(addr ? addr : &unknown, 1);
	double best = 0, worth;
	bool found = false;

	for (uint32_t i = 0; i < request->backends->count; i++) {
		worth = best;
		if (!beats(request, i, draw(request->backends, i, key), &worth) ||
			!schedule_eligible(request, tier, i))
			continue;
		best = worth;
		*index = i;
		found = true;
	}
	return found;
}

/* ---- choice ---- */

bool schedule(const struct pick_request *request, enum tier tier, uint32_t *index)
{
	switch (request->options->scheduler) {
	case SCHEDULER_LC:
	case SCHEDULER_SED:
	case SCHEDULER_NQ:
		return schedule_least(request, tier, index);
	case SCHEDULER_DH:
		return schedule_hash(request, tier, request->portal, index);
	case SCHEDULER_SH:
		return schedule_hash(request, tier, request->client, index);
	case SCHEDULER_RR:
	case SCHEDULERS:
	default:
		return schedule_rr(request, tier, index);
	}
}
