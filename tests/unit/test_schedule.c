/* The schedulers, without a network: who gets which share, what is left out, who moves when a backend goes.
 * Random choice is by hashes without a seed, so each test gives the same counts in every run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/pick.h"
#include "relay/schedule.h"

#define LISTENER 5
#define FIRST_SLOT 40
#define MAX_BACKENDS 600
#define NOW_MS 1000

struct field {
	int fd;
	struct stats *stats;
	struct service_options options;
	struct backends *backends;
	struct tried *tried;
	uint32_t counts[MAX_BACKENDS];
};

static const enum scheduler all_schedulers[] = {
	SCHEDULER_RR, SCHEDULER_LC, SCHEDULER_DH, SCHEDULER_SH, SCHEDULER_SED, SCHEDULER_NQ};
#define ALL_SCHEDULERS (sizeof(all_schedulers) / sizeof(all_schedulers[0]))

static struct addr_port backend_at(uint32_t number)
{
	return (struct addr_port){.addr = addr_v4(0x0af40000u + number), .port = 8080};
}

static struct backends *make_backends(const uint16_t *weights, uint32_t count)
{
	struct backends *backends = backends_new(count);

	for (uint32_t i = 0; i < count; i++)
		backends->entries[i] = (struct backend){
			.at = backend_at(i), .slot = FIRST_SLOT + i, .weight = weights ? weights[i] : 1};
	backends_finish(backends);
	return backends;
}

static void field_open(struct field *field, enum scheduler scheduler, const uint16_t *weights, uint32_t count)
{
	memset(field, 0, sizeof(*field));
	field->fd = stats_create();
	field->stats = stats_map(field->fd, 1);
	assert_non_null(field->stats);
	service_options_init(&field->options);
	field->options.scheduler = scheduler;
	field->backends = make_backends(weights, count);
}

static void field_close(struct field *field)
{
	free(field->tried);
	backends_unref(field->backends);
	stats_unmap(field->stats);
	close(field->fd);
}

/* The backend for a client and a portal of these numbers; UINT32_MAX: none. */
static uint32_t pick_for(struct field *field, uint32_t relay, uint32_t client, uint32_t portal)
{
	struct addr client_addr = addr_v4(0xc0a80000u + client), portal_addr = addr_v4(0x0a600000u + portal);
	struct pick_request request = {
		.stats = field->stats,
		.relay = relay,
		.listener_slot = LISTENER,
		.options = &field->options,
		.backends = field->backends,
		.tried = field->tried,
		.client = &client_addr,
		.portal = &portal_addr,
		.now_ms = NOW_MS,
	};
	struct picked picked;

	if (!pick_next(&request, &picked))
		return UINT32_MAX;
	field->counts[picked.index]++;
	return picked.index;
}

static uint32_t slot_of(const struct field *field, uint32_t index)
{
	return field->backends->entries[index].slot;
}

static void set_aside(struct field *field, uint32_t index)
{
	pick_failed(field->stats, &field->backends->entries[index], false, NOW_MS);
}

/* ---- rr ---- */

static const struct {
	const char *name;
	uint16_t weights[6];
	uint32_t count;
	uint32_t turns; /* of a period */
} periods[] = {
	{"equal", {1, 1, 1}, 3, 3},
	{"equal and large", {500, 500}, 2, 2},
	{"one heavy", {5, 1, 1}, 3, 7},
	{"a common divisor", {20, 40, 60}, 3, 6},
	{"two", {3, 1}, 2, 4},
	{"primes", {2, 3, 5, 7, 11, 13}, 6, 41},
	{"one gets none", {3, 0, 2}, 3, 5},
	{"far apart", {65535, 1}, 2, 65536},
};
#define PERIOD_CASES (sizeof(periods) / sizeof(periods[0]))

static void rr_is_exact_over_each_period(void **state)
{
	(void)state;
	for (size_t p = 0; p < PERIOD_CASES; p++) {
		struct field field;
		uint32_t sum = 0;

		field_open(&field, SCHEDULER_RR, periods[p].weights, periods[p].count);
		for (uint32_t i = 0; i < periods[p].count; i++)
			sum += periods[p].weights[i];
		/* From anywhere, not only from a period's begin. */
		for (int i = 0; i < 5; i++)
			pick_for(&field, 0, 0, 0);
		memset(field.counts, 0, sizeof(field.counts));
		for (uint32_t i = 0; i < periods[p].turns; i++)
			pick_for(&field, i % 2, 0, 0);
		for (uint32_t i = 0; i < periods[p].count; i++)
			assert_int_equal(field.counts[i] * sum, periods[p].weights[i] * periods[p].turns);
		field_close(&field);
	}
}

static void rr_is_exact_when_two_processes_pick_at_once(void **state)
{
	static const uint16_t weights[] = {5, 1, 2};
	enum { PERIODS = 5000, PROCESSES = 2 };
	uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct field field;

	(void)state;
	field_open(&field, SCHEDULER_RR, weights, 3);
	for (uint32_t process = 0; process < PROCESSES; process++) {
		if (fork() == 0) {
			for (int i = 0; i < PERIODS * 8; i++)
				__atomic_fetch_add(
					&shared[pick_for(&field, process, 0, 0)], 1, __ATOMIC_RELAXED);
			_exit(0);
		}
	}
	for (int process = 0; process < PROCESSES; process++)
		assert_true(wait(NULL) > 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(shared[i], weights[i] * PERIODS * PROCESSES);
	munmap(shared, 4096);
	field_close(&field);
}

/* Over any stretch, a backend has got what is due to it, up to a few turns. Bursts would exceed that: in
 * order of the list, the heaviest of "primes" would be 9 turns ahead. */
static void weighted_rr_comes_in_no_bursts(void **state)
{
	static const uint16_t weights[] = {2, 3, 5, 7, 11, 13};
	struct field field;
	double worst = 0;

	(void)state;
	field_open(&field, SCHEDULER_RR, weights, 6);
	for (int turn = 1; turn <= 41; turn++) {
		pick_for(&field, 0, 0, 0);
		for (int i = 0; i < 6; i++) {
			double ahead = field.counts[i] - turn * weights[i] / 41.0;

			worst = ahead > worst ? ahead : worst;
			worst = -ahead > worst ? -ahead : worst;
		}
	}
	assert_true(worst < 2);
	field_close(&field);
}

static void rr_shares_the_turns_of_one_set_aside(void **state)
{
	static const uint16_t weights[] = {1, 1, 1, 1};
	struct field field;

	(void)state;
	field_open(&field, SCHEDULER_RR, weights, 4);
	set_aside(&field, 1);
	for (int i = 0; i < 300; i++)
		assert_int_not_equal(pick_for(&field, 0, 0, 0), 1);
	/* 100 each; the turn of the missing one goes to the next at most. */
	for (int i = 0; i < 4; i++) {
		if (i != 1)
			assert_in_range(field.counts[i], 99, 101);
	}
	field_close(&field);
}

static void a_heavy_backend_set_aside_hides_no_light_one(void **state)
{
	static const uint16_t weights[] = {65535, 1, 2};
	struct field field;

	(void)state;
	field_open(&field, SCHEDULER_RR, weights, 3);
	set_aside(&field, 0);
	for (int i = 0; i < 3000; i++)
		pick_for(&field, 0, 0, 0);
	assert_int_equal(field.counts[0], 0);
	/* By lot, 1 to 2: 1000 with a standard deviation of 26. */
	assert_in_range(field.counts[1], 870, 1130);
	field_close(&field);
}

/* ---- what holds for all ---- */

static void all_schedulers_pass_over_what_is_set_aside_or_tried(void **state)
{
	(void)state;
	for (size_t s = 0; s < ALL_SCHEDULERS; s++) {
		struct field field;

		field_open(&field, all_schedulers[s], NULL, 5);
		field.tried = tried_new(5);
		set_aside(&field, 0);
		tried_mark(field.tried, 2, true);
		for (uint32_t client = 0; client < 200; client++)
			pick_for(&field, 0, client, client);
		assert_int_equal(field.counts[0] + field.counts[2], 0);
		assert_true(field.counts[1] > 0 && field.counts[3] > 0 && field.counts[4] > 0);
		field_close(&field);
	}
}

static void all_schedulers_take_one_set_aside_before_none(void **state)
{
	(void)state;
	for (size_t s = 0; s < ALL_SCHEDULERS; s++) {
		struct field field;

		field_open(&field, all_schedulers[s], NULL, 3);
		field.tried = tried_new(3);
		tried_mark(field.tried, 0, true);
		tried_mark(field.tried, 1, true);
		set_aside(&field, 2);
		assert_int_equal(pick_for(&field, 0, 1, 1), 2);
		tried_mark(field.tried, 2, true);
		assert_int_equal(pick_for(&field, 0, 1, 1), UINT32_MAX);
		field_close(&field);
	}
}

static void weight_zero_gets_nothing_unless_there_is_nothing_else(void **state)
{
	static const uint16_t weights[] = {0, 4, 1};

	(void)state;
	for (size_t s = 0; s < ALL_SCHEDULERS; s++) {
		struct field field;

		field_open(&field, all_schedulers[s], weights, 3);
		field.tried = tried_new(3);
		for (uint32_t client = 0; client < 100; client++)
			assert_int_not_equal(pick_for(&field, 0, client, client), 0);
		tried_mark(field.tried, 1, true);
		tried_mark(field.tried, 2, true);
		assert_int_equal(pick_for(&field, 0, 1, 1), 0);
		field_close(&field);
	}
}

static void where_all_weights_are_zero_all_are_alike(void **state)
{
	static const uint16_t weights[] = {0, 0, 0};

	(void)state;
	for (size_t s = 0; s < ALL_SCHEDULERS; s++) {
		struct field field;

		field_open(&field, all_schedulers[s], weights, 3);
		for (uint32_t client = 0; client < 300; client++)
			pick_for(&field, 0, client, client);
		for (int i = 0; i < 3; i++)
			assert_in_range(field.counts[i], 60, 140);
		field_close(&field);
	}
}

/* ---- lc, sed, nq ---- */

/* Picks go to the least of the fraction that the scheduler's name stands for. */
static const struct {
	const char *name;
	enum scheduler scheduler;
	uint16_t weights[4];
	uint32_t active[4];
	uint32_t count;
	uint32_t expected; /* bits of the backends that may be picked, all of which must be */
} loads[] = {
	{"lc takes the least", SCHEDULER_LC, {1, 1, 1}, {3, 1, 2}, 3, 1 << 1},
	{"lc shares among equals", SCHEDULER_LC, {1, 1, 1, 1}, {2, 1, 1, 5}, 4, 1 << 1 | 1 << 2},
	{"lc divides by the weight", SCHEDULER_LC, {10, 1}, {5, 1}, 2, 1 << 0},
	{"lc: 6/3 is 4/2", SCHEDULER_LC, {3, 2}, {6, 4}, 2, 1 << 0 | 1 << 1},
	{"lc does not count the new one", SCHEDULER_LC, {10, 1}, {1, 0}, 2, 1 << 1},
	{"sed counts the new one", SCHEDULER_SED, {10, 1}, {1, 0}, 2, 1 << 0},
	{"sed fills the fast one first", SCHEDULER_SED, {3, 1}, {1, 0}, 2, 1 << 0},
	{"sed: 3/3 is 1/1", SCHEDULER_SED, {3, 1}, {2, 0}, 2, 1 << 0 | 1 << 1},
	{"nq takes an idle one, fast or not", SCHEDULER_NQ, {10, 1, 1}, {1, 0, 1}, 3, 1 << 1},
	{"nq shares among the idle", SCHEDULER_NQ, {10, 1, 2}, {1, 0, 0}, 3, 1 << 1 | 1 << 2},
	{"nq is sed when none is idle", SCHEDULER_NQ, {10, 1, 1}, {4, 1, 1}, 3, 1 << 0},
};

static void loads_decide_by_the_schedulers_fraction(void **state)
{
	(void)state;
	for (size_t c = 0; c < sizeof(loads) / sizeof(loads[0]); c++) {
		struct field field;
		uint32_t met = 0;

		field_open(&field, loads[c].scheduler, loads[c].weights, loads[c].count);
		/* Each relay counts its own. */
		for (uint32_t i = 0; i < loads[c].count; i++) {
			for (uint32_t n = 0; n < loads[c].active[i]; n++)
				pick_hold(field.stats, n % 3, slot_of(&field, i));
		}
		for (int i = 0; i < 20; i++) {
			uint32_t picked = pick_for(&field, 0, 0, 0);

			assert_true(picked < MAX_BACKENDS);
			met |= 1u << picked % 32;
		}
		if (met != loads[c].expected)
			fail_msg("%s: %x", loads[c].name, met);
		field_close(&field);
	}
}

static void equals_get_the_same_number_exactly(void **state)
{
	static const enum scheduler schedulers[] = {SCHEDULER_LC, SCHEDULER_SED, SCHEDULER_NQ};

	(void)state;
	for (size_t s = 0; s < 3; s++) {
		struct field field;

		field_open(&field, schedulers[s], NULL, 7);
		for (int i = 0; i < 700; i++)
			pick_for(&field, 0, 0, 0);
		for (int i = 0; i < 7; i++)
			assert_int_equal(field.counts[i], 100);
		field_close(&field);
	}
}

static void connections_that_stay_end_up_in_proportion_to_the_weights(void **state)
{
	static const enum scheduler schedulers[] = {SCHEDULER_LC, SCHEDULER_SED, SCHEDULER_NQ};
	static const uint16_t weights[] = {1, 2, 3, 4};

	(void)state;
	for (size_t s = 0; s < 3; s++) {
		struct field field;

		field_open(&field, schedulers[s], weights, 4);
		for (uint32_t i = 0; i < 1000; i++)
			pick_hold(field.stats, i % 2, slot_of(&field, pick_for(&field, i % 2, 0, 0)));
		for (int i = 0; i < 4; i++)
			assert_in_range(field.counts[i], weights[i] * 100 - 2, weights[i] * 100 + 2);
		field_close(&field);
	}
}

static void an_ended_connection_counts_no_more(void **state)
{
	struct field field;

	(void)state;
	field_open(&field, SCHEDULER_LC, NULL, 2);
	pick_hold(field.stats, 0, slot_of(&field, 0));
	pick_hold(field.stats, 1, slot_of(&field, 1));
	pick_hold(field.stats, 1, slot_of(&field, 1));
	assert_int_equal(pick_for(&field, 0, 0, 0), 0);
	pick_release(field.stats, 1, slot_of(&field, 1));
	pick_release(field.stats, 1, slot_of(&field, 1));
	assert_int_equal(pick_for(&field, 0, 0, 0), 1);
	field_close(&field);
}

/* Beyond SCHEDULE_LOOKS a sample is looked at. The bound: with 6,000 connections on 600 backends no backend
 * has more than 2 above the mean of 10; at random the fullest would have about 21. */
static void of_very_many_the_fullest_is_hardly_above_the_mean(void **state)
{
	struct field field;

	(void)state;
	field_open(&field, SCHEDULER_LC, NULL, 600);
	for (int i = 0; i < 6000; i++)
		pick_hold(field.stats, 0, slot_of(&field, pick_for(&field, 0, 0, 0)));
	for (int i = 0; i < 600; i++)
		assert_in_range(field.counts[i], 0, 12);
	field_close(&field);
}

static void of_very_many_the_only_one_alive_is_found(void **state)
{
	(void)state;
	for (size_t s = 0; s < ALL_SCHEDULERS; s++) {
		struct field field;

		field_open(&field, all_schedulers[s], NULL, 600);
		for (uint32_t i = 0; i < 600; i++) {
			if (i != 431)
				set_aside(&field, i);
		}
		for (uint32_t client = 0; client < 20; client++)
			assert_int_equal(pick_for(&field, 0, client, client), 431);
		field_close(&field);
	}
}

/* ---- dh, sh ---- */

#define CLIENTS 10000

static uint32_t hashed(struct field *field, uint32_t number)
{
	return field->options.scheduler == SCHEDULER_SH ? pick_for(field, 0, number, 1)
							: pick_for(field, 0, 1, number);
}

static void hashing_gives_each_its_share(void **state)
{
	static const enum scheduler schedulers[] = {SCHEDULER_SH, SCHEDULER_DH};
	static const uint16_t weights[] = {1, 1, 2, 4, 8};

	(void)state;
	for (size_t s = 0; s < 2; s++) {
		struct field field;

		field_open(&field, schedulers[s], weights, 5);
		for (uint32_t i = 0; i < CLIENTS; i++)
			hashed(&field, i);
		/* 4 standard deviations of a binomial distribution: at most 200. */
		for (int i = 0; i < 5; i++)
			assert_in_range(field.counts[i], weights[i] * CLIENTS / 16 - 200,
				weights[i] * CLIENTS / 16 + 200);
		field_close(&field);
	}
}

static void hashing_looks_at_its_own_address_only(void **state)
{
	struct field field;

	(void)state;
	field_open(&field, SCHEDULER_SH, NULL, 10);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(pick_for(&field, 0, i, 1), pick_for(&field, 1, i, 2));
	field.options.scheduler = SCHEDULER_DH;
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(pick_for(&field, 0, 1, i), pick_for(&field, 1, 2, i));
	field_close(&field);
}

/* Nothing of a process or of a run goes into a hash: the choice outlives restarts. These were noted once. */
static void hashing_is_the_same_after_a_restart(void **state)
{
	static const uint32_t noted[] = {2, 6, 8, 7, 7, 5, 1, 3, 5, 7, 3, 3, 8, 3, 7, 2};
	struct field field;

	(void)state;
	field_open(&field, SCHEDULER_SH, NULL, 10);
	for (uint32_t i = 0; i < sizeof(noted) / sizeof(noted[0]); i++)
		assert_int_equal(hashed(&field, i), noted[i]);
	field_close(&field);
}

/* Notes each client's backend, takes the backend of that number out, and compares. */
static void expect_only_its_own_move(const uint16_t *weights, uint32_t count, uint32_t gone)
{
	static uint32_t before[CLIENTS];
	uint16_t left[MAX_BACKENDS];
	struct field field;
	uint32_t moved = 0, kept = 0;

	field_open(&field, SCHEDULER_SH, weights, count);
	for (uint32_t i = 0; i < CLIENTS; i++)
		before[i] = hashed(&field, i);
	backends_unref(field.backends);
	field.backends = backends_new(count - 1);
	for (uint32_t i = 0; i < count - 1; i++) {
		uint32_t number = i < gone ? i : i + 1;

		left[i] = weights ? weights[number] : 1;
		field.backends->entries[i] = (struct backend){
			.at = backend_at(number), .slot = FIRST_SLOT + number, .weight = left[i]};
	}
	backends_finish(field.backends);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		uint32_t index = hashed(&field, i), number = index < gone ? index : index + 1;

		moved += before[i] == gone;
		kept += number == before[i];
	}
	assert_int_equal(kept + moved, CLIENTS);
	assert_true(moved > 0);
	field_close(&field);
}

static void a_lost_backend_moves_only_its_own_clients(void **state)
{
	static const uint16_t weights[] = {1, 5, 2, 9, 3};

	(void)state;
	expect_only_its_own_move(NULL, 10, 0);
	expect_only_its_own_move(NULL, 10, 9);
	expect_only_its_own_move(NULL, 300, 150);
	expect_only_its_own_move(weights, 5, 3);
	/* The rest have all the same weight, which is another way to compare. */
	expect_only_its_own_move((const uint16_t[]){2, 2, 7, 2}, 4, 2);
}

static void one_set_aside_moves_only_its_own_clients_and_only_meanwhile(void **state)
{
	uint32_t before[500];
	struct field field;

	(void)state;
	field_open(&field, SCHEDULER_SH, NULL, 6);
	for (uint32_t i = 0; i < 500; i++)
		before[i] = hashed(&field, i);
	set_aside(&field, 4);
	for (uint32_t i = 0; i < 500; i++) {
		uint32_t index = hashed(&field, i);

		assert_true(before[i] == 4 ? index != 4 : index == before[i]);
	}
	pick_succeeded(field.stats, &field.backends->entries[4]);
	for (uint32_t i = 0; i < 500; i++)
		assert_int_equal(hashed(&field, i), before[i]);
	field_close(&field);
}

/* ---- parts ---- */

static void backends_are_found_by_slot(void **state)
{
	struct backends *backends = backends_new(101);

	(void)state;
	/* In no order. */
	for (uint32_t i = 0; i < 101; i++)
		backends->entries[i] = (struct backend){.slot = 1000 + i * 37 % 101 * 2, .weight = 1};
	backends_finish(backends);
	for (uint32_t i = 0; i < 101; i++) {
		assert_int_equal(backends_find(backends, backends->entries[i].slot), i);
		assert_int_equal(backends_find(backends, backends->entries[i].slot + 1), -1);
	}
	assert_int_equal(backends_find(backends, 999), -1);
	backends_unref(backends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rr_is_exact_over_each_period),
		cmocka_unit_test(rr_is_exact_when_two_processes_pick_at_once),
		cmocka_unit_test(weighted_rr_comes_in_no_bursts),
		cmocka_unit_test(rr_shares_the_turns_of_one_set_aside),
		cmocka_unit_test(a_heavy_backend_set_aside_hides_no_light_one),
		cmocka_unit_test(all_schedulers_pass_over_what_is_set_aside_or_tried),
		cmocka_unit_test(all_schedulers_take_one_set_aside_before_none),
		cmocka_unit_test(weight_zero_gets_nothing_unless_there_is_nothing_else),
		cmocka_unit_test(where_all_weights_are_zero_all_are_alike),
		cmocka_unit_test(loads_decide_by_the_schedulers_fraction),
		cmocka_unit_test(equals_get_the_same_number_exactly),
		cmocka_unit_test(connections_that_stay_end_up_in_proportion_to_the_weights),
		cmocka_unit_test(an_ended_connection_counts_no_more),
		cmocka_unit_test(of_very_many_the_fullest_is_hardly_above_the_mean),
		cmocka_unit_test(of_very_many_the_only_one_alive_is_found),
		cmocka_unit_test(hashing_gives_each_its_share),
		cmocka_unit_test(hashing_looks_at_its_own_address_only),
		cmocka_unit_test(hashing_is_the_same_after_a_restart),
		cmocka_unit_test(a_lost_backend_moves_only_its_own_clients),
		cmocka_unit_test(one_set_aside_moves_only_its_own_clients_and_only_meanwhile),
		cmocka_unit_test(backends_are_found_by_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
