/* Settings: flags with their values as text, in the order in which they were given. The form in which the
 * command line and the configuration file are kept, compared and sent from process to process. */
#ifndef PROC_SETTINGS_H
#define PROC_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "portald/ipc.h"

struct setting {
	char *name;  /* of the flag, without dashes */
	char *value; /* never NULL: a switch alone is "true" */
};

struct settings {
	struct setting *list;
	size_t count, capacity;
};

/* Appends a setting; both texts are copied. */
void settings_add(struct settings *settings, const char *name, const char *value);

/* Takes every setting of that name out. */
void settings_remove(struct settings *settings, const char *name);

/* The value that was given last, or NULL. It lives until the setting is removed. */
const char *settings_get(const struct settings *settings, const char *name);

/* True if the settings of that name are the same in both, in number, value and order. */
bool settings_agree(const struct settings *a, const struct settings *b, const char *name);

/* True if both lists are the same. */
bool settings_equal(const struct settings *a, const struct settings *b);

/* Appends those of from: all, or only those of a name. */
void settings_copy(struct settings *to, const struct settings *from);
void settings_copy_named(struct settings *to, const struct settings *from, const char *name);

/* The most bytes of settings as text. */
#define SETTINGS_MAX_TEXT_BYTES ((size_t)IPC_MAX_SETTINGS_BYTES)

/* As text, in fresh memory: a line "name=value" for each. No value may have a line break. And back: returns 0
 * and *out, which the caller frees, or -EINVAL. */
char *settings_to_text(const struct settings *settings);
int settings_from_text(struct settings *out, const char *text);

void settings_fini(struct settings *settings);

#endif
