/* The command line: what is accepted, what is refused and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proc/options.h"

#define MAX_WORDS 12

/* Parses words (NULL-terminated); what is printed goes to message. */
static int parse(struct options *options, char **message, const char *const *words)
{
	static char *argv[MAX_WORDS + 1];
	size_t bytes;
	FILE *err = open_memstream(message, &bytes);
	int argc = 0, rc;

	for (; words[argc]; argc++)
		argv[argc] = (char *)words[argc];
	argv[argc] = NULL;
	rc = options_parse(options, argc, argv, err);
	fclose(err);
	return rc;
}

#define WORDS(...) ((const char *const[]){"portald", ##__VA_ARGS__, NULL})

static void accepts(struct options *options, const char *const *words)
{
	char *message;

	assert_int_equal(parse(options, &message, words), 0);
	assert_string_equal(message, "");
	free(message);
}

static void refuses(const char *const *words, const char *why)
{
	struct options options;
	char *message;

	assert_int_equal(parse(&options, &message, words), -EINVAL);
	if (!strstr(message, why))
		fail_msg("\"%s\" does not say \"%s\"", message, why);
	free(message);
}

static void defaults_are_those_of_the_help_text(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("-f", "x.yaml"));
	assert_int_equal(options.command, OPTIONS_DAEMON);
	assert_int_equal(options.manifest_count, 1);
	assert_string_equal(options.manifests[0], "x.yaml");
	assert_int_equal(options.steering, OPTIONS_STEERING_IPTABLES);
	assert_true(addr_is_any(&options.bind_addr));
	assert_int_equal(options.source.service_cluster_ip_range.bits, 12);
	assert_int_equal(options.source.node_port_first, 30000);
	assert_int_equal(options.source.node_port_last, 32767);
	assert_int_equal(options.proxy_ports.first, 0);
	assert_true(options.relay_count >= 1);
	assert_false(options.strict);
	assert_false(options.keep_rules);
	options_fini(&options);
}

static void flags_come_before_and_after_the_command(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("--strict", "plan", "-f", "a", "--manifests=b", "-o", "json", "--rules"));
	assert_int_equal(options.command, OPTIONS_PLAN);
	assert_int_equal(options.manifest_count, 2);
	assert_int_equal(options.output, PLAN_JSON);
	assert_true(options.rules);
	assert_true(options.strict);
	options_fini(&options);
}

static void a_command_to_run_keeps_its_own_flags(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("run", "-f", "a", "--", "curl", "-v", "http://x"));
	assert_int_equal(options.command, OPTIONS_RUN);
	assert_string_equal(options.run_command[0], "curl");
	assert_string_equal(options.run_command[1], "-v");
	assert_string_equal(options.run_command[2], "http://x");
	options_fini(&options);
	accepts(&options, WORDS("run", "-f", "a", "ls", "-l"));
	assert_string_equal(options.run_command[0], "ls");
	assert_string_equal(options.run_command[1], "-l");
	options_fini(&options);
}

static void switches_take_true_and_false(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("-f", "a", "--keep-rules=true", "--strict=false", "--foreground"));
	assert_true(options.keep_rules);
	assert_false(options.strict);
	options_fini(&options);
	refuses(WORDS("-f", "a", "--strict=maybe"), "--strict=maybe: must be true or false");
	refuses(WORDS("-f", "a", "--foreground=false"), "always runs in the foreground");
}

static void port_ranges_are_read_as_kube_proxy_reads_them(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("-f", "a", "--proxy-port-range=36000-36100"));
	assert_int_equal(options.proxy_ports.first, 36000);
	assert_int_equal(options.proxy_ports.last, 36100);
	options_fini(&options);
	accepts(&options, WORDS("-f", "a", "--proxy-port-range=36000+9"));
	assert_int_equal(options.proxy_ports.last, 36009);
	options_fini(&options);
	accepts(&options, WORDS("-f", "a", "--proxy-port-range", "0-0"));
	assert_int_equal(options.proxy_ports.first, 0);
	options_fini(&options);
	refuses(WORDS("-f", "a", "--proxy-port-range=9-8"), "must be a port range");
	refuses(WORDS("-f", "a", "--proxy-port-range=1-70000"), "must be a port range");
	refuses(WORDS("-f", "a", "--proxy-port-range=-5"), "must be a port range");
	refuses(WORDS("-f", "a", "--service-node-port-range=0"), "must be a port range");
}

static void without_steering_the_bind_address_is_loopback(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("-f", "a", "--steering=none"));
	assert_true(addr_is_loopback(&options.bind_addr));
	options_fini(&options);
	accepts(&options, WORDS("-f", "a", "--steering=none", "--bind-address=10.0.0.1"));
	assert_false(addr_is_loopback(&options.bind_addr));
	options_fini(&options);
}

static void wrong_words_are_named(void **state)
{
	(void)state;
	refuses(WORDS("-f", "a", "--nonsense"), "--nonsense: unknown flag");
	refuses(WORDS("serve", "-f", "a"), "serve: unknown command");
	refuses(WORDS("plan", "-f", "a", "b"), "b: unexpected word");
	refuses(WORDS("--manifests"), "missing value");
	refuses(WORDS(), "no Services");
	refuses(WORDS("plan"), "no Services");
	refuses(WORDS("-f", "-", "-f", "-"), "standard input");
	refuses(WORDS("run", "-f", "-"), "standard input");
	refuses(WORDS("run", "-f", "a", "--steering=none"), "run needs rules");
	refuses(WORDS("-f", "a", "--bind-address=127.0.0.1"), "loopback");
	refuses(WORDS("-f", "a", "--bind-address=nowhere"), "must be an IP address");
	refuses(WORDS("-f", "a", "--service-cluster-ip-range=10.96.0.1/12"), "CIDR");
	refuses(WORDS("-f", "a", "--relays=0"), "must be a number from 1 to 64");
	refuses(WORDS("-f", "a", "--relays=65"), "must be a number from 1 to 64");
	refuses(WORDS("-f", "a", "--v=x"), "must be a number");
	refuses(WORDS("-f", "a", "--log-format=xml"), "must be text or json");
	refuses(WORDS("-f", "a", "--iptables-variant=new"), "must be auto, nft or legacy");
}

static void cleanup_is_a_command_and_a_flag(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("cleanup"));
	assert_int_equal(options.command, OPTIONS_CLEANUP);
	options_fini(&options);
	accepts(&options, WORDS("--cleanup"));
	assert_int_equal(options.command, OPTIONS_CLEANUP);
	options_fini(&options);
}

static void help_names_every_flag_that_is_parsed(void **state)
{
	static const char *const names[] = {"--manifests=PATH", "-f, ", "--cleanup", "--bind-address=ADDRESS",
		"--proxy-port-range=FIRST-LAST", "--log-format=FORMAT", "--v=LEVEL", "portald run"};
	char *text;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	(void)state;
	options_print_help(out);
	fclose(out);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(strstr(text, names[i]));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_help_text),
		cmocka_unit_test(flags_come_before_and_after_the_command),
		cmocka_unit_test(a_command_to_run_keeps_its_own_flags),
		cmocka_unit_test(switches_take_true_and_false),
		cmocka_unit_test(port_ranges_are_read_as_kube_proxy_reads_them),
		cmocka_unit_test(without_steering_the_bind_address_is_loopback),
		cmocka_unit_test(wrong_words_are_named),
		cmocka_unit_test(cleanup_is_a_command_and_a_flag),
		cmocka_unit_test(help_names_every_flag_that_is_parsed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
