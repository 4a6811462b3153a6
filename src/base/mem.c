#include "portald/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portald/log.h"

static void *mem_checked(void *memory)
{
	if (!memory) {
		log_error("out of memory");
		abort();
	}
	return memory;
}

void *mem_calloc(size_t count, size_t size)
{
	/* calloc(0, n) may return NULL, which is no failure. */
	return mem_checked(calloc(count ? count : 1, size ? size : 1));
}

char *mem_strdup(const char *text)
{
	return text ? mem_checked(strdup(text)) : NULL;
}

char *mem_printf(const char *format, ...)
{
	va_list args;
	char *text = NULL;
	int bytes;

	va_start(args, format);
	bytes = vasprintf(&text, format, args);
	va_end(args);
	return mem_checked(bytes < 0 ? NULL : text);
}

void *mem_grow(void *array, size_t count, size_t *capacity, size_t size)
{
	size_t wanted;

	if (count < *capacity)
		return array;
	wanted = *capacity ? *capacity * 2 : 8;
	array = mem_checked(reallocarray(array, wanted, size));
	*capacity = wanted;
	return array;
}
