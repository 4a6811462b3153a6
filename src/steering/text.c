/* Owns growing text. Runs wherever rules are rendered. */
#include "steering/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"

/* A comment match holds 256 bytes with the final NUL; iptables refuses the whole text for a longer one. */
#define COMMENT_BYTES 255

static void text_reserve(struct text *text, size_t count)
{
	while (text->capacity < text->length + count + 1)
		text->bytes = mem_grow(text->bytes, text->capacity, &text->capacity, 1);
}

void text_add(struct text *text, const char *bytes, size_t count)
{
	text_reserve(text, count);
	memcpy(text->bytes + text->length, bytes, count);
	text->length += count;
	text->bytes[text->length] = '\0';
}

void text_printf(struct text *text, const char *format, ...)
{
	char line[512], *whole;
	va_list args, again;
	int bytes;

	va_start(args, format);
	va_copy(again, args);
	bytes = vsnprintf(line, sizeof(line), format, args);
	if (bytes >= 0 && (size_t)bytes < sizeof(line)) {
		text_add(text, line, (size_t)bytes);
	} else if ((bytes = vasprintf(&whole, format, again)) >= 0) {
		text_add(text, whole, (size_t)bytes);
		free(whole);
	}
	va_end(again);
	va_end(args);
}

void text_quoted(struct text *text, const char *value)
{
	size_t count = 0;

	text_add(text, "\"", 1);
	for (; *value && count < COMMENT_BYTES; value++, count++) {
		/* iptables-restore reads line by line: a control character must not end one. */
		char c = (unsigned char)*value < ' ' || *value == 0x7f ? '?' : *value;

		if (c == '"' || c == '\\' || c == '\'')
			text_add(text, "\\", 1);
		text_add(text, &c, 1);
	}
	text_add(text, "\"", 1);
}

char *text_take(struct text *text)
{
	char *bytes = text->bytes ? text->bytes : mem_strdup("");

	*text = (struct text){.bytes = NULL};
	return bytes;
}
