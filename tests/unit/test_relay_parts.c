/* The relay's pure parts: picking backends, timers, pipes, slabs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "relay/pick.h"
#include "relay/pipes.h"
#include "relay/slab.h"
#include "relay/timers.h"

#define SLOT 3
#define MAX_BACKENDS 1000

/* ---- pick ---- */

struct picking {
	struct stats *stats;
	int fd;
	struct backends *backends;
	struct service_options options;
	uint32_t counts[MAX_BACKENDS];
};

static void picking_open(struct picking *p, uint32_t count)
{
	memset(p, 0, sizeof(*p));
	p->fd = stats_create();
	p->stats = stats_map(p->fd, 1);
	assert_non_null(p->stats);
	p->backends = backends_new(count);
	service_options_init(&p->options);
	for (uint32_t i = 0; i < count; i++)
		p->backends->entries[i] = (struct backend){.slot = 10 + i, .weight = 1};
	backends_finish(p->backends);
}

static void picking_close(struct picking *p)
{
	backends_unref(p->backends);
	stats_unmap(p->stats);
	close(p->fd);
}

static bool pick_as(struct picking *p, const struct tried *tried, int64_t now_ms, struct picked *picked)
{
	struct pick_request request = {
		.stats = p->stats,
		.listener_slot = SLOT,
		.options = &p->options,
		.backends = p->backends,
		.tried = tried,
		.now_ms = now_ms,
	};

	return pick_next(&request, picked);
}

static struct picked pick(struct picking *p, const struct tried *tried, int64_t now_ms)
{
	struct picked picked = {.index = UINT32_MAX};

	assert_true(pick_as(p, tried, now_ms, &picked));
	p->counts[picked.index]++;
	return picked;
}

static void fail_backend(struct picking *p, uint32_t index, bool probe, int64_t now_ms)
{
	pick_failed(p->stats, &p->backends->entries[index], probe, now_ms);
}

static void every_backend_gets_the_same_number(void **state)
{
	static const uint32_t sizes[] = {1, 2, 3, 7, 64, 65, 1000};
	struct picking p;

	(void)state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		picking_open(&p, sizes[s]);
		for (uint32_t i = 0; i < 10 * sizes[s]; i++)
			pick(&p, NULL, 1000);
		for (uint32_t i = 0; i < sizes[s]; i++)
			assert_int_equal(p.counts[i], 10);
		picking_close(&p);
	}
}

static void *pick_thousands(void *argument)
{
	struct picking *p = argument;

	for (int i = 0; i < 30000; i++) {
		struct picked picked;

		pick_as(p, NULL, 1000, &picked);
		__atomic_fetch_add(&p->counts[picked.index], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void shares_are_exact_when_two_pick_at_once(void **state)
{
	pthread_t threads[2];
	struct picking p;

	(void)state;
	picking_open(&p, 3);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, pick_thousands, &p);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(p.counts[i], 20000);
	picking_close(&p);
}

static void a_dead_backends_share_spreads_evenly(void **state)
{
	struct picking p;

	(void)state;
	picking_open(&p, 4);
	fail_backend(&p, 1, false, 1000);
	for (int i = 0; i < 300; i++)
		assert_false(pick(&p, NULL, 1500).probe);
	assert_int_equal(p.counts[0], 100);
	assert_int_equal(p.counts[1], 0);
	assert_int_equal(p.counts[2], 100);
	assert_int_equal(p.counts[3], 100);
	picking_close(&p);
}

static void after_its_pause_one_connection_tries_a_backend(void **state)
{
	struct picking p;
	int probes = 0;

	(void)state;
	picking_open(&p, 2);
	fail_backend(&p, 0, false, 1000);
	for (int i = 0; i < 10; i++) {
		struct picked picked = pick(&p, NULL, 1000 + PICK_FIRST_PAUSE_MS);

		probes += picked.probe;
		assert_true(picked.index == 1 || picked.probe);
	}
	assert_int_equal(probes, 1);
	/* Back at once when it succeeds. */
	pick_succeeded(p.stats, &p.backends->entries[0]);
	memset(p.counts, 0, sizeof(p.counts));
	for (int i = 0; i < 10; i++)
		pick(&p, NULL, 1000 + PICK_FIRST_PAUSE_MS);
	assert_int_equal(p.counts[0], 5);
	picking_close(&p);
}

static void a_trial_that_never_ends_is_followed_by_another(void **state)
{
	int64_t now_ms = 1000 + PICK_FIRST_PAUSE_MS;
	struct picking p;
	int probes = 0;

	(void)state;
	picking_open(&p, 2);
	fail_backend(&p, 0, false, 1000);
	for (int i = 0; i < 10; i++)
		probes += pick(&p, NULL, now_ms).probe;
	for (int i = 0; i < 10; i++)
		probes += pick(&p, NULL, now_ms + PICK_PROBE_MS).probe;
	assert_int_equal(probes, 2);
	picking_close(&p);
}

static void an_abandoned_trial_is_made_by_the_next(void **state)
{
	struct picking p;
	int probes = 0;

	(void)state;
	picking_open(&p, 2);
	fail_backend(&p, 0, false, 1000);
	for (int i = 0; i < 10; i++)
		probes += pick(&p, NULL, 2000).probe;
	pick_probe_abandoned(p.stats, &p.backends->entries[0], 2000);
	for (int i = 0; i < 10; i++)
		probes += pick(&p, NULL, 2001).probe;
	assert_int_equal(probes, 2);
	picking_close(&p);
}

static void the_pause_doubles_up_to_half_a_minute(void **state)
{
	static const int pauses_s[] = {1, 2, 4, 8, 16, 30, 30, 30};
	int64_t now_ms = 5000;
	struct picking p;

	(void)state;
	picking_open(&p, 1);
	for (size_t i = 0; i < sizeof(pauses_s) / sizeof(pauses_s[0]); i++) {
		struct stats_backend_shared *shared = stats_backend_shared(p.stats, 10);

		fail_backend(&p, 0, i > 0, now_ms);
		assert_int_equal(atomic_load(&shared->set_aside_until_ms), now_ms + pauses_s[i] * 1000);
		now_ms += pauses_s[i] * 1000;
		assert_true(pick(&p, NULL, now_ms).probe);
	}
	picking_close(&p);
}

static void failures_of_many_at_once_count_once(void **state)
{
	struct stats_backend_shared *shared;
	struct picking p;

	(void)state;
	picking_open(&p, 2);
	shared = stats_backend_shared(p.stats, 10);
	for (int i = 0; i < 50; i++)
		fail_backend(&p, 0, false, 1000 + i);
	assert_int_equal(atomic_load(&shared->set_aside_until_ms), 1000 + PICK_FIRST_PAUSE_MS);
	assert_int_equal(atomic_load(&shared->set_aside_level), 1);
	picking_close(&p);
}

static void when_all_are_set_aside_they_are_tried_anyway(void **state)
{
	struct tried *tried;
	struct picking p;

	(void)state;
	picking_open(&p, 3);
	tried = tried_new(3);
	for (uint32_t i = 0; i < 3; i++)
		fail_backend(&p, i, false, 1000);
	for (int i = 0; i < 3; i++) {
		struct picked picked = pick(&p, tried, 1001);

		assert_false(tried_has(tried, picked.index));
		assert_false(picked.probe);
		tried_mark(tried, picked.index, false);
	}
	assert_false(pick_as(&p, tried, 1001, &(struct picked){0}));
	free(tried);
	picking_close(&p);
}

static void one_that_lives_is_found_among_many_that_do_not(void **state)
{
	struct picking p;

	(void)state;
	picking_open(&p, 1000);
	for (uint32_t i = 0; i < 1000; i++) {
		if (i != 777)
			fail_backend(&p, i, false, 1000);
	}
	for (int i = 0; i < 100; i++)
		pick(&p, NULL, 1001);
	assert_int_equal(p.counts[777], 100);
	picking_close(&p);
}

static void no_backend_gives_no_pick(void **state)
{
	struct picked picked;
	struct picking p;

	(void)state;
	picking_open(&p, 0);
	assert_false(pick_as(&p, NULL, 1000, &picked));
	picking_close(&p);
}

static void another_round_leaves_out_who_refused(void **state)
{
	struct tried *tried = tried_new(130);

	(void)state;
	for (uint32_t i = 0; i < 130; i++)
		tried_mark(tried, i, i != 64 && i != 129);
	assert_int_equal(tried->marked, 130);
	assert_true(tried_again(tried));
	assert_int_equal(tried->marked, 128);
	assert_false(tried_has(tried, 64));
	assert_true(tried_has(tried, 65));
	tried_mark(tried, 64, true);
	tried_mark(tried, 129, true);
	assert_false(tried_again(tried));
	free(tried);
}

/* ---- timers ---- */

static void timers_expire_in_order_of_time(void **state)
{
	static const struct {
		enum timer_class class;
		int64_t armed_ms, expires_ms;
	} cases[] = {
		{TIMER_DIAL_3, 0, 1000},
		{TIMER_DIAL_1, 10, 260},
		{TIMER_DIAL_4, 20, 2020},
		{TIMER_DIAL_1, 30, 280},
		{TIMER_DIAL_2, 40, 540},
		{TIMER_FAREWELL, 50, 100},
	};
	enum { COUNT = sizeof(cases) / sizeof(cases[0]) };
	struct timer timers[COUNT];
	struct timers all;
	int expired = 0;

	(void)state;
	timers_init(&all);
	assert_true(timers_next_ms(&all) == INT64_MAX);
	for (int i = 0; i < COUNT; i++) {
		timer_init(&timers[i], TIMER_OF_DIAL);
		timer_arm(&all, &timers[i], cases[i].class, cases[i].armed_ms);
	}
	assert_int_equal(timers_next_ms(&all), 100);
	for (int64_t now_ms = 50; now_ms <= 2020; now_ms++) {
		struct timer *timer = timers_expired(&all, now_ms);

		if (!timer)
			continue;
		assert_int_equal(cases[timer - timers].expires_ms, now_ms);
		expired++;
	}
	assert_int_equal(expired, COUNT);
}

static void a_disarmed_timer_does_not_expire(void **state)
{
	struct timer first, second;
	struct timers all;

	(void)state;
	timers_init(&all);
	timer_init(&first, TIMER_OF_DIAL);
	timer_init(&second, TIMER_OF_DIAL);
	timer_arm(&all, &first, TIMER_DIAL_1, 0);
	timer_arm(&all, &second, TIMER_DIAL_1, 1);
	timer_disarm(&all, &first);
	timer_disarm(&all, &first);
	assert_ptr_equal(timers_expired(&all, 10000), &second);
	assert_null(timers_expired(&all, 10000));
}

/* ---- pipes ---- */

static void an_empty_pipe_is_used_again(void **state)
{
	struct pipes pipes = {0};
	struct pipe *first = pipes_get(&pipes, true, 0);

	(void)state;
	assert_non_null(first);
	assert_in_range(first->capacity, PIPE_MIN_BYTES, PIPE_BYTES);
	pipes_put(&pipes, first);
	assert_ptr_equal(pipes_get(&pipes, true, 0), first);
	assert_int_equal(pipes.open_count, 1);
	pipes_put(&pipes, first);
	pipes_trim(&pipes);
	assert_int_equal(pipes.open_count, 0);
}

static void a_pipe_with_bytes_in_it_is_never_used_again(void **state)
{
	struct pipes pipes = {0};
	struct pipe *pipe = pipes_get(&pipes, true, 0);
	int fd = pipe->read_fd;

	(void)state;
	assert_int_equal(write(pipe->write_fd, "x", 1), 1);
	pipe->bytes = 1;
	pipes_put(&pipes, pipe);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(pipes.idle_count, 0);
	assert_int_equal(pipes.open_count, 0);
}

static void pipes_are_bounded(void **state)
{
	struct pipe *lent[PIPES_MAX_OPEN];
	struct pipes pipes = {0};

	(void)state;
	for (int i = 0; i < PIPES_MAX_OPEN; i++) {
		lent[i] = pipes_get(&pipes, true, 0);
		assert_non_null(lent[i]);
	}
	assert_null(pipes_get(&pipes, true, 0));
	for (int i = 0; i < PIPES_MAX_OPEN; i++)
		pipes_put(&pipes, lent[i]);
	assert_int_equal(pipes.idle_count, PIPES_MAX_IDLE);
	assert_int_equal(pipes.open_count, PIPES_MAX_IDLE);
	pipes_trim(&pipes);
	assert_int_equal(pipes.open_count, 0);
}

static void no_descriptor_for_a_pipe_is_no_error_and_is_retried_later(void **state)
{
	struct rlimit before, none;
	struct pipes pipes = {0};
	struct pipe *pipe;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit){.rlim_cur = 1, .rlim_max = before.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	pipe = pipes_get(&pipes, true, 1000);
	setrlimit(RLIMIT_NOFILE, &before);
	assert_null(pipe);
	assert_null(pipes_get(&pipes, true, 1000 + PIPES_RETRY_MS - 1));
	pipe = pipes_get(&pipes, true, 1000 + PIPES_RETRY_MS);
	assert_non_null(pipe);
	pipes_put(&pipes, pipe);
	pipes_trim(&pipes);
}

/* ---- slab ---- */

static void count_marked(void *context, void *object)
{
	if (((uint64_t *)object)[2] == 7)
		(*(int *)context)++;
}

static void slab_objects_are_zeroed_distinct_and_visited(void **state)
{
	enum { COUNT = 2000 };
	uint64_t *objects[COUNT];
	struct slab slab;
	int marked = 0;

	(void)state;
	slab_init(&slab, 40);
	for (int i = 0; i < COUNT; i++) {
		objects[i] = slab_get(&slab);
		assert_int_equal((uintptr_t)objects[i] % 16, 0);
		for (int word = 0; word < 5; word++)
			assert_int_equal(objects[i][word], 0);
		memset(objects[i], 0xff, 40);
		objects[i][2] = 7;
	}
	assert_int_equal(slab.in_use, COUNT);
	slab_each(&slab, count_marked, &marked);
	assert_int_equal(marked, COUNT);
	slab_put(&slab, objects[5]);
	assert_ptr_equal(slab_get(&slab), objects[5]);
	assert_int_equal(objects[5][2], 0);
	slab_fini(&slab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_backend_gets_the_same_number),
		cmocka_unit_test(shares_are_exact_when_two_pick_at_once),
		cmocka_unit_test(a_dead_backends_share_spreads_evenly),
		cmocka_unit_test(after_its_pause_one_connection_tries_a_backend),
		cmocka_unit_test(a_trial_that_never_ends_is_followed_by_another),
		cmocka_unit_test(an_abandoned_trial_is_made_by_the_next),
		cmocka_unit_test(the_pause_doubles_up_to_half_a_minute),
		cmocka_unit_test(failures_of_many_at_once_count_once),
		cmocka_unit_test(when_all_are_set_aside_they_are_tried_anyway),
		cmocka_unit_test(one_that_lives_is_found_among_many_that_do_not),
		cmocka_unit_test(no_backend_gives_no_pick),
		cmocka_unit_test(another_round_leaves_out_who_refused),
		cmocka_unit_test(timers_expire_in_order_of_time),
		cmocka_unit_test(a_disarmed_timer_does_not_expire),
		cmocka_unit_test(an_empty_pipe_is_used_again),
		cmocka_unit_test(a_pipe_with_bytes_in_it_is_never_used_again),
		cmocka_unit_test(pipes_are_bounded),
		cmocka_unit_test(no_descriptor_for_a_pipe_is_no_error_and_is_retried_later),
		cmocka_unit_test(slab_objects_are_zeroed_distinct_and_visited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
