/* Connection tracking: entries that keep clients from the rules in force. */
#ifndef STEERING_CONNTRACK_H
#define STEERING_CONNTRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/steering.h"

struct event_base;

/* ---- which entries (pure) ---- */

/* What matters of an entry. */
struct conntrack_flow {
	enum proto proto;
	struct addr_port from, to; /* as the client sends */
	bool translated;           /* the destination was changed */
	uint16_t proxy_port;       /* where to, if it was */
	bool attempt;              /* TCP: the client has sent its first packet, and nothing has come back */
};

struct conntrack_index;

/* Looks portals up by address. now is what is in force; past are rules that were in force and may be no more.
 * own are the node's addresses, sorted. now and own are borrowed until the index is freed. */
struct conntrack_index *conntrack_index_new(const struct steering_rules *now,
	const struct steering_rule *past, size_t past_count, const struct addr *own, size_t own_count);
void conntrack_index_free(struct conntrack_index *index); /* NULL is fine */

/* True if the entry leads a portal's client elsewhere than the rules in force would, and has to go for the
 * next packet to meet the rules: a UDP flow whatever its state, a TCP connection only as long as it is a mere
 * attempt. Entries that have nothing to do with portals are never stale. */
bool conntrack_is_stale(const struct conntrack_index *index, const struct conntrack_flow *flow);

/* ---- removing them ---- */

struct conntrack;

/* NULL if the kernel has no connection tracking to talk to (logged). */
struct conntrack *conntrack_new(struct event_base *base);
void conntrack_free(struct conntrack *conntrack); /* NULL is fine */

/* Rules (of rules_copy()) have come into force. Goes through all entries piece by piece from the loop, if the
 * rules differ from those before, and removes stale ones. */
void conntrack_update(struct conntrack *conntrack, struct steering_rules *rules);

/* True while it goes through them. */
bool conntrack_is_busy(const struct conntrack *conntrack);

#endif
