/* Sockets, epoll and the latency histogram of the load generator. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "portald/clock.h"

#define LISTEN_BACKLOG 4096

#define STEP_BITS 6 /* log2 of the histogram's steps to a power of two */
#define MAX_LATENCY_US ((int64_t)1 << 30)

const char load_zeroes[LOAD_BULK_CHUNK_BYTES];

void load_histogram_add(struct load_histogram *histogram, int64_t us)
{
	uint64_t value = us < 1 ? 1 : us > MAX_LATENCY_US ? MAX_LATENCY_US : (uint64_t)us;
	unsigned top_bit = 63 - (unsigned)__builtin_clzll(value);
	unsigned shift = top_bit > STEP_BITS ? top_bit - STEP_BITS : 0;

	histogram->slots[(shift << STEP_BITS) + (value >> shift)]++;
	histogram->count++;
	if (us > histogram->max_us)
		histogram->max_us = us;
}

static int64_t slot_us(size_t slot)
{
	size_t shift = slot >> STEP_BITS;

	if (shift < 2)
		return (int64_t)slot;
	shift--;
	return (int64_t)((slot - (shift << STEP_BITS)) << shift);
}

int64_t load_histogram_percentile(const struct load_histogram *histogram, double percent)
{
	uint64_t wanted = (uint64_t)((double)histogram->count * percent / 100);
	uint64_t seen = 0;

	for (size_t slot = 0; slot < LOAD_HISTOGRAM_SLOTS; slot++) {
		seen += histogram->slots[slot];
		if (seen > wanted)
			return slot_us(slot);
	}
	return histogram->max_us;
}

void load_error(struct load_result *result, int error)
{
	if (result->errors++ == 0)
		result->first_error = error < 0 ? -error : error;
}

static int set_options(const struct load_options *options, int fd)
{
	int on = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options->congestion,
		    (socklen_t)strlen(options->congestion)) < 0)
		return -errno;
	return 0;
}

int load_socket(const struct load_options *options, const struct addr_port *at)
{
	int family = addr_family(&at->addr) == ADDR_V4 ? AF_INET : AF_INET6;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = set_options(options, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int load_listen(const struct load_options *options, const struct addr_port *at)
{
	struct sockaddr_storage sa;
	socklen_t sa_bytes = addr_to_sockaddr(at, &sa);
	int fd = load_socket(options, at);
	int on = 1;
	int r;

	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sa, sa_bytes) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int load_connect(const struct load_options *options)
{
	struct sockaddr_storage sa;
	socklen_t sa_bytes = addr_to_sockaddr(&options->connect, &sa);
	int fd = load_socket(options, &options->connect);
	int r;

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&sa, sa_bytes) < 0 && errno != EINPROGRESS) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static int epoll_change(int epoll, int what, int fd, uint32_t events, void *owner)
{
	struct epoll_event event = {.events = events, .data.ptr = owner};

	return epoll_ctl(epoll, what, fd, &event) < 0 ? -errno : 0;
}

int load_watch(int epoll, int fd, uint32_t events, void *owner)
{
	return epoll_change(epoll, EPOLL_CTL_ADD, fd, events, owner);
}

int load_rewatch(int epoll, int fd, uint32_t events, void *owner)
{
	return epoll_change(epoll, EPOLL_CTL_MOD, fd, events, owner);
}

int load_wait_ms(int64_t end_us)
{
	int64_t left_ms = (end_us - clock_now_us()) / 1000;

	return left_ms < 1 ? 1 : left_ms > 100 ? 100 : (int)left_ms;
}
