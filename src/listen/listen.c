/* Owns listening sockets: a proxy port, and one socket on it for each relay. Runs in the supervisor.
 *
 * The relays' sockets share the port by SO_REUSEPORT, and so could any other process of the supervisor's
 * user that binds with the same option: each would get a share of the other's traffic, and bind()
 * would tell neither.
 *
 * TCP: a port of the range is therefore probed first by a socket without that option, whose bind() fails
 * where anybody listens on the port in whatever way. (In the gap between the probe and the real bind() it
 * can be lost only to a process of the same user.) Where the kernel picks the port, it picks none that is
 * in use, with that option or without.
 *
 * UDP: where the kernel picks the port, it may well pick one of a sharing socket. So the first socket is
 * bound without the option and gets it only then, which leaves no gap either; SO_REUSEADDR, which for UDP
 * is another way to share, is never set. The kernel spreads by a hash of both addresses and ports, so a
 * client's datagrams always come to the same relay.
 *
 * A portal's own address is bound without a probe: listeners of our own may be on the port at other
 * addresses, or on the same until the Service that had it before is gone.
 */
#include "portald/listen.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

/* A peer that has vanished is found out after 120 s of silence and 6 probes, 20 s apart. */
#define KEEPALIVE_IDLE_S 120
#define KEEPALIVE_INTERVAL_S 20
#define KEEPALIVE_PROBES 6

struct option {
	int level, name, value;
};

/* Set before bind(). Without SO_REUSEADDR a port is blocked for a minute by connections that its last user
 * has closed; it lets nobody bind beside a listening socket. */
static const struct option bind_options[] = {
	{SOL_SOCKET, SO_REUSEADDR, 1},
	{SOL_SOCKET, SO_REUSEPORT, 1},
};

/* Accepted sockets inherit these, which spares the relays a call a connection for each. */
static const struct option inherited_options[] = {
	{IPPROTO_TCP, TCP_NODELAY, 1},
	{SOL_SOCKET, SO_KEEPALIVE, 1},
	{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
	{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
	{IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
};

/* What a socket holds until its relay comes to it: some thousand small datagrams. The kernel takes the
 * second name only from who may administer the network, and cuts the first at net.core.rmem_max and
 * wmem_max. It is a limit, not a reservation. */
#define UDP_BUFFER_BYTES (1024 * 1024)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct option udp_buffer_options[] = {
	{SOL_SOCKET, SO_RCVBUF, UDP_BUFFER_BYTES},
	{SOL_SOCKET, SO_SNDBUF, UDP_BUFFER_BYTES},
	{SOL_SOCKET, SO_RCVBUFFORCE, UDP_BUFFER_BYTES},
	{SOL_SOCKET, SO_SNDBUFFORCE, UDP_BUFFER_BYTES},
};

static int set_options(int fd, const struct option *options, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct option *o = &options[i];

		if (setsockopt(fd, o->level, o->name, &o->value, sizeof(o->value)) < 0)
			return -errno;
	}
	return 0;
}

static int bind_socket(int fd, const struct addr_port *at)
{
	struct sockaddr_storage sa;
	socklen_t sa_len = addr_to_sockaddr(at, &sa);

	return bind(fd, (struct sockaddr *)&sa, sa_len) < 0 ? -errno : 0;
}

/* What the flags ask for, before bind(). */
static int set_flags(int fd, unsigned flags)
{
	static const struct option freebind = {IPPROTO_IP, IP_FREEBIND, 1};
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog drop = {.len = 1, .filter = &none};
	int rc = flags & LISTEN_DIRECT ? set_options(fd, &freebind, 1) : 0;

	if (rc == 0 && (flags & LISTEN_DROP) &&
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &drop, sizeof(drop)) < 0)
		rc = -errno;
	return rc;
}

/* A socket bound to at, with bind_options or, as a probe, with SO_REUSEADDR only. Returns the descriptor
 * or a negative errno. */
static int open_bound(const struct addr_port *at, bool probe, unsigned flags)
{
	const struct option v6_only = {IPPROTO_IPV6, IPV6_V6ONLY, 1};
	int domain = addr_family(&at->addr) == ADDR_V6 ? AF_INET6 : AF_INET;
	int fd = socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return -errno;
	rc = set_options(fd, bind_options, probe ? 1 : COUNT(bind_options));
	if (rc == 0 && domain == AF_INET6)
		rc = set_options(fd, &v6_only, 1);
	if (rc == 0)
		rc = set_flags(fd, flags);
	if (rc == 0)
		rc = bind_socket(fd, at);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

static int probe_port(const struct addr_port *at)
{
	int fd = open_bound(at, true, 0);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* Which port the kernel has given. */
static int learn_port(int fd, uint16_t *port)
{
	struct sockaddr_storage sa;
	socklen_t sa_len = sizeof(sa);
	struct addr_port at;
	int rc;

	if (getsockname(fd, (struct sockaddr *)&sa, &sa_len) < 0)
		return -errno;
	rc = addr_from_sockaddr(&at, (struct sockaddr *)&sa);
	if (rc == 0)
		*port = at.port;
	return rc;
}

static int open_tcp(struct listen_socket *out)
{
	int fd = open_bound(&out->at, false, out->flags);

	if (fd < 0)
		return fd;
	out->fds[out->relay_count++] = fd;
	return set_options(fd, inherited_options, COUNT(inherited_options));
}

/* A datagram to any address shall tell to which it came, so that the answer leaves from there. */
static int set_udp_options(int fd, const struct addr *bind_addr)
{
	const struct option v4 = {IPPROTO_IP, IP_PKTINFO, 1}, v6 = {IPPROTO_IPV6, IPV6_RECVPKTINFO, 1};

	for (size_t i = 0; i < COUNT(udp_buffer_options); i++)
		set_options(fd, &udp_buffer_options[i], 1);
	if (!addr_is_any(bind_addr))
		return 0;
	return set_options(fd, addr_family(bind_addr) == ADDR_V4 ? &v4 : &v6, 1);
}

static int open_udp(struct listen_socket *out)
{
	const struct option v6_only = {IPPROTO_IPV6, IPV6_V6ONLY, 1}, share = {SOL_SOCKET, SO_REUSEPORT, 1};
	int domain = addr_family(&out->at.addr) == ADDR_V6 ? AF_INET6 : AF_INET;
	int fd = socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool alone = out->relay_count == 0 && !(out->flags & LISTEN_DIRECT);
	int rc = 0;

	if (fd < 0)
		return -errno;
	out->fds[out->relay_count++] = fd;
	if (domain == AF_INET6)
		rc = set_options(fd, &v6_only, 1);
	if (rc == 0)
		rc = set_flags(fd, out->flags);
	if (rc == 0 && !alone)
		rc = set_options(fd, &share, 1);
	if (rc == 0)
		rc = bind_socket(fd, &out->at);
	if (rc == 0 && alone)
		rc = set_options(fd, &share, 1);
	return rc == 0 ? set_udp_options(fd, &out->at.addr) : rc;
}

static int open_socket(struct listen_socket *out, enum proto proto)
{
	int rc = proto == PROTO_UDP ? open_udp(out) : open_tcp(out);

	/* The others join the port that the first one was given. */
	if (rc == 0 && out->at.port == 0)
		rc = learn_port(out->fds[0], &out->at.port);
	return rc;
}

/* Opens all sockets on one port. They listen only once all are bound, so that a port that is given up
 * again has not taken a connection. */
static int open_all(struct listen_socket *out, enum proto proto, const struct addr_port *at, unsigned flags,
	size_t relay_count)
{
	int rc = 0;

	*out = (struct listen_socket){.at = *at, .flags = flags};
	while (rc == 0 && out->relay_count < relay_count)
		rc = open_socket(out, proto);
	for (size_t i = 0; rc == 0 && proto == PROTO_TCP && i < relay_count; i++) {
		if (listen(out->fds[i], SOMAXCONN) < 0)
			rc = -errno;
	}
	if (rc < 0)
		listen_close(out);
	return rc;
}

/* Goes through the range once, from a place that seed picks, and wraps. */
static int open_in_range(struct listen_socket *out, enum proto proto, const struct addr *bind_addr,
	const struct listen_range *range, size_t relay_count, uint32_t seed)
{
	uint32_t size = (uint32_t)range->last - range->first + 1;
	int rc = -EADDRINUSE;

	for (uint32_t i = 0; i < size && rc == -EADDRINUSE; i++) {
		struct addr_port at = {
			.addr = *bind_addr, .port = (uint16_t)(range->first + (seed % size + i) % size)};

		rc = proto == PROTO_TCP ? probe_port(&at) : 0;
		if (rc == 0)
			rc = open_all(out, proto, &at, 0, relay_count);
	}
	return rc;
}

int listen_open(struct listen_socket *out, enum proto proto, const struct addr *bind_addr,
	const struct listen_range *range, size_t relay_count, uint32_t seed)
{
	*out = (struct listen_socket){.relay_count = 0};
	if (proto != PROTO_TCP && proto != PROTO_UDP)
		return -EPROTONOSUPPORT;
	if (relay_count == 0 || relay_count > LISTEN_MAX_RELAYS || range->last < range->first)
		return -EINVAL;
	if (range->first == 0)
		return open_all(out, proto, &(struct addr_port){.addr = *bind_addr}, 0, relay_count);
	return open_in_range(out, proto, bind_addr, range, relay_count, seed);
}

int listen_bind(struct listen_socket *out, enum proto proto, const struct addr_port *at, unsigned flags,
	size_t relay_count)
{
	*out = (struct listen_socket){.relay_count = 0};
	if (proto != PROTO_TCP && proto != PROTO_UDP)
		return -EPROTONOSUPPORT;
	if (relay_count == 0 || relay_count > LISTEN_MAX_RELAYS || at->port == 0)
		return -EINVAL;
	return open_all(out, proto, at, flags | LISTEN_DIRECT, flags & LISTEN_DROP ? 1 : relay_count);
}

static bool is_of(int fd, enum proto proto)
{
	int type = 0;
	socklen_t length = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
	       type == (proto == PROTO_UDP ? SOCK_DGRAM : SOCK_STREAM);
}

int listen_adopt(
	struct listen_socket *out, enum proto proto, unsigned flags, const int *fds, size_t relay_count)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	int first = -1;

	if (relay_count == 0 || relay_count > LISTEN_MAX_RELAYS)
		return -EINVAL;
	*out = (struct listen_socket){.flags = flags, .relay_count = relay_count};
	for (size_t i = 0; i < relay_count; i++) {
		out->fds[i] = fds[i];
		if (fds[i] >= 0 && !is_of(fds[i], proto))
			return -EINVAL;
		if (first < 0)
			first = fds[i];
	}
	if (getsockname(first, (struct sockaddr *)&sa, &length) < 0)
		return -errno;
	return addr_from_sockaddr(&out->at, (struct sockaddr *)&sa);
}

void listen_leave_to(struct listen_socket *socket, size_t relay, size_t relay_count)
{
	int fd = socket->fds[0];

	socket->relay_count = relay_count;
	for (size_t i = 0; i < relay_count; i++)
		socket->fds[i] = i == relay ? fd : -1;
}

size_t listen_socket_count(const struct listen_socket *socket)
{
	size_t count = 0;

	for (size_t i = 0; i < socket->relay_count; i++)
		count += socket->fds[i] >= 0;
	return count;
}

void listen_close(struct listen_socket *socket)
{
	for (size_t i = 0; i < socket->relay_count; i++) {
		if (socket->fds[i] >= 0)
			close(socket->fds[i]);
	}
	socket->relay_count = 0;
}
