/* Findings about the input: collected while decoding, sorted by place, then reported. And the scope, which
 * knows the file, the object and the field that is being looked at. */
#ifndef SOURCE_FINDING_H
#define SOURCE_FINDING_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "portald/source.h"
#include "source/doc.h"

/* Findings beyond these are only counted: a broken generator's output must not fill memory. */
#define FINDINGS_MAX 10000

/* A place in the input. file indexes the texts. */
struct place {
	size_t file;
	unsigned line, column;
};

struct finding {
	enum source_severity severity;
	struct place place;
	size_t sequence;
	char *object, *field, *message;
};

struct findings {
	const struct source_text *texts;
	struct finding *list;
	size_t count, capacity, left_out;
};

void findings_fini(struct findings *findings);

/* object and field may be NULL; all text is copied. */
void findings_add(struct findings *findings, enum source_severity severity, struct place place,
	const char *object, const char *field, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* Calls diag for each, in the order of the input. */
void findings_report(struct findings *findings, source_diag_fn *diag, void *context);

/* "FILE:LINE:COLUMN" in fresh memory. */
char *findings_place(const struct findings *findings, struct place place);

/* text in double quotes, fit to be shown: shortened, control characters replaced. Fresh memory. */
char *finding_quote(const char *text);

/* What is being looked at. */
struct scope {
	struct findings *findings;
	size_t file;
	const char *object;
	char field[512]; /* its path, cut if need be */
	size_t field_length;
	size_t error_count;
	bool lenient; /* unknown fields are passed over */
	bool stored;  /* the object comes out of an API server: what is unknown is newer, not mistyped */
};

/* Go down to a field, an index or a map's key; each returns what scope_leave() takes to come back. */
size_t scope_enter(struct scope *scope, const char *field);
size_t scope_enter_index(struct scope *scope, size_t index);
size_t scope_enter_key(struct scope *scope, const char *key);
void scope_leave(struct scope *scope, size_t mark);

/* Reports a finding about the field looked at. */
void scope_report(struct scope *scope, enum source_severity severity, const struct doc_node *node,
	const char *format, ...) __attribute__((format(printf, 4, 5)));
void scope_report_at(struct scope *scope, enum source_severity severity, struct place place,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The usual errors, in the API server's terms, about `field` of what is looked at (NULL: itself). */
void scope_invalid(struct scope *scope, const char *field, const struct doc_node *node, const char *value,
	const char *why);
void scope_required(struct scope *scope, const char *field, const struct doc_node *parent, const char *why);
void scope_duplicate(struct scope *scope, const char *field, const struct doc_node *node, const char *value);
/* supported: "A", "B", ... ended by NULL. */
void scope_unsupported(struct scope *scope, const char *field, const struct doc_node *node, const char *value,
	const char *const *supported);

struct place scope_place(const struct scope *scope, const struct doc_node *node);

#endif
