/* Owns the reading of the command line, as kube-proxy reads its own: --flag=VALUE and --flag VALUE, -f VALUE,
 * -fVALUE and -f=VALUE, underscores for dashes. Runs in the first process, before any other exists. */
#include "proc/words.h"

#include <errno.h>
#include <string.h>

#include "proc/config_fields.h"
#include "proc/flags.h"
#include "proc/value.h"

struct reader {
	struct options *options;
	int argc, next; /* the word to be read next */
	char **argv;
	FILE *err;
};

static int refuse(const struct reader *reader, const char *word, const char *why)
{
	fprintf(reader->err, "portald: %s: %s\n", word, why);
	return -EINVAL;
}

/* Adds a flag whose value, if it came in the same word, is `value`. A switch takes it only so: the next word
 * is not its own. */
static int take_flag(struct reader *reader, const char *word, const struct flag *flag, const char *value)
{
	if (!value && flag->value) {
		if (reader->next == reader->argc)
			return refuse(reader, word, "unknown flag or missing value (try --help)");
		value = reader->argv[reader->next++];
	}
	settings_add(&reader->options->line, config_flag_name(flag->name), value ? value : "true");
	return 0;
}

static int take_long(struct reader *reader, const char *word)
{
	const char *name = word + 2, *equals = strchr(name, '=');
	size_t length = equals ? (size_t)(equals - name) : strlen(name);
	const struct flag *flag = flag_find(name, length);

	if (!flag)
		return refuse(reader, word, "unknown flag (try --help)");
	return take_flag(reader, word, flag, equals ? equals + 1 : NULL);
}

/* One letter or several, of which only the last may have a value. */
static int take_letters(struct reader *reader, const char *word)
{
	for (const char *at = word + 1; *at; at++) {
		const struct flag *flag = flag_find_letter(*at);
		int rc;

		if (!flag)
			return refuse(reader, word, "unknown flag (try --help)");
		if (at[1] == '=')
			return take_flag(reader, word, flag, at + 2);
		if (flag->value)
			return take_flag(reader, word, flag, at[1] ? at + 1 : NULL);
		rc = take_flag(reader, word, flag, NULL);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Reads flags up to a word that is none, or past the "--" that ends them. Returns 1 after a "--", else 0 or a
 * negative errno. */
static int take_flags(struct reader *reader)
{
	int rc = 0;

	while (rc == 0 && reader->next < reader->argc) {
		const char *word = reader->argv[reader->next];

		/* A dash alone is a word. */
		if (word[0] != '-' || word[1] == '\0')
			return 0;
		reader->next++;
		if (strcmp(word, "--") == 0)
			return 1;
		rc = word[1] == '-' ? take_long(reader, word) : take_letters(reader, word);
	}
	return rc;
}

static int take_command(struct reader *reader)
{
	static const char *const names[] = {
		"daemon", "run", "plan", "cleanup", "help", "version", "status", "explain", NULL};
	const char *word = reader->argv[reader->next++];
	int found = value_choice(word, names);

	if (found < 0)
		return refuse(reader, word,
			"unknown command (daemon, run, plan, cleanup, status, explain, help, version)");
	reader->options->command = reader->options->given_command = (enum options_command)found;
	return take_flags(reader);
}

int words_read(struct options *options, int argc, char **argv, FILE *err)
{
	struct reader reader = {.options = options, .argc = argc, .next = 1, .argv = argv, .err = err};
	int rc = take_flags(&reader);

	if (rc == 0 && reader.next < argc)
		rc = take_command(&reader);
	if (rc < 0)
		return rc;
	if (reader.next < argc && options->command == OPTIONS_EXPLAIN) {
		options->explain = argv[reader.next++];
		rc = take_flags(&reader);
		if (rc < 0)
			return rc;
	}
	if (reader.next < argc && options->command != OPTIONS_RUN)
		return refuse(&reader, argv[reader.next], "unexpected word (try --help)");
	if (reader.next < argc)
		options->run_command = argv + reader.next;
	return 0;
}
