/* Claims on ports that the kernel has just given and taken back, in both protocols and families. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "portald/listen.h"

struct kind {
	enum proto proto;
	enum addr_family family;
};

static const struct kind kinds[] = {
	{PROTO_TCP, ADDR_V4}, {PROTO_TCP, ADDR_V6}, {PROTO_UDP, ADDR_V4}, {PROTO_UDP, ADDR_V6}};

static int type_of(enum proto proto)
{
	return proto == PROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
}

/* A socket of somebody else with the option, 0 for none. Returns -1 with errno if the port is taken. */
static int foreign(const struct kind *kind, struct addr_port at, int option)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int fd = socket(sa.ss_family, type_of(kind->proto) | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	if (option)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on)), 0);
	if (sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sa, length) == 0 && (kind->proto == PROTO_UDP || listen(fd, 1) == 0))
		return fd;
	close(fd);
	return -1;
}

static uint16_t free_port(const struct kind *kind)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	struct addr_port at = {addr_any(kind->family), 0};
	int fd = foreign(kind, at, 0);

	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_int_equal(addr_from_sockaddr(&at, (struct sockaddr *)&sa), 0);
	close(fd);
	return at.port;
}

static struct addr_port whole(const struct kind *kind, uint16_t port)
{
	return (struct addr_port){addr_any(kind->family), port};
}

static struct addr_port part(const struct kind *kind, uint16_t port)
{
	return (struct addr_port){addr_loopback(kind->family), port};
}

static void assert_taken(const struct kind *kind, struct addr_port at)
{
	const int options[] = {0, SO_REUSEADDR, SO_REUSEPORT};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		assert_int_equal(foreign(kind, at, options[i]), -1);
		assert_int_equal(errno, EADDRINUSE);
	}
}

static void assert_free(const struct kind *kind, struct addr_port at)
{
	int fd = foreign(kind, at, 0);

	assert_true(fd >= 0);
	close(fd);
}

static void assert_held(
	struct listen_claims *claims, const struct kind *kind, struct addr_port at, int expected)
{
	assert_int_equal(listen_claims_hold(claims, kind->proto, &at), expected);
}

/* One round that wants nothing but these; port 0: no such. */
static void want(struct listen_claims *claims, const struct kind *kind, uint16_t all, uint16_t one)
{
	listen_claims_begin(claims);
	if (all)
		assert_held(claims, kind, whole(kind, all), 0);
	if (one)
		assert_held(claims, kind, part(kind, one), 0);
	listen_claims_end(claims);
}

static void nobody_can_bind_what_is_claimed_whatever_the_options(void **state)
{
	const struct kind *kind = *state;
	struct listen_claims *claims = listen_claims_new();
	uint16_t port = free_port(kind);

	want(claims, kind, port, 0);
	assert_taken(kind, whole(kind, port));
	assert_taken(kind, part(kind, port));
	want(claims, kind, 0, 0);
	assert_free(kind, whole(kind, port));
	want(claims, kind, 0, port);
	assert_taken(kind, whole(kind, port));
	assert_taken(kind, part(kind, port));
	listen_claims_free(claims);
	assert_free(kind, part(kind, port));
}

static void what_somebody_has_is_not_claimed_until_it_is_free(void **state)
{
	const struct kind *kind = *state;
	const int options[] = {0, SO_REUSEADDR, SO_REUSEPORT};
	struct listen_claims *claims = listen_claims_new();
	uint16_t port = free_port(kind);

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		int fd = foreign(kind, part(kind, port), options[i]);

		assert_true(fd >= 0);
		listen_claims_begin(claims);
		assert_held(claims, kind, whole(kind, port), -EADDRINUSE);
		assert_held(claims, kind, part(kind, port), -EADDRINUSE);
		listen_claims_end(claims);
		assert_int_equal(listen_claims_count(claims), 0);
		close(fd);
		want(claims, kind, port, 0);
		want(claims, kind, 0, 0);
	}
	listen_claims_free(claims);
}

static void a_claim_that_is_wanted_again_is_never_let_go(void **state)
{
	const struct kind *kind = *state;
	struct listen_claims *claims = listen_claims_new();
	uint16_t port = free_port(kind);

	want(claims, kind, port, 0);
	listen_claims_begin(claims);
	assert_held(claims, kind, whole(kind, port), 0);
	/* Whoever else wants it shares it: a Service port under its old and its new name. */
	assert_held(claims, kind, whole(kind, port), 0);
	assert_taken(kind, whole(kind, port));
	listen_claims_end(claims);
	assert_taken(kind, whole(kind, port));
	assert_int_equal(listen_claims_count(claims), 1);
	listen_claims_free(claims);
}

static void a_claim_on_all_addresses_covers_each_of_them(void **state)
{
	const struct kind *kind = *state;
	struct listen_claims *claims = listen_claims_new();
	uint16_t port = free_port(kind);

	want(claims, kind, port, port);
	assert_int_equal(listen_claims_count(claims), 1);
	/* From all to one, and back. */
	want(claims, kind, 0, port);
	assert_int_equal(listen_claims_count(claims), 1);
	assert_taken(kind, part(kind, port));
	want(claims, kind, port, 0);
	assert_int_equal(listen_claims_count(claims), 1);
	assert_taken(kind, whole(kind, port));
	listen_claims_free(claims);
}

static void protocols_and_families_are_claimed_apart(void **state)
{
	struct listen_claims *claims = listen_claims_new();
	uint16_t port = free_port(&kinds[1]);

	(void)state;
	listen_claims_begin(claims);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct addr_port at = whole(&kinds[i], port);

		assert_int_equal(listen_claims_hold(claims, kinds[i].proto, &at), 0);
	}
	listen_claims_end(claims);
	assert_int_equal(listen_claims_count(claims), 4);
	assert_int_equal(listen_claims_hold(claims, PROTO_SCTP, &(struct addr_port){addr_any(ADDR_V4), port}),
		-EPROTONOSUPPORT);
	listen_claims_free(claims);
}

/* Returns connect()'s errno for TCP, or for UDP what a second datagram meets. */
static int knock(const struct kind *kind, struct addr_port at)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int fd = socket(sa.ss_family, type_of(kind->proto) | SOCK_CLOEXEC, 0);
	int rc = connect(fd, (struct sockaddr *)&sa, length) < 0 ? errno : 0;

	for (int i = 0; rc == 0 && i < 2; i++)
		rc = send(fd, "x", 1, MSG_NOSIGNAL) < 0 ? errno : 0;
	close(fd);
	return rc;
}

static void a_claim_takes_no_traffic(void **state)
{
	const struct kind *kind = *state;
	struct listen_claims *claims = listen_claims_new();
	uint16_t port = free_port(kind);

	want(claims, kind, port, 0);
	assert_int_equal(knock(kind, part(kind, port)), kind->proto == PROTO_TCP ? ECONNREFUSED : 0);
	listen_claims_free(claims);
}

#define ONE(test, kind) cmocka_unit_test_prestate(test, (void *)&kinds[kind])
#define ALL(test) ONE(test, 0), ONE(test, 1), ONE(test, 2), ONE(test, 3)

/* What a server leaves for a minute when it has closed first. */
static void leave_time_wait(const struct kind *kind, uint16_t port)
{
	struct sockaddr_storage sa;
	struct addr_port at = part(kind, port);
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int server = foreign(kind, at, SO_REUSEADDR), client = socket(sa.ss_family, SOCK_STREAM, 0), peer;
	char byte;

	assert_true(server >= 0);
	assert_int_equal(connect(client, (struct sockaddr *)&sa, length), 0);
	peer = accept(server, NULL, NULL);
	assert_true(peer >= 0);
	close(peer);
	assert_int_equal(read(client, &byte, 1), 0);
	close(client);
	close(server);
}

static void connections_that_a_former_holder_has_closed_are_not_in_the_way(void **state)
{
	const struct kind *kind = *state;
	struct listen_claims *claims = listen_claims_new();
	uint16_t port = free_port(kind);

	leave_time_wait(kind, port);
	want(claims, kind, port, 0);
	assert_taken(kind, whole(kind, port));
	assert_taken(kind, part(kind, port));
	listen_claims_free(claims);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(nobody_can_bind_what_is_claimed_whatever_the_options),
		ALL(what_somebody_has_is_not_claimed_until_it_is_free),
		ALL(a_claim_that_is_wanted_again_is_never_let_go),
		ALL(a_claim_on_all_addresses_covers_each_of_them),
		cmocka_unit_test(protocols_and_families_are_claimed_apart),
		ALL(a_claim_takes_no_traffic),
		cmocka_unit_test_prestate(
			connections_that_a_former_holder_has_closed_are_not_in_the_way, (void *)&kinds[0]),
		cmocka_unit_test_prestate(
			connections_that_a_former_holder_has_closed_are_not_in_the_way, (void *)&kinds[1]),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
