/* Owns the servers behind healthCheckNodePort. Runs in control: no privilege is needed for ports of the node
 * port range. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/addr.h"
#include "portald/admin.h"
#include "portald/log.h"
#include "portald/mem.h"

/* Ports that could not be opened are tried again this often. */
#define RETRY_S 5
/* A balancer asks and goes: who holds a connection open longer without asking is let go. */
#define IDLE_S 30
/* More than any balancer sends. */
#define MAX_HEADER_BYTES 8192
#define BACKLOG 128

/* The server of one port. */
struct check {
	struct admin *admin;
	struct check *next;
	struct evhttp *http; /* NULL while the port can't be had */
	uint16_t port;
	char *namespace;
	char *name;
	size_t local_endpoints;
	bool kept;
};

struct admin {
	struct event_base *base;
	struct event *retry;
	struct check *checks;
	bool healthy;
};

/* ---- one server ---- */

static void answer(struct evhttp_request *request, void *context)
{
	const struct check *check = context;
	bool ok = check->local_endpoints > 0 && check->admin->healthy;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *body = evhttp_request_get_output_buffer(request);
	char weight[24];

	snprintf(weight, sizeof(weight), "%zu", check->local_endpoints);
	evhttp_add_header(headers, "Content-Type", "application/json");
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	evhttp_add_header(headers, "X-Load-Balancing-Endpoint-Weight", weight);
	/* Names of valid objects need no escaping. */
	evbuffer_add_printf(body,
		"{\n"
		"\t\"service\": {\n"
		"\t\t\"namespace\": \"%s\",\n"
		"\t\t\"name\": \"%s\"\n"
		"\t},\n"
		"\t\"localEndpoints\": %zu,\n"
		"\t\"serviceProxyHealthy\": %s\n"
		"}",
		check->namespace, check->name, check->local_endpoints,
		check->admin->healthy ? "true" : "false");
	evhttp_send_reply(request, ok ? HTTP_OK : HTTP_SERVUNAVAIL, NULL, NULL);
}

/* A listening socket on the port of every address of the family, or a negative errno. */
static int open_port(enum addr_family family, uint16_t port)
{
	struct addr_port at = {.addr = addr_any(family), .port = port};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, rc;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (family == ADDR_V6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sa, length) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* Adds the family's socket to the server. A host without the family is no failure. */
static int serve_family(struct evhttp *http, enum addr_family family, uint16_t port)
{
	int fd = open_port(family, port);

	if (fd == -EAFNOSUPPORT || (family == ADDR_V6 && fd == -EADDRNOTAVAIL))
		return 0;
	if (fd < 0)
		return fd;
	if (evhttp_accept_socket(http, fd) == 0)
		return 0;
	close(fd);
	return -ENOMEM;
}

static void check_open(struct check *check)
{
	struct evhttp *http = evhttp_new(check->admin->base);
	int rc = http ? serve_family(http, ADDR_V4, check->port) : -ENOMEM;

	if (rc == 0)
		rc = serve_family(http, ADDR_V6, check->port);
	if (rc < 0) {
		log_error("cannot serve a health check", log_str("namespace", check->namespace),
			log_str("service", check->name), log_int("port", check->port),
			log_errno("error", -rc));
		if (http)
			evhttp_free(http);
		return;
	}
	evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(http, MAX_HEADER_BYTES);
	evhttp_set_max_body_size(http, 0);
	evhttp_set_timeout(http, IDLE_S);
	evhttp_set_gencb(http, answer, check);
	check->http = http;
}

static void check_free(struct check *check)
{
	if (check->http)
		evhttp_free(check->http);
	free(check->namespace);
	free(check->name);
	free(check);
}

/* ---- all of them ---- */

static void open_missing(struct admin *admin)
{
	struct timeval later = {.tv_sec = RETRY_S};
	bool missing = false;

	for (struct check *check = admin->checks; check; check = check->next) {
		if (!check->http)
			check_open(check);
		missing |= !check->http;
	}
	if (missing)
		event_add(admin->retry, &later);
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	open_missing(context);
}

struct admin *admin_new(struct event_base *base)
{
	struct admin *admin = mem_calloc(1, sizeof(*admin));

	admin->base = base;
	admin->healthy = true;
	admin->retry = event_new(base, -1, 0, on_retry, admin);
	return admin;
}

void admin_free(struct admin *admin)
{
	if (!admin)
		return;
	admin_set_health_checks(admin, NULL, 0);
	event_free(admin->retry);
	free(admin);
}

static struct check *find_check(struct admin *admin, const struct admin_health_check *wanted)
{
	for (struct check *check = admin->checks; check; check = check->next) {
		if (check->port == wanted->port && strcmp(check->namespace, wanted->namespace) == 0 &&
			strcmp(check->name, wanted->name) == 0)
			return check;
	}
	return NULL;
}

static void add_check(struct admin *admin, const struct admin_health_check *wanted)
{
	struct check *check = mem_calloc(1, sizeof(*check));

	*check = (struct check){
		.admin = admin,
		.next = admin->checks,
		.port = wanted->port,
		.namespace = mem_strdup(wanted->namespace),
		.name = mem_strdup(wanted->name),
		.local_endpoints = wanted->local_endpoints,
		.kept = true,
	};
	admin->checks = check;
}

static void drop_unkept(struct admin *admin)
{
	struct check **link = &admin->checks;

	while (*link) {
		struct check *check = *link;

		if (check->kept) {
			link = &check->next;
			continue;
		}
		*link = check->next;
		check_free(check);
	}
}

void admin_set_health_checks(struct admin *admin, const struct admin_health_check *checks, size_t count)
{
	for (struct check *check = admin->checks; check; check = check->next)
		check->kept = false;
	for (size_t i = 0; i < count; i++) {
		struct check *check = find_check(admin, &checks[i]);

		if (check) {
			check->kept = true;
			check->local_endpoints = checks[i].local_endpoints;
		} else {
			add_check(admin, &checks[i]);
		}
	}
	/* Before the new ones open: a port may pass from one Service to another. */
	drop_unkept(admin);
	open_missing(admin);
}

void admin_set_healthy(struct admin *admin, bool healthy)
{
	admin->healthy = healthy;
}
