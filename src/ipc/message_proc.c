/* Owns the messages of the starter: children to start, children that ended, the
 * configuration, files to open. */
#include <errno.h>

#include "ipc/cursor.h"
#include "portald/ipc.h"

#define ROLES (IPC_ROLE_RELAY + 1)

int ipc_send_spawn(
	struct ipc_channel *channel, const struct ipc_spawn *spawn, const int *fds, size_t fd_count)
{
	struct ipc_writer writer = {0};

	ipc_put_u8(&writer, (uint8_t)spawn->role);
	ipc_put_u32(&writer, spawn->index);
	return ipc_writer_send(&writer, channel, IPC_SPAWN, fds, fd_count);
}

int ipc_decode_spawn(const struct ipc_frame *frame, struct ipc_spawn *out)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_SPAWN);

	out->role = ipc_get_enum(&reader, ROLES);
	out->index = ipc_get_u32(&reader);
	return ipc_reader_finish(&reader);
}

int ipc_send_exited(struct ipc_channel *channel, const struct ipc_exited *exited)
{
	struct ipc_writer writer = {0};

	ipc_put_u8(&writer, (uint8_t)exited->role);
	ipc_put_u32(&writer, exited->index);
	ipc_put_i32(&writer, exited->status);
	return ipc_writer_send(&writer, channel, IPC_EXITED, NULL, 0);
}

int ipc_decode_exited(const struct ipc_frame *frame, struct ipc_exited *out)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_EXITED);

	out->role = ipc_get_enum(&reader, ROLES);
	out->index = ipc_get_u32(&reader);
	out->status = ipc_get_i32(&reader);
	return ipc_reader_finish(&reader);
}

int ipc_send_config(struct ipc_channel *channel, int fd)
{
	struct ipc_writer writer = {0};

	return ipc_writer_send(&writer, channel, IPC_CONFIG, &fd, 1);
}

int ipc_decode_config(const struct ipc_frame *frame)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_CONFIG);

	return ipc_reader_finish(&reader);
}

int ipc_send_settings(struct ipc_channel *channel, const char *text)
{
	struct ipc_writer writer = {0};

	ipc_put_text(&writer, text, IPC_MAX_SETTINGS_BYTES);
	return ipc_writer_send(&writer, channel, IPC_SETTINGS, NULL, 0);
}

int ipc_decode_settings(const struct ipc_frame *frame, const char **text, struct ipc_storage *storage)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_SETTINGS);

	storage->count = 0;
	*text = ipc_get_text(&reader, IPC_MAX_SETTINGS_BYTES, storage);
	return ipc_reader_finish_in(&reader, storage);
}

int ipc_send_files_get(struct ipc_channel *channel, uint32_t index)
{
	struct ipc_writer writer = {0};

	ipc_put_u32(&writer, index);
	return ipc_writer_send(&writer, channel, IPC_FILES_GET, NULL, 0);
}

int ipc_decode_files_get(const struct ipc_frame *frame, uint32_t *index)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_FILES_GET);

	*index = ipc_get_u32(&reader);
	return ipc_reader_finish(&reader);
}

/* A descriptor comes with each file that could be opened, and with nothing else. */
static bool file_has_fd(const struct ipc_file *file)
{
	return *file->name && file->error == 0;
}

int ipc_send_file(struct ipc_channel *channel, const struct ipc_file *file, int fd)
{
	struct ipc_writer writer = {0};

	if (file_has_fd(file) != (fd >= 0))
		return -EINVAL;
	ipc_put_text(&writer, file->name, IPC_MAX_NAME_BYTES);
	ipc_put_i32(&writer, file->error);
	return ipc_writer_send(&writer, channel, IPC_FILE, &fd, fd >= 0 ? 1 : 0);
}

int ipc_decode_file(const struct ipc_frame *frame, struct ipc_file *out, struct ipc_storage *storage)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_FILE);

	storage->count = 0;
	out->name = ipc_get_text(&reader, IPC_MAX_NAME_BYTES, storage);
	out->error = ipc_get_error(&reader);
	if (!reader.failed && file_has_fd(out) != (frame->fd_count == 1))
		reader.failed = true;
	return ipc_reader_finish_in(&reader, storage);
}

int ipc_send_credential_get(struct ipc_channel *channel, const char *path)
{
	struct ipc_writer writer = {0};

	ipc_put_text(&writer, path, IPC_MAX_NAME_BYTES);
	return ipc_writer_send(&writer, channel, IPC_CREDENTIAL_GET, NULL, 0);
}

int ipc_decode_credential_get(const struct ipc_frame *frame, const char **path, struct ipc_storage *storage)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_CREDENTIAL_GET);

	storage->count = 0;
	*path = ipc_get_text(&reader, IPC_MAX_NAME_BYTES, storage);
	return ipc_reader_finish_in(&reader, storage);
}
