/* Owns the access log's file. The pipe is made by the first process; the starter opens the file and starts
 * the writer, which has no privilege.
 *
 *   state     event                             next
 *   none      tick                              the file is opened, a writer started: writing
 *   writing   the path names another file       SIGTERM; replacing
 *   writing   the writer ends by itself         none, for a second
 *   replacing the writer has ended              none, at once
 */
#include "proc/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "portald/log.h"

#define MODE 0640
#define RESTART_MS 1000
#define CHUNK_BYTES 65536
/* Some thousand lines may wait while the disk is slow; beyond, they are lost. */
#define PIPE_BYTES (1024 * 1024)

/* The file, or a negative errno. */
static int open_file(const char *path)
{
	int fd = strcmp(path, "-") == 0
			 ? fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)
			 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, MODE);

	return fd < 0 ? -errno : fd;
}

int access_log_open(struct access_log *log, const struct options *options)
{
	int pair[2], fd;

	*log = (struct access_log){.path = options->access_log, .read_fd = -1, .write_fd = -1};
	if (!log->path)
		return 0;
	fd = open_file(log->path);
	if (fd < 0) {
		log_error("cannot open the access log", log_str("path", log->path), log_errno("error", -fd));
		return fd;
	}
	close(fd);
	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	/* As much as the system allows. */
	fcntl(pair[1], F_SETPIPE_SZ, PIPE_BYTES);
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	log->read_fd = pair[0];
	log->write_fd = pair[1];
	return 0;
}

void access_log_close(struct access_log *log)
{
	if (!access_log_is_on(log))
		return;
	close(log->read_fd);
	close(log->write_fd);
	log->read_fd = log->write_fd = -1;
}

/* Whether the path names another file than the writer has, or none. */
static bool was_renamed(const struct access_log *log)
{
	struct stat info;

	if (strcmp(log->path, "-") == 0)
		return false;
	return stat(log->path, &info) < 0 || info.st_dev != log->device || info.st_ino != log->inode;
}

int access_log_tick(struct access_log *log, int64_t now_ms)
{
	struct stat info = {.st_ino = 0};
	int fd;

	if (!access_log_is_on(log))
		return -1;
	if (log->writer) {
		if (!log->replacing && was_renamed(log)) {
			log->replacing = true;
			kill(log->writer, SIGTERM);
		}
		return -1;
	}
	if (now_ms < log->start_ms)
		return -1;
	log->start_ms = now_ms + RESTART_MS;
	fd = open_file(log->path);
	if (fd < 0) {
		log_error("cannot open the access log: will try again", log_str("path", log->path),
			log_errno("error", -fd));
		return -1;
	}
	fstat(fd, &info);
	log->device = info.st_dev;
	log->inode = info.st_ino;
	return fd;
}

void access_log_started(struct access_log *log, pid_t pid)
{
	log->writer = pid;
	log->replacing = false;
}

bool access_log_exited(struct access_log *log, pid_t pid, int64_t now_ms)
{
	if (log->writer == 0 || log->writer != pid)
		return false;
	log->writer = 0;
	log->start_ms = log->replacing ? now_ms : now_ms + RESTART_MS;
	return true;
}

/* ---- the writer ---- */

static void write_all(int fd, const char *bytes, size_t count)
{
	while (count > 0) {
		ssize_t written = write(fd, bytes, count);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0) {
			log_error("lines of the access log are lost", log_errno("error", errno));
			return;
		}
		bytes += written;
		count -= (size_t)written;
	}
}

int access_log_write(int pipe_fd, int file_fd)
{
	char bytes[CHUNK_BYTES];
	struct pollfd fds[] = {{.fd = pipe_fd, .events = POLLIN}, {.events = POLLIN}};
	bool ending = false, line_ended = true;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fds[1].fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	while (!ending || !line_ended) {
		ssize_t got;

		/* The signal is not taken out: it stays true. */
		if (poll(fds, ending ? 1 : 2, -1) < 0 && errno != EINTR)
			return 1;
		ending |= fds[1].revents != 0;
		if (!fds[0].revents)
			continue;
		got = read(pipe_fd, bytes, sizeof(bytes));
		if (got <= 0)
			return got < 0;
		write_all(file_fd, bytes, (size_t)got);
		line_ended = bytes[got - 1] == '\n';
	}
	return 0;
}
