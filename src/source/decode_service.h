/* What the files that decode Services share. */
#ifndef SOURCE_DECODE_SERVICE_H
#define SOURCE_DECODE_SERVICE_H

#include "source/decode.h"

/* A Service on its way through the checks. The scope is at its spec. */
struct checked {
	struct scope *scope;
	const struct doc_node *node, *spec;
	struct set_service *service;
	struct model_service *model;
	const struct source_options *options;
};

/* spec's field is one of the words (ended by NULL), or missing. Returns its index, or fallback. */
size_t decode_choice(struct checked *checked, const char *field, const char *const *words, size_t fallback);

/* Reports spec's field if it is there. */
void decode_forbid(struct checked *checked, const char *field, const char *why);

/* A number within the range of nodePorts, 0 after an error. */
uint16_t decode_node_port(struct checked *checked, const char *field, const struct doc_node *value);

/* Addresses of families: clusterIP, clusterIPs, ipFamilies, ipFamilyPolicy. */
void decode_cluster_ips(struct checked *checked);

/* How the Service is reached from outside and by whom: externalIPs, load balancer, policies. */
void decode_external(struct checked *checked);

#endif
