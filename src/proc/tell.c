/* Owns the messages that make table entries known to relays and to control. Runs in the supervisor. */
#include "proc/tell.h"

#include <stdlib.h>

#include "portald/ipc.h"
#include "portald/mem.h"

static void tell_listener(
	struct link *link, uint32_t relay, const struct table_entry *entry, bool check_destination)
{
	const struct plan_listener *record = entry->record;
	struct ipc_relay_portal *portals = mem_calloc(record->portal_count, sizeof(*portals));
	struct ipc_relay_listener message = {
		.slot = entry->slot,
		.proto = record->proto,
		.check_destination = check_destination,
		.key = record->key,
		.options = record->options,
		.portals = portals,
		.portal_count = record->portal_count,
		.source_ranges = record->source_ranges,
		.source_range_count = record->source_range_count,
	};

	for (size_t i = 0; i < record->portal_count; i++) {
		portals[i].at = record->portals[i].at;
		portals[i].check_source = record->portals[i].check_source;
	}
	link_sent(link, ipc_send_relay_listener(link->channel, &message, entry->socket.fds[relay]));
	free(portals);
}

static void tell_backends(struct link *link, const struct table_entry *entry)
{
	size_t count = entry->record->backend_count;
	struct ipc_relay_backend *backends = mem_calloc(count, sizeof(*backends));
	struct ipc_relay_backends message = {
		.slot = entry->slot,
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

void tell_of_entry(
	struct link *link, uint32_t relay, const struct table_entry *entry, unsigned change, bool steered)
{
	if (!entry->open || !link_is_up(link))
		return;
	if (change & TABLE_FRONT)
		tell_listener(link, relay, entry, steered);
	if (change & TABLE_BACKENDS)
		tell_backends(link, entry);
}

void tell_state(struct link *link, const struct table_entry *entry)
{
	const struct plan_listener *record = entry->record;
	struct ipc_unclaimed *unclaimed;
	struct ipc_backend_slot *backends;
	struct ipc_listener_state state = {
		.id = record->id,
		.slot = entry->slot,
		.error = entry->open_error,
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
		if (entry->claim_errors[i] < 0)
			unclaimed[state.unclaimed_count++] = (struct ipc_unclaimed){
				.at = record->portals[i].at, .error = entry->claim_errors[i]};
	}
	for (size_t i = 0; i < record->backend_count; i++)
		backends[i] = (struct ipc_backend_slot){
			.at = record->backends[i].at, .slot = entry->backend_slots[i]};
	link_sent(link, ipc_send_listener_state(link->channel, &state));
	free(unclaimed);
	free(backends);
}
