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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_written_in_one_mapping_are_read_in_another),
		cmocka_unit_test(cursor_counts_exactly_across_processes),
		cmocka_unit_test(slots_do_not_overlap),
		cmocka_unit_test(reset_zeroes_a_slot_in_every_relay_and_no_other),
		cmocka_unit_test(a_dead_relays_active_counts_are_zeroed_and_its_totals_kept),
		cmocka_unit_test(file_cannot_be_resized),
		cmocka_unit_test(untouched_slots_cost_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
