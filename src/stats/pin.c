/* Owns the table of session affinity. Runs in every relay.
 *
 * The table is set-associative. An entry is two words: the key, which is the listener and the client with a
 * count of the keys before it, and the use, which is the time of the last use and the backend. A relay may be
 * killed, or stand still for as long as the scheduler likes, between any two instructions, so no step leaves
 * behind what another relay can't go on from, and none can spoil what others did meanwhile:
 *
 *   look up        reads use, key, use again: the same use around the key belongs to it
 *   refresh,       one compare-and-swap on the use. Of two relays that replace a pin at once, one fails,
 *   replace        looks again and finds the other's choice
 *   add            one relay at a time, the set's owner: two that add the same client would otherwise not see
 *                  each other. It claims a victim's use, looks whether the client is there and the set still
 *                  its own, writes the key, and confirms the use. Each is a compare-and-swap with what it saw
 *                  before; if one fails it begins again
 *
 * Whoever finds the set owned for OWNER_WAIT_US takes it over, and first takes away all claims. So an owner
 * that was only standing still can't confirm what it began: either its claim is gone, or it claims
 * after that and sees that the set is another's. Nor can it write its key over another's: the count is a
 * different one.
 */
#include <stdbool.h>

#include "portald/clock.h"
#include "portald/hash.h"
#include "stats/layout.h"

/* Adding takes a fraction of a microsecond. A relay stands still for this long, once, after another one was
 * killed in it, or while it is off its processor. */
#define OWNER_WAIT_US 1000
#define LOOKS_A_CLOCK_READING 1000

#define BACKEND_BITS 18
#define BACKEND_MASK ((UINT64_C(1) << BACKEND_BITS) - 1)
_Static_assert(STATS_MAX_BACKENDS <= BACKEND_MASK + 1, "a use has room for any backend");

/* In a use, instead of a time: claimed by the relay that stands where the backend would. */
#define CLAIM (UINT64_C(1) << 63)

#define CLIENT_BITS 39
#define COUNT_BITS 8
#define COUNT_ONE (UINT64_C(1) << (64 - COUNT_BITS))
_Static_assert(
	STATS_MAX_LISTENERS <= 1u << (63 - CLIENT_BITS - COUNT_BITS), "a key has room for any listener");

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
	return (uint32_t)(key % COUNT_ONE >> (CLIENT_BITS + 1));
}

static bool key_equal(uint64_t a, uint64_t b)
{
	return (a ^ b) % COUNT_ONE == 0;
}

/* The key with the count that follows old's. */
static uint64_t key_after(uint64_t old, uint64_t key)
{
	return (old & ~(COUNT_ONE - 1)) + COUNT_ONE + key;
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
		if (*use != 0 && !(*use & CLAIM) && key_equal(atomic_load(&entry->key), key) &&
			atomic_load(&entry->use) == *use)
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

/* Takes away the claims that earlier owners of the set have left in it, whether they are dead or not. */
static void drop_claims(struct pin_set *set)
{
	for (int way = 0; way < STATS_PIN_WAYS; way++) {
		uint64_t use = atomic_load(&set->ways[way].use);

		if (use & CLAIM)
			atomic_compare_exchange_strong(&set->ways[way].use, &use, 0);
	}
}

/* Returns true if the set is owned now. */
static bool try_own(struct pin_set *set, uint64_t self)
{
	uint64_t owner = atomic_load_explicit(&set->owner, memory_order_relaxed);

	return owner == 0 && atomic_compare_exchange_strong(&set->owner, &owner, self);
}

static void set_own(struct pin_set *set, uint64_t self)
{
	int64_t until_us;

	if (try_own(set, self))
		return;
	until_us = clock_now_us() + OWNER_WAIT_US;
	/* If the owner has this one's number, it is the process before it. */
	while (atomic_load(&set->owner) != self && clock_now_us() < until_us) {
		for (int look = 0; look < LOOKS_A_CLOCK_READING; look++) {
			if (try_own(set, self))
				return;
		}
	}
	atomic_store(&set->owner, self);
	drop_claims(set);
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

	/* A claim is of a relay that has lost the set. */
	if (use == 0 || use & CLAIM)
		return INT64_MAX;
	if (use_expired(use, atomic_load(&listener->affinity_timeout_s), now_ms))
		return INT64_MAX - 1;
	return now_ms - use_ms(use);
}

static struct pin_entry *find_victim(struct stats *stats, struct pin_set *set, int64_t now_ms)
{
	struct pin_entry *victim = &set->ways[0];

	for (int way = 1; way < STATS_PIN_WAYS; way++) {
		if (readiness(stats, &set->ways[way], now_ms) > readiness(stats, victim, now_ms))
			victim = &set->ways[way];
	}
	return victim;
}

/* Fills the entry that self has claimed. The key that is there was read before the claim. */
static bool confirm(struct pin_entry *entry, uint64_t claim, uint64_t old_key, uint64_t key, uint64_t use)
{
	return atomic_compare_exchange_strong(&entry->key, &old_key, key_after(old_key, key)) &&
	       atomic_compare_exchange_strong(&entry->use, &claim, use);
}

/* Adds the key unless it is there, with the set owned. Returns true if it was added. */
static bool set_add(
	struct stats *stats, struct pin_set *set, uint64_t self, uint64_t key, uint64_t use, int64_t now_ms)
{
	struct pin_entry *victim = find_victim(stats, set, now_ms);
	uint64_t old_key = atomic_load(&victim->key), old_use = atomic_load(&victim->use), other;
	uint64_t claim = CLAIM | self;

	/* Checked before anything is given up for it, too. */
	if (find(set, key, &other) || !atomic_compare_exchange_strong(&victim->use, &old_use, claim))
		return false;
	/* In this order: while the set is still its own, nobody else can have added the key. */
	if (!find(set, key, &other) && atomic_load(&set->owner) == self &&
		confirm(victim, claim, old_key, key, use))
		return true;
	atomic_compare_exchange_strong(&victim->use, &claim, 0);
	return false;
}

/* Adds the key if it is not there. Returns true if it was added; else the caller looks again. */
static bool add(struct stats *stats, const struct stats_pin *pin, uint64_t key, uint32_t backend)
{
	struct pin_set *set = set_of(stats, key);
	uint64_t self = pin->relay + UINT64_C(1);
	bool added;

	set_own(set, self);
	added = set_add(stats, set, self, key, use_make(pin->now_ms, backend), pin->now_ms);
	set_disown(set, self);
	return added;
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
