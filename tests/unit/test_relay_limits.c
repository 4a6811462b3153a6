/* What a relay does with little memory, few descriptors, and peers that do not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay_rig.h"

/* A line of /proc/PID/smaps_rollup or status, in kB. */
static long proc_kb(pid_t pid, const char *file, const char *name)
{
	char path[64], line[256];
	long kb = -1;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	in = fopen(path, "re");
	assert_non_null(in);
	while (fgets(line, sizeof(line), in)) {
		if (strncmp(line, name, strlen(name)) == 0)
			kb = strtol(line + strlen(name), NULL, 10);
	}
	fclose(in);
	assert_true(kb >= 0);
	return kb;
}

/* Private dirty memory: heap and everything else that is the process's own. */
static long own_kb(const struct rig *rig)
{
	return proc_kb(rig->pids[0], "smaps_rollup", "Private_Dirty:");
}

static long cpu_ticks(pid_t pid)
{
	unsigned long user = 0, system = 0;
	char path[64], line[512] = "";
	const char *after;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	in = fopen(path, "re");
	assert_non_null(in);
	assert_non_null(fgets(line, sizeof(line), in));
	fclose(in);
	after = strrchr(line, ')');
	assert_non_null(after);
	assert_int_equal(
		sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
	return (long)(user + system);
}

static void raise_own_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void an_idle_connection_takes_at_most_400_bytes(void **state)
{
	enum { CONNECTIONS = 2000 };
	struct pair *pairs = calloc(CONNECTIONS, sizeof(*pairs));
	struct rig_options options = {0};
	struct addr_port at;
	struct rig rig;
	long before_kb, after_kb;
	int backend;

	(void)state;
	raise_own_limit();
	rig_start(&rig, &options);
	backend = backend_listen(&at, 4096);
	rig_backends(&rig, &at, 1);
	/* What the first connection brings once and for all is not counted. */
	pairs[0] = pair_open(&rig, backend);
	send_text(pairs[0].client, "x");
	expect_text(pairs[0].backend, "x");
	before_kb = own_kb(&rig);
	for (int i = 1; i < CONNECTIONS; i++) {
		pairs[i] = pair_open(&rig, backend);
		send_text(pairs[i].client, "x");
		expect_text(pairs[i].backend, "x");
	}
	after_kb = own_kb(&rig);
	print_message("%ld bytes a connection\n", (after_kb - before_kb) * 1024 / CONNECTIONS);
	/* Sanitizers and valgrind keep books of their own. */
	if (!getenv("RIG_NO_MEMORY_CHECK"))
		assert_in_range((after_kb - before_kb) * 1024 / CONNECTIONS, 1, 400);
	for (int i = 0; i < CONNECTIONS; i++)
		pair_close(&pairs[i]);
	assert_true(rig_wait_active(&rig, 0));
	free(pairs);
	close(backend);
	rig_stop(&rig);
}

/* Sends until the other end takes no more. Returns how much went. */
static size_t stuff(int fd)
{
	static const uint8_t block[64 * 1024];
	size_t sum = 0;
	int quiet = 0;

	/* The relay moves bytes on meanwhile: full is what stays full for a while. */
	while (quiet < 10) {
		ssize_t sent = send(fd, block, sizeof(block), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0) {
			sum += (size_t)sent;
			quiet = 0;
			continue;
		}
		sleep_ms(5);
		quiet++;
	}
	return sum;
}

static void drain(int fd, size_t count)
{
	uint8_t block[64 * 1024];

	while (count > 0) {
		ssize_t got = recv(fd, block, count < sizeof(block) ? count : sizeof(block), 0);

		if (got <= 0)
			fail_msg("%zu bytes are missing: %s", count, got < 0 ? strerror(errno) : "end");
		count -= (size_t)got;
	}
}

enum { STALLED = 10, STALLED_LIMIT = 256 * 1024 };

static void stall(uint32_t fd_limit)
{
	struct rig_options options = {.held_limit_bytes = STALLED_LIMIT, .fd_limit = fd_limit};
	struct pair pairs[STALLED];
	size_t stuffed[STALLED];
	long before_kb, after_kb;
	struct addr_port at;
	struct rig rig;
	int backend;

	rig_start(&rig, &options);
	backend = backend_listen(&at, 128);
	rig_backends(&rig, &at, 1);
	for (int i = 0; i < STALLED; i++)
		pairs[i] = pair_open(&rig, backend);
	before_kb = own_kb(&rig);
	for (int i = 0; i < STALLED; i++)
		stuffed[i] = stuff(pairs[i].backend);
	after_kb = own_kb(&rig);
	if (!getenv("RIG_NO_MEMORY_CHECK"))
		assert_true(after_kb - before_kb <= STALLED_LIMIT / 1024 + 256);
	for (int i = 0; i < STALLED; i++) {
		shutdown(pairs[i].backend, SHUT_WR);
		drain(pairs[i].client, stuffed[i]);
		expect_end(pairs[i].client);
		pair_close(&pairs[i]);
	}
	assert_true(rig_wait_active(&rig, 0));
	close(backend);
	rig_stop(&rig);
}

static void stalled_readers_hold_a_bounded_sum_and_lose_nothing(void **state)
{
	(void)state;
	stall(0);
}

/* No pipe to be had: rests up to the limit, the others' bytes stay in the sockets. */
static void stalled_readers_without_pipes_hold_a_bounded_sum_too(void **state)
{
	(void)state;
	stall(48);
}

static void out_of_descriptors_old_connections_live_and_new_ones_wait_or_are_refused(void **state)
{
	enum { CLIENTS = 60 };
	struct rig_options options = {.fd_limit = 64};
	struct pair served[CLIENTS];
	int clients[CLIENTS], served_count = 0, refused = 0;
	struct addr_port at;
	long ticks;
	struct rig rig;
	int backend, fd;

	(void)state;
	if (!rig_can_limit_fds())
		skip();
	rig_start(&rig, &options);
	backend = backend_listen(&at, 128);
	rig_backends(&rig, &at, 1);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = rig_connect(&rig);
	/* Those that have waited for a pause are refused. */
	for (int i = 0; i < CLIENTS; i++) {
		char byte;

		sleep_ms(i == 0 ? 500 : 0);
		if (recv(clients[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) {
			served[served_count].client = clients[i];
			served[served_count].backend = backend_accept(backend);
			served_count++;
		} else {
			close(clients[i]);
			refused++;
		}
	}
	assert_in_range(served_count, 10, 30);
	assert_int_equal(rig_failures(&rig, STATS_FAIL_DESCRIPTORS), refused);
	/* Old ones live, though not necessarily in the order of accepting. */
	for (int i = 0; i < served_count; i++)
		send_text(served[i].client, "alive");
	for (int i = 0; i < served_count; i++)
		expect_text(served[i].backend, "alive");
	/* One that waits costs no busy loop, ... */
	ticks = cpu_ticks(rig.pids[0]);
	fd = rig_connect(&rig);
	sleep_ms(300);
	if (!getenv("RIG_NO_MEMORY_CHECK"))
		assert_in_range(cpu_ticks(rig.pids[0]) - ticks, 0, 10);
	close(fd);
	/* ... and when the others go, there is room again. */
	for (int i = 0; i < served_count; i++)
		pair_close(&served[i]);
	assert_true(rig_wait_active(&rig, 0));
	for (int i = 0; i < 100; i++) {
		struct pair pair = pair_open(&rig, backend);

		send_text(pair.client, "again");
		expect_text(pair.backend, "again");
		pair_close(&pair);
	}
	close(backend);
	rig_stop(&rig);
}

static void a_listener_can_be_sent_when_connections_take_all_descriptors(void **state)
{
	struct rig_options options = {.fd_limit = 64};
	int clients[40];
	struct addr_port at;
	struct rig rig;
	int backend;

	(void)state;
	if (!rig_can_limit_fds())
		skip();
	rig_start(&rig, &options);
	backend = backend_listen(&at, 128);
	rig_backends(&rig, &at, 1);
	for (int i = 0; i < 40; i++)
		clients[i] = rig_connect(&rig);
	sleep_ms(100);
	for (int i = 0; i < 20; i++)
		rig_listener(&rig, &options);
	for (int i = 0; i < 40; i++)
		close(clients[i]);
	close(backend);
	/* Asserts that it is still there. */
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_connection_takes_at_most_400_bytes),
		cmocka_unit_test(stalled_readers_hold_a_bounded_sum_and_lose_nothing),
		cmocka_unit_test(stalled_readers_without_pipes_hold_a_bounded_sum_too),
		cmocka_unit_test(out_of_descriptors_old_connections_live_and_new_ones_wait_or_are_refused),
		cmocka_unit_test(a_listener_can_be_sent_when_connections_take_all_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
