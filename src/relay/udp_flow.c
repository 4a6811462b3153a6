/* Owns flows: their backend, their standing and their end. Runs in every relay.
 *
 *   standing      event                                    next
 *   UNANSWERED    the backend answers                      ANSWERED
 *   ANSWERED      the client goes on                       ESTABLISHED
 *   any           the backend's port is unreachable        another backend, which gets the last datagram if
 * that was not answered; UNANSWERED. None left: closed any           the client goes on, the endpoint is the
 * same with that datagram no longer one of the Service UNANSWERED    nobody has spoken for the first timeout
 * closed others        nobody has spoken for the idle timeout   closed any           the relay has too many
 * flows, and this   closed one is worth least (udp_queue.c) any           the listener is closed closed
 *
 * A datagram that cannot be sent on is lost, as it may be on any network, and counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portald/log.h"
#include "relay/udp.h"

/* A backend that was set aside and has not refused for that long after a datagram is taken back: many
 * protocols never answer. */
#define PROBE_SILENCE_MS 200

/* Room for small datagrams is kept with the flow, for bigger ones only while it is needed. */
#define KEPT_FIRST_BYTES 128u
#define KEPT_STAY_BYTES 2048u

/* A datagram may find its flow's backend gone, and the next one too; with more than that it is lost. */
#define SENDS_A_DATAGRAM 3

/* ---- the last datagram ---- */

static void kept_free(struct udp *udp, struct udp_flow *flow)
{
	if (!flow->kept)
		return;
	udp->kept_bytes -= flow->kept->capacity;
	free(flow->kept);
	flow->kept = NULL;
}

static void kept_clear(struct udp *udp, struct udp_flow *flow)
{
	if (!flow->kept)
		return;
	flow->kept->bytes = 0;
	if (flow->kept->capacity > KEPT_STAY_BYTES)
		kept_free(udp, flow);
}

static void kept_reserve(struct udp *udp, struct udp_flow *flow, size_t bytes)
{
	uint32_t capacity = KEPT_FIRST_BYTES;

	kept_free(udp, flow);
	while (capacity < bytes)
		capacity *= 2;
	if (udp->kept_bytes + capacity > UDP_KEPT_LIMIT_BYTES)
		return;
	flow->kept = malloc(sizeof(*flow->kept) + capacity);
	if (!flow->kept)
		return;
	flow->kept->capacity = capacity;
	udp->kept_bytes += capacity;
}

/* Without memory for it the datagram is lost if the backend turns out to be gone. */
static void kept_set(struct udp *udp, struct udp_flow *flow, const uint8_t *data, size_t bytes)
{
	if (!flow->kept || flow->kept->capacity < bytes)
		kept_reserve(udp, flow, bytes);
	if (!flow->kept)
		return;
	memcpy(flow->kept->data, data, bytes);
	flow->kept->bytes = (uint32_t)bytes;
}

/* ---- the backend ---- */

static const struct backend *backend_of(const struct udp_flow *flow)
{
	return &flow->backends->entries[flow->picked.index];
}

struct stats_backend_counters *udp_flow_counters(struct relay *relay, const struct udp_flow *flow)
{
	return stats_backend(relay->stats, relay->index, backend_of(flow)->slot);
}

/* Reports that nothing speaks against the backend. */
static void backend_approve(struct relay *relay, struct udp_flow *flow)
{
	pick_succeeded(relay->stats, backend_of(flow));
	flow->picked.probe = false;
}

/* Ends a probe by what is known: silence after a while is as good as it gets. */
static void probe_end(struct relay *relay, struct udp_flow *flow)
{
	if (!flow->picked.probe)
		return;
	if (relay->now_ms - flow->dialed_ms >= PROBE_SILENCE_MS)
		pick_succeeded(relay->stats, backend_of(flow));
	else
		pick_probe_abandoned(relay->stats, backend_of(flow), relay->now_ms);
	flow->picked.probe = false;
}

/* Closes the backend's socket. */
static void backend_leave(struct relay *relay, struct udp_flow *flow)
{
	if (flow->fd < 0)
		return;
	probe_end(relay, flow);
	pick_release(relay->stats, relay->index, backend_of(flow)->slot);
	close(flow->fd);
	flow->fd = -1;
}

static bool is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS || error == EAGAIN ||
	       error == EADDRNOTAVAIL;
}

static int backend_connect(struct relay *relay, struct udp_flow *flow)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&backend_of(flow)->at, &sa);
	int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, length) == 0 && loop_watch_flow(relay, fd, flow) == 0) {
		flow->fd = fd;
		flow->dialed_ms = relay->now_ms;
		flow->standing = UDP_UNANSWERED;
		stats_add(&udp_flow_counters(relay, flow)->connections, 1);
		pick_hold(relay->stats, relay->index, backend_of(flow)->slot);
		return 0;
	}
	error = errno;
	close(fd);
	return -error;
}

/* The backend refuses, or cannot be reached: it is set aside, and the flow does not come back to it. */
static void backend_failed(struct relay *relay, struct udp_flow *flow, int error)
{
	bool refused = error == ECONNREFUSED;

	log_v(2, "udp endpoint failed", log_str("service", flow->listener->key),
		log_addr_port("endpoint", &backend_of(flow)->at), log_errno("error", error));
	pick_failed(relay->stats, backend_of(flow), flow->picked.probe, relay->now_ms);
	flow->picked.probe = false;
	stats_add(&udp_flow_counters(relay, flow)->failures, 1);
	listener_count_failure(flow->listener, refused ? STATS_FAIL_REFUSED : STATS_FAIL_UNREACHABLE);
	if (!flow->tried)
		flow->tried = tried_new(flow->backends->count);
	if (flow->tried)
		tried_mark(flow->tried, flow->picked.index, true);
}

static bool backend_pick(struct relay *relay, struct udp_flow *flow)
{
	const struct listener *listener = flow->listener;

	return pick_next(
		&(struct pick_request){
			.stats = relay->stats,
			.relay = relay->index,
			.listener_slot = listener->slot,
			.options = &listener->options,
			.backends = flow->backends,
			.tried = flow->tried,
			.client = &flow->key.client,
			/* Which one the client meant is not to be known after redirection. */
			.portal = listener->portal_count > 0 ? &listener->portals[0].at.addr : NULL,
			.now_ms = relay->now_ms,
		},
		&flow->picked);
}

/* Connects to a backend that the flow has not tried. False, and counted, if there is none. */
static bool backend_dial(struct relay *relay, struct udp_flow *flow)
{
	enum stats_failure why = STATS_FAIL_ALL_BACKENDS;

	while (backend_pick(relay, flow)) {
		int rc = backend_connect(relay, flow);

		if (rc == 0)
			return true;
		if (is_shortage(-rc)) {
			if (flow->picked.probe)
				pick_probe_abandoned(relay->stats, backend_of(flow), relay->now_ms);
			why = STATS_FAIL_RESOURCES;
			break;
		}
		backend_failed(relay, flow, -rc);
		stats_add(&flow->listener->counters->retries, 1);
		if (!flow->tried)
			break;
	}
	listener_count_failure(flow->listener, why);
	return false;
}

/* Begins anew with the backends that the listener has now. */
static bool backends_renew(struct udp_flow *flow)
{
	struct backends *fresh = flow->listener->backends;

	free(flow->tried);
	flow->tried = NULL;
	backends_unref(flow->backends);
	flow->backends = fresh ? backends_ref(fresh) : NULL;
	if (fresh && fresh->count > 0)
		return true;
	listener_count_failure(flow->listener, STATS_FAIL_NO_BACKEND);
	return false;
}

/* ---- life ---- */

void udp_flow_close(struct relay *relay, struct udp_flow *flow)
{
	struct udp *udp = relay->udp;

	if (flow->closed)
		return;
	log_v(4, "udp flow ended", log_str("service", flow->listener->key));
	backend_leave(relay, flow);
	udp_queue_remove(udp, flow);
	udp_table_remove(&udp->table, flow);
	TAILQ_REMOVE(&flow->listener->udp->flows, flow, by_listener);
	if (flow->ready)
		STAILQ_REMOVE(&udp->ready, flow, udp_flow, link);
	kept_free(udp, flow);
	free(flow->tried);
	backends_unref(flow->backends);
	stats_drop(&flow->listener->counters->active);
	udp->flow_count--;
	/* An event of this turn may still name it. */
	flow->closed = true;
	STAILQ_INSERT_TAIL(&udp->graveyard, flow, link);
}

/* Gives up the flow that is worth least if there is no room for another. */
static bool make_room(struct relay *relay)
{
	struct udp *udp = relay->udp;
	struct udp_flow *idlest;

	if (udp->flow_count < udp->max_flows && accept_has_fds(relay, 1))
		return true;
	idlest = udp_queue_idlest(udp);
	if (!idlest)
		return false;
	listener_count_failure(idlest->listener, STATS_FAIL_FLOWS);
	udp_flow_close(relay, idlest);
	return true;
}

/* Counts one more flow as active, unless the Service has enough of them. There is no queue: a client that
 * gets no answer asks again. */
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
	listener_count_failure(listener, STATS_FAIL_QUEUE_FULL);
	return false;
}

static struct udp_flow *flow_alloc(struct relay *relay, struct listener *listener)
{
	struct udp_flow *flow;

	if (!make_room(relay)) {
		listener_count_failure(listener, STATS_FAIL_DESCRIPTORS);
		return NULL;
	}
	flow = slab_get(&relay->udp->flows);
	if (!flow) {
		listener_count_failure(listener, STATS_FAIL_RESOURCES);
		return NULL;
	}
	flow->fd = -1;
	flow->listener = listener;
	return flow;
}

struct udp_flow *udp_flow_new(struct relay *relay, struct listener *listener, const struct udp_key *key,
	uint64_t hash, const struct msghdr *from)
{
	struct udp *udp = relay->udp;
	struct udp_flow *flow;

	if (!take_place(relay, listener))
		return NULL;
	flow = flow_alloc(relay, listener);
	if (!flow) {
		stats_drop(&listener->counters->active);
		return NULL;
	}
	flow->key = *key;
	flow->hash = hash;
	flow->client_bytes = from->msg_namelen;
	memcpy(&flow->client, from->msg_name, sizeof(flow->client));
	if (!backends_renew(flow) || !backend_dial(relay, flow)) {
		free(flow->tried);
		backends_unref(flow->backends);
		slab_put(&udp->flows, flow);
		stats_drop(&listener->counters->active);
		return NULL;
	}
	udp_table_add(&udp->table, flow);
	TAILQ_INSERT_TAIL(&listener->udp->flows, flow, by_listener);
	udp_queue_touch(udp, flow, relay->now_ms);
	udp->flow_count++;
	stats_add(&listener->counters->accepted, 1);
	return flow;
}

/* ---- datagrams ---- */

static int flow_send(const struct udp_flow *flow, const uint8_t *data, size_t bytes)
{
	ssize_t sent;

	do {
		sent = send(flow->fd, data, bytes, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* Errors that tell of the backend, not of this datagram or of a full buffer. */
static bool is_backend_error(int error)
{
	return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == EHOSTDOWN ||
	       error == ENOPROTOOPT || error == ENETDOWN;
}

/* Connects to another backend, which gets the kept datagram. False if there is none: the flow is closed. */
static bool flow_move(struct relay *relay, struct udp_flow *flow)
{
	stats_add(&flow->listener->counters->retries, 1);
	if (!backend_dial(relay, flow)) {
		udp_flow_close(relay, flow);
		return false;
	}
	udp_queue_touch(relay->udp, flow, relay->now_ms);
	/* If that fails as well, the error shows at the next send or as an event. */
	if (flow->kept && flow->kept->bytes > 0 && flow_send(flow, flow->kept->data, flow->kept->bytes) < 0)
		listener_count_failure(flow->listener, STATS_FAIL_DATAGRAM);
	return true;
}

bool udp_flow_failed(struct relay *relay, struct udp_flow *flow, int error)
{
	if (!is_backend_error(error))
		return true;
	backend_failed(relay, flow, error);
	backend_leave(relay, flow);
	if (flow->backends == flow->listener->backends || backends_renew(flow))
		return flow_move(relay, flow);
	udp_flow_close(relay, flow);
	return false;
}

/* The same backend among those that the listener has now; -1 if it is no longer one of them. */
static int64_t backend_now(const struct udp_flow *flow)
{
	const struct backends *fresh = flow->listener->backends;
	const struct backend *own = backend_of(flow);
	int64_t index = fresh ? backends_find(fresh, own->slot) : -1;

	return index >= 0 && addr_port_equal(&fresh->entries[index].at, &own->at) ? index : -1;
}

/* The listener's backends have been replaced. False if the flow was closed. */
static bool flow_renew(struct relay *relay, struct udp_flow *flow)
{
	int64_t index = backend_now(flow);

	if (index < 0) {
		backend_leave(relay, flow);
		kept_clear(relay->udp, flow);
	}
	if (!backends_renew(flow)) {
		udp_flow_close(relay, flow);
		return false;
	}
	if (index < 0)
		return flow_move(relay, flow);
	flow->picked.index = (uint32_t)index;
	return true;
}

static void note_client(struct relay *relay, struct udp_flow *flow)
{
	if (flow->standing == UDP_ANSWERED)
		flow->standing = UDP_ESTABLISHED;
	if (flow->picked.probe && relay->now_ms - flow->dialed_ms >= PROBE_SILENCE_MS)
		backend_approve(relay, flow);
	udp_queue_touch(relay->udp, flow, relay->now_ms);
}

void udp_flow_forward(struct relay *relay, struct udp_flow *flow, const uint8_t *data, size_t bytes)
{
	struct stats_listener_counters *counters = flow->listener->counters;
	int rc = -ECONNREFUSED;

	stats_add(&counters->bytes_in, bytes);
	stats_add(&counters->datagrams_in, 1);
	if (flow->backends != flow->listener->backends && !flow_renew(relay, flow))
		return;
	for (int i = 0; i < SENDS_A_DATAGRAM; i++) {
		rc = flow_send(flow, data, bytes);
		if (rc == 0 || !is_backend_error(-rc))
			break;
		/* Of an earlier datagram: this one was not sent. */
		if (!udp_flow_failed(relay, flow, -rc))
			return;
	}
	if (rc < 0) {
		listener_count_failure(flow->listener, STATS_FAIL_DATAGRAM);
	} else {
		stats_add(&udp_flow_counters(relay, flow)->bytes_in, bytes);
		kept_set(relay->udp, flow, data, bytes);
	}
	note_client(relay, flow);
}

void udp_flow_answered(struct relay *relay, struct udp_flow *flow)
{
	if (flow->standing == UDP_UNANSWERED) {
		flow->standing = UDP_ANSWERED;
		backend_approve(relay, flow);
		free(flow->tried);
		flow->tried = NULL;
	}
	kept_clear(relay->udp, flow);
	udp_queue_touch(relay->udp, flow, relay->now_ms);
}
