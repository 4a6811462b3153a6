/* The backends of the benchmark: accept on several addresses and, for each connection, send for ever
 * (source), read and drop (sink), both, or send back as many bytes as came (echo). What is read is dropped in
 * the kernel (MSG_TRUNC), so that a backend costs as little as it can. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "portald/clock.h"

#define MAX_EVENTS 256
#define ACCEPT_BURST 64

/* A listener or a connection. */
struct peer {
	int fd;
	bool listens;
	size_t owed_bytes; /* echo: read and not sent back yet */
};

struct backend {
	const struct load_options *options;
	int epoll;
	size_t connections;
	uint8_t *scratch; /* what is read */
};

static int peer_add(struct backend *backend, int fd, bool listens)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	bool source = backend->options->sends && !listens;
	bool reads = backend->options->reads || backend->options->echoes || listens;
	int r;

	if (!peer)
		return -ENOMEM;
	*peer = (struct peer){.fd = fd, .listens = listens};
	r = load_watch(backend->epoll, fd,
		EPOLLRDHUP | (reads ? (uint32_t)EPOLLIN : 0) | (source ? (uint32_t)EPOLLOUT : 0), peer);
	if (r < 0)
		free(peer);
	return r;
}

static void peer_close(struct backend *backend, struct peer *peer)
{
	close(peer->fd);
	free(peer);
	backend->connections--;
}

static void accept_some(struct backend *backend, const struct peer *listener)
{
	for (int i = 0; i < ACCEPT_BURST; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (backend->connections >= LOAD_MAX_CONNECTIONS || peer_add(backend, fd, false) < 0) {
			close(fd);
			continue;
		}
		backend->connections++;
	}
}

/* Sends back what is owed. Returns 0 or -errno. */
static int echo_flush(struct backend *backend, struct peer *peer)
{
	size_t owed_bytes = peer->owed_bytes;
	size_t chunk = owed_bytes < LOAD_BULK_CHUNK_BYTES ? owed_bytes : LOAD_BULK_CHUNK_BYTES;
	ssize_t n = send(peer->fd, load_zeroes, chunk, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		return -errno;
	peer->owed_bytes -= n > 0 ? (size_t)n : 0;
	return load_rewatch(backend->epoll, peer->fd, peer->owed_bytes ? EPOLLOUT : EPOLLIN, peer);
}

/* Returns 1, 0 at the end of the stream, or -errno. */
static int peer_read(struct backend *backend, struct peer *peer, size_t *got)
{
	ssize_t n = recv(peer->fd, backend->scratch, LOAD_BULK_CHUNK_BYTES, 0);

	*got = n > 0 ? (size_t)n : 0;
	if (n < 0)
		return errno == EAGAIN ? 1 : -errno;
	return n > 0;
}

/* Echoes without asking epoll anything as long as the socket takes it all. */
static int peer_echo(struct backend *backend, struct peer *peer)
{
	size_t got;
	ssize_t n;
	int r = peer_read(backend, peer, &got);

	if (r <= 0 || got == 0)
		return r;
	n = send(peer->fd, load_zeroes, got, MSG_NOSIGNAL);
	if (n == (ssize_t)got)
		return 1;
	if (n < 0 && errno != EAGAIN)
		return -errno;
	peer->owed_bytes = got - (n > 0 ? (size_t)n : 0);
	r = load_rewatch(backend->epoll, peer->fd, EPOLLOUT, peer);
	return r < 0 ? r : 1;
}

static int peer_step(struct backend *backend, struct peer *peer, uint32_t events)
{
	size_t got;

	if (events & (EPOLLERR | EPOLLHUP))
		return -ECONNRESET;
	if (backend->options->echoes) {
		if (peer->owed_bytes > 0)
			return echo_flush(backend, peer) < 0 ? -EPIPE : 1;
		return peer_echo(backend, peer);
	}
	/* A source has nothing more to do once its reader closes; a sink reads up to the end. */
	if ((events & EPOLLRDHUP) && !backend->options->reads)
		return 0;
	if ((events & EPOLLOUT) && send(peer->fd, load_zeroes, LOAD_BULK_CHUNK_BYTES, MSG_NOSIGNAL) < 0 &&
		errno != EAGAIN)
		return -errno;
	return events & EPOLLIN ? peer_read(backend, peer, &got) : 1;
}

static void backend_loop(struct backend *backend, int64_t end_us)
{
	struct epoll_event events[MAX_EVENTS];

	while (clock_now_us() < end_us) {
		int count = epoll_wait(backend->epoll, events, MAX_EVENTS, load_wait_ms(end_us));

		for (int i = 0; i < count; i++) {
			struct peer *peer = events[i].data.ptr;

			if (peer->listens)
				accept_some(backend, peer);
			else if (peer_step(backend, peer, events[i].events) <= 0)
				peer_close(backend, peer);
		}
	}
}

static int backend_listen(struct backend *backend)
{
	const struct load_options *options = backend->options;

	for (size_t i = 0; i < options->listen_count; i++) {
		int fd = load_listen(options, &options->listen[i]);
		int r = fd < 0 ? fd : peer_add(backend, fd, true);

		if (r < 0)
			return r;
	}
	return 0;
}

int load_backend(const struct load_options *options)
{
	struct backend backend = {.options = options};
	int r;

	backend.scratch = malloc(LOAD_BULK_CHUNK_BYTES);
	if (!backend.scratch)
		return -ENOMEM;
	backend.epoll = epoll_create1(EPOLL_CLOEXEC);
	r = backend.epoll < 0 ? -errno : backend_listen(&backend);
	if (r == 0) {
		printf("ready\n");
		fflush(stdout);
		backend_loop(&backend, clock_now_us() + (int64_t)(options->seconds * 1e6));
	}
	/* The sockets close with the process. */
	free(backend.scratch);
	return r;
}
