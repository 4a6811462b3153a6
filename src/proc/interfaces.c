/* Owns the knowledge of the node's interfaces. Runs in the supervisor. */
#include "proc/interfaces.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "portald/mem.h"

#define REPLY_BYTES 32768

struct listing {
	unsigned *entries; /* indices of interfaces that packets may enter by, as yet without address */
	size_t count, capacity;
};

static bool has_attribute(const struct nlmsghdr *message, size_t header_bytes, uint16_t wanted)
{
	const struct nlattr *attribute;

	mnl_attr_for_each(attribute, message, (unsigned)header_bytes)
	{
		if (mnl_attr_get_type(attribute) == wanted)
			return true;
	}
	return false;
}

static int on_link(const struct nlmsghdr *message, void *context)
{
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(message);
	struct listing *listing = context;

	if (!(link->ifi_flags & IFF_UP) || (link->ifi_flags & IFF_LOOPBACK) ||
		has_attribute(message, sizeof(*link), IFLA_MASTER))
		return MNL_CB_OK;
	listing->entries =
		mem_grow(listing->entries, listing->count, &listing->capacity, sizeof(*listing->entries));
	listing->entries[listing->count++] = (unsigned)link->ifi_index;
	return MNL_CB_OK;
}

static int on_address(const struct nlmsghdr *message, void *context)
{
	const struct ifaddrmsg *address = mnl_nlmsg_get_payload(message);
	struct listing *listing = context;

	for (size_t i = 0; i < listing->count; i++) {
		if (listing->entries[i] == address->ifa_index)
			listing->entries[i--] = listing->entries[--listing->count];
	}
	return MNL_CB_OK;
}

static int dump(struct mnl_socket *socket, uint16_t type, unsigned char family, size_t header_bytes,
	mnl_cb_t each, struct listing *listing)
{
	char request_bytes[256] = {0}, reply[REPLY_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(request_bytes);
	int more = MNL_CB_OK;

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->nlmsg_seq = type;
	/* The family is the first byte of every header. */
	*(unsigned char *)mnl_nlmsg_put_extra_header(request, header_bytes) = family;
	if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	while (more == MNL_CB_OK) {
		ssize_t got = mnl_socket_recvfrom(socket, reply, sizeof(reply));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		more = mnl_cb_run(reply, (size_t)got, type, mnl_socket_get_portid(socket), each, listing);
	}
	return more < 0 ? -errno : 0;
}

int interfaces_lack_address(bool *lacking)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct listing listing = {.count = 0};
	int rc;

	*lacking = false;
	if (!socket)
		return -errno;
	rc = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
	if (rc == 0)
		rc = dump(socket, RTM_GETLINK, AF_UNSPEC, sizeof(struct ifinfomsg), on_link, &listing);
	if (rc == 0)
		rc = dump(socket, RTM_GETADDR, AF_INET, sizeof(struct ifaddrmsg), on_address, &listing);
	*lacking = rc == 0 && listing.count > 0;
	mnl_socket_close(socket);
	free(listing.entries);
	return rc;
}
