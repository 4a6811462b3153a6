/* Owns connections: their states and their end. Runs in every relay.
 *
 *   state     event                                        next
 *   QUEUED    there is room below max_connections          DIALING
 *             it has waited too long                       CLOSED; the client is reset
 *             the client resets                            CLOSED
 *   DIALING   a backend is connected                       PUMPING
 *             no backend is left, or none was there        CLOSED; the client is reset
 *             the client resets                            CLOSED; the attempt is given up
 *             the client sends, or shuts its side down     DIALING; it waits in the kernel's buffer
 *   PUMPING   a side's FIN was read, all was delivered     PUMPING; the FIN is passed on
 *             both FINs were passed on                     CLOSED
 *             a side is reset, and all that came from it   CLOSED; the other side is reset
 *             was handed to the other's socket             LEAVING if that has not sent it all yet
 *             idle for too long; its endpoint was removed  CLOSED; both sides are reset
 *   LEAVING   it has sent it all, or no longer moves       CLOSED; it is reset
 *             it is reset or closed by its peer            CLOSED
 *   CLOSED    the turn ends                                freed
 *
 * That a side was reset may be learnt by reading (what it had sent comes first) or by sending. After a
 * failed send the kernel has forgotten the error and reading ends like after a FIN: hence SIDE_BROKEN.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/log.h"
#include "relay/core.h"

/* Rounds of TIMER_FAREWELL without progress after which a peer that reads nothing is reset: 5 s. */
#define FAREWELL_IDLE_ROUNDS 100

void socket_reset(int fd)
{
	static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

struct conn *conn_new(struct relay *relay, struct listener *listener, int client_fd)
{
	struct conn *conn = slab_get(&relay->conns);

	if (!conn) {
		socket_reset(client_fd);
		return NULL;
	}
	timer_init(&conn->timer, TIMER_OF_CONN);
	conn->state = CONN_DIALING;
	conn->fds[CLIENT] = client_fd;
	conn->fds[BACKEND] = -1;
	conn->listener = listener_ref(listener);
	stats_add(&listener->counters->active, 1);
	return conn;
}

void conn_queue_ready(struct relay *relay, struct conn *conn)
{
	if (conn->queued)
		return;
	conn->queued = true;
	conn->next = NULL;
	*relay->ready.last = conn;
	relay->ready.last = &conn->next;
}

/* ---- ends ---- */

static bool peer_of(int fd, struct addr_port *at)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);

	return getpeername(fd, (struct sockaddr *)&sa, &length) == 0 &&
	       addr_from_sockaddr(at, (struct sockaddr *)&sa) == 0;
}

static struct log_field log_peer(const char *key, int fd)
{
	struct addr_port at;

	return peer_of(fd, &at) ? log_addr_port(key, &at) : log_str(key, "gone");
}

static void log_end(const struct conn *conn, const char *how)
{
	log_v(3, "connection ended", log_str("service", conn->listener->key),
		log_peer("client", conn->fds[CLIENT]), log_peer("backend", conn->fds[BACKEND]),
		log_int("bytes_in", (int64_t)conn->halves[CLIENT].bytes),
		log_int("bytes_out", (int64_t)conn->halves[BACKEND].bytes), log_str("how", how));
}

static void bury(struct relay *relay, struct conn *conn)
{
	conn->next = relay->graveyard;
	relay->graveyard = conn;
}

/* Closes what is still open and leaves the rest to the sweep. */
static void conn_close(struct relay *relay, struct conn *conn)
{
	bool connected = conn->state == CONN_PUMPING || conn->state == CONN_LEAVING;

	if (conn->state == CONN_QUEUED)
		queue_remove(conn);
	else
		stats_drop(&conn->listener->counters->active);
	timer_disarm(&relay->timers, &conn->timer);
	access_end(relay, conn);
	dial_fini(relay, conn);
	conn->state = CONN_CLOSED;
	for (enum side side = CLIENT; side < SIDES; side++) {
		pump_drop(relay, &conn->halves[side]);
		if (conn->fds[side] >= 0)
			close(conn->fds[side]);
		conn->fds[side] = -1;
	}
	if (connected)
		pick_release(relay->stats, relay->index, conn->backend_slot);
	/* Someone may wait for this to end. */
	if (!TAILQ_EMPTY(&conn->listener->waiting))
		accept_queue(relay, conn->listener);
	if (!conn->queued)
		bury(relay, conn);
}

static void side_reset(struct conn *conn, enum side side)
{
	socket_reset(conn->fds[side]);
	conn->fds[side] = -1;
}

void conn_refuse(struct relay *relay, struct conn *conn)
{
	side_reset(conn, CLIENT);
	conn_close(relay, conn);
}

void conn_reset(struct relay *relay, struct conn *conn, enum stats_failure why)
{
	log_end(conn, why == STATS_FAIL_IDLE ? "idle" : "endpoint removed");
	access_ends(conn, stats_failure_name(why));
	listener_count_failure(conn->listener, why);
	for (enum side side = CLIENT; side < SIDES; side++) {
		if (conn->fds[side] >= 0)
			side_reset(conn, side);
	}
	conn_close(relay, conn);
}

/* ---- deadlines ---- */

void conn_deadline(struct relay *relay, struct conn *conn)
{
	uint32_t idle_ms = conn->listener->options.idle_timeout_ms;
	int64_t end_ms = conn->end_by_ms > 0 ? conn->end_by_ms : INT64_MAX;

	if (conn->state != CONN_PUMPING)
		return;
	if (relay->now_ms >= end_ms) {
		conn_reset(relay, conn, STATS_FAIL_REMOVED);
		return;
	}
	if (idle_ms > 0 && conn->active_ms + idle_ms <= relay->now_ms) {
		conn_reset(relay, conn, STATS_FAIL_IDLE);
		return;
	}
	if (idle_ms > 0 && conn->active_ms + idle_ms < end_ms)
		end_ms = conn->active_ms + idle_ms;
	if (end_ms == INT64_MAX)
		timer_disarm(&relay->timers, &conn->timer);
	else
		timer_arm(&relay->timers, &conn->timer, timers_class(end_ms - relay->now_ms), relay->now_ms);
}

struct check {
	struct relay *relay;
	struct listener *listener;
};

/* The connection's backend in the listener's list, by its address: one that was removed and is back may have
 * another slot. Or NULL. */
static const struct backend *find_returned(const struct listener *listener, const struct addr_port *at)
{
	const struct backends *backends = listener->backends;

	for (uint32_t i = 0; backends && i < backends->count; i++) {
		if (addr_port_equal(&backends->entries[i].at, at))
			return &backends->entries[i];
	}
	return NULL;
}

/* The listener may be closed because the Service is gone, or because it needs this one no more after a change
 * of policy: then the endpoints are another's. */
static bool sibling_has(const struct relay *relay, const struct listener *closed, const struct addr_port *at)
{
	const struct listener *other = NULL;

	while ((other = listener_sibling(relay, closed, other)) != NULL) {
		if (find_returned(other, at))
			return true;
	}
	return false;
}

static void change_slot(struct relay *relay, struct conn *conn, uint32_t slot)
{
	pick_release(relay->stats, relay->index, conn->backend_slot);
	conn->backend_slot = slot;
	pick_hold(relay->stats, relay->index, slot);
}

static bool has_endpoint(struct relay *relay, struct conn *conn)
{
	struct listener *listener = conn->listener;
	const struct backend *returned;
	bool open = listener->fd >= 0;
	struct addr_port at;

	/* The usual case, without a system call. */
	if (open && conn->end_by_ms == 0 && backends_find(listener->backends, conn->backend_slot) >= 0)
		return true;
	if (!peer_of(conn->fds[BACKEND], &at))
		return false;
	if (!open)
		return sibling_has(relay, listener, &at);
	returned = find_returned(listener, &at);
	if (returned)
		change_slot(relay, conn, returned->slot);
	return returned != NULL;
}

static void check_removed(struct relay *relay, struct conn *conn)
{
	const struct service_options *options = &conn->listener->options;

	if (options->removal == SERVICE_REMOVAL_KEEP)
		return;
	if (has_endpoint(relay, conn)) {
		conn->end_by_ms = 0;
	} else if (conn->end_by_ms == 0) {
		conn->end_by_ms = relay->now_ms;
		if (options->removal == SERVICE_REMOVAL_DRAIN)
			conn->end_by_ms += options->drain_ms;
	}
	conn_deadline(relay, conn);
}

static void check_removed_of(void *context, void *object)
{
	const struct check *check = context;
	struct conn *conn = object;

	if (conn->state == CONN_PUMPING && conn->listener == check->listener)
		check_removed(check->relay, conn);
}

void conn_check_removed(struct relay *relay, struct listener *listener)
{
	struct check check = {.relay = relay, .listener = listener};

	if (listener->options.removal != SERVICE_REMOVAL_KEEP)
		slab_each(&relay->conns, check_removed_of, &check);
}

static void check_idle(void *context, void *object)
{
	const struct check *check = context;
	struct conn *conn = object;

	if (conn->state == CONN_PUMPING && conn->listener == check->listener)
		conn_deadline(check->relay, conn);
}

void conn_check_idle(struct relay *relay, struct listener *listener)
{
	struct check check = {.relay = relay, .listener = listener};

	slab_each(&relay->conns, check_idle, &check);
}

/* ---- resets ---- */

/* Bytes in the socket's buffer that were never sent: a reset would throw them away. What is on its way
 * already arrives before the reset does. */
static uint32_t bytes_unsent(int fd)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
		return 0;
	return info.tcpi_notsent_bytes;
}

static void farewell_check(struct relay *relay, struct conn *conn, enum side side)
{
	struct wait *wait = conn->wait;
	uint32_t left = bytes_unsent(conn->fds[side]);

	wait->farewell_idle = left < wait->farewell_left ? 0 : (uint8_t)(wait->farewell_idle + 1);
	wait->farewell_left = left;
	if (left > 0 && wait->farewell_idle < FAREWELL_IDLE_ROUNDS) {
		timer_arm(&relay->timers, &wait->timer, TIMER_FAREWELL, relay->now_ms);
		return;
	}
	side_reset(conn, side);
	conn_close(relay, conn);
}

/* One side is reset: passes that on to the other, after what the other is still to get. */
static void conn_pass_reset(struct relay *relay, struct conn *conn, enum side broken)
{
	enum side other = side_other(broken);
	struct wait *wait;

	log_end(conn, broken == CLIENT ? "client reset" : "backend reset");
	access_ends(conn, broken == CLIENT ? "client_reset" : "backend_reset");
	side_reset(conn, broken);
	wait = conn->sides[other] & SIDE_BROKEN ? NULL : slab_get(&relay->waits);
	if (!wait) {
		side_reset(conn, other);
		conn_close(relay, conn);
		return;
	}
	conn->state = CONN_LEAVING;
	conn->wait = wait;
	wait->conn = conn;
	wait->farewell_left = UINT32_MAX;
	timer_init(&wait->timer, TIMER_OF_DIAL);
	pump_drop(relay, &conn->halves[other]);
	farewell_check(relay, conn, other);
}

/* ---- steps ---- */

/* True if the side is reset and no byte of it is left to be delivered. */
static bool side_over(const struct conn *conn, enum side side)
{
	const struct half *half = &conn->halves[side];

	if (!(conn->sides[side] & SIDE_BROKEN))
		return false;
	if (conn->sides[side_other(side)] & SIDE_BROKEN)
		return true;
	return (half->flags & HALF_EOF) && !half->held.rest;
}

static void conn_pump(struct relay *relay, struct conn *conn)
{
	bool more = pump_half(relay, conn, CLIENT);

	conn->active_ms = relay->now_ms;
	more |= pump_half(relay, conn, BACKEND);
	for (enum side side = CLIENT; side < SIDES; side++) {
		if (side_over(conn, side)) {
			conn_pass_reset(relay, conn, side);
			return;
		}
	}
	if (conn->halves[CLIENT].flags & conn->halves[BACKEND].flags & HALF_DONE) {
		log_end(conn, "closed");
		access_ends(conn, "closed");
		conn_close(relay, conn);
		return;
	}
	if (more)
		conn_queue_ready(relay, conn);
}

void conn_step(struct relay *relay, struct conn *conn)
{
	switch ((enum conn_state)conn->state) {
	case CONN_DIALING:
		dial_continue(relay, conn);
		break;
	case CONN_PUMPING:
		conn_pump(relay, conn);
		break;
	case CONN_FREE:
	case CONN_QUEUED:
	case CONN_LEAVING:
		break;
	case CONN_CLOSED:
		/* Closed while it stood in the ready list. */
		bury(relay, conn);
		break;
	}
}

static void mark(struct conn *conn, enum side side, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		conn->sides[side] |= SIDE_IN;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		conn->sides[side] |= SIDE_ENDED;
	if (events & EPOLLERR)
		conn->sides[side] |= SIDE_BROKEN;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		conn->halves[side_other(side)].flags &= (uint8_t)~HALF_BLOCKED;
}

void conn_event(struct relay *relay, struct conn *conn, enum side side, uint32_t events)
{
	bool gone = events & (EPOLLHUP | EPOLLERR);

	if (conn->state == CONN_PUMPING) {
		mark(conn, side, events);
		conn_queue_ready(relay, conn);
	} else if (conn->state == CONN_DIALING && side == BACKEND) {
		/* What it says beside "connected" will not be said again. */
		mark(conn, side, events);
		dial_event(relay, conn, events);
	} else if ((conn->state == CONN_DIALING || conn->state == CONN_QUEUED) && !gone) {
		mark(conn, side, events);
	} else if (conn->state != CONN_CLOSED && conn->fds[side] >= 0 && gone) {
		conn_close(relay, conn);
	}
}

void conn_connected(struct relay *relay, struct conn *conn)
{
	struct stats_backend_counters *counters =
		stats_backend(relay->stats, relay->index, conn->backend_slot);

	conn->state = CONN_PUMPING;
	conn->active_ms = relay->now_ms;
	stats_add(&counters->connections, 1);
	if (conn->listener->options.idle_timeout_ms > 0)
		conn_deadline(relay, conn);
	conn_queue_ready(relay, conn);
}

void conn_timeout(struct relay *relay, struct conn *conn)
{
	if (conn->state == CONN_DIALING)
		dial_timeout(relay, conn);
	else if (conn->state == CONN_LEAVING)
		farewell_check(relay, conn, conn->fds[CLIENT] >= 0 ? CLIENT : BACKEND);
}

void conn_sweep(struct relay *relay)
{
	while (relay->graveyard) {
		struct conn *conn = relay->graveyard;

		relay->graveyard = conn->next;
		listener_unref(conn->listener);
		conn->state = CONN_FREE;
		slab_put(&relay->conns, conn);
	}
}

static void close_one(void *context, void *object)
{
	struct relay *relay = context;
	struct conn *conn = object;

	if (conn->state == CONN_FREE)
		return;
	conn->queued = false;
	if (conn->state == CONN_CLOSED) {
		bury(relay, conn);
		return;
	}
	access_ends(conn, "relay_ended");
	for (enum side side = CLIENT; side < SIDES; side++) {
		if (conn->fds[side] >= 0)
			side_reset(conn, side);
	}
	conn_close(relay, conn);
}

void conn_close_all(struct relay *relay)
{
	conn_sweep(relay);
	slab_each(&relay->conns, close_one, relay);
	conn_sweep(relay);
}
