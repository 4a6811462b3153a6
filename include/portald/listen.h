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

/* The sockets of one listener: one a relay, all bound to one address and port by SO_REUSEPORT. */
struct listen_socket {
	struct addr_port at;
	size_t relay_count;
	int fds[LISTEN_MAX_RELAYS];
};

/* Opens relay_count listening sockets on one proxy port of bind_addr. Options that accepted sockets
 * inherit (TCP_NODELAY, keepalive) are set here, once; UDP sockets on the "any" address deliver
 * IP_PKTINFO or IPV6_PKTINFO. Non-blocking, close-on-exec. seed picks the place
 * in the range where the search starts. Returns 0, or a negative errno with nothing left open:
 * -EADDRINUSE when the range has no free port, -EMFILE, ... */
int listen_open(struct listen_socket *out, enum proto proto, const struct addr *bind_addr,
	const struct listen_range *range, size_t relay_count, uint32_t seed);

/* Closes the listener's sockets. */
void listen_close(struct listen_socket *socket);

#endif
