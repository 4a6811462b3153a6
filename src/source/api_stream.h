/* Answers of the API server, decoded as their bytes arrive: each object becomes a small document of its own;
 * what no filter names is passed over without being kept. */
#ifndef SOURCE_API_STREAM_H
#define SOURCE_API_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "source/doc.h"

/* Bounds of one object. etcd takes objects of 1.5 MiB, unless it is told otherwise. */
#define API_MAX_OBJECT_BYTES ((size_t)8 * 1024 * 1024)
#define API_MAX_OBJECT_NODES ((size_t)1 << 18)
#define API_MAX_DEPTH 128

/* Which keys of a map are kept. Lists are transparent: their elements are held against the list's filter. */
struct api_filter {
	const char *key;                 /* ending in '*': every key that begins so. NULL ends the table */
	const struct api_filter *fields; /* of the value; NULL: all of it is kept */
	bool each; /* the value is a list whose elements are documents of their own, left out here */
};

/* Receives a document, which is valid during the call. item: an element of a list with `each`, otherwise a
 * whole value of the stream. Returns 0, or a negative errno that ends the stream. */
typedef int api_stream_fn(void *context, const struct doc_node *root, bool item);

struct api_stream;

struct api_stream *api_stream_new(const struct api_filter *filter, api_stream_fn *document, void *context);
void api_stream_free(struct api_stream *stream); /* NULL is fine */

/* Takes a piece. 0, -EBADMSG for what is not JSON or exceeds a bound, or what the receiver returned; after
 * an error the stream takes no more. */
int api_stream_feed(struct api_stream *stream, const char *bytes, size_t byte_count);

/* 0 if the stream may end here, -EBADMSG if it ends within a value. */
int api_stream_end(const struct api_stream *stream);

#endif
