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

struct plan_listener *plan_listener_new(const char *key, enum proto proto, enum addr_family family)
{
	struct plan_listener *listener = mem_calloc(1, sizeof(*listener));

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
	free(listener->note);
	free(listener->key);
	free(listener);
}

int plan_listener_add_portal(
	struct plan_listener *listener, enum plan_portal_kind kind, const struct addr_port *at)
{
	struct plan_portal *portal;

	if (listener->portal_count >= PLAN_MAX_PORTALS)
		return -ENOSPC;
	portal = plan_array_append(&listener->portals, &listener->portal_count, sizeof(*portal));
	portal->kind = kind;
	portal->at = *at;
	return 0;
}

int plan_listener_add_backend(struct plan_listener *listener, const struct addr_port *at, const char *target)
{
	struct plan_backend *backend;

	if (listener->backend_count >= PLAN_MAX_BACKENDS)
		return -ENOSPC;
	backend = plan_array_append(&listener->backends, &listener->backend_count, sizeof(*backend));
	backend->at = *at;
	backend->target = mem_strdup(target);
	return 0;
}

bool plan_listener_equal(const struct plan_listener *a, const struct plan_listener *b)
{
	if (a == b)
		return true;
	if (strcmp(a->key, b->key) != 0 || a->proto != b->proto || a->family != b->family ||
		a->portal_count != b->portal_count || a->backend_count != b->backend_count)
		return false;
	for (size_t i = 0; i < a->portal_count; i++) {
		if (a->portals[i].kind != b->portals[i].kind ||
			!addr_port_equal(&a->portals[i].at, &b->portals[i].at))
			return false;
	}
	for (size_t i = 0; i < a->backend_count; i++) {
		if (!addr_port_equal(&a->backends[i].at, &b->backends[i].at))
			return false;
	}
	return true;
}
