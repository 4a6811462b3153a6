#include "udp_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUFFER_BYTES (4 * 1024 * 1024)

void udp_rig_start(struct rig *rig, struct rig_options options)
{
	options.proto = PROTO_UDP;
	rig_start(rig, &options);
}

struct addr_port udp_rig_at(const struct rig *rig)
{
	struct addr_port at = rig->listener.at;

	if (addr_is_any(&at.addr) && addr_family(&at.addr) == ADDR_V4)
		at.addr = addr_v4(0x7f000001);
	else if (addr_is_any(&at.addr))
		at.addr.bytes[15] = 1;
	return at;
}

struct addr_port at_v4(uint32_t addr, uint16_t port)
{
	return (struct addr_port){.addr = addr_v4(addr), .port = port};
}

static int socket_new(const struct addr_port *at)
{
	struct timeval limit = {.tv_sec = RIG_TIMEOUT_S};
	int domain = addr_family(&at->addr) == ADDR_V4 ? AF_INET : AF_INET6, bytes = BUFFER_BYTES;
	int fd = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return fd;
}

int udp_socket(struct addr_port *at)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(at, &sa);
	int fd = socket_new(at);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	length = sizeof(sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_int_equal(addr_from_sockaddr(at, (struct sockaddr *)&sa), 0);
	return fd;
}

int udp_connect(const struct addr_port *at)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(at, &sa);
	int fd = socket_new(at);

	assert_int_equal(connect(fd, (struct sockaddr *)&sa, length), 0);
	return fd;
}

int udp_client(const struct rig *rig)
{
	struct addr_port at = udp_rig_at(rig);

	return udp_connect(&at);
}

int udp_backend(struct addr_port *at)
{
	*at = at_v4(0x7f000001, 0);
	return udp_socket(at);
}

struct addr_port udp_refusing(void)
{
	struct addr_port at;

	close(udp_backend(&at));
	return at;
}

void udp_send(int fd, const void *bytes, size_t count)
{
	assert_int_equal(send(fd, bytes, count, 0), count);
}

void udp_send_text(int fd, const char *text)
{
	udp_send(fd, text, strlen(text));
}

static ssize_t receive(int fd, void *bytes, size_t count, struct addr_port *from)
{
	struct sockaddr_storage sa = {0};
	socklen_t length = sizeof(sa);
	ssize_t got = recvfrom(fd, bytes, count, 0, (struct sockaddr *)&sa, &length);

	if (got >= 0 && from)
		assert_int_equal(addr_from_sockaddr(from, (struct sockaddr *)&sa), 0);
	return got;
}

void udp_expect(int fd, const char *text, struct addr_port *from)
{
	char got[256] = "";
	ssize_t count = receive(fd, got, sizeof(got) - 1, from);

	if (count < 0)
		fail_msg("\"%s\" expected: %s", text, strerror(errno));
	assert_int_equal(count, strlen(text));
	assert_string_equal(got, text);
}

void udp_answer(int fd, const struct addr_port *to, const void *bytes, size_t count)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(to, &sa);

	assert_int_equal(sendto(fd, bytes, count, 0, (struct sockaddr *)&sa, length), count);
}

void udp_echo_once(int fd)
{
	static char bytes[65536];
	struct addr_port from;
	ssize_t count = receive(fd, bytes, sizeof(bytes), &from);

	if (count < 0)
		fail_msg("a datagram expected: %s", strerror(errno));
	udp_answer(fd, &from, bytes, (size_t)count);
}

bool udp_comes(int fd, int ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	return poll(&wait, 1, ms) == 1;
}

bool udp_silent(int fd, int ms)
{
	return !udp_comes(fd, ms);
}

static void echo_process(int fd)
{
	static char bytes[65536];
	struct sockaddr_storage sa;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		socklen_t length = sizeof(sa);
		ssize_t count = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&sa, &length);

		if (count >= 0)
			sendto(fd, bytes, (size_t)count, 0, (struct sockaddr *)&sa, length);
	}
}

void udp_echo_start(struct udp_echo *echo)
{
	int fd = udp_backend(&echo->at);

	echo->pid = fork();
	assert_true(echo->pid >= 0);
	if (echo->pid == 0)
		echo_process(fd);
	close(fd);
}

void udp_echo_stop(struct udp_echo *echo)
{
	kill(echo->pid, SIGKILL);
	assert_int_equal(waitpid(echo->pid, NULL, 0), echo->pid);
}

size_t udp_relay_fds(const struct rig *rig)
{
	char path[64];
	size_t count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)rig->pids[0]);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

bool udp_wait_fds(const struct rig *rig, size_t count)
{
	int64_t deadline_ms = now_ms() + RIG_TIMEOUT_S * 1000;

	while (udp_relay_fds(rig) != count && now_ms() < deadline_ms)
		sleep_ms(2);
	return udp_relay_fds(rig) == count;
}

uint64_t udp_flows_begun(struct rig *rig)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < rig->relay_count; i++)
		sum += atomic_load(&stats_listener(rig->stats, i, RIG_SLOT)->accepted);
	return sum;
}
