/* Owns what of the node's ports is claimed for which portal. Runs in the supervisor. */
#include "proc/claims.h"

#include <errno.h>
#include <stdlib.h>

#include "portald/log.h"

struct round {
	struct listen_claims *claims;
	struct table *table;
	const struct addresses *addresses;
	const struct claims_listener *listener;
	size_t failed;
	bool changed;
};

static int claim_node_port(struct round *round, enum proto proto, const struct addr_port *at)
{
	const struct addresses *addresses = round->addresses;
	int rc = 0;

	if (addresses_unrestricted(addresses, addr_family(&at->addr)))
		return listen_claims_hold(round->claims, proto, at);
	for (size_t i = 0; i < addresses->count; i++) {
		struct addr_port one = {.addr = addresses->list[i], .port = at->port};
		int error = 0;

		if (addr_family(&one.addr) == addr_family(&at->addr) &&
			addresses_have_node_port(addresses, &one.addr))
			error = listen_claims_hold(round->claims, proto, &one);
		rc = rc < 0 ? rc : error;
	}
	return rc;
}

static int claim_portal(struct round *round, enum proto proto, const struct plan_portal *portal)
{
	switch (portal->kind) {
	case PLAN_PORTAL_NODE_PORT:
		return claim_node_port(round, proto, &portal->at);
	case PLAN_PORTAL_EXTERNAL_IP:
	case PLAN_PORTAL_LOAD_BALANCER:
		if (addresses_have(round->addresses, &portal->at.addr) &&
			addresses_can_be_bound(&portal->at.addr))
			return listen_claims_hold(round->claims, proto, &portal->at);
		return 0;
	default:
		return 0;
	}
}

static void report(const struct table_entry *entry, const struct plan_portal *portal, int error)
{
	if (error == 0)
		log_info("the port is free now: the portal opens", log_str("service", entry->record->key),
			log_str("protocol", proto_name(entry->record->proto)),
			log_addr_port("portal", &portal->at));
	else
		log_error(error == -EADDRINUSE
				  ? "another process has the port: the portal stays closed until "
				    "it is free"
				  : "cannot claim the port: the portal stays closed for now",
			log_str("service", entry->record->key),
			log_str("protocol", proto_name(entry->record->proto)),
			log_addr_port("portal", &portal->at), log_errno("error", -error));
}

bool claims_note(struct table_entry *entry, size_t portal, int error, const struct claims_listener *listener)
{
	if (error == entry->claim_errors[portal])
		return false;
	entry->claim_errors[portal] = error;
	report(entry, &entry->record->portals[portal], error);
	listener->changed(listener->context, entry);
	return true;
}

static void claim_of(struct round *round, struct table_entry *entry, size_t i)
{
	int rc = claim_portal(round, entry->record->proto, &entry->record->portals[i]);

	round->failed += rc < 0;
	round->changed |= claims_note(entry, i, rc, round->listener);
}

static void claim_all(struct round *round, bool node_ports)
{
	for (struct table_entry *entry = table_first(round->table); entry; entry = entry->hh.next) {
		for (size_t i = 0; entry->open && i < entry->record->portal_count; i++) {
			if ((entry->record->portals[i].kind == PLAN_PORTAL_NODE_PORT) == node_ports)
				claim_of(round, entry, i);
		}
	}
}

size_t claims_update(struct listen_claims *claims, struct table *table, const struct addresses *addresses,
	const struct claims_listener *listener, bool *changed)
{
	struct round round = {.claims = claims, .table = table, .addresses = addresses, .listener = listener};

	listen_claims_begin(claims);
	/* First those that cover others. */
	claim_all(&round, true);
	claim_all(&round, false);
	*changed = round.changed;
	return round.failed;
}
