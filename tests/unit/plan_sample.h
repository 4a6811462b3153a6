/* A small cluster with one of everything that the plan tells apart. */
#ifndef TESTS_PLAN_SAMPLE_H
#define TESTS_PLAN_SAMPLE_H

#include "portald/model.h"

/* Pieces for other snapshots. Names and addresses are literals. */
struct model_service *sample_service(struct model_builder *builder, const char *namespace, const char *name,
	enum model_service_type type, const char *cluster_ip);
void sample_service_port(
	struct model_service *service, const char *name, enum proto proto, uint16_t port, uint16_t node_port);
struct model_slice *sample_slice(
	struct model_builder *builder, const struct model_service *service, const char *name);
void sample_slice_port(struct model_slice *slice, const char *name, enum proto proto, uint16_t port);
/* state: 'r' ready, 'n' not ready, 't' terminating but serving, 'g' gone: terminating, serves no more. target
 * may be NULL. */
void sample_endpoint(struct model_slice *slice, const char *addr, char state, const char *target);

/* ClusterIPs and NodePorts over TCP and IPv4. */
struct model_snapshot *sample_snapshot(void);
/* The same with UDP, IPv6, external addresses, policies and options. */
struct model_snapshot *sample_snapshot_full(void);

/* Compares text with tests/unit/golden/NAME; with PORTALD_UPDATE_GOLDEN set it writes the file instead. */
void assert_golden(const char *name, const char *text);

#endif
