/* Health checks as a cloud load balancer sees them: real sockets on loopback, real HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/addr.h"
#include "portald/admin.h"
#include "portald/clock.h"
#include "portald/mem.h"

#define ANSWER_BYTES 65536
#define PATIENCE_MS 15000
#define SYNC_PERIOD_MS 30000

struct fixture {
	struct event_base *base;
	struct admin *admin;
	uint16_t port;
};

/* What admin takes for now: moved by the tests. */
static int64_t fake_now_ms;

static int64_t now_ms(void)
{
	return fake_now_ms;
}

static struct admin_rules count_rules(void *context)
{
	(void)context;
	return (struct admin_rules){.nat = 7, .filter = 2};
}

/* 2026-01-02 03:04:05.678901 UTC, and what a test adds. */
#define BEGIN_US INT64_C(1767323045678901)
static int64_t wall_later_us;

static int64_t wall_us(void)
{
	return BEGIN_US + wall_later_us;
}

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

	struct admin_options options = {
		.sync_period_ms = SYNC_PERIOD_MS,
		.proxy_mode = "userspace",
		.version = "1",
		.count_rules = count_rules,
		.now_ms = now_ms,
		.wall_us = wall_us,
	};

	fake_now_ms = 1000000;
	wall_later_us = 0;
	fixture->base = event_base_new();
	fixture->port = free_port();
	options.health = options.metrics = (struct admin_at){.on = true};
	options.health.at =
		(struct addr_port){.addr = addr_any(ADDR_V4), .port = (uint16_t)(fixture->port + 1)};
	options.metrics.at =
		(struct addr_port){.addr = addr_loopback(ADDR_V4), .port = (uint16_t)(fixture->port + 2)};
	fixture->admin = admin_new(fixture->base, &options);
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
static void get_path(
	struct fixture *fixture, const char *literal, uint16_t port, const char *path, char *text)
{
	char request[128];
	int64_t deadline_ms = clock_now_ms() + PATIENCE_MS;
	int fd = connect_to(literal, port), bytes;
	size_t length = 0;

	assert_true(fd >= 0);
	bytes = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);
	assert_int_equal(write(fd, request, (size_t)bytes), bytes);
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

static void get(struct fixture *fixture, const char *literal, char *text)
{
	get_path(fixture, literal, fixture->port, "/healthz", text);
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
	admin_sync_done(fixture->admin, -EIO);
	fake_now_ms += 2 * SYNC_PERIOD_MS;
	expect(fixture, "127.0.0.1", "HTTP/1.0 503", "\"serviceProxyHealthy\": false");
	admin_sync_done(fixture->admin, 0);
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

/* ---- the health address ---- */

static void expect_health(struct fixture *fixture, const char *path, const char *status, const char *part)
{
	char text[ANSWER_BYTES];

	get_path(fixture, "127.0.0.1", (uint16_t)(fixture->port + 1), path, text);
	if (strncmp(text, status, strlen(status)) != 0 || !strstr(text, part))
		fail_msg("%s: wanted %s with %s, got: %s", path, status, part, text);
}

#define NOW "2026-01-02 03:04:05.678901 +0000 UTC m=+"

static void rules_in_force_are_healthy(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(admin_serve(fixture->admin), 0);
	admin_sync_queued(fixture->admin);
	admin_sync_done(fixture->admin, 0);
	fake_now_ms += 1500;
	expect_health(fixture, "/healthz", "HTTP/1.0 200",
		"{\"lastUpdated\": \"" NOW "1.500\",\"currentTime\": \"" NOW
		"1.500\", \"nodeEligible\": true}");
	expect_health(fixture, "/healthz", "HTTP/1.0 200", "Content-Type: application/json");
	expect_health(fixture, "/healthz", "HTTP/1.0 200", "X-Content-Type-Options: nosniff");
	expect_health(fixture, "/livez", "HTTP/1.0 200",
		"{\"lastUpdated\": \"" NOW "1.500\",\"currentTime\": \"" NOW "1.500\"}");
}

static void rules_two_periods_behind_are_unhealthy(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(admin_serve(fixture->admin), 0);
	admin_sync_queued(fixture->admin);
	admin_sync_done(fixture->admin, 0);
	fake_now_ms += 7000;
	admin_sync_queued(fixture->admin);
	fake_now_ms += 2 * SYNC_PERIOD_MS - 1;
	/* Neither a failure nor another plan on its way begins the time anew. */
	admin_sync_done(fixture->admin, -EIO);
	admin_sync_queued(fixture->admin);
	expect_health(fixture, "/healthz", "HTTP/1.0 200", "");
	fake_now_ms++;
	expect_health(fixture, "/healthz", "HTTP/1.0 503", "{\"lastUpdated\": \"" NOW "0.000\"");
	expect_health(fixture, "/livez", "HTTP/1.0 503", "\"currentTime\": \"" NOW "67.000\"");
	admin_sync_done(fixture->admin, 0);
	expect_health(fixture, "/healthz", "HTTP/1.0 200", "");
}

static void a_leaving_node_is_alive_but_not_healthy(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(admin_serve(fixture->admin), 0);
	admin_sync_done(fixture->admin, 0);
	admin_set_node_leaving(fixture->admin, true);
	expect_health(fixture, "/healthz", "HTTP/1.0 503", "\"nodeEligible\": false");
	expect_health(fixture, "/livez", "HTTP/1.0 200", "");
	admin_set_node_leaving(fixture->admin, false);
	expect_health(fixture, "/healthz", "HTTP/1.0 200", "\"nodeEligible\": true");
}

static void nothing_in_force_yet_is_not_ready(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(admin_serve(fixture->admin), 0);
	admin_sync_queued(fixture->admin);
	expect_health(fixture, "/readyz", "HTTP/1.0 503", "not ready");
	admin_sync_done(fixture->admin, 0);
	expect_health(fixture, "/readyz", "HTTP/1.0 200", "ok");
	/* What is in force stays so. */
	fake_now_ms += 10 * SYNC_PERIOD_MS;
	admin_sync_done(fixture->admin, -EIO);
	expect_health(fixture, "/readyz", "HTTP/1.0 200", "ok");
}

static void an_unknown_path_is_not_found(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(admin_serve(fixture->admin), 0);
	expect_health(fixture, "/metrics", "HTTP/1.1 404", "");
}

static void an_address_in_use_ends_it_only_if_asked(void **state)
{
	struct fixture *fixture = *state;
	struct admin_options options = {.health = {.on = true}, .bind_hard_fail = true};
	struct admin *second;

	assert_int_equal(admin_serve(fixture->admin), 0);
	options.health.at =
		(struct addr_port){.addr = addr_any(ADDR_V4), .port = (uint16_t)(fixture->port + 1)};
	second = admin_new(fixture->base, &options);
	assert_int_equal(admin_serve(second), -EADDRINUSE);
	admin_free(second);
	options.bind_hard_fail = false;
	second = admin_new(fixture->base, &options);
	assert_int_equal(admin_serve(second), 0);
	admin_free(second);
}

/* ---- the metrics address ---- */

static void get_metrics(struct fixture *fixture, const char *path, char *text)
{
	get_path(fixture, "127.0.0.1", (uint16_t)(fixture->port + 2), path, text);
}

static void expect_metric(struct fixture *fixture, const char *line)
{
	char text[ANSWER_BYTES];

	get_metrics(fixture, "/metrics", text);
	if (!strstr(text, line))
		fail_msg("no %s in: %s", line, text);
}

static void proxy_mode_is_told(void **state)
{
	struct fixture *fixture = *state;
	char text[ANSWER_BYTES];

	assert_int_equal(admin_serve(fixture->admin), 0);
	get_metrics(fixture, "/proxyMode", text);
	assert_non_null(strstr(text, "\r\n\r\nuserspace"));
	get_metrics(fixture, "/healthz", text);
	assert_non_null(strstr(text, "\r\n\r\nok"));
}

static void syncs_and_changes_are_counted(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(admin_serve(fixture->admin), 0);
	admin_count_changes(fixture->admin, 3, 5);
	admin_sync_queued(fixture->admin);
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_service_changes_pending 3\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_endpoint_changes_pending 5\n");
	fake_now_ms += 5;
	admin_sync_done(fixture->admin, -EIO);
	admin_sync_done(fixture->admin, 0);
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_service_changes_pending 0\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_service_changes_total 3\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_endpoint_changes_total 5\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_iptables_restore_failures_total 1\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.004\"} 0\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.008\"} 1\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_duration_seconds_count 1\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_iptables_total{table=\"nat\"} 7\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_iptables_total{table=\"filter\"} 2\n");
	expect_metric(fixture, "\nkubeproxy_sync_proxy_rules_duration_seconds_sum 0.005\n");
}

static void a_change_in_the_cluster_is_counted_when_it_is_in_force(void **state)
{
	struct fixture *fixture = *state;
	int64_t changed_ms = BEGIN_US / 1000 + 1000;

	assert_int_equal(admin_serve(fixture->admin), 0);
	/* What happened before is not this process's doing. */
	admin_note_trigger(fixture->admin, "default", "old", changed_ms - 2000);
	admin_note_trigger(fixture->admin, "default", "web", changed_ms);
	admin_note_trigger(fixture->admin, "default", "gone", changed_ms);
	admin_note_trigger(fixture->admin, "default", "gone", 0);
	wall_later_us = 1400000;
	admin_sync_done(fixture->admin, -EIO);
	expect_metric(fixture, "\nkubeproxy_network_programming_duration_seconds_count 0\n");
	admin_sync_done(fixture->admin, 0);
	/* The same again is no other change. */
	admin_note_trigger(fixture->admin, "default", "web", changed_ms);
	admin_sync_done(fixture->admin, 0);
	expect_metric(fixture, "\nkubeproxy_network_programming_duration_seconds_count 1\n");
	expect_metric(fixture, "\nkubeproxy_network_programming_duration_seconds_bucket{le=\"0.25\"} 0\n");
	expect_metric(fixture, "\nkubeproxy_network_programming_duration_seconds_bucket{le=\"0.5\"} 1\n");
}

static void requests_are_counted_by_their_answer(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(admin_serve(fixture->admin), 0);
	admin_count_request(fixture->admin, 200, "GET", "api:6443");
	admin_count_request(fixture->admin, 200, "GET", "api:6443");
	admin_count_request(fixture->admin, 0, "GET", "a\"b\\c\nd");
	expect_metric(
		fixture, "\nrest_client_requests_total{code=\"200\",method=\"GET\",host=\"api:6443\"} 2\n");
	expect_metric(fixture,
		"\nrest_client_requests_total{code=\"<error>\",method=\"GET\",host=\"a\\\"b\\\\c\\nd\"} 1\n");
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
		CASE(rules_in_force_are_healthy),
		CASE(rules_two_periods_behind_are_unhealthy),
		CASE(a_leaving_node_is_alive_but_not_healthy),
		CASE(nothing_in_force_yet_is_not_ready),
		CASE(an_unknown_path_is_not_found),
		CASE(an_address_in_use_ends_it_only_if_asked),
		CASE(proxy_mode_is_told),
		CASE(syncs_and_changes_are_counted),
		CASE(a_change_in_the_cluster_is_counted_when_it_is_in_force),
		CASE(requests_are_counted_by_their_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
