/* The configuration file: what is read, what is said about mistakes, and what goes before what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proc/config_fields.h"
#include "proc/config_load.h"
#include "proc/flags.h"

#define KUBE_PROXY "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
#define PORTALD "apiVersion: portald.io/v1alpha1\nkind: PortaldConfiguration\n"

/* What config_parse() found last, a line each. */
static char found[4096];

static void note(enum source_severity severity, const char *line)
{
	(void)severity;
	strncat(found, line, sizeof(found) - strlen(found) - 1);
	strncat(found, "\n", sizeof(found) - strlen(found) - 1);
}

static size_t parse(struct settings *settings, const char *bytes)
{
	struct source_text text = {.name = "c", .bytes = bytes, .byte_count = strlen(bytes)};

	found[0] = '\0';
	return config_parse(settings, &text, note);
}

static void expect_found(const char *message)
{
	if (!strstr(found, message))
		fail_msg("\"%s\" was not found, but: %s", message, found);
}

static void reads(struct settings *settings, const char *bytes)
{
	assert_int_equal(parse(settings, bytes), 0);
	assert_string_equal(found, "");
}

static void refuses(const char *bytes, const char *message)
{
	struct settings settings;

	assert_true(parse(&settings, bytes) > 0);
	expect_found(message);
	settings_fini(&settings);
}

static void expect(const struct settings *settings, const char *name, const char *value)
{
	const char *is = settings_get(settings, name);

	if (!is || strcmp(is, value) != 0)
		fail_msg("%s is %s, not %s", name, is ? is : "not set", value);
}

/* Options of a command line (words, NULL-terminated) and a file. */
static int configure(struct options *out, const char *const *words, const char *bytes, FILE *err)
{
	struct settings settings;
	struct options line;
	int argc = 0, rc;

	while (words[argc])
		argc++;
	assert_int_equal(options_parse(&line, argc, (char **)words, stderr), 0);
	reads(&settings, bytes);
	rc = options_configure(out, &line, &settings, err);
	settings_fini(&settings);
	options_fini(&line);
	return rc;
}

#define WORDS(...) ((const char *const[]){"portald", "--config=c", ##__VA_ARGS__, NULL})

/* ---- reading ---- */

static void fields_become_the_values_of_flags(void **state)
{
	struct settings settings;

	(void)state;
	reads(&settings, KUBE_PROXY "conntrack: {maxPerCore: 0, tcpCloseWaitTimeout: 2m}\n"
				    "clientConnection: {qps: 2.5}\n"
				    "nodePortAddresses: [10.0.0.0/8, \"fd00::/8\"]\n"
				    "iptables: {localhostNodePorts: off}\n"
				    "featureGates: {B: true, A: false}\n"
				    "logging: {flushFrequency: 5000000000}\n"
				    "---\n" PORTALD "manifests: [a, b]\n");
	expect(&settings, "conntrack-max-per-core", "0");
	expect(&settings, "conntrack-tcp-timeout-close-wait", "2m");
	expect(&settings, "kube-api-qps", "2.5");
	expect(&settings, "nodeport-addresses", "10.0.0.0/8,fd00::/8");
	expect(&settings, "iptables-localhost-nodeports", "false");
	expect(&settings, "feature-gates", "B=true,A=false");
	expect(&settings, "log-flush-frequency", "5000000000ns");
	expect(&settings, "manifests", "b");
	assert_int_equal(settings.count, 9);
	settings_fini(&settings);
}

static void json_is_read_too(void **state)
{
	struct settings settings;

	(void)state;
	reads(&settings, "{\"apiVersion\": \"portald.io/v1alpha1\", \"kind\": \"PortaldConfiguration\", "
			 "\"scheduler\": \"nq\"}");
	expect(&settings, "scheduler", "nq");
	settings_fini(&settings);
}

/* What kubeadm writes is full of these. */
static void null_and_empty_stand_for_the_default(void **state)
{
	struct settings settings;

	(void)state;
	reads(&settings, KUBE_PROXY
		"mode: \"\"\nportRange: \"\"\nhostnameOverride: \"\"\nnodePortAddresses: null\n"
		"conntrack: {maxPerCore: null}\niptables: {syncPeriod: 0s, masqueradeBit: null}\n"
		"udpIdleTimeout: 0s\nconfigSyncPeriod: 0s\nipvs:\nwinkernel: {enableDSR: false}\n");
	assert_int_equal(settings.count, 0);
	settings_fini(&settings);
}

/* ---- mistakes ---- */

static void unknown_and_doubled_fields_are_warnings_with_a_place(void **state)
{
	struct settings settings;

	(void)state;
	assert_int_equal(
		parse(&settings, KUBE_PROXY "conntrack:\n  minn: 4\n  min: 5\n  min: 6\nzzz: 1\n"), 0);
	expect_found("c:4:3: warning: KubeProxyConfiguration: conntrack.minn: unknown field \"minn\", "
		     "did you mean \"min\"?");
	expect_found("c:6:3: warning: KubeProxyConfiguration: conntrack.min: duplicate field");
	expect_found("c:7:1: warning: KubeProxyConfiguration: zzz: unknown field \"zzz\"\n");
	expect(&settings, "conntrack-min", "6");
	settings_fini(&settings);
}

static void wrong_forms_are_errors_with_a_place(void **state)
{
	(void)state;
	refuses(KUBE_PROXY "conntrack:\n  min: many\n",
		"c:4:8: error: KubeProxyConfiguration: conntrack.min: must be an integer, not the string "
		"\"many\"");
	refuses(KUBE_PROXY "conntrack: 3\n", "conntrack: must be an object, not 3");
	refuses(KUBE_PROXY "conntrack: {min: 1.5}\n", "conntrack.min: must be an integer, not 1.5");
	refuses(KUBE_PROXY "bindAddressHardFail: maybe\n", "must be true or false, not the string");
	refuses(KUBE_PROXY "bindAddress: 1\n", "must be a string, not 1");
	refuses(KUBE_PROXY "udpIdleTimeout: 5\n", "must be a duration");
	refuses(KUBE_PROXY "nodePortAddresses: 10.0.0.0/8\n", "must be a list of strings");
	refuses(KUBE_PROXY "nodePortAddresses: [1]\n", "nodePortAddresses[0]: must be a string, not 1");
	refuses(KUBE_PROXY "featureGates: {A: 1}\n", "must be true or false, not 1");
	refuses(KUBE_PROXY "bindAddress: [\n", "error: ");
}

static void values_that_flags_refuse_are_errors_with_a_place(void **state)
{
	(void)state;
	refuses(KUBE_PROXY "mode: ipvs\n",
		"c:3:7: error: KubeProxyConfiguration: mode: \"ipvs\": portald has the mode userspace only");
	refuses(KUBE_PROXY "nodePortAddresses: [10.0.0.1/8]\n", "CIDR");
	refuses(KUBE_PROXY "oomScoreAdj: 2000\n", "\"2000\": must be a number from -1000 to 1000");
	refuses(PORTALD "scheduler: best\n", "scheduler: \"best\": must be rr, lc");
	refuses(PORTALD "zone: \"a\\nuser=root\"\n", "must be one line");
}

static void documents_are_of_the_known_kinds_once_each(void **state)
{
	(void)state;
	refuses("", "the file holds no configuration");
	refuses("kind: Other\n", "kind must be KubeProxyConfiguration or PortaldConfiguration, not Other");
	refuses("a: 1\n", "not left out");
	refuses("kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1\n",
		"apiVersion of a KubeProxyConfiguration must be kubeproxy.config.k8s.io/v1alpha1");
	refuses(PORTALD "---\n" PORTALD, "c:4:1: error: a second PortaldConfiguration");
}

/* ---- what goes before what ---- */

static void the_file_goes_before_kube_proxys_flags_even_where_it_is_silent(void **state)
{
	struct options options;

	(void)state;
	assert_int_equal(configure(&options, WORDS("-f", "a", "--udp-timeout=9s", "--conntrack-min=9"),
				 KUBE_PROXY "conntrack: {min: 4}\n", stderr),
		0);
	assert_int_equal(options.conntrack.min, 4);
	assert_int_equal(options.defaults.udp_idle_ms, 250);
	options_fini(&options);
}

static void the_flags_of_log_and_hostname_go_before_the_file(void **state)
{
	struct options options;

	(void)state;
	assert_int_equal(
		configure(&options,
			WORDS("-f", "a", "--hostname-override=flag", "-v3", "--logging-format=json"),
			KUBE_PROXY "hostnameOverride: file\nlogging: {verbosity: 1, format: text}\n", stderr),
		0);
	assert_string_equal(options.node_name, "flag");
	assert_int_equal(options.verbosity, 3);
	assert_int_equal(options.log_format, LOG_JSON);
	options_fini(&options);
}

static void portalds_flags_hold_where_the_file_is_silent(void **state)
{
	struct options options;

	(void)state;
	assert_int_equal(configure(&options, WORDS("-f", "flag", "--scheduler=lc", "--zone=flag"),
				 PORTALD "zone: file\nmanifests: [one, two]\n", stderr),
		0);
	assert_int_equal(options.defaults.scheduler, SCHEDULER_LC);
	assert_string_equal(options.zone, "file");
	assert_int_equal(options.manifest_count, 2);
	assert_string_equal(options.manifests[0], "one");
	options_fini(&options);
}

static void the_whole_is_checked_with_the_file(void **state)
{
	struct options options;
	char *message;
	size_t bytes;
	FILE *err = open_memstream(&message, &bytes);

	(void)state;
	assert_int_equal(
		configure(&options, WORDS("run", "-f", "a"), PORTALD "steering: none\n", err), -EINVAL);
	fclose(err);
	assert_non_null(strstr(message, "run needs rules"));
	free(message);
}

/* ---- writing ---- */

static char *print(const struct options *options)
{
	char *text;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	config_print(options, out);
	fclose(out);
	return text;
}

static void what_is_written_reads_back_the_same(void **state)
{
	struct options options, again;
	char *text, *second;

	(void)state;
	assert_int_equal(
		configure(&options, WORDS("-f", "a b", "-f", "c: #d", "--zone=\"quoted\\", "--user=1"),
			KUBE_PROXY "nodePortAddresses: [10.0.0.0/8]\nfeatureGates: {A: true}\n"
				   "conntrack: {tcpBeLiberal: true}\nhostnameOverride: \"off\"\n",
			stderr),
		0);
	text = print(&options);
	assert_int_equal(configure(&again, WORDS(), text, stderr), 0);
	second = print(&again);
	assert_string_equal(text, second);
	assert_int_equal(again.manifest_count, 2);
	assert_string_equal(again.manifests[0], "a b");
	assert_string_equal(again.manifests[1], "c: #d");
	assert_string_equal(again.zone, "\"quoted\\");
	assert_string_equal(again.node_name, "off");
	assert_string_equal(again.user, "1");
	assert_true(again.conntrack.tcp_be_liberal);
	free(text);
	free(second);
	options_fini(&options);
	options_fini(&again);
}

/* ---- the tables ---- */

static bool listed(const char *const *names, const char *name)
{
	for (; *names; names++) {
		if (strcmp(*names, name) == 0)
			return true;
	}
	return false;
}

static void every_flag_that_has_effect_has_a_field(void **state)
{
	(void)state;
	for (size_t i = 0; flag_group_at(i); i++) {
		for (const struct flag *flag = flag_group_at(i)->flags; flag->name; flag++) {
			const char *name = config_flag_name(flag->name);

			if (flag_group_at(i) != &flags_ignored && !config_field_of_flag(name) &&
				!listed(config_line_only, name))
				fail_msg("--%s has no row in src/proc/config_fields.c", name);
		}
	}
}

static void every_default_in_the_table_is_one_that_its_flag_takes(void **state)
{
	struct options options;

	(void)state;
	options_init(&options);
	for (const struct config_kind *kind = config_kinds; kind->kind; kind++) {
		for (const struct config_field *field = kind->fields; field->path; field++) {
			const struct flag *flag =
				field->flag ? flag_find(field->flag, strlen(field->flag)) : NULL;

			if (field->flag && !flag)
				fail_msg("%s stands for --%s, which is no flag", field->path, field->flag);
			if (flag && field->standard && *field->standard)
				assert_null(flag->set(&options, field->standard));
		}
	}
	/* Some that are easily written wrongly. */
	assert_int_equal(options.defaults.udp_idle_ms, 250);
	assert_int_equal(options.defaults.udp_first_ms, 10000);
	assert_int_equal(options.conntrack.min, 131072);
	assert_int_equal(options.source.service_cluster_ip_range.bits, 12);
	options_fini(&options);
}

static void settings_travel_as_text(void **state)
{
	struct settings settings = {.count = 0}, again;
	char *text;

	(void)state;
	settings_add(&settings, "manifests", "a=b");
	settings_add(&settings, "manifests", "");
	text = settings_to_text(&settings);
	assert_int_equal(settings_from_text(&again, text), 0);
	assert_true(settings_equal(&settings, &again));
	assert_true(settings_agree(&settings, &again, "manifests"));
	settings_fini(&again);
	free(text);
	settings_fini(&settings);
	assert_int_equal(settings_from_text(&again, "a=b"), -EINVAL);
	assert_int_equal(settings_from_text(&again, "a\n"), -EINVAL);
	assert_int_equal(settings_from_text(&again, "=a\n"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_become_the_values_of_flags),
		cmocka_unit_test(json_is_read_too),
		cmocka_unit_test(null_and_empty_stand_for_the_default),
		cmocka_unit_test(unknown_and_doubled_fields_are_warnings_with_a_place),
		cmocka_unit_test(wrong_forms_are_errors_with_a_place),
		cmocka_unit_test(values_that_flags_refuse_are_errors_with_a_place),
		cmocka_unit_test(documents_are_of_the_known_kinds_once_each),
		cmocka_unit_test(the_file_goes_before_kube_proxys_flags_even_where_it_is_silent),
		cmocka_unit_test(the_flags_of_log_and_hostname_go_before_the_file),
		cmocka_unit_test(portalds_flags_hold_where_the_file_is_silent),
		cmocka_unit_test(the_whole_is_checked_with_the_file),
		cmocka_unit_test(what_is_written_reads_back_the_same),
		cmocka_unit_test(every_flag_that_has_effect_has_a_field),
		cmocka_unit_test(every_default_in_the_table_is_one_that_its_flag_takes),
		cmocka_unit_test(settings_travel_as_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
