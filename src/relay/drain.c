/* Owns the end of a relay that has been succeeded. Runs in every relay.
 *
 *   state     event                                next
 *   serving   RELAY_DRAIN                          draining: nothing new is taken in
 *   draining  the last connection and flow ended   the relay ends
 *
 * The sockets go on in the successor, so what waits in them is not lost: a TCP listener is closed here, since
 * its description is another process's too; a UDP one is only not read any more, since the answers of flows
 * leave by it. Connections that wait for room below max_connections go on waiting for it. */
#include <unistd.h>

#include "portald/log.h"
#include "relay/core.h"

static void drain_listener(struct relay *relay, struct listener *listener)
{
	if (listener->fd < 0)
		return;
	loop_unwatch(relay, listener->fd);
	if (listener->udp) {
		udp_port_drain(relay, listener);
		return;
	}
	close(listener->fd);
	listener->fd = -1;
}

void drain_begin(struct relay *relay)
{
	if (relay->draining)
		return;
	relay->draining = true;
	for (uint32_t name = 0; name < relay->listener_capacity; name++) {
		if (relay->listeners[name])
			drain_listener(relay, relay->listeners[name]);
	}
	log_info("draining", log_int("connections", (int64_t)relay->conns.in_use),
		log_int("flows", udp_fds(relay)));
	if (relay->drains)
		relay->drains(relay->context);
}

void drain_check(struct relay *relay)
{
	if (!relay->draining || relay->stopping || relay->conns.in_use > 0 || udp_fds(relay) > 0)
		return;
	log_info("drained: all connections have ended");
	relay->stopping = true;
}
