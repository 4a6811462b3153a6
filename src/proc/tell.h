/* What the supervisor tells a relay, and control, of a listener. */
#ifndef PROC_TELL_H
#define PROC_TELL_H

#include <stdbool.h>
#include <stdint.h>

#include "proc/link.h"
#include "proc/table.h"

struct steering;

/* Sends what has changed of an entry (TABLE_FRONT, TABLE_BACKENDS) to relay number `relay` over its link, if
 * the entry is open and the link is up. A relay accepts on a listener only when it has been told its
 * backends. steered: connections have come through rules, so their destination is to be checked. */
void tell_of_entry(
	struct link *link, uint32_t relay, const struct table_entry *entry, unsigned change, bool steered);

/* The same of one binding of an entry that is bound directly (tell_of_entry() does so for all of its
 * bindings). */
void tell_of_binding(struct link *link, uint32_t relay, const struct table_entry *entry,
	const struct table_binding *binding, unsigned change);

/* Tells the relay that the entry, or one binding, is closed. */
void tell_gone(struct link *link, const struct table_entry *entry);
void tell_unbound(struct link *link, const struct table_binding *binding);

/* Tells control what became of the entry, if the link is up. steering: NULL if there is none. */
void tell_state(struct link *link, const struct table_entry *entry, const struct steering *steering);

#endif
