/* Owns accepting: fairly between listeners, only what was steered here, and only while descriptors last.
 * Runs in every relay.
 *
 *   state        event                                  next
 *   accepting    descriptors (or buffers) run out       pausing for 10 ms; those who wait stay waiting
 *   pausing      a connection ends and leaves room      accepting
 *                the pause is over                      accepting
 *   accepting    still none                             those who wait are refused, pausing twice as long
 *
 * Listeners are edge-triggered: one that was not emptied stays in the queue.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/log.h"
#include "relay/core.h"
#include "relay/portal.h"

/* Accepted (or refused) on one listener before others get their turn. */
#define ACCEPTS_A_TURN 64

#define FIRST_PAUSE_MS 10
#define LAST_PAUSE_MS 1000

/* From the kernel's netfilter headers, which do not mix with the C library's: the address a redirected
 * connection was made to. The same number for SOL_IP and SOL_IPV6. */
#define SOCKET_ORIGINAL_DST 80

/* ---- the queue ---- */

void accept_queue(struct relay *relay, struct listener *listener)
{
	if (listener->queued)
		return;
	listener->queued = true;
	listener->next = NULL;
	*relay->accepting.last = listener;
	relay->accepting.last = &listener->next;
}

bool accept_waiting(const struct relay *relay)
{
	return relay->accepting.first && relay->pause.until_ms == 0;
}

/* ---- shortage ---- */

static uint64_t fds_in_use(const struct relay *relay)
{
	return (uint64_t)relay->fds_elsewhere + relay->listener_count + 2 * relay->conns.in_use +
	       2 * (uint64_t)relay->pipes.open_count + udp_fds(relay);
}

uint64_t accept_fds_in_use(const struct relay *relay)
{
	return fds_in_use(relay) - relay->fds_held_back;
}

bool accept_has_fds(const struct relay *relay, uint32_t count)
{
	return fds_in_use(relay) + count <= relay->fd_limit;
}

bool accept_spares_fds(const struct relay *relay)
{
	return fds_in_use(relay) + relay->fd_limit / 8 < relay->fd_limit;
}

/* Whether there are descriptors for one more connection, both sides of it. */
static bool has_room(struct relay *relay)
{
	if (accept_has_fds(relay, SIDES))
		return true;
	pipes_trim(&relay->pipes);
	return accept_has_fds(relay, SIDES);
}

void accept_suspend(struct relay *relay, bool own_limit)
{
	struct accept_pause *pause = &relay->pause;

	pause->length_ms = pause->length_ms ? pause->length_ms * 2 : FIRST_PAUSE_MS;
	if (pause->length_ms > LAST_PAUSE_MS)
		pause->length_ms = LAST_PAUSE_MS;
	pause->until_ms = relay->now_ms + pause->length_ms;
	pause->own_limit = own_limit;
	log_warning("descriptors or buffers are short: accepting pauses",
		log_int("connections", (int64_t)relay->conns.in_use), log_int("limit", relay->fd_limit),
		log_int("pause_ms", pause->length_ms));
}

void accept_resume(struct relay *relay)
{
	struct accept_pause *pause = &relay->pause;

	if (pause->until_ms == 0)
		return;
	if (relay->now_ms >= pause->until_ms || (pause->own_limit && has_room(relay)))
		pause->until_ms = 0;
}

/* Accepts with the spare descriptor's place if there is no other. */
static int accept_spare(struct relay *relay, struct listener *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0 || (errno != EMFILE && errno != ENFILE) || relay->spare_fd < 0)
		return fd;
	close(relay->spare_fd);
	relay->spare_fd = -1;
	return accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Resets clients that have waited for a whole pause: a refusal tells them more than silence. */
static void refuse_some(struct relay *relay, struct listener *listener)
{
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept_spare(relay, listener);

		if (fd >= 0) {
			socket_reset(fd);
			listener_count_failure(listener, STATS_FAIL_DESCRIPTORS);
		}
		if (relay->spare_fd < 0)
			relay->spare_fd = fcntl(relay->epoll_fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return;
	}
}

/* ---- steering ---- */

/* The address that the connection came to. */
static bool local_address(int fd, struct addr_port *at)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);

	return getsockname(fd, (struct sockaddr *)&sa, &length) == 0 &&
	       addr_from_sockaddr(at, (struct sockaddr *)&sa) == 0;
}

/* The address that the client meant. Returns false if it came to the proxy port itself. */
static bool original_destination(const struct listener *listener, int fd, struct addr_port *at)
{
	int level = listener->domain == AF_INET6 ? SOL_IPV6 : SOL_IP;
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);

	return getsockopt(fd, level, SOCKET_ORIGINAL_DST, &sa, &length) == 0 &&
	       addr_from_sockaddr(at, (struct sockaddr *)&sa) == 0;
}

/* Whether a connection may be served that came through steering: to one of the portals, not to the proxy
 * port itself, and from where that portal allows. */
static bool may_enter(
	const struct listener *listener, int fd, struct arrival *arrival, enum stats_failure *why)
{
	const struct ipc_relay_portal *portal = NULL;

	if (listener->direct ? local_address(fd, &arrival->portal)
			     : original_destination(listener, fd, &arrival->portal))
		portal = portal_find(listener->portals, listener->portal_count, &arrival->portal);
	*why = STATS_FAIL_NOT_STEERED;
	if (!portal)
		return false;
	*why = STATS_FAIL_SOURCE_RANGE;
	return portal_admits(
		portal, listener->source_ranges, listener->source_range_count, &arrival->client.addr);
}

/* ---- accepting ---- */

/* As accept4(); fills in the client if the listener wants to know it. */
static int accept_one(const struct listener *listener, struct arrival *arrival)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	int fd;

	if (!listener->wants_client)
		return accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	fd = accept4(listener->fd, (struct sockaddr *)&sa, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		addr_from_sockaddr(&arrival->client, (struct sockaddr *)&sa);
	return fd;
}

static void take(struct relay *relay, struct listener *listener, int fd, struct arrival *arrival)
{
	enum stats_failure why;
	struct conn *conn;

	stats_add(&listener->counters->accepted, 1);
	if (listener->check_destination && !may_enter(listener, fd, arrival, &why)) {
		listener_count_failure(listener, why);
		log_v(2, "refused", log_str("service", listener->key),
			log_str("reason", why == STATS_FAIL_SOURCE_RANGE ? "not in the source ranges"
									 : "not redirected here"));
		access_refused(relay, listener, arrival, why);
		socket_reset(fd);
		return;
	}
	/* Without steering, the proxy port's own address stands for the portal. */
	if (!listener->check_destination && listener->wants_portal)
		local_address(fd, &arrival->portal);
	conn = conn_new(relay, listener, fd);
	if (!conn) {
		listener_count_failure(listener, STATS_FAIL_DESCRIPTORS);
		return;
	}
	access_begin(relay, conn, arrival);
	dial_start(relay, conn, arrival);
}

/* True for errors of the connection that was to be accepted, as accept(2) lists them. */
static bool is_transient(int error)
{
	switch (error) {
	case ECONNABORTED:
	case EINTR:
	case EPERM:
	case EPROTO:
	case ENETDOWN:
	case ENETUNREACH:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENONET:
	case EOPNOTSUPP:
	case ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

/* Returns true if more clients may be waiting. */
static bool accept_some(struct relay *relay, struct listener *listener)
{
	/* First those who have come before. */
	queue_run(relay, listener);
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		struct arrival arrival = {0};
		int fd;

		if (!has_room(relay)) {
			accept_suspend(relay, true);
			return true;
		}
		fd = accept_one(listener, &arrival);
		if (fd >= 0) {
			relay->pause.length_ms = 0;
			take(relay, listener, fd, &arrival);
		} else if (errno == EAGAIN) {
			return false;
		} else if (!is_transient(errno)) {
			accept_suspend(relay, false);
			return true;
		}
		if (relay->pause.until_ms > 0)
			return true;
	}
	return true;
}

void accept_run(struct relay *relay)
{
	struct listener *listener = relay->accepting.first;
	bool refusing = relay->pause.length_ms > 0;

	if (!accept_waiting(relay))
		return;
	relay->accepting = (struct listener_queue){.last = &relay->accepting.first};
	while (listener) {
		struct listener *next = listener->next;
		bool more = false;

		listener->queued = false;
		if (listener->fd >= 0)
			more = relay->pause.until_ms > 0 || accept_some(relay, listener);
		if (more && refusing && relay->pause.until_ms > 0)
			refuse_some(relay, listener);
		if (more)
			accept_queue(relay, listener);
		listener = next;
	}
}
