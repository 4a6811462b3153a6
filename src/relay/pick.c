/* Owns the choice of backends. Runs in every relay; relays agree through the atomics in stats:
 *
 *     until_ms = 0        in use
 *     until_ms > now      set aside, or being tried by one connection
 *     until_ms <= now     the pause is over: whoever moves until_ms on first is the one that tries
 */
#include "relay/pick.h"

#include "relay/schedule.h"

/* After so many backends or pins were taken away from under it by other relays, a pick goes without. */
#define MAX_RACES 8

/* ---- one that failed is tried by one connection ---- */

static int64_t probe_ms(const struct service_options *options)
{
	int64_t own_ms = (int64_t)options->connect_timeout_ms + PICK_PROBE_MORE_MS;

	return own_ms > PICK_PROBE_MS ? own_ms : PICK_PROBE_MS;
}

/* Takes an eligible backend of TIER_FIT; false if another connection has begun to try it meanwhile. */
static bool claim(const struct pick_request *request, uint32_t index, struct picked *out)
{
	const struct backend *backend = &request->backends->entries[index];
	struct stats_backend_shared *shared = stats_backend_shared(request->stats, backend->slot);
	int64_t until_ms = atomic_load_explicit(&shared->set_aside_until_ms, memory_order_relaxed);

	*out = (struct picked){.index = index, .probe = until_ms != 0};
	if (until_ms == 0)
		return true;
	return until_ms <= request->now_ms &&
	       atomic_compare_exchange_strong(
		       &shared->set_aside_until_ms, &until_ms, request->now_ms + probe_ms(request->options));
}

/* ---- choice ---- */

static bool pick_scheduled(const struct pick_request *request, struct picked *out)
{
	uint32_t index = 0;

	for (int i = 0; i < MAX_RACES && schedule(request, TIER_FIT, &index); i++) {
		if (claim(request, index, out))
			return true;
	}
	for (enum tier tier = TIER_SET_ASIDE; tier < TIERS; tier++) {
		if (schedule(request, tier, &index)) {
			*out = (struct picked){.index = index};
			return true;
		}
	}
	return false;
}

static bool pick_pinned(const struct pick_request *request, uint32_t slot, struct picked *out)
{
	int64_t index = slot == STATS_NO_PIN ? -1 : backends_find(request->backends, slot);

	return index >= 0 && schedule_eligible(request, TIER_FIT, (uint32_t)index) &&
	       claim(request, (uint32_t)index, out);
}

/* With session affinity: the client's pin if it is usable; else a fresh choice, which becomes the pin unless
 * another relay was faster. */
static bool pick_sticky(const struct pick_request *request, struct picked *out)
{
	struct stats_pin pin = {
		.relay = request->relay,
		.listener = request->listener_slot,
		.client = request->client,
		.timeout_s = request->options->affinity_timeout_s,
		.now_ms = request->now_ms,
	};
	uint32_t pinned = stats_pin_get(request->stats, &pin);

	for (int i = 0; i < MAX_RACES; i++) {
		const struct backend *backend;
		uint32_t in_force;

		if (pick_pinned(request, pinned, out))
			return true;
		if (!pick_scheduled(request, out))
			return false;
		backend = &request->backends->entries[out->index];
		in_force = stats_pin_replace(request->stats, &pin, pinned, backend->slot);
		if (in_force == backend->slot)
			return true;
		if (out->probe)
			pick_probe_abandoned(request->stats, backend, request->now_ms);
		pinned = in_force;
	}
	return pick_scheduled(request, out);
}

bool pick_wants_client(const struct service_options *options)
{
	return options->scheduler == SCHEDULER_SH || options->affinity_timeout_s > 0;
}

bool pick_next(const struct pick_request *request, struct picked *out)
{
	if (request->backends->count == 0 ||
		(request->tried && request->tried->marked >= request->backends->count))
		return false;
	if (request->options->affinity_timeout_s > 0 && request->client)
		return pick_sticky(request, out);
	return pick_scheduled(request, out);
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
