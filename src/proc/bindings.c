/* Owns what is bound where with --steering=local. Runs in the supervisor.
 *
 * A NodePort is bound at each of the node's addresses by itself, not at the "any" address: that would take in
 * the same port of every Service's address too, since with this back end they are the node's.
 *
 * Where a portal for what the host itself sends stands beside one for what arrives (externalTrafficPolicy
 * Local), only the latter is bound, and is for both: the socket that gets a connection can't be chosen by its
 * origin. The loopback interface would tell it (SO_BINDTODEVICE), but not for the addresses of other
 * interfaces, and of two groups of sockets the kernel takes the one that it meets first. */
#include "proc/bindings.h"

struct round {
	struct table *table;
	const struct addresses *addresses;
	const struct bindings_events *events;
};

static bool is_binding_of(
	const struct table_entry *entry, const struct table_binding *binding, const struct addr_port *at)
{
	bool drops = binding->socket.flags & LISTEN_DROP;

	return addr_port_equal(&binding->socket.at, at) && drops == (entry->record->action == PLAN_DROP);
}

static struct table_binding *find(struct table_entry *entry, const struct addr_port *at)
{
	for (size_t i = 0; i < entry->binding_count; i++) {
		if (is_binding_of(entry, &entry->bindings[i], at))
			return &entry->bindings[i];
	}
	return NULL;
}

static int bind_at(struct round *round, struct table_entry *entry, const struct plan_portal *portal,
	const struct addr_port *at)
{
	struct table_binding *binding = find(entry, at);
	bool same = binding && binding->portal.check_source == portal->check_source &&
		    addr_port_equal(&binding->portal.at, &portal->at);
	int rc;

	if (!binding) {
		rc = table_bind(round->table, entry, portal, at, &binding);
		if (rc < 0)
			return rc;
	}
	binding->portal = *portal;
	binding->kept = true;
	if (!same)
		round->events->bound(round->events->context, entry, binding);
	return 0;
}

static int bind_node_port(struct round *round, struct table_entry *entry, const struct plan_portal *portal)
{
	int first = 0;

	for (size_t i = 0; i < round->addresses->count; i++) {
		const struct addr_port at = {.addr = round->addresses->list[i], .port = portal->at.port};
		int rc = 0;

		if (addr_family(&at.addr) == entry->record->family &&
			addresses_have_node_port(round->addresses, &at.addr))
			rc = bind_at(round, entry, portal, &at);
		first = first < 0 ? first : rc;
	}
	return first;
}

static int bind_portal(struct round *round, struct table_entry *entry, const struct plan_portal *portal)
{
	if (entry->record->action == PLAN_REJECT || portal->scope == PLAN_SCOPE_HOST)
		return 0;
	if (portal->kind == PLAN_PORTAL_NODE_PORT)
		return bind_node_port(round, entry, portal);
	return addresses_can_be_bound(&portal->at.addr) ? bind_at(round, entry, portal, &portal->at) : 0;
}

static void unbind_rest(struct round *round, struct table_entry *entry)
{
	for (size_t i = entry->binding_count; i-- > 0;) {
		if (entry->bindings[i].kept)
			continue;
		round->events->unbound(round->events->context, entry, &entry->bindings[i]);
		table_unbind(round->table, entry, i);
	}
}

size_t bindings_update(struct table *table, const struct addresses *addresses,
	const struct bindings_events *events, const struct claims_listener *listener, bool *changed)
{
	struct round round = {.table = table, .addresses = addresses, .events = events};
	size_t failed = 0;

	*changed = false;
	for (struct table_entry *entry = table_first(table); entry; entry = entry->hh.next) {
		for (size_t i = 0; i < entry->binding_count; i++)
			entry->bindings[i].kept = false;
		for (size_t i = 0; i < entry->record->portal_count; i++) {
			int rc = bind_portal(&round, entry, &entry->record->portals[i]);

			failed += rc < 0;
			*changed |= claims_note(entry, i, rc, listener);
		}
	}
	/* Afterwards: a port that has moved to another Service is open all the time. */
	for (struct table_entry *entry = table_first(table); entry; entry = entry->hh.next)
		unbind_rest(&round, entry);
	return failed;
}
