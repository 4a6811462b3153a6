/* What the files of admin share. */
#ifndef ADMIN_ADMIN_PRIVATE_H
#define ADMIN_ADMIN_PRIVATE_H

#include "admin/histogram.h"
#include "portald/admin.h"

struct evbuffer;
struct evhttp;

/* How far rules are behind. Times of the monotonic clock; 0: none. */
struct health {
	int64_t started_ms, started_wall_us;
	int64_t pending_ms; /* since when something waits to be in force */
	int64_t updated_ms; /* when something has last come into force */
	int64_t updated_wall_us;
	bool node_leaving;
};

/* One path's answers, by their status. */
struct answers {
	uint64_t ok, unavailable;
};

struct request_count {
	struct request_count *next;
	unsigned status;
	char *method, *host;
	uint64_t count;
};

/* What control itself counts. */
struct counts {
	uint64_t service_changes, slice_changes;
	uint64_t services_pending, slices_pending;
	uint64_t restore_failures;
	int64_t queued_ms; /* of the sync on its way; 0: none */
	int64_t queued_wall_us, synced_wall_us;
	struct histogram sync, programming;
	struct answers healthz, livez;
	struct request_count *requests;
};

struct check;
struct face;
struct trigger;

struct admin {
	struct event_base *base;
	struct admin_options options;
	struct event *retry;
	struct check *checks;
	struct face *faces;
	struct health health;
	struct counts counts;
	struct trigger *triggers; /* see trigger.c */
	struct trigger *pending_triggers;
};

/* admin.c */
/* Opens whatever is wanted and closed; what can't be had is tried again after a while. */
void admin_open_missing(struct admin *admin);

/* server.c */
/* A server without sockets, for GET and HEAD, with limits on what a client may send, how long it may wait,
 * and how many there may be: when half of the process's descriptors are in use, further ones wait. The caller
 * frees it. NULL if out of memory. */
struct server;
struct server *server_new(struct event_base *base);
void server_free(struct server *server); /* NULL is fine */
/* For paths and their handlers; it is the server's. */
struct evhttp *server_http(struct server *server);
/* Adds a listening socket. Takes fd if it returns 0; -ENOMEM. */
int server_accept(struct server *server, int fd);
/* Adds listening sockets for the address: of both families for a wildcard. A host without a family is no
 * failure. Returns 0 or a negative errno, then with nothing added but perhaps one family. */
int server_listen(struct server *server, const struct addr_port *at);
/* Answers with the body in the request's output buffer. */
void server_answer(struct evhttp_request *request, int status, const char *content_type);

/* health_check.c */
/* Opens what is still closed. Returns true if something is missing. */
bool checks_open(struct admin *admin);

/* face.c */
bool faces_open(struct admin *admin);
void faces_free(struct admin *admin);

/* health.c */
/* True unless rules are behind by more than two sync periods. */
bool health_is_good(const struct admin *admin);
/* Answers to GET /healthz, /livez, /readyz of the health address. */
void health_healthz(struct evhttp_request *request, void *admin);
void health_livez(struct evhttp_request *request, void *admin);
void health_readyz(struct evhttp_request *request, void *admin);

/* counts.c */
void counts_init(struct counts *counts);
void counts_fini(struct counts *counts);
void counts_queued(struct admin *admin);
void counts_done(struct admin *admin, int error);
/* What has changed is in force. */
void counts_settled(struct admin *admin);

/* trigger.c */
/* What waits is in force now. */
void triggers_done(struct admin *admin);
void triggers_free(struct admin *admin);

/* metrics.c */
/* All metrics, in Prometheus' text format. */
void metrics_print(const struct admin *admin, struct evbuffer *out);

/* metrics_service.c */
/* Those by Service, from the shared counters. */
void metrics_print_services(const struct admin *admin, struct evbuffer *out);

/* metrics_process.c */
/* Those of control's own process, and of the others. */
void metrics_print_processes(const struct admin *admin, struct evbuffer *out);

#endif
