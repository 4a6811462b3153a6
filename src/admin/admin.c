/* Owns admin as a whole: what is wanted stays wanted until it can be opened. Runs in control. */
#include <event2/event.h>
#include <stdlib.h>
#include <sys/time.h>

#include "admin/admin_private.h"
#include "portald/clock.h"
#include "portald/mem.h"

/* Ports that could not be opened are tried again this often. */
#define RETRY_S 2
#define SYNC_PERIOD_MS 30000

void admin_open_missing(struct admin *admin)
{
	struct timeval later = {.tv_sec = RETRY_S};
	bool missing;

	if (admin->options.held)
		return;
	missing = checks_open(admin);
	missing |= faces_open(admin);
	if (missing)
		event_add(admin->retry, &later);
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	admin_open_missing(context);
}

struct admin *admin_new(struct event_base *base, const struct admin_options *options)
{
	struct admin *admin = mem_calloc(1, sizeof(*admin));

	admin->base = base;
	admin->options = *options;
	if (!options->now_ms)
		admin->options.now_ms = clock_now_ms;
	if (!options->wall_us)
		admin->options.wall_us = clock_wall_us;
	if (options->sync_period_ms <= 0)
		admin->options.sync_period_ms = SYNC_PERIOD_MS;
	admin->health.started_ms = admin->options.now_ms();
	admin->health.started_wall_us = admin->options.wall_us();
	counts_init(&admin->counts);
	admin->retry = event_new(base, -1, 0, on_retry, admin);
	return admin;
}

void admin_free(struct admin *admin)
{
	if (!admin)
		return;
	admin_set_health_checks(admin, NULL, 0);
	faces_free(admin);
	event_free(admin->retry);
	triggers_free(admin);
	counts_fini(&admin->counts);
	free(admin);
}
