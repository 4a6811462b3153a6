/* Owns a listener's list of backends with what schedulers precompute from it, and the marks of those that
 * one connection has tried. Runs in every relay. */
#include <stdlib.h>

#include "portald/hash.h"
#include "relay/pick.h"

/* ---- a list ---- */

struct backends *backends_new(uint32_t count)
{
	size_t bytes_each = sizeof(struct backend) + 2 * sizeof(uint32_t);
	struct backends *backends = calloc(1, sizeof(*backends) + count * bytes_each);

	if (!backends)
		return NULL;
	backends->refs = 1;
	backends->count = count;
	backends->ends = (uint32_t *)(void *)(backends->entries + count);
	backends->by_slot = backends->ends + count;
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

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b > 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* A step through the period that visits each place once before it begins again, and a backend's share of
 * places at nearly equal distances: next to the golden section of the period. */
static uint32_t stride_of(uint32_t turns)
{
	uint32_t stride = (uint32_t)((uint64_t)turns * 618034 / 1000000);

	if (turns < 3)
		return 1;
	while (gcd(stride, turns) != 1)
		stride++;
	return stride;
}

static void divide_period(struct backends *backends)
{
	uint32_t divisor = 0, end = 0;

	backends->equal = true;
	for (uint32_t i = 0; i < backends->count; i++) {
		divisor = gcd(divisor, backends->entries[i].weight);
		backends->equal &= backends->entries[i].weight == backends->entries[0].weight;
	}
	for (uint32_t i = 0; i < backends->count; i++) {
		end += divisor > 0 ? backends->entries[i].weight / divisor : 1;
		backends->ends[i] = end;
	}
	backends->turns = end;
	backends->stride = stride_of(end);
}

static int slot_cmp(const void *a, const void *b, void *context)
{
	const struct backend *entries = context;
	uint32_t left = entries[*(const uint32_t *)a].slot, right = entries[*(const uint32_t *)b].slot;

	return left < right ? -1 : left > right;
}

void backends_finish(struct backends *backends)
{
	divide_period(backends);
	for (uint32_t i = 0; i < backends->count; i++) {
		backends->entries[i].hash = hash_addr_port(&backends->entries[i].at, 0);
		backends->by_slot[i] = i;
	}
	qsort_r(backends->by_slot, backends->count, sizeof(uint32_t), slot_cmp, backends->entries);
}

int64_t backends_find(const struct backends *backends, uint32_t slot)
{
	uint32_t low = 0, high = backends->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		uint32_t index = backends->by_slot[middle];

		if (backends->entries[index].slot == slot)
			return index;
		if (backends->entries[index].slot < slot)
			low = middle + 1;
		else
			high = middle;
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
