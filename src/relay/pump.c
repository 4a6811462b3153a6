/* Owns the moving of bytes from one side of a connection to the other. Runs in every relay.
 *
 *   way     when                                   bytes wait in
 *   copy    small messages; no pipe to be had      a rest in heap, as big as what was not taken
 *   peek    rests have reached their bound         the source's socket: only what was sent is consumed
 *   splice  a read gave 16 KiB or more at once;    a pipe, which goes back to the pool when it is empty
 *           until a run of small reads
 *
 * A short read means that the socket is empty: its next bytes, or its FIN, raise an event. Only when a FIN
 * or an error has been announced already is there no further event to wait for, so reading goes on until
 * it shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "relay/core.h"

/* What a direction may move in a turn before others get theirs. */
#define TURN_BYTES ((size_t)512 * 1024)

#define SPLICE_MIN_BYTES ((size_t)16 * 1024)

/* Small reads in a row after which a splicing direction copies again. */
#define SPLICE_SMALL_READS 4

/* How the direction goes on after a part of the work. */
enum progress {
	PROGRESS_ON,   /* there may be more to do */
	PROGRESS_WAIT, /* an event must come first, or the direction is over */
};

/* A direction at work. */
struct pumping {
	struct relay *relay;
	struct conn *conn;
	struct half *half;
	enum side from, to;
	int source, sink;
	size_t moved; /* in this turn */
};

/* ---- what is held ---- */

void pump_drop(struct relay *relay, struct half *half)
{
	if (!half->held.rest)
		return;
	if (half->flags & HALF_PIPED) {
		pipes_put(&relay->pipes, half->held.pipe);
	} else {
		relay->held_bytes -= half->held.rest->bytes;
		free(half->held.rest);
	}
	half->held.rest = NULL;
	half->flags &= (uint8_t)~HALF_PIPED;
}

static int hold_rest(struct pumping *pump, const uint8_t *bytes, size_t count)
{
	struct rest *rest = malloc(sizeof(*rest) + count);

	if (!rest)
		return -ENOMEM;
	rest->sent = 0;
	rest->bytes = (uint32_t)count;
	memcpy(rest->data, bytes, count);
	pump->half->held.rest = rest;
	pump->relay->held_bytes += count;
	return 0;
}

int pump_prepend(struct relay *relay, struct conn *conn, enum side from, const uint8_t *bytes, size_t count)
{
	struct pumping pump = {.relay = relay, .conn = conn, .half = &conn->halves[from]};

	return hold_rest(&pump, bytes, count);
}

/* ---- outcomes of system calls ---- */

/* Sending failed: nothing more can go there. What that side has sent before is still read. */
static enum progress sink_failed(struct pumping *pump, int error)
{
	if (error == EAGAIN) {
		pump->half->flags |= HALF_BLOCKED;
		return PROGRESS_WAIT;
	}
	pump->conn->sides[pump->to] |= SIDE_BROKEN | SIDE_IN | SIDE_ENDED;
	pump_drop(pump->relay, pump->half);
	return PROGRESS_WAIT;
}

static enum progress source_failed(struct pumping *pump, int error)
{
	if (error == EINTR)
		return PROGRESS_ON;
	pump->conn->sides[pump->from] &= (uint8_t)~SIDE_IN;
	if (error == EAGAIN)
		return PROGRESS_WAIT;
	pump->conn->sides[pump->from] |= SIDE_BROKEN;
	pump->half->flags |= HALF_EOF;
	return PROGRESS_ON;
}

static enum progress source_ended(struct pumping *pump)
{
	pump->half->flags |= HALF_EOF;
	return PROGRESS_ON;
}

/* Bytes are lost: memory has run out, or the kernel did what it never does. Neither side may take what
 * it has for the whole. */
static enum progress abandon(struct pumping *pump)
{
	for (enum side side = CLIENT; side < SIDES; side++) {
		pump->conn->sides[side] |= SIDE_BROKEN;
		pump_drop(pump->relay, &pump->conn->halves[side]);
	}
	return PROGRESS_WAIT;
}

static void count_read(struct pumping *pump, size_t count)
{
	const struct relay *relay = pump->relay;
	struct stats_listener_counters *counters = pump->conn->listener->counters;
	struct stats_backend_counters *backend =
		stats_backend(relay->stats, relay->index, pump->conn->backend_slot);

	pump->moved += count;
	pump->half->bytes += count;
	stats_add(pump->from == CLIENT ? &counters->bytes_in : &counters->bytes_out, count);
	stats_add(pump->from == CLIENT ? &backend->bytes_in : &backend->bytes_out, count);
}

/* A read gave less than asked for: there is no more now. */
static void source_short(struct pumping *pump)
{
	if (!(pump->conn->sides[pump->from] & SIDE_ENDED))
		pump->conn->sides[pump->from] &= (uint8_t)~SIDE_IN;
}

/* As send(); -1 and errno EAGAIN only if nothing was taken. */
static ssize_t sink_send(struct pumping *pump, const uint8_t *bytes, size_t count)
{
	ssize_t sent;

	do {
		sent = send(pump->sink, bytes, count, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent;
}

/* ---- copy ---- */

static enum progress flush_rest(struct pumping *pump)
{
	struct rest *rest = pump->half->held.rest;
	ssize_t sent = sink_send(pump, rest->data + rest->sent, rest->bytes - rest->sent);

	if (sent < 0)
		return sink_failed(pump, errno);
	rest->sent += (uint32_t)sent;
	if (rest->sent < rest->bytes)
		return sink_failed(pump, EAGAIN);
	pump_drop(pump->relay, pump->half);
	return PROGRESS_ON;
}

static enum progress copy_some(struct pumping *pump)
{
	uint8_t *buffer = pump->relay->buffer;
	ssize_t got = recv(pump->source, buffer, RELAY_BUFFER_BYTES, 0), sent;

	if (got <= 0)
		return got < 0 ? source_failed(pump, errno) : source_ended(pump);
	count_read(pump, (size_t)got);
	if ((size_t)got < RELAY_BUFFER_BYTES)
		source_short(pump);
	if ((size_t)got >= SPLICE_MIN_BYTES) {
		pump->half->flags |= HALF_SPLICE;
		pump->half->small_reads = 0;
	}
	sent = sink_send(pump, buffer, (size_t)got);
	if (sent == got)
		return PROGRESS_ON;
	if (sent < 0 && errno != EAGAIN)
		return sink_failed(pump, errno);
	sent = sent < 0 ? 0 : sent;
	if (hold_rest(pump, buffer + sent, (size_t)(got - sent)) < 0)
		return abandon(pump);
	return sink_failed(pump, EAGAIN);
}

/* ---- peek ---- */

static enum progress peek_some(struct pumping *pump)
{
	uint8_t *buffer = pump->relay->buffer;
	ssize_t got = recv(pump->source, buffer, RELAY_BUFFER_BYTES, MSG_PEEK), sent;

	if (got <= 0)
		return got < 0 ? source_failed(pump, errno) : source_ended(pump);
	sent = sink_send(pump, buffer, (size_t)got);
	if (sent < 0)
		return sink_failed(pump, errno);
	count_read(pump, (size_t)sent);
	/* Takes away what was sent, without copying it once more. */
	if (recv(pump->source, buffer, (size_t)sent, MSG_TRUNC) != sent)
		return abandon(pump);
	if (sent < got)
		return sink_failed(pump, EAGAIN);
	if ((size_t)got < RELAY_BUFFER_BYTES)
		source_short(pump);
	return PROGRESS_ON;
}

/* ---- splice ---- */

static enum progress flush_pipe(struct pumping *pump)
{
	struct pipe *pipe = pump->half->held.pipe;

	/* Exactly what is in it: asking for more would have the kernel hold back the last segment. */
	while (pipe->bytes > 0) {
		ssize_t sent = splice(pipe->read_fd, NULL, pump->sink, NULL, pipe->bytes,
			SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return sent < 0 ? sink_failed(pump, errno) : abandon(pump);
		pipe->bytes -= (uint32_t)sent;
	}
	pump_drop(pump->relay, pump->half);
	return PROGRESS_ON;
}

static enum progress splice_failed(struct pumping *pump, int error)
{
	if (error == EAGAIN || error == EINTR || error == ECONNRESET)
		return source_failed(pump, error);
	/* An end, or something that splice cannot do: recv will tell. */
	pump->half->flags &= (uint8_t)~HALF_SPLICE;
	return PROGRESS_ON;
}

static enum progress splice_some(struct pumping *pump, struct pipe *pipe)
{
	struct half *half = pump->half;
	ssize_t got = splice(
		pump->source, NULL, pipe->write_fd, NULL, pipe->capacity, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	int error = got < 0 ? errno : 0;

	if (got <= 0) {
		pipes_put(&pump->relay->pipes, pipe);
		return splice_failed(pump, error);
	}
	half->held.pipe = pipe;
	half->flags |= HALF_PIPED;
	pipe->bytes = (uint32_t)got;
	count_read(pump, (size_t)got);
	if ((size_t)got >= SPLICE_MIN_BYTES)
		half->small_reads = 0;
	else if (++half->small_reads >= SPLICE_SMALL_READS)
		half->flags &= (uint8_t)~HALF_SPLICE;
	return flush_pipe(pump);
}

/* ---- a direction ---- */

static enum progress pass_end(struct pumping *pump)
{
	struct half *half = pump->half;

	/* A reset is passed on by whoever closes the connection; so is a FIN when both have come. */
	if ((half->flags & HALF_DONE) || (pump->conn->sides[pump->from] & SIDE_BROKEN))
		return PROGRESS_WAIT;
	half->flags |= HALF_DONE;
	if (!(pump->conn->halves[pump->to].flags & HALF_DONE) && shutdown(pump->sink, SHUT_WR) < 0)
		return sink_failed(pump, errno);
	return PROGRESS_WAIT;
}

static enum progress read_some(struct pumping *pump)
{
	struct relay *relay = pump->relay;
	struct pipe *pipe = NULL;

	if (pump->half->flags & HALF_SPLICE)
		pipe = pipes_get(&relay->pipes, accept_spares_fds(relay), relay->now_ms);
	if (pipe)
		return splice_some(pump, pipe);
	if (relay->held_bytes + RELAY_BUFFER_BYTES > relay->held_limit_bytes)
		return peek_some(pump);
	return copy_some(pump);
}

static enum progress pump_some(struct pumping *pump)
{
	const struct half *half = pump->half;

	if (half->flags & HALF_BLOCKED)
		return PROGRESS_WAIT;
	if (half->held.rest)
		return half->flags & HALF_PIPED ? flush_pipe(pump) : flush_rest(pump);
	if (half->flags & HALF_EOF)
		return pass_end(pump);
	if (!(pump->conn->sides[pump->from] & SIDE_IN))
		return PROGRESS_WAIT;
	return read_some(pump);
}

bool pump_half(struct relay *relay, struct conn *conn, enum side from)
{
	enum side to = side_other(from);
	struct pumping pump = {
		.relay = relay,
		.conn = conn,
		.half = &conn->halves[from],
		.from = from,
		.to = to,
		.source = conn->fds[from],
		.sink = conn->fds[to],
	};

	while (pump.moved < TURN_BYTES) {
		if (conn->sides[to] & SIDE_BROKEN) {
			pump_drop(relay, pump.half);
			return false;
		}
		/* If that broke the sink: what it had sent before is now to be read to its end. */
		if (pump_some(&pump) == PROGRESS_WAIT)
			return conn->sides[to] & SIDE_BROKEN;
	}
	return true;
}
