#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/log.h"
#include "relay_rig.h"

static const struct addr_port loopback = {.addr = {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}}};

int64_t now_ms(void)
{
	return clock_now_ms();
}

void sleep_ms(int ms)
{
	struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&pause, NULL);
}

/* ---- relays ---- */

/* What the test holds must not be held by the relay: an end would never be seen. */
static void close_others(int keep)
{
	for (int fd = 3; fd < 256; fd++) {
		if (fd != keep)
			close(fd);
	}
}

bool rig_can_limit_fds(void)
{
	struct rlimit low = {64, 64};
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(setrlimit(RLIMIT_NOFILE, &low) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status == 0;
}

static void relay_process(struct rig *rig, const struct rig_options *options, uint32_t index, int channel_fd)
{
	struct relay_options relay = {
		.index = index,
		.held_limit_bytes = options->held_limit_bytes,
		.udp_max_flows = options->udp_max_flows,
	};
	const char *verbosity = getenv("RIG_V");
	char role[16] = "relay-0";
	int exit_code;

	role[6] = (char)('0' + index);
	log_init(role, LOG_TEXT, verbosity ? verbosity[0] - '0' : 0);
	close_others(channel_fd);
	if (options->fd_limit > 0) {
		struct rlimit limit = {options->fd_limit, options->fd_limit};

		/* valgrind refuses; see rig_can_limit_fds(). */
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	exit_code = relay_run(&relay, rig->stats, channel_fd);
	/* Much memory, through which a leak checker would go for seconds. */
	stats_unmap(rig->stats);
	/* exit, not _exit: leak checkers report at exit. */
	exit(exit_code);
}

static void start_relay(struct rig *rig, const struct rig_options *options, uint32_t index)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	rig->pids[index] = fork();
	assert_true(rig->pids[index] >= 0);
	if (rig->pids[index] == 0)
		relay_process(rig, options, index, fds[1]);
	close(fds[1]);
	rig->channels[index] = ipc_channel_new(fds[0]);
}

void rig_listener(struct rig *rig, const struct rig_options *options)
{
	struct ipc_relay_portal portals[16] = {0};
	struct ipc_relay_listener message = {
		.name = RIG_SLOT,
		.slot = RIG_SLOT,
		.proto = options->proto,
		.check_destination = options->check_destination,
		.options = {.udp_first_ms = options->udp_first_ms,
			.udp_idle_ms = options->udp_idle_ms,
			.affinity_timeout_s = options->affinity ? 60 : 0,
			.max_connections = options->max_connections},
		.source_ranges = options->source_range,
		.source_range_count = options->source_range ? 1 : 0,
		.key = "default/test:tcp",
		.portals = portals,
		.portal_count = options->portal_count,
	};

	if (options->service)
		message.options = *options->service;
	for (size_t i = 0; i < options->portal_count; i++)
		portals[i] = (struct ipc_relay_portal){options->portals[i], options->source_range != NULL};
	for (size_t i = 0; i < rig->relay_count; i++)
		assert_int_equal(
			ipc_send_relay_listener(rig->channels[i], &message, rig->listener.fds[i]), 0);
}

void rig_start(struct rig *rig, const struct rig_options *options)
{
	struct listen_range any = {0, 0};

	*rig = (struct rig){.relay_count = options->relay_count ? options->relay_count : 1};
	rig->stats_fd = stats_create();
	rig->stats = stats_map(rig->stats_fd, 1);
	assert_non_null(rig->stats);
	for (uint32_t i = 0; i < rig->relay_count; i++)
		start_relay(rig, options, i);
	assert_int_equal(listen_open(&rig->listener, options->proto,
				 options->bind ? options->bind : &loopback.addr, &any, rig->relay_count, 1),
		0);
	rig_listener(rig, options);
}

void rig_stop(struct rig *rig)
{
	rig_stop_expecting(rig, 0);
}

void rig_stop_expecting(struct rig *rig, int exit_code)
{
	for (size_t i = 0; i < rig->relay_count; i++) {
		int status = -1;

		ipc_channel_free(rig->channels[i]);
		assert_int_equal(waitpid(rig->pids[i], &status, 0), rig->pids[i]);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), exit_code);
	}
	listen_close(&rig->listener);
	stats_unmap(rig->stats);
	close(rig->stats_fd);
}

void rig_backends(struct rig *rig, const struct addr_port *backends, size_t count)
{
	rig_backends_from(rig, backends, count, 0);
}

void rig_backends_from(struct rig *rig, const struct addr_port *backends, size_t count, uint32_t first)
{
	struct ipc_relay_backend list[16];
	struct ipc_relay_backends message = {.listener = RIG_SLOT, .backends = list, .backend_count = count};

	for (size_t i = 0; i < count; i++)
		list[i] = (struct ipc_relay_backend){
			.at = backends[i], .slot = RIG_BACKEND_SLOT + first + (uint32_t)i, .weight = 1};
	for (size_t i = 0; i < rig->relay_count; i++)
		assert_int_equal(ipc_send_relay_backends(rig->channels[i], &message), 0);
}

void rig_backend_list(struct rig *rig, const struct ipc_relay_backend *list, size_t count)
{
	struct ipc_relay_backends message = {.listener = RIG_SLOT, .backends = list, .backend_count = count};

	for (size_t i = 0; i < rig->relay_count; i++)
		assert_int_equal(ipc_send_relay_backends(rig->channels[i], &message), 0);
}

void rig_restart_relay(struct rig *rig, const struct rig_options *options, uint32_t index,
	const struct ipc_relay_backend *list, size_t count)
{
	kill(rig->pids[index], SIGKILL);
	assert_int_equal(waitpid(rig->pids[index], NULL, 0), rig->pids[index]);
	ipc_channel_free(rig->channels[index]);
	stats_relay_reset_active(rig->stats, index, RIG_SLOT + 1, RIG_BACKEND_SLOT + 16);
	start_relay(rig, options, index);
	rig_listener(rig, options);
	rig_backend_list(rig, list, count);
}

void rig_close_listener(struct rig *rig)
{
	for (size_t i = 0; i < rig->relay_count; i++)
		assert_int_equal(ipc_send_relay_close(rig->channels[i], RIG_SLOT), 0);
}

/* ---- counters ---- */

uint64_t rig_failures(struct rig *rig, enum stats_failure why)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < rig->relay_count; i++)
		sum += atomic_load(&stats_listener(rig->stats, i, RIG_SLOT)->failures[why]);
	return sum;
}

uint64_t rig_active(struct rig *rig)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < rig->relay_count; i++)
		sum += atomic_load(&stats_listener(rig->stats, i, RIG_SLOT)->active);
	return sum;
}

uint64_t rig_backend_connections(struct rig *rig, size_t backend)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < rig->relay_count; i++)
		sum += atomic_load(
			&stats_backend(rig->stats, i, RIG_BACKEND_SLOT + (uint32_t)backend)->connections);
	return sum;
}

bool rig_wait_active(struct rig *rig, uint64_t value)
{
	int64_t deadline_ms = now_ms() + RIG_TIMEOUT_S * 1000;

	while (rig_active(rig) != value && now_ms() < deadline_ms)
		sleep_ms(2);
	return rig_active(rig) == value;
}

bool rig_wait_failures(struct rig *rig, enum stats_failure why, uint64_t value)
{
	int64_t deadline_ms = now_ms() + RIG_TIMEOUT_S * 1000;

	while (rig_failures(rig, why) < value && now_ms() < deadline_ms)
		sleep_ms(2);
	return rig_failures(rig, why) == value;
}

/* ---- sockets ---- */

static void set_timeouts(int fd)
{
	struct timeval limit = {.tv_sec = RIG_TIMEOUT_S};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

int connect_to(const struct addr_port *at)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(at, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	set_timeouts(fd);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (struct sockaddr *)&sa, length) < 0)
		fail_msg("connect: %s", strerror(errno));
	return fd;
}

int rig_connect_from(const struct rig *rig, uint8_t number)
{
	struct addr_port from = {.addr = addr_v4(0x7f000000u + number)};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&from, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	set_timeouts(fd);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	length = addr_to_sockaddr(&rig->listener.at, &sa);
	if (connect(fd, (struct sockaddr *)&sa, length) < 0)
		fail_msg("connect: %s", strerror(errno));
	return fd;
}

int rig_connect(const struct rig *rig)
{
	return connect_to(&rig->listener.at);
}

int backend_listen_at(const struct addr_port *at, int backlog)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(at, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	assert_int_equal(listen(fd, backlog), 0);
	set_timeouts(fd);
	return fd;
}

int backend_listen(struct addr_port *at, int backlog)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	int fd = backend_listen_at(&loopback, backlog);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_int_equal(addr_from_sockaddr(at, (struct sockaddr *)&sa), 0);
	return fd;
}

int backend_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		fail_msg("accept: %s", strerror(errno));
	set_timeouts(fd);
	return fd;
}

struct addr_port refusing_port(void)
{
	struct addr_port at;

	close(backend_listen(&at, 1));
	return at;
}

void black_hole_open(struct black_hole *hole)
{
	struct sockaddr_storage sa;
	socklen_t length;

	hole->fds[0] = backend_listen(&hole->at, 0);
	length = addr_to_sockaddr(&hole->at, &sa);
	for (size_t i = 1; i < 8; i++) {
		hole->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		/* The first fills the queue, further ones only try. */
		if (connect(hole->fds[i], (struct sockaddr *)&sa, length) < 0)
			assert_int_equal(errno, EINPROGRESS);
	}
	sleep_ms(20);
}

void black_hole_close(struct black_hole *hole)
{
	for (size_t i = 0; i < 8; i++)
		close(hole->fds[i]);
}

struct pair pair_open(const struct rig *rig, int backend_listener)
{
	struct pair pair = {.client = rig_connect(rig)};

	pair.backend = backend_accept(backend_listener);
	return pair;
}

void pair_close(struct pair *pair)
{
	close(pair->client);
	close(pair->backend);
}

void send_all(int fd, const void *bytes, size_t count)
{
	for (const char *at = bytes; count > 0;) {
		ssize_t sent = send(fd, at, count, MSG_NOSIGNAL);

		if (sent < 0)
			fail_msg("send: %s", strerror(errno));
		at += sent;
		count -= (size_t)sent;
	}
}

void send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

void expect_text(int fd, const char *text)
{
	size_t count = strlen(text);
	char *got = calloc(1, count + 1);

	assert_int_equal(recv(fd, got, count, MSG_WAITALL), count);
	assert_string_equal(got, text);
	free(got);
}

void expect_end(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, 0);

	if (got < 0)
		fail_msg("end expected, not %s", strerror(errno));
	assert_int_equal(got, 0);
}

void expect_reset(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

void reset(int fd)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}
