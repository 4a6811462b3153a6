/* What the files of stats share of the layout. */
#ifndef STATS_LAYOUT_H
#define STATS_LAYOUT_H

#include "portald/stats.h"

/* Pins of one set: with the owner's word, two cache lines. */
#define STATS_PIN_WAYS 7

/* Room for nearly a million clients in 16 MiB, of which only what is used takes memory. */
#define STATS_PIN_SETS 131072u

struct pin_entry {
	_Atomic uint64_t key;
	_Atomic uint64_t use; /* time and backend; 0: free */
};

struct pin_set {
	_Atomic uint64_t owner; /* the relay that adds a pin, counted from 1; 0: none */
	uint64_t unused;
	struct pin_entry ways[STATS_PIN_WAYS];
};

#define STATS_PIN_BYTES (STATS_PIN_SETS * sizeof(struct pin_set))

/* Where the pin is, if it is anywhere. */
struct pin_set *pin_set_of(struct stats *stats, const struct stats_pin *pin);

struct pin_set *stats_pin_set(struct stats *stats, uint64_t hash);
uint64_t stats_pin_seed(struct stats *stats);

#endif
