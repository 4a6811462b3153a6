/* Owns the messages that make table entries known to relays and to control. Runs in the supervisor. */
#include "proc/tell.h"

#include <stdio.h>
#include <stdlib.h>

#include "portald/ipc.h"
#include "portald/mem.h"
#include "portald/steering.h"

/* One listener of a relay: the proxy port's, or a binding's. */
struct face {
	uint32_t name;
	int fd;
	const struct plan_portal *portals;
	size_t portal_count;
	bool check_destination, direct;
};

static void tell_listener(struct link *link, const struct table_entry *entry, const struct face *face)
{
	const struct plan_listener *record = entry->record;
	struct ipc_relay_portal *portals = mem_calloc(face->portal_count, sizeof(*portals));
	struct ipc_relay_listener message = {
		.name = face->name,
		.slot = entry->slot,
		.proto = record->proto,
		.check_destination = face->check_destination,
		.direct = face->direct,
		.key = record->key,
		.options = record->options,
		.portals = portals,
		.portal_count = face->portal_count,
		.source_ranges = record->source_ranges,
		.source_range_count = record->source_range_count,
	};

	for (size_t i = 0; i < face->portal_count; i++) {
		portals[i].at = face->portals[i].at;
		portals[i].check_source = face->portals[i].check_source;
	}
	link_sent(link, ipc_send_relay_listener(link->channel, &message, face->fd));
	free(portals);
}

static void tell_backends(struct link *link, const struct table_entry *entry, uint32_t name)
{
	size_t count = entry->record->backend_count;
	struct ipc_relay_backend *backends = mem_calloc(count, sizeof(*backends));
	struct ipc_relay_backends message = {
		.listener = name,
		.backends = backends,
		.backend_count = count,
	};

	for (size_t i = 0; i < count; i++) {
		backends[i].at = entry->record->backends[i].at;
		backends[i].slot = entry->backend_slots[i];
		backends[i].weight = entry->record->backends[i].weight;
	}
	link_sent(link, ipc_send_relay_backends(link->channel, &message));
	free(backends);
}

static void tell_of_face(
	struct link *link, const struct table_entry *entry, const struct face *face, unsigned change)
{
	/* Where descriptors are scarce it is another relay's. */
	if (face->fd < 0)
		return;
	if (change & TABLE_FRONT)
		tell_listener(link, entry, face);
	if (change & TABLE_BACKENDS)
		tell_backends(link, entry, face->name);
}

void tell_of_binding(struct link *link, uint32_t relay, const struct table_entry *entry,
	const struct table_binding *binding, unsigned change)
{
	const struct face face = {
		.name = binding->name,
		.fd = binding->socket.fds[relay],
		.portals = &binding->portal,
		.portal_count = 1,
		/* Where it is bound is where it was sent to. */
		.check_destination = binding->portal.check_source,
		.direct = true,
	};

	if (link_is_up(link) && !(binding->socket.flags & LISTEN_DROP))
		tell_of_face(link, entry, &face, change);
}

void tell_of_entry(
	struct link *link, uint32_t relay, const struct table_entry *entry, unsigned change, bool steered)
{
	const struct face face = {
		.name = entry->slot,
		.fd = entry->socket.fds[relay],
		.portals = entry->record->portals,
		.portal_count = entry->record->portal_count,
		.check_destination = steered,
	};

	if (!entry->open || !link_is_up(link))
		return;
	for (size_t i = 0; i < entry->binding_count; i++)
		tell_of_binding(link, relay, entry, &entry->bindings[i], change);
	if (entry->socket.relay_count > 0)
		tell_of_face(link, entry, &face, change);
}

static void tell_closed(struct link *link, uint32_t name)
{
	if (link_is_up(link))
		link_sent(link, ipc_send_relay_close(link->channel, name));
}

void tell_unbound(struct link *link, const struct table_binding *binding)
{
	if (!(binding->socket.flags & LISTEN_DROP))
		tell_closed(link, binding->name);
}

void tell_gone(struct link *link, const struct table_entry *entry)
{
	for (size_t i = 0; i < entry->binding_count; i++)
		tell_unbound(link, &entry->bindings[i]);
	if (entry->open && entry->socket.relay_count > 0)
		tell_closed(link, entry->slot);
}

/* Why a portal is closed, or 0. *refusal is what was said of its rule, if that is why. */
static int portal_error(
	const struct table_entry *entry, size_t i, const struct steering *steering, const char **refusal)
{
	const struct plan_listener *record = entry->record;
	const char *said = NULL;

	if (entry->claim_errors[i] < 0)
		return entry->claim_errors[i];
	if (steering)
		said = steering_refusal(steering, record->proto, &record->portals[i]);
	if (!said)
		return 0;
	*refusal = said;
	return IPC_REFUSED;
}

void tell_state(struct link *link, const struct table_entry *entry, const struct steering *steering)
{
	const struct plan_listener *record = entry->record;
	struct ipc_unclaimed *unclaimed;
	struct ipc_backend_slot *backends;
	const char *said = "";
	char refusal[IPC_REFUSAL_BYTES + 1];
	struct ipc_listener_state state = {
		.id = record->id,
		.slot = entry->slot,
		.error = entry->open_error,
		.refusal = refusal,
		.backend_count = record->backend_count,
	};

	if (!link_is_up(link))
		return;
	state.unclaimed = unclaimed = mem_calloc(record->portal_count, sizeof(*unclaimed));
	state.backends = backends = mem_calloc(record->backend_count, sizeof(*backends));
	state.proxy.addr = addr_any(record->family);
	if (entry->open)
		state.proxy = entry->socket.at;
	for (size_t i = 0; i < record->portal_count; i++) {
		int error = portal_error(entry, i, steering, &said);

		if (error < 0)
			unclaimed[state.unclaimed_count++] =
				(struct ipc_unclaimed){.at = record->portals[i].at, .error = error};
	}
	snprintf(refusal, sizeof(refusal), "%s", said);
	for (size_t i = 0; i < record->backend_count; i++)
		backends[i] = (struct ipc_backend_slot){
			.at = record->backends[i].at, .slot = entry->backend_slots[i]};
	link_sent(link, ipc_send_listener_state(link->channel, &state));
	free(unclaimed);
	free(backends);
}
