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

static void durations_are_read_as_go_writes_them(void **state)
{
	static const struct {
		const char *text;
		uint32_t ms;
	} right[] = {{"250ms", 250}, {"1m30s", 90000}, {"1.5s", 1500}, {"24h", 86400000}, {"1us", 1},
		{"0.5m", 30000}};
	static const char *const wrong[] = {"", "0", "0s", "250", "-1s", "+1s", "1e3s", "0x1s", "s", ".s",
		"1 s", "25h", "1sec", "infs", "1s2"};
	struct options options;

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		accepts(&options, WORDS("-f", "a", "--udp-timeout", right[i].text));
		assert_int_equal(options.defaults.udp_idle_ms, right[i].ms);
		options_fini(&options);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refuses(WORDS("-f", "a", "--udp-timeout", wrong[i]), "must be a duration");
}

static void the_plan_is_told_what_services_leave_open(void **state)
{
	struct options options;
	struct plan_facts facts;

	(void)state;
	accepts(&options, WORDS("-f", "a"));
	facts = options_facts(&options);
	assert_null(facts.zone);
	assert_int_equal(facts.defaults.scheduler, SCHEDULER_RR);
	assert_int_equal(facts.defaults.udp_idle_ms, 250);
	assert_int_equal(facts.defaults.udp_first_ms, 10000);
	assert_false(facts.source_ranges_on_node_ports);
	options_fini(&options);
	accepts(&options,
		WORDS("-f", "a", "--zone=west", "--scheduler=lc", "--udp-first-timeout=1s",
			"--udp-max-flows=7", "--source-ranges-on-nodeports", "--hostname-override=N1"));
	facts = options_facts(&options);
	assert_string_equal(facts.zone, "west");
	assert_string_equal(facts.node_name, "n1");
	assert_int_equal(facts.defaults.scheduler, SCHEDULER_LC);
	assert_int_equal(facts.defaults.udp_first_ms, 1000);
	assert_true(facts.source_ranges_on_node_ports);
	assert_int_equal(options.udp_max_flows, 7);
	options_fini(&options);
}

static void nodeport_addresses_are_blocks_or_primary(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("-f", "a", "--nodeport-addresses=10.0.0.0/8,2001:db8::/64"));
	assert_int_equal(options.node_port_range_count, 2);
	assert_int_equal(options.node_port_ranges[0].bits, 8);
	assert_int_equal(addr_family(&options.node_port_ranges[1].addr), ADDR_V6);
	assert_false(options.node_port_primary);
	options_fini(&options);
	accepts(&options, WORDS("-f", "a", "--nodeport-addresses=primary"));
	assert_int_equal(options.node_port_range_count, 0);
	assert_true(options.node_port_primary);
	options_fini(&options);
	accepts(&options, WORDS("-f", "a", "--nodeport-addresses="));
	assert_int_equal(options.node_port_range_count, 0);
	options_fini(&options);
	refuses(WORDS("-f", "a", "--nodeport-addresses=10.0.0.1/8"), "CIDR");
	refuses(WORDS("-f", "a", "--nodeport-addresses=10.0.0.1"), "CIDR");
	refuses(WORDS("-f", "a", "--nodeport-addresses=10.0.0.0/8,,"), "CIDR");
	refuses(WORDS("-f", "a", "--nodeport-addresses=secondary"), "CIDR");
}

static void each_family_binds_an_address_of_its_own(void **state)
{
	struct options options;
	struct addr v4, v6;

	(void)state;
	accepts(&options, WORDS("-f", "a", "--bind-address=2001:db8::1"));
	v4 = options_bind_addr(&options, ADDR_V4);
	v6 = options_bind_addr(&options, ADDR_V6);
	assert_true(addr_is_any(&v4));
	assert_true(addr_equal(&v6, &options.bind_addr));
	options_fini(&options);
	accepts(&options, WORDS("-f", "a", "--steering=none"));
	v4 = options_bind_addr(&options, ADDR_V4);
	v6 = options_bind_addr(&options, ADDR_V6);
	assert_true(addr_is_loopback(&v4));
	assert_true(addr_is_loopback(&v6));
	assert_int_equal(addr_family(&v6), ADDR_V6);
	options_fini(&options);
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
	refuses(WORDS("plan"), "plan needs manifests");
	refuses(WORDS("plan", "--kubeconfig=k"), "plan needs manifests");
	refuses(WORDS("-f", "a", "--kubeconfig=k"), "goes without --kubeconfig");
	refuses(WORDS("-f", "a", "--master=http://127.0.0.1:1"), "goes without --kubeconfig");
	refuses(WORDS("-f", "-", "-f", "-"), "standard input");
	refuses(WORDS("run", "-f", "-"), "standard input");
	refuses(WORDS("run", "-f", "a", "--steering=none"), "run needs rules");
	refuses(WORDS("-f", "a", "--bind-address=127.0.0.1"), "loopback");
	refuses(WORDS("-f", "a", "--bind-address=nowhere"), "must be an IP address");
	refuses(WORDS("-f", "a", "--service-cluster-ip-range=10.96.0.1/12"), "CIDR");
	refuses(WORDS("-f", "a", "--service-cluster-ip-range=10.96.0.0/12,10.0.0.0/12"), "CIDR");
	refuses(WORDS("-f", "a", "--scheduler=wlcx"), "must be rr");
	refuses(WORDS("-f", "a", "--zone="), "must not be empty");
	refuses(WORDS("-f", "a", "--udp-max-flows=0"), "must be a number");
	refuses(WORDS("-f", "a", "--relays=0"), "must be a number from 1 to 64");
	refuses(WORDS("-f", "a", "--relays=65"), "must be a number from 1 to 64");
	refuses(WORDS("-f", "a", "--v=x"), "must be a number");
	refuses(WORDS("-f", "a", "--log-format=xml"), "must be text or json");
	refuses(WORDS("-f", "a", "--iptables-variant=new"), "must be auto, nft or legacy");
}

static void flags_are_written_as_kube_proxys_are(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("-f=a", "--proxy_mode=userspace", "-v=4", "--udp_timeout", "1s"));
	assert_int_equal(options.verbosity, 4);
	assert_int_equal(options.defaults.udp_idle_ms, 1000);
	assert_string_equal(options.manifests[0], "a");
	options_fini(&options);
	accepts(&options, WORDS("-fa", "-v4", "--logging-format=json"));
	assert_int_equal(options.verbosity, 4);
	assert_int_equal(options.log_format, LOG_JSON);
	options_fini(&options);
	accepts(&options, WORDS("--version=raw"));
	assert_int_equal(options.command, OPTIONS_VERSION);
	options_fini(&options);
	accepts(&options, WORDS("-f", "a", "--version=false"));
	assert_int_equal(options.command, OPTIONS_DAEMON);
	options_fini(&options);
	refuses(WORDS("-f", "a", "-x"), "-x: unknown flag");
	refuses(WORDS("-f", "a", "--man=b"), "--man=b: unknown flag");
	refuses(WORDS("-f", "a", "--udp-timeout"), "--udp-timeout: unknown flag or missing value");
}

static void modes_other_than_userspace_are_refused_with_the_reason(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("-f", "a", "--proxy-mode="));
	options_fini(&options);
	refuses(WORDS("-f", "a", "--proxy-mode=ipvs"), "in this one the kernel forwards");
	refuses(WORDS("-f", "a", "--proxy-mode=nftables"), "in this one the kernel forwards");
	refuses(WORDS("-f", "a", "--proxy-mode=other"), "must be userspace");
}

static void pods_are_one_range_of_each_family(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("-f", "a", "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56"));
	assert_int_equal(options.pod_range_count, 2);
	assert_int_equal(options.pods[0].bits, 16);
	assert_int_equal(addr_family(&options.pods[1].addr), ADDR_V6);
	assert_false(options.pods_told_otherwise);
	options_fini(&options);
	accepts(&options, WORDS("-f", "a", "--cluster-cidr=", "--detect-local-mode=BridgeInterface"));
	assert_int_equal(options.pod_range_count, 0);
	assert_true(options.pods_told_otherwise);
	options_fini(&options);
	refuses(WORDS("-f", "a", "--cluster-cidr=10.244.0.0"), "must be a CIDR block");
	refuses(WORDS("-f", "a", "--cluster-cidr=10.244.0.0/16,10.245.0.0/16"), "one of each family");
	refuses(WORDS("-f", "a", "--detect-local-mode=Guess"), "must be ClusterCIDR");
}

static void the_values_of_flags_without_effect_are_checked(void **state)
{
	struct options options;

	(void)state;
	accepts(&options,
		WORDS("-f", "a", "--masquerade-all", "--ipvs-exclude-cidrs=10.0.0.0/8,10.1.0.0/16,fd00::/8",
			"--ipvs-scheduler=wrr", "--kube-api-qps=2.5", "--feature-gates=A=true,B=false"));
	options_fini(&options);
	refuses(WORDS("-f", "a", "--masquerade-all=perhaps"), "must be true or false");
	refuses(WORDS("-f", "a", "--ipvs-exclude-cidrs=10.0.0.0"), "must be CIDR blocks");
	refuses(WORDS("-f", "a", "--kube-api-qps=many"), "must be a number");
	refuses(WORDS("-f", "a", "--feature-gates=A"), "must be NAME=true");
	refuses(WORDS("-f", "a", "--iptables-masquerade-bit=32"), "from 0 to 31");
	refuses(WORDS("-f", "a", "--ipvs-sync-period=1"), "must be a duration");
	refuses(WORDS("-f", "a", "--oom-score-adj=-1001"), "from -1000 to 1000");
}

static void connection_tracking_has_kube_proxys_defaults(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("-f", "a"));
	assert_int_equal(options.conntrack.max_per_core, 32768);
	assert_int_equal(options.conntrack.min, 131072);
	assert_int_equal(options.conntrack.tcp_established_s, 86400);
	assert_int_equal(options.conntrack.tcp_close_wait_s, 3600);
	assert_int_equal(options.oom_score_adj, -999);
	options_fini(&options);
	accepts(&options,
		WORDS("-f", "a", "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=120h",
			"--conntrack-udp-timeout=0", "--conntrack-tcp-be-liberal"));
	assert_int_equal(options.conntrack.max_per_core, 0);
	assert_int_equal(options.conntrack.tcp_established_s, 432000);
	assert_true(options.conntrack.tcp_be_liberal);
	options_fini(&options);
	refuses(WORDS("-f", "a", "--conntrack-min=-1"), "must be a number");
	refuses(WORDS("-f", "a", "--conntrack-udp-timeout=1"), "must be a duration");
}

static void expect_at(const struct admin_at *at, const char *text)
{
	char buf[ADDR_TEXT_BYTES];

	assert_int_equal(at->on, text != NULL);
	if (text)
		assert_string_equal(addr_port_format(&at->at, buf), text);
}

static void expect_health(const char *const *words, const char *health, const char *metrics)
{
	struct options options;
	struct admin_at at;

	accepts(&options, words);
	at = options_health_at(&options);
	expect_at(&at, health);
	at = options_metrics_at(&options);
	expect_at(&at, metrics);
	options_fini(&options);
}

static void health_and_metrics_have_kube_proxys_addresses(void **state)
{
	(void)state;
	expect_health(WORDS("-f", "x"), "0.0.0.0:10256", "127.0.0.1:10249");
	expect_health(WORDS("-f", "x", "--healthz-bind-address=10.0.0.1", "--metrics-bind-address=::"),
		"10.0.0.1:10256", "[::]:10249");
	expect_health(WORDS("-f", "x", "--healthz-bind-address=10.0.0.1:1", "--metrics-bind-address=[::1]:2"),
		"10.0.0.1:1", "[::1]:2");
}

static void health_and_metrics_can_be_closed(void **state)
{
	(void)state;
	expect_health(WORDS("-f", "x", "--healthz-bind-address=", "--metrics-bind-address="), NULL, NULL);
	expect_health(WORDS("-f", "x", "--healthz-bind-address=10.0.0.1:0", "--metrics-port=0"), NULL, NULL);
	expect_health(WORDS("-f", "x", "--healthz-bind-address=10.0.0.1:1", "--healthz-port=0"), NULL,
		"127.0.0.1:10249");
}

static void a_deprecated_port_stands_where_the_address_has_none(void **state)
{
	(void)state;
	expect_health(WORDS("-f", "x", "--healthz-port=1", "--metrics-port=2"), "0.0.0.0:1", "127.0.0.1:2");
	expect_health(WORDS("-f", "x", "--healthz-bind-address=10.0.0.1", "--healthz-port=1"), "10.0.0.1:1",
		"127.0.0.1:10249");
	expect_health(WORDS("-f", "x", "--healthz-bind-address=10.0.0.1:5", "--healthz-port=1"), "10.0.0.1:5",
		"127.0.0.1:10249");
}

static void what_is_no_nodes_daemon_serves_what_was_asked_for(void **state)
{
	(void)state;
	expect_health(WORDS("--steering=none", "-f", "x"), NULL, NULL);
	expect_health(WORDS("run", "-f", "x"), NULL, NULL);
	expect_health(WORDS("run", "-f", "x", "--metrics-bind-address=127.0.0.1", "--healthz-port=3"),
		"0.0.0.0:3", "127.0.0.1:10249");
}

static void wrong_addresses_are_refused(void **state)
{
	(void)state;
	refuses(WORDS("-f", "x", "--healthz-bind-address=localhost:1"), "must be an IP address");
	refuses(WORDS("-f", "x", "--healthz-bind-address=10.0.0.1:"), "must be an IP address");
	refuses(WORDS("-f", "x", "--healthz-bind-address=10.0.0.1:70000"), "must be an IP address");
	refuses(WORDS("-f", "x", "--metrics-bind-address=[::1:5"), "must be an IP address");
	refuses(WORDS("-f", "x", "--metrics-bind-address=:5"), "must be an IP address");
	refuses(WORDS("-f", "x", "--metrics-bind-address=[10.0.0.1]5"), "must be an IP address");
}

static void explain_wants_one_name(void **state)
{
	struct options options;

	(void)state;
	accepts(&options, WORDS("explain", "default/web:http", "-o", "json"));
	assert_int_equal(options.command, OPTIONS_EXPLAIN);
	assert_string_equal(options.explain, "default/web:http");
	options_fini(&options);
	refuses(WORDS("explain"), "what shall be explained");
	refuses(WORDS("explain", "a", "b"), "unexpected word");
	refuses(WORDS("status", "a"), "unexpected word");
	refuses(WORDS("status", "-o", "yaml"), "table or json");
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
		cmocka_unit_test(durations_are_read_as_go_writes_them),
		cmocka_unit_test(the_plan_is_told_what_services_leave_open),
		cmocka_unit_test(nodeport_addresses_are_blocks_or_primary),
		cmocka_unit_test(each_family_binds_an_address_of_its_own),
		cmocka_unit_test(without_steering_the_bind_address_is_loopback),
		cmocka_unit_test(wrong_words_are_named),
		cmocka_unit_test(flags_are_written_as_kube_proxys_are),
		cmocka_unit_test(modes_other_than_userspace_are_refused_with_the_reason),
		cmocka_unit_test(pods_are_one_range_of_each_family),
		cmocka_unit_test(the_values_of_flags_without_effect_are_checked),
		cmocka_unit_test(connection_tracking_has_kube_proxys_defaults),
		cmocka_unit_test(health_and_metrics_have_kube_proxys_addresses),
		cmocka_unit_test(health_and_metrics_can_be_closed),
		cmocka_unit_test(a_deprecated_port_stands_where_the_address_has_none),
		cmocka_unit_test(what_is_no_nodes_daemon_serves_what_was_asked_for),
		cmocka_unit_test(wrong_addresses_are_refused),
		cmocka_unit_test(explain_wants_one_name),
		cmocka_unit_test(cleanup_is_a_command_and_a_flag),
		cmocka_unit_test(help_names_every_flag_that_is_parsed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
