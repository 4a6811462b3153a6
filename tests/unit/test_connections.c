/* Which addresses have connections, by the kernel's word of real sockets. Every test has a network namespace
 * of its own with nothing but lo. */
#include <event2/event.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns_rig.h"
#include "portald/mem.h"
#include "steering/connections.h"

#define PORT 80
/* More than the kernel can be given to look for. */
#define MANY 40

struct fixture {
	struct event_base *base;
	struct connections_query *query;
	struct addr_set asked, used;
	int error;
	bool answered;
};

/* A connection that `client` has made and `server` accepted; listener is where it was accepted. */
struct pair {
	int listener, client, server;
};

static int set_up(void **state)
{
	struct fixture *fixture = mem_calloc(1, sizeof(*fixture));

	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	rig_lo_up();
	fixture->base = event_base_new();
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	connections_query_free(fixture->query);
	addr_set_fini(&fixture->asked);
	addr_set_fini(&fixture->used);
	event_base_free(fixture->base);
	free(fixture);
	return 0;
}

/* ---- sockets ---- */

static struct addr address(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(&addr, text), 0);
	return addr;
}

/* family: of the socket, which may be that for both with an address of IPv4. */
static int socket_at(int family, const char *text, bool connects)
{
	const struct sockaddr_in loopback = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct addr_port at = {.addr = address(text), .port = PORT};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int fd = socket(family, SOCK_STREAM, 0), off = 0;
	struct sockaddr *name = (struct sockaddr *)&sa;

	assert_true(fd >= 0);
	if (family == AF_INET6)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
	if (connects) {
		if (family == AF_INET) /* else the client's address would be the server's */
			assert_int_equal(bind(fd, (const struct sockaddr *)&loopback, sizeof(loopback)), 0);
		assert_int_equal(connect(fd, name, length), 0);
		return fd;
	}
	assert_int_equal(bind(fd, name, length), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static struct pair connect_at(int family, const char *bound, const char *text)
{
	struct pair pair = {.listener = socket_at(family, bound, false)};
	int own = strchr(text, ':') ? AF_INET6 : AF_INET;

	pair.client = socket_at(own, text, true);
	pair.server = accept(pair.listener, NULL, NULL);
	assert_true(pair.server >= 0);
	return pair;
}

static void pair_close(const struct pair *pair)
{
	close(pair->client);
	close(pair->server);
	close(pair->listener);
}

/* ---- questions ---- */

static void on_answer(void *context, int error, const struct addr_set *used)
{
	const struct addr_set none = {.count = 0};
	struct fixture *fixture = context;

	fixture->answered = true;
	fixture->error = error;
	addr_set_replace_take(&fixture->used, addr_set_union(used, &none));
	connections_query_free(fixture->query);
	fixture->query = NULL;
	event_base_loopbreak(fixture->base);
}

static void also(struct fixture *fixture, const char *text)
{
	struct addr addr = address(text);
	const struct addr_set one = {.list = &addr, .count = 1};

	addr_set_replace_take(&fixture->asked, addr_set_union(&fixture->asked, &one));
}

static void ask(struct fixture *fixture)
{
	fixture->answered = false;
	assert_int_equal(
		connections_ask(&fixture->query, fixture->base, &fixture->asked, on_answer, fixture), 0);
	assert_false(fixture->answered);
	while (!fixture->answered)
		event_base_loop(fixture->base, EVLOOP_ONCE);
	assert_int_equal(fixture->error, 0);
}

static bool is_used(const struct fixture *fixture, const char *text)
{
	struct addr addr = address(text);

	return addr_set_find(&fixture->used, &addr) != NULL;
}

/* ---- tests ---- */

static void only_addresses_with_connections_are_used(void **state)
{
	struct fixture *fixture = *state;
	struct pair v4 = connect_at(AF_INET, "127.0.0.2", "127.0.0.2");
	struct pair v6 = connect_at(AF_INET6, "::1", "::1");
	int listener = socket_at(AF_INET, "127.0.0.3", false);

	also(fixture, "127.0.0.2");
	also(fixture, "127.0.0.3");
	also(fixture, "127.0.0.4");
	also(fixture, "::1");
	also(fixture, "fd00::1");
	ask(fixture);
	assert_int_equal(fixture->used.count, 2);
	assert_true(is_used(fixture, "127.0.0.2") && is_used(fixture, "::1"));
	pair_close(&v4);
	pair_close(&v6);
	close(listener);
}

static void a_socket_for_both_families_counts_by_its_address(void **state)
{
	struct fixture *fixture = *state;
	struct pair pair = connect_at(AF_INET6, "::", "127.0.0.2");

	also(fixture, "127.0.0.2");
	also(fixture, "127.0.0.3");
	ask(fixture);
	assert_int_equal(fixture->used.count, 1);
	assert_true(is_used(fixture, "127.0.0.2"));
	pair_close(&pair);
}

static void more_addresses_than_the_kernel_can_look_for_are_found_too(void **state)
{
	struct fixture *fixture = *state;
	struct pair pairs[2] = {
		connect_at(AF_INET, "127.0.0.2", "127.0.0.2"), connect_at(AF_INET, "127.0.0.9", "127.0.0.9")};

	for (int i = 2; i < MANY + 2; i++) {
		char *text = mem_printf("127.0.0.%d", i);

		also(fixture, text);
		free(text);
	}
	assert_int_equal(fixture->asked.count, MANY);
	ask(fixture);
	assert_int_equal(fixture->used.count, 2);
	assert_true(is_used(fixture, "127.0.0.2") && is_used(fixture, "127.0.0.9"));
	pair_close(&pairs[0]);
	pair_close(&pairs[1]);
}

static void a_connection_counts_until_both_sides_have_closed(void **state)
{
	struct fixture *fixture = *state;
	struct pair pair = connect_at(AF_INET, "127.0.0.2", "127.0.0.2");

	also(fixture, "127.0.0.2");
	shutdown(pair.server, SHUT_WR);
	ask(fixture);
	assert_int_equal(fixture->used.count, 1); /* the client may go on */
	shutdown(pair.server, SHUT_RD);
	close(pair.server);
	/* Nobody hears the client any more. It acknowledges the end a moment later. */
	for (int i = 0; i < 10000 && fixture->used.count > 0; i++) {
		usleep(1000);
		ask(fixture);
	}
	assert_int_equal(fixture->used.count, 0);
	close(pair.client);
	close(pair.listener);
}

static void who_waits_to_be_accepted_counts(void **state)
{
	struct fixture *fixture = *state;
	int listener = socket_at(AF_INET, "127.0.0.2", false), client = socket_at(AF_INET, "127.0.0.2", true);

	also(fixture, "127.0.0.2");
	ask(fixture);
	assert_int_equal(fixture->used.count, 1);
	close(client);
	close(listener);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(only_addresses_with_connections_are_used),
		CASE(a_socket_for_both_families_counts_by_its_address),
		CASE(more_addresses_than_the_kernel_can_look_for_are_found_too),
		CASE(a_connection_counts_until_both_sides_have_closed),
		CASE(who_waits_to_be_accepted_counts),
	};

	if (rig_enter_user_namespace() < 0)
		return rig_skipped("this user can make no user and network namespace");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
