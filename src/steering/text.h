/* Text that grows: what the renderers write into. */
#ifndef STEERING_TEXT_H
#define STEERING_TEXT_H

#include <stddef.h>

struct text {
	char *bytes; /* NUL-terminated once anything was added */
	size_t length;
	size_t capacity;
};

void text_add(struct text *text, const char *bytes, size_t count);
void text_printf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds value in double quotes, escaped as iptables-save does. */
void text_quoted(struct text *text, const char *value);

/* The string, never NULL, which the caller frees; text is empty again. */
char *text_take(struct text *text);

#endif
