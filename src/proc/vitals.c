/* Owns the supervisor's place in the shared counters. Runs in the supervisor: nobody else may look into its
 * /proc directory. */
#include "proc/vitals.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "portald/descriptors.h"
#include "portald/mem.h"
#include "portald/stats.h"

/* Counting descriptors takes its time where there are many. */
#define INTERVAL_S 15

struct vitals {
	struct stats_process *process;
	struct event *timer;
};

static void tell(evutil_socket_t fd, short what, void *context)
{
	struct vitals *vitals = context;

	(void)fd;
	(void)what;
	atomic_store(&vitals->process->open_fds, descriptors_open());
	atomic_store(&vitals->process->max_fds, descriptors_limit());
}

struct vitals *vitals_new(struct event_base *base, struct stats *stats)
{
	struct vitals *vitals = mem_calloc(1, sizeof(*vitals));
	struct timeval interval = {.tv_sec = INTERVAL_S};

	vitals->process = stats_supervisor(stats);
	atomic_store(&vitals->process->pid, (uint64_t)getpid());
	vitals->timer = event_new(base, -1, EV_PERSIST, tell, vitals);
	event_add(vitals->timer, &interval);
	tell(-1, 0, vitals);
	return vitals;
}

void vitals_free(struct vitals *vitals)
{
	if (!vitals)
		return;
	event_free(vitals->timer);
	free(vitals);
}
