/* Owns `portald status` and `portald explain`: one question to the running daemon. Runs alone, as whoever
 * asks. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "portald/mem.h"
#include "proc/status.h"

/* Control answers from memory: one that takes longer hangs. */
#define TIMEOUT_S 10
#define READ_BYTES 65536

static int fail(const struct options *options, int error)
{
	const char *path = options->status_socket;

	if (error == ENOENT || error == ECONNREFUSED)
		fprintf(stderr,
			"portald: no daemon answers at %s (is it running? --status-socket names another)\n",
			path);
	else if (error == EACCES || error == EPERM)
		fprintf(stderr,
			"portald: no permission for %s: ask as root or as a member of its group "
			"(--status-group of the daemon)\n",
			path);
	else if (error == EAGAIN)
		fprintf(stderr, "portald: the daemon at %s does not answer\n", path);
	else
		fprintf(stderr, "portald: %s: %s\n", path, strerrordesc_np(error));
	return 1;
}

/* Returns the connected socket or a negative errno. */
static int connect_to(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = TIMEOUT_S};
	int fd, rc;

	if (strlen(path) >= sizeof(at.sun_path))
		return -ENAMETOOLONG;
	memcpy(at.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static char *request_text(const struct options *options)
{
	const char *output = options->output == PLAN_JSON ? "json" : "table";
	char *service, *text;

	if (options->command == OPTIONS_STATUS)
		return mem_printf("GET /status?output=%s HTTP/1.0\r\n\r\n", output);
	service = evhttp_encode_uri(options->explain);
	text = mem_printf(
		"GET /explain?output=%s&service=%s HTTP/1.0\r\n\r\n", output, service ? service : "");
	free(service);
	return text;
}

/* The whole answer. Returns 0 or a negative errno. */
static int exchange(int fd, const char *request, struct evbuffer *answer)
{
	char bytes[READ_BYTES];
	ssize_t got;

	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		return -errno;
	while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		evbuffer_add(answer, bytes, (size_t)got);
	return got < 0 ? -errno : 0;
}

/* Prints the body: of a good answer to standard output. Returns the exit code. */
static int print_answer(struct evbuffer *answer)
{
	struct evbuffer_ptr end = evbuffer_search(answer, "\r\n\r\n", 4, NULL);
	char *status = evbuffer_readln(answer, NULL, EVBUFFER_EOL_CRLF);
	bool good = status && strncmp(status, "HTTP/1.", 7) == 0 && strstr(status, " 200 ");
	size_t line = status ? strlen(status) + 2 : 0, length;
	FILE *to = good ? stdout : stderr;

	free(status);
	if (end.pos < 0) {
		fputs("portald: the answer can't be read\n", stderr);
		return 1;
	}
	evbuffer_drain(answer, (size_t)end.pos + 4 - line);
	length = evbuffer_get_length(answer);
	if (!good)
		fputs("portald: ", to);
	if (length > 0 && fwrite(evbuffer_pullup(answer, -1), 1, length, to) != length)
		return 1;
	return good && fflush(to) == 0 ? 0 : 1;
}

int status_ask(const struct options *options)
{
	int fd = connect_to(options->status_socket), rc;
	struct evbuffer *answer;
	char *request;

	if (fd < 0)
		return fail(options, -fd);
	answer = evbuffer_new();
	request = request_text(options);
	rc = exchange(fd, request, answer);
	close(fd);
	rc = rc < 0 ? fail(options, -rc) : print_answer(answer);
	free(request);
	evbuffer_free(answer);
	return rc;
}
