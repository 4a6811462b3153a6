/* Writes configuration files. Runs in the first process, for `--write-config-to`. */
#include <stdlib.h>
#include <string.h>

#include "portald/config_file.h"
#include "portald/mem.h"
#include "source/doc.h"

#define INDENT "  "

static bool is_plain(const char *text)
{
	int64_t number;

	/* No character of these means anything to YAML where it stands, but ": " and " #", which need a
	 * blank. */
	return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:+-") ==
		       strlen(text) &&
	       *text && text[strlen(text) - 1] != ':' && !strchr("-:", *text) &&
	       doc_resolve_plain(text, &number) == DOC_STRING;
}

static void write_text(FILE *out, const char *text)
{
	if (is_plain(text)) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			fprintf(out, "\\x%02x", (unsigned char)*text);
		else
			fprintf(out, "%s%c", strchr("\"\\", *text) ? "\\" : "", *text);
	}
	fputc('"', out);
}

/* The parts of a text between commas, each in fresh memory; NULL after the last. */
static char *next_part(const char **text)
{
	size_t length = strcspn(*text, ",");
	char *part = **text ? mem_printf("%.*s", (int)length, *text) : NULL;

	*text += length + ((*text)[length] == ',');
	return part;
}

static void write_list(FILE *out, const char *text, const char *indent)
{
	char *part = next_part(&text);

	fputs(part ? "\n" : " []\n", out);
	for (; part; part = next_part(&text)) {
		fprintf(out, "%s- ", indent);
		write_text(out, part);
		fputc('\n', out);
		free(part);
	}
}

static void write_bools(FILE *out, const char *text, const char *indent)
{
	char *part = next_part(&text);

	fputs(part ? "\n" : " {}\n", out);
	for (; part; part = next_part(&text)) {
		size_t name = strcspn(part, "=");

		fprintf(out, "%s" INDENT "%.*s: %s\n", indent, (int)name, part,
			part[name] ? part + name + 1 : "true");
		free(part);
	}
}

static void write_value(FILE *out, const struct config_field *field, const char *text, const char *indent)
{
	switch (field->form) {
	case CONFIG_TEXTS:
		write_list(out, text, indent);
		return;
	case CONFIG_BOOLS:
		write_bools(out, text, indent);
		return;
	case CONFIG_INT:
	case CONFIG_NUMBER:
	case CONFIG_BOOL:
		fprintf(out, " %s\n", text);
		return;
	default:
		fputc(' ', out);
		write_text(out, text);
		fputc('\n', out);
	}
}

static void write_items(FILE *out, const struct config_field *field,
	const char *(*get)(void *context, const struct config_field *field, size_t index), void *context)
{
	const char *text;

	fputc('\n', out);
	for (size_t i = 0; (text = get(context, field, i)); i++) {
		fputs("- ", out);
		write_text(out, text);
		fputc('\n', out);
	}
}

/* Opens the section that a path is in, unless it is the one that is open. Returns the field's own name. */
static const char *enter_section(FILE *out, const char *path, char *section, size_t section_bytes)
{
	const char *dot = strchr(path, '.');

	if (!dot) {
		*section = '\0';
		return path;
	}
	if (strncmp(section, path, (size_t)(dot - path)) != 0 || section[dot - path] != '\0') {
		snprintf(section, section_bytes, "%.*s", (int)(dot - path), path);
		fprintf(out, "%s:\n", section);
	}
	return dot + 1;
}

void config_file_write(FILE *out, const struct config_kind *kind,
	const char *(*get)(void *context, const struct config_field *field, size_t index), void *context)
{
	char section[64] = "";

	fprintf(out, "apiVersion: %s\nkind: %s\n", kind->api_version, kind->kind);
	for (const struct config_field *field = kind->fields; field->path; field++) {
		const char *text = get(context, field, 0), *name;

		if (!text)
			continue;
		name = enter_section(out, field->path, section, sizeof(section));
		fprintf(out, "%s%s:", *section ? INDENT : "", name);
		if (field->marks & CONFIG_REPEATED)
			write_items(out, field, get, context);
		else
			write_value(out, field, text, *section ? INDENT : "");
	}
}
