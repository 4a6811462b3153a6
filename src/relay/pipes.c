/* Owns the pool of pipes. Runs in every relay. */
#include "relay/pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void pipe_close(struct pipes *pipes, struct pipe *pipe)
{
	close(pipe->read_fd);
	close(pipe->write_fd);
	free(pipe);
	pipes->open_count--;
}

/* The capacity that was granted. */
static int pipe_size(int fd)
{
	int granted = fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);

	return granted >= 0 ? granted : fcntl(fd, F_GETPIPE_SZ);
}

static struct pipe *pipe_open(struct pipes *pipes)
{
	struct pipe *pipe;
	int fds[2], size;

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
		return NULL;
	pipe = malloc(sizeof(*pipe));
	size = pipe_size(fds[0]);
	if (!pipe || size < PIPE_MIN_BYTES) {
		close(fds[0]);
		close(fds[1]);
		free(pipe);
		return NULL;
	}
	*pipe = (struct pipe){.read_fd = fds[0], .write_fd = fds[1], .capacity = (uint32_t)size};
	pipes->open_count++;
	return pipe;
}

struct pipe *pipes_get(struct pipes *pipes, bool may_open, int64_t now_ms)
{
	struct pipe *pipe = pipes->idle;

	if (pipe) {
		pipes->idle = pipe->next;
		pipes->idle_count--;
		return pipe;
	}
	if (!may_open || pipes->open_count >= PIPES_MAX_OPEN || now_ms < pipes->retry_at_ms)
		return NULL;
	pipe = pipe_open(pipes);
	if (!pipe)
		pipes->retry_at_ms = now_ms + PIPES_RETRY_MS;
	return pipe;
}

void pipes_put(struct pipes *pipes, struct pipe *pipe)
{
	if (pipe->bytes > 0 || pipes->idle_count >= PIPES_MAX_IDLE) {
		pipe_close(pipes, pipe);
		return;
	}
	pipe->next = pipes->idle;
	pipes->idle = pipe;
	pipes->idle_count++;
}

void pipes_trim(struct pipes *pipes)
{
	while (pipes->idle) {
		struct pipe *pipe = pipes->idle;

		pipes->idle = pipe->next;
		pipes->idle_count--;
		pipe_close(pipes, pipe);
	}
}
