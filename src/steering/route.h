/* Routes for ClusterIPs on a host that has none to them. */
#ifndef STEERING_ROUTE_H
#define STEERING_ROUTE_H

#include <stddef.h>

#include "portald/addr.h"

/* Makes our routes be there for exactly those of the wanted addresses that the host has no other route to.
 * wanted is sorted and unique. Asks the kernel and nothing else, so it doesn't wait. Returns 0, or the first
 * negative errno after trying everything. */
int route_sync(const struct addr *wanted, size_t count);

#endif
