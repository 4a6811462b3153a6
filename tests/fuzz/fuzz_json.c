/* Fuzzes the JSON reader: whatever it accepts has places within the text and a tree within its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "source/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
	if (!condition)
		abort();
}

/* Returns the node's weight, walked. */
static size_t check_node(const struct doc_node *node, size_t depth, size_t lines)
{
	size_t weight = 1;

	require(depth <= DOC_MAX_DEPTH && node->line >= 1 && node->line <= lines && node->column >= 1);
	if (node->kind == DOC_SEQUENCE) {
		for (size_t i = 0; i < node->count; i++)
			weight += check_node(node->items[i], depth + 1, lines);
	} else if (node->kind == DOC_MAP) {
		for (size_t i = 0; i < node->count; i++) {
			require(strlen(node->pairs[i].key) != SIZE_MAX);
			weight += check_node(node->pairs[i].value, depth + 1, lines);
		}
	} else {
		require(strlen(node->text) != SIZE_MAX);
	}
	require(weight == node->weight);
	return weight;
}

static void on_document(void *context, struct doc *doc)
{
	const size_t *lines = context;

	check_node(doc->root, 0, *lines);
	doc_free(doc);
}

static void on_problem(void *context, unsigned line, unsigned column, const char *message)
{
	const size_t *lines = context;

	require(line >= 1 && line <= *lines && column >= 1 && *message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t lines = 1;
	const struct doc_sink sink = {on_document, on_problem, &lines};

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	doc_read_json((const char *)data, size, &sink);
	return 0;
}
