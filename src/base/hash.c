#include "portald/hash.h"

#include <string.h>

/* Odd numbers without pattern: the fractions of square roots of primes. */
#define FACTOR_1 UINT64_C(0x6a09e667f3bcc909)
#define FACTOR_2 UINT64_C(0xbb67ae8584caa73b)

uint64_t hash_mix(uint64_t value)
{
	for (int round = 0; round < 2; round++) {
		value ^= value >> 32;
		value *= FACTOR_1;
		value ^= value >> 29;
		value *= FACTOR_2;
	}
	return value ^ value >> 32;
}

uint64_t hash_addr(const struct addr *addr, uint64_t seed)
{
	uint64_t halves[2];

	memcpy(halves, addr->bytes, sizeof(halves));
	return hash_mix(halves[1] + hash_mix(halves[0] + hash_mix(seed)));
}

uint64_t hash_addr_port(const struct addr_port *at, uint64_t seed)
{
	return hash_mix(hash_addr(&at->addr, seed) + at->port);
}
