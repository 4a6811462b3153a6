/* Owns the events of nftables. Runs in the supervisor.
 *
 * The kernel tells what a transaction has done message by message, and then that a new generation of the
 * rules is in force. Each message names the sender: the port of the tool's netlink socket, which is the
 * tool's process number, as seen from this process's own PID namespace. */
#include "steering/monitor.h"

#include <errno.h>
#include <event2/event.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "portald/log.h"
#include "portald/mem.h"

/* The events of a tool may be read when it has ended and others have started. */
#define OWN_TOOLS 32

#define PIECE_BYTES 65536
/* Room for the events of a large transaction. What doesn't fit costs an audit. */
#define BUFFER_BYTES (16 * 1024 * 1024)

struct monitor {
	const struct monitor_handlers *handlers;
	struct mnl_socket *socket;
	struct event *readable;
	pid_t own[OWN_TOOLS];
	size_t next;
	bool touched; /* by the transaction that is being told */
};

static bool is_own(const struct monitor *monitor, uint32_t sender)
{
	for (size_t i = 0; i < OWN_TOOLS; i++) {
		if (sender != 0 && (uint32_t)monitor->own[i] == sender)
			return true;
	}
	return false;
}

/* Which attribute names the chain or set; 0: the message is about a table, or about nothing of interest. The
 * table's name is the first attribute of all. */
static uint16_t name_attribute(uint8_t type)
{
	switch (type) {
	case NFT_MSG_NEWCHAIN:
	case NFT_MSG_DELCHAIN:
		return NFTA_CHAIN_NAME;
	case NFT_MSG_NEWRULE:
	case NFT_MSG_DELRULE:
		return NFTA_RULE_CHAIN;
	case NFT_MSG_NEWSET:
	case NFT_MSG_DELSET:
		return NFTA_SET_NAME;
	case NFT_MSG_NEWSETELEM:
	case NFT_MSG_DELSETELEM:
		return NFTA_SET_ELEM_LIST_SET;
	default:
		return 0;
	}
}

static bool concerns(const struct monitor *monitor, const struct nlmsghdr *message)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	uint16_t name = name_attribute(message->nlmsg_type & 0xff);
	struct monitor_place place = {.family = header->nfgen_family == NFPROTO_IPV6 ? ADDR_V6 : ADDR_V4};
	const struct nlattr *attribute;

	if (header->nfgen_family != NFPROTO_IPV4 && header->nfgen_family != NFPROTO_IPV6)
		return false;
	mnl_attr_for_each(attribute, message, sizeof(*header))
	{
		uint16_t type = mnl_attr_get_type(attribute);

		if (type != NFTA_TABLE_NAME && (name == 0 || type != name))
			continue;
		if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) < 0)
			return false;
		if (type == NFTA_TABLE_NAME)
			place.table = mnl_attr_get_str(attribute);
		else
			place.name = mnl_attr_get_str(attribute);
	}
	return place.table && monitor->handlers->concerns(&place);
}

static int on_message(const struct nlmsghdr *message, void *context)
{
	struct monitor *monitor = context;
	bool touched = monitor->touched;

	if (message->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || is_own(monitor, message->nlmsg_pid))
		return MNL_CB_OK;
	if ((message->nlmsg_type & 0xff) != NFT_MSG_NEWGEN) {
		monitor->touched |= concerns(monitor, message);
		return MNL_CB_OK;
	}
	monitor->touched = false;
	if (touched)
		monitor->handlers->disturbed(monitor->handlers->context);
	return MNL_CB_OK;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct monitor *monitor = context;
	char piece[PIECE_BYTES];
	ssize_t got = mnl_socket_recvfrom(monitor->socket, piece, sizeof(piece));

	(void)fd;
	(void)what;
	if (got < 0 && errno != ENOBUFS)
		return;
	/* Some events are lost. */
	if (got < 0)
		monitor->handlers->disturbed(monitor->handlers->context);
	else
		mnl_cb_run(piece, (size_t)got, 0, 0, on_message, monitor);
}

static int join(struct monitor *monitor)
{
	int group = NFNLGRP_NFTABLES, bytes = BUFFER_BYTES;

	if (mnl_socket_bind(monitor->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
		mnl_socket_setsockopt(monitor->socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return -errno;
	/* Best effort: a small buffer loses more events, and then audits find what they would have told. */
	setsockopt(mnl_socket_get_fd(monitor->socket), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	return 0;
}

static int open_monitor(struct monitor *monitor, struct event_base *base)
{
	int rc;

	monitor->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!monitor->socket)
		return -errno;
	rc = join(monitor);
	if (rc < 0)
		return rc;
	monitor->readable = event_new(
		base, mnl_socket_get_fd(monitor->socket), EV_READ | EV_PERSIST, on_readable, monitor);
	return monitor->readable && event_add(monitor->readable, NULL) == 0 ? 0 : -ENOMEM;
}

struct monitor *monitor_new(struct event_base *base, const struct monitor_handlers *handlers)
{
	struct monitor *monitor = mem_calloc(1, sizeof(*monitor));
	int rc;

	monitor->handlers = handlers;
	rc = open_monitor(monitor, base);
	if (rc == 0)
		return monitor;
	log_warning("the kernel doesn't tell of changes of rules: they are found by the periodic audit",
		log_errno("error", -rc));
	monitor_free(monitor);
	return NULL;
}

void monitor_free(struct monitor *monitor)
{
	if (!monitor)
		return;
	if (monitor->readable)
		event_free(monitor->readable);
	if (monitor->socket)
		mnl_socket_close(monitor->socket);
	free(monitor);
}

void monitor_own(struct monitor *monitor, pid_t pid)
{
	if (monitor)
		monitor->own[monitor->next++ % OWN_TOOLS] = pid;
}
