/* Owns the metrics by Service and by backend. Runs in control.
 *
 * Prometheus wants all samples of a family together, so the counters are read into rows first. How many rows
 * is bounded: where there are too many Services for the limit, first the backends' rows go, then the
 * histograms, and then all Services are one row without labels. */
#include <event2/buffer.h>
#include <stddef.h>
#include <stdlib.h>

#include "admin/admin_private.h"
#include "admin/text.h"
#include "portald/clock.h"
#include "portald/mem.h"
#include "portald/stats.h"

/* Samples of a listener without its histogram, of that, and of a backend. */
#define LISTENER_SAMPLES 15
#define HISTOGRAM_SAMPLES (STATS_CONNECT_BOUNDS + 3)
#define BACKEND_SAMPLES 6

enum detail { DETAIL_NONE, DETAIL_SERVICES, DETAIL_HISTOGRAMS, DETAIL_BACKENDS };

struct service_row {
	char *labels; /* NULL: all Services together */
	struct stats_listener_sum sum;
	uint64_t backends, set_aside;
};

struct backend_row {
	char *labels;
	struct stats_backend_sum sum;
	uint64_t set_aside;
};

struct rows {
	const struct admin *admin;
	int64_t now_ms;
	enum detail detail;
	size_t listener_count, backend_total; /* of what is open */
	struct service_row *services;
	size_t service_count, service_capacity;
	struct backend_row *backends;
	size_t backend_count, backend_capacity;
};

/* ---- collecting ---- */

static void visit_count(void *context, const struct admin_listener *listener)
{
	struct rows *rows = context;

	rows->listener_count++;
	rows->backend_total += listener->backend_count;
}

static size_t samples_at(const struct rows *rows, enum detail detail)
{
	size_t each = detail == DETAIL_NONE ? 0 : LISTENER_SAMPLES;

	if (detail >= DETAIL_HISTOGRAMS)
		each += HISTOGRAM_SAMPLES;
	return rows->listener_count * each +
	       (detail >= DETAIL_BACKENDS ? rows->backend_total * BACKEND_SAMPLES : 0);
}

static enum detail choose_detail(const struct rows *rows)
{
	enum detail detail = DETAIL_BACKENDS;

	while (detail > DETAIL_NONE && samples_at(rows, detail) > rows->admin->options.max_series)
		detail--;
	return detail;
}

static char *listener_labels(const struct admin_listener *listener)
{
	const char *const pairs[][2] = {
		{"namespace", listener->namespace},
		{"service", listener->service},
		{"port", listener->port},
		{"protocol", proto_name(listener->proto)},
		{"family", listener->family == ADDR_V6 ? "IPv6" : "IPv4"},
		{"traffic", listener->traffic},
	};
	char *labels = NULL;

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char *longer = text_label(labels, pairs[i][0], pairs[i][1]);

		free(labels);
		labels = longer;
	}
	return labels;
}

static bool is_set_aside(const struct rows *rows, uint32_t slot)
{
	struct stats_backend_shared *shared = stats_backend_shared(rows->admin->options.stats, slot);

	return atomic_load_explicit(&shared->set_aside_until_ms, memory_order_relaxed) > rows->now_ms;
}

static void add_backend(struct rows *rows, const char *labels, const struct admin_backend *backend)
{
	struct backend_row *row;
	char at[ADDR_TEXT_BYTES];

	rows->backends = mem_grow(
		rows->backends, rows->backend_count, &rows->backend_capacity, sizeof(*rows->backends));
	row = &rows->backends[rows->backend_count++];
	row->labels = text_label(labels, "backend", addr_port_format(&backend->at, at));
	row->set_aside = is_set_aside(rows, backend->slot);
	stats_backend_add_up(rows->admin->options.stats, backend->slot, &row->sum);
}

static void add_sum(struct stats_listener_sum *to, const struct stats_listener_sum *from)
{
	to->accepted += from->accepted;
	to->active += from->active;
	to->queued += from->queued;
	to->bytes_in += from->bytes_in;
	to->bytes_out += from->bytes_out;
	to->retries += from->retries;
	to->datagrams_in += from->datagrams_in;
	to->datagrams_out += from->datagrams_out;
	for (size_t i = 0; i < STATS_FAILURES; i++)
		to->failures[i] += from->failures[i];
	to->connect_us += from->connect_us;
	for (size_t i = 0; i <= STATS_CONNECT_BOUNDS; i++)
		to->connect[i] += from->connect[i];
}

static struct service_row *row_for(struct rows *rows, const struct admin_listener *listener)
{
	struct service_row *row;

	if (rows->detail == DETAIL_NONE && rows->service_count > 0)
		return &rows->services[0];
	rows->services = mem_grow(
		rows->services, rows->service_count, &rows->service_capacity, sizeof(*rows->services));
	row = &rows->services[rows->service_count++];
	*row = (struct service_row){.labels = rows->detail == DETAIL_NONE ? NULL : listener_labels(listener)};
	return row;
}

static void visit_row(void *context, const struct admin_listener *listener)
{
	struct rows *rows = context;
	struct service_row *row = row_for(rows, listener);
	struct stats_listener_sum sum;

	stats_listener_add_up(rows->admin->options.stats, listener->slot, &sum);
	add_sum(&row->sum, &sum);
	for (size_t i = 0; i < listener->backend_count; i++) {
		row->backends++;
		row->set_aside += is_set_aside(rows, listener->backends[i].slot);
		if (rows->detail == DETAIL_BACKENDS)
			add_backend(rows, row->labels, &listener->backends[i]);
	}
}

static void rows_free(struct rows *rows)
{
	for (size_t i = 0; i < rows->service_count; i++)
		free(rows->services[i].labels);
	for (size_t i = 0; i < rows->backend_count; i++)
		free(rows->backends[i].labels);
	free(rows->services);
	free(rows->backends);
}

/* ---- printing ---- */

struct family {
	const char *name;
	enum text_type type;
	const char *help;
	size_t offset; /* of a uint64_t in the row */
};

#define SERVICE(member) offsetof(struct service_row, member)
#define BACKEND(member) offsetof(struct backend_row, member)

static const struct family service_families[] = {
	{"portald_connections_total", TEXT_COUNTER, "Connections accepted; for UDP, flows of clients",
		SERVICE(sum.accepted)},
	{"portald_connections_active", TEXT_GAUGE, "Connections that are open; for UDP, flows",
		SERVICE(sum.active)},
	{"portald_connections_queued", TEXT_GAUGE, "Connections that wait because of the Service's maximum",
		SERVICE(sum.queued)},
	{"portald_received_bytes_total", TEXT_COUNTER, "Bytes from clients to backends",
		SERVICE(sum.bytes_in)},
	{"portald_sent_bytes_total", TEXT_COUNTER, "Bytes from backends to clients", SERVICE(sum.bytes_out)},
	{"portald_received_datagrams_total", TEXT_COUNTER, "UDP datagrams from clients",
		SERVICE(sum.datagrams_in)},
	{"portald_sent_datagrams_total", TEXT_COUNTER, "UDP datagrams to clients",
		SERVICE(sum.datagrams_out)},
	{"portald_connect_retries_total", TEXT_COUNTER, "Attempts to connect after a connection's first",
		SERVICE(sum.retries)},
	{"portald_backends", TEXT_GAUGE, "Endpoints that may get connections", SERVICE(backends)},
	{"portald_backends_set_aside", TEXT_GAUGE,
		"Those of them that are passed over because they failed lately", SERVICE(set_aside)},
};

static const struct family backend_families[] = {
	{"portald_backend_connections_total", TEXT_COUNTER, "Connections to the backend; for UDP, flows",
		BACKEND(sum.connections)},
	{"portald_backend_connections_active", TEXT_GAUGE, "Those that are open or being made",
		BACKEND(sum.active)},
	{"portald_backend_failures_total", TEXT_COUNTER, "Attempts to connect that failed",
		BACKEND(sum.failures)},
	{"portald_backend_received_bytes_total", TEXT_COUNTER, "Bytes from clients to the backend",
		BACKEND(sum.bytes_in)},
	{"portald_backend_sent_bytes_total", TEXT_COUNTER, "Bytes from the backend to clients",
		BACKEND(sum.bytes_out)},
	{"portald_backend_set_aside", TEXT_GAUGE,
		"1 while the backend is passed over because it failed lately", BACKEND(set_aside)},
};

static double value_at(const void *row, size_t offset)
{
	return (double)*(const uint64_t *)((const char *)row + offset);
}

static void print_services(const struct rows *rows, struct evbuffer *out)
{
	for (size_t f = 0; f < sizeof(service_families) / sizeof(service_families[0]); f++) {
		const struct family *family = &service_families[f];

		text_family(out, family->name, family->type, family->help);
		for (size_t i = 0; i < rows->service_count; i++)
			text_sample(out, family->name, rows->services[i].labels,
				value_at(&rows->services[i], family->offset));
	}
}

static void print_backends(const struct rows *rows, struct evbuffer *out)
{
	for (size_t f = 0; f < sizeof(backend_families) / sizeof(backend_families[0]); f++) {
		const struct family *family = &backend_families[f];

		text_family(out, family->name, family->type, family->help);
		for (size_t i = 0; i < rows->backend_count; i++)
			text_sample(out, family->name, rows->backends[i].labels,
				value_at(&rows->backends[i], family->offset));
	}
}

/* A reason that a Service has never had is left out: there are many reasons and many Services. */
static void print_failures(const struct rows *rows, struct evbuffer *out)
{
	static const char name[] = "portald_failures_total";

	text_family(out, name, TEXT_COUNTER,
		"Attempts, connections, flows and datagrams that failed, by reason; a reason appears with "
		"its first");
	for (size_t i = 0; i < rows->service_count; i++) {
		const struct service_row *row = &rows->services[i];

		for (size_t r = 0; r < STATS_FAILURES; r++) {
			char *labels;

			if (row->sum.failures[r] == 0)
				continue;
			labels = text_label(row->labels, "reason", stats_failure_name((enum stats_failure)r));
			text_sample(out, name, labels, (double)row->sum.failures[r]);
			free(labels);
		}
	}
}

static void print_connect_times(const struct rows *rows, struct evbuffer *out)
{
	static const char name[] = "portald_connect_duration_seconds";
	double bounds[STATS_CONNECT_BOUNDS];
	struct stats_listener_sum all = {.accepted = 0};

	for (size_t i = 0; i < STATS_CONNECT_BOUNDS; i++)
		bounds[i] = stats_connect_bounds_us[i] / 1e6;
	text_family(out, name, TEXT_HISTOGRAM,
		"Time from a connection's first attempt to its being connected to a backend");
	for (size_t i = 0; i < rows->service_count; i++) {
		const struct service_row *row = &rows->services[i];

		if (rows->detail >= DETAIL_HISTOGRAMS)
			text_histogram(out, name, row->labels, bounds, STATS_CONNECT_BOUNDS, row->sum.connect,
				(double)row->sum.connect_us / 1e6);
		else
			add_sum(&all, &row->sum);
	}
	if (rows->detail < DETAIL_HISTOGRAMS)
		text_histogram(out, name, NULL, bounds, STATS_CONNECT_BOUNDS, all.connect,
			(double)all.connect_us / 1e6);
}

static void print_omitted(const struct rows *rows, struct evbuffer *out)
{
	static const char name[] = "portald_metrics_omitted_series";
	size_t whole = samples_at(rows, DETAIL_BACKENDS), shown = samples_at(rows, rows->detail);

	text_family(
		out, name, TEXT_GAUGE, "About how many series are left out because of --metrics-max-series");
	text_sample(out, name, NULL, (double)(whole - shown));
}

void metrics_print_services(const struct admin *admin, struct evbuffer *out)
{
	const struct admin_options *options = &admin->options;
	struct rows rows = {.admin = admin, .now_ms = options->now_ms()};

	if (!options->stats || !options->each_listener)
		return;
	options->each_listener(options->context, visit_count, &rows);
	rows.detail = choose_detail(&rows);
	options->each_listener(options->context, visit_row, &rows);
	print_services(&rows, out);
	print_failures(&rows, out);
	print_connect_times(&rows, out);
	print_backends(&rows, out);
	print_omitted(&rows, out);
	rows_free(&rows);
}
