/* The ports of this node that portals need: claimed, where rules lead to proxy ports, or bound by the
 * listeners themselves. */
#ifndef PROC_PORTS_H
#define PROC_PORTS_H

#include <stdbool.h>
#include <stddef.h>

#include "portald/steering.h"
#include "proc/addresses.h"
#include "proc/bindings.h"
#include "proc/claims.h"
#include "proc/table.h"

struct ports;

/* direct: they are bound. The events are copied. */
struct ports *ports_new(struct table *table, const struct options *options, bool direct,
	const struct claims_listener *listener, const struct bindings_events *events);

/* Other options (borrowed) from now on; ports_update() finds what they change. */
void ports_set_options(struct ports *ports, const struct options *options);
void ports_free(struct ports *ports); /* NULL is fine */

/* Looks at the node's addresses, and claims or binds what the table's listeners need. Returns true if the
 * rules are to be others: there are other portals, or other addresses for NodePorts. */
bool ports_update(struct ports *ports);

/* The rules are in force: gives up what nobody needs any more. */
void ports_settle(struct ports *ports);

/* What is claimed, to be handed on or added to. */
struct listen_claims *ports_claims(struct ports *ports);

/* How many portals can't have their port. */
size_t ports_failed(const struct ports *ports);

/* Says in rules what they have to know of the node; borrowed from ports until the next update. */
void ports_describe(const struct ports *ports, struct steering_rules *rules);

#endif
