/* Owns whole plans: finding, comparing, freeing. Runs in control and in `portald plan`. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plan/plan_private.h"

void plan_free(struct plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; i < plan->listener_count; i++)
		plan_listener_free(plan->listeners[i]);
	for (size_t i = 0; i < plan->skipped_count; i++) {
		free(plan->skipped[i].key);
		free(plan->skipped[i].reason);
	}
	for (size_t i = 0; i < plan->health_check_count; i++) {
		free(plan->health_checks[i].namespace);
		free(plan->health_checks[i].name);
	}
	free(plan->listeners);
	free(plan->skipped);
	free(plan->health_checks);
	free(plan);
}

static int id_cmp(const void *id, const void *listener)
{
	return strcmp(id, (*(struct plan_listener *const *)listener)->id);
}

struct plan_listener *plan_find(const struct plan *plan, const char *id)
{
	struct plan_listener **found;

	if (plan->listener_count == 0)
		return NULL;
	found = bsearch(id, plan->listeners, plan->listener_count, sizeof(struct plan_listener *), id_cmp);
	return found ? *found : NULL;
}

/* Which of two sorted lists goes on: negative the old one, positive the new one, 0 both. */
static int diff_order(const struct plan *old, size_t i, const struct plan *new, size_t j)
{
	if (!old || i == old->listener_count)
		return 1;
	if (j == new->listener_count)
		return -1;
	return strcmp(old->listeners[i]->id, new->listeners[j]->id);
}

void plan_diff(const struct plan *old, const struct plan *new,
	void (*change)(void *context, enum plan_change kind, const struct plan_listener *listener),
	void *context)
{
	size_t old_count = old ? old->listener_count : 0, i = 0, j = 0;

	while (i < old_count || j < new->listener_count) {
		int order = diff_order(old, i, new, j);

		if (order < 0) {
			change(context, PLAN_REMOVED, old->listeners[i++]);
		} else if (order > 0) {
			change(context, PLAN_ADDED, new->listeners[j++]);
		} else {
			if (!plan_listener_equal(old->listeners[i], new->listeners[j]))
				change(context, PLAN_CHANGED, new->listeners[j]);
			i++;
			j++;
		}
	}
}

int plan_print(const struct plan *plan, enum plan_output output, FILE *out)
{
	int rc = output == PLAN_TABLE ? plan_print_table(plan, out) : plan_print_tree(plan, output, out);

	if (fflush(out) != 0 || ferror(out))
		return -EIO;
	return rc;
}
