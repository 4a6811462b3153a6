/* The supervisor's view of its children: control and the relays. Started through the starter, restarted
 * with back-off, each with a channel. */
#ifndef PROC_CHILDREN_H
#define PROC_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>

#include "proc/link.h"
#include "proc/settings.h"

struct children;
struct stats;

struct child_handlers {
	/* The child's channel is open: send it what it needs. */
	void (*up)(void *context, enum ipc_role role, uint32_t index);
	/* A frame from it; negative: broken, the channel is closed (and the child ends, and is restarted). */
	int (*frame)(void *context, enum ipc_role role, uint32_t index, struct ipc_frame *frame);
	/* It ended (status as of waitpid) and will be restarted. */
	void (*gone)(void *context, enum ipc_role role, uint32_t index, int status);
	/* The configuration file has changed: its settings can be read from fd, which is the callee's. */
	void (*config)(void *context, int fd);
	/* The starter ended: nothing can be started any more. */
	void (*starter_gone)(void *context);
};

/* starter_fd is taken; stats_fd is borrowed and given to every child, stats is its mapping. handlers must
 * outlive the result. */
struct children *children_new(struct event_base *base, int starter_fd, int stats_fd, struct stats *stats,
	uint32_t relay_count, const struct child_handlers *handlers, void *context);

/* Closes all channels: the children and the starter end. NULL is fine. */
void children_free(struct children *children);

/* Starts control and all relays. */
void children_start(struct children *children);

/* From now on children are started with the settings of this configuration file; control is started anew at
 * once. */
void children_take_settings(struct children *children, const struct settings *file);

/* Asks the starter for a starter that succeeds it, and gets the descriptors. Returns 0 or a negative errno.
 */
int children_succeed(struct children *children, int channel_fd, int life_fd);

/* What control sends waits meanwhile. A control process that is started then is not paused. */
void children_pause_control(struct children *children, bool paused);

/* Control is to end at once, and is not started again; gone() tells of it. Or it is, after all. */
void children_end_control(struct children *children);
void children_resume_control(struct children *children);

/* Ends the relays, and waits until they have ended, at most so long. */
void children_end_relays(struct children *children, int limit_ms);

/* Relays are to end with their last connection, and are not started again; gone() tells of each. */
void children_drain(struct children *children);

/* For who waits for that. */
bool children_control_runs(const struct children *children);
uint32_t children_relays_running(const struct children *children);

/* Every relay has begun its work. */
bool children_relays_are_up(const struct children *children);

/* Whether every child works: has run for a while without a break at some time in the last minute. One that
 * was killed and is started again counts as well; one that cannot be kept running does not, nor a relay that
 * hangs. For notify_new(). */
bool children_are_well(void *children);

/* The link to a child; down while it is not running. */
struct link *children_control(struct children *children);
struct link *children_relay(struct children *children, uint32_t index);

#endif
