/* Owns the command line: one table says each flag's name, value, default and help text, so that the parser
 * and --help cannot disagree. Runs in the first process, before any other exists. */
#include "proc/options.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "portald/mem.h"
#include "portald/stats.h"
#include "proc/value.h"

/* The defaults of the UDP timeouts: kube-proxy's between datagrams, which is too short for a first answer. */
#define UDP_IDLE_MS 250
#define UDP_FIRST_MS 10000

#define MAX_UDP_FLOWS 1048576

/* Sets one option. Returns NULL, or what is wrong with value. */
typedef const char *flag_set_fn(struct options *options, const char *value);

struct flag {
	const char *name;
	char letter;       /* 0: none */
	const char *value; /* the value's name in help; NULL for a switch */
	flag_set_fn *set;
	const char *help;
};

/* ---- setters ---- */

static const char *set_manifests(struct options *options, const char *value)
{
	const char **grown = reallocarray(options->manifests, options->manifest_count + 1, sizeof(char *));

	if (!grown)
		return "out of memory";
	options->manifests = grown;
	options->manifests[options->manifest_count++] = value;
	return NULL;
}

static const char *set_switch(bool *out, const char *value)
{
	if (!value || strcmp(value, "true") == 0)
		*out = true;
	else if (strcmp(value, "false") == 0)
		*out = false;
	else
		return "must be true or false";
	return NULL;
}

static const char *set_strict(struct options *options, const char *value)
{
	return set_switch(&options->strict, value);
}

static const char *set_keep_rules(struct options *options, const char *value)
{
	return set_switch(&options->keep_rules, value);
}

static const char *set_rules(struct options *options, const char *value)
{
	return set_switch(&options->rules, value);
}

static const char *set_foreground(struct options *options, const char *value)
{
	bool foreground = true;

	(void)options;
	if (set_switch(&foreground, value) || !foreground)
		return "portald always runs in the foreground";
	return NULL;
}

static const char *set_cleanup(struct options *options, const char *value)
{
	bool cleanup = false;
	const char *wrong = set_switch(&cleanup, value);

	if (cleanup)
		options->command = OPTIONS_CLEANUP;
	return wrong;
}

static const char *set_help(struct options *options, const char *value)
{
	(void)value;
	options->command = OPTIONS_HELP;
	return NULL;
}

static const char *set_version(struct options *options, const char *value)
{
	(void)value;
	options->command = OPTIONS_VERSION;
	return NULL;
}

static const char *set_cluster_ip_range(struct options *options, const char *value)
{
	if (source_options_set_ranges(&options->source, value) < 0)
		return "must be a CIDR block such as 10.96.0.0/12, or two of different families";
	return NULL;
}

/* One block of a list, of length bytes. */
static bool add_node_port_range(struct options *options, const char *text, size_t length)
{
	char block[ADDR_TEXT_BYTES];

	if (length >= sizeof(block) || options->node_port_range_count == OPTIONS_MAX_NODE_PORT_RANGES)
		return false;
	memcpy(block, text, length);
	block[length] = '\0';
	return addr_parse_prefix(&options->node_port_ranges[options->node_port_range_count++], block) == 0;
}

static const char *set_nodeport_addresses(struct options *options, const char *value)
{
	options->node_port_range_count = 0;
	options->node_port_primary = strcmp(value, "primary") == 0;
	while (!options->node_port_primary && *value) {
		size_t length = strcspn(value, ",");

		if (!add_node_port_range(options, value, length))
			return "must be \"primary\" or at most 32 CIDR blocks such as "
			       "192.0.2.0/24,2001:db8::/64";
		value += length + (value[length] == ',');
	}
	return NULL;
}

static const char *set_zone(struct options *options, const char *value)
{
	if (!*value)
		return "must not be empty";
	options->zone = value;
	return NULL;
}

static const char *set_scheduler(struct options *options, const char *value)
{
	if (scheduler_parse(&options->defaults.scheduler, value) < 0)
		return "must be rr, lc, dh, sh, sed or nq";
	return NULL;
}

static const char *set_source_ranges_on_nodeports(struct options *options, const char *value)
{
	return set_switch(&options->source_ranges_on_node_ports, value);
}

static const char *set_proxy_ports(struct options *options, const char *value)
{
	if (!value_port_range(value, &options->proxy_ports.first, &options->proxy_ports.last))
		return "must be a port range such as 36000-36999 (0: any free port)";
	return NULL;
}

static const char *set_node_ports(struct options *options, const char *value)
{
	uint16_t first, last;

	if (!value_port_range(value, &first, &last) || first == 0)
		return "must be a port range such as 30000-32767";
	options->source.node_port_first = first;
	options->source.node_port_last = last;
	return NULL;
}

static const char *set_bind_address(struct options *options, const char *value)
{
	if (addr_parse(&options->bind_addr, value) < 0)
		return "must be an IP address";
	if (addr_is_multicast(&options->bind_addr))
		return "must not be a multicast address";
	return NULL;
}

static const char *set_hostname(struct options *options, const char *value)
{
	if (!*value)
		return "must not be empty";
	free(options->node_name);
	options->node_name = mem_strdup(value);
	return NULL;
}

static const char *set_steering(struct options *options, const char *value)
{
	static const char *const names[] = {"iptables", "none", NULL};
	int found = value_choice(value, names);

	if (found < 0)
		return "must be iptables or none";
	options->steering = (enum options_steering)found;
	return NULL;
}

static const char *set_variant(struct options *options, const char *value)
{
	static const char *const names[] = {"auto", "nft", "legacy", NULL};
	int found = value_choice(value, names);

	if (found < 0)
		return "must be auto, nft or legacy";
	options->iptables_variant = (enum steering_tool)found;
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

static const char *set_relays(struct options *options, const char *value)
{
	unsigned long number;

	if (!value_number(value, LISTEN_MAX_RELAYS, &number) || number == 0)
		return "must be a number from 1 to 64";
	options->relay_count = (uint32_t)number;
	return NULL;
}

static const char *set_duration(uint32_t *out_ms, const char *value)
{
	uint32_t ms;

	if (!value_duration_ms(value, &ms) || ms == 0)
		return "must be a duration such as 250ms or 1m30s, up to 24h";
	*out_ms = ms;
	return NULL;
}

static const char *set_udp_timeout(struct options *options, const char *value)
{
	return set_duration(&options->defaults.udp_idle_ms, value);
}

static const char *set_udp_first_timeout(struct options *options, const char *value)
{
	return set_duration(&options->defaults.udp_first_ms, value);
}

static const char *set_udp_max_flows(struct options *options, const char *value)
{
	unsigned long number;

	if (!value_number(value, MAX_UDP_FLOWS, &number) || number == 0)
		return "must be a number from 1 to 1048576";
	options->udp_max_flows = (uint32_t)number;
	return NULL;
}

static const char *set_user(struct options *options, const char *value)
{
	if (!*value)
		return "must not be empty";
	options->user = value;
	return NULL;
}

/* ---- the table ---- */

/* An entry without a name opens a group in the help text. */
static const struct flag flags[] = {
	{.help = "Where Services come from"},
	{"manifests", 'f', "PATH", set_manifests,
		"YAML or JSON manifests: a file, a directory, or - for standard input (repeatable)"},
	{"strict", 0, NULL, set_strict, "a bad object in the manifests is fatal at start"},
	{"service-cluster-ip-range", 0, "CIDR[,CIDR]", set_cluster_ip_range,
		"where Services without a clusterIP get theirs (10.96.0.0/12,fd00:10:96::/112)"},
	{"service-node-port-range", 0, "FIRST-LAST", set_node_ports,
		"where NodePort Services get their nodePorts (30000-32767)"},
	{"hostname-override", 0, "NAME", set_hostname, "this node's name (the host's name)"},
	{"zone", 0, "NAME", set_zone, "this node's zone, for endpoints that are hinted to zones (unknown)"},
	{.help = "What Services leave open"},
	{"scheduler", 0, "NAME", set_scheduler,
		"who gets a connection: rr, lc, dh, sh, sed or nq, as in IPVS (rr)"},
	{"udp-timeout", 0, "TIME", set_udp_timeout,
		"how long a UDP client's flow waits between datagrams (250ms)"},
	{"udp-first-timeout", 0, "TIME", set_udp_first_timeout,
		"how long a UDP client's flow waits for its first answer (10s)"},
	{"udp-max-flows", 0, "N", set_udp_max_flows, "UDP clients that a relay serves at a time (8192)"},
	{"source-ranges-on-nodeports", 0, NULL, set_source_ranges_on_nodeports,
		"loadBalancerSourceRanges hold for nodePorts too"},
	{.help = "How traffic gets here"},
	{"steering", 0, "HOW", set_steering,
		"iptables: REDIRECT rules; none: listen on loopback only (iptables)"},
	{"iptables-variant", 0, "WHICH", set_variant,
		"auto, nft or legacy: auto takes what the host uses already (auto)"},
	{"bind-address", 0, "ADDRESS", set_bind_address,
		"the address that proxy ports of its family listen on (all; loopback with --steering=none)"},
	{"proxy-port-range", 0, "FIRST-LAST", set_proxy_ports,
		"the ports used as proxy ports (any free ones)"},
	{"nodeport-addresses", 0, "CIDRS", set_nodeport_addresses,
		"where nodePorts are: CIDR blocks of local addresses, or primary (all)"},
	{"keep-rules", 0, NULL, set_keep_rules, "leave the rules in force at exit"},
	{"cleanup", 0, NULL, set_cleanup, "the same as the command cleanup"},
	{.help = "Processes"},
	{"relays", 0, "N", set_relays, "the number of relay processes (one per CPU)"},
	{"user", 0, "NAME", set_user,
		"whom control and relays run as when started by root (portald, or else nobody)"},
	{"foreground", 0, NULL, set_foreground, "stay in the foreground; there is no other way (true)"},
	{.help = "Output"},
	{"log-format", 0, "FORMAT", set_log_format, "text (key=value) or json (text)"},
	{"v", 'v', "LEVEL", set_verbosity, "detail of the log, 0 to 5 (0)"},
	{"output", 'o', "FORMAT", set_output, "for plan: table, json or yaml (table)"},
	{"rules", 0, NULL, set_rules, "for plan: print the iptables-restore text"},
	{"help", 'h', NULL, set_help, "print this text"},
	{"version", 0, NULL, set_version, "print the version"},
};

#define FLAG_COUNT (sizeof(flags) / sizeof(flags[0]))
/* getopt_long returns this plus the flag's index for long names. */
#define LONG_BASE 256

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
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		const struct flag *flag = &flags[i];
		char text[64];

		if (!flag->name) {
			fprintf(out, "\n%s:\n", flag->help);
			continue;
		}
		snprintf(text, sizeof(text), "--%s%s%s", flag->name, flag->value ? "=" : "",
			flag->value ? flag->value : "");
		if (flag->letter)
			fprintf(out, "  -%c, ", flag->letter);
		else
			fputs("      ", out);
		fprintf(out, "%-34s %s\n", text, flag->help);
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
	options->defaults.udp_first_ms = UDP_FIRST_MS;
	options->node_name = mem_strdup(uname(&host) == 0 ? host.nodename : "localhost");
}

void options_fini(struct options *options)
{
	free(options->manifests);
	free(options->node_name);
}

static void fill_getopt(struct option *longs, char *shorts)
{
	/* '+': flags end at the first word that is none, so COMMAND's own flags stay its own. */
	*shorts++ = '+';
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if (!flags[i].name)
			continue;
		*longs++ = (struct option){
			.name = flags[i].name,
			.has_arg = flags[i].value ? required_argument : optional_argument,
			.val = LONG_BASE + (int)i,
		};
		if (flags[i].letter) {
			*shorts++ = flags[i].letter;
			if (flags[i].value)
				*shorts++ = ':';
		}
	}
	*longs = (struct option){0};
	*shorts = '\0';
}

static const struct flag *find_flag(int parsed)
{
	if (parsed >= LONG_BASE)
		return &flags[parsed - LONG_BASE];
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if (flags[i].name && flags[i].letter == parsed)
			return &flags[i];
	}
	return NULL;
}

static int parse_flags(struct options *options, int argc, char **argv, FILE *err)
{
	struct option longs[FLAG_COUNT + 1];
	char shorts[2 * FLAG_COUNT + 2];
	int parsed;

	fill_getopt(longs, shorts);
	opterr = 0;
	optind = 0;
	while ((parsed = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct flag *flag = find_flag(parsed);
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
