/* Rules that were refused, and what was said of each. */
#ifndef STEERING_REFUSED_H
#define STEERING_REFUSED_H

#include <stdbool.h>
#include <stddef.h>

#include "portald/steering.h"

/* More of them, and something else is wrong than the rules. */
#define REFUSED_MAX 64

struct refused {
	struct steering_rules rules; /* with keys of their own */
	char *details[REFUSED_MAX];
};

/* Adds a rule, unless it is among them or there are too many. */
void refused_add(struct refused *refused, const struct steering_rule *rule, const char *detail);
bool refused_have(const struct refused *refused, const struct steering_rule *rule);

/* What was said of the portal's rule; NULL: it is not among them. */
const char *refused_find(const struct refused *refused, enum proto proto, const struct plan_portal *portal);

/* Moves all from one, which is empty then, to the other, whose own are forgotten. */
void refused_move(struct refused *to, struct refused *from);
void refused_clear(struct refused *refused);

#endif
