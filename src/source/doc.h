/* Documents: the tree that YAML and JSON have in common, with the place of everything in its file.
 *
 * A document owns its nodes (they live in one arena and go with it). Nodes are read-only once read. Shared
 * subtrees are possible (YAML aliases), cycles are not.
 */
#ifndef SOURCE_DOC_H
#define SOURCE_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds of one document. A dump of a large cluster has some two million nodes; the deepest known objects
 * (custom resource schemas) nest some 60 levels. */
#define DOC_MAX_NODES ((size_t)1 << 23)
#define DOC_MAX_DEPTH 256
#define DOC_MAX_ANCHORS 1024
#define DOC_MAX_ALIASES 65536

enum doc_kind { DOC_NULL, DOC_BOOL, DOC_INT, DOC_FLOAT, DOC_STRING, DOC_SEQUENCE, DOC_MAP };

struct doc_node {
	enum doc_kind kind;
	unsigned line, column; /* from 1 */
	unsigned height;       /* 1 for a scalar */
	size_t weight;         /* nodes below and including this one, with aliases expanded */
	union {
		size_t count;   /* of items or pairs */
		int64_t number; /* DOC_INT; 0 or 1 for DOC_BOOL */
	};
	union {
		const char *text; /* scalars, as written but without quotes and escapes */
		struct doc_node **items;
		struct doc_pair *pairs;
	};
};

struct doc_pair {
	const char *key;
	unsigned line, column; /* of the key */
	bool duplicate;        /* an earlier pair has the same key */
	struct doc_node *value;
};

struct doc {
	struct doc_arena *arena;
	struct doc_node *root; /* DOC_NULL for an empty document */
	size_t node_count;
	bool has_duplicates;
};

void doc_free(struct doc *doc); /* NULL is fine */

/* Receives what a reader finds: whole documents (ownership passes) and syntax errors. */
struct doc_sink {
	void (*document)(void *context, struct doc *doc);
	void (*problem)(void *context, unsigned line, unsigned column, const char *message);
	void *context;
};

/* Reads a file: JSON if it begins like JSON, otherwise YAML. After a syntax error in YAML it goes on with
 * the next document. Returns the number of syntax errors. */
size_t doc_read(const char *bytes, size_t byte_count, const struct doc_sink *sink);
size_t doc_read_yaml(const char *bytes, size_t byte_count, const struct doc_sink *sink);
size_t doc_read_json(const char *bytes, size_t byte_count, const struct doc_sink *sink);

/* ---- reading the tree ---- */

/* The value of a map's key; NULL if node is no map, has no such key, or its value is null. */
const struct doc_node *doc_get(const struct doc_node *node, const char *key);

/* The value of a map's key as text if it is a non-empty string, otherwise NULL. */
const char *doc_get_text(const struct doc_node *node, const char *key);

/* The value of a map's key if it is an integer (or a boolean), otherwise fallback. */
int64_t doc_get_int(const struct doc_node *node, const char *key, int64_t fallback);
bool doc_get_bool(const struct doc_node *node, const char *key, bool fallback);

/* The length of a map's value if it is a sequence, otherwise 0. */
size_t doc_get_count(const struct doc_node *node, const char *key);

/* ---- building one (for the readers) ---- */

struct doc_frame;

struct doc_builder {
	struct doc *doc;
	struct doc_frame *frames;
	size_t frame_count, frame_capacity;
	struct doc_pair *values; /* what the open collections hold so far */
	size_t value_count, value_capacity;
	struct doc_node *last; /* the collection or scalar completed last */
	const char *problem;   /* after -EINVAL */
	unsigned line, column; /* where the problem is */
};

void doc_builder_init(struct doc_builder *builder);
void doc_builder_fini(struct doc_builder *builder);

/* Each returns 0, or -EINVAL with builder->problem set. text need not end in NUL and is copied. */
int doc_build_scalar(struct doc_builder *builder, enum doc_kind kind, const char *text, size_t length,
	unsigned line, unsigned column);
/* A scalar of JSON: true or false, or a number, which is a DOC_FLOAT unless it is whole and fits 64 bits. */
int doc_build_bool(struct doc_builder *builder, bool value, unsigned line, unsigned column);
int doc_build_number(
	struct doc_builder *builder, const char *text, size_t length, unsigned line, unsigned column);
int doc_build_open(struct doc_builder *builder, enum doc_kind kind, unsigned line, unsigned column);
int doc_build_close(struct doc_builder *builder);
/* Puts a completed node of the same document once more (an alias). */
int doc_build_alias(struct doc_builder *builder, struct doc_node *node, unsigned line, unsigned column);

/* The finished document, which the caller owns; the builder is ready for the next one. */
struct doc *doc_build_take(struct doc_builder *builder);

/* Text that lives as long as the document under construction. */
char *doc_build_text(struct doc_builder *builder, const char *text, size_t length);

/* What a plain YAML scalar means (YAML 1.1, as kubectl reads it). *number is set for DOC_INT and DOC_BOOL. */
enum doc_kind doc_resolve_plain(const char *text, int64_t *number);

#endif
