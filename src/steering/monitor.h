/* The kernel's word that somebody has changed nftables, which iptables-nft's rules are kept in too. */
#ifndef STEERING_MONITOR_H
#define STEERING_MONITOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "portald/addr.h"

struct event_base;
struct monitor;

/* What a transaction has touched. */
struct monitor_place {
	enum addr_family family;
	const char *table;
	const char *name; /* of a chain or set; NULL: the table itself */
};

struct monitor_handlers {
	/* True if a change there matters. */
	bool (*concerns)(const struct monitor_place *place);
	/* Somebody else's transaction did that, or what it did was not heard. From the loop. */
	void (*disturbed)(void *context);
	void *context;
};

/* handlers are borrowed until free. NULL if the kernel doesn't tell (logged): then there are the periodic
 * audits. */
struct monitor *monitor_new(struct event_base *base, const struct monitor_handlers *handlers);
void monitor_free(struct monitor *monitor); /* NULL is fine */

/* What that process does is our own doing: to be told when it starts. NULL is fine. */
void monitor_own(struct monitor *monitor, pid_t pid);

#endif
