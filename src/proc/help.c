/* Owns the help text. Runs in the first process. */
#include <stdio.h>
#include <string.h>

#include "proc/flags.h"

/* Where the texts of flags begin and end. */
#define TEXT_COLUMN 36
#define END_COLUMN 100

/* Prints text from TEXT_COLUMN on, broken at blanks. The cursor is at column. */
static void print_text(FILE *out, size_t column, const char *text)
{
	if (column >= TEXT_COLUMN) {
		fputc('\n', out);
		column = 0;
	}
	fprintf(out, "%*s", (int)(TEXT_COLUMN - column), "");
	column = TEXT_COLUMN;
	while (*text) {
		size_t word = strcspn(text, " ");

		if (column > TEXT_COLUMN && column + 1 + word > END_COLUMN) {
			fprintf(out, "\n%*s", TEXT_COLUMN, "");
			column = TEXT_COLUMN;
		} else if (column > TEXT_COLUMN) {
			fputc(' ', out);
			column++;
		}
		fwrite(text, 1, word, out);
		column += word;
		text += word;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void print_flag(const struct flag *flag, FILE *out)
{
	int length = flag->letter ? fprintf(out, "  -%c, ", flag->letter) : fprintf(out, "      ");

	length +=
		fprintf(out, "--%s%s%s", flag->name, flag->value ? "=" : "", flag->value ? flag->value : "");
	print_text(out, (size_t)length + 1 < TEXT_COLUMN ? (size_t)length : TEXT_COLUMN, flag->help);
}

void options_print_help(FILE *out)
{
	fputs("portald: a userspace-mode service proxy for Kubernetes\n\n"
	      "  portald [FLAGS]                run as the node's service proxy: Services come from the API\n"
	      "                                 server or, with -f PATH, from manifests\n"
	      "  portald run [FLAGS] [-- COMMAND...]\n"
	      "                                 run COMMAND (a shell) where the Services can be reached,\n"
	      "                                 without root\n"
	      "  portald plan [FLAGS] -f PATH   print what would be opened\n"
	      "  portald cleanup                remove all of portald's rules\n"
	      "  portald status [FLAGS]         print what the running daemon has open\n"
	      "  portald explain [FLAGS] [NAMESPACE/]NAME[:PORT]\n"
	      "                                 print why a Service is reached as it is\n\n"
	      "Flags are --FLAG=VALUE or --FLAG VALUE; a switch alone is true. Durations are written as in\n"
	      "250ms, 1m30s or 2h. portald(8) has more on each, portald.yaml(5) on the configuration file.\n",
		out);
	for (size_t i = 0; flag_group_at(i); i++) {
		fprintf(out, "\n%s:\n", flag_group_at(i)->title);
		for (const struct flag *flag = flag_group_at(i)->flags; flag->name; flag++)
			print_flag(flag, out);
	}
}
