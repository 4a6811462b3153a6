/* Configuration files: YAML or JSON documents of given kinds, read into flat fields by tables.
 *
 * Pure: bytes in, fields and findings out. As kube-proxy does, a file is read strictly first, where what is
 * unknown or doubled is a warning, and then leniently; a value of the wrong form is an error. Runs only where
 * there is no privilege: in control and in the reader of `--config`.
 */
#ifndef PORTALD_CONFIG_FILE_H
#define PORTALD_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "portald/source.h"

enum config_form {
	CONFIG_TEXT,
	CONFIG_INT,
	CONFIG_NUMBER,   /* that may have a fraction */
	CONFIG_BOOL,     /* "true" or "false" */
	CONFIG_DURATION, /* a string such as "1m30s" */
	CONFIG_TEXTS,    /* a list of strings; as text, joined by commas */
	CONFIG_BOOLS,    /* a map of booleans; as text, "a=true,b=false" */
	CONFIG_ANY,      /* known, not looked into */
};

/* Marks of a field. */
enum {
	CONFIG_LIVE = 1,            /* a change is taken up without a new start */
	CONFIG_LINE_WINS = 2,       /* the flag on the command line goes before the file */
	CONFIG_ZERO_IS_DEFAULT = 4, /* 0 stands for the default, as the empty string does everywhere */
	CONFIG_REPEATED = 8,        /* CONFIG_TEXTS: one value for each item */
	CONFIG_NANOSECONDS = 16,    /* CONFIG_DURATION: may be an integer */
	CONFIG_NODE_ONLY = 32,      /* the default is that of a daemon with rules; elsewhere there is none */
};

struct config_field {
	const char *path; /* "conntrack.maxPerCore" */
	enum config_form form;
	const char *flag;     /* that stands for the same; NULL: the field has no effect */
	const char *standard; /* the default as text; NULL: none */
	unsigned marks;
	const char *alias; /* another name of the flag, or NULL */
};

struct config_kind {
	const char *api_version, *kind;
	const struct config_field *fields; /* by path; ended by a NULL path */
};

struct config_sink {
	/* A field that is set, as text. Returns NULL, or what is wrong with it (an error then). */
	const char *(*value)(void *context, const struct config_field *field, const char *text);
	source_diag_fn *finding;
	void *context;
};

/* Reads a file whose documents are of kinds, ended by a NULL kind, each at most once. Fields that are null,
 * and those that say nothing but the default, are passed over. Returns the number of errors. */
size_t config_file_read(
	const struct source_text *text, const struct config_kind *kinds, const struct config_sink *sink);

/* Returns a field's text, for CONFIG_REPEATED that of the item at `index`, or NULL for none. */
typedef const char *config_get_fn(void *context, const struct config_field *field, size_t index);

/* As JSON in fresh memory, to be freed by the caller: {name: {fields}}. NULL if out of memory. */
char *config_file_json(const char *name, const struct config_kind *kind, config_get_fn *get, void *context);

/* Writes a document of a kind that config_file_read() reads back. get returns a field's text, for
 * CONFIG_REPEATED that of the item at `index`, or NULL for none. */
void config_file_write(FILE *out, const struct config_kind *kind,
	const char *(*get)(void *context, const struct config_field *field, size_t index), void *context);

#endif
