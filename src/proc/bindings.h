/* With --steering=local: listeners on the portals' own addresses and ports. */
#ifndef PROC_BINDINGS_H
#define PROC_BINDINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "proc/addresses.h"
#include "proc/claims.h"
#include "proc/table.h"

/* Who tells the relays. */
struct bindings_events {
	/* A binding is new, or takes other clients than before. */
	void (*bound)(void *context, const struct table_entry *entry, const struct table_binding *binding);
	/* It is about to be closed. */
	void (*unbound)(void *context, const struct table_entry *entry, const struct table_binding *binding);
	void *context;
};

/* Opens what the entries' portals need and closes what they need no more. A portal that is refused needs
 * none: the kernel refuses for an address of its own without a listener. Notes in the entries which portals
 * can't be bound. Returns how many those are; *changed tells whether they are others than before. */
size_t bindings_update(struct table *table, const struct addresses *addresses,
	const struct bindings_events *events, const struct claims_listener *listener, bool *changed);

#endif
