/* Which backend a relayed connection reaches, and what happens when one, or none, can be reached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay_rig.h"

/* Backends that say their number to everyone and wait for the end. */
struct greeter {
	int listener;
	struct addr_port at;
	char name;
	pthread_t thread;
};

static void *greeter_run(void *argument)
{
	struct greeter *greeter = argument;
	int fd;

	while ((fd = accept4(greeter->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		if (send(fd, &greeter->name, 1, MSG_NOSIGNAL) < 0)
			continue;
		close(fd);
	}
	return NULL;
}

static void greeter_open(struct greeter *greeter, char name)
{
	greeter->name = name;
	greeter->listener = backend_listen(&greeter->at, 4096);
	pthread_create(&greeter->thread, NULL, greeter_run, greeter);
}

static void greeter_close(struct greeter *greeter)
{
	/* Wakes accept. */
	shutdown(greeter->listener, SHUT_RDWR);
	pthread_join(greeter->thread, NULL);
	close(greeter->listener);
}

/* Connects, reads the greeting; 0 if the connection was reset. */
static char greeted_by(const struct rig *rig)
{
	int fd = rig_connect(rig);
	char name = 0;

	if (recv(fd, &name, 1, 0) == 1)
		expect_end(fd);
	close(fd);
	return name;
}

static void start(struct rig *rig, const struct addr_port *backends, size_t count)
{
	struct rig_options options = {0};

	rig_start(rig, &options);
	rig_backends(rig, backends, count);
}

static void three_backends_get_a_thousand_each_from_two_relays(void **state)
{
	struct rig_options options = {.relay_count = 2};
	struct greeter greeters[3];
	uint32_t counts[3] = {0};
	struct rig rig;

	(void)state;
	rig_start(&rig, &options);
	for (int i = 0; i < 3; i++)
		greeter_open(&greeters[i], (char)('0' + i));
	rig_backends(&rig, (struct addr_port[]){greeters[0].at, greeters[1].at, greeters[2].at}, 3);
	for (int i = 0; i < 3000; i++) {
		char name = greeted_by(&rig);

		assert_in_range(name, '0', '2');
		counts[name - '0']++;
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(counts[i], 1000);
		assert_int_equal(rig_backend_connections(&rig, (size_t)i), 1000);
		greeter_close(&greeters[i]);
	}
	/* Both relays had their part. */
	for (uint32_t i = 0; i < 2; i++)
		assert_in_range(atomic_load(&stats_listener(rig.stats, i, RIG_SLOT)->accepted), 500, 2500);
	rig_stop(&rig);
}

static void a_refusing_backend_costs_no_request(void **state)
{
	struct greeter greeter;
	struct rig rig;

	(void)state;
	start(&rig, NULL, 0);
	greeter_open(&greeter, 'g');
	rig_backends(&rig, (struct addr_port[]){refusing_port(), greeter.at, refusing_port()}, 3);
	for (int i = 0; i < 100; i++)
		assert_int_equal(greeted_by(&rig), 'g');
	assert_int_equal(rig_failures(&rig, STATS_FAIL_ALL_BACKENDS), 0);
	/* Each was tried once, then set aside: not once for every connection. */
	assert_in_range(rig_failures(&rig, STATS_FAIL_REFUSED), 2, 10);
	greeter_close(&greeter);
	rig_stop(&rig);
}

static int compare_latencies(const void *a, const void *b)
{
	return (int)(*(const int64_t *)a - *(const int64_t *)b);
}

static void dead_and_black_holed_backends_tax_few_clients(void **state)
{
	enum { CONNECTIONS = 400 };
	int64_t latencies_ms[CONNECTIONS], start_ms;
	struct black_hole hole;
	struct greeter greeter;
	struct rig rig;

	(void)state;
	start(&rig, NULL, 0);
	greeter_open(&greeter, 'g');
	black_hole_open(&hole);
	rig_backends(&rig, (struct addr_port[]){hole.at, refusing_port(), greeter.at}, 3);
	for (int i = 0; i < CONNECTIONS; i++) {
		start_ms = now_ms();
		assert_int_equal(greeted_by(&rig), 'g');
		latencies_ms[i] = now_ms() - start_ms;
		sleep_ms(2);
	}
	/* The first one meets the black hole; later ones only when it is tried again, once a pause. */
	assert_in_range(latencies_ms[0], 240, 1000);
	qsort(latencies_ms, CONNECTIONS, sizeof(latencies_ms[0]), compare_latencies);
	assert_in_range(latencies_ms[CONNECTIONS / 2], 0, 20);
	assert_in_range(latencies_ms[CONNECTIONS * 98 / 100], 0, 100);
	assert_int_equal(rig_failures(&rig, STATS_FAIL_ALL_BACKENDS), 0);
	assert_in_range(rig_failures(&rig, STATS_FAIL_TIMEOUT), 1, 4);
	black_hole_close(&hole);
	greeter_close(&greeter);
	rig_stop(&rig);
}

static void a_backend_that_comes_back_is_used_again(void **state)
{
	struct addr_port at = refusing_port();
	struct greeter good;
	int64_t deadline_ms;
	struct rig rig;
	int returned;

	(void)state;
	start(&rig, NULL, 0);
	greeter_open(&good, 'g');
	rig_backends(&rig, (struct addr_port[]){at, good.at}, 2);
	for (int i = 0; i < 10; i++)
		assert_int_equal(greeted_by(&rig), 'g');
	assert_int_equal(rig_failures(&rig, STATS_FAIL_REFUSED), 1);
	returned = backend_listen_at(&at, 128);
	deadline_ms = now_ms() + 5000;
	while (rig_backend_connections(&rig, 0) == 0 && now_ms() < deadline_ms) {
		close(rig_connect(&rig));
		sleep_ms(20);
	}
	assert_true(rig_backend_connections(&rig, 0) > 0);
	assert_true(now_ms() < deadline_ms);
	close(returned);
	greeter_close(&good);
	rig_stop(&rig);
}

static void when_every_backend_refuses_the_client_is_reset_and_counted(void **state)
{
	struct rig rig;
	int client;

	(void)state;
	start(&rig, (struct addr_port[]){refusing_port(), refusing_port()}, 2);
	client = rig_connect(&rig);
	expect_reset(client);
	close(client);
	assert_true(rig_wait_failures(&rig, STATS_FAIL_ALL_BACKENDS, 1));
	assert_int_equal(rig_failures(&rig, STATS_FAIL_REFUSED), 2);
	/* All set aside, tried all the same. */
	client = rig_connect(&rig);
	expect_reset(client);
	close(client);
	assert_true(rig_wait_failures(&rig, STATS_FAIL_ALL_BACKENDS, 2));
	assert_int_equal(rig_failures(&rig, STATS_FAIL_REFUSED), 4);
	assert_true(rig_wait_active(&rig, 0));
	rig_stop(&rig);
}

static void a_silent_backend_is_tried_four_times(void **state)
{
	struct black_hole hole;
	int64_t start_ms;
	struct rig rig;
	int client;

	(void)state;
	start(&rig, NULL, 0);
	black_hole_open(&hole);
	rig_backends(&rig, (struct addr_port[]){hole.at, refusing_port()}, 2);
	start_ms = now_ms();
	client = rig_connect(&rig);
	expect_reset(client);
	assert_in_range(now_ms() - start_ms, 3700, 4700);
	close(client);
	assert_int_equal(rig_failures(&rig, STATS_FAIL_TIMEOUT), 4);
	assert_int_equal(rig_failures(&rig, STATS_FAIL_REFUSED), 1);
	assert_true(rig_wait_failures(&rig, STATS_FAIL_ALL_BACKENDS, 1));
	black_hole_close(&hole);
	rig_stop(&rig);
}

static void a_service_without_backends_resets_and_counts(void **state)
{
	struct rig rig;
	int client;

	(void)state;
	start(&rig, NULL, 0);
	client = rig_connect(&rig);
	expect_reset(client);
	close(client);
	assert_true(rig_wait_failures(&rig, STATS_FAIL_NO_BACKEND, 1));
	rig_stop(&rig);
}

static void a_client_that_resets_while_dialing_ends_the_dial(void **state)
{
	struct black_hole hole;
	struct rig rig;
	int client;

	(void)state;
	start(&rig, NULL, 0);
	black_hole_open(&hole);
	rig_backends(&rig, &hole.at, 1);
	client = rig_connect(&rig);
	assert_true(rig_wait_active(&rig, 1));
	reset(client);
	/* Long before the first attempt's limit. */
	sleep_ms(100);
	assert_int_equal(rig_active(&rig), 0);
	assert_int_equal(rig_failures(&rig, STATS_FAIL_TIMEOUT), 0);
	black_hole_close(&hole);
	rig_stop(&rig);
}

static void new_backends_get_the_next_connections_and_old_ones_finish(void **state)
{
	struct addr_port first_at, second_at;
	struct pair first, second;
	int listeners[2];
	struct rig rig;

	(void)state;
	start(&rig, NULL, 0);
	listeners[0] = backend_listen(&first_at, 16);
	listeners[1] = backend_listen(&second_at, 16);
	rig_backends(&rig, &first_at, 1);
	first = pair_open(&rig, listeners[0]);
	send_text(first.client, "one");
	expect_text(first.backend, "one");
	rig_backends(&rig, &second_at, 1);
	/* Until the relay has read it. */
	sleep_ms(50);
	second = pair_open(&rig, listeners[1]);
	send_text(second.client, "two");
	expect_text(second.backend, "two");
	send_text(first.backend, "still here");
	expect_text(first.client, "still here");
	pair_close(&first);
	pair_close(&second);
	close(listeners[0]);
	close(listeners[1]);
	rig_stop(&rig);
}

static void a_closed_listener_lets_its_connections_finish(void **state)
{
	struct addr_port at;
	struct pair pair;
	struct rig rig;
	int backend;

	(void)state;
	start(&rig, NULL, 0);
	backend = backend_listen(&at, 16);
	rig_backends(&rig, &at, 1);
	pair = pair_open(&rig, backend);
	rig_close_listener(&rig);
	listen_close(&rig.listener);
	sleep_ms(50);
	send_text(pair.client, "still");
	expect_text(pair.backend, "still");
	pair_close(&pair);
	assert_true(rig_wait_active(&rig, 0));
	close(backend);
	rig_stop(&rig);
}

static void connections_wait_while_a_listener_is_sent_again(void **state)
{
	struct rig_options options = {0};
	struct greeter greeter;
	struct rig rig;

	(void)state;
	start(&rig, NULL, 0);
	greeter_open(&greeter, 'g');
	rig_backends(&rig, &greeter.at, 1);
	for (int i = 0; i < 100; i++) {
		rig_listener(&rig, &options);
		assert_int_equal(greeted_by(&rig), 'g');
	}
	greeter_close(&greeter);
	rig_stop(&rig);
}

static void a_connection_that_was_not_steered_is_refused(void **state)
{
	struct addr_port portal, at;
	struct rig_options options = {.check_destination = true, .portals = &portal, .portal_count = 1};
	struct rig rig;
	int client, backend;

	(void)state;
	addr_parse(&portal.addr, "10.97.97.97");
	portal.port = 80;
	rig_start(&rig, &options);
	backend = backend_listen(&at, 16);
	rig_backends(&rig, &at, 1);
	client = rig_connect(&rig);
	expect_reset(client);
	close(client);
	assert_true(rig_wait_failures(&rig, STATS_FAIL_NOT_STEERED, 1));
	assert_int_equal(rig_backend_connections(&rig, 0), 0);
	close(backend);
	rig_stop(&rig);
}

static void a_message_that_is_not_for_relays_ends_the_relay(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, NULL, 0);
	assert_int_equal(ipc_send_files_get(rig.channels[0], 1), 0);
	/* Before the end of the channel, which would be a reason to go as well. */
	sleep_ms(100);
	rig_stop_expecting(&rig, 1);
}

static void a_relay_that_ends_resets_its_connections(void **state)
{
	struct addr_port at;
	struct pair pair;
	struct rig rig;
	int backend;

	(void)state;
	start(&rig, NULL, 0);
	backend = backend_listen(&at, 16);
	rig_backends(&rig, &at, 1);
	pair = pair_open(&rig, backend);
	send_text(pair.backend, "half an ans");
	expect_text(pair.client, "half an ans");
	rig_stop(&rig);
	expect_reset(pair.client);
	expect_reset(pair.backend);
	pair_close(&pair);
	close(backend);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_backends_get_a_thousand_each_from_two_relays),
		cmocka_unit_test(a_refusing_backend_costs_no_request),
		cmocka_unit_test(dead_and_black_holed_backends_tax_few_clients),
		cmocka_unit_test(a_backend_that_comes_back_is_used_again),
		cmocka_unit_test(when_every_backend_refuses_the_client_is_reset_and_counted),
		cmocka_unit_test(a_silent_backend_is_tried_four_times),
		cmocka_unit_test(a_service_without_backends_resets_and_counts),
		cmocka_unit_test(a_client_that_resets_while_dialing_ends_the_dial),
		cmocka_unit_test(new_backends_get_the_next_connections_and_old_ones_finish),
		cmocka_unit_test(a_closed_listener_lets_its_connections_finish),
		cmocka_unit_test(connections_wait_while_a_listener_is_sent_again),
		cmocka_unit_test(a_connection_that_was_not_steered_is_refused),
		cmocka_unit_test(a_message_that_is_not_for_relays_ends_the_relay),
		cmocka_unit_test(a_relay_that_ends_resets_its_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
