/* Owns the state of health, and the answers that tell it. Runs in control.
 *
 *   state        event                                       next
 *   in force     a plan is sent, or rules can't be kept      pending since now
 *   pending      everything is in force                      in force
 *   pending      two sync periods are over                   pending, and unhealthy
 */
#include <event2/buffer.h>
#include <event2/http.h>
#include <stdio.h>
#include <time.h>

#include "admin/admin_private.h"

#define TIME_BYTES 96

bool health_is_good(const struct admin *admin)
{
	const struct admin_options *options = &admin->options;

	return admin->health.pending_ms == 0 ||
	       options->now_ms() - admin->health.pending_ms < 2 * options->sync_period_ms;
}

void admin_sync_queued(struct admin *admin)
{
	if (admin->health.pending_ms == 0)
		admin->health.pending_ms = admin->options.now_ms();
	counts_queued(admin);
}

void admin_sync_unneeded(struct admin *admin)
{
	if (admin->health.pending_ms == 0)
		counts_settled(admin);
}

void admin_sync_done(struct admin *admin, int error)
{
	struct health *health = &admin->health;

	counts_done(admin, error);
	if (error == 0) {
		health->pending_ms = 0;
		health->updated_ms = admin->options.now_ms();
		health->updated_wall_us = admin->options.wall_us();
	} else if (health->pending_ms == 0) {
		health->pending_ms = admin->options.now_ms();
	}
}

bool admin_is_healthy(const struct admin *admin)
{
	return health_is_good(admin) && !admin->health.node_leaving;
}

bool admin_is_ready(const struct admin *admin)
{
	return admin->health.updated_wall_us != 0;
}

void admin_set_node_leaving(struct admin *admin, bool leaving)
{
	admin->health.node_leaving = leaving;
}

/* ---- answers ---- */

/* As kube-proxy prints it: Go's notation of a time, with the seconds of the process behind it. */
static const char *time_format(char *buf, int64_t wall_us, int64_t since_start_ms)
{
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm utc;
	size_t length;

	if (wall_us == 0)
		return "0001-01-01 00:00:00 +0000 UTC";
	gmtime_r(&seconds, &utc);
	length = strftime(buf, TIME_BYTES, "%Y-%m-%d %H:%M:%S", &utc);
	snprintf(buf + length, TIME_BYTES - length, ".%06lld +0000 UTC m=+%lld.%03lld",
		(long long)(wall_us % 1000000), (long long)(since_start_ms / 1000),
		(long long)(since_start_ms % 1000));
	return buf;
}

/* Of a healthy proxy lastUpdated is the time of the answer: what has nothing to do is not out of date. */
static void answer_times(
	struct evhttp_request *request, const struct admin *admin, bool good, const char *rest)
{
	const struct health *health = &admin->health;
	char updated[TIME_BYTES], current[TIME_BYTES];
	int64_t wall_us = admin->options.wall_us();
	int64_t age_ms = admin->options.now_ms() - health->started_ms;
	const char *now = time_format(current, wall_us, age_ms);
	const char *last =
		good ? now
		     : time_format(updated, health->updated_wall_us, health->updated_ms - health->started_ms);

	evbuffer_add_printf(evhttp_request_get_output_buffer(request),
		"{\"lastUpdated\": \"%s\",\"currentTime\": \"%s\"%s}", last, now, rest);
	server_answer(request, good ? HTTP_OK : HTTP_SERVUNAVAIL, "application/json");
}

static void count_answer(struct answers *answers, bool good)
{
	answers->ok += good;
	answers->unavailable += !good;
}

void health_healthz(struct evhttp_request *request, void *context)
{
	struct admin *admin = context;
	bool leaving = admin->health.node_leaving, good = admin_is_healthy(admin);

	count_answer(&admin->counts.healthz, good);
	answer_times(
		request, admin, good, leaving ? ", \"nodeEligible\": false" : ", \"nodeEligible\": true");
}

void health_livez(struct evhttp_request *request, void *context)
{
	struct admin *admin = context;
	bool good = health_is_good(admin);

	count_answer(&admin->counts.livez, good);
	answer_times(request, admin, good, "");
}

void health_readyz(struct evhttp_request *request, void *context)
{
	const struct admin *admin = context;
	bool ready = admin_is_ready(admin);

	evbuffer_add_printf(evhttp_request_get_output_buffer(request), "%s",
		ready ? "ok" : "not ready: nothing has been in force yet\n");
	server_answer(request, ready ? HTTP_OK : HTTP_SERVUNAVAIL, "text/plain; charset=utf-8");
}
