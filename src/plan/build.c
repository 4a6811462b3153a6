/* Owns the plan of a whole snapshot, and the notes in it. Runs in control and in `portald plan`. */
#include <stdlib.h>

#include "plan/plan_private.h"
#include "portald/mem.h"
#include "portald/plan_book.h"

void plan_skip(struct plan *plan, const char *key, char *reason_take)
{
	struct plan_skipped *skipped =
		plan_array_append(&plan->skipped, &plan->skipped_count, sizeof(*skipped));

	skipped->key = mem_strdup(key);
	skipped->reason = reason_take;
}

char *plan_join(char *before_take, char *more_take)
{
	char *joined;

	if (!before_take)
		return more_take;
	joined = mem_printf("%s; %s", before_take, more_take);
	free(before_take);
	free(more_take);
	return joined;
}

/* The facts with the zone that the snapshot knows, if they have none. */
static struct plan_facts facts_with_zone(
	const struct plan_facts *facts, const struct model_snapshot *snapshot)
{
	struct plan_facts complete = *facts;
	const struct model_node *node = facts->node_name ? model_find_node(snapshot, facts->node_name) : NULL;

	if (!complete.zone && node)
		complete.zone = node->zone;
	return complete;
}

struct plan *plan_build(const struct model_snapshot *snapshot, const struct plan_facts *given)
{
	struct plan_book *book = plan_book_new(&given->defaults);
	struct plan_facts facts = facts_with_zone(given, snapshot);

	for (size_t i = 0; i < snapshot->service_count; i++) {
		size_t first, slice_count = model_slices_of(snapshot, snapshot->services[i], &first);

		plan_book_put(book, snapshot->services[i], snapshot->slices + first, slice_count, &facts);
	}
	return plan_book_finish(book);
}
