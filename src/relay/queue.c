/* Owns max_connections of a listener and the clients who wait because of it. Runs in every relay.
 *
 * The limit holds across relays: a connection first counts itself, then adds up what all relays count, and
 * takes itself off again if that is too much. Of two relays that do so at once for the last place, both may
 * stand back; then one of them gets it a moment later. The limit is never exceeded.
 *
 * Each relay has its own queue, in the order of coming, all of them together the length that is allowed. A
 * relay learns of a connection's end by its own doing at once, of another relay's by looking every 10 ms.
 * What waiting clients send stays in their sockets.
 */
#include "portald/log.h"
#include "relay/core.h"

/* Counts one more connection as active if it may be. */
static bool take_place(struct relay *relay, struct listener *listener)
{
	uint32_t max = listener->options.max_connections;

	stats_add(&listener->counters->active, 1);
	if (max == 0)
		return true;
	/* Of two relays at once, at least one must see the other. */
	atomic_thread_fence(memory_order_seq_cst);
	if (stats_listener_active(relay->stats, listener->slot) <= max)
		return true;
	stats_drop(&listener->counters->active);
	return false;
}

static bool queue_has_room(struct relay *relay, struct listener *listener)
{
	return stats_listener_queued(relay->stats, listener->slot) < listener->options.queue_length;
}

static void watch(struct relay *relay, struct listener *listener)
{
	if (TAILQ_EMPTY(&listener->waiting))
		timer_disarm(&relay->timers, &listener->timer);
	else
		timer_arm(&relay->timers, &listener->timer, TIMER_QUEUE, relay->now_ms);
}

/* ---- in ---- */

bool queue_admit(struct relay *relay, struct conn *conn)
{
	struct listener *listener = conn->listener;

	if (listener->options.max_connections == 0)
		return true;
	stats_drop(&listener->counters->active);
	/* Nobody overtakes. */
	if (TAILQ_EMPTY(&listener->waiting) && take_place(relay, listener))
		return true;
	if (!queue_has_room(relay, listener)) {
		stats_add(&listener->counters->active, 1);
		listener_count_failure(listener, STATS_FAIL_QUEUE_FULL);
		access_ends(conn, stats_failure_name(STATS_FAIL_QUEUE_FULL));
		log_v(2, "refused: too many connections", log_str("service", listener->key));
		conn_refuse(relay, conn);
		return false;
	}
	conn->state = CONN_QUEUED;
	conn->wait->queued_ms = relay->now_ms;
	stats_add(&listener->counters->queued, 1);
	TAILQ_INSERT_TAIL(&listener->waiting, conn->wait, queue);
	watch(relay, listener);
	return false;
}

/* ---- out ---- */

void queue_remove(struct conn *conn)
{
	TAILQ_REMOVE(&conn->listener->waiting, conn->wait, queue);
	stats_drop(&conn->listener->counters->queued);
}

static void refuse(struct relay *relay, struct wait *wait, enum stats_failure why)
{
	struct conn *conn = wait->conn;

	listener_count_failure(conn->listener, why);
	access_ends(conn, stats_failure_name(why));
	conn_refuse(relay, conn);
}

static bool has_waited_too_long(const struct relay *relay, const struct wait *wait)
{
	uint32_t limit_ms = wait->conn->listener->options.queue_timeout_ms;

	return limit_ms > 0 && relay->now_ms - wait->queued_ms >= limit_ms;
}

void queue_run(struct relay *relay, struct listener *listener)
{
	struct wait *wait;

	while ((wait = TAILQ_FIRST(&listener->waiting)) != NULL) {
		if (has_waited_too_long(relay, wait)) {
			refuse(relay, wait, STATS_FAIL_QUEUE_TIMEOUT);
			continue;
		}
		if (!take_place(relay, listener))
			break;
		queue_remove(wait->conn);
		wait->conn->state = CONN_DIALING;
		dial_begin(relay, wait->conn);
	}
	watch(relay, listener);
}

void queue_close(struct relay *relay, struct listener *listener)
{
	struct wait *wait;

	while ((wait = TAILQ_FIRST(&listener->waiting)) != NULL)
		refuse(relay, wait, STATS_FAIL_REMOVED);
	watch(relay, listener);
}
