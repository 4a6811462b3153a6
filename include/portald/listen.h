/* Listening sockets: open, keep and close by key. Runs in the supervisor, which holds every listener so
 * that a relay's death refuses nobody.
 */
#ifndef PORTALD_LISTEN_H
#define PORTALD_LISTEN_H

#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"
#include "portald/proto.h"

#define LISTEN_MAX_RELAYS 64

/* The proxy ports that may be used; first 0 means any port the kernel gives. */
struct listen_range {
	uint16_t first, last;
};

/* How a portal's own address is bound. */
enum listen_flag {
	LISTEN_DIRECT = 1, /* the address may be no interface's; others of this user may bind it as well */
	LISTEN_HOST =
		2, /* takes only what this host sends itself, and takes it before one without the flag */
	LISTEN_DROP = 4, /* drops all that comes: no relay gets it */
};

/* The sockets of one listener: one a relay, all bound to one address and port by SO_REUSEPORT. */
struct listen_socket {
	struct addr_port at;
	unsigned flags; /* of enum listen_flag */
	size_t relay_count;
	int fds[LISTEN_MAX_RELAYS]; /* by relay; -1: that one has none */
};

/* Opens relay_count listening sockets on one proxy port of bind_addr. Options that accepted sockets
 * inherit (TCP_NODELAY, keepalive) are set here, once; UDP sockets on the "any" address deliver
 * IP_PKTINFO or IPV6_PKTINFO. Non-blocking, close-on-exec. seed picks the place
 * in the range where the search starts. Returns 0, or a negative errno with nothing left open:
 * -EADDRINUSE when the range has no free port, -EMFILE, ... */
int listen_open(struct listen_socket *out, enum proto proto, const struct addr *bind_addr,
	const struct listen_range *range, size_t relay_count, uint32_t seed);

/* Opens relay_count sockets (one with LISTEN_DROP) on a portal's address and port, as listen_open() does on a
 * proxy port, but that whoever binds the same again, as LISTEN_DIRECT, shares it: a portal may move from one
 * listener to another without a gap. flags may be LISTEN_DROP. Returns 0, or a negative errno
 * with nothing left open: -EADDRINUSE if another process has the port, there or at every address. */
int listen_bind(struct listen_socket *out, enum proto proto, const struct addr_port *at, unsigned flags,
	size_t relay_count);

/* Makes a listener of sockets that another process has opened by these functions: takes them over if they are
 * of that protocol. fds are as in the struct. Returns 0, or a negative errno with nothing taken. */
int listen_adopt(
	struct listen_socket *out, enum proto proto, unsigned flags, const int *fds, size_t relay_count);

/* Leaves the socket of a listener that was opened for one relay to that one of relay_count. */
void listen_leave_to(struct listen_socket *socket, size_t relay, size_t relay_count);

/* How many sockets it has. */
size_t listen_socket_count(const struct listen_socket *socket);

/* Closes the listener's sockets. */
void listen_close(struct listen_socket *socket);

/* Claims: ports of this node that belong to portals (NodePorts, external IPs that the node has). Each is held
 * by a socket that is bound and nothing else, so that no other process can bind the port while our rules
 * take its traffic away, and so that a process that has it already is noticed. They are kept by protocol,
 * address and port: whoever wants the same again, under whatever name, keeps the same socket.
 *
 *     listen_claims_begin(claims);
 *     for each wanted: listen_claims_hold(claims, ...);
 *     listen_claims_end(claims);                           now or later: gives up what was not wanted again
 */
struct listen_claims;

/* Holding nothing. The caller frees it. */
struct listen_claims *listen_claims_new(void);
void listen_claims_free(struct listen_claims *claims); /* gives up all; NULL is fine */

/* Begins a round: what is held so far is to be wanted again, or goes at its end. */
void listen_claims_begin(struct listen_claims *claims);

/* Claims a port of one address, or with the family's "any" address of all; between begin and end the latter
 * are to be claimed first, since they cover the former. Returns 0, also if it is held already; -EADDRINUSE
 * if another process has it; another negative errno. */
int listen_claims_hold(struct listen_claims *claims, enum proto proto, const struct addr_port *at);

/* Holds a socket by which another process has held a port of that protocol: it is to be wanted as in a round
 * before. Takes fd. Returns 0 or a negative errno (fd is closed). */
int listen_claims_adopt(struct listen_claims *claims, enum proto proto, int fd);

/* Calls visit for everything that is held. */
void listen_claims_each(const struct listen_claims *claims,
	void (*visit)(void *context, enum proto proto, int fd), void *context);

/* Gives up what was not held again since listen_claims_begin(). */
void listen_claims_end(struct listen_claims *claims);

/* How many sockets are held. */
size_t listen_claims_count(const struct listen_claims *claims);

#endif
