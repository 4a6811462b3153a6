/* One pass over the firewall of one family: the difference, or all that is not as it should be. */
#ifndef STEERING_SYNC_H
#define STEERING_SYNC_H

#include <stdbool.h>
#include <sys/types.h>

#include "portald/steering.h"

struct host_tools;
struct sync;

struct sync_job {
	struct event_base *base;
	const struct host_tools *tools; /* borrowed until the end; has the family's */
	enum addr_family family;
	const struct steering_rules *was;   /* in force for certain; NULL: it is looked at what is there */
	const struct steering_rules *rules; /* NULL: remove what is ours. Both borrowed until the end */
	int timeout_ms;                     /* of each tool */
	/* error is 0 or a negative errno: -EOPNOTSUPP if the kernel has no such tables (IPv6), -EBUSY if
	 * another program has the lock and nothing was changed; detail says what went wrong (NULL if 0),
	 * during the call. corrected: what was there was wrong. May free the sync. */
	void (*done)(void *context, int error, const char *detail, bool corrected);
	/* A rule that spoils the transaction was left out of it. NULL: then that is a failure. */
	void (*refused)(void *context, const struct steering_rule *rule, const char *detail);
	/* A tool has started. NULL: nobody wants to know. */
	void (*started)(void *context, pid_t tool);
	void *context;
};

/* Starts the pass; done is called once, from the loop. NULL: out of memory. */
struct sync *sync_start(const struct sync_job *job);
void sync_free(struct sync *sync); /* kills a tool in flight; NULL is fine */

/* True as long as nothing was given to the kernel. */
bool sync_is_harmless(const struct sync *sync);

#endif
