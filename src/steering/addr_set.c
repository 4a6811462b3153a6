/* Owns the arithmetic of sets of addresses. Runs in the supervisor. */
#include "steering/addr_set.h"

#include <stdlib.h>

#include "portald/mem.h"

static int addrs_cmp(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

const struct addr *addr_set_find(const struct addr_set *set, const struct addr *addr)
{
	return set->count > 0 ? bsearch(addr, set->list, set->count, sizeof(*set->list), addrs_cmp) : NULL;
}

/* Below 0 if the next one of a comes first, 0 if both have it. One of the two has a next one. */
static int next_of(const struct addr_set *a, size_t i, const struct addr_set *b, size_t k)
{
	if (i == a->count)
		return 1;
	return k == b->count ? -1 : addr_cmp(&a->list[i], &b->list[k]);
}

struct addr_set addr_set_copy(const struct addr_set *set)
{
	const struct addr_set none = {.count = 0};

	return addr_set_union(set, &none);
}

struct addr_set addr_set_union(const struct addr_set *a, const struct addr_set *b)
{
	struct addr_set both = {.list = mem_calloc(a->count + b->count, sizeof(*both.list))};

	for (size_t i = 0, k = 0; i < a->count || k < b->count;) {
		int order = next_of(a, i, b, k);

		both.list[both.count++] = order <= 0 ? a->list[i] : b->list[k];
		i += order <= 0;
		k += order >= 0;
	}
	return both;
}

struct addr_set addr_set_minus(const struct addr_set *a, const struct addr_set *b)
{
	struct addr_set rest = {.list = mem_calloc(a->count, sizeof(*rest.list))};

	for (size_t i = 0, k = 0; i < a->count;) {
		int order = next_of(a, i, b, k);

		if (order < 0)
			rest.list[rest.count++] = a->list[i];
		i += order <= 0;
		k += order >= 0;
	}
	return rest;
}

void addr_set_replace_take(struct addr_set *set, struct addr_set other)
{
	free(set->list);
	*set = other;
}

void addr_set_fini(struct addr_set *set)
{
	addr_set_replace_take(set, (struct addr_set){.count = 0});
}
