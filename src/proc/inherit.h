/* What a supervisor leaves to its successor: sockets, by what they are for, and which ways it went. */
#ifndef PROC_INHERIT_H
#define PROC_INHERIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/listen.h"
#include "portald/steering.h"

struct table;

/* In what a successor must agree with the process that it takes the sockets of. */
struct inherit_facts {
	enum steering_kind kind; /* STEERING_KINDS: none */
	enum steering_tool tool;
	uint32_t relay_count;
};

/* Numbers of descriptors. */
struct inherit_fds {
	int *list;
	size_t count, capacity;
};

/* Writes down what the table and the claims hold: into a file in memory, whose descriptor is returned, or a
 * negative errno. The numbers of the sockets are appended to fds, which the caller frees: they are to be the
 * same in the successor, which is therefore a fork. */
int inherit_save(struct table *table, const struct listen_claims *claims, const struct inherit_facts *facts,
	struct inherit_fds *fds);

struct inherit;

/* In the successor: reads what is written in fd, and takes the sockets. Returns NULL (logged) if it makes no
 * sense. */
struct inherit *inherit_load(int fd);
void inherit_free(struct inherit *inherit); /* closes what nobody has wanted; NULL is fine */

const struct inherit_facts *inherit_facts(const struct inherit *inherit);

/* Gives away the sockets of the listener with that id, and of a portal that is bound itself. Returns false if
 * there are none such, or others than are asked for. */
bool inherit_take_listener(struct inherit *inherit, const char *id, enum proto proto,
	const struct addr *bind_addr, const struct listen_range *range, struct listen_socket *out);
bool inherit_take_binding(struct inherit *inherit, enum proto proto, const struct addr_port *at,
	unsigned flags, struct listen_socket *out);

/* Gives away all claims. */
void inherit_take_claims(struct inherit *inherit, struct listen_claims *claims);

#endif
