/* Owns the process title. Every process sets its own, once, so that ps and pgrep tell the roles apart. */
#include "proc/title.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The kernel shows the memory from the first argument on; the environment lies right behind the
 * arguments, so its room can be used too once the strings have moved away. */
static char *block_end(char *end, char **strings)
{
	for (; *strings; strings++) {
		if (*strings == end)
			end += strlen(*strings) + 1;
	}
	return end;
}

static int move_away(char **strings)
{
	for (; *strings; strings++) {
		char *copy = strdup(*strings);

		if (!copy)
			return -ENOMEM;
		*strings = copy;
	}
	return 0;
}

int title_init(struct title *title, int argc, char **argv)
{
	size_t count;

	if (argc < 1)
		return -EINVAL;
	title->start = argv[0];
	title->bytes = (size_t)(block_end(block_end(argv[0], argv), environ) - argv[0]);
	if (move_away(argv) < 0 || move_away(environ) < 0)
		return -ENOMEM;
	for (count = 0; environ[count]; count++)
		continue;
	title->environment = calloc(count + 1, sizeof(*title->environment));
	if (!title->environment)
		return -ENOMEM;
	memcpy(title->environment, environ, count * sizeof(*title->environment));
	return 0;
}

void title_fini(struct title *title)
{
	environ = NULL;
	for (size_t i = 0; title->environment[i]; i++)
		free(title->environment[i]);
	free(title->environment);
}

void title_set(const struct title *title, const char *format, ...)
{
	char text[64];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (title->bytes == 0)
		return;
	memset(title->start, 0, title->bytes);
	snprintf(title->start, title->bytes, "portald: %s", text);
}
