/* Routes of ours: for ClusterIPs on a host that has none to them, and for addresses that become its own. */
#ifndef STEERING_ROUTE_H
#define STEERING_ROUTE_H

#include <stddef.h>

#include "portald/addr.h"

/* Marks our routes (`ip route show proto 112`). Not among those that the kernel's header or iproute2's
 * rt_protos give to anybody. */
#define ROUTE_PROTOCOL 112

/* Makes our routes be there for exactly those of the wanted addresses that the host has no other route to.
 * wanted is sorted and unique. Asks the kernel and nothing else, so it doesn't wait. Returns 0, or the first
 * negative errno after trying everything. */
int route_sync(const struct addr *wanted, size_t count);

/* The same where was, sorted and unique, is what was wanted before and seen to: asks only about what is new.
 */
int route_change(const struct addr *was, size_t was_count, const struct addr *wanted, size_t count);

/* For the back end without netfilter: routes that make addresses the host's own. Those that are there,
 * sorted, which the caller frees; then from those (or some that are known to be there) to what is wanted,
 * sorted and unique. Return 0, or the first negative errno. */
int route_local_load(struct addr **routes, size_t *count);
int route_local_change(
	const struct addr *was, size_t was_count, const struct addr *wanted, size_t count, size_t *changes);

/* Calls changed() from the loop when one of those is there or is no longer, by whomever's doing; to NULL: any
 * may have changed. NULL if the kernel doesn't tell (logged). */
struct route_monitor;
struct event_base;
struct route_monitor *route_monitor_new(struct event_base *base,
	void (*changed)(void *context, const struct addr *to, bool there), void *context);
void route_monitor_free(struct route_monitor *monitor); /* NULL is fine */

#endif
