/* Listening sockets on loopback. Each run has an address of its own in 127.0.0.0/8, so that tests that run
 * at the same time do not meet. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "portald/listen.h"

#define RELAYS 4

static const struct listen_range any_port = {0, 0};

static struct addr own_addr(void)
{
	return addr_v4(0x7f010001u + ((uint32_t)getpid() & 0xffff) * 4);
}

static size_t open_fd_count(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static int int_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &length), 0);
	return value;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	struct addr_port at;

	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_int_equal(addr_from_sockaddr(&at, (struct sockaddr *)&sa), 0);
	return at.port;
}

/* A socket of somebody else on the port, sharing or not. Returns -1 if the port is taken. */
static int occupy(uint16_t port, int reuse_port)
{
	struct addr_port at = {.addr = own_addr(), .port = port};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuse_port, sizeof(int)), 0);
	if (bind(fd, (struct sockaddr *)&sa, length) == 0 && listen(fd, 1) == 0)
		return fd;
	close(fd);
	return -1;
}

static int connect_to(const struct addr_port *at)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(at, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sa, length), 0);
	return fd;
}

/* Accepts on whichever socket the connection has come to. */
static int accept_any(const struct listen_socket *listener)
{
	struct pollfd polls[LISTEN_MAX_RELAYS];

	for (size_t i = 0; i < listener->relay_count; i++)
		polls[i] = (struct pollfd){.fd = listener->fds[i], .events = POLLIN};
	assert_int_equal(poll(polls, listener->relay_count, 5000), 1);
	for (size_t i = 0; i < listener->relay_count; i++) {
		if (polls[i].revents)
			return accept(listener->fds[i], NULL, NULL);
	}
	return -1;
}

/* The first of count ports in a row that nobody listens on. */
static uint16_t free_ports(uint16_t count)
{
	for (uint16_t first = 20000; first < 30000; first += count) {
		uint16_t i = 0;

		while (i < count) {
			int fd = occupy((uint16_t)(first + i), 0);

			if (fd < 0)
				break;
			close(fd);
			i++;
		}
		if (i == count)
			return first;
	}
	fail_msg("no free ports on loopback");
	return 0;
}

static void test_all_sockets_share_one_port(void **state)
{
	struct addr addr = own_addr();
	struct listen_socket listener;

	(void)state;
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &any_port, RELAYS, 0), 0);
	assert_int_equal(listener.relay_count, RELAYS);
	assert_true(listener.at.port != 0 && addr_equal(&listener.at.addr, &addr));
	for (size_t i = 0; i < RELAYS; i++) {
		assert_int_equal(port_of(listener.fds[i]), listener.at.port);
		assert_int_equal(int_option(listener.fds[i], SOL_SOCKET, SO_ACCEPTCONN), 1);
		assert_true(fcntl(listener.fds[i], F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(listener.fds[i], F_GETFL) & O_NONBLOCK);
	}
	listen_close(&listener);
}

static void test_connections_are_spread_over_the_sockets(void **state)
{
	struct addr addr = own_addr();
	struct listen_socket listener;
	size_t got[2] = {0};

	(void)state;
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &any_port, 2, 0), 0);
	for (int i = 0; i < 64; i++)
		close(connect_to(&listener.at));
	for (size_t i = 0; i < 2; i++) {
		int fd;

		while ((fd = accept(listener.fds[i], NULL, NULL)) >= 0) {
			got[i]++;
			close(fd);
		}
	}
	/* None is lost, and 1 in 2^63 runs fails for bad luck. */
	assert_int_equal(got[0] + got[1], 64);
	assert_true(got[0] > 0 && got[1] > 0);
	listen_close(&listener);
}

static void test_accepted_sockets_inherit_the_options(void **state)
{
	struct addr addr = own_addr();
	struct listen_socket listener;
	int client, accepted;

	(void)state;
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &any_port, 2, 0), 0);
	client = connect_to(&listener.at);
	accepted = accept_any(&listener);
	assert_true(accepted >= 0);
	assert_int_equal(int_option(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(int_option(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(int_option(accepted, IPPROTO_TCP, TCP_KEEPIDLE), 120);
	close(accepted);
	close(client);
	listen_close(&listener);
}

static void test_port_of_the_range_is_used(void **state)
{
	struct addr addr = own_addr();
	uint16_t first = free_ports(4);
	struct listen_range range = {first, (uint16_t)(first + 3)};
	struct listen_socket listeners[4];

	(void)state;
	/* The seed says where the search begins; four listeners fill the range. */
	assert_int_equal(listen_open(&listeners[0], PROTO_TCP, &addr, &range, RELAYS, 4 * 1000 + 2), 0);
	assert_int_equal(listeners[0].at.port, first + 2);
	for (size_t i = 1; i < 4; i++)
		assert_int_equal(listen_open(&listeners[i], PROTO_TCP, &addr, &range, RELAYS, 2), 0);
	/* 3 follows 2; then the search wraps. */
	assert_int_equal(listeners[1].at.port, first + 3);
	assert_int_equal(listeners[2].at.port, first);
	assert_int_equal(listeners[3].at.port, first + 1);
	for (size_t i = 0; i < 4; i++)
		listen_close(&listeners[i]);
}

static void test_full_range_is_told(void **state)
{
	struct addr addr = own_addr();
	uint16_t port = free_ports(1);
	struct listen_range range = {port, port};
	size_t before = open_fd_count();
	struct listen_socket listener;
	int other = occupy(port, 0);

	(void)state;
	assert_true(other >= 0);
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &range, RELAYS, 7), -EADDRINUSE);
	assert_int_equal(listener.relay_count, 0);
	close(other);
	assert_int_equal(open_fd_count(), before);
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &range, RELAYS, 7), 0);
	assert_int_equal(listener.at.port, port);
	listen_close(&listener);
	assert_int_equal(open_fd_count(), before);
}

/* Otherwise each would get connections of the other. */
static void test_port_is_not_shared_with_a_stranger(void **state)
{
	struct addr addr = own_addr();
	uint16_t port = free_ports(1);
	struct listen_range range = {port, port};
	struct listen_socket listener;
	int other = occupy(port, 1);

	(void)state;
	assert_true(other >= 0);
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &range, RELAYS, 0), -EADDRINUSE);
	close(other);
}

/* A port whose connections wait in TIME_WAIT can be opened again: a restart keeps its range. */
static void test_port_is_free_again_after_use(void **state)
{
	struct addr addr = own_addr();
	uint16_t port = free_ports(1);
	struct listen_range range = {port, port};
	struct listen_socket listener;
	int client, accepted;

	(void)state;
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &range, 2, 0), 0);
	client = connect_to(&listener.at);
	accepted = accept_any(&listener);
	/* The side that closes first waits. */
	close(accepted);
	close(client);
	listen_close(&listener);
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &range, 2, 0), 0);
	listen_close(&listener);
}

static void test_failure_leaves_nothing_open(void **state)
{
	struct addr addr = own_addr();
	size_t before = open_fd_count();
	struct listen_socket listener;
	struct rlimit old, low;
	int free_fd = dup(0), rc;

	(void)state;
	close(free_fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){.rlim_cur = (rlim_t)free_fd + 2, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	rc = listen_open(&listener, PROTO_TCP, &addr, &any_port, RELAYS, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(rc, -EMFILE);
	assert_int_equal(listener.relay_count, 0);
	assert_int_equal(open_fd_count(), before);
}

static void test_address_that_is_not_ours_is_told(void **state)
{
	struct listen_socket listener;
	struct addr addr;

	(void)state;
	/* TEST-NET-1: nobody's. */
	assert_int_equal(addr_parse(&addr, "192.0.2.1"), 0);
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &any_port, 1, 0), -EADDRNOTAVAIL);
}

static void test_ipv6_socket_takes_ipv6_only(void **state)
{
	struct listen_socket listener;
	struct addr addr;
	int rc;

	(void)state;
	assert_int_equal(addr_parse(&addr, "::1"), 0);
	rc = listen_open(&listener, PROTO_TCP, &addr, &any_port, 2, 0);
	/* A machine without IPv6. */
	if (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT)
		skip();
	assert_int_equal(rc, 0);
	assert_int_equal(int_option(listener.fds[0], IPPROTO_IPV6, IPV6_V6ONLY), 1);
	assert_int_equal(port_of(listener.fds[0]), port_of(listener.fds[1]));
	listen_close(&listener);
}

/* ---- UDP ---- */

/* A socket of somebody else on the port, sharing or not. Returns -1 if the port is taken. */
static int occupy_udp(uint16_t port, int option)
{
	struct addr_port at = {.addr = own_addr(), .port = port};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;

	if (option)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on)), 0);
	if (bind(fd, (struct sockaddr *)&sa, length) == 0)
		return fd;
	close(fd);
	return -1;
}

static void test_udp_sockets_share_one_port(void **state)
{
	struct addr addr = own_addr();
	struct listen_socket listener;

	(void)state;
	assert_int_equal(listen_open(&listener, PROTO_UDP, &addr, &any_port, RELAYS, 0), 0);
	assert_int_equal(listener.relay_count, RELAYS);
	for (size_t i = 0; i < RELAYS; i++) {
		assert_int_equal(port_of(listener.fds[i]), listener.at.port);
		assert_int_equal(int_option(listener.fds[i], SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
		assert_true(fcntl(listener.fds[i], F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(listener.fds[i], F_GETFL) & O_NONBLOCK);
	}
	listen_close(&listener);
}

/* Sends count datagrams from one client; returns how many came to the first of two sockets. */
static int share_of_first(const struct listen_socket *listener, int count)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&listener->at, &sa);
	int client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), first = 0, other = 0;
	char byte = 0;

	for (int i = 0; i < count; i++)
		assert_int_equal(sendto(client, &byte, 1, 0, (struct sockaddr *)&sa, length), 1);
	while (recv(listener->fds[0], &byte, 1, 0) == 1)
		first++;
	while (recv(listener->fds[1], &byte, 1, 0) == 1)
		other++;
	assert_int_equal(first + other, count);
	close(client);
	return first;
}

static void test_udp_clients_are_spread_and_each_keeps_its_socket(void **state)
{
	struct addr addr = own_addr();
	struct listen_socket listener;
	int first = 0;

	(void)state;
	assert_int_equal(listen_open(&listener, PROTO_UDP, &addr, &any_port, 2, 0), 0);
	for (int i = 0; i < 64; i++) {
		int share = share_of_first(&listener, 3);

		assert_true(share == 0 || share == 3);
		first += share == 3;
	}
	/* 1 in 2^63 runs fails for bad luck. */
	assert_in_range(first, 1, 63);
	listen_close(&listener);
}

static void test_udp_port_is_not_shared_with_a_stranger(void **state)
{
	static const int options[] = {0, SO_REUSEADDR, SO_REUSEPORT};
	struct addr addr = own_addr();
	struct listen_range range = {0};
	struct listen_socket listener;

	(void)state;
	assert_int_equal(listen_open(&listener, PROTO_UDP, &addr, &any_port, RELAYS, 0), 0);
	range.first = range.last = listener.at.port;
	/* Those of other users cannot join either; of this user only with the same option. */
	assert_int_equal(occupy_udp(range.first, 0), -1);
	assert_int_equal(occupy_udp(range.first, SO_REUSEADDR), -1);
	listen_close(&listener);
	for (size_t i = 0; i < 3; i++) {
		int other = occupy_udp(range.first, options[i]);

		assert_true(other >= 0);
		assert_int_equal(listen_open(&listener, PROTO_UDP, &addr, &range, RELAYS, 0), -EADDRINUSE);
		assert_int_equal(listener.relay_count, 0);
		close(other);
	}
	assert_int_equal(listen_open(&listener, PROTO_UDP, &addr, &range, RELAYS, 0), 0);
	listen_close(&listener);
}

static void test_udp_sockets_tell_where_a_datagram_came_to(void **state)
{
	struct addr v4 = addr_any(ADDR_V4), v6 = addr_any(ADDR_V6), one = own_addr();
	struct listen_socket listener;

	(void)state;
	assert_int_equal(listen_open(&listener, PROTO_UDP, &v4, &any_port, 2, 0), 0);
	assert_int_equal(int_option(listener.fds[1], IPPROTO_IP, IP_PKTINFO), 1);
	listen_close(&listener);
	/* Where there is only one address, there is no need. */
	assert_int_equal(listen_open(&listener, PROTO_UDP, &one, &any_port, 2, 0), 0);
	assert_int_equal(int_option(listener.fds[1], IPPROTO_IP, IP_PKTINFO), 0);
	listen_close(&listener);
	if (listen_open(&listener, PROTO_UDP, &v6, &any_port, 2, 0) < 0)
		skip();
	assert_int_equal(int_option(listener.fds[1], IPPROTO_IPV6, IPV6_RECVPKTINFO), 1);
	assert_int_equal(int_option(listener.fds[1], IPPROTO_IPV6, IPV6_V6ONLY), 1);
	listen_close(&listener);
}

/* The same number over TCP and UDP are two ports. */
static void test_tcp_and_udp_do_not_meet(void **state)
{
	struct addr addr = own_addr();
	uint16_t port = free_ports(1);
	struct listen_range range = {port, port};
	struct listen_socket tcp, udp;

	(void)state;
	assert_int_equal(listen_open(&tcp, PROTO_TCP, &addr, &range, 2, 0), 0);
	assert_int_equal(listen_open(&udp, PROTO_UDP, &addr, &range, 2, 0), 0);
	assert_int_equal(tcp.at.port, udp.at.port);
	listen_close(&tcp);
	listen_close(&udp);
}

static int nonblocking_client(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

/* A port that was free a moment ago, at an own address. */
static struct addr_port free_port(void)
{
	struct addr own = own_addr();
	struct listen_socket socket;

	assert_int_equal(listen_open(&socket, PROTO_TCP, &own, &any_port, 1, 0), 0);
	listen_close(&socket);
	return socket.at;
}

static void test_a_portals_address_is_shared_by_whoever_binds_it_next(void **state)
{
	struct addr_port at = free_port();
	struct listen_socket old, new;

	(void)state;
	for (enum proto proto = PROTO_TCP; proto <= PROTO_UDP; proto++) {
		assert_int_equal(listen_bind(&old, proto, &at, 0, RELAYS), 0);
		assert_int_equal(listen_bind(&new, proto, &at, 0, RELAYS), 0);
		assert_int_equal(new.relay_count, RELAYS);
		assert_int_equal(port_of(new.fds[0]), at.port);
		listen_close(&old);
		listen_close(&new);
	}
}

static void test_a_portals_address_need_not_be_there_yet(void **state)
{
	/* For documentation (RFC 5737): nobody's. */
	struct addr_port at = {.addr = addr_v4(0xc0000201), .port = 80};
	struct listen_socket socket;

	(void)state;
	at.port = free_port().port;
	assert_int_equal(listen_bind(&socket, PROTO_TCP, &at, 0, 1), 0);
	listen_close(&socket);
	assert_int_equal(listen_bind(&socket, PROTO_UDP, &at, 0, 1), 0);
	listen_close(&socket);
}

static void test_a_portals_port_that_a_stranger_has_is_told(void **state)
{
	struct addr_port at = free_port();
	int stranger = occupy(at.port, 0);
	struct listen_socket socket;

	(void)state;
	assert_true(stranger >= 0);
	assert_int_equal(listen_bind(&socket, PROTO_TCP, &at, 0, RELAYS), -EADDRINUSE);
	close(stranger);
}

static void test_what_is_to_be_dropped_gets_no_answer(void **state)
{
	struct addr_port at = free_port();
	struct pollfd client = {.events = POLLOUT};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	struct listen_socket socket;

	(void)state;
	assert_int_equal(listen_bind(&socket, PROTO_TCP, &at, LISTEN_DROP, RELAYS), 0);
	assert_int_equal(socket.relay_count, 1);
	client.fd = nonblocking_client();
	assert_int_equal(connect(client.fd, (struct sockaddr *)&sa, length), -1);
	assert_int_equal(errno, EINPROGRESS);
	assert_int_equal(poll(&client, 1, 200), 0);
	close(client.fd);
	listen_close(&socket);
}

static void test_senseless_arguments_are_refused(void **state)
{
	struct addr addr = own_addr();
	struct listen_socket listener;

	(void)state;
	assert_int_equal(listen_open(&listener, PROTO_TCP, &addr, &any_port, 0, 0), -EINVAL);
	assert_int_equal(
		listen_open(&listener, PROTO_TCP, &addr, &any_port, LISTEN_MAX_RELAYS + 1, 0), -EINVAL);
	assert_int_equal(
		listen_open(&listener, PROTO_TCP, &addr, &(struct listen_range){2000, 1999}, 1, 0), -EINVAL);
	assert_int_equal(listen_open(&listener, PROTO_SCTP, &addr, &any_port, 1, 0), -EPROTONOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_sockets_share_one_port),
		cmocka_unit_test(test_connections_are_spread_over_the_sockets),
		cmocka_unit_test(test_accepted_sockets_inherit_the_options),
		cmocka_unit_test(test_port_of_the_range_is_used),
		cmocka_unit_test(test_full_range_is_told),
		cmocka_unit_test(test_port_is_not_shared_with_a_stranger),
		cmocka_unit_test(test_port_is_free_again_after_use),
		cmocka_unit_test(test_failure_leaves_nothing_open),
		cmocka_unit_test(test_address_that_is_not_ours_is_told),
		cmocka_unit_test(test_ipv6_socket_takes_ipv6_only),
		cmocka_unit_test(test_udp_sockets_share_one_port),
		cmocka_unit_test(test_udp_clients_are_spread_and_each_keeps_its_socket),
		cmocka_unit_test(test_udp_port_is_not_shared_with_a_stranger),
		cmocka_unit_test(test_udp_sockets_tell_where_a_datagram_came_to),
		cmocka_unit_test(test_tcp_and_udp_do_not_meet),
		cmocka_unit_test(test_a_portals_address_is_shared_by_whoever_binds_it_next),
		cmocka_unit_test(test_a_portals_address_need_not_be_there_yet),
		cmocka_unit_test(test_a_portals_port_that_a_stranger_has_is_told),
		cmocka_unit_test(test_what_is_to_be_dropped_gets_no_answer),
		cmocka_unit_test(test_senseless_arguments_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
