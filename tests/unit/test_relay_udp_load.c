/* A relay under more UDP than is good for it. */
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

static void test_at_the_cap_the_idlest_flow_is_given_up(void **state)
{
	struct addr_port at, flows[5], again;
	int backend = udp_backend(&at), clients[5];
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_max_flows = 4});
	rig_backends(&rig, &at, 1);
	for (int i = 0; i < 5; i++)
		clients[i] = udp_client(&rig);
	for (int i = 0; i < 4; i++) {
		udp_send_text(clients[i], "hello");
		udp_expect(backend, "hello", &flows[i]);
		sleep_ms(5);
	}
	/* The second one is now the idlest. */
	udp_send_text(clients[0], "awake");
	udp_expect(backend, "awake", NULL);
	udp_send_text(clients[4], "fifth");
	udp_expect(backend, "fifth", &flows[4]);
	assert_int_equal(rig_active(&rig), 4);
	assert_int_equal(rig_failures(&rig, STATS_FAIL_FLOWS), 1);
	for (int i = 0; i < 5; i++) {
		if (i == 1)
			continue;
		udp_send_text(clients[i], "still");
		udp_expect(backend, "still", &again);
		assert_true(addr_port_equal(&again, &flows[i]));
	}
	assert_int_equal(udp_flows_begun(&rig), 5);
	for (int i = 0; i < 5; i++)
		close(clients[i]);
	close(backend);
	rig_stop(&rig);
}

static void test_flows_without_an_answer_are_given_up_before_others(void **state)
{
	struct addr_port at, flow, again;
	int backend = udp_backend(&at), good, mute[6];
	struct rig rig;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_max_flows = 3, .udp_idle_ms = 5000});
	rig_backends(&rig, &at, 1);
	good = udp_client(&rig);
	exchange(good, backend, "first of all");
	for (int i = 0; i < 6; i++) {
		sleep_ms(5);
		mute[i] = udp_client(&rig);
		udp_send_text(mute[i], "mute");
		udp_expect(backend, "mute", &flow);
	}
	udp_send_text(good, "idlest");
	udp_expect(backend, "idlest", &again);
	assert_int_equal(udp_flows_begun(&rig), 7);
	for (int i = 0; i < 6; i++)
		close(mute[i]);
	close(good);
	close(backend);
	rig_stop(&rig);
}

/* ---- floods ---- */

#define FLOOD_CLIENTS 20000

/* Sends one datagram from each of many addresses and ports of 127.0.0.0/8 and forgets the socket. */
static void flood_some(const struct rig *rig, uint32_t from, uint32_t count)
{
	for (uint32_t i = from; i < from + count; i++) {
		struct addr_port at = at_v4(0x7f100000 + i, 0);
		int fd = udp_socket(&at);

		udp_answer(fd, &rig->listener.at, "flood", 5);
		close(fd);
	}
}

/* A datagram may be lost where the kernel's buffer overflows: asks again, as any client does. */
static bool ask(int client, const char *text)
{
	char got[64];

	for (int i = 0; i < 20; i++) {
		udp_send_text(client, text);
		if (udp_comes(client, 200))
			return recv(client, got, sizeof(got), 0) == (ssize_t)strlen(text);
	}
	return false;
}

static void flood_established(struct rig_options options, uint64_t most_flows)
{
	struct udp_echo echo;
	struct rig rig;
	size_t fds;
	int client;

	udp_echo_start(&echo);
	options.udp_idle_ms = 30000;
	udp_rig_start(&rig, options);
	rig_backends(&rig, &echo.at, 1);
	client = udp_client(&rig);
	assert_true(ask(client, "established"));
	assert_true(ask(client, "established"));
	fds = udp_relay_fds(&rig);
	for (uint32_t i = 0; i < FLOOD_CLIENTS; i += 500) {
		flood_some(&rig, i, 500);
		assert_true(ask(client, "established"));
		assert_true(udp_relay_fds(&rig) <= fds + most_flows);
		assert_true(rig_active(&rig) <= most_flows);
	}
	/* Each of the flood began a flow unless it was lost on the way; the established one never began anew.
	 */
	assert_true(udp_flows_begun(&rig) > FLOOD_CLIENTS / 2);
	assert_true(udp_flows_begun(&rig) <= FLOOD_CLIENTS + 1);
	assert_int_equal(rig_failures(&rig, STATS_FAIL_FLOWS) + rig_active(&rig), udp_flows_begun(&rig));
	assert_int_equal(rig_failures(&rig, STATS_FAIL_DESCRIPTORS), 0);
	close(client);
	udp_echo_stop(&echo);
	rig_stop(&rig);
}

/* The backend answers to all of them: only going on after an answer tells a client from a forged address. */
static void test_a_flood_of_new_clients_does_not_stop_an_established_one(void **state)
{
	(void)state;
	flood_established((struct rig_options){.udp_max_flows = 256}, 256);
}

static void test_a_flood_leaves_descriptors_for_others(void **state)
{
	(void)state;
	if (!rig_can_limit_fds())
		skip();
	/* 200 descriptors: the flows may have half of what is left over. */
	flood_established((struct rig_options){.fd_limit = 200}, 100);
}

/* ---- bursts ---- */

#define BURST 10000

static void test_a_burst_never_stops_the_reading(void **state)
{
	struct addr_port at;
	int backend = udp_backend(&at), client;
	struct rig rig;
	uint64_t in;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 5000});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < BURST; i++)
			udp_send(client, "burst", 5);
		/* Whatever was lost: the next one comes through, or one soon after it. */
		for (int i = 0; i < 100; i++) {
			char got[16] = "";

			udp_send(client, "after it", 8);
			while (udp_comes(backend, 20) && strcmp(got, "after it") != 0)
				got[recv(backend, got, sizeof(got) - 1, 0)] = '\0';
			if (strcmp(got, "after it") == 0)
				break;
			assert_int_not_equal(i, 99);
		}
	}
	in = atomic_load(&stats_listener(rig.stats, 0, RIG_SLOT)->datagrams_in);
	assert_in_range(in, 5 * 100, 5 * (BURST + 100));
	while (udp_comes(backend, 50))
		assert_true(recv(backend, &(char[16]){0}, 16, 0) > 0);
	exchange(client, backend, "quiet again");
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_a_burst_of_answers_comes_through(void **state)
{
	struct addr_port at, flow;
	int backend = udp_backend(&at), client;
	struct rig rig;
	int got = 0;

	(void)state;
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 5000});
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	udp_send_text(client, "all of it");
	udp_expect(backend, "all of it", &flow);
	/* Few enough for any buffer. */
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 40; i++)
			udp_answer(backend, &flow, "piece", 5);
		for (int i = 0; i < 40; i++, got++)
			udp_expect(client, "piece", NULL);
	}
	assert_int_equal(got, 2000);
	close(client);
	close(backend);
	rig_stop(&rig);
}

static void test_big_datagrams_in_a_row_are_all_relayed(void **state)
{
	uint8_t *bytes = calloc(1, UDP_MOST_BYTES), *got = malloc(65536);
	struct udp_echo echo;
	struct rig rig;
	int client;

	(void)state;
	udp_echo_start(&echo);
	udp_rig_start(&rig, (struct rig_options){.udp_idle_ms = 5000});
	rig_backends(&rig, &echo.at, 1);
	client = udp_client(&rig);
	for (int i = 0; i < 200; i++) {
		bytes[0] = (uint8_t)i;
		udp_send(client, bytes, UDP_MOST_BYTES);
		assert_int_equal(recv(client, got, 65536, 0), UDP_MOST_BYTES);
		assert_int_equal(got[0], bytes[0]);
	}
	free(bytes);
	free(got);
	close(client);
	udp_echo_stop(&echo);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_the_cap_the_idlest_flow_is_given_up),
		cmocka_unit_test(test_flows_without_an_answer_are_given_up_before_others),
		cmocka_unit_test(test_a_flood_of_new_clients_does_not_stop_an_established_one),
		cmocka_unit_test(test_a_flood_leaves_descriptors_for_others),
		cmocka_unit_test(test_a_burst_never_stops_the_reading),
		cmocka_unit_test(test_a_burst_of_answers_comes_through),
		cmocka_unit_test(test_big_datagrams_in_a_row_are_all_relayed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
