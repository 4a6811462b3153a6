/* The relay's own structures, and what its files do for each other. One thread; nothing is shared with
 * other relays but stats. */
#ifndef RELAY_CORE_H
#define RELAY_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"
#include "portald/ipc.h"
#include "portald/stats.h"
#include "relay/access.h"
#include "relay/pick.h"
#include "relay/pipes.h"
#include "relay/slab.h"
#include "relay/timers.h"

struct relay_options;
struct udp;
struct udp_flow;
struct udp_port;

/* One read's buffer, shared by all connections of the process. */
#define RELAY_BUFFER_BYTES ((size_t)64 * 1024)

/* What destinations have not taken may lie in heap up to this sum; beyond it stays in the sockets. */
#define RELAY_HELD_LIMIT_BYTES ((size_t)64 * 1024 * 1024)

/* ---- connections ---- */

/* The two ends of a connection; a direction is named by the side where it begins. */
enum side { CLIENT, BACKEND, SIDES };

static inline enum side side_other(enum side side)
{
	return side == CLIENT ? BACKEND : CLIENT;
}

enum side_flag {
	SIDE_IN = 1,     /* there may be something to read */
	SIDE_ENDED = 2,  /* a FIN or an error is on its way: read until it shows, short reads or not */
	SIDE_BROKEN = 4, /* reset: nothing can be sent there */
};

enum half_flag {
	HALF_BLOCKED = 1, /* the destination takes no more: wait until it is writable */
	HALF_SPLICE = 2,  /* moves by splice */
	HALF_PIPED = 4,   /* held is a pipe, not a rest */
	HALF_EOF = 8,     /* the source has ended */
	HALF_DONE = 16,   /* and its end was passed on: all is delivered */
};

/* Bytes received that the destination has not taken yet. */
struct rest {
	uint32_t sent, bytes;
	uint8_t data[];
};

/* One direction of a connection. */
struct half {
	union {
		struct rest *rest;
		struct pipe *pipe;
	} held;         /* NULL at rest: an idle connection has no buffer */
	uint64_t bytes; /* received from the source */
	uint8_t flags;
	uint8_t small_reads; /* in a row, while splicing */
};

enum conn_state { CONN_FREE, CONN_QUEUED, CONN_DIALING, CONN_PUMPING, CONN_LEAVING, CONN_CLOSED };

/* Where a connection comes from and was meant to go, as far as its listener wants to know. */
struct arrival {
	struct addr_port client;
	struct addr_port portal; /* without steering: the address it came to */
};

/* What a connection needs only before it is connected, or while its end waits. */
struct wait {
	struct timer timer; /* first: see timers.h */
	struct conn *conn;
	struct arrival arrival;
	TAILQ_ENTRY(wait) queue;   /* while CONN_QUEUED */
	int64_t queued_ms;         /* since when */
	int64_t dialing_us;        /* since when */
	struct backends *backends; /* those of the listener when the dial began */
	struct tried *tried;       /* NULL until an attempt has failed */
	struct picked picked;
	bool picking; /* picked counts as the backend's connection */
	uint32_t attempts;
	uint8_t timeouts;       /* attempts that timed out: at most 4 */
	uint8_t farewell_idle;  /* rounds without progress */
	uint32_t farewell_left; /* bytes unsent at the last round */
};

struct conn {
	struct timer timer; /* first: see timers.h; for idle_timeout_ms and drain_ms */
	int64_t active_ms;  /* when something last happened */
	int64_t end_by_ms;  /* its endpoint was removed: reset then; 0: no such limit */
	struct listener *listener;
	struct conn *next;     /* in the ready list or the graveyard */
	struct wait *wait;     /* NULL while pumping */
	struct access *access; /* NULL without an access log */
	struct half halves[SIDES];
	int fds[SIDES]; /* -1: none */
	uint32_t backend_slot;
	uint8_t state;
	uint8_t sides[SIDES];
	bool queued; /* stands in the ready list */
};

/* ---- listeners ---- */

struct listener {
	struct timer timer; /* first: see timers.h; while waiting is not empty */
	uint32_t refs;      /* the table's and one of each connection */
	uint32_t name;      /* in messages */
	uint32_t slot;      /* in stats */
	int fd;             /* -1 once closed */
	int domain;         /* AF_INET or AF_INET6 */
	bool queued, check_destination;
	bool direct;                     /* the socket's own address is what clients meant */
	bool wants_client, wants_portal; /* of struct arrival */
	struct listener *next;           /* in the accept queue */
	struct listener *next_closed;    /* in relay->closed */
	char *key;
	struct service_options options;
	struct ipc_relay_portal *portals;
	size_t portal_count;
	struct addr_prefix *source_ranges;
	size_t source_range_count;
	struct backends *backends; /* NULL until they are known */
	struct stats_listener_counters *counters;
	TAILQ_HEAD(, wait) waiting; /* beyond max_connections; in the order of their coming */
	struct udp_port *udp;       /* NULL for TCP */
};

/* ---- the process ---- */

struct conn_queue {
	struct conn *first, **last;
};

struct listener_queue {
	struct listener *first, **last;
};

/* Accepting, when descriptors are short. */
struct accept_pause {
	int64_t until_ms; /* 0: accepting */
	int32_t length_ms;
	bool own_limit; /* ours, not the system's: it ends as soon as a connection does */
};

struct relay {
	struct stats *stats;
	uint32_t index;
	struct ipc_channel *channel;
	int epoll_fd;
	int spare_fd;           /* given up for a moment to refuse a client when there is no other */
	uint32_t fd_limit;      /* RLIMIT_NOFILE */
	uint32_t fds_elsewhere; /* open before the first connection, or held back for messages */
	uint32_t fds_held_back; /* of those */
	int access_fd;          /* of the access log; -1: none */
	bool stopping;
	bool draining; /* takes in nothing more, and ends with what it has */
	void (*drains)(void *context);
	void *context;
	int exit_code;
	int64_t now_ms; /* of this turn of the loop */

	struct listener **listeners; /* by name */
	uint32_t listener_capacity;
	uint32_t listener_count;
	struct listener *closed; /* in this turn */
	struct listener_queue accepting;
	struct accept_pause pause;

	struct slab conns, waits;
	struct conn_queue ready;
	struct conn *graveyard;
	struct timers timers;
	struct pipes pipes;
	uint8_t *buffer;
	size_t held_bytes, held_limit_bytes; /* rests of all connections */
	struct udp *udp;
};

/* relay.c */
/* Handles the messages that have come. Sets relay->stopping when the channel has ended. */
void relay_receive(struct relay *relay);

/* loop.c */
int loop_watch_channel(struct relay *relay);
int loop_watch_listener(struct relay *relay, struct listener *listener);
void loop_unwatch(struct relay *relay, int fd);
/* Registers the side's descriptor, once for its life. */
int loop_watch_conn(struct relay *relay, struct conn *conn, enum side side);
/* Registers a flow's connected socket. */
int loop_watch_flow(struct relay *relay, int fd, struct udp_flow *flow);
/* Runs until relay->stopping. */
void loop_run(struct relay *relay);

/* listener.c */
int listener_put(struct relay *relay, const struct ipc_relay_listener *message, int fd); /* takes fd */
int listener_set_backends(struct relay *relay, const struct ipc_relay_backends *message);
void listener_close(struct relay *relay, uint32_t name);
struct listener *listener_ref(struct listener *listener);
void listener_unref(struct listener *listener);
void listener_count_failure(struct listener *listener, enum stats_failure why);
/* The open listener after this one (NULL: the first) of the same Service port and family, or NULL. */
struct listener *listener_sibling(
	const struct relay *relay, const struct listener *listener, const struct listener *after);
/* Lets go of the listeners that were closed in this turn. */
void listener_sweep(struct relay *relay);
void listener_free_all(struct relay *relay);

/* accept.c */
void accept_queue(struct relay *relay, struct listener *listener);
/* True if accept_run has something to do now. */
bool accept_waiting(const struct relay *relay);
/* Accepts on the queued listeners, each a bounded number. */
void accept_run(struct relay *relay);
/* Descriptors (or buffers) are short: no more accepting for a while. */
void accept_suspend(struct relay *relay, bool own_limit);
/* True if descriptors may be used for something less urgent than connections: pipes. */
bool accept_spares_fds(const struct relay *relay);
/* True if count more may be opened. */
bool accept_has_fds(const struct relay *relay, uint32_t count);
/* How many descriptors are open. */
uint64_t accept_fds_in_use(const struct relay *relay);
/* Ends a pause that is over, or whose reason is gone. */
void accept_resume(struct relay *relay);

/* queue.c */
/* Whether the connection, which counts as active, may go on now. If not, it was queued, or refused if the
 * queue is full. */
bool queue_admit(struct relay *relay, struct conn *conn);
/* Lets those go on for whom there is room now, and refuses those who have waited too long. */
void queue_run(struct relay *relay, struct listener *listener);
/* The connection leaves the queue without going on. */
void queue_remove(struct conn *conn);
/* Refuses all: the listener closes. */
void queue_close(struct relay *relay, struct listener *listener);

/* dial.c */
/* Begins a connection's way to a backend, through the queue if there is need. */
void dial_start(struct relay *relay, struct conn *conn, const struct arrival *arrival);
/* Dials: it is not or no longer queued. */
void dial_begin(struct relay *relay, struct conn *conn);
void dial_event(struct relay *relay, struct conn *conn, uint32_t events);
void dial_timeout(struct relay *relay, struct conn *conn);
/* Goes on with an attempt put off for fairness. */
void dial_continue(struct relay *relay, struct conn *conn);
/* Forgets the dial: the connection is connected, or ends. */
void dial_fini(struct relay *relay, struct conn *conn);

/* drain.c */
/* From now on nothing new is taken in. */
void drain_begin(struct relay *relay);
/* At the end of a turn: sets relay->stopping if a draining relay has nothing left. */
void drain_check(struct relay *relay);

/* udp.c */
int udp_init(struct relay *relay, uint32_t max_flows); /* 0: the default */
void udp_fini(struct relay *relay);
/* The descriptors that flows have. */
uint32_t udp_fds(const struct relay *relay);
/* Makes a fresh listener a UDP one, or takes over the options of one that is. Returns 0 or -errno. */
int udp_port_put(struct relay *relay, struct listener *listener);
/* Reads no more of what clients send; flows go on. */
void udp_port_drain(struct relay *relay, struct listener *listener);
/* Closes the listener's flows. Harmless for TCP. */
void udp_port_close(struct relay *relay, struct listener *listener);
void udp_port_event(struct relay *relay, struct listener *listener);
void udp_flow_event(struct relay *relay, struct udp_flow *flow);
/* True if udp_run has something to do now. */
bool udp_waiting(const struct relay *relay);
/* Relays what has come, a bounded number for each listener and flow. */
void udp_run(struct relay *relay);
/* Closes flows whose time is over. */
void udp_expire(struct relay *relay);
int64_t udp_next_ms(const struct relay *relay);
/* Frees the flows that were closed in this turn. */
void udp_sweep(struct relay *relay);

/* pump.c */
/* Moves bytes in the direction that begins at from, until nothing more can be done or the connection's
 * share of the turn is used up. Returns true in the latter case. */
bool pump_half(struct relay *relay, struct conn *conn, enum side from);
/* Puts bytes in front of what comes from that side; nothing has come yet. Returns 0 or -ENOMEM. */
int pump_prepend(struct relay *relay, struct conn *conn, enum side from, const uint8_t *bytes, size_t count);
/* Gives back what the direction holds. */
void pump_drop(struct relay *relay, struct half *half);

/* conn.c */
/* A connection for an accepted descriptor, which it takes; NULL when out of memory (fd is closed). */
struct conn *conn_new(struct relay *relay, struct listener *listener, int client_fd);
void conn_event(struct relay *relay, struct conn *conn, enum side side, uint32_t events);
void conn_queue_ready(struct relay *relay, struct conn *conn);
/* Does what is to be done for a connection from the ready list. */
void conn_step(struct relay *relay, struct conn *conn);
/* The backend has been connected: pumping begins. */
void conn_connected(struct relay *relay, struct conn *conn);
/* Resets the client: no backend could be reached. */
void conn_refuse(struct relay *relay, struct conn *conn);
/* Resets both sides. */
void conn_reset(struct relay *relay, struct conn *conn, enum stats_failure why);
/* The listener's backends have been replaced, or it has been closed: does what its options say to connections
 * of endpoints that are gone. */
void conn_check_removed(struct relay *relay, struct listener *listener);
/* The listener's idle timeout has been changed. */
void conn_check_idle(struct relay *relay, struct listener *listener);
/* The timer of its wait, and its own, have expired. */
void conn_timeout(struct relay *relay, struct conn *conn);
void conn_deadline(struct relay *relay, struct conn *conn);
/* Frees the connections that were closed in this turn. */
void conn_sweep(struct relay *relay);
/* The relay ends: resets what is left, so that nobody takes half an answer for the whole. */
void conn_close_all(struct relay *relay);
/* Closes a socket so that its peer sees a reset. */
void socket_reset(int fd);

#endif
