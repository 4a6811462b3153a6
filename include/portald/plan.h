/* The plan: what this node should open. A pure function of (snapshot, node facts).
 *
 * One listener for each Service port (or several: see struct plan_listener); its key is kube-proxy's
 * ServicePortName, "namespace/name:port", or "namespace/name" where the port has no name. The plan never
 * knows proxy ports: those belong to whoever opens the listeners.
 */
#ifndef PORTALD_PLAN_H
#define PORTALD_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "portald/addr.h"
#include "portald/model.h"
#include "portald/proto.h"
#include "portald/service_options.h"

/* Bounds of one listener; a decoder of plan records refuses what exceeds them. */
#define PLAN_MAX_KEY_BYTES 256 /* 63 + 1 + 63 + 1 + 63 in practice */
#define PLAN_MAX_PORTALS 256
#define PLAN_MAX_BACKENDS 32768

#define PLAN_MAX_SOURCE_RANGES 1024

enum plan_portal_kind {
	PLAN_PORTAL_CLUSTER_IP,
	PLAN_PORTAL_NODE_PORT,
	PLAN_PORTAL_EXTERNAL_IP,
	PLAN_PORTAL_LOAD_BALANCER,
	PLAN_PORTAL_KINDS
};

/* Whose traffic a portal takes: with externalTrafficPolicy Local, what the node itself sends to an external
 * address goes to all endpoints, what arrives goes to the local ones. */
enum plan_scope { PLAN_SCOPE_ALL, PLAN_SCOPE_ARRIVING, PLAN_SCOPE_HOST, PLAN_SCOPES };

/* An address and port at which clients reach the Service. A NodePort's address is the family's "any". */
struct plan_portal {
	enum plan_portal_kind kind;
	enum plan_scope scope;
	bool check_source; /* only clients within the listener's source ranges */
	struct addr_port at;
};

/* What becomes of a connection to the portals. The listener is open in any case. */
enum plan_action {
	PLAN_PROXY,  /* goes to a backend */
	PLAN_REJECT, /* there is none that takes connections: refused at once */
	PLAN_DROP,   /* there is one, but none on this node, with a traffic policy Local: not answered */
	PLAN_ACTIONS
};

/* An endpoint that gets connections. */
struct plan_backend {
	struct addr_port at;
	uint16_t weight; /* 0: no new connections */
	char *target;    /* "Pod namespace/name" or NULL: for people only, not sent to the supervisor */
};

/* An endpoint that gets none, and why. */
struct plan_left_out {
	struct addr_port at; /* port 0: the slice has no such port */
	char *target;
	char *reason; /* "not ready", "terminating", "no port named http", ... */
};

/* A Service port may need several listeners: one a family, and further ones for external traffic where its
 * policy gives it other endpoints than internalTrafficPolicy gives the clusterIP. They share the key and
 * differ in the id. */
struct plan_listener {
	/* Unique: the key, with "#v6" for IPv6, then "#external" for external traffic's own, "#host" for
	 * what the node itself sends to external addresses if both policies are Local, then "#checked" for
	 * UDP portals that check sources beside some that do not. */
	char *id;
	char *key;
	enum proto proto;
	enum addr_family family;
	enum plan_action action;
	struct service_options options;
	struct addr_prefix *source_ranges; /* loadBalancerSourceRanges of this family */
	size_t source_range_count;
	struct plan_portal *portals; /* sorted by kind, address, port */
	size_t portal_count;
	struct plan_backend *backends; /* sorted by address and port; unique */
	size_t backend_count;
	struct plan_left_out *left_out; /* sorted likewise */
	size_t left_out_count;
	char *note; /* why there is no backend, or what else a person should know; NULL */
};

/* A Service (or port of one) that opens nothing, and why ("headless", "ExternalName", ...). */
struct plan_skipped {
	char *key;
	char *reason;
};

/* A healthCheckNodePort, where a load balancer asks whether this node has endpoints of the Service. */
struct plan_health_check {
	uint16_t port;
	char *namespace, *name; /* of the Service */
	size_t local_endpoints; /* ready ones on this node */
};

struct plan {
	struct plan_listener **listeners; /* sorted by id; unique */
	size_t listener_count;
	struct plan_skipped *skipped; /* sorted by key */
	size_t skipped_count;
	struct plan_health_check *health_checks; /* sorted by port */
	size_t health_check_count;
	struct service_options usual; /* of a Service that leaves all open: not worth printing */
};

/* What the plan needs to know of the node. */
struct plan_facts {
	const char *node_name;
	const char *zone;                 /* NULL: the one that the snapshot's Node has, if any */
	struct service_options defaults;  /* for what a Service leaves open: scheduler, UDP timeouts */
	bool source_ranges_on_node_ports; /* loadBalancerSourceRanges hold for NodePorts too */
};

/* Builds the plan. Never fails: of conflicting portals a clusterIP comes before a NodePort and that before
 * external addresses; within a kind the first claimant in id order has it, the other is skipped with a
 * reason. The caller frees it with plan_free(). */
struct plan *plan_build(const struct model_snapshot *snapshot, const struct plan_facts *facts);
void plan_free(struct plan *plan); /* NULL is fine */

/* A listener that proxies, without portals and backends, with the default options; id and key are
 * copied. */
struct plan_listener *plan_listener_new(
	const char *id, const char *key, enum proto proto, enum addr_family family);
void plan_listener_free(struct plan_listener *listener); /* NULL is fine */
/* Append an entry; -ENOSPC at the bounds above. Strings are copied. */
int plan_listener_add_portal(struct plan_listener *listener, const struct plan_portal *portal);
int plan_listener_add_backend(
	struct plan_listener *listener, const struct addr_port *at, uint16_t weight, const char *target);
int plan_listener_add_source_range(struct plan_listener *listener, const struct addr_prefix *range);

/* True if the supervisor would do the same for both: id, and what the next two compare. */
bool plan_listener_equal(const struct plan_listener *a, const struct plan_listener *b);
/* True if they listen alike: all but the backends. */
bool plan_listener_same_front(const struct plan_listener *a, const struct plan_listener *b);
/* True if they have the same backends with the same weights. */
bool plan_listener_same_backends(const struct plan_listener *a, const struct plan_listener *b);

/* The listener with that id, or NULL. */
struct plan_listener *plan_find(const struct plan *plan, const char *id);

enum plan_change { PLAN_ADDED, PLAN_CHANGED, PLAN_REMOVED };

/* Calls change for each id that differs, in id order. old may be NULL (everything is added). For
 * PLAN_REMOVED listener is the old one, otherwise the new one. */
void plan_diff(const struct plan *old, const struct plan *new,
	void (*change)(void *context, enum plan_change kind, const struct plan_listener *listener),
	void *context);

/* "ClusterIP", "NodePort", ... */
const char *plan_kind_name(enum plan_portal_kind kind);
/* "arriving", "host"; NULL for all traffic. */
const char *plan_scope_name(enum plan_scope scope);
/* "proxy", "reject", "drop". */
const char *plan_action_name(enum plan_action action);

enum plan_output { PLAN_TABLE, PLAN_JSON, PLAN_YAML };

/* Prints the plan for people or tools: every listener with its portals, endpoints, endpoints left out and
 * reasons, then health checks and what was skipped. Returns 0 or -EIO.
 *
 * JSON and YAML have the same shape; what is unknown or as usual is left out (options, sourceRanges, scope,
 * checkSource, weight 1), the other lists are always there, the order is that of the structs above:
 *
 *     listeners:
 *     - id: default/web:http#external
 *       key: default/web:http
 *       protocol: TCP
 *       family: IPv4
 *       action: proxy (or reject, drop)
 *       options: {scheduler: lc, affinitySeconds: 10800, ...}
 *       sourceRanges: [198.51.100.0/24]
 *       portals:
 *       - {kind: NodePort, address: 0.0.0.0, port: 30080, scope: arriving}
 *       - {kind: LoadBalancer, address: 203.0.113.7, port: 80, scope: arriving, checkSource: true}
 *       backends:
 *       - {address: 10.244.1.5, port: 8080, weight: 3, target: Pod default/web-1}
 *       leftOut:
 *       - {address: 10.244.1.6, port: 8080, target: Pod default/web-2, reason: not ready}
 *       note: text for people, if there is something to say
 *     healthChecks:
 *     - {port: 30100, namespace: default, name: web, localEndpoints: 1}
 *     skipped:
 *     - {key: default/db, reason: text for people}
 */
int plan_print(const struct plan *plan, enum plan_output output, FILE *out);

#endif
