/* The schedulers: rr, lc, dh, sh, sed, nq. */
#ifndef RELAY_SCHEDULE_H
#define RELAY_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/pick.h"

/* lc, sed and nq look at so many backends for one choice; of more, at that many taken at random. Each costs
 * a cache line of every relay, and the least loaded of 64 is hardly worse than that of all. */
#define SCHEDULE_LOOKS 64u

/* What is good enough, from best to last resort; a backend that was tried never is. */
enum tier {
	TIER_FIT,       /* has a weight; is not set aside, or it is time to try it again */
	TIER_SET_ASIDE, /* has a weight */
	TIER_ANY,
	TIERS
};

bool schedule_eligible(const struct pick_request *request, enum tier tier, uint32_t index);

/* The scheduler's choice among the eligible ones. Returns false if there is none. */
bool schedule(const struct pick_request *request, enum tier tier, uint32_t *index);

#endif
