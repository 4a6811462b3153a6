/* Sets of addresses: sorted and unique lists, which their sets own. */
#ifndef STEERING_ADDR_SET_H
#define STEERING_ADDR_SET_H

#include <stddef.h>

#include "portald/addr.h"

struct addr_set {
	struct addr *list;
	size_t count;
};

/* That address in the set; NULL if it is not in it. */
const struct addr *addr_set_find(const struct addr_set *set, const struct addr *addr);

/* New sets, which the caller frees with addr_set_fini(): the same; what is in either; what is in a and not in
 * b. */
struct addr_set addr_set_copy(const struct addr_set *set);
struct addr_set addr_set_union(const struct addr_set *a, const struct addr_set *b);
struct addr_set addr_set_minus(const struct addr_set *a, const struct addr_set *b);

/* Puts another set, which is taken, in the place of one. */
void addr_set_replace_take(struct addr_set *set, struct addr_set other);
void addr_set_fini(struct addr_set *set);

#endif
