/* Owns the node's ports for portals. Runs in the supervisor. */
#include "proc/ports.h"

#include <stdlib.h>
#include <string.h>

#include "portald/log.h"
#include "portald/mem.h"

struct ports {
	struct table *table;
	const struct options *options;
	struct listen_claims *claims; /* none are held where portals are bound */
	bool direct;
	struct claims_listener listener;
	struct bindings_events events;
	struct addresses addresses;
	size_t failed;
};

struct ports *ports_new(struct table *table, const struct options *options, bool direct,
	const struct claims_listener *listener, const struct bindings_events *events)
{
	struct ports *ports = mem_calloc(1, sizeof(*ports));

	*ports = (struct ports){
		.table = table,
		.options = options,
		.claims = listen_claims_new(),
		.direct = direct,
		.listener = *listener,
		.events = *events,
	};
	return ports;
}

void ports_set_options(struct ports *ports, const struct options *options)
{
	ports->options = options;
}

void ports_free(struct ports *ports)
{
	if (!ports)
		return;
	listen_claims_free(ports->claims);
	addresses_free(&ports->addresses);
	free(ports);
}

static void take_list(struct addresses *to, struct addresses *from)
{
	addresses_free(to);
	to->list = from->list;
	to->count = from->count;
	from->list = NULL;
	from->count = 0;
}

bool ports_update(struct ports *ports)
{
	struct addresses fresh, *old = &ports->addresses;
	bool changed;
	int rc = addresses_load(&fresh, ports->options);

	if (rc < 0) {
		log_warning(
			"cannot list the node's addresses: those known last stand", log_errno("error", -rc));
		if (fresh.count == 0)
			take_list(&fresh, old);
	}
	if (ports->direct)
		ports->failed =
			bindings_update(ports->table, &fresh, &ports->events, &ports->listener, &changed);
	else
		ports->failed =
			claims_update(ports->claims, ports->table, &fresh, &ports->listener, &changed);
	changed |= !addr_equal(&fresh.primary_v4, &old->primary_v4) ||
		   !addr_equal(&fresh.primary_v6, &old->primary_v6);
	changed |= fresh.range_count != old->range_count ||
		   memcmp(fresh.ranges, old->ranges, sizeof(fresh.ranges)) != 0;
	changed |= fresh.pod_range_count != old->pod_range_count ||
		   memcmp(fresh.pods, old->pods, sizeof(fresh.pods)) != 0;
	/* Once so, always so: pods come and go, and all rules would change with the first and the last. */
	fresh.routed |= old->routed;
	changed |= fresh.routed != old->routed;
	addresses_free(old);
	*old = fresh;
	return changed;
}

void ports_settle(struct ports *ports)
{
	listen_claims_end(ports->claims);
}

struct listen_claims *ports_claims(struct ports *ports)
{
	return ports->claims;
}

size_t ports_failed(const struct ports *ports)
{
	return ports->failed;
}

void ports_describe(const struct ports *ports, struct steering_rules *rules)
{
	addresses_describe(&ports->addresses, rules);
}
