/* What control tells of the daemon: it keeps what the supervisor says of each listener beside the plan, and
 * answers by HTTP from both and from the shared counters. */
#ifndef PROC_REPORT_H
#define PROC_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "portald/ipc.h"
#include "portald/plan.h"
#include "proc/options.h"

struct admin;
struct event_base;
struct report;
struct stats;

struct report_setup {
	struct event_base *base;
	const struct options *options;
	struct stats *stats; /* borrowed; NULL: nothing is counted */
	int status_fd;       /* the status socket, which is taken; -1: none */
	/* The plan as it is now, borrowed until control changes it; NULL: none yet. */
	const struct plan *(*plan)(void *context);
	void *context;
};

/* Nothing is open yet. Never NULL. */
struct report *report_new(const struct report_setup *setup);

/* Opens what the options say. Returns 0, or a negative errno if an address can't be had and
 * --bind-address-hard-fail was given (logged). Called once. */
int report_serve(struct report *report);
void report_free(struct report *report); /* NULL is fine */

/* For counting, and for health. */
struct admin *report_admin(struct report *report);

/* The listener was put, or is not in the plan any more. */
void report_expect(struct report *report, const char *id);
void report_forget(struct report *report, const char *id);

/* A frame of the type IPC_LISTENER_STATE; what it says of a listener that is not expected is dropped. Returns
 * 0 or -EPROTO. */
int report_take_state(struct report *report, const struct ipc_frame *frame);

/* The listener's state, or NULL while nothing is known of it. */
const struct ipc_listener_state *report_find(struct report *report, const char *id);

const struct report_setup *report_setup(const struct report *report);

#endif
