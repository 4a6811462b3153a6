/* From documents to checked objects. */
#ifndef SOURCE_DECODE_H
#define SOURCE_DECODE_H

#include "portald/source.h"
#include "source/doc.h"
#include "source/finding.h"
#include "source/set.h"

struct decode_kind; /* table of the kinds passed over */

struct decoder {
	struct set *set;
	const struct source_options *options;
	struct decode_kind *passed_over;
	size_t file;
	unsigned depth; /* of nested lists */
};

void decoder_fini(struct decoder *decoder);

/* Decodes one document of the file decoder->file into the set. */
void decode_document(struct decoder *decoder, const struct doc *doc);

/* Decode one object that has the form of its table into the set, unless the scope gets an error. */
void decode_service(struct decoder *decoder, struct scope *scope, const struct doc_node *node);
void decode_endpoints(struct decoder *decoder, struct scope *scope, const struct doc_node *node);
void decode_endpoint_slice(struct decoder *decoder, struct scope *scope, const struct doc_node *node);
void decode_pod(struct decoder *decoder, struct scope *scope, const struct doc_node *node);
void decode_node(struct decoder *decoder, struct scope *scope, const struct doc_node *node);

/* The object's namespace, "default" if it names none. */
const char *decode_namespace(const struct doc_node *node);
/* The object's name; it has passed decode_meta(). */
const char *decode_name(const struct doc_node *node);

/* The value of the object's label or annotation, NULL if it has none. */
const char *decode_label(const struct doc_node *node, const char *key);
const char *decode_annotation(const struct doc_node *node, const char *key);

/* portald.io/ annotations. What is unknown or has no good value gets a warning and counts as missing. */
void decode_service_annotations(
	struct scope *scope, const struct doc_node *node, struct service_options *options);
/* portald.io/weight of a Pod, EndpointSlice or Endpoints. Returns false, and sets the default, if it has
 * none. */
bool decode_weight(struct scope *scope, const struct doc_node *node, uint16_t *weight);

/* "30s", "1m30s", "250ms" as Kubernetes (Go) writes durations, in milliseconds: 1 to 2^31 - 1. Returns 0 or
 * -EINVAL. */
int decode_duration(const char *text, uint32_t *ms);

/* A time as RFC 3339 writes it, "2026-01-02T03:04:05.678Z", in milliseconds since 1970; 0 if it is none, or
 * before. */
int64_t decode_time_ms(const char *text);
/* When what the object tells of has changed in the cluster, by its annotation; 0 if it doesn't say, or not
 * well: whoever reads it only measures. */
int64_t decode_trigger_ms(const struct doc_node *node);

/* Parts that several kinds have. Each reports what is wrong with `field` of parent. */
void decode_labels_check(struct scope *scope, const struct doc_node *parent, const char *field);
enum proto decode_protocol(struct scope *scope, const struct doc_node *parent);
/* A port's number, 1 to 65535; 0 after an error. */
uint16_t decode_port_number(struct scope *scope, const char *field, const struct doc_node *node);
/* An address that a connection can be made to. */
bool decode_endpoint_address(
	struct scope *scope, const char *field, const struct doc_node *node, struct addr *out);
/* Endpoints' and EndpointSlices' lists of ports. Without a port number: an error, unless none_is_all. */
struct model_slice_port *decode_slice_ports(
	struct scope *scope, const struct doc_node *parent, bool none_is_all, size_t *count);
/* targetRef as "Kind namespace/name" in fresh memory, or NULL. */
char *decode_target(const struct doc_node *parent, const char *namespace);

/* node's name and namespace keep the rules. */
void decode_meta(struct scope *scope, const struct doc_node *node, const char *(*name_rule)(const char *));

/* The value of parent's field as a node to point at in a message: itself, or parent if it is missing. */
const struct doc_node *decode_at(const struct doc_node *parent, const char *field);

#endif
