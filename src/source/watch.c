/* Owns the list and watch of one resource: what to ask next, and when. Runs in control and in the fuzzers.
 *
 * What follows an answer, as in client-go's reflector. "later" is after Retry-After if the server said it,
 * else after a back-off; "list" begins anew with the best version of the API.
 *
 *     answer                        to a list                       to a watch
 *     200, complete                 next page at once; after the    watch at once (later, if it was closed
 *                                   last one replace, watch         within a second)
 *     200, then cut or stalled      list later                      the same; list, if on an older API
 * version 200, broken                   list later                      watch later; list later, if twice no
 * answer                     list later                      watch later; list, if on an older version 401
 * the same at once with new credentials, from the second time later 403                           the same
 * later, naming what is missing 404                           next version at once; later     list later when
 * there is none 410, ERROR event with 410     a page: list unpaged at once;   list later else list the latest
 * at once 504, version too large        list the latest at once         watch later; list the latest from the
 *                                                                   fourth time
 *     429, 502, 503, 504            the same later                  watch later
 *     other errors                  list later                      list later
 */
#include "portald/watch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/watch_private.h"

/* client-go's: waits of 0.8 s, doubled up to 30 s, each made up to twice as long by chance; from the start
 * again after two minutes without one. */
#define BACKOFF_FIRST_MS 800
#define BACKOFF_MAX_MS 30000
#define BACKOFF_RESET_MS 120000

/* A server's wish to be left alone is heeded up to this. */
#define RETRY_AFTER_MAX_S 3600

/* A watch is asked for so long, by chance, so that not all end at once. */
#define WATCH_MIN_S 300
#define WATCH_MAX_S 600
/* The server ends it then; one that still has not ended so much later is not connected any more. */
#define WATCH_GRACE_MS 30000
/* A watch that ends within this is not worth an immediate new one. */
#define WATCH_SHORT_MS 1000
/* A list without a byte for so long is given up. */
#define LIST_STALL_MS 60000

/* So often an older version of the API is left to see whether the server has a better one by now. */
#define UPGRADE_MS (30 * 60 * 1000)

#define TOO_LARGE_MAX 3
#define CORRUPT_MAX 2

/* ---- what comes next ---- */

static uint32_t chance(const struct watch *watch)
{
	return watch->config.random(watch->config.context);
}

static void next_at(struct watch *watch, int64_t due_ms)
{
	watch->state = WATCH_WAITING;
	watch->due_ms = due_ms;
}

static int64_t backoff(struct watch *watch, int64_t now_ms)
{
	bool quiet = watch->backoff_ms == 0 || now_ms - watch->backoff_at_ms > BACKOFF_RESET_MS;

	if (quiet)
		watch->backoff_ms = BACKOFF_FIRST_MS;
	else if (watch->backoff_ms * 2 < BACKOFF_MAX_MS)
		watch->backoff_ms *= 2;
	else
		watch->backoff_ms = BACKOFF_MAX_MS;
	watch->backoff_at_ms = now_ms;
	return watch->backoff_ms + (int64_t)((uint64_t)watch->backoff_ms * chance(watch) >> 32);
}

/* After Retry-After, or a back-off. */
static void next_later(struct watch *watch, int64_t now_ms)
{
	int64_t wait_s = watch->answer.retry_after_s;

	if (wait_s > RETRY_AFTER_MAX_S)
		wait_s = RETRY_AFTER_MAX_S;
	next_at(watch, now_ms + (wait_s > 0 ? wait_s * 1000 : backoff(watch, now_ms)));
}

/* The first page. */
static void list_restart(struct watch *watch)
{
	watch->step = WATCH_STEP_LIST;
	watch_set_text(&watch->continue_token, NULL);
	watch_store_list_begin(watch->store, watch->config.resource);
}

/* A list from its beginning, with the best version of the API. */
static void list_anew(struct watch *watch)
{
	list_restart(watch);
	watch->api = 0;
	watch->whole = false;
}

/* A watch on an older version of the API is left after trouble: the server may have been replaced. */
static void resume(struct watch *watch)
{
	if (watch->step == WATCH_STEP_LIST || watch->api > 0)
		list_anew(watch);
}

static void problem(struct watch *watch, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What went wrong, in words, for the log and for the status. */
static void problem(struct watch *watch, const char *format, ...)
{
	const char *verb = watch->step == WATCH_STEP_LIST ? "list" : "watch";
	char *text = NULL;
	va_list args;
	int bytes;

	va_start(args, format);
	bytes = vasprintf(&text, format, args);
	va_end(args);
	if (bytes < 0)
		return;
	free(watch->problem);
	watch->problem = mem_printf("cannot %s %s: %s", verb, watch_api(watch)->resource, text);
	free(text);
	watch_report(watch, WATCH_WARNING, "%s", watch->problem);
}

static void works(struct watch *watch)
{
	watch->unauthorized = 0;
	watch->too_large = 0;
	watch_set_text(&watch->problem, NULL);
}

/* ---- answers with an error ---- */

static const char *server_text(const struct watch *watch)
{
	return watch->answer.error_text ? watch->answer.error_text : "the server gave no reason";
}

static void unauthorized(struct watch *watch, int64_t now_ms)
{
	watch->renew = true;
	if (watch->unauthorized++ == 0) {
		next_at(watch, now_ms);
		return;
	}
	problem(watch, "401: the credentials are refused: %s", server_text(watch));
	next_later(watch, now_ms);
}

static void forbidden(struct watch *watch, int64_t now_ms)
{
	const struct watch_api *api = watch_api(watch);

	problem(watch,
		"403: the verb \"%s\" on resource \"%s\" in API group \"%s\" is missing in RBAC (the "
		"ClusterRole "
		"system:node-proxier has it): %s",
		watch->step == WATCH_STEP_LIST ? "list" : "watch", api->resource, api->group,
		server_text(watch));
	next_later(watch, now_ms);
}

static void not_found(struct watch *watch, int64_t now_ms)
{
	const char *version = watch_api(watch)->version;
	const struct watch_api *apis;

	if (watch->step == WATCH_STEP_LIST && watch->api + 1 < watch_apis(watch->config.resource, &apis)) {
		list_restart(watch);
		watch->api++;
		watch_report(watch, WATCH_DETAIL, "the server has no %s in %s, trying %s",
			apis[watch->api - 1].resource, version, watch_api(watch)->version);
		next_at(watch, now_ms);
		return;
	}
	problem(watch, "404: the server has it not in %s: %s", version, server_text(watch));
	list_anew(watch);
	next_later(watch, now_ms);
}

/* The resource version or the continue token is too old for the server, or, for a list, too new. */
static void expired(struct watch *watch, int64_t now_ms)
{
	watch_report(
		watch, WATCH_DETAIL, "%s: listing anew: %s", watch_api(watch)->resource, server_text(watch));
	if (watch->step == WATCH_STEP_WATCH) {
		list_anew(watch);
		next_later(watch, now_ms);
	} else if (watch->continue_token) {
		list_restart(watch);
		watch->whole = true;
		next_at(watch, now_ms);
	} else if (!watch->latest) {
		list_restart(watch);
		watch->whole = false;
		watch->latest = true;
		next_at(watch, now_ms);
	} else {
		problem(watch, "the version is gone: %s", server_text(watch));
		list_anew(watch);
		next_later(watch, now_ms);
	}
}

/* What the server cannot answer for now. Nothing of the page has been taken. */
static void overloaded(struct watch *watch, int code, int64_t now_ms)
{
	problem(watch, "%d: %s", code, server_text(watch));
	if (watch->answer.too_large && watch->too_large++ >= TOO_LARGE_MAX) {
		list_anew(watch);
		watch->latest = true;
	}
	next_later(watch, now_ms);
}

static void other_error(struct watch *watch, int code, int64_t now_ms)
{
	problem(watch, "%d: %s", code, server_text(watch));
	/* A bad request may be the resource version's fault. */
	if (code == 400 && watch->resource_version)
		watch->latest = true;
	list_anew(watch);
	next_later(watch, now_ms);
}

static void failed(struct watch *watch, int code, int64_t now_ms)
{
	if (watch->answer.too_large && watch->step == WATCH_STEP_LIST) {
		expired(watch, now_ms);
		return;
	}
	switch (code) {
	case 401:
		unauthorized(watch, now_ms);
		return;
	case 403:
		forbidden(watch, now_ms);
		return;
	case 404:
		not_found(watch, now_ms);
		return;
	case 410:
		expired(watch, now_ms);
		return;
	case 429:
	case 502:
	case 503:
	case 504:
		overloaded(watch, code, now_ms);
		return;
	default:
		other_error(watch, code, now_ms);
	}
}

/* ---- answers without ---- */

static void listed(struct watch *watch, int64_t now_ms)
{
	struct watch_answer *answer = &watch->answer;

	works(watch);
	next_at(watch, now_ms);
	if (answer->list_continue) {
		watch_set_text(&watch->continue_token, answer->list_continue);
		return;
	}
	watch_store_list_end(watch->store, watch->config.resource);
	watch_set_text(&watch->continue_token, NULL);
	watch_set_text(&watch->resource_version, answer->list_version);
	watch->version_api = watch_api(watch);
	watch->whole = false;
	watch->latest = false;
	watch->lists++;
	watch->listed_ms = now_ms;
	watch->step = WATCH_STEP_WATCH;
	watch_report(watch, WATCH_INFO, "listed %zu %s (%s)",
		watch_store_count(watch->store, watch->config.resource), watch_api(watch)->resource,
		watch_api(watch)->version);
}

/* A watch that worked has ended. */
static void closed(struct watch *watch, int64_t now_ms)
{
	if (watch->api > 0 && now_ms - watch->listed_ms >= UPGRADE_MS)
		list_anew(watch);
	if (now_ms - watch->asked_ms < WATCH_SHORT_MS)
		next_later(watch, now_ms);
	else
		next_at(watch, now_ms);
}

static void lost(struct watch *watch, int64_t now_ms, int error)
{
	const char *text = watch->reason ? watch->reason : strerrordesc_np(-error);
	bool worked = watch->answer.status == 200 && watch->step == WATCH_STEP_WATCH;

	if (worked) {
		watch_report(watch, WATCH_DETAIL, "the watch of %s was cut: %s", watch_api(watch)->resource,
			text ? text : "?");
		resume(watch);
		closed(watch, now_ms);
		return;
	}
	problem(watch, "no answer: %s", text ? text : "unknown error");
	resume(watch);
	next_later(watch, now_ms);
}

static void broken(struct watch *watch, int64_t now_ms)
{
	problem(watch, "the answer is not what the API sends, or was cut");
	if (watch->step == WATCH_STEP_LIST || ++watch->corrupt >= CORRUPT_MAX)
		list_anew(watch);
	next_later(watch, now_ms);
}

/* The transfer is over. */
static void finish(struct watch *watch, int64_t now_ms, int error)
{
	struct watch_answer *answer = &watch->answer;

	if (answer->status == 0)
		lost(watch, now_ms, error ? error : -EPROTO);
	else if (answer->status != 200)
		failed(watch, answer->error_code == 410 ? 410 : answer->status, now_ms);
	else if (answer->has_error)
		failed(watch, answer->error_code, now_ms);
	else if (answer->corrupt)
		broken(watch, now_ms);
	else if (answer->complete)
		listed(watch, now_ms);
	else if (error)
		lost(watch, now_ms, error);
	else if (watch->step == WATCH_STEP_LIST)
		broken(watch, now_ms);
	else if (api_stream_end(watch->stream) < 0)
		lost(watch, now_ms, -ECONNRESET);
	else
		closed(watch, now_ms);
	watch_answer_fini(watch);
}

/* ---- inputs ---- */

struct watch *watch_new(const struct watch_config *config, struct watch_store *store)
{
	struct watch *watch = mem_calloc(1, sizeof(*watch));

	watch->config = *config;
	watch->config.node_name = mem_strdup(config->node_name);
	watch->store = store;
	watch->due_ms = INT64_MAX;
	watch->answer.retry_after_s = -1;
	return watch;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	watch_answer_fini(watch);
	free((char *)watch->config.node_name);
	free(watch->target);
	free(watch->resource_version);
	free(watch->continue_token);
	free(watch->problem);
	free(watch);
}

void watch_start(struct watch *watch, int64_t now_ms)
{
	if (watch->state != WATCH_IDLE)
		return;
	list_anew(watch);
	next_at(watch, now_ms);
}

bool watch_next(struct watch *watch, int64_t now_ms, struct watch_request *request)
{
	bool stream = watch->step == WATCH_STEP_WATCH;
	unsigned timeout_s;

	if (watch->state != WATCH_WAITING || now_ms < watch->due_ms)
		return false;
	timeout_s = stream ? WATCH_MIN_S + chance(watch) % (WATCH_MAX_S - WATCH_MIN_S + 1) : 0;
	free(watch->target);
	watch->target = watch_target(watch, timeout_s);
	watch->state = WATCH_ASKED;
	watch->asked_ms = now_ms;
	watch->due_ms = now_ms + (stream ? timeout_s * INT64_C(1000) + WATCH_GRACE_MS : LIST_STALL_MS);
	*request = (struct watch_request){
		.target = watch->target,
		.stream = stream,
		.renew = watch->renew,
		.deadline_ms = watch->due_ms,
	};
	watch->renew = false;
	return true;
}

int64_t watch_due_ms(const struct watch *watch)
{
	return watch->due_ms;
}

int watch_timer(struct watch *watch, int64_t now_ms)
{
	if (watch->state != WATCH_ASKED || now_ms < watch->due_ms)
		return 0;
	finish(watch, now_ms, -ETIMEDOUT);
	return -ETIMEDOUT;
}

static void heard(struct watch *watch, int64_t now_ms)
{
	watch->heard_ms = now_ms;
	if (watch->step == WATCH_STEP_LIST)
		watch->due_ms = now_ms + LIST_STALL_MS;
}

void watch_response(struct watch *watch, int64_t now_ms, int status, int64_t retry_after_s)
{
	if (watch->state != WATCH_ASKED)
		return;
	heard(watch, now_ms);
	watch_answer_begin(watch, status, retry_after_s);
	if (status == 200 && watch->step == WATCH_STEP_WATCH)
		works(watch);
}

int watch_body(struct watch *watch, int64_t now_ms, const char *bytes, size_t byte_count)
{
	int rc;

	if (watch->state != WATCH_ASKED)
		return -ECANCELED;
	if (!watch->stream) {
		finish(watch, now_ms, -EPROTO);
		return -EBADMSG;
	}
	heard(watch, now_ms);
	rc = api_stream_feed(watch->stream, bytes, byte_count);
	/* The body of an error may be anything, such as a proxy's page. */
	if (rc == 0 || watch->answer.status != 200)
		return 0;
	watch->answer.corrupt = rc != -ECANCELED;
	finish(watch, now_ms, rc);
	return rc;
}

void watch_ended(struct watch *watch, int64_t now_ms, int error, const char *reason)
{
	watch->reason = reason;
	if (watch->state == WATCH_ASKED)
		finish(watch, now_ms, error);
	watch->reason = NULL;
}

struct watch_status watch_status(const struct watch *watch)
{
	return (struct watch_status){
		.api = watch_api(watch)->version,
		.resource_version = watch->resource_version,
		.problem = watch->problem,
		.watching = watch->state == WATCH_ASKED && watch->step == WATCH_STEP_WATCH &&
			    watch->answer.status == 200,
		.heard_ms = watch->heard_ms,
		.lists = watch->lists,
	};
}
