/* Owns the flags about processes and output. Runs in the first process, before any other exists. */
#include "proc/flags.h"

#include <string.h>

#include "proc/value.h"

static const char *set_relays(struct options *options, const char *value)
{
	unsigned long number;

	if (!value_number(value, LISTEN_MAX_RELAYS, &number) || number == 0)
		return "must be a number from 1 to 64";
	options->relay_count = (uint32_t)number;
	return NULL;
}

static const char *set_upgrade_drain(struct options *options, const char *value)
{
	return flag_duration(&options->upgrade_drain_ms, value);
}

static const char *set_user(struct options *options, const char *value)
{
	if (!*value)
		return "must not be empty";
	options->user = value;
	return NULL;
}

static const char *set_foreground(struct options *options, const char *value)
{
	bool foreground = true;

	(void)options;
	if (flag_switch(&foreground, value) || !foreground)
		return "portald always runs in the foreground";
	return NULL;
}

static const char *set_log_format(struct options *options, const char *value)
{
	static const char *const names[] = {"text", "json", NULL};
	int found = value_choice(value, names);

	if (found < 0)
		return "must be text or json";
	options->log_format = (enum log_format)found;
	return NULL;
}

static const char *set_verbosity(struct options *options, const char *value)
{
	unsigned long number;

	if (!value_number(value, 100, &number))
		return "must be a number";
	options->verbosity = (int)number;
	return NULL;
}

static const char *set_output(struct options *options, const char *value)
{
	static const char *const names[] = {"table", "json", "yaml", NULL};
	int found = value_choice(value, names);

	if (found < 0)
		return "must be table, json or yaml";
	options->output = (enum plan_output)found;
	return NULL;
}

static const char *set_rules(struct options *options, const char *value)
{
	return flag_switch(&options->rules, value);
}

static const char *set_help(struct options *options, const char *value)
{
	bool help = false;
	const char *wrong = flag_switch(&help, value);

	if (help)
		options->command = OPTIONS_HELP;
	return wrong;
}

static const char *set_version(struct options *options, const char *value)
{
	bool version = false;
	const char *wrong = flag_switch(&version, value);

	options->raw_version = strcmp(value, "raw") == 0;
	if (options->raw_version)
		wrong = NULL;
	if (version || options->raw_version)
		options->command = OPTIONS_VERSION;
	return wrong ? "must be true, false or raw" : NULL;
}

static const struct flag process_flags[] = {
	{"relays", 0, "N", set_relays, "the number of relay processes (one per CPU)"},
	{"upgrade-drain", 0, "DURATION", set_upgrade_drain,
		"after an upgrade, reset connections of before that are open for longer (never)"},
	{"user", 0, "NAME", set_user,
		"whom control and relays run as when started by root (portald, or else nobody)"},
	{"foreground", 0, NULL, set_foreground, "stay in the foreground; there is no other way (true)"},
	{.name = NULL},
};

static const struct flag output_flags[] = {
	{"log-format", 0, "FORMAT", set_log_format, "text (key=value) or json (text)"},
	{"logging-format", 0, "FORMAT", set_log_format, "the same as --log-format"},
	{"v", 'v', "LEVEL", set_verbosity, "detail of the log, 0 to 5 (0)"},
	{"output", 'o', "FORMAT", set_output, "for plan: table, json or yaml (table)"},
	{"rules", 0, NULL, set_rules, "for plan: print the iptables-restore text"},
	{"help", 'h', NULL, set_help, "print this text"},
	{"version", 0, NULL, set_version, "print the version; with =raw, in JSON"},
	{.name = NULL},
};

const struct flag_group flags_process = {"Processes", process_flags};
const struct flag_group flags_output = {"Output", output_flags};
