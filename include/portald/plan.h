/* The plan: what this node should open. A pure function of (snapshot, node facts).
 *
 * One listener for each Service port; its key is kube-proxy's ServicePortName, "namespace/name:port", or
 * "namespace/name" where the port has no name. The plan never knows proxy ports: those belong to whoever
 * opens the listeners.
 */
#ifndef PORTALD_PLAN_H
#define PORTALD_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "portald/addr.h"
#include "portald/model.h"
#include "portald/proto.h"

/* Bounds of one listener; a decoder of plan records refuses what exceeds them. */
#define PLAN_MAX_KEY_BYTES 256 /* 63 + 1 + 63 + 1 + 63 in practice */
#define PLAN_MAX_PORTALS 256
#define PLAN_MAX_BACKENDS 32768

enum plan_portal_kind { PLAN_PORTAL_CLUSTER_IP, PLAN_PORTAL_NODE_PORT };

/* An address and port at which clients reach the Service. A NodePort's address is the family's "any". */
struct plan_portal {
	enum plan_portal_kind kind;
	struct addr_port at;
};

/* An endpoint that gets connections. */
struct plan_backend {
	struct addr_port at;
	char *target; /* "Pod namespace/name" or NULL: for people only, not sent to the supervisor */
};

/* An endpoint that gets none, and why. */
struct plan_left_out {
	struct addr_port at; /* port 0: the slice has no such port */
	char *target;
	char *reason; /* "not ready", "terminating", "no port named http", ... */
};

struct plan_listener {
	char *key;
	enum proto proto;
	enum addr_family family;
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

struct plan {
	struct plan_listener **listeners; /* sorted by key; unique */
	size_t listener_count;
	struct plan_skipped *skipped; /* sorted by key */
	size_t skipped_count;
};

/* What the plan needs to know of the node. */
struct plan_facts {
	const char *node_name;
};

/* Builds the plan. Never fails: conflicting portals go to the first claimant in key order, the other is
 * skipped with a reason. The caller frees it with plan_free(). */
struct plan *plan_build(const struct model_snapshot *snapshot, const struct plan_facts *facts);
void plan_free(struct plan *plan); /* NULL is fine */

/* A listener without portals and backends; key is copied. */
struct plan_listener *plan_listener_new(const char *key, enum proto proto, enum addr_family family);
void plan_listener_free(struct plan_listener *listener); /* NULL is fine */
/* Append an entry; -ENOSPC at the bounds above. Strings are copied. */
int plan_listener_add_portal(
	struct plan_listener *listener, enum plan_portal_kind kind, const struct addr_port *at);
int plan_listener_add_backend(struct plan_listener *listener, const struct addr_port *at, const char *target);

/* True if the supervisor would do the same for both: key, protocol, portals, backends. */
bool plan_listener_equal(const struct plan_listener *a, const struct plan_listener *b);

/* The listener with that key, or NULL. */
struct plan_listener *plan_find(const struct plan *plan, const char *key);

enum plan_change { PLAN_ADDED, PLAN_CHANGED, PLAN_REMOVED };

/* Calls change for each key that differs, in key order. old may be NULL (everything is added). For
 * PLAN_REMOVED listener is the old one, otherwise the new one. */
void plan_diff(const struct plan *old, const struct plan *new,
	void (*change)(void *context, enum plan_change kind, const struct plan_listener *listener),
	void *context);

enum plan_output { PLAN_TABLE, PLAN_JSON, PLAN_YAML };

/* Prints the plan for people or tools: every listener with its portals, backends, endpoints left out
 * and reasons, then what was skipped. Returns 0 or -EIO.
 *
 * JSON and YAML have the same shape; what is unknown is left out, lists are always there, the order is
 * that of the structs above:
 *
 *     listeners:
 *     - key: default/web:http
 *       protocol: TCP
 *       family: IPv4
 *       portals:
 *       - {kind: ClusterIP, address: 10.96.0.10, port: 80}
 *       - {kind: NodePort, address: 0.0.0.0, port: 30080}
 *       backends:
 *       - {address: 10.244.1.5, port: 8080, target: Pod default/web-1}
 *       leftOut:
 *       - {address: 10.244.1.6, port: 8080, target: Pod default/web-2, reason: not ready}
 *       note: text for people, if there is something to say
 *     skipped:
 *     - {key: default/db, reason: text for people}
 */
int plan_print(const struct plan *plan, enum plan_output output, FILE *out);

#endif
