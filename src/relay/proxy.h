/* The PROXY protocol's header, which tells a backend who the client is. As specified by HAProxy's
 * doc/proxy-protocol.txt. */
#ifndef RELAY_PROXY_H
#define RELAY_PROXY_H

#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"

/* Enough for any header. */
#define PROXY_HEADER_BYTES 108

/* Writes the header of version 1 or 2 for a TCP connection from client to portal, both of one family.
 * Returns its length. */
size_t proxy_header(
	uint8_t *out, uint8_t version, const struct addr_port *client, const struct addr_port *portal);

#endif
