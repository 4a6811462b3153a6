/* Owns the question which addresses have connections. Runs in the supervisor.
 *
 *     state     event                next
 *     IPv4      end of the answer    IPv6: asked in turn
 *     IPv6      end of the answer    answered: done()
 *     either    failure              answered: done() with the error
 *
 * The kernel hands out its sockets as fast as they are read, some hundred a piece, so many connections take
 * many turns of the loop and none takes long. Both families are asked for whatever the addresses: a socket of
 * IPv6 may have an IPv4 one. */
#include "steering/connections.h"

#include <errno.h>
#include <event2/event.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"

#define PIECE_BYTES 32768

/* What a packet may still come for. */
#define STATES                                                                                               \
	(1u << TCP_ESTABLISHED | 1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 | 1u << TCP_CLOSE_WAIT |          \
		1u << TCP_LAST_ACK | 1u << TCP_CLOSING)

struct connections_query {
	struct mnl_socket *socket;
	struct event *readable;
	struct addr_set asked;
	bool *used; /* parallel to asked.list */
	unsigned char family;
	void (*done)(void *context, int error, const struct addr_set *used);
	void *context;
};

/* ---- the question ---- */

/* So many addresses the kernel can look for itself, which spares it to tell all the others' sockets. */
#define MOST_CONDITIONS 16
#define CONDITION_BYTES (2 * sizeof(struct inet_diag_bc_op) + sizeof(struct inet_diag_hostcond) + 16)

/* Appends to a filter: a socket that has the address leaves it as one that is meant. */
static unsigned char *put_condition(unsigned char *to, const struct addr *addr)
{
	bool v6 = addr_family(addr) == ADDR_V6;
	uint32_t v4 = v6 ? 0 : htonl(addr_v4_value(addr));
	size_t addr_bytes = v6 ? sizeof(addr->bytes) : sizeof(v4);
	const struct inet_diag_hostcond host = {
		.family = v6 ? AF_INET6 : AF_INET, .prefix_len = (uint8_t)(addr_bytes * 8), .port = -1};
	struct inet_diag_bc_op test = {.code = INET_DIAG_BC_S_COND};
	struct inet_diag_bc_op leave = {.code = INET_DIAG_BC_JMP, .yes = sizeof(leave)};

	test.yes = (unsigned char)(sizeof(test) + sizeof(host) + addr_bytes);
	test.no = (unsigned short)(test.yes + sizeof(leave));
	memcpy(to, &test, sizeof(test));
	memcpy(to + sizeof(test), &host, sizeof(host));
	memcpy(to + sizeof(test) + sizeof(host), v6 ? (const void *)addr->bytes : &v4, addr_bytes);
	memcpy(to + test.yes, &leave, sizeof(leave));
	return to + test.no;
}

/* Sets where a condition leads when it is known where the filter ends: there, or behind it where the last one
 * isn't met, which is the kernel's way to say that a socket isn't meant. Returns the next condition. */
static unsigned char *lead_on(unsigned char *condition, const unsigned char *end)
{
	struct inet_diag_bc_op test, leave;
	unsigned char *next;

	memcpy(&test, condition, sizeof(test));
	memcpy(&leave, condition + test.yes, sizeof(leave));
	next = condition + test.no;
	leave.no = (unsigned short)(end - (condition + test.yes));
	memcpy(condition + test.yes, &leave, sizeof(leave));
	if (next == end)
		test.no = (unsigned short)(test.no + sizeof(test));
	memcpy(condition, &test, sizeof(test));
	return next;
}

static void put_filter(struct nlmsghdr *request, const struct addr_set *asked)
{
	unsigned char filter[MOST_CONDITIONS * CONDITION_BYTES], *end = filter;

	if (asked->count > MOST_CONDITIONS)
		return;
	for (size_t i = 0; i < asked->count; i++)
		end = put_condition(end, &asked->list[i]);
	for (unsigned char *condition = filter; condition < end;)
		condition = lead_on(condition, end);
	mnl_attr_put(request, INET_DIAG_REQ_BYTECODE, (size_t)(end - filter), filter);
}

/* Returns 0 or a negative errno. */
static int ask(struct connections_query *query, unsigned char family)
{
	char buffer[1024] = {0};
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct inet_diag_req_v2 *what;

	query->family = family;
	request->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->nlmsg_seq = family;
	what = mnl_nlmsg_put_extra_header(request, sizeof(*what));
	what->sdiag_family = family;
	what->sdiag_protocol = IPPROTO_TCP;
	what->idiag_states = STATES;
	put_filter(request, &query->asked);
	return mnl_socket_sendto(query->socket, request, request->nlmsg_len) < 0 ? -errno : 0;
}

/* ---- the answer ---- */

static struct addr own_address(const struct inet_diag_msg *socket)
{
	struct addr addr;

	if (socket->idiag_family == AF_INET)
		return addr_v4(ntohl(socket->id.idiag_src[0]));
	/* One for both families says IPv4 addresses as IPv6 maps them, and so does struct addr. */
	memcpy(addr.bytes, socket->id.idiag_src, sizeof(addr.bytes));
	return addr;
}

/* What no process has any more and has said all counts for nothing: it waits for the peer to close. */
static bool is_needed(const struct inet_diag_msg *socket)
{
	return socket->idiag_state != TCP_FIN_WAIT2 || socket->idiag_inode != 0;
}

static int on_socket(const struct nlmsghdr *message, void *context)
{
	struct connections_query *query = context;
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	const struct addr *found;
	struct addr own;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*socket) || !is_needed(socket))
		return MNL_CB_OK;
	own = own_address(socket);
	found = addr_set_find(&query->asked, &own);
	if (found)
		query->used[found - query->asked.list] = true;
	return MNL_CB_OK;
}

/* The query may be gone afterwards. */
static void answer(struct connections_query *query, int error)
{
	struct addr_set used = {.list = mem_calloc(query->asked.count, sizeof(*used.list))};

	for (size_t i = 0; i < query->asked.count; i++) {
		if (query->used[i])
			used.list[used.count++] = query->asked.list[i];
	}
	event_del(query->readable);
	query->done(query->context, error, &used);
	addr_set_fini(&used);
}

static void family_ended(struct connections_query *query, int error)
{
	bool more = error == 0 && query->family == AF_INET;

	/* A kernel without IPv6 has no connections of it. */
	if (query->family == AF_INET6 && error == -ENOENT)
		error = 0;
	if (more)
		error = ask(query, AF_INET6);
	if (!more || error < 0)
		answer(query, error);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct connections_query *query = context;
	char piece[PIECE_BYTES];
	ssize_t got = mnl_socket_recvfrom(query->socket, piece, sizeof(piece));
	int more;

	(void)fd;
	(void)what;
	if (got < 0) {
		if (errno != EAGAIN && errno != EINTR)
			answer(query, -errno);
		return;
	}
	more = mnl_cb_run(
		piece, (size_t)got, query->family, mnl_socket_get_portid(query->socket), on_socket, query);
	if (more != MNL_CB_OK)
		family_ended(query, more < 0 ? -errno : 0);
}

/* ---- life ---- */

static int open_query(struct connections_query *query, struct event_base *base)
{
	query->socket = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!query->socket || mnl_socket_bind(query->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	query->readable =
		event_new(base, mnl_socket_get_fd(query->socket), EV_READ | EV_PERSIST, on_readable, query);
	if (!query->readable || event_add(query->readable, NULL) < 0)
		return -ENOMEM;
	return ask(query, AF_INET);
}

int connections_ask(struct connections_query **query, struct event_base *base,
	const struct addr_set *addresses, void (*done)(void *context, int error, const struct addr_set *used),
	void *context)
{
	struct connections_query *made = mem_calloc(1, sizeof(*made));
	int rc;

	*made = (struct connections_query){
		.asked = addr_set_copy(addresses),
		.used = mem_calloc(addresses->count, sizeof(*made->used)),
		.done = done,
		.context = context,
	};
	rc = open_query(made, base);
	if (rc < 0) {
		connections_query_free(made);
		made = NULL;
	}
	*query = made;
	return rc;
}

void connections_query_free(struct connections_query *query)
{
	if (!query)
		return;
	if (query->readable)
		event_free(query->readable);
	if (query->socket)
		mnl_socket_close(query->socket);
	addr_set_fini(&query->asked);
	free(query->used);
	free(query);
}
