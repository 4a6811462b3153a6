/* UDP of the benchmark: clients that each have one request on its way (udp), and backends that send back what
 * they get (--serve=udp).
 *
 * A client sends its next request when its answer is there. One that has no answer after RETRY_US sends
 * again, which counts as an error: a datagram was lost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "portald/clock.h"

#define MAX_EVENTS 256
#define BATCH 32
#define RETRY_US ((int64_t)200 * 1000)
#define SWEEP_US ((int64_t)50 * 1000)

struct client {
	int fd;
	int64_t started_us;
};

struct run {
	const struct load_options *options;
	struct load_result *result;
	struct client *clients;
	int epoll;
	uint8_t scratch[LOAD_MAX_MESSAGE_BYTES];
};

static int udp_open(const struct addr_port *at, bool listens)
{
	int family = addr_family(&at->addr) == ADDR_V4 ? AF_INET : AF_INET6, bytes = 1024 * 1024, r;
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_storage sa;
	socklen_t sa_bytes = addr_to_sockaddr(at, &sa);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	r = listens ? bind(fd, (struct sockaddr *)&sa, sa_bytes)
		    : connect(fd, (struct sockaddr *)&sa, sa_bytes);
	if (r == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

/* ---- clients ---- */

static void client_request(struct run *run, struct client *client)
{
	client->started_us = clock_now_us();
	if (send(client->fd, load_zeroes, run->options->message_bytes, MSG_NOSIGNAL) < 0)
		load_error(run->result, errno);
}

static void client_step(struct run *run, struct client *client)
{
	ssize_t n = recv(client->fd, run->scratch, sizeof(run->scratch), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n != (ssize_t)run->options->message_bytes) {
		load_error(run->result, n < 0 ? errno : EMSGSIZE);
		return;
	}
	run->result->units++;
	load_histogram_add(&run->result->latency, clock_now_us() - client->started_us);
	client_request(run, client);
}

static void retry_lost(struct run *run)
{
	int64_t now_us = clock_now_us();

	for (size_t i = 0; i < run->options->connections; i++) {
		if (now_us - run->clients[i].started_us < RETRY_US)
			continue;
		load_error(run->result, ETIMEDOUT);
		client_request(run, &run->clients[i]);
	}
}

static int open_clients(struct run *run)
{
	for (size_t i = 0; i < run->options->connections; i++) {
		struct client *client = &run->clients[i];
		int r;

		client->fd = udp_open(&run->options->connect, false);
		r = client->fd < 0 ? client->fd : load_watch(run->epoll, client->fd, EPOLLIN, client);
		if (r < 0)
			return r;
		client_request(run, client);
	}
	return 0;
}

static void client_loop(struct run *run, int64_t end_us)
{
	int64_t sweep_us = clock_now_us() + SWEEP_US;
	struct epoll_event events[MAX_EVENTS];

	while (clock_now_us() < end_us && run->result->errors < LOAD_MAX_ERRORS) {
		int count = epoll_wait(run->epoll, events, MAX_EVENTS, load_wait_ms(end_us));

		for (int i = 0; i < count; i++)
			client_step(run, events[i].data.ptr);
		if (clock_now_us() >= sweep_us) {
			retry_lost(run);
			sweep_us = clock_now_us() + SWEEP_US;
		}
	}
}

int load_udp(const struct load_options *options, struct load_result *result)
{
	struct run *run = calloc(1, sizeof(*run));
	int64_t start_us = clock_now_us();
	int r = -ENOMEM;

	if (!run)
		return -ENOMEM;
	run->options = options;
	run->result = result;
	run->clients = calloc(options->connections, sizeof(*run->clients));
	run->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (run->clients && run->epoll >= 0)
		r = open_clients(run);
	if (r == 0)
		client_loop(run, start_us + (int64_t)(options->seconds * 1e6));
	result->elapsed_us = clock_now_us() - start_us;
	/* The sockets close with the process. */
	free(run->clients);
	free(run);
	return r;
}

/* ---- backends ---- */

struct echo {
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	struct sockaddr_storage names[BATCH];
	uint8_t bytes[BATCH][LOAD_MAX_MESSAGE_BYTES];
};

static void echo_step(struct echo *echo, int fd)
{
	int count;

	for (int i = 0; i < BATCH; i++) {
		echo->pieces[i] = (struct iovec){echo->bytes[i], sizeof(echo->bytes[i])};
		echo->messages[i].msg_hdr = (struct msghdr){.msg_name = &echo->names[i],
			.msg_namelen = sizeof(echo->names[i]),
			.msg_iov = &echo->pieces[i],
			.msg_iovlen = 1};
	}
	count = recvmmsg(fd, echo->messages, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < count; i++)
		echo->pieces[i].iov_len = echo->messages[i].msg_len;
	if (count > 0)
		sendmmsg(fd, echo->messages, (unsigned)count, MSG_NOSIGNAL);
}

static int listen_all(const struct load_options *options, int epoll, int *fds)
{
	for (size_t i = 0; i < options->listen_count; i++) {
		int r;

		fds[i] = udp_open(&options->listen[i], true);
		r = fds[i] < 0 ? fds[i] : load_watch(epoll, fds[i], EPOLLIN, &fds[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static void echo_loop(struct echo *echo, int epoll, int64_t end_us)
{
	struct epoll_event events[MAX_EVENTS];

	printf("ready\n");
	fflush(stdout);
	while (clock_now_us() < end_us) {
		int count = epoll_wait(epoll, events, MAX_EVENTS, load_wait_ms(end_us));

		for (int i = 0; i < count; i++)
			echo_step(echo, *(int *)events[i].data.ptr);
	}
}

int load_udp_backend(const struct load_options *options)
{
	int64_t end_us = clock_now_us() + (int64_t)(options->seconds * 1e6);
	struct echo *echo = calloc(1, sizeof(*echo));
	int fds[LOAD_MAX_LISTEN], epoll = epoll_create1(EPOLL_CLOEXEC);
	int r = !echo ? -ENOMEM : epoll < 0 ? -errno : listen_all(options, epoll, fds);

	if (r == 0)
		echo_loop(echo, epoll, end_us);
	free(echo);
	return r;
}
