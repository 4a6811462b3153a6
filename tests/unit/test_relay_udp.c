/* What UDP clients and backends see of a relay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "udp_rig.h"

static void exchange(int client, int backend, const char *text)
{
	udp_send_text(client, text);
	udp_echo_once(backend);
	udp_expect(client, text, NULL);
}

static void test_an_answer_comes_back(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){0});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	exchange(client, backend, "hello");
	exchange(client, backend, "and again");
	assert_int_equal(udp_flows_begun(&rig), 1);
	assert_int_equal(rig_backend_connections(&rig, 0), 1);
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_empty_datagrams_are_relayed(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){0});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	exchange(client, backend, "");
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_the_biggest_datagram_stays_whole(void **state)
{
	uint8_t *sent = malloc(UDP_MOST_BYTES), *got = malloc(65536);
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct rig rig;

	(void)state;
	for (size_t i = 0; i < UDP_MOST_BYTES; i++)
		sent[i] = (uint8_t)(i * 7 + i / 251);
	udp_rig_start(&rig, (struct rig_options){0});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	udp_send(client, sent, UDP_MOST_BYTES);
	udp_echo_once(backend);
	assert_int_equal(recv(client, got, 65536, 0), UDP_MOST_BYTES);
	assert_memory_equal(got, sent, UDP_MOST_BYTES);
	free(sent);
	free(got);
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_clients_do_not_get_each_others_answers(void **state)
{
	struct addr_port at, first, second;
	int backend = udp_backend(&at), one, other;
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){0});
	rig_backends(&rig, &at, 1);
	one = udp_client(&rig);
	other = udp_client(&rig);
	udp_send_text(one, "one");
	udp_expect(backend, "one", &first);
	udp_send_text(other, "other");
	udp_expect(backend, "other", &second);
	assert_int_not_equal(first.port, second.port);
	udp_answer(backend, &second, "to other", 8);
	udp_answer(backend, &first, "to one", 6);
	udp_expect(one, "to one", NULL);
	udp_expect(other, "to other", NULL);
	close(one);
	close(other);
	close(backend);
	rig_stop(&rig);
}

static void expect_answer_from(struct rig *rig, int backend, uint32_t addr)
{
	struct addr_port own = at_v4(0x7f000001, 0), to = at_v4(addr, rig->listener.at.port), from;
	int client = udp_socket(&own);

	udp_answer(client, &to, "where", 5);
	udp_echo_once(backend);
	udp_expect(client, "where", &from);
	assert_true(addr_port_equal(&from, &to));
	close(client);
}

static void test_answers_leave_from_the_address_that_was_asked(void **state)
{
	struct addr any = addr_any(ADDR_V4);
	struct addr_port at;
	int backend = udp_backend(&at);
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.bind = &any});
	rig_backends(&rig, &at, 1);
	expect_answer_from(&rig, backend, 0x7f000001);
	expect_answer_from(&rig, backend, 0x7f000002);
	expect_answer_from(&rig, backend, 0x7f010203);
	close(backend);
	rig_stop(&rig);
}

/* One client socket, two of the relay's addresses: the answers must not be mixed up. */
static void test_flows_are_told_apart_by_the_address_that_was_asked(void **state)
{
	struct addr any = addr_any(ADDR_V4);
	struct addr_port at, own = at_v4(0x7f000001, 0), one, other, first, second, from;
	int backend = udp_backend(&at), client = udp_socket(&own);
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.bind = &any});
	rig_backends(&rig, &at, 1);
	one = at_v4(0x7f000002, rig.listener.at.port);
	other = at_v4(0x7f000003, rig.listener.at.port);
	udp_answer(client, &one, "2", 1);
	udp_expect(backend, "2", &first);
	udp_answer(client, &other, "3", 1);
	udp_expect(backend, "3", &second);
	udp_answer(backend, &second, "from 3", 6);
	udp_expect(client, "from 3", &from);
	assert_true(addr_port_equal(&from, &other));
	udp_answer(backend, &first, "from 2", 6);
	udp_expect(client, "from 2", &from);
	assert_true(addr_port_equal(&from, &one));
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_ipv6_is_relayed(void **state)
{
	struct addr any = addr_any(ADDR_V6);
	struct addr_port at = {.addr = {{[15] = 1}}};
	int backend, client;
	struct rig rig;

	(void)state;
	backend = udp_socket(&at);
	udp_rig_start(&rig, (struct rig_options){.bind = &any});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	exchange(client, backend, "six");
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_a_slow_first_answer_arrives(void **state)
{
	struct addr_port at, flow;
	int backend = udp_backend(&at), client;
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){0});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	udp_send_text(client, "question");
	udp_expect(backend, "question", &flow);
	sleep_ms(2000);
	udp_answer(backend, &flow, "answer", 6);
	udp_expect(client, "answer", NULL);
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_an_answered_flow_ends_when_it_is_idle(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), client;
	int64_t start_ms;
	struct rig rig;
	size_t fds;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 300});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	exchange(client, backend, "once");
	start_ms = now_ms();
	fds = udp_relay_fds(&rig);
	assert_int_equal(rig_active(&rig), 1);
	assert_true(udp_wait_fds(&rig, fds - 1));
	assert_in_range(now_ms() - start_ms, 250, 3000);
	assert_true(rig_wait_active(&rig, 0));
	/* And a fresh one begins with the next datagram. */
	exchange(client, backend, "twice");
	assert_int_equal(udp_flows_begun(&rig), 2);
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_a_flow_without_an_answer_ends_too(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct rig rig;
	size_t fds;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_first_ms = 200});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	udp_send_text(client, "mute");
	udp_expect(backend, "mute", NULL);
	fds = udp_relay_fds(&rig);
	assert_true(udp_wait_fds(&rig, fds - 1));
	assert_true(rig_wait_active(&rig, 0));
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_datagrams_keep_a_flow_alive(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 1000});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	for (int i = 0; i < 6; i++) {
		exchange(client, backend, "still here");
		sleep_ms(300);
	}
	assert_int_equal(udp_flows_begun(&rig), 1);
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_clients_are_spread_over_the_backends(void **state)
{
	struct addr_port at[3];
	int backends[3], clients[9];
	struct rig rig;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		backends[i] = udp_backend(&at[i]);
	udp_rig_start(&rig, (struct rig_options){.relay_count = 2});
	rig_backends(&rig, at, 3);
	sleep_ms(50);
	for (size_t i = 0; i < 9; i++) {
		clients[i] = udp_client(&rig);
		udp_send_text(clients[i], "hello");
	}
	for (size_t i = 0; i < 9; i++)
		udp_expect(backends[i % 3], "hello", NULL);
	for (size_t i = 0; i < 9; i++)
		close(clients[i]);
	for (size_t i = 0; i < 3; i++)
		close(backends[i]);
	rig_stop(&rig);
}

static void test_a_client_keeps_its_relay_and_backend(void **state)
{
	struct addr_port at[3];
	struct udp_echo echoes[3];
	struct rig rig;
	int client;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		udp_echo_start(&echoes[i]);
		at[i] = echoes[i].at;
	}
	udp_rig_start(&rig, (struct rig_options){.relay_count = 4, .udp_idle_ms = 5000});
	rig_backends(&rig, at, 3);
	client = udp_client(&rig);
	for (int i = 0; i < 50; i++) {
		udp_send_text(client, "same");
		udp_expect(client, "same", NULL);
	}
	assert_int_equal(udp_flows_begun(&rig), 1);
	close(client);
	for (size_t i = 0; i < 3; i++)
		udp_echo_stop(&echoes[i]);
	rig_stop(&rig);
}

static void test_a_refused_datagram_goes_to_another_backend(void **state)
{
	struct addr_port at[3];
	int backend, clients[4];
	struct rig rig;

	(void)state;
	at[0] = udp_refusing();
	at[1] = udp_refusing();
	backend = udp_backend(&at[2]);
	udp_rig_start(&rig, (struct rig_options){0});
	rig_backends(&rig, at, 3);
	for (size_t i = 0; i < 4; i++) {
		clients[i] = udp_client(&rig);
		exchange(clients[i], backend, "whoever");
		assert_true(udp_silent(backend, 20));
	}
	/* Once each: then they are set aside. */
	assert_int_equal(rig_failures(&rig, STATS_FAIL_REFUSED), 2);
	for (size_t i = 0; i < 4; i++)
		close(clients[i]);
	close(backend);
	rig_stop(&rig);
}

/* The flow is well established when its backend dies. */
static void test_a_backend_that_dies_is_replaced_with_the_datagram_it_refused(void **state)
{
	struct addr_port at[2];
	int backends[2], client, used;
	struct rig rig;

	(void)state;
	backends[0] = udp_backend(&at[0]);
	backends[1] = udp_backend(&at[1]);
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 5000});
	rig_backends(&rig, at, 2);
	client = udp_client(&rig);
	udp_send_text(client, "first");
	used = udp_comes(backends[0], 200) ? 0 : 1;
	udp_echo_once(backends[used]);
	udp_expect(client, "first", NULL);
	close(backends[used]);
	exchange(client, backends[1 - used], "second");
	exchange(client, backends[1 - used], "third");
	close(client);
	close(backends[1 - used]);
	rig_stop(&rig);
}

static void test_datagrams_are_lost_and_counted_if_every_backend_refuses(void **state)
{
	struct addr_port at[2] = {udp_refusing(), udp_refusing()};
	struct rig rig;
	int client;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){0});
	rig_backends(&rig, at, 2);
	client = udp_client(&rig);
	udp_send_text(client, "nobody");
	assert_true(rig_wait_failures(&rig, STATS_FAIL_ALL_BACKENDS, 1));
	assert_int_equal(rig_failures(&rig, STATS_FAIL_REFUSED), 2);
	assert_true(rig_wait_active(&rig, 0));
	close(client);
	rig_stop(&rig);
}

static void test_a_datagram_without_backends_is_lost_and_counted(void **state)
{
	struct rig rig;
	int client;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){0});
	/* Until a relay has been told its backends, and be it that there are none, it does not read. */
	rig_backends(&rig, NULL, 0);
	client = udp_client(&rig);
	udp_send_text(client, "nobody");
	assert_true(rig_wait_failures(&rig, STATS_FAIL_NO_BACKEND, 1));
	assert_int_equal(udp_flows_begun(&rig), 0);
	close(client);
	rig_stop(&rig);
}

static void test_the_flows_of_a_removed_endpoint_move(void **state)
{
	struct addr_port at[2];
	int backends[2], client;
	struct rig rig;

	(void)state;
	backends[0] = udp_backend(&at[0]);
	backends[1] = udp_backend(&at[1]);
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 5000});
	rig_backends(&rig, &at[0], 1);
	client = udp_client(&rig);
	exchange(client, backends[0], "old");
	rig_backends_from(&rig, &at[1], 1, 1);
	sleep_ms(50);
	exchange(client, backends[1], "new");
	assert_int_equal(udp_flows_begun(&rig), 1);
	close(client);
	close(backends[0]);
	close(backends[1]);
	rig_stop(&rig);
}

static void test_a_new_endpoint_leaves_flows_where_they_are(void **state)
{
	struct addr_port at[3], first, again;
	int backends[3], client;
	struct rig rig;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		backends[i] = udp_backend(&at[i]);
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 5000});
	rig_backends(&rig, at, 1);
	client = udp_client(&rig);
	udp_send_text(client, "before");
	udp_expect(backends[0], "before", &first);
	rig_backends(&rig, at, 3);
	sleep_ms(50);
	udp_send_text(client, "after");
	udp_expect(backends[0], "after", &again);
	assert_true(addr_port_equal(&first, &again));
	close(client);
	for (size_t i = 0; i < 3; i++)
		close(backends[i]);
	rig_stop(&rig);
}

static void test_flows_end_with_the_last_endpoint(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 5000});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	exchange(client, backend, "there");
	rig_backends(&rig, NULL, 0);
	sleep_ms(50);
	udp_send_text(client, "gone");
	assert_true(rig_wait_failures(&rig, STATS_FAIL_NO_BACKEND, 1));
	assert_true(rig_wait_active(&rig, 0));
	assert_true(udp_silent(backend, 50));
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_flows_end_with_their_listener(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct rig rig;
	size_t fds;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 5000});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	exchange(client, backend, "open");
	fds = udp_relay_fds(&rig);
	rig_close_listener(&rig);
	/* Without flow and listener. */
	assert_true(udp_wait_fds(&rig, fds - 2));
	assert_int_equal(rig_active(&rig), 0);
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_flows_survive_a_change_of_their_listener(void **state)
{
	struct rig_options options = {.proto = PROTO_UDP, .udp_idle_ms = 5000};
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, options);
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	exchange(client, backend, "before");
	options.udp_idle_ms = 200;
	rig_listener(&rig, &options);
	rig_backends(&rig, &at, 1);
	sleep_ms(50);
	exchange(client, backend, "after");
	assert_int_equal(udp_flows_begun(&rig), 1);
	/* The new timeout holds. */
	assert_true(rig_wait_active(&rig, 0));
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_a_client_address_keeps_its_backend_with_affinity(void **state)
{
	struct addr_port at[3];
	struct udp_echo echoes[3];
	uint64_t used = 0;
	struct rig rig;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		udp_echo_start(&echoes[i]);
		at[i] = echoes[i].at;
	}
	udp_rig_start(&rig, (struct rig_options){.affinity = true});
	rig_backends(&rig, at, 3);
	for (int i = 0; i < 12; i++) {
		int client = udp_client(&rig);

		udp_send_text(client, "me again");
		udp_expect(client, "me again", NULL);
		close(client);
	}
	for (size_t i = 0; i < 3; i++) {
		used += rig_backend_connections(&rig, i) > 0;
		udp_echo_stop(&echoes[i]);
	}
	assert_int_equal(used, 1);
	rig_stop(&rig);
}

static void test_clients_outside_the_source_ranges_are_not_served(void **state)
{
	struct addr_prefix range = {.addr = addr_v4(0x7f050000), .bits = 16};
	struct addr_port portal = at_v4(0x0a000001, 53), inside = at_v4(0x7f050001, 0), at;
	struct rig_options options = {
		.check_destination = true, .portals = &portal, .portal_count = 1, .source_range = &range};
	int backend = udp_backend(&at), client, stranger;
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, options);
	rig_backends(&rig, &at, 1);
	stranger = udp_client(&rig);
	udp_send_text(stranger, "let me in");
	assert_true(rig_wait_failures(&rig, STATS_FAIL_SOURCE_RANGE, 1));
	client = udp_socket(&inside);
	udp_answer(client, &rig.listener.at, "hello", 5);
	udp_expect(backend, "hello", NULL);
	assert_int_equal(udp_flows_begun(&rig), 1);
	close(client);
	close(stranger);
	close(backend);
	rig_stop(&rig);
}

static void test_a_service_has_no_more_flows_than_it_wants(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), clients[3];
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.max_connections = 2, .udp_idle_ms = 300});
	rig_backends(&rig, &at, 1);
	for (int i = 0; i < 3; i++) {
		clients[i] = udp_client(&rig);
		udp_send_text(clients[i], "hello");
	}
	assert_true(rig_wait_failures(&rig, STATS_FAIL_QUEUE_FULL, 1));
	assert_int_equal(rig_active(&rig), 2);
	udp_echo_once(backend);
	udp_echo_once(backend);
	assert_true(udp_silent(backend, 50));
	/* When one has ended there is room for another. */
	assert_true(rig_wait_active(&rig, 0));
	exchange(clients[2], backend, "hello");
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	close(backend);
	rig_stop(&rig);
}

static void test_datagrams_and_bytes_are_counted(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct stats_listener_counters *counters;
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 5000});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	exchange(client, backend, "12345");
	exchange(client, backend, "678");
	counters = stats_listener(rig.stats, 0, RIG_SLOT);
	assert_int_equal(atomic_load(&counters->datagrams_in), 2);
	assert_int_equal(atomic_load(&counters->bytes_in), 8);
	assert_int_equal(atomic_load(&counters->datagrams_out), 2);
	assert_int_equal(atomic_load(&counters->bytes_out), 8);
	assert_int_equal(atomic_load(&counters->active), 1);
	close(client);
	close(backend);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_comes_back),
		cmocka_unit_test(test_empty_datagrams_are_relayed),
		cmocka_unit_test(test_the_biggest_datagram_stays_whole),
		cmocka_unit_test(test_clients_do_not_get_each_others_answers),
		cmocka_unit_test(test_answers_leave_from_the_address_that_was_asked),
		cmocka_unit_test(test_flows_are_told_apart_by_the_address_that_was_asked),
		cmocka_unit_test(test_ipv6_is_relayed),
		cmocka_unit_test(test_a_slow_first_answer_arrives),
		cmocka_unit_test(test_an_answered_flow_ends_when_it_is_idle),
		cmocka_unit_test(test_a_flow_without_an_answer_ends_too),
		cmocka_unit_test(test_datagrams_keep_a_flow_alive),
		cmocka_unit_test(test_clients_are_spread_over_the_backends),
		cmocka_unit_test(test_a_client_keeps_its_relay_and_backend),
		cmocka_unit_test(test_a_refused_datagram_goes_to_another_backend),
		cmocka_unit_test(test_a_backend_that_dies_is_replaced_with_the_datagram_it_refused),
		cmocka_unit_test(test_datagrams_are_lost_and_counted_if_every_backend_refuses),
		cmocka_unit_test(test_a_datagram_without_backends_is_lost_and_counted),
		cmocka_unit_test(test_the_flows_of_a_removed_endpoint_move),
		cmocka_unit_test(test_a_new_endpoint_leaves_flows_where_they_are),
		cmocka_unit_test(test_flows_end_with_the_last_endpoint),
		cmocka_unit_test(test_flows_end_with_their_listener),
		cmocka_unit_test(test_flows_survive_a_change_of_their_listener),
		cmocka_unit_test(test_a_client_address_keeps_its_backend_with_affinity),
		cmocka_unit_test(test_clients_outside_the_source_ranges_are_not_served),
		cmocka_unit_test(test_a_service_has_no_more_flows_than_it_wants),
		cmocka_unit_test(test_datagrams_and_bytes_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
