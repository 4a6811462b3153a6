/* Admin: what the node's proxy tells about itself by HTTP: its health, its metrics, and the health checks
 * that a cloud load balancer asks for (Service.spec.healthCheckNodePort). Runs in control, on its event loop;
 * answers from memory and from the shared counters, and never waits for another process.
 *
 *     health address    /healthz /livez /readyz
 *     metrics address   /metrics /healthz /proxyMode /configz
 *
 * Bodies, headers and the names of metrics are kube-proxy's where it has them; doc/METRICS.md lists them all.
 */
#ifndef PORTALD_ADMIN_H
#define PORTALD_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"
#include "portald/proto.h"

struct event_base;
struct evhttp_request;
struct admin;
struct stats;

#define ADMIN_NO_SLOT UINT32_MAX

/* Where something is served. A wildcard address stands for every address of the node, IPv4 and IPv6. */
struct admin_at {
	bool on;
	struct addr_port at;
};

/* A backend of a listener, by its counters. */
struct admin_backend {
	struct addr_port at;
	uint32_t slot; /* in stats */
};

/* An open listener, by its counters. Texts have no control characters. */
struct admin_listener {
	const char *namespace, *service, *port; /* of the Service; port "" where it has no name */
	const char *traffic; /* whose: "all", or "external", "host", "checked" where others have their own */
	enum proto proto;
	enum addr_family family;
	uint32_t slot; /* in stats */
	const struct admin_backend *backends;
	size_t backend_count;
};

/* How many rules there are, by the table that iptables has them in. */
struct admin_rules {
	size_t nat, filter;
};

/* Portals of the plan that are not open on this node, by what keeps them closed. */
struct admin_closed {
	size_t listener; /* no listener could be opened for them */
	size_t port;     /* another process has the port, or it can't be had */
	size_t rule;     /* their rule was refused */
};

typedef void (*admin_listener_fn)(void *context, const struct admin_listener *listener);

struct admin_options {
	struct admin_at health, metrics;
	bool held;              /* nothing is opened before admin_serve(), no health check either */
	bool bind_hard_fail;    /* else an address that can't be had is tried again */
	int64_t sync_period_ms; /* the health checks fail when rules are behind by two of these */
	size_t max_series;      /* of metrics by Service: beyond, detail is left out */
	const char *proxy_mode; /* what /proxyMode says; borrowed */
	const char *version;    /* borrowed */
	struct stats *stats;    /* borrowed, may be mapped for reading only; NULL: nothing is counted */
	uint32_t relay_count;
	/* Calls visit for each open listener, in an order that stays. NULL: there are none. */
	void (*each_listener)(void *context, admin_listener_fn visit, void *visitor);
	/* The rules of the plan that is in force. NULL: there are none. */
	struct admin_rules (*count_rules)(void *context);
	/* NULL: all are open. */
	struct admin_closed (*count_closed)(void *context);
	/* The configuration in force as JSON text, to be freed by the caller; NULL: /configz is not found. */
	char *(*configz)(void *context);
	void *context;
	/* clock_now_ms(), clock_wall_us(); NULL: those. */
	int64_t (*now_ms)(void);
	int64_t (*wall_us)(void);
};

/* Nothing listens yet. options is copied. The caller frees it with admin_free(). */
struct admin *admin_new(struct event_base *base, const struct admin_options *options);
void admin_free(struct admin *admin); /* closes; NULL is fine */

/* Opens the health and metrics addresses of the options. Returns 0, or with bind_hard_fail a negative errno
 * (logged) if one can't be had. */
int admin_serve(struct admin *admin);

/* Serves one path more at a listening socket, which it takes: any path at all goes to handle. For the status
 * socket. Returns 0 or a negative errno. */
int admin_serve_socket(struct admin *admin, int fd,
	void (*handle)(struct evhttp_request *request, void *context), void *context);

/* What /healthz and /readyz say. */
bool admin_is_healthy(const struct admin *admin);
bool admin_is_ready(const struct admin *admin);

/* ---- health checks of load balancers ---- */

/* A load balancer's question: has this node endpoints of that Service? */
struct admin_health_check {
	uint16_t port;
	const char *namespace;
	const char *name;
	size_t local_endpoints;
};

/* From now on exactly these are served, on every address of the node, IPv4 and IPv6: at their port any path
 * answers as kube-proxy does, 200 if the node has endpoints and the proxy is healthy, else 503, with JSON.
 * What stays is not closed. A port that cannot be had is logged and tried again every few seconds.
 * checks is copied. */
void admin_set_health_checks(struct admin *admin, const struct admin_health_check *checks, size_t count);

/* ---- what health and metrics are made of ---- */

/* So many Services and EndpointSlices have changed since the last call. */
void admin_count_changes(struct admin *admin, size_t services, size_t slices);

/* A plan is on its way to the supervisor. */
void admin_sync_queued(struct admin *admin);

/* The supervisor's answer for the plan that was queued last: in force, or a negative errno of steering. An
 * error may also come later, when rules that were in force can't be kept so. */
void admin_sync_done(struct admin *admin, int error);

/* What has changed takes no other rules: unless a plan is on its way, all is in force. */
void admin_sync_unneeded(struct admin *admin);

/* The Service's endpoints have changed, because of what happened in the cluster at that time, in milliseconds
 * since 1970. How long that took to be in force is counted with the next success; once for each time, and not
 * for times before admin was made. 0: the Service is gone. */
void admin_note_trigger(struct admin *admin, const char *namespace, const char *service, int64_t trigger_ms);

/* The Node is about to be deleted, or not: a load balancer shall look for another. */
void admin_set_node_leaving(struct admin *admin, bool leaving);

/* An answer of the API server: its HTTP status, or 0 for none at all. method is GET, ...; host is host:port.
 */
void admin_count_request(struct admin *admin, unsigned status, const char *method, const char *host);

#endif
