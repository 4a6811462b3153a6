/* Owns how HTTP is served: sockets, limits, answers. Runs in control. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/admin_private.h"
#include "portald/descriptors.h"
#include "portald/log.h"
#include "portald/mem.h"

/* Who holds a connection open longer without asking is let go. */
#define IDLE_S 30
/* More than any prober sends. */
#define MAX_HEADER_BYTES 8192
#define BACKLOG 128

/* Which is looked at so often, for it takes time... */
#define CONNECTIONS_BETWEEN_COUNTS 32
/* ...and again after so long, if there were too many. */
#define PAUSE_S 1
#define MAX_SOCKETS 2

struct server {
	struct evhttp *http;
	struct evconnlistener *listeners[MAX_SOCKETS];
	size_t listener_count;
	unsigned connections; /* since descriptors were counted */
	struct event *resume;
};

/* ---- how many ---- */

/* The rest is for what the process is there for: files, the API server. */
static bool descriptors_are_scarce(void)
{
	return descriptors_open() > descriptors_limit() / 2;
}

static void pause_accepting(struct server *server)
{
	for (size_t i = 0; i < server->listener_count; i++)
		evconnlistener_disable(server->listeners[i]);
	evtimer_add(server->resume, &(struct timeval){.tv_sec = PAUSE_S});
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
	struct server *server = context;

	(void)fd;
	(void)what;
	if (descriptors_are_scarce()) {
		pause_accepting(server);
		return;
	}
	for (size_t i = 0; i < server->listener_count; i++)
		evconnlistener_enable(server->listeners[i]);
}

/* libevent asks for each connection what it shall be made of. */
static struct bufferevent *on_connection(struct event_base *base, void *context)
{
	struct server *server = context;

	(void)base;
	if (++server->connections == CONNECTIONS_BETWEEN_COUNTS) {
		server->connections = 0;
		if (descriptors_are_scarce()) {
			log_warning("many connections ask for health or metrics: further ones wait");
			pause_accepting(server);
		}
	}
	return NULL;
}

/* ---- one server ---- */

void server_free(struct server *server)
{
	if (!server)
		return;
	if (server->http)
		evhttp_free(server->http);
	if (server->resume)
		event_free(server->resume);
	free(server);
}

struct server *server_new(struct event_base *base)
{
	struct server *server = mem_calloc(1, sizeof(*server));

	server->http = evhttp_new(base);
	server->resume = evtimer_new(base, on_resume, server);
	if (!server->http || !server->resume) {
		server_free(server);
		return NULL;
	}
	evhttp_set_allowed_methods(server->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(server->http, MAX_HEADER_BYTES);
	evhttp_set_max_body_size(server->http, 0);
	evhttp_set_timeout(server->http, IDLE_S);
	evhttp_set_bevcb(server->http, on_connection, server);
	return server;
}

struct evhttp *server_http(struct server *server)
{
	return server->http;
}

int server_accept(struct server *server, int fd)
{
	struct evhttp_bound_socket *bound = evhttp_accept_socket_with_handle(server->http, fd);

	if (!bound)
		return -ENOMEM;
	server->listeners[server->listener_count++] = evhttp_bound_socket_get_listener(bound);
	return 0;
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

static int listen_at(struct server *server, const struct addr_port *at)
{
	int fd = open_socket(at), rc;

	if (fd < 0)
		return fd;
	rc = server_accept(server, fd);
	if (rc < 0)
		close(fd);
	return rc;
}

int server_listen(struct server *server, const struct addr_port *at)
{
	struct addr_port v4 = {.addr = addr_any(ADDR_V4), .port = at->port};
	struct addr_port v6 = {.addr = addr_any(ADDR_V6), .port = at->port};
	int rc, rc6;

	if (!addr_is_any(&at->addr))
		return listen_at(server, at);
	rc = listen_at(server, &v4);
	if (rc < 0 && rc != -EAFNOSUPPORT)
		return rc;
	rc6 = listen_at(server, &v6);
	return rc6 == -EAFNOSUPPORT || rc6 == -EADDRNOTAVAIL ? rc : rc6;
}

void server_answer(struct evhttp_request *request, int status, const char *content_type)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

	evhttp_add_header(headers, "Content-Type", content_type);
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	evhttp_send_reply(request, status, NULL, NULL);
}
