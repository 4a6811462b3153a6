/* The clients of the benchmark that go as fast as they can: bulk (streams), rr (requests over connections
 * that stay) and conn (a connection for each request); and rate, which opens connections on a schedule.
 *
 * A client that makes requests:
 *
 *   state       event                    then
 *   CONNECTING  writable                 send the request -> WAITING; an error -> over
 *   WAITING     part of the answer       WAITING
 *   WAITING     the whole answer         rr: send the next request -> WAITING; conn: open anew -> CONNECTING;
 *                                        rate: over
 *   any         error, early end         counted; opened anew (rr, conn) or over (rate)
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "load.h"
#include "portald/clock.h"

#define MAX_EVENTS 256

enum client_state { CLIENT_OVER, CLIENT_CONNECTING, CLIENT_WAITING };

struct client {
	enum client_state state;
	int fd;
	size_t awaited_bytes;
	int64_t started_us; /* of the request; conn: of the connect; rate: when it was due */
};

struct run {
	const struct load_options *options;
	struct load_result *result;
	struct client *clients;
	size_t client_count;
	size_t open_count;
	int epoll;
	bool keep; /* rr: connections stay */
	bool once; /* rate: a connection that is over is not opened anew */
	int64_t start_us, end_us, skip_until_us;
};

static int run_init(
	struct run *run, const struct load_options *options, struct load_result *result, size_t client_count)
{
	int64_t now_us = clock_now_us();

	*run = (struct run){.options = options,
		.result = result,
		.client_count = client_count,
		.start_us = now_us,
		.end_us = now_us + (int64_t)(options->seconds * 1e6),
		.skip_until_us = now_us + (int64_t)(options->skip_seconds * 1e6)};
	run->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (run->epoll < 0)
		return -errno;
	run->clients = calloc(client_count, sizeof(*run->clients));
	return run->clients ? 0 : -ENOMEM;
}

static void run_fini(struct run *run)
{
	for (size_t i = 0; i < run->client_count; i++) {
		if (run->clients[i].state != CLIENT_OVER)
			close(run->clients[i].fd);
	}
	free(run->clients);
	close(run->epoll);
}

static void client_close(struct run *run, struct client *client)
{
	close(client->fd);
	client->state = CLIENT_OVER;
	run->open_count--;
}

/* A connect that fails at once is counted; the client stays over. */
static void client_open(struct run *run, struct client *client, int64_t started_us)
{
	int fd = load_connect(run->options);

	if (fd < 0) {
		load_error(run->result, fd);
		return;
	}
	*client = (struct client){.state = CLIENT_CONNECTING, .fd = fd, .started_us = started_us};
	run->open_count++;
	/* Edge-triggered: one system call for the life of the connection. */
	if (load_watch(run->epoll, fd, EPOLLIN | EPOLLOUT | EPOLLET, client) < 0) {
		load_error(run->result, errno);
		client_close(run, client);
	}
}

static int client_request(struct run *run, struct client *client)
{
	size_t bytes = run->options->message_bytes;
	ssize_t n = send(client->fd, load_zeroes, bytes, MSG_NOSIGNAL);

	if (n != (ssize_t)bytes)
		return n < 0 ? -errno : -EMSGSIZE;
	client->state = CLIENT_WAITING;
	client->awaited_bytes = bytes;
	return 0;
}

static int client_connected(struct run *run, struct client *client)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return -errno;
	return error ? -error : client_request(run, client);
}

/* Returns 1 once the answer is whole, 0 while it is not, or -errno. */
static int client_answer(struct client *client)
{
	while (client->awaited_bytes > 0) {
		ssize_t n = recv(client->fd, NULL, client->awaited_bytes, MSG_TRUNC);

		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0)
			return -ECONNRESET;
		client->awaited_bytes -= (size_t)n;
	}
	return 1;
}

static int client_done(struct run *run, struct client *client)
{
	int64_t now_us = clock_now_us();

	run->result->units++;
	if (client->started_us >= run->skip_until_us)
		load_histogram_add(&run->result->latency, now_us - client->started_us);
	if (run->keep) {
		client->started_us = now_us;
		return client_request(run, client);
	}
	client_close(run, client);
	if (!run->once)
		client_open(run, client, clock_now_us());
	return 0;
}

static int client_advance(struct run *run, struct client *client, uint32_t events)
{
	int r;

	if (client->state == CLIENT_CONNECTING)
		return client_connected(run, client);
	if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		return 0;
	r = client_answer(client);
	return r == 1 ? client_done(run, client) : r;
}

static void client_step(struct run *run, struct client *client, uint32_t events)
{
	int r = client_advance(run, client, events);

	if (r == 0)
		return;
	load_error(run->result, r);
	client_close(run, client);
	if (!run->once && run->result->errors < LOAD_MAX_ERRORS)
		client_open(run, client, clock_now_us());
}

/* Requests that have been without an answer for too long at the end are errors. */
static void count_stalled(struct run *run, int64_t limit_us)
{
	int64_t now_us = clock_now_us();

	for (size_t i = 0; i < run->client_count; i++) {
		struct client *client = &run->clients[i];

		if (client->state != CLIENT_OVER && now_us - client->started_us > limit_us)
			load_error(run->result, ETIMEDOUT);
	}
}

int load_requests(const struct load_options *options, bool keep, struct load_result *result)
{
	struct epoll_event events[MAX_EVENTS];
	struct run run;
	int r = run_init(&run, options, result, options->connections);

	if (r < 0)
		return r;
	run.keep = keep;
	for (size_t i = 0; i < run.client_count; i++)
		client_open(&run, &run.clients[i], clock_now_us());
	while (clock_now_us() < run.end_us && result->errors < LOAD_MAX_ERRORS && run.open_count > 0) {
		int count = epoll_wait(run.epoll, events, MAX_EVENTS, load_wait_ms(run.end_us));

		for (int i = 0; i < count; i++)
			client_step(&run, events[i].data.ptr, events[i].events);
	}
	result->elapsed_us = clock_now_us() - run.start_us;
	count_stalled(&run, result->elapsed_us / 2);
	run_fini(&run);
	return 0;
}

/* ---- rate ---- */

static int timer_start(struct run *run)
{
	int64_t period_ns = (int64_t)(1e9 / run->options->rate);
	struct timespec period = {.tv_sec = period_ns / 1000000000, .tv_nsec = period_ns % 1000000000};
	struct itimerspec spec = {.it_interval = period, .it_value = period};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	if (timerfd_settime(fd, 0, &spec, NULL) < 0 || load_watch(run->epoll, fd, EPOLLIN, NULL) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static struct client *client_free_slot(struct run *run)
{
	for (size_t i = 0; i < run->client_count; i++) {
		if (run->clients[i].state == CLIENT_OVER)
			return &run->clients[i];
	}
	return NULL;
}

/* Opens every connection that is due by now. Latency counts from when it was due: a stall of the proxy
 * can't hide by keeping later requests from being made. */
static void open_due(struct run *run, uint64_t *opened)
{
	double period_us = 1e6 / run->options->rate;
	int64_t now_us = clock_now_us();

	while (now_us < run->end_us) {
		int64_t due_us = run->start_us + (int64_t)((double)*opened * period_us);
		struct client *client = client_free_slot(run);

		if (due_us > now_us)
			return;
		(*opened)++;
		if (client)
			client_open(run, client, due_us);
		else
			load_error(run->result, EMFILE);
	}
}

static void rate_loop(struct run *run, int timer)
{
	struct epoll_event events[MAX_EVENTS];
	int64_t drain_until_us = run->end_us + LOAD_STALL_US;
	uint64_t opened = 0;
	uint64_t ticks;

	while (clock_now_us() < (run->open_count ? drain_until_us : run->end_us)) {
		int count = epoll_wait(run->epoll, events, MAX_EVENTS, load_wait_ms(drain_until_us));

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr)
				client_step(run, events[i].data.ptr, events[i].events);
			else if (read(timer, &ticks, sizeof(ticks)) > 0)
				open_due(run, &opened);
		}
	}
}

int load_rate(const struct load_options *options, struct load_result *result)
{
	struct run run;
	int timer;
	int r = run_init(&run, options, result, LOAD_MAX_CONNECTIONS);

	if (r < 0)
		return r;
	run.once = true;
	timer = timer_start(&run);
	if (timer >= 0) {
		rate_loop(&run, timer);
		close(timer);
		result->elapsed_us = clock_now_us() - run.start_us;
		count_stalled(&run, 0);
	}
	run_fini(&run);
	return timer < 0 ? timer : 0;
}
