/* One address type for IPv4 and IPv6, used by every module.
 *
 * IPv4 is kept as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2), so that comparing, hashing and
 * copying need no branch on the family; only parsing, printing, sockets and the rule renderers do.
 */
#ifndef PORTALD_ADDR_H
#define PORTALD_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Bytes that hold any address as text, with port, brackets and the final NUL. */
#define ADDR_TEXT_BYTES 64

enum addr_family { ADDR_V4 = 4, ADDR_V6 = 6 };

/* How many there are. */
#define ADDR_FAMILIES 2

/* An IP address in network byte order. All zero is the IPv6 "any" address. */
struct addr {
	uint8_t bytes[16];
};

/* An address and a TCP or UDP port in host byte order. */
struct addr_port {
	struct addr addr;
	uint16_t port;
};

/* A CIDR block. bits counts within the family: 0-32 or 0-128. */
struct addr_prefix {
	struct addr addr;
	uint8_t bits;
};

/* Parses a literal IPv4 or IPv6 address, strictly: no zone, no leading zeros in IPv4 numbers, no
 * IPv4-mapped form (as the API server validates addresses). Returns 0, or -EINVAL and leaves out
 * alone. */
int addr_parse(struct addr *out, const char *text);

/* Parses "ADDRESS/BITS"; host bits must be zero. Returns 0 or -EINVAL. */
int addr_parse_prefix(struct addr_prefix *out, const char *text);

/* Writes the address as text into buf (at least ADDR_TEXT_BYTES) and returns buf. */
const char *addr_format(const struct addr *addr, char *buf);

/* Writes "1.2.3.4:80" or "[::1]:80" into buf (at least ADDR_TEXT_BYTES) and returns buf. */
const char *addr_port_format(const struct addr_port *at, char *buf);

/* The IPv4 address with that number, in host byte order. */
struct addr addr_v4(uint32_t host_order);

/* The IPv4 address in host byte order. The caller has checked the family. */
uint32_t addr_v4_value(const struct addr *addr);

/* The family's "any" address: 0.0.0.0 or ::. */
struct addr addr_any(enum addr_family family);

/* 127.0.0.1 or ::1. */
struct addr addr_loopback(enum addr_family family);

/* The block of that one address. */
struct addr_prefix addr_whole(const struct addr *addr);

/* What an address is. Two are equal if their bytes are. */
enum addr_family addr_family(const struct addr *addr);
bool addr_is_any(const struct addr *addr);
bool addr_is_loopback(const struct addr *addr);
bool addr_is_multicast(const struct addr *addr);
bool addr_is_link_local(const struct addr *addr);
bool addr_equal(const struct addr *a, const struct addr *b);
bool addr_port_equal(const struct addr_port *a, const struct addr_port *b);

/* Total orders for sorting: all IPv4 addresses first, then by number (then by port). */
int addr_cmp(const struct addr *a, const struct addr *b);
int addr_port_cmp(const struct addr_port *a, const struct addr_port *b);

/* False also for an address of the other family. */
bool addr_prefix_contains(const struct addr_prefix *prefix, const struct addr *addr);

/* Fills *out for bind or connect, AF_INET or AF_INET6 by the address's family; returns its length. */
socklen_t addr_to_sockaddr(const struct addr_port *at, struct sockaddr_storage *out);

/* Reads an AF_INET or AF_INET6 socket address. Returns 0, or -EAFNOSUPPORT. */
int addr_from_sockaddr(struct addr_port *out, const struct sockaddr *sa);

/* Every address of every interface of this network namespace, sorted; the caller frees *list. Returns 0 or a
 * negative errno, with an empty list. */
int addr_list_own(struct addr **list, size_t *count);

#endif
