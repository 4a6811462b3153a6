/* Finds and opens manifest files. Runs in the starter and in `portald plan`; it opens for reading only, and
 * nothing that is not a regular file, so a FIFO or device cannot stall or mislead it. */
#include "portald/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "portald/mem.h"
#include "portald/source.h"

#define READ_CHUNK_BYTES ((size_t)64 * 1024)

/* The names of a directory's files. */
struct names {
	char **list;
	size_t count, capacity;
};

const char *files_error_text(int error)
{
	if (error == -ENOTSUP)
		return "not a regular file";
	if (error == -EFBIG)
		return "too large for a manifest";
	return strerrordesc_np(-error);
}

/* ---- opening ---- */

/* Opens path, relative to directory, which AT_FDCWD may stand for. Returns a descriptor or a negative errno;
 * what the file is goes to *mode. */
static int open_checked(int directory, const char *path, mode_t *mode)
{
	struct stat status;
	/* Without O_NONBLOCK a FIFO would hold up the caller before it can be refused. */
	int fd = openat(directory, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return errno == ENXIO ? -ENOTSUP : -errno;
	if (fstat(fd, &status) < 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	*mode = status.st_mode;
	return fd;
}

static int hand_over(files_fn *fn, void *context, const char *name, int fd, mode_t mode)
{
	int rc;

	if (fd < 0)
		return fn(context, name, -1, fd);
	rc = S_ISREG(mode) ? fn(context, name, fd, 0) : fn(context, name, -1, -ENOTSUP);
	close(fd);
	return rc;
}

/* ---- directories ---- */

static bool is_manifest_name(const char *name)
{
	static const char *const endings[] = {".yaml", ".yml", ".json"};
	size_t length = strlen(name);

	for (size_t i = 0; i < sizeof(endings) / sizeof(*endings) && name[0] != '.'; i++) {
		size_t ending = strlen(endings[i]);

		if (length > ending && strcmp(name + length - ending, endings[i]) == 0)
			return true;
	}
	return false;
}

static int name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(DIR *stream, struct names *names)
{
	struct dirent *entry;

	for (errno = 0; (entry = readdir(stream)); errno = 0) {
		if (!is_manifest_name(entry->d_name))
			continue;
		names->list = mem_grow(names->list, names->count, &names->capacity, sizeof(char *));
		names->list[names->count++] = mem_strdup(entry->d_name);
	}
	if (names->count)
		qsort(names->list, names->count, sizeof(char *), name_cmp);
	return -errno;
}

static int collect_entry(int directory, const char *path, const char *entry, files_fn *fn, void *context)
{
	size_t length = strlen(path);
	char *name = mem_printf("%s%s%s", path, length && path[length - 1] == '/' ? "" : "/", entry);
	mode_t mode = 0;
	int fd = open_checked(directory, entry, &mode);
	int rc = hand_over(fn, context, name, fd, mode);

	free(name);
	return rc;
}

/* Takes the directory's descriptor. */
static int collect_directory(int fd, const char *path, files_fn *fn, void *context)
{
	DIR *stream = fdopendir(fd);
	struct names names = {0};
	int rc;

	if (!stream) {
		rc = -errno;
		close(fd);
		return fn(context, path, -1, rc);
	}
	rc = read_names(stream, &names);
	if (rc < 0)
		rc = fn(context, path, -1, rc);
	for (size_t i = 0; i < names.count; i++) {
		if (rc == 0)
			rc = collect_entry(dirfd(stream), path, names.list[i], fn, context);
		free(names.list[i]);
	}
	free(names.list);
	closedir(stream);
	return rc;
}

int files_collect(const char *path, files_fn *fn, void *context)
{
	mode_t mode = 0;
	int fd;

	if (strcmp(path, "-") == 0)
		return fn(context, "stdin", STDIN_FILENO, 0);
	fd = open_checked(AT_FDCWD, path, &mode);
	if (fd >= 0 && S_ISDIR(mode))
		return collect_directory(fd, path, fn, context);
	return hand_over(fn, context, path, fd, mode);
}

/* ---- reading ---- */

struct buffer {
	char *bytes;
	size_t count, capacity;
};

/* Room for one byte beyond the limit, so that it can be told from the end, and for the NUL. */
static void buffer_grow(struct buffer *buffer)
{
	size_t capacity = buffer->capacity ? buffer->capacity * 2 : READ_CHUNK_BYTES;
	char *bytes;

	if (buffer->capacity - buffer->count > 1)
		return;
	if (capacity > SOURCE_MAX_FILE_BYTES + 2)
		capacity = SOURCE_MAX_FILE_BYTES + 2;
	bytes = mem_calloc(1, capacity);
	if (buffer->count)
		memcpy(bytes, buffer->bytes, buffer->count);
	free(buffer->bytes);
	buffer->bytes = bytes;
	buffer->capacity = capacity;
}

static int read_all(int fd, struct buffer *buffer)
{
	for (;;) {
		ssize_t got;

		buffer_grow(buffer);
		got = read(fd, buffer->bytes + buffer->count, buffer->capacity - buffer->count - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return 0;
		buffer->count += (size_t)got;
		if (buffer->count > SOURCE_MAX_FILE_BYTES)
			return -EFBIG;
	}
}

int files_read(int fd, char **bytes, size_t *count)
{
	struct buffer buffer = {0};
	int rc = read_all(fd, &buffer);

	if (rc < 0) {
		free(buffer.bytes);
		return rc;
	}
	buffer.bytes[buffer.count] = '\0';
	*bytes = buffer.bytes;
	*count = buffer.count;
	return 0;
}
