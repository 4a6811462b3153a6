/* Owns the moving of datagrams: in batches from a listener's socket to the flows, and in batches from the
 * flows out of the listener's socket. Runs in every relay.
 *
 * Sockets are edge-triggered. One that was not emptied stays in its list (listeners: readable, flows: ready),
 * and each gets a bounded share of a turn, so that neither a burst stops the reading nor a flood starves TCP.
 *
 * Answers wait in the buffers that they were received in until there are enough of them, another listener's
 * comes or all have been read; so a turn's answers to many clients cost one call. The same buffers take in
 * what clients send, which is forwarded before the first answer is read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portald/log.h"
#include "relay/portal.h"
#include "relay/udp.h"

/* Calls that read one listener in a turn. */
#define LISTENER_BATCHES_A_TURN 4

/* Datagrams read from one flow in a turn if it has had some for that many turns in a row; else one. */
#define FLOW_DATAGRAMS_A_TURN 8
#define FLOW_STREAK 2

/* Buffers begin at different places of a page: otherwise the first lines of all would compete for the same
 * few places of the processor's caches. */
#define BUFFER_STRIDE (UDP_BUFFER_BYTES + 3 * 64)

static uint8_t *buffer_at(const struct udp *udp, unsigned index)
{
	return udp->buffers + index * BUFFER_STRIDE;
}

/* ---- from clients ---- */

static void in_prepare(struct udp *udp, unsigned index)
{
	udp->in.messages[index].msg_hdr = (struct msghdr){
		.msg_name = &udp->in.names[index],
		.msg_namelen = sizeof(udp->in.names[index]),
		.msg_iov = &udp->in.pieces[index],
		.msg_iovlen = 1,
		.msg_control = &udp->in.controls[index],
		.msg_controllen = sizeof(udp->in.controls[index]),
	};
}

static bool is_admitted(struct listener *listener, const struct addr *client)
{
	if (!listener->udp->check_source || portal_admits(&listener->portals[0], listener->source_ranges,
						    listener->source_range_count, client))
		return true;
	listener_count_failure(listener, STATS_FAIL_SOURCE_RANGE);
	return false;
}

static void in_take(struct relay *relay, struct listener *listener, unsigned index)
{
	struct udp *udp = relay->udp;
	const struct mmsghdr *message = &udp->in.messages[index];
	struct udp_key key;
	struct udp_flow *flow;
	uint64_t hash;

	if (udp_msg_parse(&message->msg_hdr, &listener->udp->bound, &key) < 0) {
		listener_count_failure(listener, STATS_FAIL_DATAGRAM);
		return;
	}
	key.listener = listener->name;
	hash = udp_table_hash(&udp->table, &key);
	flow = udp_table_find(&udp->table, &key, hash);
	if (!flow && is_admitted(listener, &key.client))
		flow = udp_flow_new(relay, listener, &key, hash, &message->msg_hdr);
	if (flow)
		udp_flow_forward(relay, flow, buffer_at(udp, index), message->msg_len);
}

/* Returns true if there may be more. */
static bool in_batch(struct relay *relay, struct listener *listener)
{
	struct udp *udp = relay->udp;
	int count = recvmmsg(listener->fd, udp->in.messages, UDP_BATCH, MSG_DONTWAIT, NULL);

	/* An error that is not about emptiness is the last sendmsg's or a network's: it is over now. */
	if (count < 0)
		return errno != EAGAIN;
	for (int i = 0; i < count; i++) {
		in_take(relay, listener, (unsigned)i);
		in_prepare(udp, (unsigned)i);
	}
	return count == UDP_BATCH;
}

static bool read_listener(struct relay *relay, struct listener *listener)
{
	for (int i = 0; i < LISTENER_BATCHES_A_TURN; i++) {
		if (!in_batch(relay, listener))
			return false;
	}
	return true;
}

static void run_listeners(struct relay *relay)
{
	struct udp_ports ports = TAILQ_HEAD_INITIALIZER(ports);
	struct udp_port *port;

	TAILQ_CONCAT(&ports, &relay->udp->readable, link);
	while ((port = TAILQ_FIRST(&ports)) != NULL) {
		TAILQ_REMOVE(&ports, port, link);
		port->readable = false;
		if (read_listener(relay, port->listener))
			udp_port_event(relay, port->listener);
	}
}

/* ---- to clients ---- */

/* A place that can be received into: all from out_count on are. */
static void out_prepare(struct udp *udp, unsigned index)
{
	udp->out.pieces[index].iov_len = UDP_BUFFER_BYTES;
	udp->out.messages[index].msg_hdr =
		(struct msghdr){.msg_iov = &udp->out.pieces[index], .msg_iovlen = 1};
}

/* Sends what waits. What the kernel does not take is lost. */
static void out_flush(struct udp *udp)
{
	unsigned done = 0;

	while (done < udp->out_count) {
		int sent = sendmmsg(udp->out_listener->fd, udp->out.messages + done, udp->out_count - done,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			listener_count_failure(udp->out_listener, STATS_FAIL_DATAGRAM);
		done += sent > 0 ? (unsigned)sent : 1;
	}
	while (udp->out_count > 0)
		out_prepare(udp, --udp->out_count);
}

static void out_address(struct udp *udp, const struct udp_flow *flow, unsigned index)
{
	struct msghdr *header = &udp->out.messages[index].msg_hdr;

	udp->out.pieces[index].iov_len = udp->out.messages[index].msg_len;
	udp->out.names[index] = flow->client;
	header->msg_name = &udp->out.names[index];
	header->msg_namelen = flow->client_bytes;
	if (!addr_is_any(&flow->listener->udp->bound))
		return;
	header->msg_control = &udp->out.controls[index];
	header->msg_controllen = udp_msg_set_source(&udp->out.controls[index], &flow->key);
}

static void out_add(struct relay *relay, struct udp_flow *flow, unsigned count)
{
	struct stats_listener_counters *counters = flow->listener->counters;
	struct stats_backend_counters *backend = udp_flow_counters(relay, flow);
	struct udp *udp = relay->udp;

	for (unsigned i = 0; i < count; i++) {
		out_address(udp, flow, udp->out_count);
		stats_add(&counters->bytes_out, udp->out.messages[udp->out_count].msg_len);
		stats_add(&backend->bytes_out, udp->out.messages[udp->out_count].msg_len);
		udp->out_count++;
	}
	stats_add(&counters->datagrams_out, count);
	udp_flow_answered(relay, flow);
}

/* Makes room for count answers of the flow. */
static void out_reserve(struct udp *udp, const struct udp_flow *flow, unsigned count)
{
	if (udp->out_listener != flow->listener || udp->out_count + count > UDP_BATCH)
		out_flush(udp);
	udp->out_listener = flow->listener;
}

/* Returns how many were received, or a negative errno. */
static int receive(struct udp *udp, const struct udp_flow *flow, unsigned count)
{
	struct mmsghdr *messages = udp->out.messages + udp->out_count;
	ssize_t got;
	int received;

	if (count > 1) {
		received = recvmmsg(flow->fd, messages, count, MSG_DONTWAIT, NULL);
		return received < 0 ? -errno : received;
	}
	got = recv(flow->fd, buffer_at(udp, udp->out_count), UDP_BUFFER_BYTES, MSG_DONTWAIT);
	if (got < 0)
		return -errno;
	messages->msg_len = (unsigned)got;
	return 1;
}

static unsigned flow_share(const struct udp *udp, struct udp_flow *flow)
{
	bool again = flow->read_turn + 1 == udp->turn;

	flow->read_turn = udp->turn;
	if (!again)
		flow->streak = 0;
	else if (flow->streak < FLOW_STREAK)
		flow->streak++;
	return flow->streak < FLOW_STREAK ? 1 : FLOW_DATAGRAMS_A_TURN;
}

static void read_flow(struct relay *relay, struct udp_flow *flow)
{
	unsigned share = flow_share(relay->udp, flow);
	int count;

	out_reserve(relay->udp, flow, share);
	count = receive(relay->udp, flow, share);
	if (count >= 0)
		out_add(relay, flow, (unsigned)count);
	else
		udp_flow_failed(relay, flow, -count);
}

static void run_flows(struct relay *relay)
{
	struct udp_flow_list *ready = &relay->udp->ready;
	struct udp_flow *flow;

	while ((flow = STAILQ_FIRST(ready)) != NULL) {
		STAILQ_REMOVE_HEAD(ready, link);
		flow->ready = false;
		read_flow(relay, flow);
	}
	out_flush(relay->udp);
}

/* ---- the loop ---- */

void udp_port_event(struct relay *relay, struct listener *listener)
{
	struct udp_port *port = listener->udp;

	if (port->readable || listener->fd < 0 || relay->draining)
		return;
	port->readable = true;
	TAILQ_INSERT_TAIL(&relay->udp->readable, port, link);
}

void udp_flow_event(struct relay *relay, struct udp_flow *flow)
{
	if (flow->ready || flow->closed)
		return;
	flow->ready = true;
	STAILQ_INSERT_TAIL(&relay->udp->ready, flow, link);
}

bool udp_waiting(const struct relay *relay)
{
	return !TAILQ_EMPTY(&relay->udp->readable);
}

void udp_run(struct relay *relay)
{
	if (!TAILQ_EMPTY(&relay->udp->readable))
		run_listeners(relay);
	if (!STAILQ_EMPTY(&relay->udp->ready))
		run_flows(relay);
	relay->udp->turn++;
}

int64_t udp_next_ms(const struct relay *relay)
{
	return udp_queue_next_ms(relay->udp);
}

void udp_expire(struct relay *relay)
{
	struct udp_flow *flow;

	while ((flow = udp_queue_expired(relay->udp, relay->now_ms)) != NULL)
		udp_flow_close(relay, flow);
}

void udp_sweep(struct relay *relay)
{
	struct udp_flow *flow;

	while ((flow = STAILQ_FIRST(&relay->udp->graveyard)) != NULL) {
		STAILQ_REMOVE_HEAD(&relay->udp->graveyard, link);
		slab_put(&relay->udp->flows, flow);
	}
}

/* ---- listeners ---- */

static int learn_bound(struct listener *listener)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	struct addr_port at;
	int rc;

	if (getsockname(listener->fd, (struct sockaddr *)&sa, &length) < 0)
		return -errno;
	rc = addr_from_sockaddr(&at, (struct sockaddr *)&sa);
	if (rc == 0)
		listener->udp->bound = at.addr;
	return rc;
}

static int set_timeouts(struct udp *udp, struct listener *listener)
{
	const struct service_options *options = &listener->options;
	uint32_t idle_ms = options->udp_idle_ms ? options->udp_idle_ms : UDP_IDLE_MS;
	uint32_t first_ms = options->udp_first_ms ? options->udp_first_ms : UDP_FIRST_MS;

	for (enum udp_standing standing = 0; standing < UDP_STANDINGS; standing++) {
		uint32_t timeout_ms = standing == UDP_UNANSWERED ? first_ms : idle_ms;
		struct udp_queue *queue = udp_queue_get(udp, standing, timeout_ms);

		if (!queue)
			return -ENOMEM;
		udp_queue_put(udp, listener->udp->queues[standing]);
		listener->udp->queues[standing] = queue;
	}
	return 0;
}

/* Which portal a datagram was sent to is not to be known after redirection: source ranges hold for a listener
 * as a whole. The plan makes listeners so. */
static bool all_check_source(const struct listener *listener)
{
	bool all = listener->check_destination && listener->portal_count > 0;

	for (size_t i = 0; i < listener->portal_count; i++)
		all = all && listener->portals[i].check_source;
	return all;
}

int udp_port_put(struct relay *relay, struct listener *listener)
{
	int rc;

	if (!listener->udp) {
		listener->udp = calloc(1, sizeof(*listener->udp));
		if (!listener->udp)
			return -ENOMEM;
		listener->udp->listener = listener;
		TAILQ_INIT(&listener->udp->flows);
	}
	listener->udp->check_source = all_check_source(listener);
	rc = learn_bound(listener);
	return rc < 0 ? rc : set_timeouts(relay->udp, listener);
}

void udp_port_drain(struct relay *relay, struct listener *listener)
{
	struct udp_port *port = listener->udp;

	if (port->readable)
		TAILQ_REMOVE(&relay->udp->readable, port, link);
	port->readable = false;
}

void udp_port_close(struct relay *relay, struct listener *listener)
{
	struct udp_port *port = listener->udp;
	struct udp_flow *flow;

	if (!port)
		return;
	while ((flow = TAILQ_FIRST(&port->flows)) != NULL)
		udp_flow_close(relay, flow);
	for (enum udp_standing standing = 0; standing < UDP_STANDINGS; standing++) {
		udp_queue_put(relay->udp, port->queues[standing]);
		port->queues[standing] = NULL;
	}
	udp_port_drain(relay, listener);
}

/* ---- life ---- */

uint32_t udp_fds(const struct relay *relay)
{
	return relay->udp->flow_count;
}

static void init_batches(struct udp *udp)
{
	for (unsigned i = 0; i < UDP_BATCH; i++) {
		udp->in.pieces[i] = (struct iovec){buffer_at(udp, i), UDP_BUFFER_BYTES};
		udp->out.pieces[i] = udp->in.pieces[i];
		in_prepare(udp, i);
		out_prepare(udp, i);
	}
}

int udp_init(struct relay *relay, uint32_t max_flows)
{
	struct udp *udp = calloc(1, sizeof(*udp));
	uint32_t half =
		relay->fd_limit > relay->fds_elsewhere ? (relay->fd_limit - relay->fds_elsewhere) / 2 : 0;

	if (!udp)
		return -ENOMEM;
	relay->udp = udp;
	udp->max_flows = max_flows ? max_flows : UDP_MAX_FLOWS;
	if (udp->max_flows > half)
		udp->max_flows = half;
	TAILQ_INIT(&udp->readable);
	STAILQ_INIT(&udp->ready);
	STAILQ_INIT(&udp->graveyard);
	slab_init(&udp->flows, sizeof(struct udp_flow));
	/* Pages that no datagram has reached cost nothing. */
	udp->buffers = malloc(UDP_BATCH * BUFFER_STRIDE);
	if (!udp->buffers)
		return -ENOMEM;
	init_batches(udp);
	return udp_table_init(&udp->table, udp->max_flows);
}

void udp_fini(struct relay *relay)
{
	struct udp *udp = relay->udp;

	if (!udp)
		return;
	udp_sweep(relay);
	udp_table_fini(&udp->table);
	slab_fini(&udp->flows);
	free(udp->buffers);
	free(udp);
	relay->udp = NULL;
}
