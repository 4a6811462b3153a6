/* What the supervisor tells a relay, and control, of a listener. */
#ifndef PROC_TELL_H
#define PROC_TELL_H

#include <stdbool.h>
#include <stdint.h>

#include "proc/link.h"
#include "proc/table.h"

/* Sends what has changed of an entry (TABLE_FRONT, TABLE_BACKENDS) to relay number `relay` over its link, if
 * the entry is open and the link is up. A relay accepts on a listener only when it has been told its
 * backends. steered: connections have come through rules, so their destination is to be checked. */
void tell_of_entry(
	struct link *link, uint32_t relay, const struct table_entry *entry, unsigned change, bool steered);

/* Tells control what became of the entry, if the link is up. */
void tell_state(struct link *link, const struct table_entry *entry);

#endif
