/* Owns a client: its requests, from the first call to the last. Runs in control.
 *
 *     state      event                                   next
 *     WAITING    the credentials can be used             SENT
 *     WAITING    they can't be had                       ENDED
 *     SENT       libcurl is done: 401, for the first
 *                time, and others may be had             WAITING
 *     SENT       libcurl is done                         ENDED
 *     any        the deadline has passed                 ENDED
 *     ENDED      the pump: end() is called               (gone)
 *     any        apiclient_cancel()                      CANCELLED
 *     CANCELLED  the pump                                (gone)
 *
 * Handlers run within libcurl's callbacks or the pump, so nothing but the pump touches libcurl or frees a
 * request; everyone else marks and has the pump called. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <utlist.h>

#include "api/client.h"
#include "config.h"
#include "portald/clock.h"
#include "portald/log.h"
#include "portald/mem.h"

#define CONNECT_TIMEOUT_MS 10000
#define EXEC_TIMEOUT_MS 60000
#define REFRESH_MS 60000

static void wake(struct apiclient *client)
{
	event_active(client->pump, EV_TIMEOUT, 0);
}

/* ---- requests ---- */

static void request_free(struct apiclient_request *request)
{
	request_unsend(request);
	event_free(request->deadline);
	free(request->path);
	free(request->content_type);
	free(request->message);
	free(request);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
	struct apiclient_request *request = context;
	const char *progress = request->answer.status ? "the answer was not complete" : "no answer";

	(void)fd;
	(void)what;
	if (request->state != REQUEST_WAITING && request->state != REQUEST_SENT)
		return;
	if (request->state == REQUEST_WAITING)
		progress = "no credentials";
	/* Its connection may be dead without anybody's saying so. */
	request->client->distrust = true;
	request_end_take(request, -ETIMEDOUT,
		mem_printf("%s after %lld ms", progress, (long long)request->deadline_ms));
	wake(request->client);
}

struct apiclient_request *apiclient_get(struct apiclient *client, const char *path_and_query,
	int64_t deadline_ms, const struct apiclient_handlers *handlers, void *context)
{
	struct apiclient_request *request = mem_calloc(1, sizeof(*request));
	struct timeval timeout = {.tv_sec = deadline_ms / 1000, .tv_usec = deadline_ms % 1000 * 1000};

	request->client = client;
	request->path = mem_strdup(path_and_query);
	request->handlers = *handlers;
	request->context = context;
	request->deadline_ms = deadline_ms;
	request->begun_ms = clock_now_ms();
	request->deadline = event_new(client->base, -1, 0, on_deadline, request);
	if (deadline_ms > 0)
		event_add(request->deadline, &timeout);
	DL_APPEND(client->requests, request);
	wake(client);
	return request;
}

void apiclient_cancel(struct apiclient_request *request)
{
	request->state = REQUEST_CANCELLED;
	wake(request->client);
}

/* ---- the pump ---- */

/* A refused request waits for other credentials; it comes back here only once. */
static void take_result(struct apiclient_request *request, CURLcode code)
{
	struct apiclient *client = request->client;

	if (request->state != REQUEST_SENT)
		return;
	client->distrust = code != CURLE_OK;
	if (code != CURLE_OK || !request->refused) {
		request_end_curl(request, code);
		return;
	}
	credentials_refused(&client->credentials, request->generation);
	request->state = REQUEST_WAITING;
	request->renewed = true;
}

static void take_results(struct apiclient *client)
{
	int left;

	for (CURLMsg *message; (message = curl_multi_info_read(client->multi.curl, &left));) {
		struct apiclient_request *request = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
		take_result(request, message->data.result);
	}
}

static int64_t wall_clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

/* The refused request goes out again if there is something else to show; otherwise its answer stands. */
static void send_one(struct apiclient_request *request)
{
	int rc;

	if (request->refused && request->generation == request->client->credentials.generation) {
		request_tell(request);
		if (request->state == REQUEST_WAITING && request->kept_count > 0)
			request->handlers.bytes(request->context, request->kept, request->kept_count);
		if (request->state == REQUEST_WAITING)
			request_end_take(request, 0, NULL);
		return;
	}
	request_unsend(request);
	rc = request_send(request);
	if (rc < 0)
		request_end_take(request, rc, mem_strdup("cannot make the request"));
}

static void send_waiting(struct apiclient *client)
{
	for (struct apiclient_request *request = client->requests; request; request = request->next) {
		if (request->state != REQUEST_WAITING)
			continue;
		if (credentials_ready(&client->credentials, clock_now_ms(), wall_clock_s()))
			send_one(request);
	}
}

static void sweep(struct apiclient *client)
{
	for (struct apiclient_request *request = client->requests, *next; request; request = next) {
		next = request->next;
		if (request->state == REQUEST_ENDED) {
			log_v(6, "request ended", log_str("path", request->path),
				log_str("error", request->message),
				log_int("ms", clock_now_ms() - request->begun_ms));
			request->handlers.end(request->context, request->error, request->message);
		} else if (request->state != REQUEST_CANCELLED) {
			continue;
		}
		/* Not before: a handler may have appended one behind it. */
		next = request->next;
		DL_DELETE(client->requests, request);
		request_free(request);
	}
}

static void pump(void *context)
{
	struct apiclient *client = context;

	take_results(client);
	send_waiting(client);
	sweep(client);
}

static void on_pump(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	pump(context);
}

/* The plugin's run has ended. All who waited for it share its failure. */
static void on_credentials(void *context, const char *problem)
{
	struct apiclient *client = context;
	for (struct apiclient_request *request = client->requests; request; request = request->next) {
		if (problem && request->state == REQUEST_WAITING)
			request_end_take(request, -EACCES, mem_strdup(problem));
	}
	wake(client);
}

/* ---- the client ---- */

/* What Go calls this machine. */
static const char *machine_name(const char *machine)
{
	static const char *const names[][2] = {{"x86_64", "amd64"}, {"aarch64", "arm64"}, {"i686", "386"},
		{"armv7l", "arm"}, {"ppc64le", "ppc64le"}, {"s390x", "s390x"}, {"riscv64", "riscv64"}};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(names[i][0], machine) == 0)
			return names[i][1];
	}
	return machine;
}

char *apiclient_user_agent(void)
{
	struct utsname system;

	/* The last part is the commit of the Kubernetes tree that a component was built from: "unknown" is
	 * what they write themselves where there is none. */
	return mem_printf("portald/%s (linux/%s) kubernetes/unknown", PACKAGE_VERSION,
		uname(&system) < 0 ? "unknown" : machine_name(system.machine));
}

static char *make_host_header(const struct kubeconfig *config)
{
	if (!config->tls || !config->tls_server_name)
		return NULL;
	return strchr(config->host, ':') ? mem_printf("Host: [%s]:%u", config->host, config->port)
					 : mem_printf("Host: %s:%u", config->host, config->port);
}

static void set_options(struct apiclient *client, const struct apiclient_options *options)
{
	const struct apiclient_options none = {0};
	struct apiclient_options *out = &client->options;

	*out = options ? *options : none;
	if (out->connect_timeout_ms == 0)
		out->connect_timeout_ms = CONNECT_TIMEOUT_MS;
	if (out->exec_timeout_ms == 0)
		out->exec_timeout_ms = EXEC_TIMEOUT_MS;
	if (out->refresh_ms == 0)
		out->refresh_ms = REFRESH_MS;
}

struct apiclient *apiclient_new(struct event_base *base, const struct kubeconfig *config,
	const struct kubeconfig_opener *opener, const struct apiclient_options *options)
{
	struct apiclient *client = mem_calloc(1, sizeof(*client));

	client->base = base;
	client->config = config;
	set_options(client, options);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
		multi_init(&client->multi, base, pump, client) < 0) {
		log_error("cannot set up libcurl");
		free(client);
		return NULL;
	}
	client->pump = event_new(base, -1, 0, on_pump, client);
	client->agent = apiclient_user_agent();
	client->host_header = make_host_header(config);
	client->credentials.refresh_ms = client->options.refresh_ms;
	client->credentials.plugin.timeout_ms = client->options.exec_timeout_ms;
	client->credentials.done = on_credentials;
	client->credentials.context = client;
	credentials_init(&client->credentials, base, config, opener, clock_now_ms());
	return client;
}

void apiclient_free(struct apiclient *client)
{
	if (!client)
		return;
	for (struct apiclient_request *request = client->requests, *next; request; request = next) {
		next = request->next;
		DL_DELETE(client->requests, request);
		request_free(request);
	}
	multi_fini(&client->multi);
	credentials_fini(&client->credentials);
	event_free(client->pump);
	free(client->agent);
	free(client->host_header);
	free(client);
	curl_global_cleanup();
}
