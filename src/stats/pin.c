/* Owns the table of session affinity. Runs in every relay.
 *
 * The table is set-associative. An entry is two words: the key, which is the listener and the client, and the
 * use, which is the time of the last use and the backend. A relay may be killed between any two
 * instructions, so no step leaves behind what another relay can't go on from:
 *
 *   look up        reads use, key, use again: the same use around the key belongs to it
 *   refresh,       one compare-and-swap on the use. Of two relays that replace a pin at once, one fails,
 *   replace        looks again and finds the other's choice
 *   add            clears the use of the victim, writes the key, writes the use. Only one relay at a time
 *                  adds to a set: two that add the same client would otherwise not see each other. Adding
 *                  takes a fraction of a microsecond; whoever finds the set owned for OWNER_WAIT_US takes
 *                  it over: its owner is dead. (If it was only stopped for so long, right there, and adds
 *                  the same client, the client has two pins, of which the first counts.)
 */
#include <stdbool.h>

#include "portald/clock.h"
#include "portald/hash.h"
#include "stats/layout.h"

/* Longer than a process that could run is kept waiting for a processor, as a rule. A relay stands still for
 * that once, after another one was killed in that fraction of a microsecond. */
#define OWNER_WAIT_US 20000
#define LOOKS_A_CLOCK_READING 1000

#define BACKEND_BITS 18
#define BACKEND_MASK ((UINT64_C(1) << BACKEND_BITS) - 1)
_Static_assert(STATS_MAX_BACKENDS <= BACKEND_MASK + 1, "a use has room for any backend");

#define CLIENT_BITS 47
_Static_assert(STATS_MAX_LISTENERS <= 1u << (63 - CLIENT_BITS), "a key has room for any listener");

/* ---- words ---- */

/* Time counts from 1, so that a use is never 0. */
static uint64_t use_make(int64_t now_ms, uint32_t backend)
{
	return (uint64_t)(now_ms + 1) << BACKEND_BITS | backend;
}

static uint32_t use_backend(uint64_t use)
{
	return (uint32_t)(use & BACKEND_MASK);
}

static int64_t use_ms(uint64_t use)
{
	return (int64_t)(use >> BACKEND_BITS) - 1;
}

static bool use_expired(uint64_t use, uint32_t timeout_s, int64_t now_ms)
{
	return now_ms - use_ms(use) >= (int64_t)timeout_s * 1000;
}

/* An IPv4 address stands in the key itself; of an IPv6 one, a hash. */
static uint64_t key_make(struct stats *stats, const struct stats_pin *pin)
{
	bool v6 = addr_family(pin->client) == ADDR_V6;
	uint64_t client = v6 ? hash_addr(pin->client, stats_pin_seed(stats)) >> (64 - CLIENT_BITS)
			     : addr_v4_value(pin->client);

	return (uint64_t)pin->listener << (CLIENT_BITS + 1) | (uint64_t)v6 << CLIENT_BITS | client;
}

static uint32_t key_listener(uint64_t key)
{
	return (uint32_t)(key >> (CLIENT_BITS + 1));
}

static struct pin_set *set_of(struct stats *stats, uint64_t key)
{
	return stats_pin_set(stats, hash_mix(key ^ stats_pin_seed(stats)));
}

struct pin_set *pin_set_of(struct stats *stats, const struct stats_pin *pin)
{
	return set_of(stats, key_make(stats, pin));
}

/* The entry of the key and its use, expired or not; or NULL. */
static struct pin_entry *find(struct pin_set *set, uint64_t key, uint64_t *use)
{
	for (int way = 0; way < STATS_PIN_WAYS; way++) {
		struct pin_entry *entry = &set->ways[way];

		*use = atomic_load(&entry->use);
		if (*use != 0 && atomic_load(&entry->key) == key && atomic_load(&entry->use) == *use)
			return entry;
	}
	return NULL;
}

/* ---- use ---- */

uint32_t stats_pin_get(struct stats *stats, const struct stats_pin *pin)
{
	uint64_t key = key_make(stats, pin), use;
	struct pin_set *set = set_of(stats, key);

	for (;;) {
		struct pin_entry *entry = find(set, key, &use);

		if (!entry || use_expired(use, pin->timeout_s, pin->now_ms))
			return STATS_NO_PIN;
		/* Another relay's clock reading may be the later one. */
		if (use_ms(use) >= pin->now_ms || atomic_compare_exchange_strong(&entry->use, &use,
							  use_make(pin->now_ms, use_backend(use))))
			return use_backend(use);
	}
}

/* ---- add ---- */

/* Returns true if the set is owned now. */
static bool try_own(struct pin_set *set, uint64_t self)
{
	uint64_t owner = atomic_load_explicit(&set->owner, memory_order_relaxed);

	/* Its own: left by the process that had this number before. */
	return owner == self || (owner == 0 && atomic_compare_exchange_strong(&set->owner, &owner, self));
}

static void set_own(struct pin_set *set, uint64_t self)
{
	int64_t until_us;

	if (try_own(set, self))
		return;
	until_us = clock_now_us() + OWNER_WAIT_US;
	do {
		for (int look = 0; look < LOOKS_A_CLOCK_READING; look++) {
			if (try_own(set, self))
				return;
		}
	} while (clock_now_us() < until_us);
	atomic_store(&set->owner, self);
}

static void set_disown(struct pin_set *set, uint64_t self)
{
	/* Unless another has taken it over. */
	atomic_compare_exchange_strong(&set->owner, &self, 0);
}

/* How ready an entry is to make room: the higher, the readier. */
static int64_t readiness(struct stats *stats, const struct pin_entry *entry, int64_t now_ms)
{
	uint64_t use = atomic_load(&entry->use), key = atomic_load(&entry->key);
	struct stats_listener_shared *listener = stats_listener_shared(stats, key_listener(key));

	if (use == 0)
		return INT64_MAX;
	if (use_expired(use, atomic_load(&listener->affinity_timeout_s), now_ms))
		return INT64_MAX - 1;
	return now_ms - use_ms(use);
}

static void set_add(struct stats *stats, struct pin_set *set, uint64_t key, uint64_t use, int64_t now_ms)
{
	struct pin_entry *victim = &set->ways[0];

	for (int way = 1; way < STATS_PIN_WAYS; way++) {
		if (readiness(stats, &set->ways[way], now_ms) > readiness(stats, victim, now_ms))
			victim = &set->ways[way];
	}
	atomic_store(&victim->use, 0);
	atomic_store(&victim->key, key);
	atomic_store(&victim->use, use);
}

/* Adds the key if it is not there. Returns true if it was added. */
static bool add(struct stats *stats, const struct stats_pin *pin, uint64_t key, uint32_t backend)
{
	struct pin_set *set = set_of(stats, key);
	uint64_t use, self = pin->relay + UINT64_C(1);
	bool absent;

	set_own(set, self);
	absent = !find(set, key, &use);
	if (absent)
		set_add(stats, set, key, use_make(pin->now_ms, backend), pin->now_ms);
	set_disown(set, self);
	return absent;
}

static void note_timeout(struct stats *stats, const struct stats_pin *pin)
{
	struct stats_listener_shared *listener = stats_listener_shared(stats, pin->listener);

	if (atomic_load_explicit(&listener->affinity_timeout_s, memory_order_relaxed) != pin->timeout_s)
		atomic_store(&listener->affinity_timeout_s, pin->timeout_s);
}

uint32_t stats_pin_replace(struct stats *stats, const struct stats_pin *pin, uint32_t old, uint32_t fresh)
{
	uint64_t key = key_make(stats, pin), use;
	struct pin_set *set = set_of(stats, key);

	note_timeout(stats, pin);
	for (;;) {
		struct pin_entry *entry = find(set, key, &use);

		if (!entry) {
			if (add(stats, pin, key, fresh))
				return fresh;
			continue;
		}
		if (!use_expired(use, pin->timeout_s, pin->now_ms) && use_backend(use) != old)
			return use_backend(use);
		if (atomic_compare_exchange_strong(&entry->use, &use, use_make(pin->now_ms, fresh)))
			return fresh;
	}
}
