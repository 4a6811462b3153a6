/* What the engine sends when something changes, with the real iptables in network namespaces of the test's
 * own: the difference and no more; what audits find and put right; and what becomes of the rest when a rule
 * is refused. */
#include <event2/event.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns_rig.h"
#include "portald/mem.h"
#include "portald/steering.h"

struct fixture {
	const char *variant;
	struct event_base *base;
	struct steering *steering;
	int passes; /* changes and audits that have ended */
	int error;
	bool corrected;
	char *fakes; /* a directory in front of PATH */
	char *path;
	struct steering_rules rules;
};

/* ---- the engine under test ---- */

static void on_synced(void *context, int error, const char *detail)
{
	struct fixture *fixture = context;

	(void)detail;
	fixture->passes++;
	fixture->error = error;
	event_base_loopbreak(fixture->base);
}

static void on_audited(void *context, int error, bool corrected)
{
	struct fixture *fixture = context;

	fixture->corrected = corrected;
	on_synced(context, error, NULL);
}

static void engine_start(struct fixture *fixture)
{
	const struct steering_options options = {
		.tool = strcmp(fixture->variant, "nft") == 0 ? STEERING_TOOL_NFT : STEERING_TOOL_LEGACY,
		.tool_timeout_ms = 20000,
		.synced = on_synced,
		.audited = on_audited,
		.context = fixture,
	};

	fixture->base = event_base_new();
	fixture->steering = steering_new(fixture->base, &options);
	assert_non_null(fixture->steering);
}

/* Until one more pass has ended well. */
static void wait_for_pass(struct fixture *fixture)
{
	struct timeval limit = {.tv_sec = 60};
	int before = fixture->passes;

	event_base_loopexit(fixture->base, &limit);
	event_base_dispatch(fixture->base);
	assert_int_equal(fixture->passes, before + 1);
	assert_int_equal(fixture->error, 0);
}

static void apply(struct fixture *fixture)
{
	steering_apply(fixture->steering, &fixture->rules);
	wait_for_pass(fixture);
}

static void audit(struct fixture *fixture)
{
	steering_audit(fixture->steering);
	wait_for_pass(fixture);
}

/* Puts a script in front of each tool that notes its run and its input, and then runs `command`. */
static void wrap_tools(struct fixture *fixture, const char *command)
{
	const char *const programs[] = {"iptables", "ip6tables"}, *const verbs[] = {"save", "restore"};
	char *path = mem_printf("%s:%s", fixture->fakes, fixture->path);

	for (int i = 0; i < 4; i++) {
		char *name = mem_printf("%s-%s-%s", programs[i / 2], fixture->variant, verbs[i % 2]);
		char *file = mem_printf("%s/%s", fixture->fakes, name);
		char *script = mem_printf("#!/bin/sh\nPATH=$PATH:/usr/sbin:/sbin\ndir=%s\n"
					  "echo %s >> $dir/runs\ncat > $dir/input\n%s\n"
					  "exec /usr/sbin/%s \"$@\" < $dir/input\n",
			fixture->fakes, verbs[i % 2], i % 2 ? command : ":", name);

		assert_int_equal(rig_write_file(file, script), 0);
		free(script);
		free(file);
		free(name);
	}
	setenv("PATH", path, 1);
	free(path);
}

/* What ran since this was asked last, as in "save save restore "; NULL: anything. */
static void assert_ran(struct fixture *fixture, const char *expected)
{
	char *runs = shell("touch %s/runs; tr '\n' ' ' < %s/runs; rm %s/runs", fixture->fakes, fixture->fakes,
		fixture->fakes);

	assert_non_null(runs);
	if (expected)
		assert_string_equal(runs, expected);
	free(runs);
}

static int set_up(void **state)
{
	struct fixture *fixture = mem_calloc(1, sizeof(*fixture));
	struct addr any = addr_any(ADDR_V4);
	char directory[] = "/tmp/portald-test-XXXXXX";

	fixture->variant = *state;
	fixture->fakes = mem_strdup(mkdtemp(directory));
	fixture->path = mem_strdup(getenv("PATH"));
	if (!fixture->fakes || unshare(CLONE_NEWNET) < 0)
		return -1;
	setenv("XTABLES_LOCKFILE", "/dev/null", 1);
	rig_lo_up();
	steering_rules_init(&fixture->rules, &any);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	steering_free(fixture->steering);
	if (fixture->base)
		event_base_free(fixture->base);
	setenv("PATH", fixture->path, 1);
	steering_rules_fini(&fixture->rules);
	free(shell("rm -rf %s", fixture->fakes));
	free(fixture->fakes);
	free(fixture->path);
	free(fixture);
	return 0;
}

/* ---- rules ---- */

static void clear(struct fixture *fixture)
{
	steering_rules_fini(&fixture->rules);
}

/* A ClusterIP 10.96.0.<n>:80 and a NodePort 30000+n, both to port 40000+n. */
static void add_service(struct fixture *fixture, uint16_t n)
{
	struct plan_portal portals[] = {
		{.kind = PLAN_PORTAL_CLUSTER_IP, .at = {addr_v4(0x0a600000u + n), 80}},
		{.kind = PLAN_PORTAL_NODE_PORT, .at = {addr_any(ADDR_V4), (uint16_t)(30000 + n)}},
	};
	struct plan_listener listener = {.key = "default/web:http", .portals = portals, .portal_count = 2};

	steering_rules_add(&fixture->rules, &listener, (uint16_t)(40000 + n));
}

static void add_services(struct fixture *fixture, uint16_t first, uint16_t last)
{
	for (uint16_t n = first; n <= last; n++)
		add_service(fixture, n);
}

/* One rule of each kind, action, scope, protocol and family. */
static void add_every_kind(struct fixture *fixture)
{
	const char *const addrs[] = {"10.96.1.1", "2001:db8:1::1"};

	for (unsigned n = 0; n < 4 * 3 * 3 * 2 * 2; n++) {
		enum addr_family family = n % 2 ? ADDR_V6 : ADDR_V4;
		struct plan_portal portal = {.kind = (enum plan_portal_kind)(n / 36),
			.scope = (enum plan_scope)(n / 4 % 3),
			.at.port = (uint16_t)(1000 + n)};
		struct plan_listener listener = {.key = "name-space/it's:http",
			.proto = n / 2 % 2 ? PROTO_UDP : PROTO_TCP,
			.action = (enum plan_action)(n / 12 % 3)};

		addr_parse(&portal.at.addr, addrs[n % 2]);
		if (portal.kind == PLAN_PORTAL_NODE_PORT)
			portal.at.addr = addr_any(family);
		steering_rules_add_portal(&fixture->rules, &listener, &portal, (uint16_t)(40000 + n));
	}
}

/* All that the variant's tool shows of our chains, sorted; the caller frees it. */
static char *in_force(const struct fixture *fixture, const char *program)
{
	char *out = shell("PATH=$PATH:/usr/sbin:/sbin; for t in nat filter; do %s-%s-save -t $t; done | "
			  "grep KUBE | sed 's/ \\[[0-9:]*\\]$//' | sort",
		program, fixture->variant);

	assert_non_null(out);
	return out;
}

static void iptables(const struct fixture *fixture, const char *arguments)
{
	char *out = shell("PATH=$PATH:/usr/sbin:/sbin iptables-%s %s", fixture->variant, arguments);

	assert_non_null(out);
	free(out);
}

/* True if exactly these are there and nothing of others: that is what a fresh engine makes. */
static void assert_as_if_fresh(struct fixture *fixture)
{
	char *now = in_force(fixture, "iptables"), *fresh;

	steering_free(fixture->steering);
	event_base_free(fixture->base);
	assert_int_equal(steering_cleanup(20000), 0);
	engine_start(fixture);
	apply(fixture);
	fresh = in_force(fixture, "iptables");
	assert_string_equal(now, fresh);
	free(now);
	free(fresh);
}

/* ---- differences ---- */

static void one_more_service_sends_its_own_lines_only(void **state)
{
	struct fixture *fixture = *state;
	char *input;

	wrap_tools(fixture, ":");
	engine_start(fixture);
	add_services(fixture, 1, 3);
	apply(fixture);
	clear(fixture);
	add_services(fixture, 1, 4);
	assert_ran(fixture, NULL);
	apply(fixture);
	assert_ran(fixture, "restore ");
	input = shell("cat %s/input | grep -v -e '^\\*' -e '^COMMIT$' -e '--dport 40004 '", fixture->fakes);
	assert_non_null(input);
	for (const char *line = input; *line; line = strchr(line, '\n') + 1) {
		assert_memory_equal(line, "-A KUBE-", strlen("-A KUBE-"));
		assert_non_null(strstr(line, "--to-ports 40004\n"));
	}
	free(input);
	assert_as_if_fresh(fixture);
}

static void a_service_that_goes_takes_its_own_lines_only(void **state)
{
	struct fixture *fixture = *state;
	char *others;

	wrap_tools(fixture, ":");
	engine_start(fixture);
	add_services(fixture, 1, 5);
	apply(fixture);
	clear(fixture);
	add_services(fixture, 1, 2);
	add_services(fixture, 4, 5);
	assert_ran(fixture, NULL);
	apply(fixture);
	assert_ran(fixture, "restore ");
	others = shell("! grep -v -e '^-D KUBE-.* 40003' -e '^\\*' -e '^COMMIT$' %s/input", fixture->fakes);
	assert_non_null(others);
	free(others);
	assert_as_if_fresh(fixture);
}

static void the_same_again_runs_no_tool(void **state)
{
	struct fixture *fixture = *state;

	wrap_tools(fixture, ":");
	engine_start(fixture);
	add_services(fixture, 1, 3);
	apply(fixture);
	assert_ran(fixture, NULL);
	apply(fixture);
	assert_ran(fixture, "");
}

static void every_kind_of_rule_comes_and_goes_as_a_difference(void **state)
{
	struct fixture *fixture = *state;
	char *few, *now, *now6;

	engine_start(fixture);
	add_services(fixture, 1, 3);
	apply(fixture);
	few = in_force(fixture, "iptables");
	add_every_kind(fixture);
	apply(fixture);
	audit(fixture);
	assert_false(fixture->corrected);
	clear(fixture);
	add_services(fixture, 1, 3);
	apply(fixture);
	now = in_force(fixture, "iptables");
	now6 = in_force(fixture, "ip6tables");
	assert_string_equal(now, few);
	assert_null(strstr(now6, "-A KUBE-"));
	free(few);
	free(now);
	free(now6);
}

/* ---- audits ---- */

static void an_audit_of_what_is_right_only_looks(void **state)
{
	struct fixture *fixture = *state;

	engine_start(fixture);
	add_every_kind(fixture);
	apply(fixture);
	steering_free(fixture->steering);
	event_base_free(fixture->base);
	wrap_tools(fixture, ":");
	engine_start(fixture);
	apply(fixture);
	assert_ran(fixture, "save save save save ");
	audit(fixture);
	assert_ran(fixture, "save save save save ");
	assert_false(fixture->corrected);
}

static void an_audit_removes_what_is_doubled_stale_or_edited(void **state)
{
	static const char *const disturbances[] = {
		"-t nat -A KUBE-PORTALS-HOST -d 10.96.0.9/32 -p tcp --dport 80 -j REDIRECT --to-ports 9",
		"-t nat -A KUBE-PORTALS-CONTAINER -d 10.96.0.1/32 -p tcp -m comment --comment "
		"default/web:http -m tcp --dport 80 -j REDIRECT --to-ports 40001",
		"-t nat -D KUBE-NODEPORT-HOST 1",
		"-t nat -R KUBE-PORTALS-CONTAINER 1 -d 10.96.0.1/32 -p tcp --dport 81 -j REDIRECT --to-ports "
		"9",
		"-t nat -F",
		"-F",
	};
	struct fixture *fixture = *state;
	char *right, *now;

	engine_start(fixture);
	add_services(fixture, 1, 3);
	apply(fixture);
	right = in_force(fixture, "iptables");
	for (size_t i = 0; i < sizeof(disturbances) / sizeof(disturbances[0]); i++) {
		iptables(fixture, disturbances[i]);
		audit(fixture);
		assert_true(fixture->corrected);
		now = in_force(fixture, "iptables");
		assert_string_equal(now, right);
		free(now);
	}
	free(right);
}

static void a_change_that_meets_a_flush_is_put_right_at_once(void **state)
{
	struct fixture *fixture = *state;

	engine_start(fixture);
	add_services(fixture, 1, 3);
	apply(fixture);
	iptables(fixture, "-t nat -F KUBE-PORTALS-CONTAINER");
	clear(fixture);
	add_services(fixture, 2, 3);
	apply(fixture);
	assert_as_if_fresh(fixture);
}

/* The kernel tells; there is no period. */
static void what_others_remove_comes_back_by_itself(void **state)
{
	static const char *const disturbances[] = {"iptables-nft -t nat -F", "nft flush ruleset",
		"iptables-nft -t nat -D PREROUTING 1", "nft add rule ip nat KUBE-PORTALS-HOST drop"};
	struct fixture *fixture = *state;
	char *right, *now, *out;

	engine_start(fixture);
	add_services(fixture, 1, 3);
	apply(fixture);
	right = in_force(fixture, "iptables");
	for (size_t i = 0; i < sizeof(disturbances) / sizeof(disturbances[0]); i++) {
		out = shell("PATH=$PATH:/usr/sbin:/sbin; %s", disturbances[i]);
		assert_non_null(out);
		free(out);
		wait_for_pass(fixture);
		assert_true(fixture->corrected);
		now = in_force(fixture, "iptables");
		assert_string_equal(now, right);
		free(now);
	}
	free(right);
}

static void our_own_changes_and_foreign_chains_call_for_no_audit(void **state)
{
	struct fixture *fixture = *state;
	struct timeval moment = {.tv_usec = 300000};

	engine_start(fixture);
	for (uint16_t n = 1; n <= 5; n++) {
		add_service(fixture, n);
		apply(fixture);
	}
	iptables(fixture, "-t nat -N THEIRS");
	iptables(fixture, "-t nat -A THEIRS -j RETURN");
	event_base_loopexit(fixture->base, &moment);
	event_base_dispatch(fixture->base);
	assert_int_equal(fixture->passes, 5);
}

/* ---- rules that are refused ---- */

/* A port that the tool can't parse, as a rule that this kernel can't have: it names the line. */
#define SPOIL "sed -i 's/--dport 8007/--dport nonsense/' $dir/input"
/* It fails at the end, without saying why. */
#define SPOIL_SILENTLY "grep -q -e '--dport 8007' $dir/input && exit 1"

static void spoiled_rule_is_left_out(struct fixture *fixture, const char *how)
{
	struct plan_portal portal = {.kind = PLAN_PORTAL_CLUSTER_IP, .at = {addr_v4(0x0a600107), 8007}};
	struct plan_listener bad = {.key = "default/bad", .portals = &portal, .portal_count = 1};
	char *now;

	engine_start(fixture);
	add_services(fixture, 1, 3);
	apply(fixture);
	steering_free(fixture->steering);
	event_base_free(fixture->base);
	wrap_tools(fixture, how);
	engine_start(fixture);
	clear(fixture);
	add_services(fixture, 1, 10);
	steering_rules_add(&fixture->rules, &bad, 40999);
	add_services(fixture, 11, 20);
	apply(fixture);
	now = in_force(fixture, "iptables");
	for (int n = 1; n <= 20; n++) {
		char *rule = mem_printf("-d 10.96.0.%d/32", n);

		assert_non_null(strstr(now, rule));
		free(rule);
	}
	assert_null(strstr(now, "8007"));
	free(now);
}

static void a_refused_rule_leaves_the_rest_in_force(void **state)
{
	struct fixture *fixture = *state;

	spoiled_rule_is_left_out(fixture, SPOIL);
}

static void a_transaction_that_fails_for_no_stated_reason_is_halved(void **state)
{
	struct fixture *fixture = *state;

	spoiled_rule_is_left_out(fixture, SPOIL_SILENTLY);
}

static void a_refused_rule_is_tried_again_by_an_audit_only(void **state)
{
	struct fixture *fixture = *state;
	char *now;

	spoiled_rule_is_left_out(fixture, SPOIL_SILENTLY);
	assert_ran(fixture, NULL);
	add_services(fixture, 21, 21);
	apply(fixture);
	assert_ran(fixture, "restore ");
	wrap_tools(fixture, ":");
	audit(fixture);
	now = in_force(fixture, "iptables");
	assert_non_null(strstr(now, "8007"));
	free(now);
}

/* ---- running ---- */

#define BOTH(test)                                                                                           \
	cmocka_unit_test_prestate_setup_teardown(test, set_up, tear_down, (void *)"nft"),                    \
		cmocka_unit_test_prestate_setup_teardown(test, set_up, tear_down, (void *)"legacy")

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(one_more_service_sends_its_own_lines_only),
		BOTH(a_service_that_goes_takes_its_own_lines_only),
		BOTH(the_same_again_runs_no_tool),
		BOTH(every_kind_of_rule_comes_and_goes_as_a_difference),
		BOTH(an_audit_of_what_is_right_only_looks),
		BOTH(an_audit_removes_what_is_doubled_stale_or_edited),
		BOTH(a_change_that_meets_a_flush_is_put_right_at_once),
		BOTH(our_own_changes_and_foreign_chains_call_for_no_audit),
		cmocka_unit_test_prestate_setup_teardown(
			what_others_remove_comes_back_by_itself, set_up, tear_down, (void *)"nft"),
		BOTH(a_refused_rule_leaves_the_rest_in_force),
		BOTH(a_transaction_that_fails_for_no_stated_reason_is_halved),
		BOTH(a_refused_rule_is_tried_again_by_an_audit_only),
	};
	char *tools;

	if (rig_enter_user_namespace() < 0)
		return rig_skipped("this user can make no user and network namespace");
	tools = shell("export PATH=$PATH:/usr/sbin:/sbin; test -x /usr/sbin/iptables-nft-restore && "
		      "iptables-nft -t nat -S && XTABLES_LOCKFILE=/dev/null iptables-legacy -t nat -S");
	if (!tools)
		return rig_skipped("iptables-nft or iptables-legacy is missing or doesn't work here");
	free(tools);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
