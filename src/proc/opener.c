/* Owns control's side of the credential files. Runs in control. */
#include "proc/opener.h"

#include <errno.h>

#include "portald/ipc.h"

/* The starter answers at once; only a stopped process or a dead disk takes longer. */
#define OPEN_TIMEOUT_MS 30000

static int take_answer(struct ipc_frame *frame)
{
	struct ipc_storage storage = {.count = 0};
	struct ipc_file file;
	int fd;

	if (frame->type != IPC_FILE || ipc_decode_file(frame, &file, &storage) < 0)
		return -EPROTO;
	fd = file.error;
	if (frame->fd_count == 1) {
		fd = frame->fds[0];
		frame->fds[0] = -1;
	} else if (fd == 0) {
		fd = -EPROTO;
	}
	ipc_storage_free(&storage);
	return fd;
}

static int open_by_starter(void *context, const char *path)
{
	struct ipc_channel *channel = context;
	struct ipc_frame frame;
	int rc;

	if (!*path)
		return -ENOENT;
	rc = ipc_send_credential_get(channel, path);
	if (rc < 0)
		return rc;
	rc = ipc_receive_wait(channel, &frame, OPEN_TIMEOUT_MS);
	return rc > 0 ? take_answer(&frame) : rc;
}

struct kubeconfig_opener opener_of(struct ipc_channel *channel)
{
	return (struct kubeconfig_opener){.open = open_by_starter, .context = channel};
}

int opener_close_list(struct ipc_channel *channel)
{
	return ipc_send_credential_get(channel, "");
}
