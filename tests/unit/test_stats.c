/* The shared counters, seen through several mappings and processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "portald/stats.h"

static struct stats *map_new(int *fd)
{
	struct stats *stats;

	*fd = stats_create();
	assert_true(*fd >= 0);
	stats = stats_map(*fd, 1);
	assert_non_null(stats);
	return stats;
}

static void counters_written_in_one_mapping_are_read_in_another(void **state)
{
	struct stats *reader, *writer;
	int fd;

	(void)state;
	writer = map_new(&fd);
	reader = stats_map(fd, 0);
	assert_non_null(reader);
	stats_add(&stats_listener(writer, 3, 7)->accepted, 41);
	stats_add(&stats_listener(writer, 3, 7)->accepted, 1);
	stats_add(&stats_backend(writer, 63, STATS_MAX_BACKENDS - 1)->connections, 5);
	assert_int_equal(atomic_load(&stats_listener(reader, 3, 7)->accepted), 42);
	assert_int_equal(atomic_load(&stats_listener(reader, 3, 8)->accepted), 0);
	assert_int_equal(atomic_load(&stats_backend(reader, 63, STATS_MAX_BACKENDS - 1)->connections), 5);
	stats_unmap(reader);
	stats_unmap(writer);
	close(fd);
}

static void cursor_counts_exactly_across_processes(void **state)
{
	enum { PROCESSES = 4, PICKS = 20000 };
	struct stats *stats;
	int fd;

	(void)state;
	stats = map_new(&fd);
	for (int i = 0; i < PROCESSES; i++) {
		if (fork() == 0) {
			struct stats *own = stats_map(fd, 1);

			for (int pick = 0; pick < PICKS; pick++)
				atomic_fetch_add(&stats_listener_shared(own, 9)->cursor, 1);
			_exit(0);
		}
	}
	for (int i = 0; i < PROCESSES; i++)
		assert_true(wait(NULL) > 0);
	assert_int_equal(atomic_load(&stats_listener_shared(stats, 9)->cursor), PROCESSES * PICKS);
	stats_unmap(stats);
	close(fd);
}

static void slots_do_not_overlap(void **state)
{
	struct stats *stats;
	int fd;

	(void)state;
	stats = map_new(&fd);
	atomic_store(&stats_listener_shared(stats, STATS_MAX_LISTENERS - 1)->cursor, 1);
	atomic_store(&stats_backend_shared(stats, 0)->set_aside_until_ms, 2);
	atomic_store(&stats_backend_shared(stats, STATS_MAX_BACKENDS - 1)->set_aside_level, 3);
	stats_add(&stats_listener(stats, 0, 0)->accepted, 4);
	stats_add(&stats_listener(stats, 0, STATS_MAX_LISTENERS - 1)->failures[STATS_FAILURES - 1], 5);
	stats_add(&stats_backend(stats, 0, 0)->connections, 6);
	stats_add(&stats_backend(stats, 0, STATS_MAX_BACKENDS - 1)->failures, 7);
	stats_add(&stats_listener(stats, 1, 0)->accepted, 8);
	assert_int_equal(atomic_load(&stats_listener_shared(stats, STATS_MAX_LISTENERS - 1)->cursor), 1);
	assert_int_equal(atomic_load(&stats_backend_shared(stats, 0)->set_aside_until_ms), 2);
	assert_int_equal(
		atomic_load(&stats_backend_shared(stats, STATS_MAX_BACKENDS - 1)->set_aside_level), 3);
	assert_int_equal(atomic_load(&stats_listener(stats, 0, 0)->accepted), 4);
	assert_int_equal(atomic_load(&stats_backend(stats, 0, 0)->connections), 6);
	assert_int_equal(atomic_load(&stats_backend(stats, 0, STATS_MAX_BACKENDS - 1)->failures), 7);
	assert_int_equal(atomic_load(&stats_listener(stats, 1, 0)->accepted), 8);
	stats_unmap(stats);
	close(fd);
}

static void reset_zeroes_a_slot_in_every_relay_and_no_other(void **state)
{
	struct stats *stats;
	int fd;

	(void)state;
	stats = map_new(&fd);
	for (uint32_t relay = 0; relay < 3; relay++) {
		stats_add(&stats_listener(stats, relay, 1)->bytes_in, 1);
		stats_add(&stats_listener(stats, relay, 2)->bytes_in, 1);
		stats_add(&stats_backend(stats, relay, 1)->active, 1);
		stats_add(&stats_backend(stats, relay, 2)->active, 1);
	}
	atomic_store(&stats_backend_shared(stats, 1)->set_aside_until_ms, 99);
	stats_listener_reset(stats, 1);
	stats_backend_reset(stats, 1);
	for (uint32_t relay = 0; relay < 3; relay++) {
		assert_int_equal(atomic_load(&stats_listener(stats, relay, 1)->bytes_in), 0);
		assert_int_equal(atomic_load(&stats_listener(stats, relay, 2)->bytes_in), 1);
		assert_int_equal(atomic_load(&stats_backend(stats, relay, 1)->active), 0);
		assert_int_equal(atomic_load(&stats_backend(stats, relay, 2)->active), 1);
	}
	assert_int_equal(atomic_load(&stats_backend_shared(stats, 1)->set_aside_until_ms), 0);
	stats_unmap(stats);
	close(fd);
}

static void a_dead_relays_active_counts_are_zeroed_and_its_totals_kept(void **state)
{
	struct stats *stats;
	int fd;

	(void)state;
	stats = map_new(&fd);
	for (uint32_t relay = 0; relay < 2; relay++) {
		stats_add(&stats_listener(stats, relay, 1)->active, 4);
		stats_add(&stats_listener(stats, relay, 1)->accepted, 9);
		stats_add(&stats_backend(stats, relay, 5)->active, 4);
	}
	stats_relay_reset_active(stats, 1, 2, 6);
	assert_int_equal(atomic_load(&stats_listener(stats, 1, 1)->active), 0);
	assert_int_equal(atomic_load(&stats_listener(stats, 1, 1)->accepted), 9);
	assert_int_equal(atomic_load(&stats_backend(stats, 1, 5)->active), 0);
	assert_int_equal(atomic_load(&stats_listener(stats, 0, 1)->active), 4);
	stats_unmap(stats);
	close(fd);
}

static void file_cannot_be_resized(void **state)
{
	int fd = stats_create();

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	close(fd);
}

static void untouched_slots_cost_no_memory(void **state)
{
	struct stats *stats;
	struct stat st;
	int fd;

	(void)state;
	stats = map_new(&fd);
	for (uint32_t slot = 0; slot < 16; slot++) {
		stats_listener_reset(stats, slot);
		stats_backend_reset(stats, slot);
		stats_add(&stats_listener(stats, 0, slot)->accepted, 1);
		stats_add(&stats_backend(stats, 0, slot)->connections, 1);
	}
	assert_int_equal(fstat(fd, &st), 0);
	/* Header, shared listeners, shared backends, two parts of relay 0; huge pages are not in use. */
	assert_in_range(st.st_blocks * 512, 1, 16 * 4096);
	stats_unmap(stats);
	close(fd);
}

static void a_reader_cannot_get_to_write(void **state)
{
	int fd, readonly;
	struct stats *writer, *reader;

	(void)state;
	writer = map_new(&fd);
	readonly = stats_open_readonly(fd);
	assert_true(readonly >= 0);
	assert_null(stats_map(readonly, 1));
	assert_int_equal(errno, EACCES);
	reader = stats_map(readonly, 0);
	assert_non_null(reader);
	stats_add(&stats_listener(writer, 0, 1)->accepted, 3);
	assert_int_equal(atomic_load(&stats_listener(reader, 0, 1)->accepted), 3);
	/* Nor does a mapping become writable later. */
	assert_int_equal(mprotect(stats_supervisor(reader), 1, PROT_READ | PROT_WRITE), -1);
	stats_unmap(reader);
	stats_unmap(writer);
	close(readonly);
	close(fd);
}

static void sums_are_of_all_relays(void **state)
{
	struct stats_listener_sum listener;
	struct stats_backend_sum backend;
	struct stats *stats;
	int fd;

	(void)state;
	stats = map_new(&fd);
	for (uint32_t relay = 0; relay < 3; relay++) {
		struct stats_listener_counters *counters = stats_listener(stats, relay, 5);

		stats_add(&counters->accepted, 1 + relay);
		stats_add(&counters->failures[STATS_FAIL_DATAGRAM], 10);
		stats_add(&counters->connect_us, 100);
		stats_add_time(counters->connect, stats_connect_bounds_us, STATS_CONNECT_BOUNDS, 100);
		stats_add(&stats_backend(stats, relay, 6)->bytes_out, 1000);
	}
	stats_listener_add_up(stats, 5, &listener);
	assert_true(listener.accepted == 6 && listener.failures[STATS_FAIL_DATAGRAM] == 30);
	assert_true(listener.connect_us == 300 && listener.connect[0] == 3);
	stats_backend_add_up(stats, 6, &backend);
	assert_true(backend.bytes_out == 3000 && backend.connections == 0);
	stats_unmap(stats);
	close(fd);
}

static void a_time_counts_in_the_first_bucket_that_holds_it(void **state)
{
	static const uint32_t bounds_us[] = {10, 20};
	_Atomic uint64_t buckets[3] = {0};

	(void)state;
	stats_add_time(buckets, bounds_us, 2, 0);
	stats_add_time(buckets, bounds_us, 2, 10);
	stats_add_time(buckets, bounds_us, 2, 11);
	stats_add_time(buckets, bounds_us, 2, UINT64_MAX);
	assert_true(buckets[0] == 2 && buckets[1] == 1 && buckets[2] == 1);
}

static void a_relay_hangs_when_its_turn_does_not_end(void **state)
{
	uint64_t now_us = 3ull * STATS_HANG_US;
	struct stats *stats;
	int fd;

	(void)state;
	stats = map_new(&fd);
	assert_false(stats_has_hung_relay(stats, 2, now_us));
	atomic_store(&stats_relay(stats, 1)->turn_began_us, now_us - STATS_HANG_US + 1);
	assert_false(stats_has_hung_relay(stats, 2, now_us));
	atomic_store(&stats_relay(stats, 1)->turn_began_us, now_us - STATS_HANG_US);
	assert_true(stats_has_hung_relay(stats, 2, now_us));
	assert_false(stats_has_hung_relay(stats, 1, now_us));
	atomic_store(&stats_relay(stats, 1)->turn_began_us, now_us + 1);
	assert_false(stats_has_hung_relay(stats, 2, now_us));
	stats_unmap(stats);
	close(fd);
}

static void every_failure_has_a_name(void **state)
{
	(void)state;
	for (int i = 0; i < STATS_FAILURES; i++)
		assert_non_null(stats_failure_name((enum stats_failure)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_written_in_one_mapping_are_read_in_another),
		cmocka_unit_test(cursor_counts_exactly_across_processes),
		cmocka_unit_test(slots_do_not_overlap),
		cmocka_unit_test(reset_zeroes_a_slot_in_every_relay_and_no_other),
		cmocka_unit_test(a_dead_relays_active_counts_are_zeroed_and_its_totals_kept),
		cmocka_unit_test(a_reader_cannot_get_to_write),
		cmocka_unit_test(sums_are_of_all_relays),
		cmocka_unit_test(a_time_counts_in_the_first_bucket_that_holds_it),
		cmocka_unit_test(a_relay_hangs_when_its_turn_does_not_end),
		cmocka_unit_test(every_failure_has_a_name),
		cmocka_unit_test(file_cannot_be_resized),
		cmocka_unit_test(untouched_slots_cost_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
