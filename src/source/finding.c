/* Owns the findings about the input and how they are worded. Runs in control, in `portald plan` and in the
 * fuzzers. */
#include "source/finding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"

/* More of a value than this helps nobody. */
#define QUOTE_MAX_BYTES 80

static char *format_text(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static char *format_text(const char *format, va_list args)
{
	char *text = NULL;

	if (vasprintf(&text, format, args) < 0)
		return mem_strdup("out of memory");
	return text;
}

static void add(struct findings *findings, enum source_severity severity, struct place place,
	const char *object, const char *field, char *message)
{
	if (findings->count >= FINDINGS_MAX) {
		findings->left_out++;
		free(message);
		return;
	}
	findings->list =
		mem_grow(findings->list, findings->count, &findings->capacity, sizeof(struct finding));
	findings->list[findings->count] = (struct finding){
		.severity = severity,
		.place = place,
		.sequence = findings->count,
		.object = mem_strdup(object),
		.field = mem_strdup(field && *field ? field : NULL),
		.message = message,
	};
	findings->count++;
}

void findings_add(struct findings *findings, enum source_severity severity, struct place place,
	const char *object, const char *field, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(findings, severity, place, object, field, format_text(format, args));
	va_end(args);
}

void findings_fini(struct findings *findings)
{
	for (size_t i = 0; i < findings->count; i++) {
		free(findings->list[i].object);
		free(findings->list[i].field);
		free(findings->list[i].message);
	}
	free(findings->list);
	findings->list = NULL;
	findings->count = 0;
}

static int order(size_t a, size_t b)
{
	return (a > b) - (a < b);
}

static int finding_cmp(const void *a, const void *b)
{
	const struct finding *fa = a, *fb = b;
	int by_file = order(fa->place.file, fb->place.file);
	int by_line = by_file ? by_file : order(fa->place.line, fb->place.line);
	int by_column = by_line ? by_line : order(fa->place.column, fb->place.column);

	return by_column ? by_column : order(fa->sequence, fb->sequence);
}

void findings_report(struct findings *findings, source_diag_fn *diag, void *context)
{
	if (findings->left_out > 0) {
		struct finding *last = &findings->list[FINDINGS_MAX - 1];

		free(last->message);
		last->message = mem_printf("and %zu findings more, not shown", findings->left_out + 1);
	}
	if (findings->count)
		qsort(findings->list, findings->count, sizeof(struct finding), finding_cmp);
	for (size_t i = 0; diag && i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];

		diag(context, &(struct source_diag){
				      .severity = finding->severity,
				      .file = findings->texts[finding->place.file].name,
				      .line = finding->place.line,
				      .column = finding->place.column,
				      .object = finding->object,
				      .field = finding->field,
				      .message = finding->message,
			      });
	}
}

char *findings_place(const struct findings *findings, struct place place)
{
	return mem_printf("%s:%u:%u", findings->texts[place.file].name, place.line, place.column);
}

char *finding_quote(const char *text)
{
	size_t length = strnlen(text, QUOTE_MAX_BYTES + 1);
	bool cut = length > QUOTE_MAX_BYTES;
	char *quoted;

	if (cut)
		length = QUOTE_MAX_BYTES;
	/* Not within a character. */
	while (cut && length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
		length--;
	quoted = mem_printf("\"%.*s%s\"", (int)length, text, cut ? "..." : "");
	for (char *c = quoted; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	return quoted;
}

/* ---- scope ---- */

/* A name in a message that is longer is cut. */
#define NAME_MAX_BYTES 80

/* As much of the text as there is room for, without control characters. Every field of every object comes by
 * here. */
static void append(struct scope *scope, const char *text, size_t bytes_max)
{
	size_t end = scope->field_length;

	for (; *text && bytes_max > 0 && end < sizeof(scope->field) - 1; text++, bytes_max--) {
		bool control = (unsigned char)*text < 0x20 || *text == 0x7f;

		scope->field[end++] = control ? '?' : *text;
	}
	scope->field[end] = '\0';
	scope->field_length = end;
}

static size_t enter(struct scope *scope, const char *before, const char *name, const char *after)
{
	size_t mark = scope->field_length;

	append(scope, before, 1);
	append(scope, name, NAME_MAX_BYTES);
	append(scope, after, 1);
	return mark;
}

size_t scope_enter(struct scope *scope, const char *field)
{
	return enter(scope, scope->field_length ? "." : "", field, "");
}

size_t scope_enter_index(struct scope *scope, size_t index)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%zu", index);
	return enter(scope, "[", digits, "]");
}

size_t scope_enter_key(struct scope *scope, const char *key)
{
	return enter(scope, "[", key, "]");
}

void scope_leave(struct scope *scope, size_t mark)
{
	scope->field_length = mark;
	scope->field[mark] = '\0';
}

struct place scope_place(const struct scope *scope, const struct doc_node *node)
{
	return (struct place){scope->file, node->line, node->column};
}

static void report(struct scope *scope, enum source_severity severity, struct place place, char *message)
{
	if (severity == SOURCE_ERROR)
		scope->error_count++;
	add(scope->findings, severity, place, scope->object, scope->field, message);
}

void scope_report(struct scope *scope, enum source_severity severity, const struct doc_node *node,
	const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(scope, severity, scope_place(scope, node), format_text(format, args));
	va_end(args);
}

void scope_report_at(
	struct scope *scope, enum source_severity severity, struct place place, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(scope, severity, place, format_text(format, args));
	va_end(args);
}

/* A number stands bare. */
static char *quote_value(const struct doc_node *node, const char *value)
{
	return node->kind == DOC_INT ? mem_printf("%.40s", value) : finding_quote(value);
}

static size_t enter_optional(struct scope *scope, const char *field)
{
	return field ? scope_enter(scope, field) : scope->field_length;
}

void scope_invalid(struct scope *scope, const char *field, const struct doc_node *node, const char *value,
	const char *why)
{
	size_t mark = enter_optional(scope, field);
	char *quoted = quote_value(node, value);

	scope_report(scope, SOURCE_ERROR, node, "Invalid value: %s: %s", quoted, why);
	free(quoted);
	scope_leave(scope, mark);
}

void scope_required(struct scope *scope, const char *field, const struct doc_node *parent, const char *why)
{
	size_t mark = enter_optional(scope, field);

	scope_report(scope, SOURCE_ERROR, parent, "Required value%s%s", *why ? ": " : "", why);
	scope_leave(scope, mark);
}

void scope_duplicate(struct scope *scope, const char *field, const struct doc_node *node, const char *value)
{
	size_t mark = enter_optional(scope, field);
	char *quoted = quote_value(node, value);

	scope_report(scope, SOURCE_ERROR, node, "Duplicate value: %s", quoted);
	free(quoted);
	scope_leave(scope, mark);
}

void scope_unsupported(struct scope *scope, const char *field, const struct doc_node *node, const char *value,
	const char *const *supported)
{
	size_t mark = enter_optional(scope, field);
	char *quoted = finding_quote(value), *list = mem_strdup("");

	for (size_t i = 0; supported[i]; i++) {
		char *longer = mem_printf("%s%s\"%s\"", list, i ? ", " : "", supported[i]);

		free(list);
		list = longer;
	}
	scope_report(scope, SOURCE_ERROR, node, "Unsupported value: %s: supported values: %s", quoted, list);
	free(list);
	free(quoted);
	scope_leave(scope, mark);
}
