/* Owns the table of listeners and what each was told: portals and backends. Runs in every relay; the
 * supervisor holds the same sockets, so closing one here closes nobody's backlog. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/ipc.h"
#include "portald/log.h"
#include "relay/core.h"

/* The table grows by doubling from here. */
#define FIRST_CAPACITY 64u

static int table_reserve(struct relay *relay, uint32_t name)
{
	uint32_t capacity = relay->listener_capacity ? relay->listener_capacity : FIRST_CAPACITY;
	struct listener **table;

	if (name < relay->listener_capacity)
		return 0;
	while (capacity <= name)
		capacity *= 2;
	table = reallocarray(relay->listeners, capacity, sizeof(*table));
	if (!table)
		return -ENOMEM;
	memset(table + relay->listener_capacity, 0, (capacity - relay->listener_capacity) * sizeof(*table));
	relay->listeners = table;
	relay->listener_capacity = capacity;
	return 0;
}

static struct listener *table_get(const struct relay *relay, uint32_t name)
{
	return name < relay->listener_capacity ? relay->listeners[name] : NULL;
}

struct listener *listener_ref(struct listener *listener)
{
	listener->refs++;
	return listener;
}

void listener_unref(struct listener *listener)
{
	if (--listener->refs > 0)
		return;
	backends_unref(listener->backends);
	free(listener->portals);
	free(listener->source_ranges);
	free(listener->key);
	free(listener->udp);
	free(listener);
}

void listener_count_failure(struct listener *listener, enum stats_failure why)
{
	stats_add(&listener->counters->failures[why], 1);
}

static struct listener *listener_new(struct relay *relay, uint32_t name, uint32_t slot)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener || table_reserve(relay, name) < 0) {
		free(listener);
		return NULL;
	}
	listener->refs = 1;
	listener->name = name;
	listener->slot = slot;
	listener->fd = -1;
	timer_init(&listener->timer, TIMER_OF_LISTENER);
	TAILQ_INIT(&listener->waiting);
	listener->counters = stats_listener(relay->stats, relay->index, slot);
	relay->listeners[name] = listener;
	relay->listener_count++;
	return listener;
}

/* NULL when out of memory only. */
static void *copy_array(const void *from, size_t count, size_t size)
{
	void *copy = calloc(count ? count : 1, size);

	if (copy && count > 0)
		memcpy(copy, from, count * size);
	return copy;
}

/* Takes over all but the socket from the message. */
static int set_identity(
	struct relay *relay, struct listener *listener, const struct ipc_relay_listener *message)
{
	uint32_t idle_ms = listener->options.idle_timeout_ms;
	struct ipc_relay_portal *portals =
		copy_array(message->portals, message->portal_count, sizeof(*portals));
	struct addr_prefix *ranges =
		copy_array(message->source_ranges, message->source_range_count, sizeof(*ranges));
	char *key = strdup(message->key);

	if (!portals || !ranges || !key) {
		free(portals);
		free(ranges);
		free(key);
		return -ENOMEM;
	}
	free(listener->portals);
	free(listener->source_ranges);
	free(listener->key);
	listener->options = message->options;
	listener->source_ranges = ranges;
	listener->source_range_count = message->source_range_count;
	listener->portals = portals;
	listener->portal_count = message->portal_count;
	listener->key = key;
	listener->check_destination = message->check_destination;
	listener->direct = message->direct;
	listener->wants_portal = message->options.scheduler == SCHEDULER_DH ||
				 message->options.proxy_protocol > 0 || relay->access_fd >= 0;
	listener->wants_client = relay->access_fd >= 0 || pick_wants_client(&message->options) ||
				 message->options.proxy_protocol > 0 || message->source_range_count > 0;
	if (listener->options.idle_timeout_ms != idle_ms)
		conn_check_idle(relay, listener);
	return 0;
}

/* The socket's description is the supervisor's too: closing ours would not take it out of the loop. */
static void close_socket(struct relay *relay, struct listener *listener)
{
	if (listener->fd < 0)
		return;
	loop_unwatch(relay, listener->fd);
	close(listener->fd);
	listener->fd = -1;
}

/* Whether the message can be obeyed: 0 or -errno. */
static int check(const struct listener *listener, const struct ipc_relay_listener *message)
{
	if (message->proto != PROTO_TCP && message->proto != PROTO_UDP)
		return -EPROTONOSUPPORT;
	if (message->name >= IPC_MAX_RELAY_LISTENERS || message->slot >= STATS_MAX_LISTENERS)
		return -EPROTO;
	/* A listener stays what it is. */
	if (listener &&
		(message->slot != listener->slot || (message->proto == PROTO_UDP) != (listener->udp != NULL)))
		return -EPROTO;
	return 0;
}

int listener_put(struct relay *relay, const struct ipc_relay_listener *message, int fd)
{
	struct listener *listener = table_get(relay, message->name);
	socklen_t length = sizeof(listener->domain);
	int rc = check(listener, message);

	if (rc < 0)
		goto fail;
	if (!listener)
		listener = listener_new(relay, message->name, message->slot);
	rc = listener ? set_identity(relay, listener, message) : -ENOMEM;
	if (rc < 0)
		goto fail;
	close_socket(relay, listener);
	listener->fd = fd;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &listener->domain, &length) < 0)
		return -errno;
	if (message->proto == PROTO_UDP)
		rc = udp_port_put(relay, listener);
	/* Who waits in the backlog goes on waiting until it is known where to dial. */
	return rc < 0 || !listener->backends ? rc : loop_watch_listener(relay, listener);
fail:
	close(fd);
	return rc;
}

int listener_set_backends(struct relay *relay, const struct ipc_relay_backends *message)
{
	struct listener *listener = table_get(relay, message->listener);
	struct backends *backends;
	bool first;

	if (!listener)
		return -ENOENT;
	backends = backends_new((uint32_t)message->backend_count);
	if (!backends)
		return -ENOMEM;
	for (size_t i = 0; i < message->backend_count; i++) {
		const struct ipc_relay_backend *from = &message->backends[i];

		if (from->slot >= STATS_MAX_BACKENDS) {
			backends_unref(backends);
			return -EPROTO;
		}
		backends->entries[i] =
			(struct backend){.at = from->at, .slot = from->slot, .weight = from->weight};
	}
	backends_finish(backends);
	first = !listener->backends;
	backends_unref(listener->backends);
	listener->backends = backends;
	conn_check_removed(relay, listener);
	return first ? loop_watch_listener(relay, listener) : 0;
}

struct listener *listener_sibling(
	const struct relay *relay, const struct listener *listener, const struct listener *after)
{
	for (uint32_t name = after ? after->name + 1 : 0; name < relay->listener_capacity; name++) {
		struct listener *other = relay->listeners[name];

		if (other && other != listener && other->domain == listener->domain &&
			!other->udp == !listener->udp && strcmp(other->key, listener->key) == 0)
			return other;
	}
	return NULL;
}

void listener_close(struct relay *relay, uint32_t name)
{
	struct listener *listener = table_get(relay, name);

	if (!listener)
		return;
	udp_port_close(relay, listener);
	close_socket(relay, listener);
	queue_close(relay, listener);
	relay->listeners[name] = NULL;
	relay->listener_count--;
	conn_check_removed(relay, listener);
	/* The accept queue or an event of this turn may still name it. */
	listener->next_closed = relay->closed;
	relay->closed = listener;
}

void listener_sweep(struct relay *relay)
{
	struct listener **link = &relay->closed;

	while (*link) {
		struct listener *listener = *link;

		if (listener->queued) {
			link = &listener->next_closed;
			continue;
		}
		*link = listener->next_closed;
		listener_unref(listener);
	}
}

void listener_free_all(struct relay *relay)
{
	for (uint32_t name = 0; name < relay->listener_capacity; name++)
		listener_close(relay, name);
	while (relay->accepting.first) {
		relay->accepting.first->queued = false;
		relay->accepting.first = relay->accepting.first->next;
	}
	listener_sweep(relay);
	free(relay->listeners);
}
