/* Owns the servers behind healthCheckNodePort. Runs in control: no privilege is needed for ports of the node
 * port range. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin_private.h"
#include "portald/log.h"
#include "portald/mem.h"

/* The server of one port. */
struct check {
	struct admin *admin;
	struct check *next;
	struct server *server; /* NULL while the port can't be had */
	uint16_t port;
	char *namespace;
	char *name;
	size_t local_endpoints;
	bool kept;
};

/* ---- one server ---- */

static void answer(struct evhttp_request *request, void *context)
{
	const struct check *check = context;
	bool healthy = health_is_good(check->admin), ok = check->local_endpoints > 0 && healthy;
	char weight[24];

	snprintf(weight, sizeof(weight), "%zu", check->local_endpoints);
	evhttp_add_header(
		evhttp_request_get_output_headers(request), "X-Load-Balancing-Endpoint-Weight", weight);
	/* Names of valid objects need no escaping. */
	evbuffer_add_printf(evhttp_request_get_output_buffer(request),
		"{\n"
		"\t\"service\": {\n"
		"\t\t\"namespace\": \"%s\",\n"
		"\t\t\"name\": \"%s\"\n"
		"\t},\n"
		"\t\"localEndpoints\": %zu,\n"
		"\t\"serviceProxyHealthy\": %s\n"
		"}",
		check->namespace, check->name, check->local_endpoints, healthy ? "true" : "false");
	server_answer(request, ok ? HTTP_OK : HTTP_SERVUNAVAIL, "application/json");
}

static void check_open(struct check *check)
{
	struct addr_port at = {.addr = addr_any(ADDR_V4), .port = check->port};
	struct server *server = server_new(check->admin->base);
	int rc = server ? server_listen(server, &at) : -ENOMEM;

	if (rc < 0) {
		log_error("cannot serve a health check", log_str("namespace", check->namespace),
			log_str("service", check->name), log_int("port", check->port),
			log_errno("error", -rc));
		server_free(server);
		return;
	}
	evhttp_set_gencb(server_http(server), answer, check);
	check->server = server;
}

static void check_free(struct check *check)
{
	server_free(check->server);
	free(check->namespace);
	free(check->name);
	free(check);
}

/* ---- all of them ---- */

bool checks_open(struct admin *admin)
{
	bool missing = false;

	for (struct check *check = admin->checks; check; check = check->next) {
		if (!check->server)
			check_open(check);
		missing |= !check->server;
	}
	return missing;
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
	admin_open_missing(admin);
}
