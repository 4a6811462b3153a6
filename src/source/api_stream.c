/* Owns the incremental JSON decoder for answers of the API server. Runs in control and in the fuzzers.
 *
 * yajl calls back for each token. The stream keeps a stack of the open collections that are kept, each with
 * the filter for what is in it; within a value that no filter names it only counts brackets.
 */
#include "source/api_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "portald/mem.h"

/* The bound of an object's bytes is checked at least so often. */
#define FEED_BYTES ((size_t)64 * 1024)

/* An open collection. */
struct level {
	const struct api_filter *fields; /* of what is in it; NULL: all is kept */
	bool list, each;
};

struct api_stream {
	yajl_handle parser;
	api_stream_fn *document;
	void *context;
	const struct api_filter *root;
	struct level levels[API_MAX_DEPTH];
	size_t level_count;
	struct level next;    /* for the value of the key read last */
	size_t skipped_depth; /* open collections that are passed over */
	bool skip_next;       /* the value to come is passed over */
	bool in_item;
	size_t item_level;
	struct doc_builder outer, item;
	size_t pending_bytes; /* since the last document ended */
	int error;
};

static int stop(struct api_stream *stream, int error)
{
	stream->error = error;
	return 0;
}

static struct doc_builder *builder_of(struct api_stream *stream)
{
	return stream->in_item ? &stream->item : &stream->outer;
}

/* ---- documents ---- */

static int emit(struct api_stream *stream, struct doc_builder *builder, bool item)
{
	struct doc *doc = doc_build_take(builder);
	int rc = stream->document(stream->context, doc->root, item);

	doc_free(doc);
	stream->pending_bytes = 0;
	return rc < 0 ? stop(stream, rc) : 1;
}

/* A value is complete. */
static int value_end(struct api_stream *stream)
{
	if (stream->in_item && stream->level_count == stream->item_level) {
		stream->in_item = false;
		return emit(stream, &stream->item, true);
	}
	return stream->level_count == 0 ? emit(stream, &stream->outer, false) : 1;
}

/* ---- filter ---- */

static bool filter_meets(const struct api_filter *filter, const char *key, size_t length)
{
	size_t wanted = strlen(filter->key);

	if (wanted > 0 && filter->key[wanted - 1] == '*')
		return length >= wanted - 1 && memcmp(filter->key, key, wanted - 1) == 0;
	return length == wanted && memcmp(filter->key, key, length) == 0;
}

/* Sets what holds for the key's value. Returns false if it is passed over. */
static bool choose_next(struct api_stream *stream, const char *key, size_t length)
{
	const struct api_filter *filter = stream->levels[stream->level_count - 1].fields;

	stream->next = (struct level){0};
	if (!filter)
		return true;
	while (filter->key && !filter_meets(filter, key, length))
		filter++;
	if (!filter->key)
		return false;
	stream->next = (struct level){.fields = filter->fields, .each = filter->each};
	return true;
}

/* True if the scalar or collection that begins is passed over. */
static bool skips(struct api_stream *stream)
{
	bool skip = stream->skipped_depth > 0 || stream->skip_next;

	stream->skip_next = false;
	return skip;
}

/* ---- yajl's callbacks: non-zero to go on ---- */

static int checked(struct api_stream *stream, int rc)
{
	if (rc < 0 || builder_of(stream)->doc->node_count > API_MAX_OBJECT_NODES)
		return stop(stream, -EBADMSG);
	return 1;
}

static int scalar(struct api_stream *stream, enum doc_kind kind, const char *text, size_t length)
{
	if (skips(stream))
		return 1;
	return checked(stream, doc_build_scalar(builder_of(stream), kind, text, length, 1, 1)) &&
	       value_end(stream);
}

static int on_null(void *context)
{
	return scalar(context, DOC_NULL, "null", 4);
}

static int on_boolean(void *context, int value)
{
	struct api_stream *stream = context;

	if (skips(stream))
		return 1;
	return checked(stream, doc_build_bool(builder_of(stream), value != 0, 1, 1)) && value_end(stream);
}

static int on_number(void *context, const char *text, size_t length)
{
	struct api_stream *stream = context;

	if (skips(stream))
		return 1;
	return checked(stream, doc_build_number(builder_of(stream), text, length, 1, 1)) && value_end(stream);
}

static int on_string(void *context, const unsigned char *text, size_t length)
{
	return scalar(context, DOC_STRING, (const char *)text, length);
}

static int on_key(void *context, const unsigned char *text, size_t length)
{
	struct api_stream *stream = context;

	if (stream->skipped_depth > 0)
		return 1;
	if (!choose_next(stream, (const char *)text, length)) {
		stream->skip_next = true;
		return 1;
	}
	return checked(
		stream, doc_build_scalar(builder_of(stream), DOC_STRING, (const char *)text, length, 1, 1));
}

/* What holds within the collection that begins. */
static struct level level_below(const struct api_stream *stream, bool list)
{
	const struct level *parent = stream->level_count ? &stream->levels[stream->level_count - 1] : NULL;

	if (!parent)
		return (struct level){.fields = stream->root, .list = list};
	if (parent->list)
		return (struct level){.fields = parent->fields, .list = list};
	return (struct level){.fields = stream->next.fields, .list = list, .each = list && stream->next.each};
}

static int open_collection(struct api_stream *stream, enum doc_kind kind)
{
	struct level level = level_below(stream, kind == DOC_SEQUENCE);

	if (stream->level_count + stream->skipped_depth >= API_MAX_DEPTH)
		return stop(stream, -EBADMSG);
	if (skips(stream)) {
		stream->skipped_depth++;
		return 1;
	}
	if (!stream->in_item && stream->level_count && stream->levels[stream->level_count - 1].each) {
		stream->in_item = true;
		stream->item_level = stream->level_count;
	}
	stream->levels[stream->level_count++] = level;
	return checked(stream, doc_build_open(builder_of(stream), kind, 1, 1));
}

static int on_start_map(void *context)
{
	return open_collection(context, DOC_MAP);
}

static int on_start_array(void *context)
{
	return open_collection(context, DOC_SEQUENCE);
}

static int on_end(void *context)
{
	struct api_stream *stream = context;

	if (stream->skipped_depth > 0) {
		stream->skipped_depth--;
		return 1;
	}
	stream->level_count--;
	return checked(stream, doc_build_close(builder_of(stream))) && value_end(stream);
}

/* ---- the stream ---- */

struct api_stream *api_stream_new(const struct api_filter *filter, api_stream_fn *document, void *context)
{
	static const yajl_callbacks callbacks = {
		.yajl_null = on_null,
		.yajl_boolean = on_boolean,
		.yajl_number = on_number,
		.yajl_string = on_string,
		.yajl_map_key = on_key,
		.yajl_start_map = on_start_map,
		.yajl_end_map = on_end,
		.yajl_start_array = on_start_array,
		.yajl_end_array = on_end,
	};
	struct api_stream *stream = mem_calloc(1, sizeof(*stream));

	stream->document = document;
	stream->context = context;
	stream->root = filter;
	stream->parser = yajl_alloc(&callbacks, NULL, stream);
	if (stream->parser)
		yajl_config(stream->parser, yajl_allow_multiple_values, 1);
	else
		stream->error = -ENOMEM;
	doc_builder_init(&stream->outer);
	doc_builder_init(&stream->item);
	return stream;
}

void api_stream_free(struct api_stream *stream)
{
	if (!stream)
		return;
	doc_builder_fini(&stream->outer);
	doc_builder_fini(&stream->item);
	if (stream->parser)
		yajl_free(stream->parser);
	free(stream);
}

static int feed_piece(struct api_stream *stream, const char *bytes, size_t byte_count)
{
	yajl_status status;

	stream->pending_bytes += byte_count;
	status = yajl_parse(stream->parser, (const unsigned char *)bytes, byte_count);
	if (status == yajl_status_error)
		stream->error = -EBADMSG;
	if (!stream->error && stream->pending_bytes > API_MAX_OBJECT_BYTES)
		stream->error = -EBADMSG;
	return stream->error;
}

int api_stream_feed(struct api_stream *stream, const char *bytes, size_t byte_count)
{
	size_t piece;

	for (; byte_count > 0 && !stream->error; bytes += piece, byte_count -= piece) {
		piece = byte_count < FEED_BYTES ? byte_count : FEED_BYTES;
		feed_piece(stream, bytes, piece);
	}
	return stream->error;
}

int api_stream_end(const struct api_stream *stream)
{
	if (stream->error)
		return stream->error;
	return stream->level_count || stream->skipped_depth ? -EBADMSG : 0;
}
