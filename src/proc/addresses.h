/* The addresses of this node, and when they change. */
#ifndef PROC_ADDRESSES_H
#define PROC_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>

#include "portald/addr.h"
#include "portald/steering.h"
#include "proc/options.h"

struct event_base;

/* The most ranges that --nodeport-addresses may name. */
#define ADDRESSES_MAX_RANGES OPTIONS_MAX_NODE_PORT_RANGES

struct addresses {
	struct addr *list; /* sorted; every address of every interface */
	size_t count;
	/* By which the node talks to the world; "any" where there is none. */
	struct addr primary_v4, primary_v6;
	/* Where NodePorts are: --nodeport-addresses, with what "primary" means now. */
	struct addr_prefix ranges[ADDRESSES_MAX_RANGES];
	size_t range_count;
	/* The pods': --cluster-cidr, if that is to count. */
	struct addr_prefix pods[ADDR_FAMILIES];
	size_t pod_range_count;
	/* An interface that packets may enter by has no IPv4 address: REDIRECT can't serve what comes by it.
	 */
	bool routed;
};

/* Asks the kernel. Returns 0 or a negative errno; to be freed in any case. */
int addresses_load(struct addresses *addresses, const struct options *options);
void addresses_free(struct addresses *addresses);

/* True if NodePorts of the family are on every address of the node. */
bool addresses_unrestricted(const struct addresses *addresses, enum addr_family family);

/* False for a link-local IPv6 address, which is one only together with its interface. */
bool addresses_can_be_bound(const struct addr *addr);

/* True if NodePorts are on that address of the node, and can be bound there. */
bool addresses_have_node_port(const struct addresses *addresses, const struct addr *addr);

/* Tells the rules what they need to know of the node; they borrow the ranges. */
void addresses_describe(const struct addresses *addresses, struct steering_rules *rules);

bool addresses_have(const struct addresses *addresses, const struct addr *addr);

/* Calls changed() a moment after addresses or interfaces came or went. */
struct addresses_watch;
struct addresses_watch *addresses_watch_new(
	struct event_base *base, void (*changed)(void *context), void *context);
void addresses_watch_free(struct addresses_watch *watch); /* NULL is fine */

#endif
