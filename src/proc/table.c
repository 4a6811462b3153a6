/* Owns the supervisor's listeners. Runs in the supervisor, which holds every socket for as long as its
 * rules exist: a relay's death refuses nobody, and a removed Service is closed only after its rules went. */
#include "proc/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/ipc.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "portald/stats.h"
#include "proc/inherit.h"
#include "proc/slots.h"

struct table {
	struct table_setup setup;
	struct stats *stats;
	struct table_entry *entries; /* a uthash */
	bool sorted;                 /* the entries, by id */
	struct table_entry *retired; /* a list */
	struct slots listener_slots, backend_slots;
	struct slots names; /* of bindings, to the relays */
	size_t sockets;     /* open ones */
};

struct table *table_new(const struct table_setup *setup, struct stats *stats)
{
	struct table *table = mem_calloc(1, sizeof(*table));

	table->setup = *setup;
	table->stats = stats;
	slots_init(&table->listener_slots, STATS_MAX_LISTENERS);
	slots_init(&table->backend_slots, STATS_MAX_BACKENDS);
	slots_init(&table->names, IPC_MAX_RELAY_LISTENERS);
	return table;
}

/* ---- slots ---- */

static bool listener_idle(void *context, uint32_t slot)
{
	struct table *table = context;

	for (uint32_t i = 0; i < table->setup.relay_count; i++) {
		if (atomic_load(&stats_listener(table->stats, i, slot)->active) > 0)
			return false;
	}
	return true;
}

static bool backend_idle(void *context, uint32_t slot)
{
	struct table *table = context;

	for (uint32_t i = 0; i < table->setup.relay_count; i++) {
		if (atomic_load(&stats_backend(table->stats, i, slot)->active) > 0)
			return false;
	}
	return true;
}

static uint32_t take_backend_slot(struct table *table)
{
	uint32_t slot = slots_take(&table->backend_slots, backend_idle, table);

	if (slot != SLOTS_NONE)
		stats_backend_reset(table->stats, slot);
	return slot;
}

static void give_back_backend_slots(
	struct table *table, const struct plan_listener *record, const uint32_t *slots)
{
	for (size_t i = 0; slots && i < record->backend_count; i++) {
		if (slots[i] != SLOTS_NONE)
			slots_give_back(&table->backend_slots, slots[i]);
	}
}

/* Slots for the backends of fresh. Those that old has too keep theirs, and with them their counters and
 * whether they are set aside. Both lists are sorted. Leaves in old_slots only what is not used any more.
 * A backend for which there is no slot left is dropped from fresh. */
static uint32_t *carry_backend_slots(struct table *table, struct plan_listener *fresh,
	const struct plan_listener *old, uint32_t *old_slots)
{
	uint32_t *slots = mem_calloc(fresh->backend_count, sizeof(*slots));
	size_t old_count = old ? old->backend_count : 0, o = 0, kept = 0;

	for (size_t i = 0; i < fresh->backend_count; i++) {
		struct plan_backend *backend = &fresh->backends[i];
		uint32_t slot = SLOTS_NONE;

		while (o < old_count && addr_port_cmp(&old->backends[o].at, &backend->at) < 0)
			o++;
		if (o < old_count && addr_port_equal(&old->backends[o].at, &backend->at)) {
			slot = old_slots[o];
			old_slots[o] = SLOTS_NONE;
		}
		if (slot == SLOTS_NONE)
			slot = take_backend_slot(table);
		if (slot == SLOTS_NONE) {
			log_error("too many backends: one is left out", log_str("service", fresh->key),
				log_addr_port("backend", &backend->at));
			free(backend->target);
			continue;
		}
		fresh->backends[kept] = *backend;
		slots[kept++] = slot;
	}
	fresh->backend_count = kept;
	return slots;
}

/* ---- sockets ---- */

static uint32_t relays_to_open_for(const struct table *table)
{
	return table->sockets < table->setup.spread_sockets ? table->setup.relay_count : 1;
}

/* turn: any number, which spreads listeners over the relays. */
static void socket_is_open(struct table *table, struct listen_socket *socket, uint32_t turn)
{
	uint32_t relays = table->setup.relay_count;

	if (socket->relay_count < relays)
		listen_leave_to(socket, turn % relays, relays);
	table->sockets += listen_socket_count(socket);
}

static void socket_close(struct table *table, struct listen_socket *socket)
{
	table->sockets -= listen_socket_count(socket);
	listen_close(socket);
}

/* ---- bindings ---- */

/* The relays obey in order: a name may have another meaning in the next message. */
static bool name_idle(void *context, uint32_t name)
{
	(void)context;
	(void)name;
	return true;
}

int table_bind(struct table *table, struct table_entry *entry, const struct plan_portal *portal,
	const struct addr_port *at, struct table_binding **binding)
{
	uint32_t name = slots_take(&table->names, name_idle, NULL);
	struct table_binding made = {.portal = *portal, .name = name, .kept = true};
	unsigned flags = entry->record->action == PLAN_DROP ? LISTEN_DROP : 0;
	enum proto proto = entry->record->proto;
	int rc = name == SLOTS_NONE ? -ENOSPC : 0;

	if (rc == 0 && !inherit_take_binding(table->setup.inherit, proto, at, flags, &made.socket))
		rc = listen_bind(&made.socket, proto, at, flags, relays_to_open_for(table));
	if (rc < 0) {
		if (name != SLOTS_NONE)
			slots_give_back(&table->names, name);
		return rc;
	}
	socket_is_open(table, &made.socket, entry->slot);
	entry->bindings = mem_grow(
		entry->bindings, entry->binding_count, &entry->binding_capacity, sizeof(*entry->bindings));
	*binding = &entry->bindings[entry->binding_count++];
	**binding = made;
	return 0;
}

void table_unbind(struct table *table, struct table_entry *entry, size_t place)
{
	struct table_binding *binding = &entry->bindings[place];

	socket_close(table, &binding->socket);
	slots_give_back(&table->names, binding->name);
	*binding = entry->bindings[--entry->binding_count];
}

/* ---- entries ---- */

static int entry_open_direct(struct table_entry *entry)
{
	entry->socket.at = entry->record->portals[0].at;
	entry->open = true;
	return 0;
}

/* An earlier run's rules lead there still. */
static int open_left_port(struct table *table, struct table_entry *entry, const struct addr *bind_addr)
{
	const struct table_setup *setup = &table->setup;
	uint16_t port = setup->left_port ? setup->left_port(setup->context, entry->record) : 0;
	const struct listen_range range = {port, port};

	if (port == 0 || (setup->range.first != 0 && (port < setup->range.first || port > setup->range.last)))
		return -ENOENT;
	return listen_open(
		&entry->socket, entry->record->proto, bind_addr, &range, relays_to_open_for(table), 0);
}

static int entry_open_proxy(struct table *table, struct table_entry *entry)
{
	const struct addr *bind_addr =
		entry->record->family == ADDR_V6 ? &table->setup.bind_v6 : &table->setup.bind_v4;
	int rc = 0;

	if (!inherit_take_listener(table->setup.inherit, entry->record->id, entry->record->proto, bind_addr,
		    &table->setup.range, &entry->socket))
		rc = open_left_port(table, entry, bind_addr);
	if (rc < 0)
		rc = listen_open(&entry->socket, entry->record->proto, bind_addr, &table->setup.range,
			relays_to_open_for(table), table->setup.seed++);
	if (rc == 0)
		socket_is_open(table, &entry->socket, entry->slot);
	entry->open = rc == 0;
	entry->open_error = rc;
	if (rc < 0)
		log_error("cannot open a listener", log_str("service", entry->record->id),
			log_errno("error", -rc));
	else
		log_v(1, "listener open", log_str("service", entry->record->key),
			log_addr_port("proxy", &entry->socket.at));
	return rc;
}

static int entry_open(struct table *table, struct table_entry *entry)
{
	return table->setup.direct ? entry_open_direct(entry) : entry_open_proxy(table, entry);
}

static void entry_free(struct table *table, struct table_entry *entry)
{
	if (entry->open)
		socket_close(table, &entry->socket);
	while (entry->binding_count > 0)
		table_unbind(table, entry, entry->binding_count - 1);
	free(entry->bindings);
	give_back_backend_slots(table, entry->record, entry->backend_slots);
	slots_give_back(&table->listener_slots, entry->slot);
	free(entry->backend_slots);
	free(entry->claim_errors);
	plan_listener_free(entry->record);
	free(entry);
}

static struct table_entry *entry_new_take(struct table *table, struct plan_listener *record)
{
	uint32_t slot = slots_take(&table->listener_slots, listener_idle, table);
	struct table_entry *entry;

	if (slot == SLOTS_NONE) {
		log_error("too many listeners", log_str("service", record->key));
		plan_listener_free(record);
		return NULL;
	}
	stats_listener_reset(table->stats, slot);
	entry = mem_calloc(1, sizeof(*entry));
	entry->slot = slot;
	entry->backend_slots = carry_backend_slots(table, record, NULL, NULL);
	entry->record = record;
	entry->claim_errors = mem_calloc(record->portal_count, sizeof(*entry->claim_errors));
	entry->kept = true;
	HASH_ADD_KEYPTR(hh, table->entries, record->id, strlen(record->id), entry);
	table->sorted = false;
	entry_open(table, entry);
	return entry;
}

/* What is known of a portal's port stays known while the portal does. */
static int *carry_claim_errors(
	const struct plan_listener *fresh, const struct plan_listener *old, const int *errors)
{
	int *carried = mem_calloc(fresh->portal_count, sizeof(*carried));

	for (size_t i = 0; i < fresh->portal_count; i++) {
		for (size_t o = 0; o < old->portal_count; o++) {
			if (fresh->portals[i].kind == old->portals[o].kind &&
				addr_port_equal(&fresh->portals[i].at, &old->portals[o].at))
				carried[i] = errors[o];
		}
	}
	return carried;
}

static unsigned entry_replace_record_take(
	struct table *table, struct table_entry *entry, struct plan_listener *record)
{
	struct plan_listener *old = entry->record;
	uint32_t *old_slots = entry->backend_slots;
	int *old_errors = entry->claim_errors;
	unsigned change = (plan_listener_same_front(old, record) ? 0 : TABLE_FRONT) |
			  (plan_listener_same_backends(old, record) ? 0 : TABLE_BACKENDS);

	entry->backend_slots = carry_backend_slots(table, record, old, old_slots);
	give_back_backend_slots(table, old, old_slots);
	free(old_slots);
	entry->claim_errors = carry_claim_errors(record, old, old_errors);
	free(old_errors);
	/* The hash points to the id's bytes, which go away with the old record. */
	HASH_DEL(table->entries, entry);
	entry->record = record;
	HASH_ADD_KEYPTR(hh, table->entries, record->id, strlen(record->id), entry);
	table->sorted = false;
	plan_listener_free(old);
	return change;
}

struct table_entry *table_put_take(struct table *table, struct plan_listener *record, unsigned *change)
{
	struct table_entry *entry = table_find(table, record->id);

	*change = TABLE_FRONT | TABLE_BACKENDS;
	/* Another protocol or family needs another socket: that is a new listener. */
	if (entry && (entry->record->proto != record->proto || entry->record->family != record->family)) {
		table_retire(table, entry);
		entry = NULL;
	}
	if (!entry)
		return entry_new_take(table, record);
	entry->kept = true;
	*change = entry_replace_record_take(table, entry, record);
	return entry;
}

void table_settle(struct table *table)
{
	table->setup.inherit = NULL;
}

struct table_entry *table_find(struct table *table, const char *id)
{
	struct table_entry *entry;

	HASH_FIND(hh, table->entries, id, strlen(id), entry);
	return entry;
}

void table_retire(struct table *table, struct table_entry *entry)
{
	HASH_DEL(table->entries, entry);
	entry->next = table->retired;
	table->retired = entry;
}

void table_drop_retired(
	struct table *table, void (*gone)(void *context, struct table_entry *entry), void *context)
{
	while (table->retired) {
		struct table_entry *entry = table->retired;

		table->retired = entry->next;
		gone(context, entry);
		entry_free(table, entry);
	}
}

void table_unmark_all(struct table *table)
{
	for (struct table_entry *entry = table->entries; entry; entry = entry->hh.next)
		entry->kept = false;
}

size_t table_retire_unkept(struct table *table)
{
	struct table_entry *entry, *next;
	size_t count = 0;

	HASH_ITER (hh, table->entries, entry, next) {
		if (entry->kept)
			continue;
		table_retire(table, entry);
		count++;
	}
	return count;
}

size_t table_open_missing(
	struct table *table, void (*opened)(void *context, struct table_entry *entry), void *context)
{
	size_t missing = 0;

	for (struct table_entry *entry = table->entries; entry; entry = entry->hh.next) {
		if (entry->open)
			continue;
		if (entry_open(table, entry) == 0)
			opened(context, entry);
		else
			missing++;
	}
	return missing;
}

static int entry_cmp(const struct table_entry *a, const struct table_entry *b)
{
	return strcmp(a->record->id, b->record->id);
}

struct table_entry *table_first(struct table *table)
{
	if (!table->sorted)
		HASH_SORT(table->entries, entry_cmp);
	table->sorted = true;
	return table->entries;
}

size_t table_count(const struct table *table)
{
	return HASH_COUNT(table->entries);
}

uint32_t table_listener_slots(const struct table *table)
{
	return table->listener_slots.next;
}

uint32_t table_backend_slots(const struct table *table)
{
	return table->backend_slots.next;
}

static void ignore_gone(void *context, struct table_entry *entry)
{
	(void)context;
	(void)entry;
}

void table_free(struct table *table)
{
	struct table_entry *entry, *next;

	if (!table)
		return;
	HASH_ITER (hh, table->entries, entry, next)
		table_retire(table, entry);
	table_drop_retired(table, ignore_gone, NULL);
	slots_fini(&table->listener_slots);
	slots_fini(&table->backend_slots);
	slots_fini(&table->names);
	free(table);
}
