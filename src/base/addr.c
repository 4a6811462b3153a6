/* Addresses: parsing, printing, comparing, to and from the kernel's form. Pure; runs in every process. */
#include "portald/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* Where the family's own bits begin in struct addr. */
#define V4_OFFSET 12

enum addr_family addr_family(const struct addr *addr)
{
	return memcmp(addr->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0 ? ADDR_V4 : ADDR_V6;
}

struct addr addr_v4(uint32_t host_order)
{
	struct addr addr;
	uint32_t net = htonl(host_order);

	memcpy(addr.bytes, mapped_prefix, sizeof(mapped_prefix));
	memcpy(addr.bytes + V4_OFFSET, &net, sizeof(net));
	return addr;
}

uint32_t addr_v4_value(const struct addr *addr)
{
	uint32_t net;

	memcpy(&net, addr->bytes + V4_OFFSET, sizeof(net));
	return ntohl(net);
}

struct addr addr_any(enum addr_family family)
{
	return family == ADDR_V4 ? addr_v4(INADDR_ANY) : (struct addr){{0}};
}

struct addr addr_loopback(enum addr_family family)
{
	return family == ADDR_V4 ? addr_v4(INADDR_LOOPBACK) : (struct addr){.bytes = {[15] = 1}};
}

struct addr_prefix addr_whole(const struct addr *addr)
{
	return (struct addr_prefix){.addr = *addr, .bits = addr_family(addr) == ADDR_V4 ? 32 : 128};
}

int addr_parse(struct addr *out, const char *text)
{
	struct in_addr v4;
	struct addr v6;

	/* inet_pton refuses leading zeros and short IPv4 forms. */
	if (inet_pton(AF_INET, text, &v4) == 1) {
		*out = addr_v4(ntohl(v4.s_addr));
		return 0;
	}
	if (inet_pton(AF_INET6, text, v6.bytes) != 1 || addr_family(&v6) == ADDR_V4)
		return -EINVAL;
	*out = v6;
	return 0;
}

static unsigned addr_offset_bits(const struct addr *addr)
{
	return addr_family(addr) == ADDR_V4 ? V4_OFFSET * 8 : 0;
}

static bool addr_host_bits_zero(const struct addr *addr, unsigned from_bit)
{
	for (unsigned bit = from_bit; bit < 128; bit++) {
		if (addr->bytes[bit / 8] & (0x80 >> bit % 8))
			return false;
	}
	return true;
}

int addr_parse_prefix(struct addr_prefix *out, const char *text)
{
	const char *slash = strchr(text, '/');
	char literal[ADDR_TEXT_BYTES];
	struct addr addr;
	unsigned long bits;
	char *end;

	if (!slash || (size_t)(slash - text) >= sizeof(literal) || slash[1] < '0' || slash[1] > '9')
		return -EINVAL;
	memcpy(literal, text, (size_t)(slash - text));
	literal[slash - text] = '\0';
	if (addr_parse(&addr, literal) < 0)
		return -EINVAL;
	bits = strtoul(slash + 1, &end, 10);
	if (*end != '\0' || bits > 128 - addr_offset_bits(&addr))
		return -EINVAL;
	if (!addr_host_bits_zero(&addr, addr_offset_bits(&addr) + (unsigned)bits))
		return -EINVAL;
	*out = (struct addr_prefix){.addr = addr, .bits = (uint8_t)bits};
	return 0;
}

const char *addr_format(const struct addr *addr, char *buf)
{
	if (addr_family(addr) == ADDR_V4)
		inet_ntop(AF_INET, addr->bytes + V4_OFFSET, buf, ADDR_TEXT_BYTES);
	else
		inet_ntop(AF_INET6, addr->bytes, buf, ADDR_TEXT_BYTES);
	return buf;
}

const char *addr_port_format(const struct addr_port *at, char *buf)
{
	char literal[ADDR_TEXT_BYTES];
	bool v4 = addr_family(&at->addr) == ADDR_V4;

	addr_format(&at->addr, literal);
	/* INET6_ADDRSTRLEN is 46: brackets and a port fit. */
	snprintf(buf, ADDR_TEXT_BYTES, v4 ? "%.46s:%u" : "[%.46s]:%u", literal, at->port);
	return buf;
}

bool addr_is_any(const struct addr *addr)
{
	return addr_host_bits_zero(addr, addr_offset_bits(addr));
}

bool addr_is_loopback(const struct addr *addr)
{
	static const struct addr v6_loopback = {{[15] = 1}};

	if (addr_family(addr) == ADDR_V4)
		return addr->bytes[V4_OFFSET] == 127;
	return addr_equal(addr, &v6_loopback);
}

bool addr_is_multicast(const struct addr *addr)
{
	if (addr_family(addr) == ADDR_V4)
		return (addr->bytes[V4_OFFSET] & 0xf0) == 0xe0;
	return addr->bytes[0] == 0xff;
}

bool addr_is_link_local(const struct addr *addr)
{
	if (addr_family(addr) == ADDR_V4)
		return addr->bytes[V4_OFFSET] == 169 && addr->bytes[V4_OFFSET + 1] == 254;
	return addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool addr_port_equal(const struct addr_port *a, const struct addr_port *b)
{
	return a->port == b->port && addr_equal(&a->addr, &b->addr);
}

int addr_cmp(const struct addr *a, const struct addr *b)
{
	int by_family = (int)addr_family(a) - (int)addr_family(b);

	return by_family ? by_family : memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

int addr_port_cmp(const struct addr_port *a, const struct addr_port *b)
{
	int by_addr = addr_cmp(&a->addr, &b->addr);

	return by_addr ? by_addr : (int)a->port - (int)b->port;
}

bool addr_prefix_contains(const struct addr_prefix *prefix, const struct addr *addr)
{
	unsigned bits = addr_offset_bits(&prefix->addr) + prefix->bits;
	unsigned whole = bits / 8;
	uint8_t mask = (uint8_t)(0xff00 >> bits % 8);

	if (addr_family(addr) != addr_family(&prefix->addr))
		return false;
	if (memcmp(prefix->addr.bytes, addr->bytes, whole) != 0)
		return false;
	return mask == 0 || ((prefix->addr.bytes[whole] ^ addr->bytes[whole]) & mask) == 0;
}

socklen_t addr_to_sockaddr(const struct addr_port *at, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;

	memset(out, 0, sizeof(*v6));
	if (addr_family(&at->addr) == ADDR_V4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(at->port);
		memcpy(&v4->sin_addr, at->addr.bytes + V4_OFFSET, sizeof(v4->sin_addr));
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(at->port);
	memcpy(&v6->sin6_addr, at->addr.bytes, sizeof(v6->sin6_addr));
	return sizeof(*v6);
}

int addr_from_sockaddr(struct addr_port *out, const struct sockaddr *sa)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;

	if (sa->sa_family == AF_INET) {
		out->addr = addr_v4(ntohl(v4->sin_addr.s_addr));
		out->port = ntohs(v4->sin_port);
		return 0;
	}
	if (sa->sa_family == AF_INET6) {
		memcpy(out->addr.bytes, &v6->sin6_addr, sizeof(out->addr.bytes));
		out->port = ntohs(v6->sin6_port);
		return 0;
	}
	return -EAFNOSUPPORT;
}
