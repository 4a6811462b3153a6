/* The benchmark's load generator and its backends: what load.c and its parts share.
 *
 * One process, one thread, one epoll. Every run is bounded in time (seconds, then a short drain) and ends by
 * itself; it prints one line of JSON.
 */
#ifndef PORTALD_TESTS_BENCH_LOAD_H
#define PORTALD_TESTS_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"

#define LOAD_MAX_LISTEN 8
#define LOAD_MAX_CONNECTIONS 8192
#define LOAD_MAX_MESSAGE_BYTES ((size_t)64 * 1024)
#define LOAD_BULK_CHUNK_BYTES ((size_t)256 * 1024)
/* A request that has no answer after this long is an error. */
#define LOAD_STALL_US ((int64_t)5 * 1000 * 1000)
/* A proxy that fails this often is broken; going on would only burn the machine. */
#define LOAD_MAX_ERRORS 10000

/* Microseconds by size: exact up to 128, then 64 steps to each power of two. */
#define LOAD_HISTOGRAM_SLOTS 2048

struct load_histogram {
	uint64_t slots[LOAD_HISTOGRAM_SLOTS];
	uint64_t count;
	int64_t max_us;
};

struct load_options {
	const char *mode;
	const char *congestion;
	struct addr_port listen[LOAD_MAX_LISTEN];
	size_t listen_count;
	struct addr_port connect;
	size_t connections; /* streams of bulk, connections of rr and conn */
	size_t message_bytes;
	double seconds;
	double skip_seconds; /* rate: latencies of this first part are kept out of the percentiles */
	double rate;
	int cpu;        /* -1: not pinned */
	bool sends;     /* bulk: the client sends; backend: it is a source */
	bool reads;     /* bulk: the client reads; backend: it is a sink */
	bool echoes;    /* backend: what is read is sent back */
	bool datagrams; /* backend: the same by UDP */
};

struct load_result {
	uint64_t units; /* bytes, requests or connections */
	int64_t elapsed_us;
	uint64_t errors;
	int first_error; /* errno of the first one; 0: none, or no errno (cut short, stalled) */
	struct load_histogram latency;
};

/* Zeroes that are sent and never read by anybody: LOAD_BULK_CHUNK_BYTES of them. */
extern const char load_zeroes[];

void load_histogram_add(struct load_histogram *histogram, int64_t us);
int64_t load_histogram_percentile(const struct load_histogram *histogram, double percent);

void load_error(struct load_result *result, int error);

/* A non-blocking TCP socket with TCP_NODELAY and the named congestion control. Returns it or -errno. */
int load_socket(const struct load_options *options, const struct addr_port *at);
int load_listen(const struct load_options *options, const struct addr_port *at);

/* Starts to connect. Returns the descriptor, or -errno. */
int load_connect(const struct load_options *options);

/* Adds fd to the epoll with data.ptr = owner, or modifies it. Returns 0 or -errno. */
int load_watch(int epoll, int fd, uint32_t events, void *owner);
int load_rewatch(int epoll, int fd, uint32_t events, void *owner);

/* Milliseconds until end_us for epoll_wait: at least 1, at most 100. */
int load_wait_ms(int64_t end_us);

/* Each runs one mode until it is over. Return 0 or -errno. */
int load_backend(const struct load_options *options);
int load_bulk(const struct load_options *options, struct load_result *result);
int load_requests(const struct load_options *options, bool keep, struct load_result *result);
int load_udp(const struct load_options *options, struct load_result *result);
int load_udp_backend(const struct load_options *options);
int load_rate(const struct load_options *options, struct load_result *result);

#endif
