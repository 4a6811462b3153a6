/* Owns one transfer: how a request is put to libcurl, and what libcurl's callbacks say of it. Runs in
 * control.
 *
 * libcurl's own trace (CURLOPT_VERBOSE) is never on: with HTTP/2 it shows the Authorization header among its
 * remarks. What --v=9 shows is written here. */
#include "api/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "portald/clock.h"
#include "portald/log.h"
#include "portald/mem.h"

/* A peer that is gone is noticed after 15 s of silence and four probes, or 60 s after bytes that nobody
 * acknowledges. */
#define KEEPALIVE_IDLE_S 15L
#define KEEPALIVE_INTERVAL_S 15L
#define KEEPALIVE_PROBES 4
#define USER_TIMEOUT_MS 60000U

#define RECEIVE_BYTES 65536L

/* Longer than any server asks for; what is beyond is taken as this. */
#define RETRY_AFTER_MAX_S 86400

/* ---- ending ---- */

void request_end_take(struct apiclient_request *request, int error, char *message)
{
	request->state = REQUEST_ENDED;
	request->error = error;
	free(request->message);
	request->message =
		message ? mem_printf("%s: %s", request->client->config->server, message) : mem_strdup("");
	free(message);
}

static int tls_errno(CURLcode code)
{
	switch (code) {
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CLIENTCERT:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return -EKEYREJECTED;
	default:
		return -EIO;
	}
}

static int curl_errno(CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_PROXY:
		return -EHOSTUNREACH;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_BAD_CONTENT_ENCODING:
		return -EPROTO;
	default:
		return tls_errno(code);
	}
}

void request_end_curl(struct apiclient_request *request, CURLcode code)
{
	const char *text = *request->curl_error ? request->curl_error : curl_easy_strerror(code);
	int error = curl_errno(code);
	long system = 0;

	curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &system);
	if (error == -EKEYREJECTED)
		request_end_take(request, error, mem_printf("TLS: %s", text));
	else if (error == -EHOSTUNREACH && system > 0)
		request_end_take(request, error, mem_printf("%s: %s", text, strerrordesc_np((int)system)));
	else
		request_end_take(request, error, error ? mem_strdup(text) : NULL);
}

/* ---- libcurl's callbacks ---- */

void request_tell(struct apiclient_request *request)
{
	if (request->started || request->answer.status == 0)
		return;
	request->started = true;
	log_v(6, "answer", log_str("path", request->path), log_int("status", request->answer.status),
		log_int("ms", clock_now_ms() - request->begun_ms));
	request->answer.content_type = request->content_type ? request->content_type : "";
	request->handlers.start(request->context, &request->answer);
}

/* The value of a header line if it is that header: without the blanks around it. NULL if it is another. */
static char *header_value(const char *line, size_t length, const char *name)
{
	size_t skip = strlen(name) + 1;

	if (length < skip || line[skip - 1] != ':' || strncasecmp(line, name, skip - 1) != 0)
		return NULL;
	while (skip < length && (line[skip] == ' ' || line[skip] == '\t'))
		skip++;
	while (length > skip && (unsigned char)line[length - 1] <= ' ')
		length--;
	return mem_printf("%.*s", (int)(length - skip), line + skip);
}

/* Seconds only: Kubernetes sends no dates, and a date needs two clocks that agree. */
static int64_t parse_retry_after(const char *value)
{
	char *end = NULL;
	long long seconds = strtoll(value, &end, 10);

	if (end == value || *end || seconds < 0)
		return -1;
	return (seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : seconds) * 1000;
}

static void begin_answer(struct apiclient_request *request)
{
	free(request->content_type);
	request->content_type = NULL;
	request->answer = (struct apiclient_answer){.retry_after_ms = -1};
}

/* After the empty line. What comes after 100 Continue and the like is the answer proper. */
static void head_complete(struct apiclient_request *request)
{
	const struct credentials *credentials = &request->client->credentials;
	long status = 0;

	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200)
		return;
	request->answer.status = (int)status;
	request->refused = status == 401 && !request->renewed && credentials_renewable(credentials);
	if (!request->refused)
		request_tell(request);
}

static size_t on_header(char *line, size_t size, size_t count, void *context)
{
	struct apiclient_request *request = context;
	size_t length = size * count;
	char *value;

	if (request->state == REQUEST_CANCELLED || request->started)
		return length; /* trailers */
	if (length >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		begin_answer(request);
	} else if ((value = header_value(line, length, "Retry-After"))) {
		request->answer.retry_after_ms = parse_retry_after(value);
		free(value);
	} else if ((value = header_value(line, length, "Content-Type"))) {
		free(request->content_type);
		request->content_type = value;
	} else if (length > 0 && (line[0] == '\r' || line[0] == '\n')) {
		head_complete(request);
	}
	return length;
}

static void keep(struct apiclient_request *request, const char *bytes, size_t count)
{
	size_t room = sizeof(request->kept) - request->kept_count;
	size_t taken = count < room ? count : room;

	memcpy(request->kept + request->kept_count, bytes, taken);
	request->kept_count += taken;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
	struct apiclient_request *request = context;
	size_t length = size * count;

	if (request->state == REQUEST_SENT && request->refused)
		keep(request, bytes, length);
	else if (request->state == REQUEST_SENT && request->started)
		request->handlers.bytes(request->context, bytes, length);
	/* A handler may have cancelled it. */
	return request->state == REQUEST_SENT ? length : CURL_WRITEFUNC_ERROR;
}

static int on_socket(void *context, curl_socket_t fd, curlsocktype purpose)
{
	const unsigned timeout_ms = USER_TIMEOUT_MS;
	const int probes = KEEPALIVE_PROBES;

	(void)context;
	(void)purpose;
	/* Without them a dead peer is noticed later, by the deadline. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms)) < 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes)) < 0)
		log_v(2, "cannot set a socket's keepalive", log_errno("error", errno));
	return CURL_SOCKOPT_OK;
}

/* ---- headers ---- */

static void add_header_take(struct apiclient_request *request, char *line)
{
	struct curl_slist *longer = curl_slist_append(request->headers, line);

	if (longer)
		request->headers = longer;
	free(line);
}

/* A key may hold anything, a header's name only some: the rest is percent-encoded, as client-go does. */
static char *escape_key(const char *key)
{
	static const char legal[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&'*+-.^_`|~";
	char *escaped = mem_calloc(3, strlen(key) + 1), *at = escaped;

	for (; *key; key++) {
		if (strchr(legal, *key)) {
			*at++ = *key;
			continue;
		}
		*at++ = '%';
		*at++ = "0123456789ABCDEF"[(unsigned char)*key >> 4];
		*at++ = "0123456789ABCDEF"[(unsigned char)*key & 15];
	}
	return escaped;
}

static void add_impersonation(struct apiclient_request *request)
{
	const struct kubeconfig_impersonation *as = &request->client->config->as;

	if (!as->user)
		return;
	add_header_take(request, mem_printf("Impersonate-User: %s", as->user));
	if (as->uid)
		add_header_take(request, mem_printf("Impersonate-Uid: %s", as->uid));
	for (size_t i = 0; i < as->group_count; i++)
		add_header_take(request, mem_printf("Impersonate-Group: %s", as->groups[i]));
	for (size_t i = 0; i < as->extra_count; i++) {
		char *key = escape_key(as->extra[i].name);

		add_header_take(request, mem_printf("Impersonate-Extra-%s: %s", key, as->extra[i].value));
		free(key);
	}
}

static void set_headers(struct apiclient_request *request)
{
	const struct apiclient *client = request->client;
	const struct kubeconfig *config = client->config;
	const char *token = client->credentials.token;

	add_header_take(request, mem_strdup("Accept: application/json"));
	if (client->host_header)
		add_header_take(request, mem_strdup(client->host_header));
	add_impersonation(request);
	if (token)
		add_header_take(request, mem_printf("Authorization: Bearer %s", token));
	if (config->username && !token) {
		curl_easy_setopt(request->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(request->easy, CURLOPT_USERNAME, config->username);
		curl_easy_setopt(request->easy, CURLOPT_PASSWORD, config->password ? config->password : "");
	}
	curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->headers);
	/* They are for the server, not for a proxy on the way. */
	curl_easy_setopt(request->easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
	curl_easy_setopt(request->easy, CURLOPT_USERAGENT, client->agent);
}

/* ---- options ---- */

/* libcurl takes both the name to ask for and the name to check from the URL. With tls-server-name the URL has
 * that name, the connection goes to the real host all the same, and the Host header says what it would. */
static void set_url(struct apiclient_request *request)
{
	const struct kubeconfig *config = request->client->config;
	const char *name = config->tls && config->tls_server_name ? config->tls_server_name : config->host;
	bool bracket = strchr(name, ':') != NULL;
	char *url = mem_printf("%s://%s%s%s:%u%s%s", config->tls ? "https" : "http", bracket ? "[" : "", name,
		bracket ? "]" : "", config->port, config->path, request->path);

	curl_easy_setopt(request->easy, CURLOPT_URL, url);
	free(url);
	if (name == config->host)
		return;
	bracket = strchr(config->host, ':') != NULL;
	url = mem_printf("::%s%s%s:%u", bracket ? "[" : "", config->host, bracket ? "]" : "", config->port);
	request->connect_to = curl_slist_append(NULL, url);
	curl_easy_setopt(request->easy, CURLOPT_CONNECT_TO, request->connect_to);
	free(url);
}

static bool is_loopback(const char *host)
{
	return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

/* The proxy of the environment is libcurl's affair, but the loop-back never goes through it, as in Go. */
static void set_proxy(struct apiclient_request *request)
{
	const struct kubeconfig *config = request->client->config;
	const char *url = config->proxy_url;
	char *named;

	if (!url) {
		if (is_loopback(config->host))
			curl_easy_setopt(request->easy, CURLOPT_PROXY, "");
		return;
	}
	/* In Go a SOCKS proxy resolves the name; libcurl calls that socks5h. */
	named = strncasecmp(url, "socks5:", 7) == 0 ? mem_printf("socks5h:%s", url + 7) : mem_strdup(url);
	curl_easy_setopt(request->easy, CURLOPT_PROXY, named);
	curl_easy_setopt(request->easy, CURLOPT_NOPROXY, "");
	free(named);
}

static void set_blob(CURL *easy, CURLoption option, const char *text)
{
	struct curl_blob blob = {.data = (void *)text, .flags = CURL_BLOB_COPY};

	if (!text)
		return;
	blob.len = strlen(text);
	curl_easy_setopt(easy, option, &blob);
}

static void set_tls(struct apiclient_request *request)
{
	const struct credentials *credentials = &request->client->credentials;
	bool verify = !request->client->config->insecure_skip_tls_verify;

	curl_easy_setopt(request->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(request->easy, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(request->easy, CURLOPT_SSL_VERIFYPEER, (long)verify);
	curl_easy_setopt(request->easy, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
	set_blob(request->easy, CURLOPT_CAINFO_BLOB, credentials->ca);
	set_blob(request->easy, CURLOPT_PROXY_CAINFO_BLOB, credentials->ca);
	if (credentials->ca) {
		/* Not the system's besides. */
		curl_easy_setopt(request->easy, CURLOPT_CAPATH, NULL);
		curl_easy_setopt(request->easy, CURLOPT_PROXY_CAPATH, NULL);
	}
	set_blob(request->easy, CURLOPT_SSLCERT_BLOB, credentials->certificate);
	set_blob(request->easy, CURLOPT_SSLKEY_BLOB, credentials->key);
}

static void set_transport(struct apiclient_request *request)
{
	const struct apiclient *client = request->client;
	CURL *easy = request->easy;

	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->options.connect_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)client->distrust);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

static void set_callbacks(struct apiclient_request *request)
{
	CURL *easy = request->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->curl_error);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
}

/* Everything of the request that may be seen. */
static void log_request(const struct apiclient_request *request)
{
	const struct apiclient *client = request->client;

	log_v(6, "request", log_str("server", client->config->server), log_str("path", request->path));
	log_v(9, "request's identity", log_str("path", request->path), log_str("agent", client->agent),
		log_str("bearer", client->credentials.token ? "(masked)" : "none"),
		log_str("basic", client->config->username ? "(masked)" : "none"),
		log_str("certificate", client->credentials.certificate ? "given" : "none"),
		log_str("as", client->config->as.user));
}

int request_send(struct apiclient_request *request)
{
	request->easy = curl_easy_init();
	if (!request->easy)
		return -ENOMEM;
	request->curl_error[0] = '\0';
	request->kept_count = 0;
	request->refused = false;
	request->generation = request->client->credentials.generation;
	begin_answer(request);
	set_url(request);
	set_proxy(request);
	set_tls(request);
	set_transport(request);
	set_callbacks(request);
	set_headers(request);
	log_request(request);
	request->state = REQUEST_SENT;
	return curl_multi_add_handle(request->client->multi.curl, request->easy) == CURLM_OK ? 0 : -ENOMEM;
}

void request_unsend(struct apiclient_request *request)
{
	if (!request->easy)
		return;
	curl_multi_remove_handle(request->client->multi.curl, request->easy);
	curl_easy_cleanup(request->easy);
	curl_slist_free_all(request->headers);
	curl_slist_free_all(request->connect_to);
	request->easy = NULL;
	request->headers = request->connect_to = NULL;
}
