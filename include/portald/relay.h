/* The relay: accepts on the listeners it is passed, picks a backend, dials, pumps bytes. One process per
 * CPU; never heard of Kubernetes. It has no files, no resolver, no credentials.
 *
 * It is driven by messages from the supervisor (ipc.h: RELAY_LISTENER, RELAY_BACKENDS, RELAY_CLOSE,
 * RELAY_DRAIN) and ends when the channel is closed, or with its last connection after RELAY_DRAIN.
 */
#ifndef PORTALD_RELAY_H
#define PORTALD_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stats;

struct relay_options {
	uint32_t index; /* this relay's number: which counters in stats are its own */
	/* Nonzero: called once before the first byte of a client is handled, after the relay has
	 * allocated what it needs for its life (installs the seccomp filter). Returns 0 or -errno. */
	int (*confine)(void);
	/* Bytes that may wait in heap for destinations that do not take them, in sum; 0: 64 MiB. */
	size_t held_limit_bytes;
	/* Flows of UDP clients, of all listeners; 0: 8192. Never more than half of the descriptors. */
	uint32_t udp_max_flows;
	/* The access log: a non-blocking pipe for lines of JSON. Borrowed. */
	bool access_log;
	int access_fd;
	/* Not NULL: called once when the relay is told to accept no more. */
	void (*drains)(void *context);
	void *context;
};

/* Runs until the channel closes, a broken message arrives, or it has drained. Takes channel_fd. Returns the
 * exit code of the process: 1 on failure, else 0. */
int relay_run(const struct relay_options *options, struct stats *stats, int channel_fd);

#endif
