/* Owns the reading and writing of what a datagram carries beside its bytes: its sender, and the local
 * address that it came to. Runs in every relay. */
#include <errno.h>
#include <string.h>

#include "relay/udp.h"

/* The fixed start of an IPv4-mapped address. */
static struct addr addr_from_v4(const struct in_addr *v4)
{
	struct addr addr = {.bytes = {[10] = 0xff, [11] = 0xff}};

	memcpy(addr.bytes + 12, v4, sizeof(*v4));
	return addr;
}

static struct addr addr_from_v6(const struct in6_addr *v6)
{
	struct addr addr;

	memcpy(addr.bytes, v6, sizeof(addr.bytes));
	return addr;
}

/* The control message's content if it is of that kind and whole; else NULL. */
static const uint8_t *content(const struct msghdr *msg, struct cmsghdr *at, int level, int type, size_t bytes)
{
	size_t left = (size_t)((uint8_t *)msg->msg_control + msg->msg_controllen - (uint8_t *)at);

	if (at->cmsg_level != level || at->cmsg_type != type)
		return NULL;
	return at->cmsg_len >= CMSG_LEN(bytes) && at->cmsg_len <= left ? CMSG_DATA(at) : NULL;
}

/* Leaves key->local alone where nothing is said. */
static void read_destination(const struct msghdr *msg, struct udp_key *key)
{
	/* The loop only reads. */
	struct msghdr *loop = (struct msghdr *)(uintptr_t)msg;

	for (struct cmsghdr *at = CMSG_FIRSTHDR(loop); at; at = CMSG_NXTHDR(loop, at)) {
		struct in_pktinfo v4;
		struct in6_pktinfo v6;
		const uint8_t *bytes;

		if ((bytes = content(msg, at, IPPROTO_IP, IP_PKTINFO, sizeof(v4))) != NULL) {
			memcpy(&v4, bytes, sizeof(v4));
			/* Unlike the header's address, never a broadcast one. */
			key->local = addr_from_v4(&v4.ipi_spec_dst);
		} else if ((bytes = content(msg, at, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(v6))) != NULL) {
			memcpy(&v6, bytes, sizeof(v6));
			key->local = addr_from_v6(&v6.ipi6_addr);
			if (addr_is_link_local(&key->client) || addr_is_link_local(&key->local))
				key->scope = v6.ipi6_ifindex;
		}
	}
}

int udp_msg_parse(const struct msghdr *msg, const struct addr *bound, struct udp_key *key)
{
	const union udp_name *name = msg->msg_name;

	*key = (struct udp_key){.local = *bound};
	if (msg->msg_namelen >= sizeof(name->v4) && name->sa.sa_family == AF_INET) {
		key->client = addr_from_v4(&name->v4.sin_addr);
		key->port = ntohs(name->v4.sin_port);
	} else if (msg->msg_namelen >= sizeof(name->v6) && name->sa.sa_family == AF_INET6) {
		key->client = addr_from_v6(&name->v6.sin6_addr);
		key->port = ntohs(name->v6.sin6_port);
	}
	read_destination(msg, key);
	return key->port != 0 ? 0 : -EINVAL;
}

static size_t put(union udp_control *control, int level, int type, const void *info, size_t bytes)
{
	control->header.cmsg_len = CMSG_LEN(bytes);
	control->header.cmsg_level = level;
	control->header.cmsg_type = type;
	memcpy(CMSG_DATA(&control->header), info, bytes);
	return CMSG_SPACE(bytes);
}

size_t udp_msg_set_source(union udp_control *control, const struct udp_key *key)
{
	struct in_pktinfo v4 = {.ipi_ifindex = 0};
	struct in6_pktinfo v6 = {.ipi6_ifindex = key->scope};

	if (addr_family(&key->local) == ADDR_V4) {
		memcpy(&v4.ipi_spec_dst, key->local.bytes + 12, sizeof(v4.ipi_spec_dst));
		return put(control, IPPROTO_IP, IP_PKTINFO, &v4, sizeof(v4));
	}
	memcpy(&v6.ipi6_addr, key->local.bytes, sizeof(v6.ipi6_addr));
	return put(control, IPPROTO_IPV6, IPV6_PKTINFO, &v6, sizeof(v6));
}
