/* Owns the layout of the shared counter file. Runs in supervisor, control and relays.
 *
 *     header                         one page
 *     listeners, shared by relays    one cache line each: every connection moves a cursor
 *     backends, shared by relays     packed: written only when a backend fails or recovers
 *     pins, shared by relays         see pin.c
 *     processes                      what each tells of itself
 *     relay 0: listeners, backends   written by that relay alone
 *     relay 1: ...
 *
 * Every part begins on a page, so what a relay never touches costs no memory. Reading a page of a memfd
 * also allocates it: the header says how many relays have counters, and resets pass over the rest.
 */
#include "portald/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "portald/mem.h"
#include "stats/layout.h"

#define PAGE_BYTES ((size_t)4096)
#define LINE_BYTES ((size_t)64)
#define PAGES(bytes) (((bytes) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES)

/* Whole cache lines, so that neighbours in the hot path share none. */
#define LISTENER_STRIDE ((size_t)320)

#define LISTENERS_AT PAGE_BYTES
#define BACKENDS_AT (LISTENERS_AT + PAGES(STATS_MAX_LISTENERS * LINE_BYTES))
#define PINS_AT (BACKENDS_AT + PAGES(STATS_MAX_BACKENDS * sizeof(struct stats_backend_shared)))
#define PROCESS_STRIDE ((size_t)256)
#define PROCESSES_AT (PINS_AT + STATS_PIN_BYTES)
#define RELAYS_AT (PROCESSES_AT + PAGES((1 + STATS_MAX_RELAYS) * PROCESS_STRIDE))
#define RELAY_BACKENDS_AT PAGES(STATS_MAX_LISTENERS *LISTENER_STRIDE)
#define RELAY_BYTES (RELAY_BACKENDS_AT + PAGES(STATS_MAX_BACKENDS * sizeof(struct stats_backend_counters)))
#define FILE_BYTES (RELAYS_AT + STATS_MAX_RELAYS * RELAY_BYTES)

_Static_assert(sizeof(struct stats_listener_shared) <= LINE_BYTES, "a cursor has a line of its own");
_Static_assert(STATS_PIN_BYTES % PAGE_BYTES == 0, "the relays' parts begin on a page");
_Static_assert(sizeof(struct stats_listener_counters) <= LISTENER_STRIDE, "counters fit their stride");
_Static_assert(sizeof(struct stats_process) <= PROCESS_STRIDE, "a process fits its stride");

const uint32_t stats_connect_bounds_us[STATS_CONNECT_BOUNDS] = {
	250, 500, 1000, 2500, 5000, 10000, 25000, 100000, 250000, 500000, 1000000, 4000000};
const uint32_t stats_turn_bounds_us[STATS_TURN_BOUNDS] = {
	100, 500, 1000, 5000, 10000, 50000, 100000, 1000000};

const char *stats_failure_name(enum stats_failure failure)
{
	static const char *const names[STATS_FAILURES] = {
		[STATS_FAIL_REFUSED] = "refused",
		[STATS_FAIL_UNREACHABLE] = "unreachable",
		[STATS_FAIL_TIMEOUT] = "timeout",
		[STATS_FAIL_RESOURCES] = "resources",
		[STATS_FAIL_NO_BACKEND] = "no_backend",
		[STATS_FAIL_ALL_BACKENDS] = "all_backends",
		[STATS_FAIL_NOT_STEERED] = "not_steered",
		[STATS_FAIL_DESCRIPTORS] = "descriptors",
		[STATS_FAIL_SOURCE_RANGE] = "source_range",
		[STATS_FAIL_QUEUE_FULL] = "queue_full",
		[STATS_FAIL_QUEUE_TIMEOUT] = "queue_timeout",
		[STATS_FAIL_IDLE] = "idle",
		[STATS_FAIL_REMOVED] = "removed",
		[STATS_FAIL_FLOWS] = "flows",
		[STATS_FAIL_DATAGRAM] = "datagram",
	};

	return names[failure];
}

struct stats_header {
	_Atomic uint32_t relays; /* 1 + the highest relay that has counters */
	uint64_t pin_seed;       /* written once, before the file is mapped */
};

struct stats {
	uint8_t *base;
	bool writable;
};

static bool write_header(int fd)
{
	struct stats_header header = {.relays = 0};

	return getrandom(&header.pin_seed, sizeof(header.pin_seed), 0) >= 0 &&
	       pwrite(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header);
}

int stats_create(void)
{
	int fd = memfd_create("portald-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)FILE_BYTES) == 0 && write_header(fd) &&
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

int stats_open_readonly(int fd)
{
	char *path = mem_printf("/proc/self/fd/%d", fd);
	int rc = open(path, O_RDONLY | O_CLOEXEC);

	if (rc < 0)
		rc = -errno;
	free(path);
	return rc;
}

struct stats *stats_map(int fd, int writable)
{
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	struct stats *stats = calloc(1, sizeof(*stats));
	void *base;

	if (!stats)
		return NULL;
	base = mmap(NULL, FILE_BYTES, protection, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		free(stats);
		return NULL;
	}
	*stats = (struct stats){.base = base, .writable = writable != 0};
	return stats;
}

void stats_unmap(struct stats *stats)
{
	if (!stats)
		return;
	munmap(stats->base, FILE_BYTES);
	free(stats);
}

static struct stats_header *stats_header(struct stats *stats)
{
	return (struct stats_header *)stats->base;
}

struct stats_listener_shared *stats_listener_shared(struct stats *stats, uint32_t listener)
{
	return (struct stats_listener_shared *)(stats->base + LISTENERS_AT + listener * LINE_BYTES);
}

struct stats_backend_shared *stats_backend_shared(struct stats *stats, uint32_t backend)
{
	return (struct stats_backend_shared *)(stats->base + BACKENDS_AT) + backend;
}

static struct stats_listener_counters *listener_counters(
	struct stats *stats, uint32_t relay, uint32_t listener)
{
	uint8_t *part = stats->base + RELAYS_AT + relay * RELAY_BYTES;

	return (struct stats_listener_counters *)(part + listener * LISTENER_STRIDE);
}

static struct stats_backend_counters *backend_counters(struct stats *stats, uint32_t relay, uint32_t backend)
{
	uint8_t *part = stats->base + RELAYS_AT + relay * RELAY_BYTES + RELAY_BACKENDS_AT;

	return (struct stats_backend_counters *)part + backend;
}

struct pin_set *stats_pin_set(struct stats *stats, uint64_t hash)
{
	return (struct pin_set *)(stats->base + PINS_AT) + hash % STATS_PIN_SETS;
}

uint64_t stats_pin_seed(struct stats *stats)
{
	return stats_header(stats)->pin_seed;
}

/* The relay's pages are about to be touched: resets shall reach them from now on. */
static void stats_note_relay(struct stats *stats, uint32_t relay)
{
	struct stats_header *header = stats_header(stats);
	uint32_t relays;

	if (!stats->writable)
		return;
	relays = atomic_load_explicit(&header->relays, memory_order_relaxed);
	while (relays <= relay && !atomic_compare_exchange_weak(&header->relays, &relays, relay + 1))
		continue;
}

static struct stats_process *process_at(struct stats *stats, uint32_t place)
{
	return (struct stats_process *)(stats->base + PROCESSES_AT + place * PROCESS_STRIDE);
}

struct stats_process *stats_supervisor(struct stats *stats)
{
	return process_at(stats, 0);
}

struct stats_process *stats_relay(struct stats *stats, uint32_t relay)
{
	return process_at(stats, 1 + relay);
}

bool stats_has_hung_relay(struct stats *stats, uint32_t relay_count, uint64_t now_us)
{
	for (uint32_t i = 0; i < relay_count; i++) {
		uint64_t began_us = atomic_load(&stats_relay(stats, i)->turn_began_us);

		/* It may have begun after the caller looked at the clock. */
		if (began_us > 0 && began_us < now_us && now_us - began_us >= STATS_HANG_US)
			return true;
	}
	return false;
}

struct stats_listener_counters *stats_listener(struct stats *stats, uint32_t relay, uint32_t listener)
{
	stats_note_relay(stats, relay);
	return listener_counters(stats, relay, listener);
}

struct stats_backend_counters *stats_backend(struct stats *stats, uint32_t relay, uint32_t backend)
{
	stats_note_relay(stats, relay);
	return backend_counters(stats, relay, backend);
}

/* ---- sums ---- */

uint64_t stats_listener_active(struct stats *stats, uint32_t listener)
{
	uint32_t relays = atomic_load_explicit(&stats_header(stats)->relays, memory_order_relaxed);
	uint64_t sum = 0;

	for (uint32_t relay = 0; relay < relays; relay++)
		sum += atomic_load(&listener_counters(stats, relay, listener)->active);
	return sum;
}

uint64_t stats_listener_queued(struct stats *stats, uint32_t listener)
{
	uint32_t relays = atomic_load_explicit(&stats_header(stats)->relays, memory_order_relaxed);
	uint64_t sum = 0;

	for (uint32_t relay = 0; relay < relays; relay++)
		sum += atomic_load(&listener_counters(stats, relay, listener)->queued);
	return sum;
}

uint64_t stats_backend_active(struct stats *stats, uint32_t backend)
{
	uint32_t relays = atomic_load_explicit(&stats_header(stats)->relays, memory_order_relaxed);
	uint64_t sum = 0;

	for (uint32_t relay = 0; relay < relays; relay++)
		sum += atomic_load_explicit(
			&backend_counters(stats, relay, backend)->active, memory_order_relaxed);
	return sum;
}

static void add_listener(struct stats_listener_sum *sum, struct stats_listener_counters *counters)
{
	sum->accepted += atomic_load_explicit(&counters->accepted, memory_order_relaxed);
	sum->active += atomic_load_explicit(&counters->active, memory_order_relaxed);
	sum->queued += atomic_load_explicit(&counters->queued, memory_order_relaxed);
	sum->bytes_in += atomic_load_explicit(&counters->bytes_in, memory_order_relaxed);
	sum->bytes_out += atomic_load_explicit(&counters->bytes_out, memory_order_relaxed);
	sum->retries += atomic_load_explicit(&counters->retries, memory_order_relaxed);
	sum->datagrams_in += atomic_load_explicit(&counters->datagrams_in, memory_order_relaxed);
	sum->datagrams_out += atomic_load_explicit(&counters->datagrams_out, memory_order_relaxed);
	for (size_t i = 0; i < STATS_FAILURES; i++)
		sum->failures[i] += atomic_load_explicit(&counters->failures[i], memory_order_relaxed);
	sum->connect_us += atomic_load_explicit(&counters->connect_us, memory_order_relaxed);
	for (size_t i = 0; i <= STATS_CONNECT_BOUNDS; i++)
		sum->connect[i] += atomic_load_explicit(&counters->connect[i], memory_order_relaxed);
}

void stats_listener_add_up(struct stats *stats, uint32_t listener, struct stats_listener_sum *out)
{
	uint32_t relays = atomic_load_explicit(&stats_header(stats)->relays, memory_order_relaxed);

	*out = (struct stats_listener_sum){.accepted = 0};
	for (uint32_t relay = 0; relay < relays; relay++)
		add_listener(out, listener_counters(stats, relay, listener));
}

void stats_backend_add_up(struct stats *stats, uint32_t backend, struct stats_backend_sum *out)
{
	uint32_t relays = atomic_load_explicit(&stats_header(stats)->relays, memory_order_relaxed);

	*out = (struct stats_backend_sum){.connections = 0};
	for (uint32_t relay = 0; relay < relays; relay++) {
		struct stats_backend_counters *counters = backend_counters(stats, relay, backend);

		out->connections += atomic_load_explicit(&counters->connections, memory_order_relaxed);
		out->active += atomic_load_explicit(&counters->active, memory_order_relaxed);
		out->failures += atomic_load_explicit(&counters->failures, memory_order_relaxed);
		out->bytes_in += atomic_load_explicit(&counters->bytes_in, memory_order_relaxed);
		out->bytes_out += atomic_load_explicit(&counters->bytes_out, memory_order_relaxed);
	}
}

/* ---- reset ---- */

void stats_listener_reset(struct stats *stats, uint32_t listener)
{
	uint32_t relays = atomic_load(&stats_header(stats)->relays);

	atomic_store(&stats_listener_shared(stats, listener)->cursor, 0);
	/* A former owner's pins are now expired. */
	atomic_store(&stats_listener_shared(stats, listener)->affinity_timeout_s, 0);
	for (uint32_t relay = 0; relay < relays; relay++)
		memset(listener_counters(stats, relay, listener), 0, sizeof(struct stats_listener_counters));
}

void stats_backend_reset(struct stats *stats, uint32_t backend)
{
	uint32_t relays = atomic_load(&stats_header(stats)->relays);
	struct stats_backend_shared *shared = stats_backend_shared(stats, backend);

	atomic_store(&shared->set_aside_until_ms, 0);
	atomic_store(&shared->set_aside_level, 0);
	for (uint32_t relay = 0; relay < relays; relay++)
		memset(backend_counters(stats, relay, backend), 0, sizeof(struct stats_backend_counters));
}

void stats_relay_reset_active(
	struct stats *stats, uint32_t relay, uint32_t listener_count, uint32_t backend_count)
{
	if (relay >= atomic_load(&stats_header(stats)->relays))
		return;
	for (uint32_t i = 0; i < listener_count; i++) {
		atomic_store(&listener_counters(stats, relay, i)->active, 0);
		atomic_store(&listener_counters(stats, relay, i)->queued, 0);
	}
	for (uint32_t i = 0; i < backend_count; i++)
		atomic_store(&backend_counters(stats, relay, i)->active, 0);
}
