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

/* What became of a listener, as the supervisor has said last. */
struct report_listener {
	struct ipc_listener_state state; /* its texts and lists belong to storage */
	struct ipc_storage storage;
};

/* Opens what the options say. stats is borrowed and may be NULL: then nothing is counted. Returns NULL if an
 * address can't be had and --bind-address-hard-fail was given (logged). */
struct report *report_new(struct event_base *base, const struct options *options, struct stats *stats);
void report_free(struct report *report); /* NULL is fine */

/* For counting, and for health. */
struct admin *report_admin(struct report *report);

/* The plan that was sent last. Borrowed until the next call; NULL: none, and nothing is known. */
void report_set_plan(struct report *report, const struct plan *plan);

/* The listener is not in the plan any more. */
void report_forget(struct report *report, const char *id);

/* A frame of the type IPC_LISTENER_STATE. Returns 0 or -EPROTO. */
int report_take_state(struct report *report, const struct ipc_frame *frame);

/* The listener's state, or NULL while nothing is known of it. */
const struct report_listener *report_find(struct report *report, const char *id);

#endif
