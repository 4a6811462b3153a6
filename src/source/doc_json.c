/* Reads JSON by yajl, one or more documents a file, and chooses between JSON and YAML. Runs in control, in
 * `portald plan` and in the fuzzers. */
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "portald/mem.h"
#include "source/doc.h"

struct json_reader {
	yajl_handle parser;
	struct doc_builder builder;
	const struct doc_sink *sink;
	const char *bytes;
	size_t byte_count;
	/* Where counting lines has come to. */
	size_t offset;
	unsigned line, column;
};

/* ---- places ---- */

static void advance_to(struct json_reader *reader, size_t offset)
{
	for (; reader->offset < offset && reader->offset < reader->byte_count; reader->offset++) {
		unsigned char c = (unsigned char)reader->bytes[reader->offset];

		if (c == '\n') {
			reader->line++;
			reader->column = 1;
		} else if ((c & 0xc0) != 0x80) {
			reader->column++;
		}
	}
}

/* yajl tells where a token ends. It begins where the last one ended, but for what separates them. */
static void token_begin(struct json_reader *reader)
{
	size_t offset = reader->offset;

	while (offset < reader->byte_count && memchr(" \t\r\n,:", reader->bytes[offset], 6))
		offset++;
	advance_to(reader, offset);
}

static int token_end(struct json_reader *reader, int rc)
{
	advance_to(reader, yajl_get_bytes_consumed(reader->parser));
	if (rc == 0 && reader->builder.frame_count == 0)
		reader->sink->document(reader->sink->context, doc_build_take(&reader->builder));
	return rc == 0;
}

/* ---- yajl's callbacks: non-zero to go on ---- */

static int on_scalar(struct json_reader *reader, enum doc_kind kind, const char *text, size_t length)
{
	token_begin(reader);
	return token_end(
		reader, doc_build_scalar(&reader->builder, kind, text, length, reader->line, reader->column));
}

static int on_null(void *context)
{
	return on_scalar(context, DOC_NULL, "null", 4);
}

static int on_boolean(void *context, int value)
{
	struct json_reader *reader = context;

	token_begin(reader);
	return token_end(reader, doc_build_bool(&reader->builder, value != 0, reader->line, reader->column));
}

static int on_number(void *context, const char *text, size_t length)
{
	struct json_reader *reader = context;

	token_begin(reader);
	return token_end(
		reader, doc_build_number(&reader->builder, text, length, reader->line, reader->column));
}

static int on_string(void *context, const unsigned char *text, size_t length)
{
	return on_scalar(context, DOC_STRING, (const char *)text, length);
}

static int on_open(struct json_reader *reader, enum doc_kind kind)
{
	int rc;

	token_begin(reader);
	rc = doc_build_open(&reader->builder, kind, reader->line, reader->column);
	return token_end(reader, rc);
}

static int on_start_map(void *context)
{
	return on_open(context, DOC_MAP);
}

static int on_start_array(void *context)
{
	return on_open(context, DOC_SEQUENCE);
}

static int on_close(void *context)
{
	struct json_reader *reader = context;

	return token_end(reader, doc_build_close(&reader->builder));
}

/* ---- reading ---- */

/* yajl's message is "kind: what happened" in one line followed by a newline. */
static void report_syntax(struct json_reader *reader)
{
	unsigned char *text = yajl_get_error(reader->parser, 0, NULL, 0);
	char *message = mem_printf("not JSON: %.*s", text ? (int)strcspn((char *)text, "\n") : 7,
		text ? (const char *)text : "unknown");

	/* yajl stands behind the token that it does not like. */
	token_begin(reader);
	reader->sink->problem(reader->sink->context, reader->line, reader->column, message);
	free(message);
	if (text)
		yajl_free_error(reader->parser, text);
}

static bool parse_json(struct json_reader *reader, const char *bytes, size_t byte_count)
{
	yajl_status status = yajl_parse(reader->parser, (const unsigned char *)bytes, byte_count);

	if (status == yajl_status_client_canceled) {
		reader->sink->problem(reader->sink->context, reader->builder.line, reader->builder.column,
			reader->builder.problem);
		return false;
	}
	if (status == yajl_status_ok && reader->builder.frame_count > 0) {
		advance_to(reader, byte_count);
		reader->sink->problem(reader->sink->context, reader->line, reader->column,
			"not JSON: the text ends within an object");
		return false;
	}
	if (status == yajl_status_ok)
		status = yajl_complete_parse(reader->parser);
	if (status != yajl_status_ok)
		report_syntax(reader);
	return status == yajl_status_ok;
}

static size_t bom_bytes(const char *bytes, size_t byte_count)
{
	return byte_count >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

size_t doc_read_json(const char *bytes, size_t byte_count, const struct doc_sink *sink)
{
	static const yajl_callbacks callbacks = {
		.yajl_null = on_null,
		.yajl_boolean = on_boolean,
		.yajl_number = on_number,
		.yajl_string = on_string,
		.yajl_map_key = on_string,
		.yajl_start_map = on_start_map,
		.yajl_end_map = on_close,
		.yajl_start_array = on_start_array,
		.yajl_end_array = on_close,
	};
	size_t bom = bom_bytes(bytes, byte_count);
	struct json_reader reader = {
		.sink = sink, .bytes = bytes + bom, .byte_count = byte_count - bom, .line = 1, .column = 1};
	bool ok;

	reader.parser = yajl_alloc(&callbacks, NULL, &reader);
	if (!reader.parser) {
		sink->problem(sink->context, 1, 1, "out of memory");
		return 1;
	}
	yajl_config(reader.parser, yajl_allow_multiple_values, 1);
	doc_builder_init(&reader.builder);
	ok = parse_json(&reader, reader.bytes, reader.byte_count);
	doc_builder_fini(&reader.builder);
	yajl_free(reader.parser);
	return ok ? 0 : 1;
}
