/* Owns our routes. Runs in the supervisor.
 *
 * A connect() looks up a route before a packet reaches OUTPUT, so on a host without a default route (an
 * offline laptop, a bare namespace) a ClusterIP is unreachable though a rule would redirect it. Such an
 * address gets a route of its own to lo, with 127.0.0.1 as source: enough to get as far as OUTPUT. For IPv6
 * the kernel turns a plain route to lo into one that refuses, so there it is a local route, with ::1 as
 * source; it makes the ClusterIP's other ports answer as the host's own address would. Where there is a route
 * already, nothing is done.
 *
 * The back end without netfilter makes all addresses of portals the host's own: by local routes as well, but
 * in the table in which the kernel keeps those of its interfaces' addresses, which comes before all others.
 *
 * Ours are known by their protocol number, so that they can be found and removed by a later process. */
#include "steering/route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "portald/log.h"
#include "portald/mem.h"

#define REPLY_BYTES 32768

struct router {
	struct mnl_socket *socket;
	unsigned sequence;
	unsigned char table; /* RT_TABLE_MAIN or RT_TABLE_LOCAL */
	unsigned loopback;   /* the interface */
	size_t changes;      /* made so far */
	struct addr *ours;   /* destinations of our routes, sorted */
	size_t our_count, our_capacity;
};

/* ---- talking to the kernel ---- */

static int router_open(struct router *router, unsigned char table)
{
	int strict = 1;

	*router = (struct router){.socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC),
		.table = table,
		.loopback = if_nametoindex("lo")};
	if (!router->socket)
		return -errno;
	if (mnl_socket_bind(router->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	/* Lets the kernel pick out our routes from a large table; an old kernel sends all, which is fine. */
	mnl_socket_setsockopt(router->socket, NETLINK_GET_STRICT_CHK, &strict, sizeof(strict));
	return 0;
}

static void router_close(struct router *router)
{
	if (router->socket)
		mnl_socket_close(router->socket);
	free(router->ours);
}

/* The length of a prefix that is one address. */
static unsigned char whole_bits(enum addr_family family)
{
	return family == ADDR_V6 ? 128 : 32;
}

static struct rtmsg *request_init(
	struct nlmsghdr *request, enum addr_family family, uint16_t type, uint16_t flags)
{
	struct rtmsg *route;

	mnl_nlmsg_put_header(request);
	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	route = mnl_nlmsg_put_extra_header(request, sizeof(*route));
	route->rtm_family = family == ADDR_V6 ? AF_INET6 : AF_INET;
	return route;
}

static void put_addr(struct nlmsghdr *request, uint16_t attribute, const struct addr *addr)
{
	if (addr_family(addr) == ADDR_V6)
		mnl_attr_put(request, attribute, sizeof(addr->bytes), addr->bytes);
	else
		mnl_attr_put_u32(request, attribute, htonl(addr_v4_value(addr)));
}

/* The address in an attribute; the "any" one if its length is wrong. */
static struct addr get_addr(const struct nlattr *attribute, enum addr_family family)
{
	struct addr addr = addr_any(family);
	bool right = mnl_attr_get_payload_len(attribute) == whole_bits(family) / 8;

	if (right && family == ADDR_V6)
		memcpy(addr.bytes, mnl_attr_get_payload(attribute), sizeof(addr.bytes));
	else if (right)
		addr = addr_v4(ntohl(mnl_attr_get_u32(attribute)));
	return addr;
}

/* Sends the request and reads the answer to its end. Returns 0 or the kernel's negative errno. */
static int ask(struct router *router, struct nlmsghdr *request, mnl_cb_t answer)
{
	unsigned port = mnl_socket_get_portid(router->socket);
	char reply[REPLY_BYTES];
	int more = MNL_CB_OK;

	request->nlmsg_seq = ++router->sequence;
	if (mnl_socket_sendto(router->socket, request, request->nlmsg_len) < 0)
		return -errno;
	while (more == MNL_CB_OK) {
		ssize_t got = mnl_socket_recvfrom(router->socket, reply, sizeof(reply));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		more = mnl_cb_run(reply, (size_t)got, router->sequence, port, answer, router);
	}
	return more < 0 ? -errno : 0;
}

/* ---- our routes ---- */

static int on_route(const struct nlmsghdr *message, void *context)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct router *router = context;
	enum addr_family family = route->rtm_family == AF_INET6 ? ADDR_V6 : ADDR_V4;
	const struct nlattr *attribute;

	if (route->rtm_protocol != ROUTE_PROTOCOL || route->rtm_table != router->table ||
		route->rtm_dst_len != whole_bits(family))
		return MNL_CB_OK;
	mnl_attr_for_each(attribute, message, sizeof(*route))
	{
		if (mnl_attr_get_type(attribute) != RTA_DST)
			continue;
		router->ours = mem_grow(
			router->ours, router->our_count, &router->our_capacity, sizeof(*router->ours));
		router->ours[router->our_count++] = get_addr(attribute, family);
	}
	return MNL_CB_OK;
}

static int addrs_cmp(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static int load_family(struct router *router, enum addr_family family)
{
	char buffer[256] = {0};
	struct nlmsghdr *request = (struct nlmsghdr *)buffer;
	struct rtmsg *route = request_init(request, family, RTM_GETROUTE, NLM_F_DUMP);
	int rc;

	route->rtm_table = router->table;
	route->rtm_protocol = ROUTE_PROTOCOL;
	rc = ask(router, request, on_route);
	/* A kernel without IPv6 has no routes of ours. */
	return rc == -EOPNOTSUPP || rc == -EAFNOSUPPORT ? 0 : rc;
}

static int load_ours(struct router *router)
{
	int v4 = load_family(router, ADDR_V4), v6 = load_family(router, ADDR_V6);

	if (router->our_count > 0)
		qsort(router->ours, router->our_count, sizeof(*router->ours), addrs_cmp);
	return v4 < 0 ? v4 : v6;
}

static int change_route(struct router *router, const struct addr *to, uint16_t type, uint16_t flags)
{
	char buffer[256] = {0};
	struct nlmsghdr *request = (struct nlmsghdr *)buffer;
	enum addr_family family = addr_family(to);
	struct rtmsg *route = request_init(request, family, type, NLM_F_ACK | flags);
	struct addr loopback = addr_loopback(family);
	bool local = family == ADDR_V6 || router->table == RT_TABLE_LOCAL;

	route->rtm_dst_len = whole_bits(family);
	route->rtm_table = router->table;
	route->rtm_protocol = ROUTE_PROTOCOL;
	route->rtm_scope = RT_SCOPE_HOST;
	route->rtm_type = local ? RTN_LOCAL : RTN_UNICAST;
	put_addr(request, RTA_DST, to);
	mnl_attr_put_u32(request, RTA_OIF, router->loopback);
	/* One that somebody has altered goes as well. */
	if (type == RTM_NEWROUTE)
		put_addr(request, RTA_PREFSRC, &loopback);
	return ask(router, request, NULL);
}

static int add_route(struct router *router, const struct addr *to)
{
	int rc = change_route(router, to, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);

	router->changes += rc == 0;
	return rc == -EEXIST ? 0 : rc;
}

static int remove_route(struct router *router, const struct addr *to)
{
	int rc = change_route(router, to, RTM_DELROUTE, 0);

	router->changes += rc == 0;
	return rc == -ESRCH ? 0 : rc;
}

/* The answer to a single question has no end mark. */
static int on_lookup(const struct nlmsghdr *message, void *context)
{
	(void)message;
	(void)context;
	return MNL_CB_STOP;
}

/* True if the host has no route to it at all. A route that refuses ("unreachable 10.96.0.0/12") is somebody's
 * decision and counts as one. */
static bool is_unreachable(struct router *router, const struct addr *to)
{
	char buffer[256] = {0};
	struct nlmsghdr *request = (struct nlmsghdr *)buffer;
	struct rtmsg *route = request_init(request, addr_family(to), RTM_GETROUTE, 0);

	route->rtm_dst_len = whole_bits(addr_family(to));
	put_addr(request, RTA_DST, to);
	return ask(router, request, on_lookup) == -ENETUNREACH;
}

/* ---- the comparison ---- */

static int keep_first(int first, int rc)
{
	return first < 0 ? first : rc;
}

/* What is in the local table is not asked for: the host's own route may be there too, and goes first. */
static bool needs_route(struct router *router, const struct addr *to)
{
	return router->table == RT_TABLE_LOCAL || is_unreachable(router, to);
}

/* From router->ours to what is wanted; both are sorted. */
static int change_routes(struct router *router, const struct addr *wanted, size_t count)
{
	size_t o = 0, w = 0;
	int rc = 0;

	while (o < router->our_count || w < count) {
		int order = o == router->our_count ? 1
			    : w == count           ? -1
						   : addr_cmp(&router->ours[o], &wanted[w]);

		if (order < 0)
			rc = keep_first(rc, remove_route(router, &router->ours[o]));
		else if (order > 0 && needs_route(router, &wanted[w]))
			rc = keep_first(rc, add_route(router, &wanted[w]));
		o += order <= 0;
		w += order >= 0;
	}
	return rc;
}

int route_sync(const struct addr *wanted, size_t count)
{
	struct router router;
	int rc = router_open(&router, RT_TABLE_MAIN);

	if (rc == 0)
		rc = load_ours(&router);
	if (rc == 0)
		rc = change_routes(&router, wanted, count);
	router_close(&router);
	return rc;
}

int route_local_load(struct addr **routes, size_t *count)
{
	struct router router;
	int rc = router_open(&router, RT_TABLE_LOCAL);

	if (rc == 0)
		rc = load_ours(&router);
	*routes = router.ours;
	*count = router.our_count;
	router.ours = NULL;
	router_close(&router);
	return rc;
}

/* From what is known, without asking the kernel for it. */
static int change_from(struct router *router, const struct addr *was, size_t was_count,
	const struct addr *wanted, size_t count)
{
	if (was_count > 0)
		router->ours = memcpy(mem_calloc(was_count, sizeof(*was)), was, was_count * sizeof(*was));
	router->our_count = was_count;
	return change_routes(router, wanted, count);
}

int route_change(const struct addr *was, size_t was_count, const struct addr *wanted, size_t count)
{
	struct router router;
	int rc = router_open(&router, RT_TABLE_MAIN);

	/* Some had another route than ours: there is nothing to be removed then, which is no failure. */
	if (rc == 0)
		rc = change_from(&router, was, was_count, wanted, count);
	router_close(&router);
	return rc;
}

int route_local_change(
	const struct addr *was, size_t was_count, const struct addr *wanted, size_t count, size_t *changes)
{
	struct router router;
	int rc = router_open(&router, RT_TABLE_LOCAL);

	if (rc == 0)
		rc = change_from(&router, was, was_count, wanted, count);
	*changes = router.changes;
	router_close(&router);
	return rc;
}
