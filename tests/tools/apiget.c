/* Gets paths from an API server with portald's client, for tests and for a person:
 *
 *     apiget [OPTIONS] PATH...        all at once
 *     apiget [OPTIONS] -              one after another, as lines on standard input name them
 *
 * For each: "result status=200 retry_ms=-1 error=0 bytes=123 type=application/json", a line with the message,
 * and the body with a newline. With --stream bodies are written as they come, without the rest. */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "portald/apiclient.h"
#include "portald/kubeconfig.h"
#include "portald/log.h"
#include "portald/mem.h"

struct get {
	struct tool *tool;
	struct get *prev, *next;
	int status;
	int64_t retry_ms;
	char *type, *body;
	size_t count;
};

struct tool {
	struct event_base *base;
	struct apiclient *client;
	struct kubeconfig_request request;
	struct apiclient_options options;
	int64_t deadline_ms, quit_ms;
	bool stream, serial;
	int verbosity;
	struct get *gets; /* under way */
};

static void on_start(void *context, const struct apiclient_answer *answer)
{
	struct get *get = context;

	get->status = answer->status;
	get->retry_ms = answer->retry_after_ms;
	get->type = mem_strdup(answer->content_type);
}

static void on_bytes(void *context, const char *bytes, size_t count)
{
	struct get *get = context;
	char *grown;

	if (get->tool->stream) {
		fwrite(bytes, 1, count, stdout);
		fflush(stdout);
		return;
	}
	grown = realloc(get->body, get->count + count);
	if (!grown)
		abort();
	memcpy(grown + get->count, bytes, count);
	get->body = grown;
	get->count += count;
}

static void get_free(struct get *get)
{
	free(get->type);
	free(get->body);
	free(get);
}

static void next_line(struct tool *tool);

static void on_end(void *context, int error, const char *message)
{
	struct get *get = context;
	struct tool *tool = get->tool;

	printf("result status=%d retry_ms=%lld error=%s bytes=%zu type=%s\n%s\n", get->status,
		(long long)get->retry_ms, error ? strerrorname_np(-error) : "0", get->count,
		get->type ? get->type : "", message);
	fwrite(get->body ? get->body : "", 1, get->count, stdout);
	printf("\n");
	fflush(stdout);
	DL_DELETE(tool->gets, get);
	get_free(get);
	if (tool->serial)
		next_line(tool);
	else if (!tool->gets)
		event_base_loopbreak(tool->base);
}

static const struct apiclient_handlers handlers = {.start = on_start, .bytes = on_bytes, .end = on_end};

static void begin(struct tool *tool, const char *path)
{
	struct get *get = mem_calloc(1, sizeof(*get));

	get->tool = tool;
	get->retry_ms = -1;
	DL_APPEND(tool->gets, get);
	apiclient_get(tool->client, path, tool->deadline_ms, &handlers, get);
}

/* Blocks the loop, on which nothing is under way then. */
static void next_line(struct tool *tool)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t length = getline(&line, &size, stdin);

	if (length <= 0) {
		event_base_loopbreak(tool->base);
	} else {
		line[strcspn(line, "\n")] = '\0';
		begin(tool, line);
	}
	free(line);
}

static void print_finding(void *context, const struct source_diag *diag)
{
	char *line = source_diag_format(diag);

	(void)context;
	fprintf(stderr, "%s\n", line);
	free(line);
}

/* Leaves with requests under way. */
static void on_quit(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(context);
}

static void drop_gets(struct tool *tool)
{
	struct get *get, *next;

	DL_FOREACH_SAFE (tool->gets, get, next) {
		DL_DELETE(tool->gets, get);
		get_free(get);
	}
}

static void run(struct tool *tool, char **paths)
{
	const struct timeval timeout = {
		.tv_sec = tool->quit_ms / 1000, .tv_usec = tool->quit_ms % 1000 * 1000};

	tool->serial = *paths && strcmp(*paths, "-") == 0;
	if (tool->serial)
		next_line(tool);
	for (; *paths && !tool->serial; paths++)
		begin(tool, *paths);
	if (tool->quit_ms > 0)
		event_base_once(tool->base, -1, EV_TIMEOUT, on_quit, tool->base, &timeout);
	event_base_dispatch(tool->base);
}

static const struct option long_options[] = {
	{"kubeconfig", required_argument, NULL, 'k'},
	{"list", required_argument, NULL, 'l'},
	{"master", required_argument, NULL, 'm'},
	{"context", required_argument, NULL, 'c'},
	{"service-account-dir", required_argument, NULL, 's'},
	{"v", required_argument, NULL, 'v'},
	{"deadline-ms", required_argument, NULL, 'd'},
	{"connect-timeout-ms", required_argument, NULL, 't'},
	{"exec-timeout-ms", required_argument, NULL, 'e'},
	{"refresh-ms", required_argument, NULL, 'r'},
	{"quit-ms", required_argument, NULL, 'q'},
	{"stream", no_argument, NULL, 'S'},
	{NULL, 0, NULL, 0},
};

static bool take_option(struct tool *tool, int option)
{
	int64_t number = optarg ? strtoll(optarg, NULL, 10) : 0;

	switch (option) {
	case 'k':
		tool->request.kubeconfig = optarg;
		return true;
	case 'l':
		tool->request.list = optarg;
		return true;
	case 'm':
		tool->request.master = optarg;
		return true;
	case 'c':
		tool->request.context = optarg;
		return true;
	case 's':
		tool->request.service_account_dir = optarg;
		return true;
	case 'v':
		tool->verbosity = (int)number;
		return true;
	case 'd':
		tool->deadline_ms = number;
		return true;
	case 't':
		tool->options.connect_timeout_ms = number;
		return true;
	case 'e':
		tool->options.exec_timeout_ms = number;
		return true;
	case 'r':
		tool->options.refresh_ms = number;
		return true;
	case 'q':
		tool->quit_ms = number;
		return true;
	case 'S':
		tool->stream = true;
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	const struct kubeconfig_opener opener = {.open = kubeconfig_open_plain};
	struct tool tool = {.deadline_ms = 10000};
	struct kubeconfig *config;

	kubeconfig_request_from_environment(&tool.request);
	for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
		if (!take_option(&tool, option))
			return 2;
	}
	log_init("apiget", LOG_TEXT, tool.verbosity);
	if (kubeconfig_load(&tool.request, &opener, print_finding, NULL, &config) < 0)
		return 1;
	tool.base = event_base_new();
	tool.client = apiclient_new(tool.base, config, &opener, &tool.options);
	if (!tool.client)
		return 1;
	run(&tool, argv + optind);
	apiclient_free(tool.client);
	drop_gets(&tool);
	kubeconfig_free(config);
	event_base_free(tool.base);
	return 0;
}
