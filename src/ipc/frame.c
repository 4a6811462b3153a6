/* Owns channels: the framing of messages on a stream socket and the descriptors that go with them. Runs
 * in every process.
 *
 * A frame on the wire: payload length (32 bits), type (16), number of descriptors (8), zero (8), then the
 * payload. The descriptors go with the frame's first byte. A stream socket keeps no frame boundaries but
 * delivers a descriptor with the byte it was sent with, so the reader asks for a header's bytes first and
 * for the payload's bytes then, never for bytes of two frames at once: what comes with them belongs to
 * this frame.
 *
 * Receiving:
 *   HEADER   bytes and descriptors are collected until there are 8 bytes -> PAYLOAD
 *   PAYLOAD  bytes are collected, no descriptor may come                 -> DONE: the frame is handed out
 *   DONE     at the next call descriptors not taken are closed, the memory is freed -> HEADER
 * A channel that has failed returns the same error for good.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/types.h"
#include "portald/clock.h"
#include "portald/ipc.h"
#include "portald/mem.h"

#define HEADER_BYTES 8

/* Payloads up to this size need no memory of their own. */
#define SMALL_BYTES 512

enum receive_state { RECEIVE_HEADER, RECEIVE_PAYLOAD, RECEIVE_DONE };

/* A frame, or the rest of one, that the socket has not taken yet. */
struct queued {
	struct queued *next;
	int fds[IPC_MAX_FDS];
	size_t fd_count; /* 0 once they have gone */
	size_t length, sent;
	uint8_t bytes[];
};

struct ipc_channel {
	int fd;
	int error; /* why it is unusable; 0 */

	enum receive_state state;
	uint8_t header[HEADER_BYTES];
	size_t received; /* of the header or the payload */
	const struct ipc_type_info *info;
	size_t payload_bytes;
	uint8_t *payload; /* small, or allocated */
	uint8_t small[SMALL_BYTES];
	int fds[IPC_MAX_FDS];
	size_t fd_count;

	struct queued *first, **last;
	size_t queued_bytes;
};

struct ipc_channel *ipc_channel_new(int fd)
{
	struct ipc_channel *channel = mem_calloc(1, sizeof(*channel));
	int flags = fcntl(fd, F_GETFL);

	channel->fd = fd;
	channel->last = &channel->first;
	channel->payload = channel->small;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		channel->error = -errno;
	return channel;
}

static void close_fds(int *fds, size_t *count)
{
	for (size_t i = 0; i < *count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	*count = 0;
}

static void queue_pop(struct ipc_channel *channel)
{
	struct queued *frame = channel->first;

	channel->first = frame->next;
	if (!channel->first)
		channel->last = &channel->first;
	channel->queued_bytes -= sizeof(*frame) + frame->length;
	close_fds(frame->fds, &frame->fd_count);
	free(frame);
}

/* Back to the beginning of a frame; what the last one left is closed and freed. */
static void receive_reset(struct ipc_channel *channel)
{
	close_fds(channel->fds, &channel->fd_count);
	if (channel->payload != channel->small)
		free(channel->payload);
	channel->payload = channel->small;
	channel->received = 0;
	channel->state = RECEIVE_HEADER;
}

void ipc_channel_free(struct ipc_channel *channel)
{
	if (!channel)
		return;
	while (channel->first)
		queue_pop(channel);
	receive_reset(channel);
	close(channel->fd);
	free(channel);
}

int ipc_channel_fd(const struct ipc_channel *channel)
{
	return channel->fd;
}

/* Notes why the channel is unusable from now on. */
static int channel_fail(struct ipc_channel *channel, int error)
{
	/* A peer that closed without having read everything is a closed peer all the same. */
	channel->error = error == -ECONNRESET ? -EPIPE : error;
	return channel->error;
}

/* ---- receiving ---- */

/* Takes the descriptors out of a received message. All of them are kept for closing, even where there
 * are too many, unless the kernel has dropped them already. */
static int collect_fds(struct ipc_channel *channel, struct msghdr *message)
{
	int rc = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (channel->fd_count < IPC_MAX_FDS) {
				channel->fds[channel->fd_count++] = fd;
			} else {
				close(fd);
				rc = -EPROTO;
			}
		}
	}
	return rc;
}

/* Reads up to count bytes, and descriptors where they may come. Returns how many, 0 for "not now", or a
 * negative errno. */
static ssize_t receive_some(struct ipc_channel *channel, uint8_t *bytes, size_t count, bool fds_allowed)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * IPC_MAX_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = count};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = fds_allowed ? &control.align : NULL,
		.msg_controllen = fds_allowed ? sizeof(control.bytes) : 0,
	};
	ssize_t got;
	int rc;

	do {
		got = recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? 0 : -errno;
	rc = collect_fds(channel, &message);
	if (rc < 0)
		return rc;
	if (message.msg_flags & MSG_CTRUNC) {
		/* Either too many, or descriptors where none may be, or no room in our own table. */
		return fds_allowed && channel->fd_count < IPC_MAX_FDS ? -EMFILE : -EPROTO;
	}
	return got == 0 ? -EPIPE : got;
}

/* A complete header: checks it and makes room for the payload. */
static int accept_header(struct ipc_channel *channel)
{
	const uint8_t *h = channel->header;
	size_t length = (size_t)h[0] << 24 | (size_t)h[1] << 16 | (size_t)h[2] << 8 | h[3];

	channel->info = ipc_type_info((unsigned)h[4] << 8 | h[5]);
	if (!channel->info || h[7] != 0 || length > channel->info->payload_max)
		return -EPROTO;
	if (h[6] != channel->fd_count || h[6] < channel->info->fd_min || h[6] > channel->info->fd_max)
		return -EPROTO;
	if (length > sizeof(channel->small)) {
		uint8_t *payload = malloc(length);

		if (!payload)
			return -ENOMEM;
		channel->payload = payload;
	}
	channel->payload_bytes = length;
	channel->received = 0;
	channel->state = RECEIVE_PAYLOAD;
	return 0;
}

/* Reads until count bytes are there. Returns 1, 0 for "not now", or a negative errno. */
static int receive_part(struct ipc_channel *channel, uint8_t *part, size_t count, bool fds_allowed)
{
	while (channel->received < count) {
		ssize_t got = receive_some(
			channel, part + channel->received, count - channel->received, fds_allowed);

		if (got <= 0)
			return (int)got;
		channel->received += (size_t)got;
	}
	return 1;
}

static int receive_frame(struct ipc_channel *channel)
{
	int rc;

	if (channel->state == RECEIVE_DONE)
		receive_reset(channel);
	if (channel->state == RECEIVE_HEADER) {
		rc = receive_part(channel, channel->header, HEADER_BYTES, true);
		if (rc == 1)
			rc = accept_header(channel);
		if (rc < 0 || channel->state == RECEIVE_HEADER)
			return rc;
	}
	rc = receive_part(channel, channel->payload, channel->payload_bytes, false);
	if (rc == 1)
		channel->state = RECEIVE_DONE;
	return rc;
}

int ipc_receive(struct ipc_channel *channel, struct ipc_frame *frame)
{
	int rc;

	if (channel->error)
		return channel->error;
	rc = receive_frame(channel);
	if (rc < 0) {
		receive_reset(channel);
		return channel_fail(channel, rc);
	}
	if (rc == 1) {
		*frame = (struct ipc_frame){
			.type = (enum ipc_type)(channel->header[4] << 8 | channel->header[5]),
			.payload = channel->payload,
			.payload_bytes = channel->payload_bytes,
			.fds = channel->fds,
			.fd_count = channel->fd_count,
		};
	}
	return rc;
}

/* Milliseconds until deadline_ms for poll(); -1 for ever. */
static int remaining_ms(int timeout_ms, int64_t deadline_ms)
{
	int64_t left_ms = deadline_ms - clock_now_ms();

	if (timeout_ms < 0)
		return -1;
	return left_ms > 0 ? (int)left_ms : 0;
}

int ipc_receive_wait(struct ipc_channel *channel, struct ipc_frame *frame, int timeout_ms)
{
	int64_t deadline_ms = clock_now_ms() + timeout_ms;

	for (;;) {
		struct pollfd poll_fd = {.fd = channel->fd, .events = POLLIN};
		int rc = ipc_receive(channel, frame);

		if (rc == 0 && ipc_wants_write(channel)) {
			/* What the peer's answer may wait for. */
			rc = ipc_flush(channel);
			poll_fd.events |= ipc_wants_write(channel) ? POLLOUT : 0;
		}
		if (rc != 0)
			return rc;
		rc = poll(&poll_fd, 1, remaining_ms(timeout_ms, deadline_ms));
		if (rc < 0 && errno != EINTR)
			return channel_fail(channel, -errno);
		if (rc == 0)
			return -ETIMEDOUT;
	}
}

/* ---- sending ---- */

/* Writes header and payload, or either, with the descriptors at their first byte. Returns how many bytes
 * went, 0 for "not now", or a negative errno. */
static ssize_t send_some(
	struct ipc_channel *channel, struct iovec *iov, size_t iov_count, const int *fds, size_t fd_count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * IPC_MAX_FDS)];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = iov_count};
	ssize_t sent;

	if (fd_count > 0) {
		control.align = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(int) * fd_count),
		};
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * fd_count);
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
	}
	do {
		sent = sendmsg(channel->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return sent;
	/* Too many references: descriptors of ours that no receiver has taken yet; it passes like a full
	 * buffer. */
	return errno == EAGAIN || errno == ETOOMANYREFS ? 0 : -errno;
}

static int dup_fds(struct queued *frame, const int *fds, size_t fd_count)
{
	for (size_t i = 0; i < fd_count; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			return -errno;
		frame->fds[frame->fd_count++] = fd;
	}
	return 0;
}

/* Queues what follows the first sent bytes of a frame; its descriptors too if none of it was sent. */
static int queue_push(struct ipc_channel *channel, const uint8_t *header, const void *payload,
	size_t payload_bytes, size_t sent, const int *fds, size_t fd_count)
{
	size_t size = sizeof(struct queued) + HEADER_BYTES + payload_bytes;
	struct queued *frame;
	int rc;

	if (size > IPC_MAX_QUEUED_BYTES - channel->queued_bytes)
		return -ENOBUFS;
	frame = malloc(size);
	if (!frame)
		return -ENOMEM;
	*frame = (struct queued){.length = HEADER_BYTES + payload_bytes, .sent = sent};
	memcpy(frame->bytes, header, HEADER_BYTES);
	if (payload_bytes > 0)
		memcpy(frame->bytes + HEADER_BYTES, payload, payload_bytes);
	*channel->last = frame;
	channel->last = &frame->next;
	channel->queued_bytes += size;
	rc = sent == 0 ? dup_fds(frame, fds, fd_count) : 0;
	return rc;
}

static int send_frame(struct ipc_channel *channel, enum ipc_type type, const void *payload,
	size_t payload_bytes, const int *fds, size_t fd_count)
{
	uint8_t header[HEADER_BYTES] = {
		(uint8_t)(payload_bytes >> 24),
		(uint8_t)(payload_bytes >> 16),
		(uint8_t)(payload_bytes >> 8),
		(uint8_t)payload_bytes,
		(uint8_t)(type >> 8),
		(uint8_t)type,
		(uint8_t)fd_count,
		0,
	};
	struct iovec iov[2] = {{header, HEADER_BYTES}, {(void *)payload, payload_bytes}};
	ssize_t sent = 0;

	/* Straight from the caller's memory as far as the socket takes it. */
	if (!channel->first)
		sent = send_some(channel, iov, 2, fds, fd_count);
	if (sent < 0)
		return (int)sent;
	if ((size_t)sent == HEADER_BYTES + payload_bytes)
		return 0;
	return queue_push(channel, header, payload, payload_bytes, (size_t)sent, fds, fd_count);
}

int ipc_send(struct ipc_channel *channel, enum ipc_type type, const void *payload, size_t payload_bytes,
	const int *fds, size_t fd_count)
{
	const struct ipc_type_info *info = ipc_type_info(type);
	int rc;

	if (channel->error)
		return channel->error;
	if (!info || payload_bytes > info->payload_max || fd_count < info->fd_min || fd_count > info->fd_max)
		return -EINVAL;
	rc = ipc_flush(channel);
	if (rc == 0)
		rc = send_frame(channel, type, payload, payload_bytes, fds, fd_count);
	return rc < 0 ? channel_fail(channel, rc) : 0;
}

int ipc_flush(struct ipc_channel *channel)
{
	if (channel->error)
		return channel->error;
	while (channel->first) {
		struct queued *frame = channel->first;
		struct iovec iov = {frame->bytes + frame->sent, frame->length - frame->sent};
		ssize_t sent = send_some(channel, &iov, 1, frame->fds, frame->fd_count);

		if (sent < 0)
			return channel_fail(channel, (int)sent);
		if (sent == 0)
			return 0;
		close_fds(frame->fds, &frame->fd_count);
		frame->sent += (size_t)sent;
		if (frame->sent == frame->length)
			queue_pop(channel);
	}
	return 0;
}

bool ipc_wants_write(const struct ipc_channel *channel)
{
	return !channel->error && channel->first;
}
