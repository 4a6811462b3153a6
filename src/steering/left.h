/* Proxy ports that the rules of an earlier run lead to. */
#ifndef STEERING_LEFT_H
#define STEERING_LEFT_H

#include <stddef.h>

#include "portald/addr.h"
#include "portald/proto.h"

struct left_entry {
	struct addr_port at; /* a portal; NodePorts have the family's "any" address */
	enum proto proto;
	uint16_t proxy_port;
};

struct left {
	struct left_entry *list;
	size_t count, capacity;
};

/* Adds what `iptables-save -t nat` (or ip6tables-save) shows of our chains. Lines that make no sense are
 * passed over. */
void left_add_iptables(struct left *left, const char *saved, enum addr_family family);

/* Adds one. */
void left_add(struct left *left, const struct left_entry *entry);

/* To be called when all was added, before left_find(). */
void left_sort(struct left *left);

/* The proxy port, 0 if nothing is known. */
uint16_t left_find(const struct left *left, enum proto proto, const struct addr_port *at);

void left_fini(struct left *left);

#endif
