/* What a relay does that has been succeeded: it ends with its last connection, and takes nothing from its
 * successor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "udp_rig.h"

/* A relay that valgrind looks into is looked into for leaks at its end, which takes seconds. */
#define END_TIMEOUT_S 60

static void drain(struct rig *rig)
{
	assert_int_equal(ipc_send_relay_drain(rig->channels[0]), 0);
}

/* Leaves the process to be waited for by others. */
static bool has_ended(const struct rig *rig, int within_ms)
{
	int64_t end_ms = now_ms() + within_ms;
	siginfo_t info;

	do {
		info.si_pid = 0;
		assert_int_equal(waitid(P_PID, (id_t)rig->pids[0], &info, WEXITED | WNOHANG | WNOWAIT), 0);
		if (info.si_pid == rig->pids[0])
			return true;
		sleep_ms(5);
	} while (now_ms() < end_ms);
	return false;
}

static void wait_for_end(const struct rig *rig)
{
	assert_true(has_ended(rig, END_TIMEOUT_S * 1000));
}

static struct ipc_relay_backend one_backend(const struct addr_port *at)
{
	return (struct ipc_relay_backend){.at = *at, .slot = RIG_BACKEND_SLOT, .weight = 1};
}

static void a_relay_without_connections_ends_at_once(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig, &(struct rig_options){0});
	drain(&rig);
	wait_for_end(&rig);
	rig_stop(&rig);
}

static void connections_go_on_and_the_relay_ends_with_the_last(void **state)
{
	struct addr_port at;
	struct pair first, second;
	struct rig rig;
	int backend = backend_listen(&at, 16);

	(void)state;
	rig_start(&rig, &(struct rig_options){0});
	rig_backends(&rig, &at, 1);
	first = pair_open(&rig, backend);
	second = pair_open(&rig, backend);
	drain(&rig);
	for (int i = 0; i < 3; i++) {
		send_text(first.client, "there");
		expect_text(first.backend, "there");
		send_text(first.backend, "and back");
		expect_text(first.client, "and back");
	}
	pair_close(&first);
	assert_false(has_ended(&rig, 100));
	send_text(second.client, "still");
	expect_text(second.backend, "still");
	pair_close(&second);
	wait_for_end(&rig);
	close(backend);
	rig_stop(&rig);
}

static void who_comes_later_is_left_to_the_successor(void **state)
{
	struct rig_options options = {0};
	struct addr_port at;
	struct rig rig;
	struct pair pair;
	int backend = backend_listen(&at, 16), client, served;
	struct ipc_relay_backend list = one_backend(&at);

	(void)state;
	rig_start(&rig, &options);
	rig_backends(&rig, &at, 1);
	pair = pair_open(&rig, backend);
	drain(&rig);
	/* It obeys in order: what it was told is done once this has come through. */
	pair_close(&pair);
	wait_for_end(&rig);
	client = rig_connect(&rig);
	send_text(client, "hello");
	rig_restart_relay(&rig, &options, 0, &list, 1);
	served = backend_accept(backend);
	expect_text(served, "hello");
	send_text(served, "hello yourself");
	expect_text(client, "hello yourself");
	close(client);
	close(served);
	close(backend);
	rig_stop(&rig);
}

static void who_is_queued_is_served(void **state)
{
	struct service_options service;
	struct rig_options options = {.service = &service};
	struct addr_port at;
	struct rig rig;
	struct pair pair;
	int backend = backend_listen(&at, 16), client, served;
	int64_t end_ms = now_ms() + (int64_t)RIG_TIMEOUT_S * 1000;

	(void)state;
	service_options_init(&service);
	service.max_connections = 1;
	service.queue_length = 8;
	rig_start(&rig, &options);
	rig_backends(&rig, &at, 1);
	pair = pair_open(&rig, backend);
	client = rig_connect(&rig);
	send_text(client, "waiting");
	while (stats_listener_queued(rig.stats, RIG_SLOT) == 0 && now_ms() < end_ms)
		sleep_ms(5);
	assert_int_equal(stats_listener_queued(rig.stats, RIG_SLOT), 1);
	drain(&rig);
	assert_false(has_ended(&rig, 100));
	pair_close(&pair);
	served = backend_accept(backend);
	expect_text(served, "waiting");
	close(client);
	close(served);
	wait_for_end(&rig);
	close(backend);
	rig_stop(&rig);
}

static void answers_to_datagrams_come_and_new_ones_wait_for_the_successor(void **state)
{
	struct rig_options options = {.proto = PROTO_UDP, .udp_first_ms = 500, .udp_idle_ms = 200};
	struct addr_port at, relay;
	struct rig rig;
	char text[16];
	int backend = udp_backend(&at), client;
	struct ipc_relay_backend list = one_backend(&at);

	(void)state;
	udp_rig_start(&rig, options);
	rig_backends(&rig, &at, 1);
	client = udp_client(&rig);
	udp_send_text(client, "question");
	udp_expect(backend, "question", &relay);
	drain(&rig);
	udp_answer(backend, &relay, "answer", strlen("answer"));
	udp_expect(client, "answer", NULL);
	/* Then its flow ends, and it with it. */
	wait_for_end(&rig);
	udp_send_text(client, "another");
	assert_int_equal(recv(backend, text, sizeof(text), MSG_DONTWAIT), -1);
	rig_restart_relay(&rig, &options, 0, &list, 1);
	udp_expect(backend, "another", NULL);
	close(client);
	close(backend);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_relay_without_connections_ends_at_once),
		cmocka_unit_test(connections_go_on_and_the_relay_ends_with_the_last),
		cmocka_unit_test(who_comes_later_is_left_to_the_successor),
		cmocka_unit_test(who_is_queued_is_served),
		cmocka_unit_test(answers_to_datagrams_come_and_new_ones_wait_for_the_successor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
