/* Owns the event loop. Runs in every relay.
 *
 * It is epoll itself instead of libevent: two struct event a connection would cost 256 of the 400 bytes
 * that an idle connection may take, and their bookkeeping is paid for with every event. Every descriptor
 * is registered once, edge-triggered for everything (but a UDP flow's: see udp.c), and never modified; what
 * is known of it since lies in the flags of its connection.
 *
 * A turn: wait; mark what the events say; handle messages; step each connection in the ready list once;
 * accept; expire timers; free what was closed. Objects are freed only at the end, so an event of the same
 * batch that comes too late finds a closed object, not a freed one.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/ipc.h"
#include "portald/log.h"
#include "relay/core.h"

#define EVENTS_A_TURN 256

#define CONN_EVENTS ((uint32_t)EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

/* A flow never waits for room to send: a datagram that finds none is lost. Level-triggered: see udp.c. */
#define FLOW_EVENTS ((uint32_t)EPOLLIN)

/* What an event is about, in the low bits of the object's address: all objects are aligned to 8 or more.
 * A connection's tag is its side. */
enum tag { TAG_CLIENT = CLIENT, TAG_BACKEND = BACKEND, TAG_LISTENER, TAG_CHANNEL, TAG_FLOW, TAG_MASK = 7 };

static int watch(struct relay *relay, int fd, uint32_t events, void *object, enum tag tag)
{
	struct epoll_event event = {.events = events};

	event.data.u64 = (uint64_t)(uintptr_t)object | tag;
	return epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int loop_watch_channel(struct relay *relay)
{
	return watch(relay, ipc_channel_fd(relay->channel), EPOLLIN, relay, TAG_CHANNEL);
}

int loop_watch_listener(struct relay *relay, struct listener *listener)
{
	return watch(relay, listener->fd, (uint32_t)EPOLLIN | EPOLLET, listener, TAG_LISTENER);
}

void loop_unwatch(struct relay *relay, int fd)
{
	epoll_ctl(relay->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

int loop_watch_conn(struct relay *relay, struct conn *conn, enum side side)
{
	return watch(relay, conn->fds[side], CONN_EVENTS, conn, (enum tag)side);
}

int loop_watch_flow(struct relay *relay, int fd, struct udp_flow *flow)
{
	return watch(relay, fd, FLOW_EVENTS, flow, TAG_FLOW);
}

static void listener_event(struct relay *relay, struct listener *listener)
{
	if (listener->udp)
		udp_port_event(relay, listener);
	else
		accept_queue(relay, listener);
}

static void dispatch(struct relay *relay, const struct epoll_event *event)
{
	enum tag tag = (enum tag)(event->data.u64 & TAG_MASK);
	void *object = (void *)(uintptr_t)(event->data.u64 & ~(uint64_t)TAG_MASK);

	switch (tag) {
	case TAG_CLIENT:
	case TAG_BACKEND:
		conn_event(relay, object, (enum side)tag, event->events);
		break;
	case TAG_LISTENER:
		listener_event(relay, object);
		break;
	case TAG_FLOW:
		udp_flow_event(relay, object);
		break;
	case TAG_CHANNEL:
	default:
		relay_receive(relay);
		break;
	}
}

/* Milliseconds the loop may sleep. */
static int sleep_ms(const struct relay *relay)
{
	int64_t next_ms = timers_next_ms(&relay->timers);
	int64_t left_ms;

	if (relay->ready.first || accept_waiting(relay) || udp_waiting(relay))
		return 0;
	if (udp_next_ms(relay) < next_ms)
		next_ms = udp_next_ms(relay);
	if (relay->pause.until_ms > 0 && relay->pause.until_ms < next_ms)
		next_ms = relay->pause.until_ms;
	if (next_ms == INT64_MAX)
		return -1;
	left_ms = next_ms - clock_now_ms();
	return left_ms > 0 ? (int)left_ms : 0;
}

/* Steps what is ready now; connections that want another step stand in the list of the next turn. */
static void run_ready(struct relay *relay)
{
	struct conn *conn = relay->ready.first;

	relay->ready = (struct conn_queue){.last = &relay->ready.first};
	while (conn) {
		struct conn *next = conn->next;

		conn->queued = false;
		conn->next = NULL;
		conn_step(relay, conn);
		conn = next;
	}
}

static void run_timers(struct relay *relay)
{
	struct timer *timer;

	while ((timer = timers_expired(&relay->timers, relay->now_ms)) != NULL) {
		switch ((enum timer_owner)timer->owner) {
		case TIMER_OF_DIAL:
			conn_timeout(relay, ((struct wait *)timer)->conn);
			break;
		case TIMER_OF_CONN:
			conn_deadline(relay, (struct conn *)timer);
			break;
		case TIMER_OF_LISTENER:
			queue_run(relay, (struct listener *)timer);
			break;
		}
	}
}

/* Who looks from outside sees how long the turn has taken so far. */
static void turn_begins(struct relay *relay)
{
	int64_t now_us = clock_now_us();

	relay->now_ms = now_us / 1000;
	atomic_store_explicit(&stats_relay(relay->stats, relay->index)->turn_began_us, (uint64_t)now_us,
		memory_order_relaxed);
}

static void turn_ends(struct relay *relay)
{
	struct stats_process *process = stats_relay(relay->stats, relay->index);
	uint64_t began_us = atomic_load_explicit(&process->turn_began_us, memory_order_relaxed);
	uint64_t us = (uint64_t)clock_now_us() - began_us;

	stats_add(&process->busy_us, us);
	stats_add_time(process->turns, stats_turn_bounds_us, STATS_TURN_BOUNDS, us);
	atomic_store_explicit(&process->open_fds, accept_fds_in_use(relay), memory_order_relaxed);
	atomic_store_explicit(&process->turn_began_us, 0, memory_order_relaxed);
}

static int turn(struct relay *relay)
{
	struct epoll_event events[EVENTS_A_TURN];
	int count = epoll_wait(relay->epoll_fd, events, EVENTS_A_TURN, sleep_ms(relay));

	if (count < 0 && errno != EINTR)
		return -errno;
	turn_begins(relay);
	for (int i = 0; i < count; i++)
		dispatch(relay, &events[i]);
	run_ready(relay);
	udp_run(relay);
	accept_resume(relay);
	accept_run(relay);
	run_timers(relay);
	udp_expire(relay);
	conn_sweep(relay);
	udp_sweep(relay);
	listener_sweep(relay);
	drain_check(relay);
	turn_ends(relay);
	return 0;
}

void loop_run(struct relay *relay)
{
	while (!relay->stopping) {
		int rc = turn(relay);

		if (rc < 0) {
			log_error("event loop failed", log_errno("error", -rc));
			relay->exit_code = EXIT_FAILURE;
			return;
		}
	}
}
