/* Entry of the benchmark's load generator: the command line, and the line of JSON at the end.
 *
 *   load backend --serve=source|sink|both|echo --listen=ADDR:PORT ... [--seconds=S]
 *   load bulk --connect=ADDR:PORT --connections=N --seconds=S --direction=down|up|both
 *   load rr   --connect=ADDR:PORT --connections=N --bytes=B --seconds=S
 *   load conn --connect=ADDR:PORT --connections=N --bytes=B --seconds=S
 *   load rate --connect=ADDR:PORT --rate=R --bytes=B --seconds=S [--skip=S]
 * and for each: [--cpu=N] [--congestion=NAME]
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "load.h"

#define MAX_SECONDS 600.0

enum option_id {
	OPT_SERVE = 256,
	OPT_LISTEN,
	OPT_CONNECT,
	OPT_CONNECTIONS,
	OPT_BYTES,
	OPT_SECONDS,
	OPT_SKIP,
	OPT_DIRECTION,
	OPT_RATE,
	OPT_CPU,
	OPT_CONGESTION
};

static const struct option long_options[] = {
	{"serve", required_argument, NULL, OPT_SERVE},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"connect", required_argument, NULL, OPT_CONNECT},
	{"connections", required_argument, NULL, OPT_CONNECTIONS},
	{"bytes", required_argument, NULL, OPT_BYTES},
	{"seconds", required_argument, NULL, OPT_SECONDS},
	{"skip", required_argument, NULL, OPT_SKIP},
	{"direction", required_argument, NULL, OPT_DIRECTION},
	{"rate", required_argument, NULL, OPT_RATE},
	{"cpu", required_argument, NULL, OPT_CPU},
	{"congestion", required_argument, NULL, OPT_CONGESTION},
	{NULL, 0, NULL, 0},
};

static int parse_number(const char *text, double least, double most, double *out)
{
	char *end;

	*out = strtod(text, &end);
	return end == text || *end != '\0' || !(*out >= least && *out <= most) ? -EINVAL : 0;
}

static int parse_size(const char *text, size_t most, size_t *out)
{
	double value;

	if (parse_number(text, 1, (double)most, &value) < 0)
		return -EINVAL;
	*out = (size_t)value;
	return 0;
}

static int parse_at(const char *text, struct addr_port *out)
{
	const char *colon = strrchr(text, ':');
	char literal[ADDR_TEXT_BYTES];
	size_t port;

	if (!colon || (size_t)(colon - text) >= sizeof(literal))
		return -EINVAL;
	memcpy(literal, text, (size_t)(colon - text));
	literal[colon - text] = '\0';
	if (addr_parse(&out->addr, literal) < 0 || parse_size(colon + 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	out->port = (uint16_t)port;
	return 0;
}

static int parse_listen(struct load_options *options, const char *text)
{
	if (options->listen_count == LOAD_MAX_LISTEN)
		return -E2BIG;
	return parse_at(text, &options->listen[options->listen_count++]);
}

/* What a backend serves, or which way the bytes of bulk go seen from the client. */
static int parse_flow(struct load_options *options, const char *text)
{
	bool both = strcmp(text, "both") == 0;

	options->sends = both || strcmp(text, "source") == 0 || strcmp(text, "up") == 0;
	options->reads = both || strcmp(text, "sink") == 0 || strcmp(text, "down") == 0;
	options->echoes = strcmp(text, "echo") == 0;
	return options->sends || options->reads || options->echoes ? 0 : -EINVAL;
}

static int parse_cpu(struct load_options *options, const char *text)
{
	double value;
	int r = parse_number(text, 0, CPU_SETSIZE - 1, &value);

	if (r == 0)
		options->cpu = (int)value;
	return r;
}

static int parse_option(struct load_options *options, int id, const char *text)
{
	switch (id) {
	case OPT_SERVE:
	case OPT_DIRECTION:
		return parse_flow(options, text);
	case OPT_LISTEN:
		return parse_listen(options, text);
	case OPT_CONNECT:
		return parse_at(text, &options->connect);
	case OPT_CONNECTIONS:
		return parse_size(text, LOAD_MAX_CONNECTIONS, &options->connections);
	case OPT_BYTES:
		return parse_size(text, LOAD_MAX_MESSAGE_BYTES, &options->message_bytes);
	case OPT_SECONDS:
		return parse_number(text, 0.01, MAX_SECONDS, &options->seconds);
	case OPT_SKIP:
		return parse_number(text, 0, MAX_SECONDS, &options->skip_seconds);
	case OPT_RATE:
		return parse_number(text, 1, 100000, &options->rate);
	case OPT_CPU:
		return parse_cpu(options, text);
	case OPT_CONGESTION:
		options->congestion = text;
		return 0;
	default:
		return -EINVAL;
	}
}

static int parse_options(struct load_options *options, int argc, char **argv)
{
	int id;

	if (argc < 2)
		return -EINVAL;
	options->mode = argv[1];
	optind = 2;
	while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (parse_option(options, id, optarg) < 0)
			return -EINVAL;
	}
	return optind == argc ? 0 : -EINVAL;
}

static int pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

static void print_result(const struct load_options *options, const struct load_result *result)
{
	const struct load_histogram *latency = &result->latency;

	printf("{\"mode\": \"%s\", \"units\": %" PRIu64 ", \"seconds\": %.6f, \"errors\": %" PRIu64,
		options->mode, result->units, (double)result->elapsed_us / 1e6, result->errors);
	if (result->first_error)
		printf(", \"first_error\": \"%s\"", strerror(result->first_error));
	if (latency->count > 0)
		printf(", \"p50_us\": %" PRId64 ", \"p99_us\": %" PRId64 ", \"max_us\": %" PRId64,
			load_histogram_percentile(latency, 50), load_histogram_percentile(latency, 99),
			latency->max_us);
	printf("}\n");
}

static int run(const struct load_options *options, struct load_result *result)
{
	if (strcmp(options->mode, "bulk") == 0)
		return load_bulk(options, result);
	if (strcmp(options->mode, "rr") == 0)
		return load_requests(options, true, result);
	if (strcmp(options->mode, "conn") == 0)
		return load_requests(options, false, result);
	if (strcmp(options->mode, "rate") == 0)
		return load_rate(options, result);
	return -EINVAL;
}

int main(int argc, char **argv)
{
	struct load_options options = {.congestion = "cubic",
		.connections = 1,
		.message_bytes = 64,
		.seconds = 1,
		.rate = 100,
		.cpu = -1};
	struct load_result result = {0};
	int r;

	if (parse_options(&options, argc, argv) < 0) {
		fprintf(stderr, "load: bad command line; see the top of tests/bench/load.c\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	/* Nothing outlives the benchmark, however that ends. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r = pin(options.cpu);
	if (r == 0 && strcmp(options.mode, "backend") == 0)
		r = load_backend(&options);
	else if (r == 0 && (r = run(&options, &result)) == 0)
		print_result(&options, &result);
	if (r < 0)
		fprintf(stderr, "load: %s: %s\n", options.mode, strerror(-r));
	return r < 0;
}
