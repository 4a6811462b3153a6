/* Checks objects against the tables of schema_tables.c. Runs in control, in `portald plan` and in the
 * fuzzers. */
#include "source/schema.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "source/names.h"

/* How far a mistyped field may be from what is taken for the meant one. */
#define SUGGESTION_DISTANCE 2

static const char *kind_name(enum doc_kind kind)
{
	static const char *const names[] = {
		[DOC_NULL] = "null",
		[DOC_BOOL] = "a boolean",
		[DOC_INT] = "an integer",
		[DOC_FLOAT] = "a fraction",
		[DOC_STRING] = "a string",
		[DOC_SEQUENCE] = "a list",
		[DOC_MAP] = "an object",
	};

	return names[kind];
}

static void wrong_form(struct scope *scope, const struct doc_node *node, const char *wanted)
{
	char *quoted;

	if (node->kind == DOC_SEQUENCE || node->kind == DOC_MAP || node->kind == DOC_NULL) {
		scope_report(scope, SOURCE_ERROR, node, "must be %s, not %s", wanted, kind_name(node->kind));
		return;
	}
	quoted = finding_quote(node->text);
	/* A number is shown bare: quotes are what makes the difference. */
	if (node->kind == DOC_STRING)
		scope_report(scope, SOURCE_ERROR, node, "must be %s, not the string %s", wanted, quoted);
	else
		scope_report(scope, SOURCE_ERROR, node, "must be %s, not %s (%.*s)", wanted,
			kind_name(node->kind), (int)strlen(quoted) - 2, quoted + 1);
	free(quoted);
}

static void check_text(struct scope *scope, const struct doc_node *node)
{
	bool bare = node->kind == DOC_BOOL || node->kind == DOC_INT || node->kind == DOC_FLOAT;

	if (node->kind != DOC_STRING)
		wrong_form(scope, node, bare ? "a string (quote it)" : "a string");
}

static void check_text_map(struct scope *scope, const struct doc_node *node)
{
	if (node->kind != DOC_MAP) {
		wrong_form(scope, node, "a map of strings");
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		const struct doc_node *value = node->pairs[i].value;
		size_t mark = scope_enter_key(scope, node->pairs[i].key);

		if (value->kind != DOC_NULL)
			check_text(scope, value);
		scope_leave(scope, mark);
	}
}

static void check_text_list(struct scope *scope, const struct doc_node *node)
{
	if (node->kind != DOC_SEQUENCE) {
		wrong_form(scope, node, "a list of strings");
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		size_t mark = scope_enter_index(scope, i);

		check_text(scope, node->items[i]);
		scope_leave(scope, mark);
	}
}

static void check_object_list(struct scope *scope, const struct doc_node *node, const struct schema *schema)
{
	if (node->kind != DOC_SEQUENCE) {
		wrong_form(scope, node, "a list");
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		size_t mark = scope_enter_index(scope, i);

		schema_check(scope, node->items[i], schema);
		scope_leave(scope, mark);
	}
}

static void check_int(struct scope *scope, const struct doc_node *node)
{
	if (node->kind != DOC_INT)
		wrong_form(scope, node, "an integer");
	else if (node->number < INT32_MIN || node->number > INT32_MAX)
		scope_invalid(scope, NULL, node, node->text, "does not fit 32 bits");
}

static void check_form(struct scope *scope, const struct doc_node *node, const struct field *field)
{
	if (node->kind == DOC_NULL)
		return;
	switch (field->form) {
	case FIELD_ANY:
		return;
	case FIELD_TEXT:
		check_text(scope, node);
		return;
	case FIELD_INT_OR_TEXT:
		if (node->kind != DOC_STRING)
			check_int(scope, node);
		return;
	case FIELD_INT:
		check_int(scope, node);
		return;
	case FIELD_BOOL:
		if (node->kind != DOC_BOOL)
			wrong_form(scope, node, "true or false");
		return;
	case FIELD_TEXT_MAP:
		check_text_map(scope, node);
		return;
	case FIELD_TEXT_LIST:
		check_text_list(scope, node);
		return;
	case FIELD_OBJECT:
		schema_check(scope, node, field->schema);
		return;
	case FIELD_OBJECT_LIST:
		check_object_list(scope, node, field->schema);
		return;
	}
}

static const char *suggest(const struct schema *schema, const char *name)
{
	size_t best_distance = SUGGESTION_DISTANCE + 1;
	const char *best = NULL;

	for (const struct field *field = schema->fields; field->name; field++) {
		size_t distance = names_distance(name, field->name);

		/* Two letters changed make another word of a short one. */
		if (distance < best_distance && distance * 2 <= strlen(field->name)) {
			best_distance = distance;
			best = field->name;
		}
	}
	return best;
}

static void unknown_field(struct scope *scope, const struct doc_pair *pair, const struct schema *schema)
{
	struct place place = {scope->file, pair->line, pair->column};
	enum source_severity severity = scope->stored ? SOURCE_WARNING : SOURCE_ERROR;
	const char *meant = suggest(schema, pair->key);
	char *quoted = finding_quote(pair->key);

	if (meant)
		scope_report_at(
			scope, severity, place, "unknown field %s, did you mean \"%s\"?", quoted, meant);
	else
		scope_report_at(scope, severity, place, "unknown field %s", quoted);
	free(quoted);
}

static void check_pair(struct scope *scope, const struct doc_pair *pair, const struct schema *schema)
{
	size_t mark = scope_enter(scope, pair->key);
	const struct field *field = schema->fields;

	while (field->name && strcmp(field->name, pair->key) != 0)
		field++;
	if (field->name)
		check_form(scope, pair->value, field);
	else if (!scope->lenient)
		unknown_field(scope, pair, schema);
	scope_leave(scope, mark);
}

void schema_check(struct scope *scope, const struct doc_node *node, const struct schema *schema)
{
	if (node->kind != DOC_MAP) {
		wrong_form(scope, node, "an object");
		return;
	}
	for (size_t i = 0; i < node->count; i++)
		check_pair(scope, &node->pairs[i], schema);
}

void schema_check_duplicates(struct scope *scope, const struct doc_node *node)
{
	size_t mark;

	for (size_t i = 0; node->kind == DOC_MAP && i < node->count; i++) {
		const struct doc_pair *pair = &node->pairs[i];

		mark = scope_enter(scope, pair->key);
		if (pair->duplicate)
			scope_report_at(scope, SOURCE_ERROR,
				(struct place){scope->file, pair->line, pair->column}, "duplicate field");
		schema_check_duplicates(scope, pair->value);
		scope_leave(scope, mark);
	}
	for (size_t i = 0; node->kind == DOC_SEQUENCE && i < node->count; i++) {
		mark = scope_enter_index(scope, i);
		schema_check_duplicates(scope, node->items[i]);
		scope_leave(scope, mark);
	}
}
