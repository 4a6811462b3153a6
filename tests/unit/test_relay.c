/* What a relayed connection looks like from its two ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay_rig.h"

#define MIB ((size_t)1024 * 1024)

/* One relay, one backend that the test accepts for. */
struct stage {
	struct rig rig;
	struct addr_port at;
	int backend;
};

static void stage_open(struct stage *stage)
{
	struct rig_options options = {0};

	rig_start(&stage->rig, &options);
	stage->backend = backend_listen(&stage->at, 128);
	rig_backends(&stage->rig, &stage->at, 1);
}

static void stage_close(struct stage *stage)
{
	close(stage->backend);
	rig_stop(&stage->rig);
}

static void bytes_and_counters_pass_both_ways(void **state)
{
	struct stats_listener_counters *counters;
	struct stage stage;
	struct pair pair;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	send_text(pair.client, "hello");
	expect_text(pair.backend, "hello");
	send_text(pair.backend, "good day");
	expect_text(pair.client, "good day");
	counters = stats_listener(stage.rig.stats, 0, RIG_SLOT);
	assert_int_equal(atomic_load(&counters->active), 1);
	pair_close(&pair);
	assert_true(rig_wait_active(&stage.rig, 0));
	assert_int_equal(atomic_load(&counters->accepted), 1);
	assert_int_equal(atomic_load(&counters->bytes_in), 5);
	assert_int_equal(atomic_load(&counters->bytes_out), 8);
	/* The relay counts it a moment later. */
	for (int i = 0; i < RIG_TIMEOUT_S * 500 &&
			atomic_load(&stats_backend(stage.rig.stats, 0, RIG_BACKEND_SLOT)->active) > 0;
		i++)
		sleep_ms(2);
	assert_int_equal(atomic_load(&stats_backend(stage.rig.stats, 0, RIG_BACKEND_SLOT)->active), 0);
	assert_int_equal(rig_backend_connections(&stage.rig, 0), 1);
	stage_close(&stage);
}

static void a_backend_that_speaks_first_is_heard(void **state)
{
	struct stage stage;
	struct pair pair;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	send_text(pair.backend, "220 ready");
	expect_text(pair.client, "220 ready");
	pair_close(&pair);
	stage_close(&stage);
}

static void bytes_sent_before_the_backend_is_connected_arrive_once(void **state)
{
	struct black_hole hole;
	struct stage stage;
	int client, backend;

	(void)state;
	stage_open(&stage);
	black_hole_open(&hole);
	rig_backends(&stage.rig, (struct addr_port[]){hole.at, stage.at}, 2);
	client = rig_connect(&stage.rig);
	send_text(client, "early");
	shutdown(client, SHUT_WR);
	backend = backend_accept(stage.backend);
	expect_text(backend, "early");
	expect_end(backend);
	send_text(backend, "late");
	close(backend);
	expect_text(client, "late");
	expect_end(client);
	close(client);
	black_hole_close(&hole);
	stage_close(&stage);
}

static void a_client_that_ends_its_side_still_gets_the_whole_answer(void **state)
{
	struct stage stage;
	struct pair pair;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	send_text(pair.client, "question");
	shutdown(pair.client, SHUT_WR);
	expect_text(pair.backend, "question");
	expect_end(pair.backend);
	send_text(pair.backend, "part one,");
	sleep_ms(30);
	send_text(pair.backend, "part two");
	expect_text(pair.client, "part one,part two");
	close(pair.backend);
	expect_end(pair.client);
	close(pair.client);
	assert_true(rig_wait_active(&stage.rig, 0));
	stage_close(&stage);
}

static void a_backend_that_ends_its_side_still_gets_the_whole_question(void **state)
{
	struct stage stage;
	struct pair pair;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	send_text(pair.backend, "enough");
	shutdown(pair.backend, SHUT_WR);
	expect_text(pair.client, "enough");
	expect_end(pair.client);
	send_text(pair.client, "part one,");
	sleep_ms(30);
	send_text(pair.client, "part two");
	expect_text(pair.backend, "part one,part two");
	close(pair.client);
	expect_end(pair.backend);
	close(pair.backend);
	assert_true(rig_wait_active(&stage.rig, 0));
	stage_close(&stage);
}

static void an_end_right_behind_a_short_message_is_seen(void **state)
{
	struct stage stage;

	(void)state;
	stage_open(&stage);
	for (int i = 0; i < 200; i++) {
		struct pair pair = pair_open(&stage.rig, stage.backend);

		send_text(pair.client, "x");
		close(pair.client);
		expect_text(pair.backend, "x");
		expect_end(pair.backend);
		close(pair.backend);
	}
	assert_true(rig_wait_active(&stage.rig, 0));
	stage_close(&stage);
}

static void a_clients_reset_reaches_the_backend_after_its_bytes(void **state)
{
	struct stage stage;
	struct pair pair;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	send_text(pair.client, "last words");
	expect_text(pair.backend, "last words");
	reset(pair.client);
	expect_reset(pair.backend);
	close(pair.backend);
	assert_true(rig_wait_active(&stage.rig, 0));
	stage_close(&stage);
}

static void a_backends_reset_reaches_the_client_after_its_bytes(void **state)
{
	struct stage stage;

	(void)state;
	stage_open(&stage);
	for (int i = 0; i < 50; i++) {
		struct pair pair = pair_open(&stage.rig, stage.backend);

		send_text(pair.backend, "last words");
		reset(pair.backend);
		/* A reset may overtake words that were not acknowledged, as it may without a relay. */
		expect_text(pair.client, "last words");
		expect_reset(pair.client);
		close(pair.client);
	}
	assert_true(rig_wait_active(&stage.rig, 0));
	stage_close(&stage);
}

static void a_reset_met_while_sending_is_passed_on_after_the_answer(void **state)
{
	struct stage stage;
	struct pair pair;
	bool told;
	char byte;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	send_text(pair.client, "unread question");
	assert_int_equal(recv(pair.backend, &byte, 1, MSG_PEEK), 1);
	send_text(pair.backend, "error: go away");
	/* Closing with unread bytes resets. */
	close(pair.backend);
	/* If the reset is here already, the kernel tells of it now and not again. */
	told = send(pair.client, "more", 4, MSG_NOSIGNAL) < 0;
	expect_text(pair.client, "error: go away");
	if (told)
		expect_end(pair.client);
	else
		expect_reset(pair.client);
	close(pair.client);
	assert_true(rig_wait_active(&stage.rig, 0));
	stage_close(&stage);
}

static void a_client_that_has_closed_resets_a_backend_that_goes_on(void **state)
{
	struct stage stage;
	struct pair pair;
	int64_t deadline_ms = now_ms() + 5000;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	close(pair.client);
	expect_end(pair.backend);
	while (send(pair.backend, "tick", 4, MSG_NOSIGNAL) > 0 && now_ms() < deadline_ms)
		sleep_ms(5);
	assert_true(errno == ECONNRESET || errno == EPIPE);
	assert_true(now_ms() < deadline_ms);
	close(pair.backend);
	assert_true(rig_wait_active(&stage.rig, 0));
	stage_close(&stage);
}

/* ---- bulk ---- */

/* A stream of pseudo-random bytes: both ends compute it, so every byte is compared. */
struct stream {
	int fd;
	size_t bytes;
	uint64_t seed;
	int pause_every; /* slow reader: sleeps a millisecond after so many reads */
	bool intact;
};

static void stream_fill(uint64_t *state, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i += sizeof(*state)) {
		*state = *state * 6364136223846793005u + 1442695040888963407u;
		memcpy(bytes + i, state, sizeof(*state));
	}
}

static void *stream_send(void *argument)
{
	struct stream *stream = argument;
	uint64_t state = stream->seed;
	uint8_t block[64 * 1024];

	for (size_t sent = 0; sent < stream->bytes; sent += sizeof(block)) {
		stream_fill(&state, block, sizeof(block));
		for (size_t at = 0; at < sizeof(block);) {
			ssize_t now = send(stream->fd, block + at, sizeof(block) - at, MSG_NOSIGNAL);

			if (now < 0)
				return NULL;
			at += (size_t)now;
		}
	}
	shutdown(stream->fd, SHUT_WR);
	return NULL;
}

static void *stream_receive(void *argument)
{
	struct stream *stream = argument;
	uint8_t wanted[64 * 1024], got[64 * 1024], end;
	uint64_t state = stream->seed;
	int reads = 0;

	for (size_t received = 0; received < stream->bytes; received += sizeof(got)) {
		if (recv(stream->fd, got, sizeof(got), MSG_WAITALL) != sizeof(got))
			return NULL;
		stream_fill(&state, wanted, sizeof(wanted));
		if (memcmp(wanted, got, sizeof(got)) != 0)
			return NULL;
		if (stream->pause_every > 0 && ++reads % stream->pause_every == 0)
			sleep_ms(1);
	}
	stream->intact = recv(stream->fd, &end, 1, 0) == 0;
	return NULL;
}

/* Both directions at once through one connection. */
static void exchange(struct pair pair, size_t bytes, int pause_every)
{
	struct stream streams[4] = {
		{.fd = pair.client, .bytes = bytes, .seed = 1},
		{.fd = pair.backend, .bytes = bytes, .seed = 1},
		{.fd = pair.backend, .bytes = bytes, .seed = 2},
		{.fd = pair.client, .bytes = bytes, .seed = 2, .pause_every = pause_every},
	};
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, i % 2 ? stream_receive : stream_send, &streams[i]),
			0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(streams[1].intact);
	assert_true(streams[3].intact);
}

static void bulk_both_ways_arrives_whole(void **state)
{
	struct stage stage;
	struct pair pair;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	exchange(pair, 64 * MIB, 0);
	pair_close(&pair);
	assert_true(rig_wait_active(&stage.rig, 0));
	stage_close(&stage);
}

static void a_slow_reader_gets_everything(void **state)
{
	struct stage stage;
	struct pair pair;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	exchange(pair, 16 * MIB, 4);
	pair_close(&pair);
	stage_close(&stage);
}

static void bulk_arrives_whole_when_nothing_may_be_held(void **state)
{
	struct rig_options options = {.held_limit_bytes = 1, .fd_limit = 40};
	struct addr_port at;
	struct rig rig;
	int backend;

	(void)state;
	rig_start(&rig, &options);
	backend = backend_listen(&at, 128);
	rig_backends(&rig, &at, 1);
	for (int pause_every = 0; pause_every < 2; pause_every++) {
		struct pair pair = pair_open(&rig, backend);

		exchange(pair, 8 * MIB, pause_every * 4);
		pair_close(&pair);
	}
	close(backend);
	rig_stop(&rig);
}

static void mixed_sizes_arrive_in_order(void **state)
{
	static const size_t sizes[] = {1, 64 * 1024, 10, 300000, 16384, 16383, 5, 1000000, 3, 3, 3, 3, 3};
	size_t sum = 0;
	struct stage stage;
	struct pair pair;
	uint8_t *sent = malloc(1000000), *got = malloc(1000000);
	uint64_t seed = 5;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		stream_fill(&seed, sent, sizes[i] / 8 * 8);
		sent[sizes[i] - 1] = (uint8_t)i;
		send_all(pair.client, sent, sizes[i]);
		assert_int_equal(recv(pair.backend, got, sizes[i], MSG_WAITALL), sizes[i]);
		assert_memory_equal(sent, got, sizes[i]);
		sum += sizes[i];
	}
	assert_int_equal(atomic_load(&stats_listener(stage.rig.stats, 0, RIG_SLOT)->bytes_in), sum);
	pair_close(&pair);
	free(sent);
	free(got);
	stage_close(&stage);
}

static void what_was_queued_for_a_slow_client_precedes_the_reset(void **state)
{
	size_t bytes = MIB, received = 0;
	uint8_t *block = calloc(1, bytes);
	struct stage stage;
	struct pair pair;
	ssize_t got;

	(void)state;
	stage_open(&stage);
	pair = pair_open(&stage.rig, stage.backend);
	send_text(pair.client, "question");
	expect_text(pair.backend, "question");
	send_all(pair.backend, block, bytes);
	/* Until the relay has taken it all. */
	for (int i = 0; i < 500; i++) {
		if (atomic_load(&stats_listener(stage.rig.stats, 0, RIG_SLOT)->bytes_out) == bytes)
			break;
		sleep_ms(2);
	}
	reset(pair.backend);
	sleep_ms(100);
	while ((got = recv(pair.client, block, bytes, 0)) > 0)
		received += (size_t)got;
	assert_int_equal(got, -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(received, bytes);
	close(pair.client);
	assert_true(rig_wait_active(&stage.rig, 0));
	free(block);
	stage_close(&stage);
}

static void a_small_exchange_is_not_held_up_by_bulk(void **state)
{
	enum { ROUNDS = 200 };
	struct stage stage;
	struct pair bulk, small;
	struct stream streams[2];
	pthread_t threads[2];
	int64_t start_ms, worst_ms = 0;

	(void)state;
	stage_open(&stage);
	bulk = pair_open(&stage.rig, stage.backend);
	small = pair_open(&stage.rig, stage.backend);
	streams[0] = (struct stream){.fd = bulk.client, .bytes = 256 * MIB, .seed = 1};
	streams[1] = (struct stream){.fd = bulk.backend, .bytes = 256 * MIB, .seed = 1};
	pthread_create(&threads[0], NULL, stream_send, &streams[0]);
	pthread_create(&threads[1], NULL, stream_receive, &streams[1]);
	for (int i = 0; i < ROUNDS; i++) {
		start_ms = now_ms();
		send_text(small.client, "ping");
		expect_text(small.backend, "ping");
		send_text(small.backend, "pong");
		expect_text(small.client, "pong");
		if (now_ms() - start_ms > worst_ms)
			worst_ms = now_ms() - start_ms;
	}
	/* Scheduling on a busy machine is in it too; a starved one would wait for seconds. */
	assert_in_range(worst_ms, 0, 500);
	reset(bulk.client);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	close(bulk.backend);
	pair_close(&small);
	stage_close(&stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_and_counters_pass_both_ways),
		cmocka_unit_test(a_backend_that_speaks_first_is_heard),
		cmocka_unit_test(bytes_sent_before_the_backend_is_connected_arrive_once),
		cmocka_unit_test(a_client_that_ends_its_side_still_gets_the_whole_answer),
		cmocka_unit_test(a_backend_that_ends_its_side_still_gets_the_whole_question),
		cmocka_unit_test(an_end_right_behind_a_short_message_is_seen),
		cmocka_unit_test(a_clients_reset_reaches_the_backend_after_its_bytes),
		cmocka_unit_test(a_backends_reset_reaches_the_client_after_its_bytes),
		cmocka_unit_test(a_reset_met_while_sending_is_passed_on_after_the_answer),
		cmocka_unit_test(a_client_that_has_closed_resets_a_backend_that_goes_on),
		cmocka_unit_test(bulk_both_ways_arrives_whole),
		cmocka_unit_test(a_slow_reader_gets_everything),
		cmocka_unit_test(bulk_arrives_whole_when_nothing_may_be_held),
		cmocka_unit_test(mixed_sizes_arrive_in_order),
		cmocka_unit_test(what_was_queued_for_a_slow_client_precedes_the_reset),
		cmocka_unit_test(a_small_exchange_is_not_held_up_by_bulk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
