/* From documents of the API server to objects of the model. An object comes out of the API server's own
 * checks: what is unknown in it is newer than this program, and no name or label is held against rules again.
 */
#ifndef SOURCE_API_OBJECT_H
#define SOURCE_API_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/watch.h"
#include "source/api_stream.h"

enum api_kind {
	API_SERVICE,
	API_ENDPOINT_SLICE_V1,
	API_ENDPOINT_SLICE_V1BETA1,
	API_ENDPOINTS,
	API_NODE,
};

/* What is kept of the answers: of a list (items are documents of their own), of a watch's events, and of a
 * Status. */
const struct api_filter *api_filter_list(enum api_kind kind);
const struct api_filter *api_filter_event(enum api_kind kind);
const struct api_filter *api_filter_status(void);

/* "Service", "EndpointSlice", ... */
const char *api_kind_name(enum api_kind kind);

/* One object of the API, decoded: a Service, or the slices of an EndpointSlice or Endpoints object (none if
 * it belongs to no Service), or a Node. */
struct api_object {
	struct model_service *service;
	struct model_slice **slices;
	size_t slice_count;
	struct watch_node *node;
};

/* Decodes; the caller ends it with api_object_fini(). 0, or -EINVAL with *problem set to fresh text:
 * "Service default/web: spec.ports[0].port: ...". */
int api_object_decode(
	struct api_object *object, enum api_kind kind, const struct doc_node *root, char **problem);
void api_object_fini(struct api_object *object);

/* True if both say the same. */
bool api_object_equal(const struct api_object *a, const struct api_object *b);

void api_node_free(struct watch_node *node); /* NULL is fine */

/* A Status, as error answers and ERROR events have it; text is borrowed from the document. */
struct api_status {
	int code;              /* 0 if it says none */
	const char *reason;    /* "Expired", ..., "" if it says none */
	const char *message;   /* "" if it says none */
	int64_t retry_after_s; /* -1 if it says none */
	bool too_large;        /* the resource version asked for is one that the server has not reached */
};
struct api_status api_status_read(const struct doc_node *root);

#endif
