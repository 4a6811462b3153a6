/* Owns the hearing of routes of ours that come and go. Runs in the supervisor. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "steering/route.h"

#define PIECE_BYTES 16384

struct route_monitor {
	struct mnl_socket *socket;
	struct event *readable;
	void (*changed)(void *context, const struct addr *to, bool there);
	void *context;
};

static bool read_destination(const struct nlmsghdr *message, struct addr *to)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	const struct nlattr *attribute;
	uint32_t v4;

	mnl_attr_for_each(attribute, message, sizeof(*route))
	{
		size_t bytes = mnl_attr_get_payload_len(attribute);

		if (mnl_attr_get_type(attribute) != RTA_DST)
			continue;
		if (route->rtm_family == AF_INET && bytes == sizeof(v4)) {
			memcpy(&v4, mnl_attr_get_payload(attribute), sizeof(v4));
			*to = addr_v4(ntohl(v4));
			return true;
		}
		if (route->rtm_family == AF_INET6 && bytes == sizeof(to->bytes)) {
			memcpy(to->bytes, mnl_attr_get_payload(attribute), sizeof(to->bytes));
			return true;
		}
	}
	return false;
}

static int on_message(const struct nlmsghdr *message, void *context)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct route_monitor *monitor = context;
	struct addr to;

	if ((message->nlmsg_type == RTM_DELROUTE || message->nlmsg_type == RTM_NEWROUTE) &&
		route->rtm_protocol == ROUTE_PROTOCOL && route->rtm_table == RT_TABLE_LOCAL &&
		read_destination(message, &to))
		monitor->changed(monitor->context, &to, message->nlmsg_type == RTM_NEWROUTE);
	return MNL_CB_OK;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct route_monitor *monitor = context;
	char piece[PIECE_BYTES];
	ssize_t got = mnl_socket_recvfrom(monitor->socket, piece, sizeof(piece));

	(void)fd;
	(void)what;
	if (got > 0)
		mnl_cb_run(piece, (size_t)got, 0, 0, on_message, monitor);
	else if (got < 0 && errno == ENOBUFS)
		monitor->changed(monitor->context, NULL, false);
}

static bool open_socket(struct route_monitor *monitor)
{
	int groups[] = {RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE};

	monitor->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!monitor->socket || mnl_socket_bind(monitor->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return false;
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		if (mnl_socket_setsockopt(
			    monitor->socket, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0)
			return false;
	}
	return true;
}

struct route_monitor *route_monitor_new(struct event_base *base,
	void (*changed)(void *context, const struct addr *to, bool there), void *context)
{
	struct route_monitor *monitor = mem_calloc(1, sizeof(*monitor));

	*monitor = (struct route_monitor){.changed = changed, .context = context};
	if (open_socket(monitor)) {
		monitor->readable = event_new(
			base, mnl_socket_get_fd(monitor->socket), EV_READ | EV_PERSIST, on_readable, monitor);
		if (monitor->readable && event_add(monitor->readable, NULL) == 0)
			return monitor;
	}
	log_warning(
		"cannot watch routes: they are looked at from time to time only", log_errno("error", errno));
	route_monitor_free(monitor);
	return NULL;
}

void route_monitor_free(struct route_monitor *monitor)
{
	if (!monitor)
		return;
	if (monitor->readable)
		event_free(monitor->readable);
	if (monitor->socket)
		mnl_socket_close(monitor->socket);
	free(monitor);
}
