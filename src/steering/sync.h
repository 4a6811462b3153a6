/* One pass over the firewall of one family: save what is there, render against it, restore. */
#ifndef STEERING_SYNC_H
#define STEERING_SYNC_H

#include "portald/steering.h"

struct host_tools;
struct sync;

struct sync_job {
	struct event_base *base;
	const struct host_tools *tools; /* borrowed until the end; has the family's */
	enum addr_family family;
	const struct steering_rules *rules; /* borrowed until the end; NULL: remove what is ours */
	int timeout_ms;                     /* of each tool */
	/* error is 0 or a negative errno, -EOPNOTSUPP if the kernel has no such tables (IPv6); detail says
	 * what went wrong (NULL if 0), during the call. May free the sync. */
	void (*done)(void *context, int error, const char *detail);
	void *context;
};

/* Starts the pass; done is called once, from the loop. NULL: out of memory. */
struct sync *sync_start(const struct sync_job *job);
void sync_free(struct sync *sync); /* kills a tool in flight; NULL is fine */

#endif
