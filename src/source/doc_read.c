/* Chooses between JSON and YAML for a file. Runs in control, in `portald plan` and in the fuzzers. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/doc.h"

/* What one reader made of a file, held back until it is known whether it was the right one. */
struct attempt {
	struct doc **docs;
	size_t doc_count, doc_capacity;
	unsigned line, column;
	char *problem; /* the first */
};

static void attempt_document(void *context, struct doc *doc)
{
	struct attempt *attempt = context;

	attempt->docs =
		mem_grow(attempt->docs, attempt->doc_count, &attempt->doc_capacity, sizeof(struct doc *));
	attempt->docs[attempt->doc_count++] = doc;
}

static void attempt_problem(void *context, unsigned line, unsigned column, const char *message)
{
	struct attempt *attempt = context;

	if (attempt->problem)
		return;
	attempt->line = line;
	attempt->column = column;
	attempt->problem = mem_strdup(message);
}

static void attempt_deliver(struct attempt *attempt, const struct doc_sink *sink)
{
	for (size_t i = 0; i < attempt->doc_count; i++)
		sink->document(sink->context, attempt->docs[i]);
	attempt->doc_count = 0;
	if (attempt->problem)
		sink->problem(sink->context, attempt->line, attempt->column, attempt->problem);
}

static void attempt_fini(struct attempt *attempt)
{
	for (size_t i = 0; i < attempt->doc_count; i++)
		doc_free(attempt->docs[i]);
	free(attempt->docs);
	free(attempt->problem);
}

/* What begins like JSON but is not may be YAML's flow style, of which JSON is nearly a part. If it is
 * neither, JSON is what its author meant. */
static size_t read_json_or_flow(const char *bytes, size_t byte_count, const struct doc_sink *sink)
{
	struct attempt json = {0}, yaml = {0};
	size_t problems = doc_read_json(
		bytes, byte_count, &(struct doc_sink){attempt_document, attempt_problem, &json});

	if (problems > 0 && doc_read_yaml(bytes, byte_count,
				    &(struct doc_sink){attempt_document, attempt_problem, &yaml}) == 0) {
		attempt_deliver(&yaml, sink);
		problems = 0;
	} else {
		attempt_deliver(&json, sink);
	}
	attempt_fini(&json);
	attempt_fini(&yaml);
	return problems;
}

static bool begins_like_json(const char *bytes, size_t byte_count)
{
	size_t offset = byte_count >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	while (offset < byte_count && memchr(" \t\r\n", bytes[offset], 4))
		offset++;
	return offset < byte_count && (bytes[offset] == '{' || bytes[offset] == '[');
}

size_t doc_read(const char *bytes, size_t byte_count, const struct doc_sink *sink)
{
	/* JSON has no newline inside of a token, so a line of "---" shows a YAML stream of flow documents. */
	if (begins_like_json(bytes, byte_count) && !memmem(bytes, byte_count, "\n---", 4))
		return read_json_or_flow(bytes, byte_count, sink);
	return doc_read_yaml(bytes, byte_count, sink);
}
