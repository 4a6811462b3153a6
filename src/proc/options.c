/* Owns the command line: parsed by one table of flags, and checked as a whole. Runs in the first process,
 * before any other exists. */
#include "proc/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "portald/mem.h"
#include "proc/flags.h"
#include "proc/value.h"

/* The defaults of the UDP timeouts: kube-proxy's between datagrams, which is too short for a first answer. */
/* As in kube-proxy. */
#define SYNC_PERIOD_MS 30000
#define MIN_SYNC_PERIOD_MS 1000
#define UDP_IDLE_MS 250
#define UDP_FIRST_MS 10000

/* getopt_long returns this plus the flag's place for long names. */
#define LONG_BASE 256
#define MAX_FLAGS 192

static const struct flag_group *const groups[] = {
	&flags_source,
	&flags_service,
	&flags_steering,
	&flags_process,
	&flags_output,
	NULL,
};

const char *flag_switch(bool *out, const char *value)
{
	if (!value || strcmp(value, "true") == 0)
		*out = true;
	else if (strcmp(value, "false") == 0)
		*out = false;
	else
		return "must be true or false";
	return NULL;
}

const char *flag_duration(uint32_t *out_ms, const char *value)
{
	uint32_t ms;

	if (!value_duration_ms(value, &ms) || ms == 0)
		return "must be a duration such as 250ms or 1m30s, up to 24h";
	*out_ms = ms;
	return NULL;
}

static void print_flag(const struct flag *flag, FILE *out)
{
	char text[64];

	snprintf(text, sizeof(text), "--%s%s%s", flag->name, flag->value ? "=" : "",
		flag->value ? flag->value : "");
	if (flag->letter)
		fprintf(out, "  -%c, ", flag->letter);
	else
		fputs("      ", out);
	fprintf(out, "%-34s %s\n", text, flag->help);
}

void options_print_help(FILE *out)
{
	fputs("portald: a userspace-mode service proxy for Kubernetes\n\n"
	      "  portald [FLAGS] -f PATH            run as the node's service proxy\n"
	      "  portald run [FLAGS] -f PATH [-- COMMAND...]\n"
	      "                                     run COMMAND (a shell) where the Services can be "
	      "reached,\n"
	      "                                     without root\n"
	      "  portald plan [FLAGS] -f PATH       print what would be opened\n"
	      "  portald cleanup                    remove all of portald's rules\n",
		out);
	for (size_t i = 0; groups[i]; i++) {
		fprintf(out, "\n%s:\n", groups[i]->title);
		for (const struct flag *flag = groups[i]->flags; flag->name; flag++)
			print_flag(flag, out);
	}
}

/* ---- parsing ---- */

static void options_init(struct options *options)
{
	struct utsname host;
	cpu_set_t cpus;
	int cpu_count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

	*options = (struct options){
		.command = OPTIONS_DAEMON,
		.bind_addr = addr_any(ADDR_V4),
		.relay_count = (uint32_t)(cpu_count < LISTEN_MAX_RELAYS ? cpu_count : LISTEN_MAX_RELAYS),
	};
	source_options_init(&options->source);
	service_options_init(&options->defaults);
	options->defaults.udp_idle_ms = UDP_IDLE_MS;
	options->sync_period_ms = SYNC_PERIOD_MS;
	options->min_sync_period_ms = MIN_SYNC_PERIOD_MS;
	options->defaults.udp_first_ms = UDP_FIRST_MS;
	options->node_name = mem_strdup(uname(&host) == 0 ? host.nodename : "localhost");
}

void options_fini(struct options *options)
{
	free(options->manifests);
	free(options->node_name);
}

/* What getopt_long wants to know, and which flag its numbers stand for. */
struct spelling {
	struct option longs[MAX_FLAGS + 1];
	char shorts[2 * MAX_FLAGS + 2];
	const struct flag *flags[MAX_FLAGS];
	size_t count;
};

static void spell(struct spelling *spelling, const struct flag *flag)
{
	size_t length = strlen(spelling->shorts);

	spelling->longs[spelling->count] = (struct option){
		.name = flag->name,
		.has_arg = flag->value ? required_argument : optional_argument,
		.val = LONG_BASE + (int)spelling->count,
	};
	spelling->flags[spelling->count++] = flag;
	if (flag->letter)
		snprintf(spelling->shorts + length, sizeof(spelling->shorts) - length, "%c%s", flag->letter,
			flag->value ? ":" : "");
}

static void spell_all(struct spelling *spelling)
{
	*spelling = (struct spelling){.count = 0};
	/* '+': flags end at the first word that is none, so COMMAND's own flags stay its own. */
	spelling->shorts[0] = '+';
	for (size_t i = 0; groups[i]; i++) {
		for (const struct flag *flag = groups[i]->flags; flag->name; flag++) {
			assert(spelling->count < MAX_FLAGS);
			spell(spelling, flag);
		}
	}
}

static const struct flag *find_flag(const struct spelling *spelling, int parsed)
{
	if (parsed >= LONG_BASE)
		return spelling->flags[parsed - LONG_BASE];
	for (size_t i = 0; i < spelling->count; i++) {
		if (spelling->flags[i]->letter == parsed)
			return spelling->flags[i];
	}
	return NULL;
}

static int parse_flags(struct options *options, int argc, char **argv, FILE *err)
{
	struct spelling spelling;
	int parsed;

	spell_all(&spelling);
	opterr = 0;
	optind = 0;
	while ((parsed = getopt_long(argc, argv, spelling.shorts, spelling.longs, NULL)) != -1) {
		const struct flag *flag = find_flag(&spelling, parsed);
		const char *wrong;

		if (!flag) {
			fprintf(err, "portald: %s: unknown flag or missing value (try --help)\n",
				argv[optind - 1]);
			return -EINVAL;
		}
		wrong = flag->set(options, optarg);
		if (wrong) {
			fprintf(err, "portald: --%s%s%s: %s\n", flag->name, optarg ? "=" : "",
				optarg ? optarg : "", wrong);
			return -EINVAL;
		}
	}
	return optind;
}

static const char *find_command(struct options *options, const char *word)
{
	static const char *const names[] = {"daemon", "run", "plan", "cleanup", "help", "version", NULL};
	int found = value_choice(word, names);

	if (found < 0)
		return "unknown command (daemon, run, plan, cleanup, help, version)";
	options->command = (enum options_command)found;
	return NULL;
}

static const char *check_whole(struct options *options)
{
	size_t standard_inputs = 0;

	for (size_t i = 0; i < options->manifest_count; i++)
		standard_inputs += strcmp(options->manifests[i], "-") == 0;
	if (standard_inputs > 1)
		return "standard input can be read only once";
	if (options->command > OPTIONS_PLAN)
		return NULL;
	if (options->manifest_count == 0)
		return "no Services: give --manifests PATH (try --help)";
	if (options->command == OPTIONS_RUN && options->steering == OPTIONS_STEERING_NONE)
		return "run needs rules: --steering=none goes without run";
	if (options->command == OPTIONS_RUN && standard_inputs && !options->run_command)
		return "a shell needs standard input: give a COMMAND, or the manifests as files";
	if (options->steering == OPTIONS_STEERING_IPTABLES && addr_is_loopback(&options->bind_addr))
		return "--bind-address must not be a loopback address: rules cannot lead there";
	if (options->steering == OPTIONS_STEERING_NONE && addr_is_any(&options->bind_addr))
		options->bind_addr = addr_loopback(ADDR_V4);
	return NULL;
}

struct plan_facts options_facts(const struct options *options)
{
	return (struct plan_facts){
		.node_name = options->node_name,
		.zone = options->zone,
		.defaults = options->defaults,
		.source_ranges_on_node_ports = options->source_ranges_on_node_ports,
	};
}

struct addr options_bind_addr(const struct options *options, enum addr_family family)
{
	if (addr_family(&options->bind_addr) == family)
		return options->bind_addr;
	return options->steering == OPTIONS_STEERING_NONE ? addr_loopback(family) : addr_any(family);
}

/* The words that are not flags: a command first, after it flags again, after `run` a COMMAND. */
static int parse_words(struct options *options, int argc, char **argv, FILE *err)
{
	const char *wrong = NULL;
	int next = parse_flags(options, argc, argv, err);

	if (next < 0)
		return next;
	if (next < argc && strcmp(argv[next - 1], "--") != 0) {
		wrong = find_command(options, argv[next]);
		if (wrong) {
			fprintf(err, "portald: %s: %s\n", argv[next], wrong);
			return -EINVAL;
		}
		argc -= next;
		argv += next;
		next = parse_flags(options, argc, argv, err);
		if (next < 0)
			return next;
	}
	if (next < argc && options->command != OPTIONS_RUN) {
		fprintf(err, "portald: %s: unexpected word (try --help)\n", argv[next]);
		return -EINVAL;
	}
	if (next < argc)
		options->run_command = argv + next;
	return 0;
}

int options_parse(struct options *out, int argc, char **argv, FILE *err)
{
	const char *wrong;
	int rc;

	options_init(out);
	rc = parse_words(out, argc, argv, err);
	if (rc == 0) {
		wrong = check_whole(out);
		if (wrong) {
			fprintf(err, "portald: %s\n", wrong);
			rc = -EINVAL;
		}
	}
	if (rc < 0)
		options_fini(out);
	return rc;
}
