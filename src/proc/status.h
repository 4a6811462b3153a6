/* The status socket: a UNIX socket at which control tells what is open, and why something is not, to `portald
 * status` and `portald explain`, or to curl --unix-socket. The first process makes it, because control may
 * not; who may ask is decided by the socket's mode and group.
 *
 *     GET /status?output=table|json
 *     GET /explain?service=[NAMESPACE/]NAME[:PORT]&output=table|json
 */
#ifndef PROC_STATUS_H
#define PROC_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/plan.h"
#include "proc/options.h"

struct evbuffer;
struct evhttp_request;
struct ipc_listener_state;
struct report;

/* ---- control's side ---- */

/* Which Service ports somebody asks about. "" where not said. */
struct status_query {
	char namespace[PLAN_MAX_KEY_BYTES], service[PLAN_MAX_KEY_BYTES], port[PLAN_MAX_KEY_BYTES];
};

/* Parses [NAMESPACE/]NAME[:PORT]; the namespace is "default" where there is none. Returns 0 or -EINVAL. */
int status_query_parse(struct status_query *out, const char *text);

/* True if the query (NULL: everything) is about the key. A port may also be given by its number: see
 * status_query_listener(). */
bool status_query_key(const struct status_query *query, const char *key);
bool status_query_listener(const struct status_query *query, const struct plan_listener *listener);

/* Answers a request; context is the report. */
void status_answer(struct evhttp_request *request, void *context);

/* A backend, as the counters say. */
struct status_backend {
	bool set_aside;
	int64_t set_aside_ms; /* for how long yet */
	uint64_t connections, active, failures;
};

/* state may be NULL: nothing is known. */
void status_backend_read(struct report *report, const struct ipc_listener_state *state,
	const struct plan_backend *backend, struct status_backend *out);

/* Bytes that hold any reason. */
#define STATUS_REASON_BYTES 640

/* 0 if the portal is open, or a negative errno; and in words, why, NULL if it is open. */
int status_portal_error(const struct ipc_listener_state *state, const struct plan_portal *portal);
const char *status_portal_reason(
	const struct ipc_listener_state *state, const struct plan_portal *portal, char *buf, size_t bytes);

/* Each prints what the query is about; NULL: everything. Returns the number of Service ports found. */
size_t status_json(struct report *report, const struct status_query *query, struct evbuffer *out);
size_t status_table(struct report *report, struct evbuffer *out);
size_t status_explain(struct report *report, const struct status_query *query, struct evbuffer *out);

/* ---- the first process's side ---- */

/* Makes the socket that the options ask for. Returns 0 and *fd, which is -1 if there is none: not asked for,
 * or in its usual place it can't be had (logged); or a negative errno (logged). */
int status_socket_open(const struct options *options, int *fd);

/* Removes the socket's name, if fd is such a socket. Does not close. */
void status_socket_remove(const struct options *options, int fd);

/* ---- the commands ---- */

/* `portald status` and `portald explain`: asks the running daemon and prints the answer. Returns the exit
 * code: 1 if there is no daemon, no permission or no such Service (said on standard error). */
int status_ask(const struct options *options);

#endif
