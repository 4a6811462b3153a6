/* Shared counters: one memfd for the daemon, made by the supervisor, mapped by supervisor and relays for
 * writing and by control for reading. Holds what must be seen across processes or outlive a relay.
 *
 * Slots are given out by the supervisor and named by index in messages. Pages that were never touched
 * cost nothing, so the file is sized for the largest configuration.
 *
 * Who writes what: struct stats_listener_shared and stats_backend_shared are written by all relays with
 * atomics; the per-relay counters are written by their relay alone (relaxed stores), so the hot path
 * shares no cache line; readers add them up.
 */
#ifndef PORTALD_STATS_H
#define PORTALD_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"

#define STATS_MAX_LISTENERS 65536u
#define STATS_MAX_BACKENDS 262144u
#define STATS_MAX_RELAYS 64u

/* Why a connection ended without having been served, or an attempt failed. */
enum stats_failure {
	STATS_FAIL_REFUSED,       /* attempt: the backend refused */
	STATS_FAIL_UNREACHABLE,   /* attempt: no route, host or network unreachable */
	STATS_FAIL_TIMEOUT,       /* attempt: no answer within the attempt's limit */
	STATS_FAIL_RESOURCES,     /* attempt: out of descriptors, memory or local ports */
	STATS_FAIL_NO_BACKEND,    /* connection: the Service has no usable endpoint */
	STATS_FAIL_ALL_BACKENDS,  /* connection: every endpoint was tried in vain */
	STATS_FAIL_NOT_STEERED,   /* connection: came to the proxy port directly */
	STATS_FAIL_DESCRIPTORS,   /* connection: refused for want of descriptors */
	STATS_FAIL_SOURCE_RANGE,  /* connection: the client is in none of the source ranges */
	STATS_FAIL_QUEUE_FULL,    /* connection: beyond max_connections and the queue */
	STATS_FAIL_QUEUE_TIMEOUT, /* connection: waited in the queue in vain */
	STATS_FAIL_IDLE,          /* connection: reset, no byte came for too long */
	STATS_FAIL_REMOVED,       /* connection: reset, its endpoint is gone */
	STATS_FAIL_FLOWS,         /* UDP flow: given up because there were too many */
	STATS_FAIL_DATAGRAM,      /* UDP datagram: lost; a buffer was full, or it was too big for the path */
	STATS_FAILURES
};

/* "refused", "no_backend", ...: as it stands in metrics and in the access log. */
const char *stats_failure_name(enum stats_failure failure);

/* Upper ends of the buckets of the time from accepting a connection to its being connected to a backend, in
 * microseconds; one more bucket is beyond all. */
#define STATS_CONNECT_BOUNDS 12
extern const uint32_t stats_connect_bounds_us[STATS_CONNECT_BOUNDS];

/* Likewise of a relay's turns: how long what comes meanwhile has to wait. */
#define STATS_TURN_BOUNDS 8
extern const uint32_t stats_turn_bounds_us[STATS_TURN_BOUNDS];

/* Shared by all relays. */
struct stats_listener_shared {
	_Atomic uint64_t cursor;             /* round-robin: the number of picks so far */
	_Atomic uint32_t affinity_timeout_s; /* of the last pin: which pins of the listener are expired */
};

struct stats_backend_shared {
	_Atomic int64_t set_aside_until_ms; /* clock_now_ms() time; 0: not set aside */
	_Atomic uint32_t set_aside_level;   /* consecutive failures: the pause doubles with each */
};

/* One relay's own counters of a listener. */
struct stats_listener_counters {
	_Atomic uint64_t accepted;
	_Atomic uint64_t active;    /* without those that are queued */
	_Atomic uint64_t queued;    /* waiting for others to end, because of max_connections */
	_Atomic uint64_t bytes_in;  /* client to backend */
	_Atomic uint64_t bytes_out; /* backend to client */
	_Atomic uint64_t retries;   /* attempts after the first of a connection */
	_Atomic uint64_t datagrams_in, datagrams_out; /* UDP */
	_Atomic uint64_t failures[STATS_FAILURES];
	_Atomic uint64_t connect_us; /* sum of the times that the buckets count */
	_Atomic uint64_t connect[STATS_CONNECT_BOUNDS + 1];
};

/* One relay's own counters of a backend. */
struct stats_backend_counters {
	_Atomic uint64_t connections;
	_Atomic uint64_t active; /* dialing ones too */
	_Atomic uint64_t failures;
	_Atomic uint64_t bytes_in, bytes_out; /* to it, from it */
};

/* The same of all relays together, as read at one moment. */
struct stats_listener_sum {
	uint64_t accepted, active, queued, bytes_in, bytes_out, retries, datagrams_in, datagrams_out;
	uint64_t failures[STATS_FAILURES];
	uint64_t connect_us, connect[STATS_CONNECT_BOUNDS + 1];
};

struct stats_backend_sum {
	uint64_t connections, active, failures, bytes_in, bytes_out;
};

/* What a process tells of itself; written by it alone. */
struct stats_process {
	_Atomic uint64_t pid; /* 0: never started */
	_Atomic uint64_t open_fds, max_fds;
	/* Relays only. */
	_Atomic uint64_t turn_began_us; /* clock_now_us(); 0: it sleeps */
	_Atomic uint64_t busy_us;       /* sum of the turns that the buckets count */
	_Atomic uint64_t turns[STATS_TURN_BOUNDS + 1];
	_Atomic uint64_t log_lines, log_dropped; /* of the access log */
};

struct stats; /* a mapping of the file */

/* Creates the memfd, sealed against resizing. Returns the descriptor or a negative errno. */
int stats_create(void);

/* Another descriptor of the file that can't be mapped for writing, for whom is only to read. Needs /proc.
 * Returns it or a negative errno. */
int stats_open_readonly(int fd);

/* Maps the file for writing, or only for reading. Returns NULL with errno set. Does not take fd. */
struct stats *stats_map(int fd, int writable);
void stats_unmap(struct stats *stats); /* NULL is fine */

/* Slots; indices must be below the limits above. Never NULL. */
struct stats_listener_shared *stats_listener_shared(struct stats *stats, uint32_t listener);
struct stats_backend_shared *stats_backend_shared(struct stats *stats, uint32_t backend);
struct stats_listener_counters *stats_listener(struct stats *stats, uint32_t relay, uint32_t listener);
struct stats_backend_counters *stats_backend(struct stats *stats, uint32_t relay, uint32_t backend);

/* The supervisor's place, and a relay's. */
struct stats_process *stats_supervisor(struct stats *stats);
struct stats_process *stats_relay(struct stats *stats, uint32_t relay);

/* A turn takes milliseconds; one that takes this long will not end. */
#define STATS_HANG_US 20000000u

/* Whether one of the first relay_count relays hangs; now_us is clock_now_us() time. */
bool stats_has_hung_relay(struct stats *stats, uint32_t relay_count, uint64_t now_us);

/* Adds up all relays. */
void stats_listener_add_up(struct stats *stats, uint32_t listener, struct stats_listener_sum *out);
void stats_backend_add_up(struct stats *stats, uint32_t backend, struct stats_backend_sum *out);

/* Connections of all relays. */
uint64_t stats_listener_active(struct stats *stats, uint32_t listener);
uint64_t stats_listener_queued(struct stats *stats, uint32_t listener);
uint64_t stats_backend_active(struct stats *stats, uint32_t backend);

/* Zeroes a slot in all relays' parts, before it is given out again (supervisor). */
void stats_listener_reset(struct stats *stats, uint32_t listener);
void stats_backend_reset(struct stats *stats, uint32_t backend);

/* Zeroes what a dead relay had active (supervisor, before it starts the next one). */
void stats_relay_reset_active(
	struct stats *stats, uint32_t relay, uint32_t listener_count, uint32_t backend_count);

/* ---- session affinity ---- */

/* Which backend a client of a listener is pinned to. A table of fixed size: where it is full, expired pins
 * make room first, then the oldest. All relays see the same pin at any time. */
struct stats_pin {
	uint32_t relay; /* who asks */
	uint32_t listener;
	const struct addr *client;
	uint32_t timeout_s; /* since the last use; applies to pins made before it was changed */
	int64_t now_ms;
};

#define STATS_NO_PIN UINT32_MAX

/* The backend's slot, or STATS_NO_PIN. Counts as a use. */
uint32_t stats_pin_get(struct stats *stats, const struct stats_pin *pin);

/* Pins the client to fresh if it is pinned to old (STATS_NO_PIN: not at all). Returns what it is pinned to
 * now: another relay may have been faster. */
uint32_t stats_pin_replace(struct stats *stats, const struct stats_pin *pin, uint32_t old, uint32_t fresh);

/* Adds to a counter that this process alone writes. */
static inline void stats_add(_Atomic uint64_t *counter, uint64_t amount)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + amount, memory_order_relaxed);
}

/* Counts a time in such buckets. */
static inline void stats_add_time(
	_Atomic uint64_t *buckets, const uint32_t *bounds_us, uint32_t bound_count, uint64_t us)
{
	uint32_t i = 0;

	while (i < bound_count && us > bounds_us[i])
		i++;
	stats_add(&buckets[i], 1);
}

/* Takes one off such a counter; never below zero, whatever a slot's former owner left. */
static inline void stats_drop(_Atomic uint64_t *counter)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value > 0 ? value - 1 : 0, memory_order_relaxed);
}

#endif
