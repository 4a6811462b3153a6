/* Owns the document tree: its arena, its building (used by the YAML and the JSON reader) and its reading.
 * Runs in control, in `portald plan` and in the fuzzers. */
#include "source/doc.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"

#define ARENA_BLOCK_BYTES ((size_t)16 * 1024)

struct doc_arena {
	struct doc_arena *next;
	size_t used, size;
	alignas(max_align_t) char bytes[];
};

/* An open collection. */
struct doc_frame {
	enum doc_kind kind;
	unsigned line, column;
	size_t first;        /* index of its first value in builder->values */
	struct doc_pair key; /* of the value to come; key.key is NULL if a key is to come */
};

/* ---- arena ---- */

static void *arena_alloc(struct doc *doc, size_t bytes)
{
	struct doc_arena *block = doc->arena;
	size_t rounded = (bytes + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
	void *memory;

	if (!block || block->size - block->used < rounded) {
		size_t size = rounded > ARENA_BLOCK_BYTES ? rounded : ARENA_BLOCK_BYTES;

		block = mem_calloc(1, sizeof(*block) + size);
		block->size = size;
		block->next = doc->arena;
		doc->arena = block;
	}
	memory = block->bytes + block->used;
	block->used += rounded;
	return memory;
}

void doc_free(struct doc *doc)
{
	if (!doc)
		return;
	while (doc->arena) {
		struct doc_arena *next = doc->arena->next;

		free(doc->arena);
		doc->arena = next;
	}
	free(doc);
}

/* ---- building ---- */

void doc_builder_init(struct doc_builder *builder)
{
	*builder = (struct doc_builder){.doc = mem_calloc(1, sizeof(struct doc))};
}

void doc_builder_fini(struct doc_builder *builder)
{
	doc_free(builder->doc);
	free(builder->frames);
	free(builder->values);
}

static int build_problem(struct doc_builder *builder, const char *problem, unsigned line, unsigned column)
{
	builder->problem = problem;
	builder->line = line;
	builder->column = column;
	return -EINVAL;
}

char *doc_build_text(struct doc_builder *builder, const char *text, size_t length)
{
	char *copy = arena_alloc(builder->doc, length + 1);

	memcpy(copy, text, length);
	copy[length] = '\0';
	/* An escaped NUL would cut the text short, and "web\0x" must not pass for "web". No value that is
	 * read may hold a control character, so any of them is refused as well as NUL is. */
	for (char *nul = memchr(copy, '\0', length); nul;
		nul = memchr(nul, '\0', length - (size_t)(nul - copy)))
		*nul = '\x01';
	return copy;
}

static struct doc_node *build_node(
	struct doc_builder *builder, enum doc_kind kind, unsigned line, unsigned column)
{
	struct doc_node *node = arena_alloc(builder->doc, sizeof(*node));

	*node = (struct doc_node){.kind = kind, .line = line, .column = column, .height = 1, .weight = 1};
	builder->doc->node_count++;
	return node;
}

static void values_append(struct doc_builder *builder, const struct doc_pair *pair)
{
	builder->values = mem_grow(
		builder->values, builder->value_count, &builder->value_capacity, sizeof(struct doc_pair));
	builder->values[builder->value_count++] = *pair;
}

/* Puts a completed node where it belongs: as the root, as a key, or as a value. */
static int build_put(struct doc_builder *builder, struct doc_node *node, unsigned line, unsigned column)
{
	struct doc_frame *frame = builder->frame_count ? &builder->frames[builder->frame_count - 1] : NULL;

	builder->last = node;
	if (!frame) {
		builder->doc->root = node;
		return 0;
	}
	if (frame->kind == DOC_MAP && !frame->key.key) {
		if (node->kind == DOC_SEQUENCE || node->kind == DOC_MAP)
			return build_problem(builder, "a key must be a scalar", line, column);
		frame->key = (struct doc_pair){.key = node->text, .line = line, .column = column};
		return 0;
	}
	frame->key.value = node;
	values_append(builder, &frame->key);
	frame->key = (struct doc_pair){0};
	return 0;
}

static int check_size(struct doc_builder *builder, unsigned line, unsigned column)
{
	if (builder->doc->node_count >= DOC_MAX_NODES)
		return build_problem(builder, "the document is too large", line, column);
	return 0;
}

int doc_build_scalar(struct doc_builder *builder, enum doc_kind kind, const char *text, size_t length,
	unsigned line, unsigned column)
{
	struct doc_node *node;

	if (check_size(builder, line, column) < 0)
		return -EINVAL;
	node = build_node(builder, kind, line, column);
	node->text = doc_build_text(builder, text, length);
	return build_put(builder, node, line, column);
}

int doc_build_bool(struct doc_builder *builder, bool value, unsigned line, unsigned column)
{
	if (doc_build_scalar(builder, DOC_BOOL, value ? "true" : "false", value ? 4 : 5, line, column) < 0)
		return -EINVAL;
	builder->last->number = value;
	return 0;
}

int doc_build_number(
	struct doc_builder *builder, const char *text, size_t length, unsigned line, unsigned column)
{
	char digits[32];
	long long number = 0;
	bool whole = length < sizeof(digits) && !memchr(text, '.', length) && !memchr(text, 'e', length) &&
		     !memchr(text, 'E', length);

	if (whole) {
		memcpy(digits, text, length);
		digits[length] = '\0';
		errno = 0;
		number = strtoll(digits, NULL, 10);
		whole = errno == 0;
	}
	if (doc_build_scalar(builder, whole ? DOC_INT : DOC_FLOAT, text, length, line, column) < 0)
		return -EINVAL;
	builder->last->number = whole ? number : 0;
	return 0;
}

int doc_build_open(struct doc_builder *builder, enum doc_kind kind, unsigned line, unsigned column)
{
	if (check_size(builder, line, column) < 0)
		return -EINVAL;
	if (builder->frame_count >= DOC_MAX_DEPTH)
		return build_problem(builder, "the document is nested too deeply", line, column);
	builder->frames = mem_grow(
		builder->frames, builder->frame_count, &builder->frame_capacity, sizeof(struct doc_frame));
	builder->frames[builder->frame_count++] = (struct doc_frame){
		.kind = kind, .line = line, .column = column, .first = builder->value_count};
	return 0;
}

struct key_ref {
	const char *key;
	size_t index;
};

static int key_ref_cmp(const void *a, const void *b)
{
	const struct key_ref *ka = a, *kb = b;
	int by_key = strcmp(ka->key, kb->key);

	return by_key ? by_key : (ka->index > kb->index) - (ka->index < kb->index);
}

static void mark_duplicates(struct doc *doc, struct doc_pair *pairs, size_t count)
{
	struct key_ref *refs = mem_calloc(count, sizeof(*refs));

	for (size_t i = 0; i < count; i++)
		refs[i] = (struct key_ref){pairs[i].key, i};
	if (count)
		qsort(refs, count, sizeof(*refs), key_ref_cmp);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(refs[i - 1].key, refs[i].key) == 0) {
			pairs[refs[i].index].duplicate = true;
			doc->has_duplicates = true;
		}
	}
	free(refs);
}

/* Moves the frame's values into the node. Returns how much they weigh together. */
static size_t close_values(struct doc_builder *builder, const struct doc_frame *frame, struct doc_node *node)
{
	size_t count = builder->value_count - frame->first, weight = 1;
	/* Without values there may be no array yet. */
	struct doc_pair *values = count ? &builder->values[frame->first] : NULL;

	node->count = count;
	for (size_t i = 0; i < count; i++) {
		weight += values[i].value->weight;
		if (node->height <= values[i].value->height)
			node->height = values[i].value->height + 1;
	}
	if (frame->kind == DOC_MAP) {
		node->pairs = arena_alloc(builder->doc, count * sizeof(*node->pairs));
		if (count)
			memcpy(node->pairs, values, count * sizeof(*values));
		mark_duplicates(builder->doc, node->pairs, count);
	} else {
		node->items = arena_alloc(builder->doc, count * sizeof(*node->items));
		for (size_t i = 0; i < count; i++)
			node->items[i] = values[i].value;
	}
	builder->value_count = frame->first;
	return weight;
}

int doc_build_close(struct doc_builder *builder)
{
	struct doc_frame frame = builder->frames[builder->frame_count - 1];
	struct doc_node *node = build_node(builder, frame.kind, frame.line, frame.column);

	node->weight = close_values(builder, &frame, node);
	/* Each is at most the limit before it is added up, and a node has at most DOC_MAX_NODES and
	 * DOC_MAX_ALIASES values: the sum cannot wrap. */
	if (node->weight > DOC_MAX_NODES || node->height > DOC_MAX_DEPTH)
		return build_problem(
			builder, "the document's aliases expand to too much", frame.line, frame.column);
	builder->frame_count--;
	return build_put(builder, node, frame.line, frame.column);
}

int doc_build_alias(struct doc_builder *builder, struct doc_node *node, unsigned line, unsigned column)
{
	return build_put(builder, node, line, column);
}

struct doc *doc_build_take(struct doc_builder *builder)
{
	struct doc *doc = builder->doc;

	if (!doc->root) {
		doc->root = build_node(builder, DOC_NULL, 1, 1);
		doc->root->text = "";
	}
	builder->doc = mem_calloc(1, sizeof(struct doc));
	builder->last = NULL;
	return doc;
}

/* ---- reading the tree ---- */

const struct doc_node *doc_get(const struct doc_node *node, const char *key)
{
	if (!node || node->kind != DOC_MAP)
		return NULL;
	for (size_t i = 0; i < node->count; i++) {
		if (strcmp(node->pairs[i].key, key) == 0)
			return node->pairs[i].value->kind == DOC_NULL ? NULL : node->pairs[i].value;
	}
	return NULL;
}

const char *doc_get_text(const struct doc_node *node, const char *key)
{
	const struct doc_node *value = doc_get(node, key);

	return value && value->kind == DOC_STRING && *value->text ? value->text : NULL;
}

int64_t doc_get_int(const struct doc_node *node, const char *key, int64_t fallback)
{
	const struct doc_node *value = doc_get(node, key);

	return value && value->kind == DOC_INT ? value->number : fallback;
}

bool doc_get_bool(const struct doc_node *node, const char *key, bool fallback)
{
	const struct doc_node *value = doc_get(node, key);

	return value && value->kind == DOC_BOOL ? value->number != 0 : fallback;
}

size_t doc_get_count(const struct doc_node *node, const char *key)
{
	const struct doc_node *value = doc_get(node, key);

	return value && value->kind == DOC_SEQUENCE ? value->count : 0;
}
