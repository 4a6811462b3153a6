/* Hashes that are the same in every process and after every restart, for choices that must be. They do not
 * withstand someone who looks for collisions, unless mixed with a seed that he does not know. */
#ifndef PORTALD_HASH_H
#define PORTALD_HASH_H

#include <stdint.h>

#include "portald/addr.h"

/* A bijection in which every bit of the result depends on every bit of value. */
uint64_t hash_mix(uint64_t value);

/* Hashes of an address, and of one with its port; another seed gives an independent one. */
uint64_t hash_addr(const struct addr *addr, uint64_t seed);
uint64_t hash_addr_port(const struct addr_port *at, uint64_t seed);

#endif
