/* Owns the opening of files for control: manifests, and credentials by the list of permits. Runs in the
 * starter, which reads no byte of them. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "portald/files.h"
#include "portald/log.h"
#include "proc/starter_core.h"

/* A files_fn. */
static int send_file(void *context, const char *name, int fd, int error)
{
	struct starter *starter = context;
	struct ipc_file file = {.name = name, .error = error};

	return ipc_send_file(starter->control, &file, error ? -1 : fd);
}

/* A file is watched by its directory: editors and ConfigMap mounts replace files instead of writing into
 * them. Adding a watch that exists is harmless, and catches directories that were made anew. */
static void watch_path(const struct starter *starter, const char *path)
{
	char directory[PATH_MAX];
	const char *slash = strrchr(path, '/');
	uint32_t events = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE |
			  IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

	if (starter->setup->inotify_fd < 0)
		return;
	if (inotify_add_watch(starter->setup->inotify_fd, path, events) >= 0 || errno != ENOTDIR)
		return;
	snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - path + 1) : 1,
		slash ? path : ".");
	if (inotify_add_watch(starter->setup->inotify_fd, directory, events) < 0)
		log_warning("cannot watch for changes", log_str("path", path), log_errno("error", errno));
}

static int answer_files(struct starter *starter, uint32_t index)
{
	const struct options *options = starter->options;
	int rc;

	if (index >= options->manifest_count)
		return -EPROTO;
	if (strcmp(options->manifests[index], "-") == 0) {
		lseek(starter->setup->stdin_fd, 0, SEEK_SET);
		rc = send_file(starter, "<stdin>", starter->setup->stdin_fd, 0);
	} else {
		watch_path(starter, options->manifests[index]);
		rc = files_collect(options->manifests[index], send_file, starter);
	}
	return rc < 0 ? rc : send_file(starter, "", -1, 0);
}

static int answer_credential(struct starter *starter, const char *path)
{
	int fd, rc;

	if (!*path) {
		permits_close(&starter->permits);
		return 0;
	}
	fd = permits_open(&starter->permits, path);
	rc = send_file(starter, path, fd, fd < 0 ? fd : 0);
	if (fd >= 0)
		close(fd);
	return rc;
}

int starter_control_frame(struct starter *starter, struct ipc_frame *frame)
{
	struct ipc_storage storage = {.count = 0};
	const char *path;
	uint32_t index;
	int rc = -EPROTO;

	if (frame->type == IPC_FILES_GET && ipc_decode_files_get(frame, &index) == 0)
		rc = answer_files(starter, index);
	else if (frame->type == IPC_CREDENTIAL_GET && ipc_decode_credential_get(frame, &path, &storage) == 0)
		rc = answer_credential(starter, path);
	ipc_storage_free(&storage);
	return rc;
}
