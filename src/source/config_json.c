/* Writes a configuration as JSON. Runs in control, for /configz. */
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>

#include "portald/config_file.h"
#include "portald/mem.h"

static void put_text(yajl_gen gen, const char *text, size_t length)
{
	yajl_gen_string(gen, (const unsigned char *)text, length);
}

/* The parts between commas. */
static void put_list(yajl_gen gen, const char *text)
{
	yajl_gen_array_open(gen);
	while (*text) {
		size_t length = strcspn(text, ",");

		put_text(gen, text, length);
		text += length + (text[length] == ',');
	}
	yajl_gen_array_close(gen);
}

/* "a=true,b=false"; a name alone is true. */
static void put_bools(yajl_gen gen, const char *text)
{
	yajl_gen_map_open(gen);
	while (*text) {
		size_t length = strcspn(text, ","), name = strcspn(text, "=,");

		put_text(gen, text, name);
		yajl_gen_bool(gen, name == length || strncmp(text + name, "=true", length - name) == 0);
		text += length + (text[length] == ',');
	}
	yajl_gen_map_close(gen);
}

static void put_value(yajl_gen gen, const struct config_field *field, const char *text)
{
	switch (field->form) {
	case CONFIG_TEXTS:
		put_list(gen, text);
		return;
	case CONFIG_BOOLS:
		put_bools(gen, text);
		return;
	case CONFIG_BOOL:
		yajl_gen_bool(gen, strcmp(text, "true") == 0);
		return;
	case CONFIG_INT:
	case CONFIG_NUMBER:
		yajl_gen_number(gen, text, strlen(text));
		return;
	default:
		put_text(gen, text, strlen(text));
	}
}

static void put_items(yajl_gen gen, const struct config_field *field, config_get_fn *get, void *context)
{
	const char *text;

	yajl_gen_array_open(gen);
	for (size_t i = 0; (text = get(context, field, i)); i++)
		put_text(gen, text, strlen(text));
	yajl_gen_array_close(gen);
}

/* The section that a path is in: its length, 0 for none. */
static size_t section_of(const char *path)
{
	const char *dot = strchr(path, '.');

	return dot ? (size_t)(dot - path) : 0;
}

/* Closes the section that is open and opens that of the path. */
static void enter_section(yajl_gen gen, const char *open, const char *path)
{
	size_t before = open ? section_of(open) : 0, now = section_of(path);

	if (before == now && strncmp(open ? open : "", path, now) == 0)
		return;
	if (before > 0)
		yajl_gen_map_close(gen);
	if (now > 0) {
		put_text(gen, path, now);
		yajl_gen_map_open(gen);
	}
}

static void put_fields(yajl_gen gen, const struct config_kind *kind, config_get_fn *get, void *context)
{
	const char *open = NULL;

	for (const struct config_field *field = kind->fields; field->path; field++) {
		const char *text = get(context, field, 0), *name = strchr(field->path, '.');

		if (!text)
			continue;
		enter_section(gen, open, field->path);
		open = field->path;
		name = name ? name + 1 : field->path;
		put_text(gen, name, strlen(name));
		if (field->marks & CONFIG_REPEATED)
			put_items(gen, field, get, context);
		else
			put_value(gen, field, text);
	}
	if (open && section_of(open) > 0)
		yajl_gen_map_close(gen);
}

char *config_file_json(const char *name, const struct config_kind *kind, config_get_fn *get, void *context)
{
	yajl_gen gen = yajl_gen_alloc(NULL);
	const unsigned char *bytes;
	size_t length;
	char *text = NULL;

	if (!gen)
		return NULL;
	yajl_gen_map_open(gen);
	put_text(gen, name, strlen(name));
	yajl_gen_map_open(gen);
	put_fields(gen, kind, get, context);
	yajl_gen_map_close(gen);
	yajl_gen_map_close(gen);
	if (yajl_gen_get_buf(gen, &bytes, &length) == yajl_gen_status_ok)
		text = mem_strdup((const char *)bytes);
	yajl_gen_free(gen);
	return text;
}
