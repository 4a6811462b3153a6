/* The ports of this node that portals need, claimed. */
#ifndef PROC_CLAIMS_H
#define PROC_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>

#include "portald/listen.h"
#include "proc/addresses.h"
#include "proc/table.h"

/* Somebody who wants to know whose portals have changed. */
struct claims_listener {
	void (*changed)(void *context, const struct table_entry *entry);
	void *context;
};

/* Claims what the open listeners' portals need: NodePorts at the addresses that they may have, and external
 * and load-balancer addresses that the node has. Notes in the entries which portals can't have their port
 * (logged when that changes). Returns how many those are; *changed tells whether they are others than
 * before, and listener is called for each entry whose they are. */
size_t claims_update(struct listen_claims *claims, struct table *table, const struct addresses *addresses,
	const struct claims_listener *listener, bool *changed);

/* Notes whether a portal of the entry has its port: 0, or the negative errno why not. Where that is new it is
 * logged, listener is told, and true returned. */
bool claims_note(struct table_entry *entry, size_t portal, int error, const struct claims_listener *listener);

#endif
