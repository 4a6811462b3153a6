/* Which of the host's addresses TCP connections end at, by the kernel's word (NETLINK_SOCK_DIAG). */
#ifndef STEERING_CONNECTIONS_H
#define STEERING_CONNECTIONS_H

#include "steering/addr_set.h"

struct event_base;

/* A question that was put and has no answer so far. */
struct connections_query;

/* Asks which of the addresses are the own one of a TCP connection, from the end of its handshake
 * until both sides have closed, or until ours waits for the other to do so and no process has it any more.
 * Sockets that listen and what waits for stray segments (TIME_WAIT) don't count. The answer comes once, from
 * the loop: error is 0 or a negative errno, used is borrowed until done() returns. The caller frees the
 * query, then or before. Returns 0 or a negative errno, and then there is no query. */
int connections_ask(struct connections_query **query, struct event_base *base,
	const struct addr_set *addresses, void (*done)(void *context, int error, const struct addr_set *used),
	void *context);
void connections_query_free(struct connections_query *query); /* NULL is fine */

#endif
