/* The table of session affinity: times, races of processes, processes that die in the middle, room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "portald/clock.h"
#include "stats/layout.h"

#define LISTENER 9
#define TIMEOUT_S 10
#define TIMEOUT_MS 10000

struct table {
	int fd;
	struct stats *stats;
};

static void table_open(struct table *table)
{
	table->fd = stats_create();
	table->stats = stats_map(table->fd, 1);
	assert_non_null(table->stats);
}

static void table_close(struct table *table)
{
	stats_unmap(table->stats);
	close(table->fd);
}

static uint32_t get(const struct table *table, const struct addr *client, int64_t now_ms)
{
	struct stats_pin pin = {
		.listener = LISTENER, .client = client, .timeout_s = TIMEOUT_S, .now_ms = now_ms};

	return stats_pin_get(table->stats, &pin);
}

static uint32_t replace(
	const struct table *table, const struct addr *client, int64_t now_ms, uint32_t old, uint32_t fresh)
{
	struct stats_pin pin = {
		.listener = LISTENER, .client = client, .timeout_s = TIMEOUT_S, .now_ms = now_ms};

	return stats_pin_replace(table->stats, &pin, old, fresh);
}

/* ---- one client ---- */

static void a_pin_is_per_client_and_listener(void **state)
{
	struct addr one = addr_v4(0x0a000001), other = addr_v4(0x0a000002), v6;
	struct table table;
	struct stats_pin elsewhere = {
		.listener = LISTENER + 1, .client = &one, .timeout_s = TIMEOUT_S, .now_ms = 1000};

	(void)state;
	table_open(&table);
	assert_int_equal(addr_parse(&v6, "fd00::1"), 0);
	assert_int_equal(get(&table, &one, 1000), STATS_NO_PIN);
	assert_int_equal(
		replace(&table, &one, 1000, STATS_NO_PIN, STATS_MAX_BACKENDS - 1), STATS_MAX_BACKENDS - 1);
	assert_int_equal(replace(&table, &v6, 1000, STATS_NO_PIN, 0), 0);
	assert_int_equal(get(&table, &one, 1000), STATS_MAX_BACKENDS - 1);
	assert_int_equal(get(&table, &v6, 1000), 0);
	assert_int_equal(get(&table, &other, 1000), STATS_NO_PIN);
	assert_int_equal(stats_pin_get(table.stats, &elsewhere), STATS_NO_PIN);
	table_close(&table);
}

static void the_timeout_slides_with_each_use(void **state)
{
	struct addr client = addr_v4(1);
	struct table table;

	(void)state;
	table_open(&table);
	replace(&table, &client, 1000, STATS_NO_PIN, 5);
	assert_int_equal(get(&table, &client, 1000 + TIMEOUT_MS - 1), 5);
	assert_int_equal(get(&table, &client, 1000 + 2 * TIMEOUT_MS - 2), 5);
	assert_int_equal(get(&table, &client, 1000 + 3 * TIMEOUT_MS - 2), STATS_NO_PIN);
	/* An earlier reading of the clock, by another relay, does not take time back. */
	replace(&table, &client, 100000, STATS_NO_PIN, 6);
	assert_int_equal(get(&table, &client, 99990), 6);
	assert_int_equal(get(&table, &client, 100000 + TIMEOUT_MS - 1), 6);
	table_close(&table);
}

static void a_changed_timeout_holds_for_pins_that_are_there(void **state)
{
	struct addr client = addr_v4(1);
	struct stats_pin pin = {.listener = LISTENER, .client = &client, .timeout_s = 5, .now_ms = 7000};
	struct table table;

	(void)state;
	table_open(&table);
	replace(&table, &client, 1000, STATS_NO_PIN, 5);
	assert_int_equal(stats_pin_get(table.stats, &pin), STATS_NO_PIN);
	pin.timeout_s = 7;
	assert_int_equal(stats_pin_get(table.stats, &pin), 5);
	table_close(&table);
}

static void only_who_knows_the_pin_replaces_it(void **state)
{
	struct addr client = addr_v4(1);
	struct table table;

	(void)state;
	table_open(&table);
	assert_int_equal(replace(&table, &client, 1000, STATS_NO_PIN, 5), 5);
	/* Another relay that found none was too late. */
	assert_int_equal(replace(&table, &client, 1000, STATS_NO_PIN, 6), 5);
	assert_int_equal(replace(&table, &client, 1000, 5, 7), 7);
	assert_int_equal(replace(&table, &client, 1000, 5, 8), 7);
	/* One that has expired is nobody's. */
	assert_int_equal(replace(&table, &client, 1000 + TIMEOUT_MS, STATS_NO_PIN, 9), 9);
	table_close(&table);
}

static void pins_are_seen_through_a_new_mapping(void **state)
{
	struct addr client = addr_v4(1);
	struct table table;

	(void)state;
	table_open(&table);
	replace(&table, &client, 1000, STATS_NO_PIN, 5);
	stats_unmap(table.stats);
	table.stats = stats_map(table.fd, 1);
	assert_int_equal(get(&table, &client, 1001), 5);
	table_close(&table);
}

/* ---- processes ---- */

enum { RACERS = 3, ROUNDS = 20000 };

struct race {
	_Atomic uint32_t ready[ROUNDS];
	uint32_t agreed[RACERS][ROUNDS];
};

/* All pin the same client at the same moment, each to its own choice. */
static void race_as(const struct table *table, struct race *race, uint32_t self)
{
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct addr client = addr_v4(round);
		struct stats_pin pin = {.relay = self,
			.listener = LISTENER,
			.client = &client,
			.timeout_s = TIMEOUT_S,
			.now_ms = 1000};
		int spins = 0;

		atomic_fetch_add(&race->ready[round], 1);
		/* There may be fewer processors than racers. */
		while (atomic_load(&race->ready[round]) < RACERS) {
			if (++spins % 1000 == 0)
				nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
		}
		race->agreed[self][round] = stats_pin_replace(table->stats, &pin, STATS_NO_PIN, 100 + self);
	}
}

static void processes_that_race_agree(void **state)
{
	struct race *race =
		mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t wins[RACERS] = {0};
	struct table table;

	(void)state;
	table_open(&table);
	for (uint32_t self = 0; self < RACERS; self++) {
		if (fork() == 0) {
			race_as(&table, race, self);
			_exit(0);
		}
	}
	for (int i = 0; i < RACERS; i++)
		assert_true(wait(NULL) > 0);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct addr client = addr_v4(round);

		for (int i = 1; i < RACERS; i++)
			assert_int_equal(race->agreed[i][round], race->agreed[0][round]);
		assert_int_equal(get(&table, &client, 1000), race->agreed[0][round]);
		wins[race->agreed[0][round] - 100]++;
	}
	/* Else there was no race. */
	assert_true(wins[0] < ROUNDS && wins[1] < ROUNDS && wins[2] < ROUNDS);
	table_close(&table);
	munmap(race, sizeof(*race));
}

/* Adds and replaces until it is killed. A pin says which client it is of. */
static void pin_forever(const struct table *table, uint32_t self)
{
	for (uint32_t i = self;; i++) {
		uint32_t number = i % 4096;
		struct addr client = addr_v4(number);
		struct stats_pin pin = {.relay = self,
			.listener = LISTENER,
			.client = &client,
			.timeout_s = 1,
			.now_ms = i / 3};

		stats_pin_get(table->stats, &pin);
		stats_pin_replace(table->stats, &pin, number, number);
	}
}

static void killed_processes_leave_a_table_that_works(void **state)
{
	enum { KILLS = 60 };
	struct table table;
	pid_t pids[2];

	(void)state;
	table_open(&table);
	for (int kill_number = 0; kill_number < KILLS; kill_number++) {
		for (uint32_t i = 0; i < 2; i++) {
			pids[i] = fork();
			if (pids[i] == 0)
				pin_forever(&table, i);
		}
		nanosleep(&(struct timespec){.tv_nsec = 3000000 + kill_number * 1000}, NULL);
		for (int i = 0; i < 2; i++) {
			kill(pids[i], SIGKILL);
			assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
		}
	}
	/* Whatever they left: each client gets a pin, and that pin is its own. */
	for (uint32_t number = 0; number < 4096; number++) {
		struct addr client = addr_v4(number);
		uint32_t found = get(&table, &client, 2000000000);

		assert_true(found == STATS_NO_PIN || found == number);
		assert_int_equal(replace(&table, &client, 2000000000, found, 77), 77);
		assert_int_equal(get(&table, &client, 2000000000), 77);
	}
	table_close(&table);
}

static void a_set_whose_owner_has_died_is_taken_over_quickly(void **state)
{
	struct addr client = addr_v4(1);
	struct stats_pin pin = {.listener = LISTENER, .client = &client};
	struct pin_set *set;
	struct table table;
	int64_t begun_us;

	(void)state;
	table_open(&table);
	replace(&table, &client, 1000, STATS_NO_PIN, 5);
	set = pin_set_of(table.stats, &pin);
	/* Killed between clearing a victim and writing its key. */
	atomic_store(&set->ways[0].use, 0);
	atomic_store(&set->owner, 33);
	begun_us = clock_now_us();
	assert_int_equal(get(&table, &client, 1000), STATS_NO_PIN);
	assert_int_equal(replace(&table, &client, 1000, STATS_NO_PIN, 6), 6);
	/* Generous: the machine may be busy, or this run under valgrind. */
	assert_true(clock_now_us() - begun_us < 100000);
	assert_int_equal(atomic_load(&set->owner), 0);
	assert_int_equal(get(&table, &client, 1000), 6);
	table_close(&table);
}

/* ---- a process that stands still ---- */

enum { STOPS = 150, CHILD_RELAY = 1, CHILD_CHOICE = 100, NO_PTRACE = 77 };

static uint32_t replace_as(
	const struct table *table, uint32_t relay, const struct addr *client, uint32_t fresh)
{
	struct stats_pin pin = {.relay = relay,
		.listener = LISTENER,
		.client = client,
		.timeout_s = TIMEOUT_S,
		.now_ms = 1000};

	return stats_pin_replace(table->stats, &pin, STATS_NO_PIN, fresh);
}

/* A process that stops before it pins the client. */
static pid_t start_traced(const struct table *table, const struct addr *client, uint32_t *result)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(NO_PTRACE);
		raise(SIGSTOP);
		*result = replace_as(table, CHILD_RELAY, client, CHILD_CHOICE);
		_exit(0);
	}
	return pid;
}

/* Lets it execute so many instructions. Returns how many it was, if it has ended before. */
static int step(pid_t pid, int count)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	for (int done = 0; done < count; done++) {
		if (WIFEXITED(status) && WEXITSTATUS(status) == NO_PTRACE)
			skip();
		if (!WIFSTOPPED(status))
			return done;
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
	}
	return count;
}

static void let_finish(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_CONT, pid, NULL, NULL) == 0) {
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
}

/* The next client of the listener, from *number on, whose pin lies in the set. */
static struct addr neighbour(
	const struct table *table, uint32_t listener, const struct pin_set *set, uint32_t *number)
{
	for (;;) {
		struct addr client = addr_v4((*number)++);
		struct stats_pin pin = {.listener = listener, .client = &client};

		if (pin_set_of(table->stats, &pin) == set)
			return client;
	}
}

/* A set, and as many clients that share it as it has room for, beside the one that the process pins. */
struct stage {
	struct table table;
	struct pin_set *set;
	struct addr client, neighbours[STATS_PIN_WAYS];
	uint32_t *result;
	uint32_t choice;
};

static void stage_open(struct stage *stage)
{
	uint32_t number = 0;

	table_open(&stage->table);
	stage->set = stats_pin_set(stage->table.stats, 4711);
	stage->client = neighbour(&stage->table, LISTENER, stage->set, &number);
	for (int i = 0; i < STATS_PIN_WAYS; i++)
		stage->neighbours[i] = neighbour(&stage->table, LISTENER, stage->set, &number);
	stage->result =
		mmap(NULL, sizeof(uint32_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void stage_close(struct stage *stage)
{
	munmap(stage->result, sizeof(uint32_t));
	table_close(&stage->table);
}

/* Stops a process that pins a client after more and more instructions, until it comes to its end; meanwhile
 * act() uses the table, and check() looks at it after the process has gone on. */
static void stop_everywhere(void (*act)(struct stage *stage), void (*check)(const struct stage *stage))
{
	struct stage stage;
	int total = INT32_MAX;

	stage_open(&stage);
	total = step(start_traced(&stage.table, &stage.client, stage.result), total);
	for (int count = 0; count < total; count += total / STOPS + 1) {
		pid_t pid;

		memset(stage.set, 0, sizeof(*stage.set));
		pid = start_traced(&stage.table, &stage.client, stage.result);
		assert_int_equal(step(pid, count), count);
		act(&stage);
		let_finish(pid);
		check(&stage);
		assert_int_equal(atomic_load(&stage.set->owner), 0);
	}
	stage_close(&stage);
}

static void pin_the_same(struct stage *stage)
{
	stage->choice = replace_as(&stage->table, 0, &stage->client, CHILD_CHOICE + 1);
	assert_true(stage->choice == CHILD_CHOICE || stage->choice == CHILD_CHOICE + 1);
	assert_int_equal(get(&stage->table, &stage->client, 1000), stage->choice);
}

static void check_the_same(const struct stage *stage)
{
	assert_int_equal(*stage->result, stage->choice);
	assert_int_equal(get(&stage->table, &stage->client, 1000), stage->choice);
}

static void a_process_that_stands_still_anywhere_agrees_with_the_others(void **state)
{
	(void)state;
	stop_everywhere(pin_the_same, check_the_same);
}

static void pin_neighbours(struct stage *stage)
{
	for (uint32_t i = 0; i < STATS_PIN_WAYS; i++)
		assert_int_equal(replace_as(&stage->table, 0, &stage->neighbours[i], i), i);
}

static void check_neighbours(const struct stage *stage)
{
	uint32_t found = get(&stage->table, &stage->client, 1000);

	assert_int_equal(*stage->result, CHILD_CHOICE);
	assert_true(found == STATS_NO_PIN || found == CHILD_CHOICE);
	for (uint32_t i = 0; i < STATS_PIN_WAYS; i++) {
		found = get(&stage->table, &stage->neighbours[i], 1000);
		assert_true(found == STATS_NO_PIN || found == i);
	}
}

static void a_process_that_stands_still_anywhere_gives_nobody_anothers_pin(void **state)
{
	(void)state;
	stop_everywhere(pin_neighbours, check_neighbours);
}

/* ---- room ---- */

static void in_a_full_set_the_one_unused_for_longest_makes_room(void **state)
{
	struct addr clients[STATS_PIN_WAYS + 1];
	struct table table;
	struct pin_set *set;
	uint32_t number = 0;

	(void)state;
	table_open(&table);
	set = stats_pin_set(table.stats, 4711);
	for (uint32_t i = 0; i <= STATS_PIN_WAYS; i++)
		clients[i] = neighbour(&table, LISTENER, set, &number);
	for (uint32_t i = 0; i < STATS_PIN_WAYS; i++)
		replace(&table, &clients[i], 1000 + i, STATS_NO_PIN, i);
	/* Of the two oldest, one is used. */
	assert_int_equal(get(&table, &clients[0], 2000), 0);
	replace(&table, &clients[STATS_PIN_WAYS], 2001, STATS_NO_PIN, 99);
	for (uint32_t i = 0; i < STATS_PIN_WAYS; i++)
		assert_int_equal(get(&table, &clients[i], 2002), i == 1 ? STATS_NO_PIN : i);
	assert_int_equal(get(&table, &clients[STATS_PIN_WAYS], 2002), 99);
	table_close(&table);
}

static void an_expired_pin_makes_room_before_older_ones(void **state)
{
	struct stats_pin brief = {.listener = LISTENER + 1, .timeout_s = 1, .now_ms = 2000};
	struct addr clients[STATS_PIN_WAYS], brief_client;
	struct table table;
	struct pin_set *set;
	uint32_t number = 0;

	(void)state;
	table_open(&table);
	set = stats_pin_set(table.stats, 4711);
	for (uint32_t i = 0; i < STATS_PIN_WAYS - 1; i++) {
		clients[i] = neighbour(&table, LISTENER, set, &number);
		replace(&table, &clients[i], 1000, STATS_NO_PIN, i);
	}
	brief_client = neighbour(&table, LISTENER + 1, set, &number);
	brief.client = &brief_client;
	stats_pin_replace(table.stats, &brief, STATS_NO_PIN, 50);
	clients[STATS_PIN_WAYS - 1] = neighbour(&table, LISTENER, set, &number);
	replace(&table, &clients[STATS_PIN_WAYS - 1], 3000, STATS_NO_PIN, STATS_PIN_WAYS - 1);
	for (uint32_t i = 0; i < STATS_PIN_WAYS; i++)
		assert_int_equal(get(&table, &clients[i], 3000), i);
	assert_int_equal(stats_pin_get(table.stats, &brief), STATS_NO_PIN);
	table_close(&table);
}

/* A quarter of its room is used: hardly any set has more than seven. */
static void hundreds_of_thousands_of_clients_have_room(void **state)
{
	uint32_t count = STATS_PIN_SETS * STATS_PIN_WAYS / 4, lost = 0;
	struct table table;

	(void)state;
	table_open(&table);
	for (uint32_t i = 0; i < count; i++) {
		struct addr client = addr_v4(i);

		replace(&table, &client, 1000, STATS_NO_PIN, i % 1000);
	}
	for (uint32_t i = 0; i < count; i++) {
		struct addr client = addr_v4(i);

		lost += get(&table, &client, 1000) != i % 1000;
	}
	/* With a mean of 1.75 a set, 5 in 10,000 sets overflow: about 80 pins. */
	assert_true(lost < 200);
	table_close(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pin_is_per_client_and_listener),
		cmocka_unit_test(the_timeout_slides_with_each_use),
		cmocka_unit_test(a_changed_timeout_holds_for_pins_that_are_there),
		cmocka_unit_test(only_who_knows_the_pin_replaces_it),
		cmocka_unit_test(pins_are_seen_through_a_new_mapping),
		cmocka_unit_test(processes_that_race_agree),
		cmocka_unit_test(killed_processes_leave_a_table_that_works),
		cmocka_unit_test(a_set_whose_owner_has_died_is_taken_over_quickly),
		cmocka_unit_test(a_process_that_stands_still_anywhere_agrees_with_the_others),
		cmocka_unit_test(a_process_that_stands_still_anywhere_gives_nobody_anothers_pin),
		cmocka_unit_test(in_a_full_set_the_one_unused_for_longest_makes_room),
		cmocka_unit_test(an_expired_pin_makes_room_before_older_ones),
		cmocka_unit_test(hundreds_of_thousands_of_clients_have_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
