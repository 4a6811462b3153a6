/* Health checks as a cloud load balancer sees them: real sockets on loopback, real HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/addr.h"
#include "portald/admin.h"
#include "portald/clock.h"
#include "portald/mem.h"

#define ANSWER_BYTES 2048
#define PATIENCE_MS 5000

struct fixture {
	struct event_base *base;
	struct admin *admin;
	uint16_t port;
};

/* A port that is free now, below those that the kernel gives to tests that run beside this one. */
static uint16_t free_port(void)
{
	struct addr_port at = {.addr = addr_any(ADDR_V6), .port = (uint16_t)(20000 + getpid() % 10000)};

	for (;; at.port++) {
		struct sockaddr_storage sa;
		socklen_t length = addr_to_sockaddr(&at, &sa);
		int fd = socket(AF_INET6, SOCK_STREAM, 0), rc;

		if (fd < 0)
			return at.port;
		rc = bind(fd, (struct sockaddr *)&sa, length);
		close(fd);
		if (rc == 0)
			return at.port;
	}
}

static int setup(void **state)
{
	struct fixture *fixture = mem_calloc(1, sizeof(*fixture));

	fixture->base = event_base_new();
	fixture->admin = admin_new(fixture->base);
	fixture->port = free_port();
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	admin_free(fixture->admin);
	event_base_free(fixture->base);
	free(fixture);
	return 0;
}

static int connect_to(const char *literal, uint16_t port)
{
	struct addr_port at = {.port = port};
	struct sockaddr_storage sa;
	socklen_t length;
	int fd;

	assert_int_equal(addr_parse(&at.addr, literal), 0);
	length = addr_to_sockaddr(&at, &sa);
	fd = socket(sa.ss_family, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&sa, length) == 0)
		return fd;
	close(fd);
	return -1;
}

/* What the port answers to a GET, with the loop running meanwhile. */
static void get(struct fixture *fixture, const char *literal, char *text)
{
	static const char request[] = "GET /healthz HTTP/1.0\r\n\r\n";
	int64_t deadline_ms = clock_now_ms() + PATIENCE_MS;
	int fd = connect_to(literal, fixture->port);
	size_t length = 0;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
	while (clock_now_ms() < deadline_ms) {
		ssize_t got;

		event_base_loop(fixture->base, EVLOOP_NONBLOCK);
		got = recv(fd, text + length, ANSWER_BYTES - 1 - length, MSG_DONTWAIT);
		if (got == 0)
			break;
		length += got > 0 ? (size_t)got : 0;
	}
	text[length] = '\0';
	close(fd);
}

static void expect(struct fixture *fixture, const char *literal, const char *status, const char *part)
{
	char text[ANSWER_BYTES];

	get(fixture, literal, text);
	if (strncmp(text, status, strlen(status)) != 0 || !strstr(text, part))
		fail_msg("wanted %s with %s, got: %s", status, part, text);
}

static void serve(struct fixture *fixture, size_t local_endpoints)
{
	struct admin_health_check check = {.port = fixture->port,
		.namespace = "default",
		.name = "web",
		.local_endpoints = local_endpoints};

	admin_set_health_checks(fixture->admin, &check, 1);
}

static void a_node_with_endpoints_is_healthy(void **state)
{
	struct fixture *fixture = *state;

	serve(fixture, 2);
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "\"localEndpoints\": 2");
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "\"namespace\": \"default\"");
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "Content-Type: application/json");
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "X-Content-Type-Options: nosniff");
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "X-Load-Balancing-Endpoint-Weight: 2");
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "\"serviceProxyHealthy\": true");
}

static void ipv6_is_served_too(void **state)
{
	struct fixture *fixture = *state;
	int probe = socket(AF_INET6, SOCK_STREAM, 0);

	if (probe < 0)
		skip();
	close(probe);
	serve(fixture, 1);
	expect(fixture, "::1", "HTTP/1.0 200", "\"localEndpoints\": 1");
}

static void a_node_without_endpoints_answers_503(void **state)
{
	struct fixture *fixture = *state;

	serve(fixture, 0);
	expect(fixture, "127.0.0.1", "HTTP/1.0 503", "\"localEndpoints\": 0");
}

static void a_change_of_endpoints_is_answered_at_once(void **state)
{
	struct fixture *fixture = *state;

	serve(fixture, 0);
	serve(fixture, 1);
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "\"localEndpoints\": 1");
}

static void an_unhealthy_proxy_answers_503(void **state)
{
	struct fixture *fixture = *state;

	serve(fixture, 2);
	admin_set_healthy(fixture->admin, false);
	expect(fixture, "127.0.0.1", "HTTP/1.0 503", "\"serviceProxyHealthy\": false");
	admin_set_healthy(fixture->admin, true);
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "\"serviceProxyHealthy\": true");
}

static void a_removed_check_closes_its_port(void **state)
{
	struct fixture *fixture = *state;

	serve(fixture, 2);
	admin_set_health_checks(fixture->admin, NULL, 0);
	assert_int_equal(connect_to("127.0.0.1", fixture->port), -1);
}

static void a_port_passes_from_one_service_to_another(void **state)
{
	struct fixture *fixture = *state;
	struct admin_health_check other = {
		.port = fixture->port, .namespace = "default", .name = "shop", .local_endpoints = 3};

	serve(fixture, 2);
	admin_set_health_checks(fixture->admin, &other, 1);
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "\"name\": \"shop\"");
}

static void a_port_in_use_is_tried_again(void **state)
{
	struct fixture *fixture = *state;
	struct addr_port at = {.addr = addr_any(ADDR_V4), .port = fixture->port};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int foreign = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(foreign, (struct sockaddr *)&sa, length), 0);
	assert_int_equal(listen(foreign, 1), 0);
	serve(fixture, 2);
	close(foreign);
	/* Any change tries again; without one a timer does. */
	serve(fixture, 2);
	expect(fixture, "127.0.0.1", "HTTP/1.0 200", "\"localEndpoints\": 2");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_node_with_endpoints_is_healthy),
		CASE(ipv6_is_served_too),
		CASE(a_node_without_endpoints_answers_503),
		CASE(a_change_of_endpoints_is_answered_at_once),
		CASE(an_unhealthy_proxy_answers_503),
		CASE(a_removed_check_closes_its_port),
		CASE(a_port_passes_from_one_service_to_another),
		CASE(a_port_in_use_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
