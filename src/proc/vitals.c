/* Owns the supervisor's place in the shared counters. Runs in the supervisor: nobody else may look into its
 * /proc directory. */
#include "proc/vitals.h"

#include <dirent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "portald/mem.h"
#include "portald/stats.h"

/* Counting costs some milliseconds where there are ten thousands of them. */
#define INTERVAL_S 15

struct vitals {
	struct stats_process *process;
	struct event *timer;
};

static uint64_t count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	uint64_t count = 0;

	if (!directory)
		return 0;
	while (readdir(directory))
		count++;
	closedir(directory);
	/* Not "." and "..", and not the directory itself. */
	return count > 3 ? count - 3 : 0;
}

static void tell(evutil_socket_t fd, short what, void *context)
{
	struct vitals *vitals = context;
	struct rlimit limit = {.rlim_cur = 0};

	(void)fd;
	(void)what;
	getrlimit(RLIMIT_NOFILE, &limit);
	atomic_store(&vitals->process->open_fds, count_descriptors());
	atomic_store(&vitals->process->max_fds, limit.rlim_cur);
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
