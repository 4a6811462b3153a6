/* Owns lists of settings. Runs in every process but the relays. */
#include "proc/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"

void settings_add(struct settings *settings, const char *name, const char *value)
{
	settings->list =
		mem_grow(settings->list, settings->count, &settings->capacity, sizeof(*settings->list));
	settings->list[settings->count++] = (struct setting){
		.name = mem_strdup(name),
		.value = mem_strdup(value),
	};
}

static void setting_fini(struct setting *setting)
{
	free(setting->name);
	free(setting->value);
}

void settings_remove(struct settings *settings, const char *name)
{
	size_t kept = 0;

	for (size_t i = 0; i < settings->count; i++) {
		if (strcmp(settings->list[i].name, name) == 0)
			setting_fini(&settings->list[i]);
		else
			settings->list[kept++] = settings->list[i];
	}
	settings->count = kept;
}

/* The first setting of that name at or after `from`; count if there is none. */
static size_t next_named(const struct settings *settings, const char *name, size_t from)
{
	while (from < settings->count && strcmp(settings->list[from].name, name) != 0)
		from++;
	return from;
}

const char *settings_get(const struct settings *settings, const char *name)
{
	const char *value = NULL;

	for (size_t i = next_named(settings, name, 0); i < settings->count;
		i = next_named(settings, name, i + 1))
		value = settings->list[i].value;
	return value;
}

bool settings_agree(const struct settings *a, const struct settings *b, const char *name)
{
	size_t i = next_named(a, name, 0), j = next_named(b, name, 0);

	while (i < a->count && j < b->count && strcmp(a->list[i].value, b->list[j].value) == 0) {
		i = next_named(a, name, i + 1);
		j = next_named(b, name, j + 1);
	}
	return i == a->count && j == b->count;
}

bool settings_equal(const struct settings *a, const struct settings *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->list[i].name, b->list[i].name) != 0 ||
			strcmp(a->list[i].value, b->list[i].value) != 0)
			return false;
	}
	return true;
}

void settings_copy(struct settings *to, const struct settings *from)
{
	for (size_t i = 0; i < from->count; i++)
		settings_add(to, from->list[i].name, from->list[i].value);
}

void settings_copy_named(struct settings *to, const struct settings *from, const char *name)
{
	for (size_t i = next_named(from, name, 0); i < from->count; i = next_named(from, name, i + 1))
		settings_add(to, name, from->list[i].value);
}

char *settings_to_text(const struct settings *settings)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		abort();
	for (size_t i = 0; i < settings->count; i++)
		fprintf(out, "%s=%s\n", settings->list[i].name, settings->list[i].value);
	fclose(out);
	return text;
}

int settings_from_text(struct settings *out, const char *text)
{
	*out = (struct settings){.count = 0};
	while (*text) {
		size_t length = strcspn(text, "\n"), name = strcspn(text, "=\n");
		char *line = mem_printf("%.*s", (int)length, text);

		if (text[length] != '\n' || name == length || name == 0) {
			free(line);
			settings_fini(out);
			return -EINVAL;
		}
		line[name] = '\0';
		settings_add(out, line, line + name + 1);
		free(line);
		text += length + 1;
	}
	return 0;
}

void settings_fini(struct settings *settings)
{
	for (size_t i = 0; i < settings->count; i++)
		setting_fini(&settings->list[i]);
	free(settings->list);
	*settings = (struct settings){.count = 0};
}
