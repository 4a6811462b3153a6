/* Owns the PROXY protocol's header. Runs in every relay. */
#include "relay/proxy.h"

#include <stdio.h>
#include <string.h>

/* "Version 2, on behalf of a client", "TCP over IPv4", "TCP over IPv6". */
#define V2_PROXY 0x21
#define V2_TCP4 0x11
#define V2_TCP6 0x21

static size_t header_v1(uint8_t *out, const struct addr_port *client, const struct addr_port *portal)
{
	char from[ADDR_TEXT_BYTES], to[ADDR_TEXT_BYTES];
	int count = snprintf((char *)out, PROXY_HEADER_BYTES, "PROXY TCP%d %s %s %u %u\r\n",
		(int)addr_family(&client->addr), addr_format(&client->addr, from),
		addr_format(&portal->addr, to), client->port, portal->port);

	return (size_t)count;
}

static uint8_t *put(uint8_t *to, const void *bytes, size_t count)
{
	memcpy(to, bytes, count);
	return to + count;
}

static uint8_t *put_port(uint8_t *to, uint16_t port)
{
	to[0] = (uint8_t)(port >> 8);
	to[1] = (uint8_t)port;
	return to + 2;
}

static size_t header_v2(uint8_t *out, const struct addr_port *client, const struct addr_port *portal)
{
	static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
	bool v4 = addr_family(&client->addr) == ADDR_V4;
	/* An IPv4 address is the end of its mapped form. */
	size_t bytes = v4 ? 4 : 16, skipped = 16 - bytes;
	uint8_t *end = put(out, signature, sizeof(signature));

	*end++ = V2_PROXY;
	*end++ = v4 ? V2_TCP4 : V2_TCP6;
	end = put_port(end, (uint16_t)(2 * (bytes + 2)));
	end = put(end, client->addr.bytes + skipped, bytes);
	end = put(end, portal->addr.bytes + skipped, bytes);
	end = put_port(end, client->port);
	end = put_port(end, portal->port);
	return (size_t)(end - out);
}

size_t proxy_header(
	uint8_t *out, uint8_t version, const struct addr_port *client, const struct addr_port *portal)
{
	return version == 1 ? header_v1(out, client, portal) : header_v2(out, client, portal);
}
