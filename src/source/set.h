/* The set of objects that the manifests hold, each checked by itself, with what is still to be decided
 * between them: claims of addresses and ports, and which endpoints belong to which Service. */
#ifndef SOURCE_SET_H
#define SOURCE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/model.h"
#include "source/doc.h"
#include "source/finding.h"

struct label {
	char *key, *value;
	uint32_t hash; /* of both: nearly all comparisons end here, and a cluster has very many */
};

/* Sorted by key. */
struct labels {
	struct label *list;
	size_t count;
};

/* What every object has. gone: replaced by a later one of its name, or refused. */
struct object {
	struct place place;
	char *title; /* "Service default/web" */
	bool gone;
};

/* A Service port's part that the model does not keep: where the endpoints controller sends it. */
struct target_port {
	uint16_t number; /* used if name is NULL */
	char *name;
	struct place node_port_place;
};

/* spec.ipFamilyPolicy. */
enum family_policy { SINGLE_STACK, PREFER_DUAL_STACK, REQUIRE_DUAL_STACK };

struct set_service {
	struct object object;
	struct model_service *model;
	struct labels selector;
	struct target_port *targets; /* as many as model->port_count */
	bool wants_cluster_ip;       /* as many as the family policy says, beyond those it has */
	bool wants_node_ports, wants_health_check_port;
	enum addr_family families[2]; /* spec.ipFamilies */
	size_t family_count;
	enum family_policy family_policy;
	struct place cluster_ip_place, family_policy_place, selector_place;
};

/* An Endpoints object or an EndpointSlice. */
struct set_endpoints {
	struct object object;
	char *namespace;
	char *service_name; /* NULL: names none */
	bool from_endpoints;
	/* EndpointSlice: a controller made it, from Pods or as the mirror of an Endpoints object.
	 * Endpoints: it is never mirrored. */
	bool managed;
	struct model_slice **slices;
	size_t slice_count, slice_capacity;
};

struct pod_port {
	char *name;
	enum proto proto;
	uint16_t port;
};

struct set_pod {
	struct object object;
	char *namespace, *name, *node_name;
	struct labels labels;
	struct addr ips[2];
	size_t ip_count;
	bool ready, terminating, ended; /* ended: phase Succeeded or Failed */
	bool has_weight;
	uint16_t weight; /* the default one if it has none */
	struct pod_port *ports;
	size_t port_count, port_capacity;
};

struct set_node {
	struct object object;
	struct model_node *model;
};

struct set_name; /* table of the names in use */

struct set {
	struct findings *findings;
	struct set_name *names;
	size_t left_out; /* objects and files */
	struct set_service **services;
	size_t service_count, service_capacity;
	struct set_endpoints **endpoints;
	size_t endpoints_count, endpoints_capacity;
	struct set_pod **pods;
	size_t pod_count, pod_capacity;
	struct set_node **nodes; /* sorted by name once set_build() runs */
	size_t node_count, node_capacity;
};

void set_fini(struct set *set);

/* Take the object. One of the same kind and name that was put before is gone then, with a warning. */
void set_take_service(struct set *set, struct set_service *service);
void set_take_endpoints(struct set *set, struct set_endpoints *endpoints);
void set_take_pod(struct set *set, struct set_pod *pod);
void set_take_node(struct set *set, struct set_node *node);

void set_service_free(struct set_service *service);
void set_endpoints_free(struct set_endpoints *endpoints);
void set_pod_free(struct set_pod *pod);
void set_node_free(struct set_node *node);

/* Appends a slice of the given family and takes the reference. Its name is unique within the set. */
void set_endpoints_add(struct set_endpoints *endpoints, struct model_slice *slice);

/* The labels of a map of strings, NULL for none. */
struct labels labels_from(const struct doc_node *map);
void labels_fini(struct labels *labels);
const char *labels_get(const struct labels *labels, const char *key);
/* "a=b,c=d" in fresh memory. */
char *labels_format(const struct labels *labels);
/* How many of the wanted ones are among have. */
size_t labels_matching(const struct labels *wanted, const struct labels *have);

/* Settle which Service has which clusterIP and nodePort: explicit ones in the order of the input, then the
 * missing ones are allocated in the order of names. Services that lose are gone, with an error. */
void set_claim(struct set *set, const struct source_options *options);

/* Puts the Services that are left and their endpoints into the builder. */
void set_build(struct set *set, const struct source_options *options, struct model_builder *builder);

/* How far the derivation of a Service's endpoints from Pods came. */
struct pods_outcome {
	size_t matched;      /* Pods that the selector meets */
	size_t with_address; /* of these, those that run and have an address */
	size_t used;         /* of these, those that became endpoints */
};

/* What the derivation works on. */
struct pods {
	struct set_pod *const *list; /* those of the Service's namespace */
	size_t count;
	struct set_node *const *nodes; /* sorted by name, without those gone */
	size_t node_count;
};

/* Derives a Service's endpoints from Pods as the endpoints controller does it, with the hints that its
 * trafficDistribution asks for. The slices go into the builder. */
struct pods_outcome pods_derive(const struct set_service *service, const struct pods *pods,
	const struct source_options *options, struct model_builder *builder);

#endif
