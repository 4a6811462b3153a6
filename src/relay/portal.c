/* Owns the meaning of a listener's portals. Runs in every relay. */
#include "relay/portal.h"

const struct ipc_relay_portal *portal_find(
	const struct ipc_relay_portal *portals, size_t count, const struct addr_port *at)
{
	const struct ipc_relay_portal *any = NULL;

	for (size_t i = 0; i < count; i++) {
		const struct ipc_relay_portal *portal = &portals[i];

		if (addr_port_equal(&portal->at, at))
			return portal;
		if (portal->at.port == at->port && addr_is_any(&portal->at.addr) &&
			addr_family(&portal->at.addr) == addr_family(&at->addr))
			any = portal;
	}
	return any;
}

bool portal_admits(const struct ipc_relay_portal *portal, const struct addr_prefix *ranges, size_t count,
	const struct addr *client)
{
	if (!portal->check_source)
		return true;
	for (size_t i = 0; i < count; i++) {
		if (addr_prefix_contains(&ranges[i], client))
			return true;
	}
	return false;
}
