/* Reads YAML by libyaml's parser events. Runs in control, in `portald plan` and in the fuzzers.
 *
 * libyaml cannot go on after an error, so the stream is cut into documents first and each is parsed by
 * itself: a line that begins with "---" or "..." is a document marker wherever it stands, because YAML
 * allows neither at the start of a line inside a scalar.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "portald/mem.h"
#include "source/doc.h"

struct anchor {
	const char *name;
	struct doc_node *node; /* NULL while its collection is open: such an alias would make a cycle */
};

struct yaml_reader {
	yaml_parser_t parser;
	struct doc_builder builder;
	const struct doc_sink *sink;
	unsigned first_line; /* lines of the file in front of this document */
	struct anchor *anchors;
	size_t anchor_count, anchor_capacity, alias_count;
	/* For each open collection its anchor's index + 1, 0 if it has none. */
	size_t open_anchors[DOC_MAX_DEPTH];
};

/* ---- cutting ---- */

/* The start of the line after the one that begins at offset. */
static size_t next_line(const char *bytes, size_t byte_count, size_t offset)
{
	while (offset < byte_count && bytes[offset] != '\n' && bytes[offset] != '\r')
		offset++;
	if (offset + 1 < byte_count && bytes[offset] == '\r' && bytes[offset + 1] == '\n')
		offset++;
	return offset < byte_count ? offset + 1 : byte_count;
}

static bool is_marker(const char *line, size_t length, const char *marker)
{
	if (length < 3 || memcmp(line, marker, 3) != 0)
		return false;
	return length == 3 || strchr(" \t\r\n", line[3]) != NULL;
}

/* Blank lines, comments and directives belong to the document that they precede. */
static bool is_prologue(const char *line, size_t length)
{
	size_t blank = 0;

	while (blank < length && strchr(" \t\r\n", line[blank]) && line[blank])
		blank++;
	return blank == length || line[blank] == '#' || line[0] == '%';
}

/* The end of the document that begins at offset; *lines counts the lines passed. UTF-16 is not cut. */
static size_t document_end(const char *bytes, size_t byte_count, size_t offset, unsigned *lines)
{
	bool has_content = false, wide = byte_count >= 2 && (memcmp(bytes, "\xff\xfe", 2) == 0 ||
								    memcmp(bytes, "\xfe\xff", 2) == 0);

	while (offset < byte_count) {
		size_t next = next_line(bytes, byte_count, offset), length = next - offset;

		if (has_content && !wide && is_marker(bytes + offset, length, "---"))
			return offset;
		(*lines)++;
		if (has_content && !wide && is_marker(bytes + offset, length, "..."))
			return next;
		has_content = has_content || !is_prologue(bytes + offset, length);
		offset = next;
	}
	return offset;
}

/* ---- events ---- */

static unsigned mark_line(const struct yaml_reader *reader, const yaml_mark_t *mark)
{
	return reader->first_line + (unsigned)mark->line + 1;
}

static unsigned mark_column(const yaml_mark_t *mark)
{
	return (unsigned)mark->column + 1;
}

static int reader_problem(struct yaml_reader *reader, const char *problem, const yaml_mark_t *mark)
{
	reader->builder.problem = problem;
	reader->builder.line = mark_line(reader, mark);
	reader->builder.column = mark_column(mark);
	return -EINVAL;
}

/* Announces an anchor, if there is one. Its node follows. */
static int anchor_open(struct yaml_reader *reader, const yaml_char_t *name, const yaml_mark_t *mark)
{
	const char *text = (const char *)name;

	if (!text)
		return 0;
	if (reader->anchor_count >= DOC_MAX_ANCHORS)
		return reader_problem(reader, "too many anchors", mark);
	reader->anchors = mem_grow(
		reader->anchors, reader->anchor_count, &reader->anchor_capacity, sizeof(struct anchor));
	reader->anchors[reader->anchor_count++] =
		(struct anchor){.name = doc_build_text(&reader->builder, text, strlen(text))};
	return 0;
}

static int read_alias(struct yaml_reader *reader, const yaml_event_t *event)
{
	const char *name = (const char *)event->data.alias.anchor;

	if (++reader->alias_count > DOC_MAX_ALIASES)
		return reader_problem(reader, "too many aliases", &event->start_mark);
	for (size_t i = reader->anchor_count; i-- > 0;) {
		if (strcmp(reader->anchors[i].name, name) != 0)
			continue;
		if (!reader->anchors[i].node)
			return reader_problem(
				reader, "an alias refers to what contains it", &event->start_mark);
		return doc_build_alias(&reader->builder, reader->anchors[i].node,
			mark_line(reader, &event->start_mark), mark_column(&event->start_mark));
	}
	return reader_problem(reader, "an alias refers to an unknown anchor", &event->start_mark);
}

static enum doc_kind scalar_kind(const yaml_event_t *event, int64_t *number)
{
	const char *tag = (const char *)event->data.scalar.tag;
	const char *text = (const char *)event->data.scalar.value;

	*number = 0;
	if (tag && strcmp(tag, YAML_STR_TAG) == 0)
		return DOC_STRING;
	if (tag && strncmp(tag, "tag:yaml.org,2002:", 18) == 0)
		return doc_resolve_plain(text, number);
	if (tag || event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return DOC_STRING;
	return doc_resolve_plain(text, number);
}

static int read_scalar(struct yaml_reader *reader, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	int64_t number;
	enum doc_kind kind = scalar_kind(event, &number);

	if (anchor_open(reader, event->data.scalar.anchor, &event->start_mark) < 0)
		return -EINVAL;
	if (doc_build_scalar(&reader->builder, kind, text, event->data.scalar.length,
		    mark_line(reader, &event->start_mark), mark_column(&event->start_mark)) < 0)
		return -EINVAL;
	if (kind == DOC_INT || kind == DOC_BOOL)
		reader->builder.last->number = number;
	if (event->data.scalar.anchor)
		reader->anchors[reader->anchor_count - 1].node = reader->builder.last;
	return 0;
}

static int read_open(struct yaml_reader *reader, const yaml_event_t *event)
{
	bool map = event->type == YAML_MAPPING_START_EVENT;
	const yaml_char_t *anchor =
		map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;

	if (anchor_open(reader, anchor, &event->start_mark) < 0)
		return -EINVAL;
	if (doc_build_open(&reader->builder, map ? DOC_MAP : DOC_SEQUENCE,
		    mark_line(reader, &event->start_mark), mark_column(&event->start_mark)) < 0)
		return -EINVAL;
	reader->open_anchors[reader->builder.frame_count - 1] = anchor ? reader->anchor_count : 0;
	return 0;
}

static int read_close(struct yaml_reader *reader)
{
	size_t anchor;

	if (doc_build_close(&reader->builder) < 0)
		return -EINVAL;
	anchor = reader->open_anchors[reader->builder.frame_count];
	if (anchor > 0)
		reader->anchors[anchor - 1].node = reader->builder.last;
	return 0;
}

static int read_event(struct yaml_reader *reader, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return read_scalar(reader, event);
	case YAML_ALIAS_EVENT:
		return read_alias(reader, event);
	case YAML_MAPPING_START_EVENT:
	case YAML_SEQUENCE_START_EVENT:
		return read_open(reader, event);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		return read_close(reader);
	case YAML_DOCUMENT_END_EVENT:
		reader->anchor_count = 0;
		reader->sink->document(reader->sink->context, doc_build_take(&reader->builder));
		return 0;
	default:
		return 0;
	}
}

/* ---- errors ---- */

/* An error of libyaml's decoder has an offset in bytes instead of a line. */
static yaml_mark_t offset_mark(const char *bytes, size_t byte_count, size_t offset)
{
	yaml_mark_t mark = {0};
	size_t start = 0, next;

	while ((next = next_line(bytes, byte_count, start)) <= offset && next > start && next < byte_count) {
		start = next;
		mark.line++;
	}
	mark.column = offset > start ? offset - start : 0;
	return mark;
}

static void parser_problem(struct yaml_reader *reader, const char *bytes, size_t byte_count)
{
	const yaml_parser_t *parser = &reader->parser;
	const char *problem = parser->problem ? parser->problem : "not YAML";
	yaml_mark_t mark = parser->problem_mark;
	char *message;

	if (parser->error == YAML_READER_ERROR)
		mark = offset_mark(bytes, byte_count, parser->problem_offset);
	if (parser->context)
		message = mem_printf("%s (%s that begins in line %u)", problem, parser->context,
			mark_line(reader, &parser->context_mark));
	else
		message = mem_printf("%s", problem);
	reader->sink->problem(reader->sink->context, mark_line(reader, &mark), mark_column(&mark), message);
	free(message);
}

/* Returns true when the stream has ended well. */
static bool parse_events(struct yaml_reader *reader, const char *bytes, size_t byte_count)
{
	for (bool ended = false; !ended;) {
		yaml_event_t event;
		int rc;

		if (!yaml_parser_parse(&reader->parser, &event)) {
			parser_problem(reader, bytes, byte_count);
			return false;
		}
		rc = read_event(reader, &event);
		ended = event.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
		if (rc < 0) {
			reader->sink->problem(reader->sink->context, reader->builder.line,
				reader->builder.column, reader->builder.problem);
			return false;
		}
	}
	return true;
}

static bool read_document(
	const char *bytes, size_t byte_count, unsigned first_line, const struct doc_sink *sink)
{
	struct yaml_reader reader = {.sink = sink, .first_line = first_line};
	bool ok;

	if (!yaml_parser_initialize(&reader.parser)) {
		sink->problem(sink->context, first_line + 1, 1, "out of memory");
		return false;
	}
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)bytes, byte_count);
	doc_builder_init(&reader.builder);
	ok = parse_events(&reader, bytes, byte_count);
	doc_builder_fini(&reader.builder);
	yaml_parser_delete(&reader.parser);
	free(reader.anchors);
	return ok;
}

size_t doc_read_yaml(const char *bytes, size_t byte_count, const struct doc_sink *sink)
{
	size_t problems = 0, offset = 0;
	unsigned line = 0;

	while (offset < byte_count) {
		unsigned lines = 0;
		size_t end = document_end(bytes, byte_count, offset, &lines);

		if (!read_document(bytes + offset, end - offset, line, sink))
			problems++;
		line += lines;
		offset = end;
	}
	return problems;
}
