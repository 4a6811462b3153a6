/* Fuzz target: the bytes of a hostile peer, through a channel and straight into every decoder.
 *
 * Input: one byte that says how the stream is cut and how many descriptors go with each header, then the
 * stream as on the wire (src/ipc/frame.c). Bits 0-3: bytes a write, 0 for all at once. Bits 4-6:
 * descriptors sent with a header beyond those that it announces. Whatever is decoded is used up, so that
 * sanitizers see it; each descriptor must be gone at the end.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/ipc.h"
#include "portald/plan.h"

#define HEADER_BYTES 8
#define SENT_FDS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* Decodes the frame as every message that carries no lists or texts. */
static void decode_plain(const struct ipc_frame *frame)
{
	struct ipc_sync sync;
	struct ipc_sync_done done;
	struct ipc_spawn spawn;
	struct ipc_exited exited;
	enum ipc_step step;
	uint32_t number;

	ipc_decode_sync(frame, &sync);
	if (ipc_decode_sync_done(frame, &done) == 0)
		must(done.error <= 0);
	if (ipc_decode_spawn(frame, &spawn) == 0)
		must(spawn.role <= IPC_ROLE_RELAY);
	if (ipc_decode_exited(frame, &exited) == 0)
		must(exited.role <= IPC_ROLE_RELAY);
	ipc_decode_relay_close(frame, &number);
	ipc_decode_files_get(frame, &number);
	ipc_decode_config(frame);
	ipc_decode_relay_drain(frame);
	ipc_decode_succeed(frame);
	if (ipc_decode_handover(frame, &step) == 0)
		must(step < IPC_STEPS);
	ipc_decode_successor(frame, &number);
}

static void decode_stored(const struct ipc_frame *frame)
{
	struct ipc_relay_listener listener;
	struct ipc_relay_backends backends;
	struct ipc_listener_state state;
	struct ipc_storage storage;
	struct ipc_file file;
	const char *key, *text;

	if (ipc_decode_listener_del(frame, &key, &storage) == 0)
		must(strlen(key) > 0);
	ipc_storage_free(&storage);
	if (ipc_decode_credential_get(frame, &key, &storage) == 0)
		must(strlen(key) <= IPC_MAX_NAME_BYTES);
	ipc_storage_free(&storage);
	if (ipc_decode_relay_listener(frame, &listener, &storage) == 0) {
		must(strlen(listener.key) > 0);
		for (size_t i = 0; i < listener.portal_count; i++)
			addr_is_any(&listener.portals[i].at.addr);
	}
	ipc_storage_free(&storage);
	if (ipc_decode_relay_backends(frame, &backends, &storage) == 0) {
		for (size_t i = 0; i < backends.backend_count; i++)
			addr_is_any(&backends.backends[i].at.addr);
	}
	ipc_storage_free(&storage);
	if (ipc_decode_listener_state(frame, &state, &storage) == 0) {
		must(strlen(state.id) > 0 && state.error <= 0 && strlen(state.refusal) <= IPC_REFUSAL_BYTES);
		for (size_t i = 0; i < state.unclaimed_count; i++)
			must(state.unclaimed[i].error <= 0);
		for (size_t i = 0; i < state.backend_count; i++)
			addr_is_any(&state.backends[i].at.addr);
	}
	ipc_storage_free(&storage);
	if (ipc_decode_settings(frame, &text, &storage) == 0)
		must(strlen(text) <= IPC_MAX_SETTINGS_BYTES);
	ipc_storage_free(&storage);
	if (ipc_decode_file(frame, &file, &storage) == 0)
		must(strlen(file.name) <= IPC_MAX_NAME_BYTES && file.error <= 0);
	ipc_storage_free(&storage);
}

static void decode_listener(const struct ipc_frame *frame)
{
	struct plan_listener *listener;

	if (ipc_decode_listener_put(frame, &listener) < 0) {
		must(!listener);
		return;
	}
	must(listener->portal_count <= PLAN_MAX_PORTALS && listener->backend_count <= PLAN_MAX_BACKENDS);
	for (size_t i = 0; i < listener->backend_count; i++)
		must(addr_family(&listener->backends[i].at.addr) == listener->family);
	plan_listener_free(listener);
}

static void decode_all(const struct ipc_frame *frame)
{
	decode_plain(frame);
	decode_stored(frame);
	decode_listener(frame);
}

/* The payload as a message of every type. */
static void feed_decoders(const uint8_t *payload, size_t size)
{
	int no_fds[IPC_MAX_FDS] = {-1, -1, -1, -1};
	struct ipc_frame frame = {.payload = payload, .payload_bytes = size, .fds = no_fds};

	for (enum ipc_type type = IPC_SYNC_BEGIN; type < IPC_TYPES; type++) {
		frame.type = type;
		for (frame.fd_count = 0; frame.fd_count <= 1; frame.fd_count++)
			decode_all(&frame);
	}
}

static void drain(struct ipc_channel *channel, int *error)
{
	struct ipc_frame frame;
	int rc;

	while ((rc = ipc_receive(channel, &frame)) == 1) {
		decode_all(&frame);
		/* As a receiver that takes the first one. */
		if (frame.fd_count > 0) {
			must(frame.fds[0] >= 0 && close(frame.fds[0]) == 0);
			frame.fds[0] = -1;
		}
	}
	*error = rc;
}

static void write_some(int fd, const uint8_t *data, size_t size, size_t fd_count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * SENT_FDS)];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	struct iovec iov = {(void *)data, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[SENT_FDS];

	for (size_t i = 0; i < SENT_FDS; i++)
		fds[i] = fd;
	if (fd_count > 0) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * fd_count);
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
	}
	must(sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) > 0);
}

/* Frame by frame, as the headers say, with their descriptors at the first byte. */
static void feed_channel(struct ipc_channel *channel, int fd, uint8_t how, const uint8_t *data, size_t size)
{
	size_t step = how & 15, left_of_frame = 0;
	int error = 0;

	while (size > 0 && error == 0) {
		bool starts = left_of_frame == 0 && size >= HEADER_BYTES;
		size_t count = step && step < size ? step : size, fd_count = 0;

		if (starts) {
			left_of_frame = HEADER_BYTES + ((size_t)data[2] << 8 | data[3]);
			fd_count = (data[6] + (how >> 4 & 7)) % SENT_FDS;
		}
		if (left_of_frame && count > left_of_frame)
			count = left_of_frame;
		write_some(fd, data, count, fd_count);
		drain(channel, &error);
		left_of_frame -= left_of_frame ? count : 0;
		data += count;
		size -= count;
	}
}

/* The lowest free descriptor: the same before and after, if none was leaked. */
static int lowest_free_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	must(fd >= 0);
	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int before = lowest_free_fd();
	struct ipc_channel *channel;
	int pair[2];

	if (size < 1 || size > 65536)
		return 0;
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	channel = ipc_channel_new(pair[0]);
	feed_channel(channel, pair[1], data[0], data + 1, size - 1);
	ipc_channel_free(channel);
	close(pair[1]);
	if (size > 1 + HEADER_BYTES)
		feed_decoders(data + 1 + HEADER_BYTES, size - 1 - HEADER_BYTES);
	must(lowest_free_fd() == before);
	return 0;
}
