/* What control has sent of a sync that is not at its end yet. */
#ifndef PROC_STAGED_H
#define PROC_STAGED_H

#include <stddef.h>

#include "portald/ipc.h"
#include "proc/options.h"

/* One step of a sync in the making. */
struct staged {
	struct plan_listener *put; /* or NULL: del */
	char *del;
};

struct staged_list {
	struct staged *steps;
	size_t count, capacity;
};

/* Add the step of a message from control: a listener within the bounds of options, or an id. Return 0,
 * -EPROTO for no such message, or another negative errno for a listener out of bounds (logged). */
int staged_take_put(struct staged_list *list, const struct ipc_frame *frame, const struct options *options);
int staged_take_del(struct staged_list *list, const struct ipc_frame *frame);

/* Frees the steps; the list can be used again. */
void staged_clear(struct staged_list *list);

/* Frees the list too. */
void staged_fini(struct staged_list *list);

#endif
