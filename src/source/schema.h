/* The API's types as tables: which fields an object may have and of what form. */
#ifndef SOURCE_SCHEMA_H
#define SOURCE_SCHEMA_H

#include "source/doc.h"
#include "source/finding.h"

enum field_form {
	FIELD_ANY,         /* known, not looked into */
	FIELD_TEXT,        /* string */
	FIELD_INT,         /* int32 */
	FIELD_INT_OR_TEXT, /* IntOrString */
	FIELD_BOOL,
	FIELD_TEXT_MAP,    /* map of strings */
	FIELD_TEXT_LIST,   /* list of strings */
	FIELD_OBJECT,      /* an object of schema */
	FIELD_OBJECT_LIST, /* a list of such */
};

struct schema;

struct field {
	const char *name;
	enum field_form form;
	const struct schema *schema;
};

struct schema {
	const struct field *fields; /* ended by a NULL name */
};

extern const struct schema schema_service;
extern const struct schema schema_endpoints;
extern const struct schema schema_endpoint_slice_v1;
extern const struct schema schema_endpoint_slice_v1beta1;
/* What is read of these; to be checked leniently. */
extern const struct schema schema_pod;
extern const struct schema schema_node;

/* Checks an object as the API server's strict decoding does: forms, unknown and duplicate fields. After a
 * check without errors (scope->error_count), every field of the tables is absent, null or of its form. */
void schema_check(struct scope *scope, const struct doc_node *node, const struct schema *schema);

/* Reports keys that occur twice in one map, anywhere below node. */
void schema_check_duplicates(struct scope *scope, const struct doc_node *node);

#endif
