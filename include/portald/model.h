/* The model: what the cluster says. An immutable snapshot of Services and EndpointSlices.
 *
 * Objects are reference-counted and never change after they are put into a snapshot, so snapshots share
 * them and a comparison by pointer finds most of what did not change. Endpoints (core/v1) and endpoints
 * taken from Pods come in as slices too: the rest of the program knows one form only.
 *
 * Used by control and by `portald plan`. Sources make snapshots, plan reads them.
 */
#ifndef PORTALD_MODEL_H
#define PORTALD_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"
#include "portald/proto.h"
#include "portald/service_options.h"

/* Limits on one object; a decoder refuses what exceeds them. The API server's own limits are lower or
 * equal (a slice holds at most 1,000 endpoints; Endpoints objects are cut at 1,000). */
#define MODEL_MAX_PORTS 512
#define MODEL_MAX_ENDPOINTS 16384
#define MODEL_MAX_EXTERNAL_IPS 120
#define MODEL_MAX_LOAD_BALANCER_IPS 120
#define MODEL_MAX_SOURCE_RANGES 1024
#define MODEL_MAX_HINTS 8 /* the API's own limit for zones and for nodes */

enum model_service_type {
	MODEL_CLUSTER_IP,
	MODEL_NODE_PORT,
	MODEL_LOAD_BALANCER,
	MODEL_EXTERNAL_NAME,
};

/* Service.spec.trafficDistribution. It works through the hints of the endpoints, which whoever makes slices
 * sets; the plan looks at those only. */
enum model_distribution {
	MODEL_DISTRIBUTE_ALL,
	MODEL_PREFER_SAME_ZONE, /* also by its old name, PreferClose */
	MODEL_PREFER_SAME_NODE,
};

/* An entry of Service.spec.ports. */
struct model_service_port {
	char *name; /* "" if the only port has none */
	enum proto proto;
	uint16_t port;
	uint16_t node_port; /* 0: none */
};

struct model_service {
	unsigned refs;
	char *namespace;
	char *name;
	enum model_service_type type;
	bool headless; /* clusterIP: None */
	/* spec.clusterIPs, the primary one first; 0 for headless and ExternalName. */
	struct addr cluster_ips[2];
	size_t cluster_ip_count;
	bool publish_not_ready;
	bool internal_local; /* internalTrafficPolicy: Local */
	bool external_local; /* externalTrafficPolicy: Local */
	enum model_distribution distribution;
	uint16_t health_check_node_port;  /* LoadBalancer with externalTrafficPolicy Local; 0: none */
	struct service_options options;   /* session affinity and what the annotations say */
	struct model_service_port *ports; /* in the manifest's order */
	size_t port_count;
	struct addr *external_ips; /* spec.externalIPs */
	size_t external_ip_count;
	struct addr *load_balancer_ips; /* status.loadBalancer.ingress, without those of ipMode Proxy */
	size_t load_balancer_ip_count;
	struct addr_prefix *source_ranges; /* loadBalancerSourceRanges */
	size_t source_range_count;
	/* Why the Service is none of this program's business, where its labels say so; NULL otherwise. */
	char *out_of_scope;
	/* Why the service has no endpoints, where the source knows better than "none found" (for
	 * example a selector that meets no Pod); NULL otherwise. Shown by the plan. */
	char *no_endpoints_reason;
};

/* An entry of EndpointSlice.ports: the named target port, resolved to a number. */
struct model_slice_port {
	char *name; /* matched with the Service port's name; "" if none */
	enum proto proto;
	uint16_t port; /* 0: "all ports", which no Service port uses */
};

struct model_endpoint {
	struct addr addr;
	bool ready;
	bool serving;
	bool terminating;
	uint16_t weight;   /* of new connections, against the Service's other endpoints; 0: none */
	char *target;      /* targetRef as "Pod namespace/name", or NULL */
	char *node_name;   /* or NULL */
	char *zone;        /* or NULL */
	char **zone_hints; /* hints.forZones: the zones that should use the endpoint */
	char **node_hints; /* hints.forNodes, likewise */
	uint8_t zone_hint_count, node_hint_count;
};

struct model_slice {
	unsigned refs;
	char *namespace;
	char *name; /* of the slice, Endpoints object or Pod set: unique per kind in the namespace */
	char *service_name;
	enum addr_family family;
	struct model_slice_port *ports;
	size_t port_count;
	struct model_endpoint *endpoints;
	size_t endpoint_count;
	int64_t trigger_ms; /* when the cluster's change happened that made it so, since 1970; 0: unknown. Two
			     * slices that differ in this only are equal */
};

/* A node, as far as the choice of endpoints asks for it. */
struct model_node {
	unsigned refs;
	char *name;
	char *zone; /* label topology.kubernetes.io/zone, or NULL */
};

struct model_snapshot {
	unsigned refs;
	struct model_service **services; /* sorted by namespace, name; unique */
	size_t service_count;
	struct model_slice **slices; /* sorted by namespace, service_name, name; unique */
	size_t slice_count;
	struct model_node **nodes; /* sorted by name; unique */
	size_t node_count;
};

/* Fresh objects with one reference, to be filled by the caller before anybody else sees them. */
struct model_service *model_service_new(const char *namespace, const char *name);
struct model_slice *model_slice_new(const char *namespace, const char *service_name, const char *name);
struct model_node *model_node_new(const char *name, const char *zone);

/* Append a zeroed entry and return it for filling (its name is "", its weight the default one); NULL at the
 * limit above. */
struct model_service_port *model_service_add_port(struct model_service *service);
struct model_slice_port *model_slice_add_port(struct model_slice *slice);
struct model_endpoint *model_slice_add_endpoint(struct model_slice *slice);
struct addr *model_service_add_external_ip(struct model_service *service);
struct addr *model_service_add_load_balancer_ip(struct model_service *service);
struct addr_prefix *model_service_add_source_range(struct model_service *service);

/* Append a copy of the text; false at the limit above. */
bool model_endpoint_add_zone_hint(struct model_endpoint *endpoint, const char *zone);
bool model_endpoint_add_node_hint(struct model_endpoint *endpoint, const char *node_name);

/* References: an object is freed with its last one, never changed while it has more than one. */
struct model_service *model_service_ref(struct model_service *service);
struct model_slice *model_slice_ref(struct model_slice *slice);
void model_service_unref(struct model_service *service); /* NULL is fine */
void model_slice_unref(struct model_slice *slice);       /* NULL is fine */
struct model_node *model_node_ref(struct model_node *node);
void model_node_unref(struct model_node *node); /* NULL is fine */

/* True if both say the same. */
bool model_service_equal(const struct model_service *a, const struct model_service *b);
bool model_slice_equal(const struct model_slice *a, const struct model_slice *b);
bool model_node_equal(const struct model_node *a, const struct model_node *b);

/* A snapshot under construction: put objects in any order, the last one of a key wins, then finish. */
struct model_builder;
struct model_builder *model_builder_new(void);
void model_builder_free(struct model_builder *builder); /* without finishing; NULL is fine */
/* Take the caller's reference. */
void model_builder_take_service(struct model_builder *builder, struct model_service *service);
void model_builder_take_slice(struct model_builder *builder, struct model_slice *slice);
void model_builder_take_node(struct model_builder *builder, struct model_node *node);
/* Sorts, frees the builder and returns the snapshot with one reference. */
struct model_snapshot *model_builder_finish(struct model_builder *builder);

/* References to a snapshot, which keeps one to each of its objects. */
struct model_snapshot *model_snapshot_ref(struct model_snapshot *snapshot);
void model_snapshot_unref(struct model_snapshot *snapshot); /* NULL is fine */

/* The order of a snapshot's Services, and of slices by the Service that they belong to: below 0, 0 or above,
 * as strcmp(). */
int model_service_cmp(const struct model_service *a, const struct model_service *b);
int model_slice_service_cmp(const struct model_slice *slice, const struct model_service *service);

/* The service's slices as a range [*first, *first + returned count) of snapshot->slices. */
size_t model_slices_of(
	const struct model_snapshot *snapshot, const struct model_service *service, size_t *first);

/* The node of that name, or NULL. */
const struct model_node *model_find_node(const struct model_snapshot *snapshot, const char *name);

#endif
