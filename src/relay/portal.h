/* Which portal a connection or datagram was meant for, and who may use it. Pure. */
#ifndef RELAY_PORTAL_H
#define RELAY_PORTAL_H

#include <stdbool.h>
#include <stddef.h>

#include "portald/addr.h"
#include "portald/ipc.h"

/* The portal at that address, or else on any address with that port; or NULL. */
const struct ipc_relay_portal *portal_find(
	const struct ipc_relay_portal *portals, size_t count, const struct addr_port *at);

/* True if the portal is open to all, or the client is in one of the ranges. */
bool portal_admits(const struct ipc_relay_portal *portal, const struct addr_prefix *ranges, size_t count,
	const struct addr *client);

#endif
