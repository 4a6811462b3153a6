/* Owns dialing: one attempt at a time for each connection, none of which blocks anything. Runs in every
 * relay.
 *
 *   outcome of an attempt    next
 *   CONNECTED                the dial is over
 *   REFUSED, UNREACHABLE     at once another endpoint that was not tried; this one is not asked again
 *   TIMEOUT                  another endpoint that was not tried, or else one that timed out before;
 *                            the limits are 250 ms, 500 ms, 1 s, 2 s, or the Service's own one each
 *                            time, and after the fourth it is over
 *   RESOURCES                at once another endpoint; nothing is held against this one
 *   DESCRIPTORS              the dial is over, and accepting pauses
 *
 * Nothing is read from the client before a backend is connected: its early bytes wait in the kernel.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/log.h"
#include "relay/core.h"
#include "relay/proxy.h"

enum dial_outcome {
	DIAL_PENDING,
	DIAL_CONNECTED,
	DIAL_REFUSED,
	DIAL_UNREACHABLE,
	DIAL_TIMEOUT,
	DIAL_RESOURCES,
	DIAL_DESCRIPTORS,
};

#define MAX_TIMEOUTS 4

/* Attempts of one connection that fail at once, before others get their turn. */
#define ATTEMPTS_A_TURN 8

/* Idle time before the first keepalive probe, in seconds: as the listeners set it for clients. */
#define KEEPALIVE_IDLE_S 120

static enum dial_outcome outcome_of(int error)
{
	switch (error) {
	case 0:
		return DIAL_CONNECTED;
	case EINPROGRESS:
		return DIAL_PENDING;
	case EMFILE:
	case ENFILE:
		return DIAL_DESCRIPTORS;
	case EADDRINUSE:
	case EADDRNOTAVAIL:
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return DIAL_RESOURCES;
	case ECONNREFUSED:
	case ECONNRESET:
		return DIAL_REFUSED;
	case ETIMEDOUT:
		return DIAL_TIMEOUT;
	default:
		return DIAL_UNREACHABLE;
	}
}

static const char *outcome_text(enum dial_outcome outcome)
{
	static const char *const texts[] = {
		[DIAL_REFUSED] = "refused",
		[DIAL_UNREACHABLE] = "unreachable",
		[DIAL_TIMEOUT] = "timeout",
		[DIAL_RESOURCES] = "local resources",
		[DIAL_DESCRIPTORS] = "out of descriptors",
	};

	return texts[outcome];
}

static enum stats_failure outcome_failure(enum dial_outcome outcome)
{
	switch (outcome) {
	case DIAL_REFUSED:
		return STATS_FAIL_REFUSED;
	case DIAL_TIMEOUT:
		return STATS_FAIL_TIMEOUT;
	case DIAL_RESOURCES:
	case DIAL_DESCRIPTORS:
		return STATS_FAIL_RESOURCES;
	default:
		return STATS_FAIL_UNREACHABLE;
	}
}

static const struct backend *dialed(const struct wait *wait)
{
	return &wait->backends->entries[wait->picked.index];
}

/* The backend that was picked no longer counts this connection. */
static void release(struct relay *relay, struct wait *wait)
{
	if (wait->picking)
		pick_release(relay->stats, relay->index, dialed(wait)->slot);
	wait->picking = false;
}

void dial_fini(struct relay *relay, struct conn *conn)
{
	struct wait *wait = conn->wait;

	if (!wait)
		return;
	timer_disarm(&relay->timers, &wait->timer);
	release(relay, wait);
	/* Still a probe: no outcome was reported. */
	if (wait->picked.probe)
		pick_probe_abandoned(relay->stats, dialed(wait), relay->now_ms);
	backends_unref(wait->backends);
	free(wait->tried);
	slab_put(&relay->waits, wait);
	conn->wait = NULL;
}

/* ---- one attempt ---- */

/* Buffer sizes are left to the kernel, which tunes them by what the path needs. */
static int socket_new(enum addr_family family)
{
	int domain = family == ADDR_V4 ? AF_INET : AF_INET6, on = 1, idle_s = KEEPALIVE_IDLE_S;
	int fd = socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	/* Options that cannot fail on a fresh TCP socket. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	return fd;
}

static enum dial_outcome attempt(struct relay *relay, struct conn *conn)
{
	const struct backend *backend = dialed(conn->wait);
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&backend->at, &sa);
	int fd = socket_new(addr_family(&backend->at.addr));
	int error;

	if (conn->wait->attempts++ > 0)
		stats_add(&conn->listener->counters->retries, 1);
	if (fd < 0)
		return outcome_of(-fd);
	conn->fds[BACKEND] = fd;
	conn->sides[BACKEND] = 0;
	error = connect(fd, (struct sockaddr *)&sa, length) < 0 ? errno : 0;
	/* Registered after connect: an unconnected socket would raise an event at once. */
	if ((error == 0 || error == EINPROGRESS) && loop_watch_conn(relay, conn, BACKEND) < 0)
		error = ENOMEM;
	return outcome_of(error);
}

/* A loopback port that nobody listens on may be given to the dialing socket itself, which then meets
 * itself: TCP's simultaneous open. */
static bool met_itself(const struct conn *conn, const struct backend *backend)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	struct addr_port own;

	if (!addr_is_loopback(&backend->at.addr))
		return false;
	if (getsockname(conn->fds[BACKEND], (struct sockaddr *)&sa, &length) < 0 ||
		addr_from_sockaddr(&own, (struct sockaddr *)&sa) < 0)
		return false;
	return addr_port_equal(&own, &backend->at);
}

/* ---- outcomes ---- */

static void give_up(struct relay *relay, struct conn *conn, enum stats_failure why, const char *reason)
{
	listener_count_failure(conn->listener, why);
	access_ends(conn, stats_failure_name(why));
	log_warning("no backend could be reached", log_str("service", conn->listener->key),
		log_str("reason", reason), log_int("attempts", conn->wait ? conn->wait->attempts : 0));
	conn_refuse(relay, conn);
}

/* Puts the PROXY protocol's header in front of what the client sends. */
static int introduce(struct relay *relay, struct conn *conn)
{
	const struct arrival *arrival = &conn->wait->arrival;
	uint8_t version = conn->listener->options.proxy_protocol, header[PROXY_HEADER_BYTES];
	size_t count;

	if (version == 0)
		return 0;
	count = proxy_header(header, version, &arrival->client, &arrival->portal);
	return pump_prepend(relay, conn, CLIENT, header, count);
}

static void count_time(const struct conn *conn)
{
	struct stats_listener_counters *counters = conn->listener->counters;
	uint64_t us = (uint64_t)(clock_now_us() - conn->wait->dialing_us);

	stats_add(&counters->connect_us, us);
	stats_add_time(counters->connect, stats_connect_bounds_us, STATS_CONNECT_BOUNDS, us);
}

static void succeed(struct relay *relay, struct conn *conn)
{
	const struct backend *backend = dialed(conn->wait);
	bool changed = conn->listener->backends != conn->wait->backends || conn->listener->fd < 0;

	pick_succeeded(relay->stats, backend);
	conn->wait->picked.probe = false;
	if (introduce(relay, conn) < 0) {
		give_up(relay, conn, STATS_FAIL_RESOURCES, "out of memory");
		return;
	}
	count_time(conn);
	access_connected(conn, &backend->at, conn->wait->attempts);
	conn->backend_slot = backend->slot;
	conn->wait->picking = false;
	dial_fini(relay, conn);
	conn_connected(relay, conn);
	/* It has been dialing while the list changed, or the listener was closed. */
	if (changed)
		conn_check_removed(relay, conn->listener);
}

/* Reports a failed attempt to pick and stats, and closes its socket. */
static void account(struct relay *relay, struct conn *conn, enum dial_outcome outcome)
{
	struct wait *wait = conn->wait;
	const struct backend *backend = dialed(wait);

	timer_disarm(&relay->timers, &wait->timer);
	if (conn->fds[BACKEND] >= 0)
		close(conn->fds[BACKEND]);
	conn->fds[BACKEND] = -1;
	listener_count_failure(conn->listener, outcome_failure(outcome));
	log_v(2, "attempt failed", log_str("service", conn->listener->key),
		log_addr_port("backend", &backend->at), log_str("reason", outcome_text(outcome)));
	if (outcome == DIAL_RESOURCES || outcome == DIAL_DESCRIPTORS) {
		if (wait->picked.probe)
			pick_probe_abandoned(relay->stats, backend, relay->now_ms);
	} else {
		stats_add(&stats_backend(relay->stats, relay->index, backend->slot)->failures, 1);
		pick_failed(relay->stats, backend, wait->picked.probe, relay->now_ms);
	}
	wait->picked.probe = false;
	/* Not before: a slot on which nobody counts may become another backend's at any moment. */
	release(relay, wait);
	wait->timeouts += outcome == DIAL_TIMEOUT;
}

/* Handles a failed attempt. Returns true if the dial goes on. */
static bool fail(struct relay *relay, struct conn *conn, enum dial_outcome outcome)
{
	struct wait *wait = conn->wait;

	account(relay, conn, outcome);
	if (outcome == DIAL_DESCRIPTORS) {
		accept_suspend(relay, false);
		give_up(relay, conn, STATS_FAIL_DESCRIPTORS, outcome_text(outcome));
		return false;
	}
	if (!wait->tried)
		wait->tried = tried_new(wait->backends->count);
	if (!wait->tried || wait->timeouts >= MAX_TIMEOUTS) {
		give_up(relay, conn, STATS_FAIL_ALL_BACKENDS, outcome_text(outcome));
		return false;
	}
	tried_mark(wait->tried, wait->picked.index, outcome != DIAL_TIMEOUT);
	return true;
}

/* ---- the dial ---- */

static bool pick(struct relay *relay, struct conn *conn)
{
	struct wait *wait = conn->wait;
	struct pick_request request = {
		.stats = relay->stats,
		.relay = relay->index,
		.listener_slot = conn->listener->slot,
		.options = &conn->listener->options,
		.backends = wait->backends,
		.tried = wait->tried,
		.client = &wait->arrival.client.addr,
		.portal = &wait->arrival.portal.addr,
		.now_ms = relay->now_ms,
	};

	if (wait->tried && wait->tried->marked >= wait->backends->count && !tried_again(wait->tried))
		return false;
	if (!pick_next(&request, &wait->picked))
		return false;
	pick_hold(relay->stats, relay->index, dialed(wait)->slot);
	wait->picking = true;
	return true;
}

static enum timer_class attempt_limit(const struct conn *conn)
{
	uint32_t own_ms = conn->listener->options.connect_timeout_ms;

	return own_ms > 0 ? timers_class(own_ms) : TIMER_DIAL_1 + conn->wait->timeouts;
}

static void dial_next(struct relay *relay, struct conn *conn)
{
	for (int i = 0; i < ATTEMPTS_A_TURN; i++) {
		enum dial_outcome outcome;

		if (!pick(relay, conn)) {
			give_up(relay, conn, STATS_FAIL_ALL_BACKENDS, "every endpoint failed");
			return;
		}
		outcome = attempt(relay, conn);
		if (outcome == DIAL_PENDING) {
			timer_arm(&relay->timers, &conn->wait->timer, attempt_limit(conn), relay->now_ms);
			return;
		}
		if (outcome == DIAL_CONNECTED) {
			succeed(relay, conn);
			return;
		}
		if (!fail(relay, conn, outcome))
			return;
	}
	conn_queue_ready(relay, conn);
}

void dial_continue(struct relay *relay, struct conn *conn)
{
	if (conn->fds[BACKEND] < 0)
		dial_next(relay, conn);
}

static bool has_backends(const struct conn *conn)
{
	const struct backends *backends = conn->listener->backends;

	return backends && backends->count > 0;
}

void dial_begin(struct relay *relay, struct conn *conn)
{
	if (!has_backends(conn)) {
		give_up(relay, conn, STATS_FAIL_NO_BACKEND, "the service has no usable endpoint");
		return;
	}
	conn->wait->dialing_us = clock_now_us();
	conn->wait->backends = backends_ref(conn->listener->backends);
	dial_next(relay, conn);
}

void dial_start(struct relay *relay, struct conn *conn, const struct arrival *arrival)
{
	struct wait *wait;

	if (!has_backends(conn)) {
		give_up(relay, conn, STATS_FAIL_NO_BACKEND, "the service has no usable endpoint");
		return;
	}
	wait = slab_get(&relay->waits);
	if (!wait || loop_watch_conn(relay, conn, CLIENT) < 0) {
		if (wait)
			slab_put(&relay->waits, wait);
		give_up(relay, conn, STATS_FAIL_DESCRIPTORS, "out of memory");
		return;
	}
	timer_init(&wait->timer, TIMER_OF_DIAL);
	wait->conn = conn;
	wait->arrival = *arrival;
	conn->wait = wait;
	if (queue_admit(relay, conn))
		dial_begin(relay, conn);
}

/* Why a socket raised an error. A backend that has reset at once may as well be passed over, since nothing
 * was sent to it; unless it had said something, which is for the client. */
static enum dial_outcome failure_of(int fd)
{
	socklen_t length = sizeof(int);
	int error = 0;
	char byte;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	if (error == ECONNRESET && recv(fd, &byte, 1, MSG_PEEK) > 0)
		return DIAL_CONNECTED;
	return error == 0 ? DIAL_REFUSED : outcome_of(error);
}

void dial_event(struct relay *relay, struct conn *conn, uint32_t events)
{
	enum dial_outcome outcome = DIAL_CONNECTED;

	if (conn->fds[BACKEND] < 0)
		return;
	if (events & (EPOLLERR | EPOLLHUP))
		outcome = failure_of(conn->fds[BACKEND]);
	else if (!(events & EPOLLOUT))
		return;
	else if (met_itself(conn, dialed(conn->wait)))
		outcome = DIAL_REFUSED;
	if (outcome == DIAL_CONNECTED)
		succeed(relay, conn);
	else if (fail(relay, conn, outcome))
		dial_next(relay, conn);
}

/* Whether the kernel knows more than the loop: it was held up, and the event is still to come. */
static bool is_answered(int fd)
{
	struct tcp_info info = {.tcpi_state = TCP_SYN_SENT};
	socklen_t length = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state != TCP_SYN_SENT;
}

void dial_timeout(struct relay *relay, struct conn *conn)
{
	if (is_answered(conn->fds[BACKEND]))
		return;
	if (fail(relay, conn, DIAL_TIMEOUT))
		dial_next(relay, conn);
}
