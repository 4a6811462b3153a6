/* Owns whole plans: finding, comparing, freeing. Runs in control and in `portald plan`. */
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
	free(plan->listeners);
	free(plan->skipped);
	free(plan);
}

static int key_cmp(const void *key, const void *listener)
{
	return strcmp(key, (*(struct plan_listener *const *)listener)->key);
}

struct plan_listener *plan_find(const struct plan *plan, const char *key)
{
	struct plan_listener **found;

	if (plan->listener_count == 0)
		return NULL;
	found = bsearch(key, plan->listeners, plan->listener_count, sizeof(struct plan_listener *), key_cmp);
	return found ? *found : NULL;
}

void plan_diff(const struct plan *old, const struct plan *new,
	void (*change)(void *context, enum plan_change kind, const struct plan_listener *listener),
	void *context)
{
	size_t old_count = old ? old->listener_count : 0, i = 0, j = 0;

	while (i < old_count || j < new->listener_count) {
		int order = i == old_count ? 1
			    : j == new->listener_count
				    ? -1
				    : strcmp(old->listeners[i]->key, new->listeners[j]->key);

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
