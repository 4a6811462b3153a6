/* Owns the removal of stale conntrack entries. Runs in the supervisor.
 *
 *     state     event                    next
 *     idle      update(), other rules    due
 *     idle      update(), the same       idle
 *     due       update()                 due
 *     due       timer                    reading: the kernel is asked for all entries
 *     reading   a piece of the answer    reading: stale ones among it are removed
 *     reading   update()                 reading; the newest rules wait
 *     reading   the end                  idle, or reading again if rules wait
 *     reading   failure                  idle (logged); what was to be forgotten is remembered
 *
 * The kernel hands out its table as fast as it is read, a few hundred entries a piece, so a large table takes
 * many turns of the loop and none takes long. But the first piece may take milliseconds, since the kernel
 * goes through an empty table at once: that is why a reading begins in a turn of its own, when whoever waits
 * for the rules knows already that they are in force. */
#include "steering/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <stdlib.h>
#include <string.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "steering/rules.h"

#define PIECE_BYTES 65536

struct conntrack {
	struct mnl_socket *reader; /* the answer comes here */
	struct mnl_socket *remover;
	struct event *readable;
	struct event *due;
	unsigned sequence;
	struct steering_rules *now;     /* the newest in force; NULL: none yet */
	struct steering_rules *reading; /* those that are being gone by; NULL: idle */
	struct conntrack_index *index;
	struct addr *own;
	struct steering_rule *past; /* UDP rules since the last whole reading; their keys are not kept */
	size_t past_count, past_capacity;
	size_t past_read; /* how many of them the reading knows */
	size_t removed;
	bool again;
};

/* ---- the past ---- */

static void remember(struct conntrack *conntrack, const struct steering_rules *rules)
{
	for (size_t i = 0; rules && i < rules->count; i++) {
		struct steering_rule *rule;

		if (rules->rules[i].proto != PROTO_UDP)
			continue;
		conntrack->past = mem_grow(conntrack->past, conntrack->past_count, &conntrack->past_capacity,
			sizeof(*conntrack->past));
		rule = &conntrack->past[conntrack->past_count++];
		*rule = rules->rules[i];
		rule->key = NULL;
	}
}

static void forget(struct conntrack *conntrack)
{
	if (conntrack->past_read == 0)
		return;
	conntrack->past_count -= conntrack->past_read;
	memmove(conntrack->past, conntrack->past + conntrack->past_read,
		conntrack->past_count * sizeof(*conntrack->past));
}

static bool same_rule(const struct steering_rule *a, const struct steering_rule *b)
{
	return a->proto == b->proto && a->action == b->action && a->proxy_port == b->proxy_port &&
	       a->portal.kind == b->portal.kind && a->portal.scope == b->portal.scope &&
	       addr_port_equal(&a->portal.at, &b->portal.at);
}

static bool same_rules(const struct steering_rules *a, const struct steering_rules *b)
{
	if (!a || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (!same_rule(&a->rules[i], &b->rules[i]))
			return false;
	}
	return true;
}

/* ---- entries ---- */

static struct addr_port entry_at(const struct nf_conntrack *entry, enum nf_conntrack_attr v4,
	enum nf_conntrack_attr v6, enum nf_conntrack_attr port)
{
	struct addr_port at = {.port = ntohs(nfct_get_attr_u16(entry, port))};

	if (nfct_get_attr_u8(entry, ATTR_ORIG_L3PROTO) == AF_INET6)
		memcpy(at.addr.bytes, nfct_get_attr(entry, v6), sizeof(at.addr.bytes));
	else
		at.addr = addr_v4(ntohl(nfct_get_attr_u32(entry, v4)));
	return at;
}

/* False if it is of another protocol than those of portals. */
static bool entry_flow(struct conntrack_flow *flow, const struct nf_conntrack *entry)
{
	uint8_t protocol = nfct_get_attr_u8(entry, ATTR_ORIG_L4PROTO);
	struct addr_port server;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return false;
	server = entry_at(entry, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC, ATTR_REPL_PORT_SRC);
	*flow = (struct conntrack_flow){
		.proto = protocol == IPPROTO_TCP ? PROTO_TCP : PROTO_UDP,
		.from = entry_at(entry, ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV6_SRC, ATTR_ORIG_PORT_SRC),
		.to = entry_at(entry, ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST, ATTR_ORIG_PORT_DST),
		.attempt = !(nfct_get_attr_u32(entry, ATTR_STATUS) & IPS_SEEN_REPLY) &&
			   nfct_get_attr_u8(entry, ATTR_TCP_STATE) == TCP_CONNTRACK_SYN_SENT,
	};
	flow->translated = !addr_port_equal(&flow->to, &server);
	flow->proxy_port = server.port;
	return true;
}

static struct nlmsghdr *request_init(void *buffer, uint8_t family, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;

	request->nlmsg_type = (uint16_t)((NFNL_SUBSYS_CTNETLINK << 8) | type);
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->nfgen_family = family;
	header->version = NFNETLINK_V0;
	return request;
}

static void remove_entry(struct conntrack *conntrack, const struct nf_conntrack *entry)
{
	char buffer[1024] = {0};
	struct nlmsghdr *request =
		request_init(buffer, nfct_get_attr_u8(entry, ATTR_ORIG_L3PROTO), IPCTNL_MSG_CT_DELETE, 0);
	struct nf_conntrack *named = nfct_new();

	if (!named)
		return;
	nfct_copy(named, entry, NFCT_CP_ORIG);
	if (nfct_attr_is_set(entry, ATTR_ZONE))
		nfct_set_attr_u16(named, ATTR_ZONE, nfct_get_attr_u16(entry, ATTR_ZONE));
	nfct_nlmsg_build(request, named);
	nfct_destroy(named);
	/* Not a successor of it, which has met the rules already. */
	if (nfct_attr_is_set(entry, ATTR_ID))
		mnl_attr_put_u32(request, CTA_ID, htonl(nfct_get_attr_u32(entry, ATTR_ID)));
	/* One that is gone by itself is as good. */
	if (mnl_socket_sendto(conntrack->remover, request, request->nlmsg_len) > 0)
		conntrack->removed++;
}

static int on_entry(const struct nlmsghdr *message, void *context)
{
	struct conntrack *conntrack = context;
	struct nf_conntrack *entry = nfct_new();
	struct conntrack_flow flow;

	if (!entry)
		return MNL_CB_ERROR;
	if (nfct_nlmsg_parse(message, entry) == 0 && entry_flow(&flow, entry) &&
		conntrack_is_stale(conntrack->index, &flow))
		remove_entry(conntrack, entry);
	nfct_destroy(entry);
	return MNL_CB_OK;
}

/* ---- a reading ---- */

/* The kernel answers what it could not remove, mostly what was gone: nobody needs to know, but the socket
 * must not fill. */
static void drain(struct conntrack *conntrack)
{
	char ignored[4096];

	while (mnl_socket_recvfrom(conntrack->remover, ignored, sizeof(ignored)) > 0 || errno == ENOBUFS)
		;
}

static void start_reading(struct conntrack *conntrack);

static void end_reading(struct conntrack *conntrack, int error)
{
	drain(conntrack);
	event_del(conntrack->readable);
	conntrack_index_free(conntrack->index);
	rules_unref(conntrack->reading);
	free(conntrack->own);
	conntrack->index = NULL;
	conntrack->reading = NULL;
	conntrack->own = NULL;
	if (error < 0)
		log_warning("cannot remove stale conntrack entries", log_errno("error", -error));
	else
		forget(conntrack);
	if (conntrack->removed > 0)
		log_v(1, "stale conntrack entries removed", log_int("count", (int64_t)conntrack->removed));
	if (conntrack->again)
		start_reading(conntrack);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct conntrack *conntrack = context;
	char piece[PIECE_BYTES];
	ssize_t got = mnl_socket_recvfrom(conntrack->reader, piece, sizeof(piece));
	int more;

	(void)fd;
	(void)what;
	if (got < 0) {
		if (errno != EAGAIN && errno != EINTR)
			end_reading(conntrack, -errno);
		return;
	}
	more = mnl_cb_run(piece, (size_t)got, conntrack->sequence, mnl_socket_get_portid(conntrack->reader),
		on_entry, conntrack);
	if (more != MNL_CB_OK)
		end_reading(conntrack, more < 0 ? -errno : 0);
}

static void start_reading(struct conntrack *conntrack)
{
	char buffer[256] = {0};
	struct nlmsghdr *request = request_init(buffer, AF_UNSPEC, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
	size_t own_count = 0;
	int rc = addr_list_own(&conntrack->own, &own_count);

	conntrack->again = false;
	conntrack->removed = 0;
	conntrack->reading = rules_ref(conntrack->now);
	conntrack->past_read = conntrack->past_count;
	conntrack->index = conntrack_index_new(
		conntrack->reading, conntrack->past, conntrack->past_count, conntrack->own, own_count);
	request->nlmsg_seq = ++conntrack->sequence;
	event_add(conntrack->readable, NULL);
	if (rc == 0 && mnl_socket_sendto(conntrack->reader, request, request->nlmsg_len) < 0)
		rc = -errno;
	if (rc < 0)
		end_reading(conntrack, rc);
}

static void on_due(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	start_reading(context);
}

/* ---- life ---- */

static struct mnl_socket *open_socket(void)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (socket && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0)
		return socket;
	if (socket)
		mnl_socket_close(socket);
	return NULL;
}

struct conntrack *conntrack_new(struct event_base *base)
{
	struct conntrack *conntrack = mem_calloc(1, sizeof(*conntrack));

	conntrack->reader = open_socket();
	conntrack->remover = open_socket();
	if (conntrack->reader && conntrack->remover)
		conntrack->readable = event_new(base, mnl_socket_get_fd(conntrack->reader),
			EV_READ | EV_PERSIST, on_readable, conntrack);
	conntrack->due = evtimer_new(base, on_due, conntrack);
	if (conntrack->readable && conntrack->due)
		return conntrack;
	log_warning(
		"cannot reach the kernel's connection tracking: UDP clients may meet rules of the past for a "
		"while",
		log_errno("error", errno));
	conntrack_free(conntrack);
	return NULL;
}

void conntrack_free(struct conntrack *conntrack)
{
	if (!conntrack)
		return;
	if (conntrack->readable)
		event_free(conntrack->readable);
	if (conntrack->due)
		event_free(conntrack->due);
	if (conntrack->reader)
		mnl_socket_close(conntrack->reader);
	if (conntrack->remover)
		mnl_socket_close(conntrack->remover);
	conntrack_index_free(conntrack->index);
	rules_unref(conntrack->now);
	rules_unref(conntrack->reading);
	free(conntrack->own);
	free(conntrack->past);
	free(conntrack);
}

void conntrack_update(struct conntrack *conntrack, struct steering_rules *rules)
{
	if (same_rules(conntrack->now, rules))
		return;
	remember(conntrack, conntrack->now);
	rules_unref(conntrack->now);
	conntrack->now = rules_ref(rules);
	if (conntrack->reading)
		conntrack->again = true;
	else
		evtimer_add(conntrack->due, &(struct timeval){0});
}

bool conntrack_is_busy(const struct conntrack *conntrack)
{
	return conntrack->reading || evtimer_pending(conntrack->due, NULL);
}
