/* The bulk client: streams that read, send or do both as fast as they can until the time is over. */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "portald/clock.h"

#define MAX_EVENTS 64

struct stream {
	int fd;
	uint64_t read_bytes, sent_bytes;
};

struct bulk {
	const struct load_options *options;
	struct load_result *result;
	struct stream *streams;
	uint8_t *scratch; /* what is read, as a real client reads it */
	size_t open_count;
	int epoll;
};

static int stream_open(struct bulk *bulk, struct stream *stream)
{
	uint32_t events = (bulk->options->reads ? (uint32_t)EPOLLIN : 0) |
			  (bulk->options->sends ? (uint32_t)EPOLLOUT : 0);
	int r;

	stream->fd = load_connect(bulk->options);
	if (stream->fd < 0)
		return stream->fd;
	r = load_watch(bulk->epoll, stream->fd, events, stream);
	if (r == 0)
		bulk->open_count++;
	return r;
}

static int stream_read(struct bulk *bulk, struct stream *stream)
{
	ssize_t n = recv(stream->fd, bulk->scratch, LOAD_BULK_CHUNK_BYTES, 0);

	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	stream->read_bytes += (uint64_t)n;
	return 0;
}

static int stream_send(struct stream *stream)
{
	ssize_t n = send(stream->fd, load_zeroes, LOAD_BULK_CHUNK_BYTES, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	stream->sent_bytes += (uint64_t)n;
	return 0;
}

static void stream_step(struct bulk *bulk, struct stream *stream, uint32_t events)
{
	int r = 0;

	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		r = stream_read(bulk, stream);
	if (r == 0 && (events & EPOLLOUT))
		r = stream_send(stream);
	if (r == 0)
		return;
	load_error(bulk->result, r);
	close(stream->fd);
	stream->fd = -1;
	bulk->open_count--;
}

/* Bytes that still lie in the socket have not been carried. */
static void stream_count(struct bulk *bulk, struct stream *stream)
{
	int queued = 0;

	if (stream->fd >= 0 && bulk->options->sends && ioctl(stream->fd, SIOCOUTQ, &queued) < 0)
		queued = 0;
	bulk->result->units += stream->read_bytes + stream->sent_bytes - (uint64_t)queued;
	if (stream->fd >= 0 && stream->read_bytes + stream->sent_bytes == 0)
		load_error(bulk->result, ETIMEDOUT);
}

static void bulk_run(struct bulk *bulk)
{
	struct epoll_event events[MAX_EVENTS];
	int64_t start_us = clock_now_us();
	int64_t end_us = start_us + (int64_t)(bulk->options->seconds * 1e6);

	for (size_t i = 0; i < bulk->options->connections; i++) {
		int r = stream_open(bulk, &bulk->streams[i]);

		if (r < 0)
			load_error(bulk->result, r);
	}
	while (clock_now_us() < end_us && bulk->open_count > 0) {
		int count = epoll_wait(bulk->epoll, events, MAX_EVENTS, load_wait_ms(end_us));

		for (int i = 0; i < count; i++)
			stream_step(bulk, events[i].data.ptr, events[i].events);
	}
	bulk->result->elapsed_us = clock_now_us() - start_us;
	for (size_t i = 0; i < bulk->options->connections; i++)
		stream_count(bulk, &bulk->streams[i]);
}

int load_bulk(const struct load_options *options, struct load_result *result)
{
	struct bulk bulk = {.options = options, .result = result, .epoll = epoll_create1(EPOLL_CLOEXEC)};
	int r = 0;

	if (bulk.epoll < 0)
		return -errno;
	if (!options->sends && !options->reads)
		return -EINVAL;
	bulk.streams = calloc(options->connections, sizeof(*bulk.streams));
	bulk.scratch = malloc(LOAD_BULK_CHUNK_BYTES);
	if (bulk.streams && bulk.scratch)
		bulk_run(&bulk);
	else
		r = -ENOMEM;
	/* The sockets close with the process, at once and together. */
	free(bulk.streams);
	free(bulk.scratch);
	close(bulk.epoll);
	return r;
}
