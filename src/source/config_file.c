/* Reads configuration files. Runs in control and in the reader of `--config`. */
#include "portald/config_file.h"

#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/doc.h"
#include "source/finding.h"
#include "source/names.h"

#define PATH_BYTES 256
/* How far a mistyped field may be from what is taken for the meant one. */
#define SUGGESTION_DISTANCE 2
#define MAX_KINDS 4

struct reading {
	const struct config_kind *kinds;
	const struct config_sink *sink;
	struct findings findings;
	struct scope scope;
	const struct config_kind *kind; /* of the document that is read */
	bool seen[MAX_KINDS];
	size_t document_count, syntax_errors;
};

/* ---- names ---- */

static const struct config_field *find_field(const struct config_kind *kind, const char *path)
{
	for (const struct config_field *field = kind->fields; field->path; field++) {
		if (strcmp(field->path, path) == 0)
			return field;
	}
	return NULL;
}

/* The part of a field's path after prefix ("", or ending in a dot), if it begins with it. */
static const char *below(const struct config_field *field, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(field->path, prefix, length) == 0 ? field->path + length : NULL;
}

static bool is_section(const struct config_kind *kind, const char *path)
{
	for (const struct config_field *field = kind->fields; field->path; field++) {
		const char *rest = below(field, path);

		if (rest && *rest == '.')
			return true;
	}
	return false;
}

/* Fresh memory: the name below prefix that key was probably meant to be, or NULL. */
static char *suggest(const struct config_kind *kind, const char *prefix, const char *key)
{
	size_t best_distance = SUGGESTION_DISTANCE + 1;
	char *best = NULL;

	for (const struct config_field *field = kind->fields; field->path; field++) {
		const char *rest = below(field, prefix);
		char *name = rest ? mem_printf("%.*s", (int)strcspn(rest, "."), rest) : NULL;
		size_t distance = name ? names_distance(key, name) : best_distance;

		if (name && distance < best_distance && distance * 2 <= strlen(name)) {
			free(best);
			best = mem_strdup(name);
			best_distance = distance;
		}
		free(name);
	}
	return best;
}

static void unknown_field(struct reading *reading, const char *prefix, const struct doc_pair *pair)
{
	struct place place = {0, pair->line, pair->column};
	char *meant = suggest(reading->kind, prefix, pair->key);
	char *quoted = finding_quote(pair->key);

	if (meant)
		scope_report_at(&reading->scope, SOURCE_WARNING, place,
			"unknown field %s, did you mean \"%s\"?", quoted, meant);
	else
		scope_report_at(&reading->scope, SOURCE_WARNING, place, "unknown field %s", quoted);
	free(quoted);
	free(meant);
}

/* ---- values ---- */

static void wrong_form(struct reading *reading, const struct doc_node *node, const char *wanted)
{
	char *quoted = node->kind == DOC_SEQUENCE || node->kind == DOC_MAP ? NULL : finding_quote(node->text);

	if (!quoted)
		scope_report(&reading->scope, SOURCE_ERROR, node, "must be %s, not %s", wanted,
			node->kind == DOC_MAP ? "an object" : "a list");
	else if (node->kind == DOC_STRING)
		scope_report(
			&reading->scope, SOURCE_ERROR, node, "must be %s, not the string %s", wanted, quoted);
	else
		scope_report(&reading->scope, SOURCE_ERROR, node, "must be %s, not %.*s", wanted,
			(int)strlen(quoted) - 2, quoted + 1);
	free(quoted);
}

/* True if text says nothing but 0: "0", "0s", "0h0m0s", "0.0". */
static bool is_zero(const char *text)
{
	return strpbrk(text, "0") && !strpbrk(text, "123456789");
}

static void put(struct reading *reading, const struct config_field *field, const struct doc_node *node,
	const char *text)
{
	const char *wrong;

	if (!*text || (field->marks & CONFIG_ZERO_IS_DEFAULT && is_zero(text)))
		return;
	wrong = reading->sink->value(reading->sink->context, field, text);
	if (wrong) {
		char *quoted = finding_quote(text);

		scope_report(&reading->scope, SOURCE_ERROR, node, "%s: %s", quoted, wrong);
		free(quoted);
	}
}

/* Appends to *joined, which is fresh memory. */
static void join(char **joined, const char *text)
{
	char *longer = mem_printf("%s%s%s", *joined, **joined ? "," : "", text);

	free(*joined);
	*joined = longer;
}

static void read_texts(struct reading *reading, const struct config_field *field, const struct doc_node *node)
{
	char *joined = mem_strdup("");

	for (size_t i = 0; i < node->count; i++) {
		const struct doc_node *item = node->items[i];
		size_t mark = scope_enter_index(&reading->scope, i);

		if (item->kind != DOC_STRING)
			wrong_form(reading, item, "a string");
		else if (field->marks & CONFIG_REPEATED)
			put(reading, field, item, item->text);
		else
			join(&joined, item->text);
		scope_leave(&reading->scope, mark);
	}
	put(reading, field, node, joined);
	free(joined);
}

static void read_bools(struct reading *reading, const struct config_field *field, const struct doc_node *node)
{
	char *joined = mem_strdup("");

	for (size_t i = 0; i < node->count; i++) {
		const struct doc_pair *pair = &node->pairs[i];
		size_t mark = scope_enter_key(&reading->scope, pair->key);
		char *item = mem_printf("%s=%s", pair->key, pair->value->number ? "true" : "false");

		if (pair->value->kind == DOC_BOOL)
			join(&joined, item);
		else
			wrong_form(reading, pair->value, "true or false");
		free(item);
		scope_leave(&reading->scope, mark);
	}
	put(reading, field, node, joined);
	free(joined);
}

static void read_duration(
	struct reading *reading, const struct config_field *field, const struct doc_node *node)
{
	char *text;

	if (node->kind == DOC_STRING) {
		put(reading, field, node, node->text);
	} else if (node->kind == DOC_INT && field->marks & CONFIG_NANOSECONDS) {
		text = mem_printf("%lldns", (long long)node->number);
		put(reading, field, node, text);
		free(text);
	} else {
		wrong_form(reading, node, "a duration such as \"30s\"");
	}
}

static void read_number(
	struct reading *reading, const struct config_field *field, const struct doc_node *node)
{
	char *text;

	if (node->kind == DOC_INT) {
		text = mem_printf("%lld", (long long)node->number);
		put(reading, field, node, text);
		free(text);
	} else if (node->kind == DOC_FLOAT && field->form == CONFIG_NUMBER) {
		put(reading, field, node, node->text);
	} else {
		wrong_form(reading, node, field->form == CONFIG_INT ? "an integer" : "a number");
	}
}

static void read_field(struct reading *reading, const struct config_field *field, const struct doc_node *node)
{
	switch (field->form) {
	case CONFIG_TEXT:
		if (node->kind == DOC_STRING)
			put(reading, field, node, node->text);
		else
			wrong_form(reading, node, "a string");
		return;
	case CONFIG_INT:
	case CONFIG_NUMBER:
		read_number(reading, field, node);
		return;
	case CONFIG_BOOL:
		if (node->kind == DOC_BOOL)
			put(reading, field, node, node->number ? "true" : "false");
		else
			wrong_form(reading, node, "true or false");
		return;
	case CONFIG_DURATION:
		read_duration(reading, field, node);
		return;
	case CONFIG_TEXTS:
		if (node->kind == DOC_SEQUENCE)
			read_texts(reading, field, node);
		else
			wrong_form(reading, node, "a list of strings");
		return;
	case CONFIG_BOOLS:
		if (node->kind == DOC_MAP)
			read_bools(reading, field, node);
		else
			wrong_form(reading, node, "an object");
		return;
	case CONFIG_ANY:
		return;
	}
}

/* ---- documents ---- */

static void read_section(struct reading *reading, const char *prefix, const struct doc_node *node, int depth);

static void read_pair(struct reading *reading, const char *prefix, const struct doc_pair *pair, int depth)
{
	const struct config_field *field;
	char path[PATH_BYTES];

	size_t length = (size_t)snprintf(path, sizeof(path), "%s%s", prefix, pair->key);

	if (length + 1 >= sizeof(path)) {
		unknown_field(reading, prefix, pair);
		return;
	}
	if (pair->duplicate)
		scope_report_at(&reading->scope, SOURCE_WARNING, (struct place){0, pair->line, pair->column},
			"duplicate field: the last one counts");
	field = find_field(reading->kind, path);
	if (!field && !is_section(reading->kind, path)) {
		unknown_field(reading, prefix, pair);
	} else if (pair->value->kind == DOC_NULL) {
		return;
	} else if (field) {
		read_field(reading, field, pair->value);
	} else {
		path[length] = '.';
		path[length + 1] = '\0';
		read_section(reading, path, pair->value, depth + 1);
	}
}

/* prefix: "", or a path that ends in a dot. */
static void read_section(struct reading *reading, const char *prefix, const struct doc_node *node, int depth)
{
	if (node->kind != DOC_MAP) {
		wrong_form(reading, node, "an object");
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		const struct doc_pair *pair = &node->pairs[i];
		size_t mark;

		if (depth == 0 && (strcmp(pair->key, "kind") == 0 || strcmp(pair->key, "apiVersion") == 0))
			continue;
		mark = scope_enter(&reading->scope, pair->key);
		read_pair(reading, prefix, pair, depth);
		scope_leave(&reading->scope, mark);
	}
}

/* The kind of a document, or NULL after reporting why it has none that is known. */
static const struct config_kind *find_kind(struct reading *reading, const struct doc_node *root)
{
	const char *api_version = doc_get_text(root, "apiVersion"), *kind = doc_get_text(root, "kind");

	for (size_t i = 0; i < MAX_KINDS && reading->kinds[i].kind; i++) {
		const struct config_kind *known = &reading->kinds[i];

		if (!kind || strcmp(kind, known->kind) != 0)
			continue;
		if (!api_version || strcmp(api_version, known->api_version) != 0) {
			scope_report(&reading->scope, SOURCE_ERROR, root, "apiVersion of a %s must be %s",
				known->kind, known->api_version);
			return NULL;
		}
		if (reading->seen[i]) {
			scope_report(&reading->scope, SOURCE_ERROR, root, "a second %s", known->kind);
			return NULL;
		}
		reading->seen[i] = true;
		return known;
	}
	scope_report(&reading->scope, SOURCE_ERROR, root, "kind must be %s or %s, not %s",
		reading->kinds[0].kind, reading->kinds[1].kind, kind ? kind : "left out");
	return NULL;
}

static void on_document(void *context, struct doc *doc)
{
	struct reading *reading = context;

	if (doc->root->kind != DOC_NULL) {
		reading->document_count++;
		reading->scope.object = NULL;
		reading->kind = find_kind(reading, doc->root);
		if (reading->kind) {
			reading->scope.object = reading->kind->kind;
			read_section(reading, "", doc->root, 0);
		}
	}
	doc_free(doc);
}

static void on_problem(void *context, unsigned line, unsigned column, const char *message)
{
	struct reading *reading = context;

	reading->syntax_errors++;
	findings_add(
		&reading->findings, SOURCE_ERROR, (struct place){0, line, column}, NULL, NULL, "%s", message);
}

size_t config_file_read(
	const struct source_text *text, const struct config_kind *kinds, const struct config_sink *sink)
{
	struct reading reading = {.kinds = kinds, .sink = sink, .findings = {.texts = text}};
	struct doc_sink documents = {.document = on_document, .problem = on_problem, .context = &reading};
	size_t errors;

	reading.scope.findings = &reading.findings;
	doc_read(text->bytes, text->byte_count, &documents);
	if (reading.document_count == 0 && reading.syntax_errors == 0)
		on_problem(&reading, 1, 1, "the file holds no configuration");
	findings_report(&reading.findings, sink->finding, sink->context);
	findings_fini(&reading.findings);
	errors = reading.scope.error_count + reading.syntax_errors;
	return errors;
}
