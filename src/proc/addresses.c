/* Owns the knowledge of the node's addresses. Runs in the supervisor. */
#include "proc/addresses.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "proc/interfaces.h"

/* Interfaces get their addresses one by one; these are taken up together. */
#define SETTLE_MS 200

static int addrs_cmp(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

/* ---- the list ---- */

bool addresses_have(const struct addresses *addresses, const struct addr *addr)
{
	return addresses->count > 0 &&
	       bsearch(addr, addresses->list, addresses->count, sizeof(*addr), addrs_cmp) != NULL;
}

/* ---- NodePorts ---- */

bool addresses_unrestricted(const struct addresses *addresses, enum addr_family family)
{
	for (size_t i = 0; i < addresses->range_count; i++) {
		if (addr_family(&addresses->ranges[i].addr) == family)
			return false;
	}
	return true;
}

bool addresses_can_be_bound(const struct addr *addr)
{
	return addr_family(addr) == ADDR_V4 || !addr_is_link_local(addr);
}

bool addresses_have_node_port(const struct addresses *addresses, const struct addr *addr)
{
	bool allowed = addresses_unrestricted(addresses, addr_family(addr));

	for (size_t i = 0; i < addresses->range_count; i++)
		allowed |= addr_prefix_contains(&addresses->ranges[i], addr);
	return allowed && addresses_can_be_bound(addr);
}

/* The address from which this node talks to the world: what the kernel picks for a destination beyond all
 * networks of the node's own. Nothing is sent. */
static int find_primary(struct addr *out, enum addr_family family)
{
	struct addr_port far = {.port = 9}, near;
	struct sockaddr_storage sa;
	socklen_t length;
	int fd, rc;

	/* Addresses for documentation (RFC 5737 and RFC 3849), which nobody has. */
	addr_parse(&far.addr, family == ADDR_V6 ? "2001:db8::1" : "192.0.2.1");
	length = addr_to_sockaddr(&far, &sa);
	fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, (struct sockaddr *)&sa, length) < 0 ? -errno : 0;
	length = sizeof(sa);
	if (rc == 0 && getsockname(fd, (struct sockaddr *)&sa, &length) < 0)
		rc = -errno;
	if (rc == 0)
		rc = addr_from_sockaddr(&near, (struct sockaddr *)&sa);
	if (rc == 0)
		*out = near.addr;
	close(fd);
	return rc;
}

static struct addr primary_or(enum addr_family family, struct addr otherwise)
{
	struct addr addr = otherwise;

	find_primary(&addr, family);
	return addr;
}

/* Where there is no primary address, loopback keeps the range from being empty, which would mean all. */
static struct addr_prefix primary_range(enum addr_family family)
{
	struct addr addr = primary_or(family, addr_loopback(family));

	return addr_whole(&addr);
}

static void load_ranges(struct addresses *addresses, const struct options *options)
{
	if (options->node_port_primary) {
		addresses->ranges[addresses->range_count++] = primary_range(ADDR_V4);
		addresses->ranges[addresses->range_count++] = primary_range(ADDR_V6);
		return;
	}
	for (size_t i = 0; i < options->node_port_range_count; i++)
		addresses->ranges[addresses->range_count++] = options->node_port_ranges[i];
}

int addresses_load(struct addresses *addresses, const struct options *options)
{
	int rc, error;

	*addresses = (struct addresses){
		.primary_v4 = primary_or(ADDR_V4, addr_any(ADDR_V4)),
		.primary_v6 = primary_or(ADDR_V6, addr_any(ADDR_V6)),
	};
	load_ranges(addresses, options);
	memcpy(addresses->pods, options->pods, sizeof(addresses->pods));
	addresses->pod_range_count = options_pod_ranges(options);
	rc = addr_list_own(&addresses->list, &addresses->count);
	error = interfaces_lack_address(&addresses->routed);
	return rc < 0 ? rc : error;
}

void addresses_free(struct addresses *addresses)
{
	free(addresses->list);
	addresses->list = NULL;
	addresses->count = 0;
}

void addresses_describe(const struct addresses *addresses, struct steering_rules *rules)
{
	rules->node_v4 = addresses->primary_v4;
	rules->node_v6 = addresses->primary_v6;
	rules->routed = addresses->routed;
	rules->node_port_ranges = addresses->ranges;
	rules->node_port_range_count = addresses->range_count;
	memcpy(rules->pods, addresses->pods, sizeof(rules->pods));
	rules->pod_range_count = addresses->pod_range_count;
}

/* ---- changes ---- */

struct addresses_watch {
	struct event *readable, *settled;
	int fd;
	void (*changed)(void *context);
	void *context;
};

static void on_settled(evutil_socket_t fd, short what, void *context)
{
	struct addresses_watch *watch = context;

	(void)fd;
	(void)what;
	watch->changed(watch->context);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct addresses_watch *watch = context;
	struct timeval settle = {.tv_usec = SETTLE_MS * 1000};
	char ignored[8192];

	(void)what;
	/* What exactly happened doesn't matter, nor whether messages were lost: all is asked for again. */
	while (recv(fd, ignored, sizeof(ignored), 0) >= 0 || errno == ENOBUFS)
		;
	if (!event_pending(watch->settled, EV_TIMEOUT, NULL))
		event_add(watch->settled, &settle);
}

static int open_events(void)
{
	struct sockaddr_nl at = {
		.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	close(fd);
	return -errno;
}

struct addresses_watch *addresses_watch_new(
	struct event_base *base, void (*changed)(void *context), void *context)
{
	struct addresses_watch *watch = mem_calloc(1, sizeof(*watch));

	*watch = (struct addresses_watch){.fd = open_events(), .changed = changed, .context = context};
	if (watch->fd < 0) {
		log_warning("cannot watch for changes of addresses", log_errno("error", -watch->fd));
		return watch;
	}
	watch->settled = event_new(base, -1, 0, on_settled, watch);
	watch->readable = event_new(base, watch->fd, EV_READ | EV_PERSIST, on_readable, watch);
	event_add(watch->readable, NULL);
	return watch;
}

void addresses_watch_free(struct addresses_watch *watch)
{
	if (!watch)
		return;
	if (watch->readable)
		event_free(watch->readable);
	if (watch->settled)
		event_free(watch->settled);
	if (watch->fd >= 0)
		close(watch->fd);
	free(watch);
}
