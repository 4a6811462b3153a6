/* Owns how HTTP is served: sockets, limits, answers. Runs in control. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/admin_private.h"

/* Who holds a connection open longer without asking is let go. */
#define IDLE_S 30
/* More than any prober sends. */
#define MAX_HEADER_BYTES 8192
#define BACKLOG 128

struct evhttp *server_new(struct event_base *base)
{
	struct evhttp *http = evhttp_new(base);

	if (!http)
		return NULL;
	evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(http, MAX_HEADER_BYTES);
	evhttp_set_max_body_size(http, 0);
	evhttp_set_timeout(http, IDLE_S);
	return http;
}

/* A listening socket, or a negative errno. */
static int open_socket(const struct addr_port *at)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(at, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, rc;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sa, length) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static int listen_at(struct evhttp *http, const struct addr_port *at)
{
	int fd = open_socket(at);

	if (fd < 0)
		return fd;
	if (evhttp_accept_socket(http, fd) == 0)
		return 0;
	close(fd);
	return -ENOMEM;
}

int server_listen(struct evhttp *http, const struct addr_port *at)
{
	struct addr_port v4 = {.addr = addr_any(ADDR_V4), .port = at->port};
	struct addr_port v6 = {.addr = addr_any(ADDR_V6), .port = at->port};
	int rc, rc6;

	if (!addr_is_any(&at->addr))
		return listen_at(http, at);
	rc = listen_at(http, &v4);
	if (rc < 0 && rc != -EAFNOSUPPORT)
		return rc;
	rc6 = listen_at(http, &v6);
	return rc6 == -EAFNOSUPPORT || rc6 == -EADDRNOTAVAIL ? rc : rc6;
}

void server_answer(struct evhttp_request *request, int status, const char *content_type)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

	evhttp_add_header(headers, "Content-Type", content_type);
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	evhttp_send_reply(request, status, NULL, NULL);
}
