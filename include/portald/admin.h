/* Admin: what the node's proxy tells about itself by HTTP. In this module: the health checks that a cloud
 * load balancer asks for (Service.spec.healthCheckNodePort). Runs in control, on its event loop; answers from
 * memory and never waits for another process.
 */
#ifndef PORTALD_ADMIN_H
#define PORTALD_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct admin;

/* A load balancer's question: has this node endpoints of that Service? */
struct admin_health_check {
	uint16_t port;
	const char *namespace;
	const char *name;
	size_t local_endpoints;
};

/* Nothing listens yet. The caller frees it with admin_free(). */
struct admin *admin_new(struct event_base *base);
void admin_free(struct admin *admin); /* closes; NULL is fine */

/* From now on exactly these are served, on every address of the node, IPv4 and IPv6: at their port any path
 * answers as kube-proxy does, 200 if the node has endpoints and the proxy is healthy, else 503, with JSON.
 * What stays is not closed. A port that cannot be had is logged and tried again every few seconds.
 * checks is copied. */
void admin_set_health_checks(struct admin *admin, const struct admin_health_check *checks, size_t count);

/* Whether rules are in force as they should be; true at the beginning. */
void admin_set_healthy(struct admin *admin, bool healthy);

#endif
