/* Owns the answers at the status socket. Runs in control, on its loop: from memory, and never waiting. */
#include "proc/status.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portald/clock.h"
#include "portald/stats.h"
#include "proc/report.h"
#include "proc/value.h"

/* ---- queries ---- */

static int part_set(char *part, const char *from, size_t length)
{
	if (length == 0 || length >= PLAN_MAX_KEY_BYTES)
		return -EINVAL;
	memcpy(part, from, length);
	part[length] = '\0';
	return 0;
}

int status_query_parse(struct status_query *out, const char *text)
{
	const char *slash = strchr(text, '/'), *name = slash ? slash + 1 : text, *colon = strchr(name, ':');
	int rc;

	*out = (struct status_query){.namespace = "default"};
	if (slash) {
		rc = part_set(out->namespace, text, (size_t)(slash - text));
		if (rc < 0)
			return rc;
	}
	rc = part_set(out->service, name, colon ? (size_t)(colon - name) : strlen(name));
	if (rc < 0 || !colon)
		return rc;
	return part_set(out->port, colon + 1, strlen(colon + 1));
}

static bool same_service(const struct status_query *query, const char *key)
{
	size_t namespace = strlen(query->namespace), service = strlen(query->service);
	const char *rest;

	if (strncmp(key, query->namespace, namespace) != 0 || key[namespace] != '/')
		return false;
	rest = key + namespace + 1;
	return strncmp(rest, query->service, service) == 0 && (rest[service] == '\0' || rest[service] == ':');
}

bool status_query_key(const struct status_query *query, const char *key)
{
	const char *colon = strrchr(key, ':');

	if (!query)
		return true;
	return same_service(query, key) && (!*query->port || (colon && strcmp(colon + 1, query->port) == 0));
}

bool status_query_listener(const struct status_query *query, const struct plan_listener *listener)
{
	unsigned long number;

	if (status_query_key(query, listener->key))
		return true;
	if (!same_service(query, listener->key) || !value_number(query->port, UINT16_MAX, &number))
		return false;
	for (size_t i = 0; i < listener->portal_count; i++) {
		if (listener->portals[i].at.port == number)
			return true;
	}
	return false;
}

/* ---- facts ---- */

static const struct ipc_backend_slot *find_slot(
	const struct ipc_listener_state *state, const struct addr_port *at)
{
	for (size_t i = 0; state && i < state->backend_count; i++) {
		if (addr_port_equal(&state->backends[i].at, at))
			return &state->backends[i];
	}
	return NULL;
}

void status_backend_read(struct report *report, const struct ipc_listener_state *state,
	const struct plan_backend *backend, struct status_backend *out)
{
	struct stats *stats = report_setup(report)->stats;
	const struct ipc_backend_slot *slot = find_slot(state, &backend->at);
	struct stats_backend_sum sum;
	int64_t until_ms;

	*out = (struct status_backend){.set_aside = false};
	if (!stats || !slot)
		return;
	until_ms = atomic_load(&stats_backend_shared(stats, slot->slot)->set_aside_until_ms);
	out->set_aside_ms = until_ms - clock_now_ms();
	out->set_aside = until_ms > 0 && out->set_aside_ms > 0;
	stats_backend_add_up(stats, slot->slot, &sum);
	out->connections = sum.connections;
	out->active = sum.active;
	out->failures = sum.failures;
}

int status_portal_error(const struct ipc_listener_state *state, const struct plan_portal *portal)
{
	if (!state)
		return -EINPROGRESS;
	if (state->error < 0)
		return state->error;
	for (size_t i = 0; i < state->unclaimed_count; i++) {
		if (addr_port_equal(&state->unclaimed[i].at, &portal->at))
			return state->unclaimed[i].error;
	}
	return 0;
}

const char *status_portal_reason(
	const struct ipc_listener_state *state, const struct plan_portal *portal, char *buf, size_t bytes)
{
	int error = status_portal_error(state, portal);

	if (error == 0)
		return NULL;
	if (error == IPC_REFUSED && state->error == 0)
		snprintf(buf, bytes, "rule refused: %s", state->refusal);
	else
		snprintf(buf, bytes, "%s", strerrordesc_np(-error));
	return buf;
}

/* ---- requests ---- */

static void refuse(struct evhttp_request *request, int status, const char *text)
{
	evbuffer_add_printf(evhttp_request_get_output_buffer(request), "%s\n", text);
	evhttp_send_reply(request, status, NULL, NULL);
}

static void answer_explain(
	struct report *report, struct evhttp_request *request, const char *service, bool json)
{
	struct evbuffer *out = evhttp_request_get_output_buffer(request);
	struct status_query query;
	size_t found;

	if (!service || status_query_parse(&query, service) < 0) {
		refuse(request, HTTP_BADREQUEST, "what shall be explained must be [NAMESPACE/]NAME[:PORT]");
		return;
	}
	found = json ? status_json(report, &query, out) : status_explain(report, &query, out);
	if (found > 0) {
		evhttp_send_reply(request, HTTP_OK, NULL, NULL);
		return;
	}
	evbuffer_drain(out, evbuffer_get_length(out));
	evbuffer_add_printf(out, "no Service %s/%s%s%s is known here\n", query.namespace, query.service,
		*query.port ? " with a port " : "", query.port);
	evhttp_send_reply(request, HTTP_NOTFOUND, NULL, NULL);
}

void status_answer(struct evhttp_request *request, void *context)
{
	struct report *report = context;
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
	const char *path = evhttp_uri_get_path(uri), *text = evhttp_uri_get_query(uri), *output;
	struct evkeyvalq query = {.tqh_first = NULL};
	bool json;

	if (text && evhttp_parse_query_str(text, &query) < 0) {
		refuse(request, HTTP_BADREQUEST, "the query can't be read");
		return;
	}
	output = evhttp_find_header(&query, "output");
	json = !output || strcmp(output, "table") != 0;
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type",
		json ? "application/json" : "text/plain; charset=utf-8");
	if (path && strcmp(path, "/explain") == 0) {
		answer_explain(report, request, evhttp_find_header(&query, "service"), json);
	} else if (path && strcmp(path, "/status") == 0) {
		if (json)
			status_json(report, NULL, evhttp_request_get_output_buffer(request));
		else
			status_table(report, evhttp_request_get_output_buffer(request));
		evhttp_send_reply(request, HTTP_OK, NULL, NULL);
	} else {
		refuse(request, HTTP_NOTFOUND, "there are /status and /explain");
	}
	evhttp_clear_headers(&query);
}
