/* What a Service's options make of its connections, with real relays: schedulers, session affinity, limits,
 * the PROXY protocol, removed endpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/portal.h"
#include "relay/proxy.h"
#include "relay_rig.h"

#define MAX_BACKENDS 4
#define MAX_CLIENTS 64

/* Relays with backends that the test plays. */
struct stage {
	struct rig rig;
	struct rig_options rig_options;
	struct service_options options;
	struct ipc_relay_backend backends[MAX_BACKENDS];
	int listeners[MAX_BACKENDS];
	size_t count;
	int accepted[MAX_CLIENTS];
	size_t accepted_count;
};

/* options: what the test wants, or NULL for the defaults. */
static void stage_open(
	struct stage *stage, size_t relays, size_t backends, const struct service_options *options)
{
	memset(stage, 0, sizeof(*stage));
	service_options_init(&stage->options);
	if (options)
		stage->options = *options;
	stage->rig_options = (struct rig_options){.relay_count = relays, .service = &stage->options};
	stage->count = backends;
	for (size_t i = 0; i < backends; i++) {
		stage->backends[i].slot = RIG_BACKEND_SLOT + (uint32_t)i;
		stage->backends[i].weight = 1;
		stage->listeners[i] = backend_listen(&stage->backends[i].at, 64);
	}
	rig_start(&stage->rig, &stage->rig_options);
	rig_backend_list(&stage->rig, stage->backends, backends);
}

static void stage_close(struct stage *stage)
{
	for (size_t i = 0; i < stage->accepted_count; i++)
		close(stage->accepted[i]);
	rig_stop(&stage->rig);
	for (size_t i = 0; i < stage->count; i++)
		close(stage->listeners[i]);
}

static void change_options(struct stage *stage)
{
	rig_listener(&stage->rig, &stage->rig_options);
	/* Until the relays have read it. */
	sleep_ms(50);
}

/* The next backend that gets a connection, which stays open; -1 if none does in that time. */
static int next_backend(struct stage *stage, int wait_ms)
{
	struct pollfd fds[MAX_BACKENDS];

	for (size_t i = 0; i < stage->count; i++)
		fds[i] = (struct pollfd){.fd = stage->listeners[i], .events = POLLIN};
	if (poll(fds, stage->count, wait_ms) <= 0)
		return -1;
	for (size_t i = 0; i < stage->count; i++) {
		if (fds[i].revents & POLLIN) {
			stage->accepted[stage->accepted_count++] = backend_accept(stage->listeners[i]);
			return (int)i;
		}
	}
	return -1;
}

static int last_accepted(const struct stage *stage)
{
	return stage->accepted[stage->accepted_count - 1];
}

/* Connects from 127.0.0.CLIENT, leaves at once; which backend it was. */
static int visit(struct stage *stage, uint8_t client)
{
	int fd = rig_connect_from(&stage->rig, client);
	int backend = next_backend(stage, RIG_TIMEOUT_S * 1000);

	assert_true(backend >= 0);
	close(stage->accepted[--stage->accepted_count]);
	close(fd);
	assert_true(rig_wait_active(&stage->rig, stage->accepted_count));
	return backend;
}

static struct service_options options_with(enum scheduler scheduler, uint32_t affinity_s)
{
	struct service_options options;

	service_options_init(&options);
	options.scheduler = scheduler;
	options.affinity_timeout_s = affinity_s;
	return options;
}

/* ---- schedulers ---- */

static void weights_hold_across_relays(void **state)
{
	static const uint16_t weights[] = {3, 1, 0};
	uint32_t counts[3] = {0};
	struct stage stage;

	(void)state;
	stage_open(&stage, 2, 3, NULL);
	for (int i = 0; i < 3; i++)
		stage.backends[i].weight = weights[i];
	rig_backend_list(&stage.rig, stage.backends, 3);
	sleep_ms(50);
	for (int i = 0; i < 40; i++)
		counts[visit(&stage, 1)]++;
	assert_int_equal(counts[0], 30);
	assert_int_equal(counts[1], 10);
	assert_int_equal(counts[2], 0);
	stage_close(&stage);
}

static void least_connections_counts_those_of_all_relays(void **state)
{
	struct service_options options = options_with(SCHEDULER_LC, 0);
	int clients[24], counts[3] = {0};
	struct stage stage;

	(void)state;
	stage_open(&stage, 3, 3, &options);
	for (int i = 0; i < 24; i++) {
		clients[i] = rig_connect(&stage.rig);
		counts[next_backend(&stage, 5000)]++;
		assert_true(rig_wait_active(&stage.rig, (uint64_t)i + 1));
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(counts[i], 8);
	for (int i = 0; i < 24; i++)
		close(clients[i]);
	stage_close(&stage);
}

static void source_hashing_keeps_a_client_at_its_backend(void **state)
{
	struct service_options options = options_with(SCHEDULER_SH, 0);
	int first[40], met = 0, gone;
	struct stage stage;

	(void)state;
	stage_open(&stage, 2, 4, &options);
	for (uint8_t i = 0; i < 20; i++) {
		first[i] = visit(&stage, (uint8_t)(10 + i));
		met |= 1 << first[i];
		assert_int_equal(visit(&stage, (uint8_t)(10 + i)), first[i]);
	}
	/* The ports are by chance, and with them the hashes: all clients at one is one in 4^19. */
	assert_true((met & (met - 1)) != 0);
	/* The last one leaves. */
	gone = 3;
	rig_backend_list(&stage.rig, stage.backends, 3);
	sleep_ms(50);
	for (uint8_t i = 0; i < 20; i++) {
		int backend = visit(&stage, (uint8_t)(10 + i));

		assert_true(first[i] == gone ? backend != gone : backend == first[i]);
	}
	stage_close(&stage);
}

/* ---- session affinity ---- */

static void a_client_stays_and_clients_are_shared_out(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 60);
	int first[12], counts[3] = {0};
	struct stage stage;

	(void)state;
	stage_open(&stage, 2, 3, &options);
	for (uint8_t i = 0; i < 12; i++)
		counts[first[i] = visit(&stage, (uint8_t)(10 + i))]++;
	for (int i = 0; i < 3; i++)
		assert_int_equal(counts[i], 4);
	for (int again = 0; again < 3; again++) {
		for (uint8_t i = 0; i < 12; i++)
			assert_int_equal(visit(&stage, (uint8_t)(10 + i)), first[i]);
	}
	stage_close(&stage);
}

static void connections_of_one_client_at_once_agree_across_relays(void **state)
{
	enum { AT_ONCE = 12 };
	struct service_options options = options_with(SCHEDULER_RR, 60);
	int clients[AT_ONCE], first;
	struct stage stage;

	(void)state;
	stage_open(&stage, 3, 3, &options);
	for (uint8_t round = 0; round < 4; round++) {
		for (int i = 0; i < AT_ONCE; i++)
			clients[i] = rig_connect_from(&stage.rig, (uint8_t)(100 + round));
		first = next_backend(&stage, 5000);
		for (int i = 1; i < AT_ONCE; i++)
			assert_int_equal(next_backend(&stage, 5000), first);
		for (int i = 0; i < AT_ONCE; i++)
			close(clients[i]);
	}
	stage_close(&stage);
}

static void a_pin_outlives_a_killed_relay_and_a_reload(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 60);
	int first[6];
	struct stage stage;

	(void)state;
	stage_open(&stage, 2, 3, &options);
	for (uint8_t i = 0; i < 6; i++)
		first[i] = visit(&stage, (uint8_t)(10 + i));
	rig_restart_relay(&stage.rig, &stage.rig_options, 0, stage.backends, 3);
	rig_restart_relay(&stage.rig, &stage.rig_options, 1, stage.backends, 3);
	sleep_ms(100);
	for (uint8_t i = 0; i < 6; i++)
		assert_int_equal(visit(&stage, (uint8_t)(10 + i)), first[i]);
	stage_close(&stage);
}

static void a_pinned_backend_that_fails_is_replaced_within_the_connect(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 60);
	struct stage stage;
	int first, other;

	(void)state;
	stage_open(&stage, 1, 3, &options);
	first = visit(&stage, 10);
	close(stage.listeners[first]);
	stage.listeners[first] = -1;
	other = visit(&stage, 10);
	assert_int_not_equal(other, first);
	for (int i = 0; i < 5; i++)
		assert_int_equal(visit(&stage, 10), other);
	assert_int_equal(rig_failures(&stage.rig, STATS_FAIL_REFUSED), 1);
	stage_close(&stage);
}

static void a_pinned_backend_that_leaves_is_replaced(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 60);
	struct ipc_relay_backend left[2];
	struct stage stage;
	int first, other;

	(void)state;
	stage_open(&stage, 2, 3, &options);
	first = visit(&stage, 10);
	for (int i = 0, n = 0; i < 3; i++) {
		if (i != first)
			left[n++] = stage.backends[i];
	}
	rig_backend_list(&stage.rig, left, 2);
	sleep_ms(50);
	other = visit(&stage, 10);
	assert_int_not_equal(other, first);
	/* Back again, it does not take the client back. */
	rig_backend_list(&stage.rig, stage.backends, 3);
	sleep_ms(50);
	for (int i = 0; i < 4; i++)
		assert_int_equal(visit(&stage, 10), other);
	stage_close(&stage);
}

static void a_changed_affinity_timeout_takes_effect_at_once(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 60);
	struct stage stage;
	int first;

	(void)state;
	stage_open(&stage, 1, 2, &options);
	first = visit(&stage, 10);
	sleep_ms(1050);
	assert_int_equal(visit(&stage, 10), first);
	sleep_ms(1050);
	/* For a pin that was made under the other. */
	stage.options.affinity_timeout_s = 1;
	change_options(&stage);
	assert_int_not_equal(visit(&stage, 10), first);
	stage_close(&stage);
}

/* ---- PROXY protocol ---- */

static const struct {
	uint8_t version;
	const char *client, *portal;
	uint16_t client_port, portal_port;
	const char *header;
	size_t count;
} headers[] = {
	{1, "192.0.2.1", "10.96.0.10", 50000, 80, "PROXY TCP4 192.0.2.1 10.96.0.10 50000 80\r\n", 42},
	{1, "2001:db8::1", "fd00::a", 65535, 443, "PROXY TCP6 2001:db8::1 fd00::a 65535 443\r\n", 42},
	{2, "192.0.2.1", "10.96.0.10", 50000, 80,
		"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x0a\x60\0\x0a\xc3\x50\0\x50", 28},
	{2, "2001:db8::1", "fd00::a", 65535, 443,
		"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
		"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\xff\xff\x01\xbb",
		52},
};

static void proxy_headers_are_as_specified(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		struct addr_port client = {.port = headers[i].client_port};
		struct addr_port portal = {.port = headers[i].portal_port};
		uint8_t header[PROXY_HEADER_BYTES];

		addr_parse(&client.addr, headers[i].client);
		addr_parse(&portal.addr, headers[i].portal);
		assert_int_equal(
			proxy_header(header, headers[i].version, &client, &portal), headers[i].count);
		assert_memory_equal(header, headers[i].header, headers[i].count);
	}
}

static void the_longest_proxy_header_has_room(void **state)
{
	struct addr_port longest = {.port = 65535};
	uint8_t header[PROXY_HEADER_BYTES];

	(void)state;
	for (int i = 0; i < 16; i++)
		longest.addr.bytes[i] = 0xfe;
	/* "PROXY TCP6 ", two times 39 and 5 digits, three blanks, CR, LF. */
	assert_int_equal(proxy_header(header, 1, &longest, &longest), 11 + 2 * (39 + 5) + 3 + 2);
}

/* What the backend must get first from the client at fd. */
static size_t expected_header(const struct stage *stage, int fd, uint8_t *header)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	struct addr_port client;

	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_int_equal(addr_from_sockaddr(&client, (struct sockaddr *)&sa), 0);
	return proxy_header(header, stage->options.proxy_protocol, &client, &stage->rig.listener.at);
}

static void expect_header(const struct stage *stage, int client, int backend)
{
	uint8_t expected[PROXY_HEADER_BYTES], got[PROXY_HEADER_BYTES];
	size_t count = expected_header(stage, client, expected);

	assert_int_equal(recv(backend, got, count, MSG_WAITALL), count);
	assert_memory_equal(got, expected, count);
}

static void the_backend_learns_the_client_before_its_first_byte(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	struct stage stage;

	(void)state;
	for (options.proxy_protocol = 1; options.proxy_protocol <= 2; options.proxy_protocol++) {
		int client;

		stage_open(&stage, 1, 1, &options);
		client = rig_connect_from(&stage.rig, 77);
		send_text(client, "hello");
		assert_int_equal(next_backend(&stage, 5000), 0);
		expect_header(&stage, client, last_accepted(&stage));
		expect_text(last_accepted(&stage), "hello");
		send_text(last_accepted(&stage), "world");
		expect_text(client, "world");
		/* The header is no byte of the client's. */
		assert_int_equal(atomic_load(&stats_listener(stage.rig.stats, 0, RIG_SLOT)->bytes_in), 5);
		close(client);
		expect_end(last_accepted(&stage));
		stage_close(&stage);
	}
}

static void the_header_comes_without_a_byte_from_the_client(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	struct stage stage;
	int client;

	(void)state;
	options.proxy_protocol = 2;
	stage_open(&stage, 1, 1, &options);
	client = rig_connect(&stage.rig);
	assert_int_equal(next_backend(&stage, 5000), 0);
	expect_header(&stage, client, last_accepted(&stage));
	shutdown(client, SHUT_WR);
	expect_end(last_accepted(&stage));
	close(client);
	stage_close(&stage);
}

static void the_header_comes_once_after_failed_attempts(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	struct black_hole hole;
	struct stage stage;
	int client;

	(void)state;
	options.proxy_protocol = 1;
	options.connect_timeout_ms = 60;
	stage_open(&stage, 1, 3, &options);
	black_hole_open(&hole);
	stage.backends[0].at = refusing_port();
	stage.backends[1].at = hole.at;
	rig_backend_list(&stage.rig, stage.backends, 3);
	sleep_ms(50);
	client = rig_connect(&stage.rig);
	send_text(client, "hello");
	assert_int_equal(next_backend(&stage, 5000), 2);
	expect_header(&stage, client, last_accepted(&stage));
	shutdown(client, SHUT_WR);
	expect_text(last_accepted(&stage), "hello");
	expect_end(last_accepted(&stage));
	close(client);
	black_hole_close(&hole);
	stage_close(&stage);
}

static void bulk_behind_the_header_arrives_whole(void **state)
{
	enum { BYTES = 3000000 };
	struct service_options options = options_with(SCHEDULER_RR, 0);
	char *sent = malloc(BYTES), *got = malloc(BYTES);
	struct stage stage;
	int client;

	(void)state;
	options.proxy_protocol = 2;
	for (int i = 0; i < BYTES; i++)
		sent[i] = (char)((uint32_t)i * 7919 >> 5);
	stage_open(&stage, 1, 1, &options);
	client = rig_connect(&stage.rig);
	assert_int_equal(next_backend(&stage, 5000), 0);
	/* The sockets' buffers take a part; the rest goes while the backend reads. */
	if (fork() == 0) {
		send_all(client, sent, BYTES);
		free(sent);
		free(got);
		_exit(0);
	}
	expect_header(&stage, client, last_accepted(&stage));
	assert_int_equal(recv(last_accepted(&stage), got, BYTES, MSG_WAITALL), BYTES);
	assert_memory_equal(got, sent, BYTES);
	free(sent);
	free(got);
	close(client);
	stage_close(&stage);
}

/* ---- connect timeout ---- */

static void the_services_connect_timeout_limits_each_attempt(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	struct black_hole hole;
	struct stage stage;
	int64_t begun_ms, took_ms;
	int client;

	(void)state;
	options.connect_timeout_ms = 100;
	stage_open(&stage, 1, 1, &options);
	black_hole_open(&hole);
	stage.backends[0].at = hole.at;
	rig_backend_list(&stage.rig, stage.backends, 1);
	sleep_ms(50);
	begun_ms = now_ms();
	client = rig_connect(&stage.rig);
	expect_reset(client);
	took_ms = now_ms() - begun_ms;
	/* Four attempts; the limits of the classic proxy add up to 3,750 ms. */
	assert_true(took_ms >= 400 && took_ms < 2000);
	assert_int_equal(rig_failures(&stage.rig, STATS_FAIL_TIMEOUT), 4);
	close(client);
	black_hole_close(&hole);
	stage_close(&stage);
}

/* ---- idle timeout ---- */

static void an_idle_connection_is_reset_and_a_busy_one_is_not(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	int idle, busy, idle_backend, busy_backend;
	struct stage stage;
	int64_t begun_ms;

	(void)state;
	options.idle_timeout_ms = 400;
	stage_open(&stage, 1, 1, &options);
	begun_ms = now_ms();
	idle = rig_connect(&stage.rig);
	assert_int_equal(next_backend(&stage, 5000), 0);
	idle_backend = last_accepted(&stage);
	busy = rig_connect(&stage.rig);
	assert_int_equal(next_backend(&stage, 5000), 0);
	busy_backend = last_accepted(&stage);
	/* Now one side speaks, now the other. */
	for (int i = 0; i < 10; i++) {
		sleep_ms(60);
		send_text(i % 2 ? busy : busy_backend, "x");
		expect_text(i % 2 ? busy_backend : busy, "x");
	}
	expect_reset(idle);
	expect_reset(idle_backend);
	assert_true(now_ms() - begun_ms >= 400);
	assert_int_equal(rig_failures(&stage.rig, STATS_FAIL_IDLE), 1);
	assert_true(rig_wait_active(&stage.rig, 1));
	expect_reset(busy);
	assert_int_equal(rig_failures(&stage.rig, STATS_FAIL_IDLE), 2);
	close(idle);
	close(busy);
	stage_close(&stage);
}

static void a_changed_idle_timeout_holds_for_connections_that_are_there(void **state)
{
	struct stage stage;
	int client;

	(void)state;
	stage_open(&stage, 1, 1, NULL);
	client = rig_connect(&stage.rig);
	assert_int_equal(next_backend(&stage, 5000), 0);
	stage.options.idle_timeout_ms = 100;
	change_options(&stage);
	expect_reset(client);
	close(client);
	stage_close(&stage);
}

/* ---- limits ---- */

static uint64_t queued(struct stage *stage)
{
	return stats_listener_queued(stage->rig.stats, RIG_SLOT);
}

static void wait_queued(struct stage *stage, uint64_t value)
{
	int64_t deadline_ms = now_ms() + RIG_TIMEOUT_S * 1000;

	while (queued(stage) != value && now_ms() < deadline_ms)
		sleep_ms(2);
	assert_int_equal(queued(stage), value);
}

static struct service_options options_limited(uint32_t max, uint32_t length, uint32_t timeout_ms)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);

	options.max_connections = max;
	options.queue_length = length;
	options.queue_timeout_ms = timeout_ms;
	return options;
}

static void those_beyond_the_limit_wait_for_their_turn(void **state)
{
	struct service_options options = options_limited(2, 10, 0);
	int clients[5];
	struct stage stage;

	(void)state;
	stage_open(&stage, 1, 1, &options);
	for (int i = 0; i < 5; i++) {
		char name = (char)('a' + i);

		clients[i] = rig_connect(&stage.rig);
		send_all(clients[i], &name, 1);
		if (i < 2)
			assert_int_equal(next_backend(&stage, 5000), 0);
	}
	wait_queued(&stage, 3);
	assert_int_equal(next_backend(&stage, 100), -1);
	/* What they sent meanwhile arrives, and they come in the order of their coming. */
	expect_text(stage.accepted[0], "a");
	expect_text(stage.accepted[1], "b");
	for (int i = 2; i < 5; i++) {
		char name[2] = {(char)('a' + i)};

		close(clients[i - 2]);
		close(stage.accepted[i - 2]);
		stage.accepted[i - 2] = -1;
		assert_int_equal(next_backend(&stage, 5000), 0);
		expect_text(last_accepted(&stage), name);
	}
	assert_int_equal(queued(&stage), 0);
	assert_true(rig_wait_active(&stage.rig, 2));
	close(clients[3]);
	close(clients[4]);
	stage_close(&stage);
}

static void those_beyond_the_queue_are_reset(void **state)
{
	struct service_options options = options_limited(1, 2, 0);
	int clients[5];
	struct stage stage;

	(void)state;
	stage_open(&stage, 1, 1, &options);
	for (int i = 0; i < 5; i++)
		clients[i] = rig_connect(&stage.rig);
	expect_reset(clients[3]);
	expect_reset(clients[4]);
	assert_int_equal(rig_failures(&stage.rig, STATS_FAIL_QUEUE_FULL), 2);
	assert_int_equal(queued(&stage), 2);
	for (int i = 0; i < 5; i++)
		close(clients[i]);
	stage_close(&stage);
}

static void a_client_does_not_wait_longer_than_allowed(void **state)
{
	struct service_options options = options_limited(1, 10, 200);
	int first, second;
	struct stage stage;
	int64_t begun_ms;

	(void)state;
	stage_open(&stage, 1, 1, &options);
	first = rig_connect(&stage.rig);
	begun_ms = now_ms();
	second = rig_connect(&stage.rig);
	expect_reset(second);
	assert_true(now_ms() - begun_ms >= 199);
	assert_int_equal(rig_failures(&stage.rig, STATS_FAIL_QUEUE_TIMEOUT), 1);
	wait_queued(&stage, 0);
	close(first);
	close(second);
	stage_close(&stage);
}

static void a_client_that_leaves_the_queue_takes_nobodys_place(void **state)
{
	struct service_options options = options_limited(1, 10, 0);
	int clients[3];
	struct stage stage;

	(void)state;
	stage_open(&stage, 1, 1, &options);
	for (int i = 0; i < 3; i++)
		clients[i] = rig_connect(&stage.rig);
	wait_queued(&stage, 2);
	assert_int_equal(next_backend(&stage, 5000), 0);
	reset(clients[1]);
	wait_queued(&stage, 1);
	send_text(clients[2], "third");
	close(clients[0]);
	close(last_accepted(&stage));
	stage.accepted_count--;
	assert_int_equal(next_backend(&stage, 5000), 0);
	expect_text(last_accepted(&stage), "third");
	close(clients[2]);
	stage_close(&stage);
}

static void the_limit_holds_across_relays(void **state)
{
	enum { CLIENTS = 30, MAX = 3 };
	struct service_options options = options_limited(MAX, 100, 0);
	int clients[CLIENTS], served = 0;
	struct stage stage;

	(void)state;
	stage_open(&stage, 3, 1, &options);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = rig_connect(&stage.rig);
	/* The backend ends one connection at a time: never are there more than MAX. */
	while (served < CLIENTS) {
		while (stage.accepted_count < MAX && served < CLIENTS) {
			assert_int_equal(next_backend(&stage, 5000), 0);
			served++;
		}
		assert_int_equal(next_backend(&stage, 5), -1);
		assert_in_range(rig_active(&stage.rig), 0, MAX + 2);
		if (served < CLIENTS)
			reset(stage.accepted[--stage.accepted_count]);
	}
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
	stage_close(&stage);
}

static void a_raised_limit_lets_the_waiting_in(void **state)
{
	struct service_options options = options_limited(1, 10, 0);
	int clients[3];
	struct stage stage;

	(void)state;
	stage_open(&stage, 2, 1, &options);
	for (int i = 0; i < 3; i++)
		clients[i] = rig_connect(&stage.rig);
	wait_queued(&stage, 2);
	stage.options.max_connections = 0;
	change_options(&stage);
	for (int i = 0; i < 3; i++)
		assert_int_equal(next_backend(&stage, 5000), 0);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	stage_close(&stage);
}

static void a_listener_that_closes_refuses_the_waiting(void **state)
{
	struct service_options options = options_limited(1, 10, 0);
	int first, second;
	struct stage stage;

	(void)state;
	stage_open(&stage, 1, 1, &options);
	first = rig_connect(&stage.rig);
	second = rig_connect(&stage.rig);
	wait_queued(&stage, 1);
	rig_close_listener(&stage.rig);
	expect_reset(second);
	assert_int_equal(next_backend(&stage, 5000), 0);
	send_text(first, "still here");
	expect_text(last_accepted(&stage), "still here");
	close(first);
	close(second);
	stage_close(&stage);
}

/* ---- removed endpoints ---- */

/* Connects one client to each of two backends, then removes the second. */
static void remove_one(struct stage *stage, const struct service_options *options, int *kept, int *removed)
{
	*kept = *removed = -1;
	stage_open(stage, 1, 2, options);
	for (int i = 0; i < 2; i++) {
		int client = rig_connect(&stage->rig);

		*(next_backend(stage, 5000) == 0 ? kept : removed) = client;
	}
	rig_backend_list(&stage->rig, stage->backends, 1);
	sleep_ms(50);
}

static void expect_alive(struct stage *stage, int client)
{
	int found = 0;

	send_text(client, "x");
	for (size_t i = 0; i < stage->accepted_count; i++) {
		struct pollfd fd = {.fd = stage->accepted[i], .events = POLLIN};
		char byte;

		if (poll(&fd, 1, 300) == 1 && recv(fd.fd, &byte, 1, 0) == 1)
			found++;
	}
	assert_int_equal(found, 1);
}

static void connections_of_a_removed_endpoint_finish_by_default(void **state)
{
	int kept, removed;
	struct stage stage;

	(void)state;
	remove_one(&stage, NULL, &kept, &removed);
	expect_alive(&stage, removed);
	expect_alive(&stage, kept);
	close(kept);
	close(removed);
	stage_close(&stage);
}

static void connections_of_a_removed_endpoint_are_reset_if_the_service_says_so(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	int kept, removed;
	struct stage stage;

	(void)state;
	options.removal = SERVICE_REMOVAL_RESET;
	remove_one(&stage, &options, &kept, &removed);
	expect_reset(removed);
	assert_int_equal(rig_failures(&stage.rig, STATS_FAIL_REMOVED), 1);
	expect_alive(&stage, kept);
	close(kept);
	close(removed);
	stage_close(&stage);
}

static void connections_of_a_removed_endpoint_may_drain(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	int kept, removed;
	struct stage stage;
	int64_t begun_ms = now_ms();

	(void)state;
	options.removal = SERVICE_REMOVAL_DRAIN;
	options.drain_ms = 700;
	remove_one(&stage, &options, &kept, &removed);
	expect_alive(&stage, removed);
	/* Another change of the list does not give them more time. */
	rig_backend_list(&stage.rig, stage.backends, 1);
	expect_reset(removed);
	assert_in_range(now_ms() - begun_ms, 700, 3000);
	expect_alive(&stage, kept);
	close(kept);
	close(removed);
	stage_close(&stage);
}

static void connections_of_an_endpoint_that_comes_back_stay(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	int kept, removed;
	struct stage stage;

	(void)state;
	options.removal = SERVICE_REMOVAL_DRAIN;
	options.drain_ms = 300;
	remove_one(&stage, &options, &kept, &removed);
	/* Its old slot is still counted on: it gets another. */
	stage.backends[1].slot += 5;
	rig_backend_list(&stage.rig, stage.backends, 2);
	sleep_ms(500);
	expect_alive(&stage, removed);
	assert_int_equal(stats_backend_active(stage.rig.stats, RIG_BACKEND_SLOT + 1), 0);
	assert_int_equal(stats_backend_active(stage.rig.stats, RIG_BACKEND_SLOT + 6), 1);
	close(kept);
	close(removed);
	stage_close(&stage);
}

static void connections_of_a_removed_service_finish_by_default(void **state)
{
	struct stage stage;
	int client;

	(void)state;
	stage_open(&stage, 1, 1, NULL);
	client = rig_connect(&stage.rig);
	assert_int_equal(next_backend(&stage, 5000), 0);
	rig_close_listener(&stage.rig);
	expect_alive(&stage, client);
	close(client);
	stage_close(&stage);
}

static void connections_of_a_removed_service_are_reset_if_it_said_so(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	struct stage stage;
	int client;

	(void)state;
	options.removal = SERVICE_REMOVAL_RESET;
	stage_open(&stage, 1, 1, &options);
	client = rig_connect(&stage.rig);
	assert_int_equal(next_backend(&stage, 5000), 0);
	rig_close_listener(&stage.rig);
	expect_reset(client);
	assert_int_equal(rig_failures(&stage.rig, STATS_FAIL_REMOVED), 1);
	close(client);
	stage_close(&stage);
}

static void connections_of_a_removed_service_may_drain(void **state)
{
	struct service_options options = options_with(SCHEDULER_RR, 0);
	struct stage stage;
	int64_t begun_ms;
	int client;

	(void)state;
	options.removal = SERVICE_REMOVAL_DRAIN;
	options.drain_ms = 500;
	stage_open(&stage, 1, 1, &options);
	client = rig_connect(&stage.rig);
	assert_int_equal(next_backend(&stage, 5000), 0);
	begun_ms = now_ms();
	rig_close_listener(&stage.rig);
	expect_alive(&stage, client);
	expect_reset(client);
	assert_true(now_ms() - begun_ms >= 499);
	close(client);
	stage_close(&stage);
}

/* ---- portals ---- */

static struct addr_port at(const char *addr, uint16_t port)
{
	struct addr_port at = {.port = port};

	assert_int_equal(addr_parse(&at.addr, addr), 0);
	return at;
}

static void a_portal_is_found_by_its_address_first(void **state)
{
	const struct ipc_relay_portal portals[] = {
		{at("0.0.0.0", 80), false}, {at("10.96.0.1", 80), true}, {at("::", 81), true}};
	const struct {
		struct addr_port meant;
		const struct ipc_relay_portal *portal;
	} cases[] = {
		{at("10.96.0.1", 80), &portals[1]},
		{at("10.96.0.2", 80), &portals[0]},
		{at("fd00::1", 80), NULL},
		{at("fd00::1", 81), &portals[2]},
		{at("10.96.0.1", 81), NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_ptr_equal(portal_find(portals, 3, &cases[i].meant), cases[i].portal);
}

static void a_portal_with_source_ranges_admits_who_is_in_one(void **state)
{
	const struct ipc_relay_portal open = {at("10.96.0.1", 80), false},
				      checked = {at("192.0.2.1", 80), true};
	static const struct {
		const char *client;
		bool admitted;
	} cases[] = {
		{"10.1.2.3", true},
		{"10.2.0.0", false},
		{"192.168.7.7", true},
		{"192.168.7.8", false},
		{"2001:db8:1::9", true},
		{"2001:db8:2::9", false},
	};
	struct addr_prefix ranges[3];

	(void)state;
	assert_int_equal(addr_parse_prefix(&ranges[0], "10.1.0.0/16"), 0);
	assert_int_equal(addr_parse_prefix(&ranges[1], "192.168.7.7/32"), 0);
	assert_int_equal(addr_parse_prefix(&ranges[2], "2001:db8:1::/48"), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addr_port client = at(cases[i].client, 0);

		assert_int_equal(portal_admits(&checked, ranges, 3, &client.addr), cases[i].admitted);
		assert_true(portal_admits(&open, ranges, 3, &client.addr));
		/* Ranges of the other family only. */
		assert_false(portal_admits(&checked, ranges, 0, &client.addr));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weights_hold_across_relays),
		cmocka_unit_test(least_connections_counts_those_of_all_relays),
		cmocka_unit_test(source_hashing_keeps_a_client_at_its_backend),
		cmocka_unit_test(a_client_stays_and_clients_are_shared_out),
		cmocka_unit_test(connections_of_one_client_at_once_agree_across_relays),
		cmocka_unit_test(a_pin_outlives_a_killed_relay_and_a_reload),
		cmocka_unit_test(a_pinned_backend_that_fails_is_replaced_within_the_connect),
		cmocka_unit_test(a_pinned_backend_that_leaves_is_replaced),
		cmocka_unit_test(a_changed_affinity_timeout_takes_effect_at_once),
		cmocka_unit_test(proxy_headers_are_as_specified),
		cmocka_unit_test(the_longest_proxy_header_has_room),
		cmocka_unit_test(the_backend_learns_the_client_before_its_first_byte),
		cmocka_unit_test(the_header_comes_without_a_byte_from_the_client),
		cmocka_unit_test(the_header_comes_once_after_failed_attempts),
		cmocka_unit_test(bulk_behind_the_header_arrives_whole),
		cmocka_unit_test(the_services_connect_timeout_limits_each_attempt),
		cmocka_unit_test(an_idle_connection_is_reset_and_a_busy_one_is_not),
		cmocka_unit_test(a_changed_idle_timeout_holds_for_connections_that_are_there),
		cmocka_unit_test(those_beyond_the_limit_wait_for_their_turn),
		cmocka_unit_test(those_beyond_the_queue_are_reset),
		cmocka_unit_test(a_client_does_not_wait_longer_than_allowed),
		cmocka_unit_test(a_client_that_leaves_the_queue_takes_nobodys_place),
		cmocka_unit_test(the_limit_holds_across_relays),
		cmocka_unit_test(a_raised_limit_lets_the_waiting_in),
		cmocka_unit_test(a_listener_that_closes_refuses_the_waiting),
		cmocka_unit_test(connections_of_a_removed_endpoint_finish_by_default),
		cmocka_unit_test(connections_of_a_removed_endpoint_are_reset_if_the_service_says_so),
		cmocka_unit_test(connections_of_a_removed_endpoint_may_drain),
		cmocka_unit_test(connections_of_an_endpoint_that_comes_back_stay),
		cmocka_unit_test(connections_of_a_removed_service_finish_by_default),
		cmocka_unit_test(connections_of_a_removed_service_are_reset_if_it_said_so),
		cmocka_unit_test(connections_of_a_removed_service_may_drain),
		cmocka_unit_test(a_portal_is_found_by_its_address_first),
		cmocka_unit_test(a_portal_with_source_ranges_admits_who_is_in_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
