/* Owns the table that finds a flow by its client. Runs in every relay.
 *
 * Clients choose what it is keyed by, so the hash is keyed itself, by a secret of the process: SipHash
 * (Aumasson and Bernstein, 2012) with one round a word and three at the end. The number of buckets is that of
 * the flows there may be: chains stay short and nothing is ever moved.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "relay/udp.h"

#define KEY_WORDS (sizeof(struct udp_key) / sizeof(uint64_t))

_Static_assert(sizeof(struct udp_key) == 48, "a key has no padding and is whole words");

struct sip {
	uint64_t a, b, c, d;
};

static uint64_t rotate(uint64_t value, unsigned bits)
{
	return value << bits | value >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
	s->a += s->b;
	s->c += s->d;
	s->b = rotate(s->b, 13) ^ s->a;
	s->d = rotate(s->d, 16) ^ s->c;
	s->a = rotate(s->a, 32) + s->d;
	s->c += s->b;
	s->d = rotate(s->d, 21) ^ s->a;
	s->b = rotate(s->b, 17) ^ s->c;
	s->c = rotate(s->c, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
	s->d ^= word;
	sip_round(s);
	s->a ^= word;
}

uint64_t udp_table_hash(const struct udp_table *table, const struct udp_key *key)
{
	struct sip s = {
		.a = table->secret[0] ^ UINT64_C(0x736f6d6570736575),
		.b = table->secret[1] ^ UINT64_C(0x646f72616e646f6d),
		.c = table->secret[0] ^ UINT64_C(0x6c7967656e657261),
		.d = table->secret[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t words[KEY_WORDS];

	memcpy(words, key, sizeof(words));
	for (size_t i = 0; i < KEY_WORDS; i++)
		sip_word(&s, words[i]);
	/* The length, as the last word has it. */
	sip_word(&s, (uint64_t)sizeof(*key) << 56);
	s.c ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}

int udp_table_init(struct udp_table *table, uint32_t capacity)
{
	uint64_t buckets = 64;

	while (buckets < capacity)
		buckets *= 2;
	table->mask = buckets - 1;
	table->buckets = calloc(buckets, sizeof(struct udp_flow *));
	if (!table->buckets)
		return -ENOMEM;
	if (getrandom(table->secret, sizeof(table->secret), 0) != (ssize_t)sizeof(table->secret))
		return -EIO;
	return 0;
}

void udp_table_fini(struct udp_table *table)
{
	free(table->buckets);
	table->buckets = NULL;
}

struct udp_flow *udp_table_find(const struct udp_table *table, const struct udp_key *key, uint64_t hash)
{
	struct udp_flow *flow = table->buckets[hash & table->mask];

	while (flow && (flow->hash != hash || memcmp(&flow->key, key, sizeof(*key)) != 0))
		flow = flow->next_in_bucket;
	return flow;
}

void udp_table_add(struct udp_table *table, struct udp_flow *flow)
{
	struct udp_flow **bucket = &table->buckets[flow->hash & table->mask];

	flow->next_in_bucket = *bucket;
	*bucket = flow;
}

void udp_table_remove(struct udp_table *table, struct udp_flow *flow)
{
	struct udp_flow **link = &table->buckets[flow->hash & table->mask];

	while (*link != flow)
		link = &(*link)->next_in_bucket;
	*link = flow->next_in_bucket;
}
