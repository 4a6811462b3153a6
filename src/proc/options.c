/* Owns the command line: parsed by one table of flags, and checked as a whole. Runs in the first process,
 * before any other exists. */
#include "proc/options.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "portald/mem.h"
#include "proc/config_fields.h"
#include "proc/flags.h"
#include "proc/value.h"
#include "proc/words.h"

/* The defaults of the UDP timeouts: kube-proxy's between datagrams, which is too short for a first answer. */
/* As in kube-proxy. */
#define SYNC_PERIOD_MS 30000
#define MIN_SYNC_PERIOD_MS 1000
#define UDP_IDLE_MS 250
#define UDP_FIRST_MS 10000
/* As kube-proxy's: a node without its proxy is of little use, so the proxy is the last to be ended. */
#define OOM_SCORE_ADJ (-999)

/* Some megabytes of text: a scrape that a Prometheus takes every few seconds. */
#define MAX_SERIES 20000

static const struct flag_group *const groups[] = {
	&flags_source,
	&flags_service,
	&flags_steering,
	&flags_conntrack,
	&flags_admin,
	&flags_process,
	&flags_config,
	&flags_output,
	&flags_ignored,
	NULL,
};

const char *flag_switch(bool *out, const char *value)
{
	bool given;

	if (!value_switch(value, &given))
		return "must be true or false";
	*out = given;
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

const struct flag_group *flag_group_at(size_t place)
{
	return groups[place];
}

/* kube-proxy takes --proxy_mode for --proxy-mode. */
static bool name_is(const struct flag *flag, const char *name, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (flag->name[i] == '\0' || flag->name[i] != (name[i] == '_' ? '-' : name[i]))
			return false;
	}
	return flag->name[length] == '\0';
}

const struct flag *flag_find(const char *name, size_t length)
{
	for (size_t i = 0; groups[i]; i++) {
		for (const struct flag *flag = groups[i]->flags; flag->name; flag++) {
			if (name_is(flag, name, length))
				return flag;
		}
	}
	return NULL;
}

const struct flag *flag_find_letter(char letter)
{
	for (size_t i = 0; groups[i]; i++) {
		for (const struct flag *flag = groups[i]->flags; flag->name; flag++) {
			if (flag->letter == letter)
				return flag;
		}
	}
	return NULL;
}

/* ---- defaults ---- */

void options_init(struct options *options)
{
	struct utsname host;
	cpu_set_t cpus;
	int cpu_count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

	*options = (struct options){
		.command = OPTIONS_DAEMON,
		.bind_addr = addr_any(ADDR_V4),
		.health_port = -1,
		.metrics_port = -1,
		.max_series = MAX_SERIES,
		.status_socket = OPTIONS_STATUS_SOCKET,
		.relay_count = (uint32_t)(cpu_count < LISTEN_MAX_RELAYS ? cpu_count : LISTEN_MAX_RELAYS),
	};
	source_options_init(&options->source);
	service_options_init(&options->defaults);
	options->defaults.udp_idle_ms = UDP_IDLE_MS;
	options->sync_period_ms = SYNC_PERIOD_MS;
	options->min_sync_period_ms = MIN_SYNC_PERIOD_MS;
	options->defaults.udp_first_ms = UDP_FIRST_MS;
	options->oom_score_adj = OOM_SCORE_ADJ;
	conntrack_sysctls_init(&options->conntrack);
	options->node_name = mem_strdup(uname(&host) == 0 ? host.nodename : "localhost");
	/* As kubelet makes the Node's name of it. */
	for (char *at = options->node_name; *at; at++)
		*at = (char)tolower((unsigned char)*at);
}

void options_fini(struct options *options)
{
	free(options->manifests);
	free(options->node_name);
	settings_fini(&options->line);
	settings_fini(&options->file);
	settings_fini(&options->effective);
}

/* ---- one whole of settings ---- */

static int apply(struct options *options, const struct setting *setting, FILE *err)
{
	const struct flag *flag = flag_find(setting->name, strlen(setting->name));
	const struct config_field *field = config_field_of_flag(setting->name);
	const char *wrong = flag ? flag->set(options, setting->value) : "unknown flag";

	if (wrong) {
		fprintf(err, "portald: --%s=%s: %s\n", setting->name, setting->value, wrong);
		return -EINVAL;
	}
	if (!field || !(field->marks & CONFIG_REPEATED))
		settings_remove(&options->effective, setting->name);
	settings_add(&options->effective, setting->name, setting->value);
	return 0;
}

/* Whether a flag is in force beside a configuration file. As in kube-proxy, the file goes before all flags
 * that have a field in it, even where it leaves that out, but for a few. Of portald's own, it goes before
 * those that it has. */
static bool flag_stays(const struct settings *file, const char *name)
{
	const struct config_field *field = config_field_of_flag(name);

	if (!field || field->marks & CONFIG_LINE_WINS)
		return true;
	return !config_field_is_kube_proxys(field) && !settings_get(file, name);
}

static bool field_stays(const struct settings *line, const char *name)
{
	const struct config_field *field = config_field_of_flag(name);

	return !field || !(field->marks & CONFIG_LINE_WINS) || !settings_get(line, name);
}

/* Applies what was given: to options that are as options_init() left them. */
static int apply_all(struct options *options, FILE *err)
{
	const struct settings *line = &options->line, *file = &options->file;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < file->count; i++) {
		if (field_stays(line, file->list[i].name))
			rc = apply(options, &file->list[i], err);
	}
	for (size_t i = 0; rc == 0 && i < line->count; i++) {
		if (!options->configured || flag_stays(file, line->list[i].name))
			rc = apply(options, &line->list[i], err);
	}
	return rc;
}

struct kubeconfig_request options_kubeconfig_request(const struct options *options)
{
	struct kubeconfig_request request;

	kubeconfig_request_from_environment(&request);
	request.kubeconfig = options->kubeconfig;
	request.master = options->master;
	return request;
}

static bool is_given(const char *text)
{
	return text && *text;
}

/* True if something says where an API server is. */
static bool has_api_server(const struct options *options)
{
	struct kubeconfig_request request = options_kubeconfig_request(options);

	return is_given(request.kubeconfig) || is_given(request.list) || is_given(request.master) ||
	       is_given(request.service_host);
}

static const char *check_source(const struct options *options)
{
	if (options->manifest_count > 0 && (options->kubeconfig || options->master))
		return "Services come from manifests or from the API server: --manifests goes without "
		       "--kubeconfig and --master";
	if (options->manifest_count > 0)
		return NULL;
	if (options->command == OPTIONS_PLAN)
		return "plan needs manifests: give --manifests PATH (try --help)";
	if (!has_api_server(options))
		return "no Services: give --manifests PATH, or --kubeconfig PATH (try --help)";
	return NULL;
}

static const char *check_whole(struct options *options)
{
	size_t standard_inputs = 0;
	const char *wrong;

	for (size_t i = 0; i < options->manifest_count; i++)
		standard_inputs += strcmp(options->manifests[i], "-") == 0;
	if (standard_inputs > 1)
		return "standard input can be read only once";
	if (options->command >= OPTIONS_STATUS && options->output == PLAN_YAML)
		return "status and explain print a table or json";
	if (options->command == OPTIONS_EXPLAIN && !options->explain)
		return "what shall be explained? give [NAMESPACE/]NAME[:PORT]";
	if (options->command > OPTIONS_PLAN || options->write_config_to)
		return NULL;
	wrong = check_source(options);
	if (wrong)
		return wrong;
	if (options->command == OPTIONS_RUN && options->steering == OPTIONS_STEERING_NONE)
		return "run needs rules: --steering=none goes without run";
	if (options->command == OPTIONS_RUN && standard_inputs && !options->run_command)
		return "a shell needs standard input: give a COMMAND, or the manifests as files";
	if (options->steering != OPTIONS_STEERING_NONE && addr_is_loopback(&options->bind_addr))
		return "--bind-address must not be a loopback address: rules cannot lead there";
	if (options->steering == OPTIONS_STEERING_LOCAL && !addr_is_any(&options->bind_addr))
		return "--bind-address is for proxy ports, and --steering=local has none";
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

bool options_is_node(const struct options *options)
{
	return options->command == OPTIONS_DAEMON && options->steering != OPTIONS_STEERING_NONE;
}

size_t options_pod_ranges(const struct options *options)
{
	return options->pods_told_otherwise ? 0 : options->pod_range_count;
}

struct addr options_bind_addr(const struct options *options, enum addr_family family)
{
	if (addr_family(&options->bind_addr) == family)
		return options->bind_addr;
	return options->steering == OPTIONS_STEERING_NONE ? addr_loopback(family) : addr_any(family);
}

/* Checks options to which everything was applied. Frees them on an error. */
static int finish(struct options *options, int rc, bool whole, FILE *err)
{
	const char *wrong = rc == 0 && whole ? check_whole(options) : NULL;

	if (wrong) {
		fprintf(err, "portald: %s\n", wrong);
		rc = -EINVAL;
	}
	if (rc < 0)
		options_fini(options);
	return rc;
}

int options_parse(struct options *out, int argc, char **argv, FILE *err)
{
	int rc;

	options_init(out);
	rc = words_read(out, argc, argv, err);
	if (rc == 0)
		rc = apply_all(out, err);
	/* What is missing may be in the configuration file. */
	return finish(out, rc, !out->config_path, err);
}

int options_configure(struct options *out, const struct options *base, const struct settings *file, FILE *err)
{
	options_init(out);
	out->command = base->given_command;
	out->given_command = base->given_command;
	out->run_command = base->run_command;
	out->configured = true;
	settings_copy(&out->line, &base->line);
	settings_copy(&out->file, file);
	return finish(out, apply_all(out, err), true, err);
}
