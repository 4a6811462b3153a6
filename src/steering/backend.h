/* Back ends: how rules are brought into force. The engine (steering.c) says when and remembers what is in
 * force; a back end knows how.
 *
 * A pass makes the firewall (or the routes) of this network namespace hold what is wanted. With `was` it may
 * trust that exactly that is in force and send the difference; without, it looks at what is there and
 * corrects it: that is the first pass of a run, the audit, and the way back from a failure. A pass is a
 * transaction as far as the kernel allows: whatever is killed in its middle, the next one without `was` puts
 * it right. */
#ifndef STEERING_BACKEND_H
#define STEERING_BACKEND_H

#include <stdbool.h>

#include "portald/steering.h"

struct event_base;
struct left;

/* The back end's own state. */
struct backend;

/* What a back end tells its engine, always from the loop and never from within start(). */
struct backend_events {
	/* The pass has ended: error is 0 or a negative errno; detail says what went wrong (NULL if 0).
	 * corrected: what was there was not what should be (only told of a pass without `was`). */
	void (*done)(void *context, int error, const char *detail, bool corrected);
	/* During a pass: this one of `now` was refused by the kernel or the tool, and the rest goes on
	 * without it. It counts as not in force. */
	void (*refused)(void *context, const struct steering_rule *rule, const char *detail);
	/* Somebody else has changed what is ours, or may have: an audit is due. */
	void (*disturbed)(void *context);
	void *context;
};

struct backend_ops {
	const char *name;     /* for the log and --steering */
	bool wants_routes;    /* the engine sees to it that the host has a route to each ClusterIP */
	bool wants_conntrack; /* the engine removes conntrack entries that go by former rules */

	/* Returns NULL and logs why if the host can't do it. options and events are borrowed until close. */
	struct backend *(*open)(struct event_base *base, const struct steering_options *options,
		const struct backend_events *events);
	/* Kills a tool in flight; leaves what is in force. NULL is fine. */
	void (*close)(struct backend *backend);

	/* Starts a pass; done() comes once, later. Only one at a time. was and now are borrowed until then;
	 * was NULL: nothing is known of what is in force. */
	void (*start)(
		struct backend *backend, const struct steering_rules *was, const struct steering_rules *now);
	/* Gives up a pass that has changed nothing so far: true, and done() won't come. False: too late.
	 * NULL: always too late. */
	bool (*abandon)(struct backend *backend);

	/* For --steering=auto: true if this host could do it, as far as can be told without changing
	 * anything. *why says what it lacks, or what was found; the caller frees it. Waits for the tools it
	 * asks. */
	bool (*works)(int tool_timeout_ms, char **why);

	/* Adds the proxy ports that the rules of an earlier run lead to, if there are any. Waits for the
	 * tools it asks. NULL: they can't be told. */
	void (*look_for_left)(struct backend *backend, struct left *left);

	/* Removes all that any run of this back end has left, synchronously, without an open back end.
	 * Idempotent. Returns 0 or a negative errno (logged). */
	int (*cleanup)(int tool_timeout_ms);
};

extern const struct backend_ops backend_iptables;
extern const struct backend_ops backend_nftables;
extern const struct backend_ops backend_local;

#endif
