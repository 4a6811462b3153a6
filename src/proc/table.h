/* The supervisor's table of listeners: what is open, by id, with its sockets and counter slots. */
#ifndef PROC_TABLE_H
#define PROC_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "portald/listen.h"
#include "portald/plan.h"

struct inherit;
struct stats;

/* With --steering=local: the sockets of a portal, at one address. */
struct table_binding {
	struct plan_portal portal;
	uint32_t name; /* to the relays */
	struct listen_socket socket;
	bool kept; /* still wanted */
};

struct table_entry {
	UT_hash_handle hh;
	struct plan_listener *record; /* as control wants it */
	uint32_t slot;                /* in the shared counters; names it to the relays */
	uint32_t *backend_slots;      /* parallel to record->backends */
	int *claim_errors;            /* parallel to record->portals: 0, or why the port can't be had */
	struct listen_socket socket;
	struct table_binding *bindings; /* instead of the socket, with --steering=local */
	size_t binding_count, binding_capacity;
	bool open;                /* socket is in use; or bindings are */
	int open_error;           /* 0, or why the listener could not be opened */
	bool kept;                /* put since table_unmark_all() */
	struct table_entry *next; /* in the list of retired ones */
};

/* What a put has changed: what the relays must be told. */
enum table_change {
	TABLE_SAME = 0,
	TABLE_FRONT = 1, /* all but the backends; also: newly opened */
	TABLE_BACKENDS = 2,
};

/* How listeners are opened. */
struct table_setup {
	struct addr bind_v4, bind_v6;
	struct listen_range range;
	uint32_t relay_count;
	/* With so many sockets open, a further listener gets one only, which is one relay's: what descriptors
	 * are left shall do for twice as many listeners or more. */
	size_t spread_sockets;
	bool direct;   /* --steering=local: no proxy ports, others see to bindings */
	uint32_t seed; /* differs from run to run, so that proxy ports can't be guessed */
	/* The proxy port that the listener had in an earlier run, 0 if none; NULL: nobody knows. */
	uint16_t (*left_port)(void *context, const struct plan_listener *record);
	void *context;
	/* Sockets of the process that this one succeeds: they come before any new one. NULL: none. Borrowed
	 * until table_settle(). */
	struct inherit *inherit;
};

struct table;

struct table *table_new(const struct table_setup *setup, struct stats *stats);
void table_free(struct table *table); /* closes all; NULL is fine */

/* Opens or changes the listener of record->id; takes record. Returns the entry, and in *change what is new
 * (bits of table_change). A listener that can't be opened stays in the table, closed (logged);
 * table_open_missing() tries again. NULL if the table is full (logged). */
struct table_entry *table_put_take(struct table *table, struct plan_listener *record, unsigned *change);

/* From now on nothing is taken from the process before. */
void table_settle(struct table *table);

/* The entry, or NULL. */
struct table_entry *table_find(struct table *table, const char *id);

/* Opens the sockets of one portal at one address and adds them to the entry's bindings: *binding, until the
 * next one. Returns 0 or a negative errno (as listen_bind()). */
int table_bind(struct table *table, struct table_entry *entry, const struct plan_portal *portal,
	const struct addr_port *at, struct table_binding **binding);

/* Closes that binding; the last one takes its place. */
void table_unbind(struct table *table, struct table_entry *entry, size_t place);

/* Takes the entry out of the table. It stays open, on the list of retired ones, until its rules are gone. */
void table_retire(struct table *table, struct table_entry *entry);

/* Closes and frees the retired ones; before each, gone() is called. */
void table_drop_retired(
	struct table *table, void (*gone)(void *context, struct table_entry *entry), void *context);

/* For a full sync: unmark all, put, then retire what is not kept. Returns how many were retired. */
void table_unmark_all(struct table *table);
size_t table_retire_unkept(struct table *table);

/* Opens what could not be opened before, and calls opened() for each. Returns how many are still closed. */
size_t table_open_missing(
	struct table *table, void (*opened)(void *context, struct table_entry *entry), void *context);

/* The first entry in id order; go on with entry->hh.next. */
struct table_entry *table_first(struct table *table);
size_t table_count(const struct table *table);

/* Slots that have ever been in use: the counters below these are meaningful. */
uint32_t table_listener_slots(const struct table *table);
uint32_t table_backend_slots(const struct table *table);

#endif
