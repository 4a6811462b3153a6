/* Owns the servers of the health and the metrics address, and of the status socket. Runs in control. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin_private.h"
#include "admin/text.h"
#include "portald/log.h"
#include "portald/mem.h"

/* A server, open or to be opened. */
struct face {
	struct face *next;
	struct admin *admin;
	const char *what; /* for log lines */
	struct addr_port at;
	void (*set_paths)(struct face *face);
	struct server *server; /* NULL while the address can't be had */
};

/* ---- the metrics address ---- */

static void answer_text(struct evhttp_request *request, const char *text)
{
	evbuffer_add_printf(evhttp_request_get_output_buffer(request), "%s", text);
	server_answer(request, HTTP_OK, "text/plain; charset=utf-8");
}

static void answer_ok(struct evhttp_request *request, void *context)
{
	(void)context;
	answer_text(request, "ok");
}

static void answer_proxy_mode(struct evhttp_request *request, void *context)
{
	const struct admin *admin = context;

	answer_text(request, admin->options.proxy_mode);
}

static void answer_metrics(struct evhttp_request *request, void *context)
{
	metrics_print(context, evhttp_request_get_output_buffer(request));
	server_answer(request, HTTP_OK, TEXT_CONTENT_TYPE);
}

static void answer_configz(struct evhttp_request *request, void *context)
{
	const struct admin *admin = context;
	char *text = admin->options.configz(admin->options.context);

	if (!text) {
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
		return;
	}
	evbuffer_add_printf(evhttp_request_get_output_buffer(request), "%s", text);
	free(text);
	server_answer(request, HTTP_OK, "application/json");
}

static void set_metrics_paths(struct face *face)
{
	evhttp_set_cb(server_http(face->server), "/metrics", answer_metrics, face->admin);
	evhttp_set_cb(server_http(face->server), "/healthz", answer_ok, face->admin);
	evhttp_set_cb(server_http(face->server), "/proxyMode", answer_proxy_mode, face->admin);
	if (face->admin->options.configz)
		evhttp_set_cb(server_http(face->server), "/configz", answer_configz, face->admin);
}

static void set_health_paths(struct face *face)
{
	evhttp_set_cb(server_http(face->server), "/healthz", health_healthz, face->admin);
	evhttp_set_cb(server_http(face->server), "/livez", health_livez, face->admin);
	evhttp_set_cb(server_http(face->server), "/readyz", health_readyz, face->admin);
}

/* ---- all of them ---- */

static int face_open(struct face *face)
{
	struct server *server = server_new(face->admin->base);
	int rc = server ? server_listen(server, &face->at) : -ENOMEM;

	if (rc < 0) {
		log_error("cannot serve", log_str("what", face->what), log_addr_port("address", &face->at),
			log_errno("error", -rc));
		server_free(server);
		return rc;
	}
	face->server = server;
	face->set_paths(face);
	return 0;
}

bool faces_open(struct admin *admin)
{
	bool missing = false;

	for (struct face *face = admin->faces; face; face = face->next) {
		if (!face->server)
			face_open(face);
		missing |= !face->server;
	}
	return missing;
}

static struct face *face_add(struct admin *admin, const char *what, const struct addr_port *at)
{
	struct face *face = mem_calloc(1, sizeof(*face));

	*face = (struct face){.next = admin->faces, .admin = admin, .what = what, .at = *at};
	admin->faces = face;
	return face;
}

int admin_serve(struct admin *admin)
{
	const struct admin_options *options = &admin->options;
	int rc = 0;

	admin->options.held = false;
	if (options->health.on)
		face_add(admin, "health", &options->health.at)->set_paths = set_health_paths;
	if (options->metrics.on)
		face_add(admin, "metrics", &options->metrics.at)->set_paths = set_metrics_paths;
	for (struct face *face = admin->faces; options->bind_hard_fail && face && rc == 0; face = face->next)
		rc = face->server ? 0 : face_open(face);
	if (rc == 0)
		admin_open_missing(admin);
	return rc;
}

int admin_serve_socket(struct admin *admin, int fd,
	void (*handle)(struct evhttp_request *request, void *context), void *context)
{
	struct server *server = server_new(admin->base);
	struct addr_port nowhere = {.port = 0};

	if (!server || server_accept(server, fd) < 0) {
		server_free(server);
		close(fd);
		return -ENOMEM;
	}
	evhttp_set_gencb(server_http(server), handle, context);
	face_add(admin, "status", &nowhere)->server = server;
	return 0;
}

void faces_free(struct admin *admin)
{
	while (admin->faces) {
		struct face *face = admin->faces;

		admin->faces = face->next;
		server_free(face->server);
		free(face);
	}
}
