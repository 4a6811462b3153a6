/* Owns the listener records of a plan: construction, growth, comparison. Runs in control, in `portald plan`
 * and, for the records that came over a channel, in the supervisor. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

void *plan_array_append(void *array_pointer, size_t *count, size_t size)
{
	void **array = array_pointer;
	size_t capacity = *count;
	char *entry;

	/* Full exactly when count is 0 or a power of two from 8 up: no capacity needs to be kept. */
	if (*count == 0 || (*count >= 8 && (*count & (*count - 1)) == 0))
		*array = mem_grow(*array, *count, &capacity, size);
	entry = (char *)*array + *count * size;
	memset(entry, 0, size);
	(*count)++;
	return entry;
}

struct plan_listener *plan_listener_new(
	const char *id, const char *key, enum proto proto, enum addr_family family)
{
	struct plan_listener *listener = mem_calloc(1, sizeof(*listener));

	service_options_init(&listener->options);
	listener->id = mem_strdup(id);
	listener->key = mem_strdup(key);
	listener->proto = proto;
	listener->family = family;
	return listener;
}

void plan_listener_free(struct plan_listener *listener)
{
	if (!listener)
		return;
	for (size_t i = 0; i < listener->backend_count; i++)
		free(listener->backends[i].target);
	for (size_t i = 0; i < listener->left_out_count; i++) {
		free(listener->left_out[i].target);
		free(listener->left_out[i].reason);
	}
	free(listener->portals);
	free(listener->backends);
	free(listener->left_out);
	free(listener->source_ranges);
	free(listener->note);
	free(listener->id);
	free(listener->key);
	free(listener);
}

int plan_listener_add_portal(struct plan_listener *listener, const struct plan_portal *portal)
{
	struct plan_portal *added;

	if (listener->portal_count >= PLAN_MAX_PORTALS)
		return -ENOSPC;
	added = plan_array_append(&listener->portals, &listener->portal_count, sizeof(*added));
	*added = *portal;
	return 0;
}

int plan_listener_add_source_range(struct plan_listener *listener, const struct addr_prefix *range)
{
	struct addr_prefix *added;

	if (listener->source_range_count >= PLAN_MAX_SOURCE_RANGES)
		return -ENOSPC;
	added = plan_array_append(&listener->source_ranges, &listener->source_range_count, sizeof(*added));
	*added = *range;
	return 0;
}

int plan_listener_add_backend(
	struct plan_listener *listener, const struct addr_port *at, uint16_t weight, const char *target)
{
	struct plan_backend *backend;

	if (listener->backend_count >= PLAN_MAX_BACKENDS)
		return -ENOSPC;
	backend = plan_array_append(&listener->backends, &listener->backend_count, sizeof(*backend));
	backend->at = *at;
	backend->weight = weight;
	backend->target = mem_strdup(target);
	return 0;
}

static bool portals_equal(const struct plan_listener *a, const struct plan_listener *b)
{
	if (a->portal_count != b->portal_count)
		return false;
	for (size_t i = 0; i < a->portal_count; i++) {
		const struct plan_portal *x = &a->portals[i], *y = &b->portals[i];

		if (x->kind != y->kind || x->scope != y->scope || x->check_source != y->check_source ||
			!addr_port_equal(&x->at, &y->at))
			return false;
	}
	return true;
}

static bool source_ranges_equal(const struct plan_listener *a, const struct plan_listener *b)
{
	if (a->source_range_count != b->source_range_count)
		return false;
	for (size_t i = 0; i < a->source_range_count; i++) {
		if (a->source_ranges[i].bits != b->source_ranges[i].bits ||
			!addr_equal(&a->source_ranges[i].addr, &b->source_ranges[i].addr))
			return false;
	}
	return true;
}

bool plan_listener_same_front(const struct plan_listener *a, const struct plan_listener *b)
{
	return strcmp(a->key, b->key) == 0 && a->proto == b->proto && a->family == b->family &&
	       a->action == b->action && service_options_equal(&a->options, &b->options) &&
	       portals_equal(a, b) && source_ranges_equal(a, b);
}

bool plan_listener_same_backends(const struct plan_listener *a, const struct plan_listener *b)
{
	if (a->backend_count != b->backend_count)
		return false;
	for (size_t i = 0; i < a->backend_count; i++) {
		if (a->backends[i].weight != b->backends[i].weight ||
			!addr_port_equal(&a->backends[i].at, &b->backends[i].at))
			return false;
	}
	return true;
}

bool plan_listener_equal(const struct plan_listener *a, const struct plan_listener *b)
{
	if (a == b)
		return true;
	return strcmp(a->id, b->id) == 0 && plan_listener_same_front(a, b) &&
	       plan_listener_same_backends(a, b);
}
