/* Owns the messages of an upgrade: between a supervisor, its successor, the starter and the relays. */
#include "ipc/cursor.h"
#include "portald/ipc.h"

/* A message that its type says all of. */
static int send_plain(struct ipc_channel *channel, enum ipc_type type, const int *fds, size_t fd_count)
{
	struct ipc_writer writer = {0};

	return ipc_writer_send(&writer, channel, type, fds, fd_count);
}

static int decode_plain(const struct ipc_frame *frame, enum ipc_type type)
{
	struct ipc_reader reader = ipc_reader_of(frame, type);

	return ipc_reader_finish(&reader);
}

int ipc_send_relay_drain(struct ipc_channel *channel)
{
	return send_plain(channel, IPC_RELAY_DRAIN, NULL, 0);
}

int ipc_decode_relay_drain(const struct ipc_frame *frame)
{
	return decode_plain(frame, IPC_RELAY_DRAIN);
}

int ipc_send_succeed(struct ipc_channel *channel, int channel_fd, int life_fd)
{
	const int fds[] = {channel_fd, life_fd};

	return send_plain(channel, IPC_SUCCEED, fds, 2);
}

int ipc_decode_succeed(const struct ipc_frame *frame)
{
	return decode_plain(frame, IPC_SUCCEED);
}

int ipc_send_handover(struct ipc_channel *channel, enum ipc_step step)
{
	struct ipc_writer writer = {0};

	ipc_put_u8(&writer, (uint8_t)step);
	return ipc_writer_send(&writer, channel, IPC_HANDOVER, NULL, 0);
}

int ipc_decode_handover(const struct ipc_frame *frame, enum ipc_step *step)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_HANDOVER);

	*step = ipc_get_enum(&reader, IPC_STEPS);
	return ipc_reader_finish(&reader);
}

int ipc_send_successor(struct ipc_channel *channel, uint32_t pid, int channel_fd)
{
	struct ipc_writer writer = {0};

	ipc_put_u32(&writer, pid);
	return ipc_writer_send(&writer, channel, IPC_SUCCESSOR, &channel_fd, 1);
}

int ipc_decode_successor(const struct ipc_frame *frame, uint32_t *pid)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_SUCCESSOR);

	*pid = ipc_get_u32(&reader);
	return ipc_reader_finish(&reader);
}
