/* Owns the access log. Runs in every relay, which may not open files: the log is a pipe, shared by all
 * relays. What it does not take at once is lost, and counted: nobody's bytes wait for a log. A line is
 * shorter than what a pipe takes as a whole or not at all. */
#include "relay/access.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "portald/clock.h"
#include "relay/core.h"

#define LINE_BYTES 1024
_Static_assert(LINE_BYTES <= PIPE_BUF, "a line is written as a whole or not at all");

struct access {
	struct arrival arrival;
	struct addr_port backend; /* port 0: none yet */
	int64_t accepted_us, connected_us;
	unsigned attempts;
	const char *how;
};

static void count(struct relay *relay, bool written)
{
	struct stats_process *process = stats_relay(relay->stats, relay->index);

	stats_add(written ? &process->log_lines : &process->log_dropped, 1);
}

void access_begin(struct relay *relay, struct conn *conn, const struct arrival *arrival)
{
	struct access *access;

	if (relay->access_fd < 0)
		return;
	access = calloc(1, sizeof(*access));
	if (!access) {
		count(relay, false);
		return;
	}
	access->arrival = *arrival;
	access->accepted_us = clock_now_us();
	conn->access = access;
}

void access_connected(struct conn *conn, const struct addr_port *backend, unsigned attempts)
{
	if (!conn->access)
		return;
	conn->access->connected_us = clock_now_us();
	conn->access->backend = *backend;
	conn->access->attempts = attempts;
}

void access_ends(struct conn *conn, const char *how)
{
	if (!conn->access || conn->access->how)
		return;
	conn->access->how = how;
	if (conn->wait && conn->access->connected_us == 0)
		conn->access->attempts = conn->wait->attempts;
}

/* ---- lines ---- */

static const char *time_format(char *buf, size_t bytes)
{
	int64_t now_us = clock_wall_us();
	time_t seconds = (time_t)(now_us / 1000000);
	struct tm utc;
	size_t length;

	gmtime_r(&seconds, &utc);
	length = strftime(buf, bytes, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(buf + length, bytes - length, ".%06lldZ", (long long)(now_us % 1000000));
	return buf;
}

/* Addresses and keys have no character that JSON would have otherwise. */
static void write_line(struct relay *relay, const struct listener *listener, const struct access *access,
	const struct half *halves)
{
	char line[LINE_BYTES], now[40], client[ADDR_TEXT_BYTES], portal[ADDR_TEXT_BYTES];
	char backend[ADDR_TEXT_BYTES + 16] = "null", at[ADDR_TEXT_BYTES], connect_ms[32] = "null";
	int64_t end_us = clock_now_us();
	int length;

	if (access->backend.port) {
		snprintf(backend, sizeof(backend), "\"%s\"", addr_port_format(&access->backend, at));
		snprintf(connect_ms, sizeof(connect_ms), "%.3f",
			(double)(access->connected_us - access->accepted_us) / 1000);
	}
	length = snprintf(line, sizeof(line),
		"{\"time\":\"%s\",\"service\":\"%s\",\"protocol\":\"TCP\",\"client\":\"%s\",\"portal\":\"%"
		"s\","
		"\"backend\":%s,\"tries\":%u,\"received_bytes\":%llu,\"sent_bytes\":%llu,\"connect_ms\":%s,"
		"\"total_ms\":%.3f,\"how\":\"%s\"}\n",
		time_format(now, sizeof(now)), listener->key,
		addr_port_format(&access->arrival.client, client),
		addr_port_format(&access->arrival.portal, portal), backend, access->attempts,
		(unsigned long long)(halves ? halves[CLIENT].bytes : 0),
		(unsigned long long)(halves ? halves[BACKEND].bytes : 0), connect_ms,
		(double)(end_us - access->accepted_us) / 1000, access->how ? access->how : "client_gone");
	count(relay,
		length > 0 && length < LINE_BYTES && write(relay->access_fd, line, (size_t)length) == length);
}

void access_end(struct relay *relay, struct conn *conn)
{
	if (!conn->access)
		return;
	write_line(relay, conn->listener, conn->access, conn->halves);
	free(conn->access);
	conn->access = NULL;
}

void access_refused(struct relay *relay, const struct listener *listener, const struct arrival *arrival,
	enum stats_failure why)
{
	struct access access = {.arrival = *arrival, .how = stats_failure_name(why)};

	if (relay->access_fd < 0)
		return;
	access.accepted_us = clock_now_us();
	write_line(relay, listener, &access, NULL);
}
