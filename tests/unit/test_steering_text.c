#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan_sample.h"
#include "portald/mem.h"
#include "portald/plan.h"
#include "portald/steering.h"

/* The jumps as iptables-save prints them. */
#define PORTALS_TAIL                                                                                         \
	" -m comment --comment \"handle ClusterIPs; NOTE: this must be before the NodePort rules\" -j "
#define NODEPORT_TAIL                                                                                        \
	" -m addrtype --dst-type LOCAL -m comment --comment "                                                \
	"\"handle service NodePorts; NOTE: this must be the last rule in the chain\" -j "
#define PRE_PORTALS "PREROUTING" PORTALS_TAIL "KUBE-PORTALS-CONTAINER\n"
#define OUT_PORTALS "OUTPUT" PORTALS_TAIL "KUBE-PORTALS-HOST\n"
#define PRE_NODEPORT "PREROUTING" NODEPORT_TAIL "KUBE-NODEPORT-CONTAINER\n"
#define OUT_NODEPORT "OUTPUT" NODEPORT_TAIL "KUBE-NODEPORT-HOST\n"
#define REJECT_TAIL                                                                                          \
	" -m conntrack --ctstate NEW -m comment --comment \"refuse Services without endpoints\" -j "         \
	"KUBE-PORTALS-REJECT"
#define INPUT_REJECT "INPUT" REJECT_TAIL "\n"
#define FORWARD_REJECT "FORWARD" REJECT_TAIL "\n"
#define OUTPUT_REJECT "OUTPUT" REJECT_TAIL "-HOST\n"
#define INPUT_ACCEPT                                                                                         \
	"INPUT -m comment --comment \"Ensure that non-local NodePort traffic can flow\" -j "                 \
	"KUBE-NODEPORT-NON-LOCAL\n"

#define NAT_CHAINS                                                                                           \
	"*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-NODEPORT-CONTAINER - [0:0]\n"           \
	":KUBE-NODEPORT-HOST - [0:0]\n:KUBE-PORTALS-CONTAINER - [0:0]\n:KUBE-PORTALS-HOST - [0:0]\n"
#define PREROUTING_RIGHT "-A " PRE_PORTALS "-A " PRE_NODEPORT
#define OUTPUT_RIGHT "-A " OUT_PORTALS "-A " OUT_NODEPORT
#define FILTER_RIGHT                                                                                         \
	"*filter\n:INPUT ACCEPT [0:0]\n:KUBE-NODEPORT-NON-LOCAL - [0:0]\n:KUBE-PORTALS-REJECT - [0:0]\n"     \
	":KUBE-PORTALS-REJECT-HOST - [0:0]\n-A " INPUT_REJECT "-A " INPUT_ACCEPT "-A " FORWARD_REJECT        \
	"-A " OUTPUT_REJECT "COMMIT\n"

#define FOREIGN " -s 192.0.2.0/24 -m comment --comment \"not -j KUBE-PORTALS-HOST \\\"ours\\\"\" -j RETURN\n"

/* The lines of a rendered text that edit built-in chains, in their order. The caller frees it. */
static char *edits(const char *text)
{
	char *found = mem_calloc(1, strlen(text) + 1), *end = found;

	while (*text) {
		size_t length = strcspn(text, "\n") + 1;

		if (strncmp(text, "-D", 2) == 0 || strncmp(text, "-I", 2) == 0 ||
			(strncmp(text, "-A", 2) == 0 && strncmp(text, "-A KUBE-", 8) != 0)) {
			memcpy(end, text, length);
			end += length;
		}
		text += length;
	}
	return found;
}

static void assert_edits(const char *nat, const char *filter, const char *expected)
{
	struct steering_rules none = {.bind_addr = addr_any(ADDR_V4)};
	struct steering_saved saved = {.nat = nat, .filter = filter};
	char *text = steering_iptables_render(&none, ADDR_V4, &saved);
	char *found = edits(text);

	assert_string_equal(found, expected);
	free(found);
	free(text);
}

static struct steering_rules sample_rules(const struct plan *plan, const char *bind)
{
	struct steering_rules rules;
	struct addr bind_addr;

	assert_int_equal(addr_parse(&bind_addr, bind), 0);
	steering_rules_from_plan(&rules, plan, &bind_addr, 40000);
	return rules;
}

static void renders_the_plan_as_it_always_did(void **state)
{
	struct plan_facts facts = {.node_name = "node-1"};
	struct model_snapshot *snapshot = sample_snapshot();
	struct plan *plan = plan_build(snapshot, &facts);
	struct steering_rules rules = sample_rules(plan, "0.0.0.0");
	char *text = steering_iptables_render(&rules, ADDR_V4, NULL);

	(void)state;
	assert_golden("plan.rules", text);
	free(text);
	steering_rules_fini(&rules);
	rules = sample_rules(plan, "192.0.2.7");
	text = steering_iptables_render(&rules, ADDR_V4, NULL);
	assert_golden("plan-bind.rules", text);
	free(text);
	steering_rules_fini(&rules);
	plan_free(plan);
	model_snapshot_unref(snapshot);
}

static struct plan_portal portal_at(
	enum plan_portal_kind kind, enum plan_scope scope, const char *addr, uint16_t port)
{
	struct plan_portal portal = {.kind = kind, .scope = scope, .at.port = port};

	assert_int_equal(addr_parse(&portal.at.addr, addr), 0);
	return portal;
}

/* A listener with a portal of each kind, in one family. */
static void add_all_kinds(struct steering_rules *rules, const struct plan_listener *listener, uint16_t n)
{
	bool v6 = listener->family == ADDR_V6;
	uint16_t port = (uint16_t)(80 + n);
	struct plan_portal portals[] = {
		portal_at(PLAN_PORTAL_CLUSTER_IP, PLAN_SCOPE_ALL, v6 ? "fd00:96::1" : "10.96.0.1", port),
		portal_at(
			PLAN_PORTAL_NODE_PORT, PLAN_SCOPE_ALL, v6 ? "::" : "0.0.0.0", (uint16_t)(30080 + n)),
		portal_at(
			PLAN_PORTAL_EXTERNAL_IP, PLAN_SCOPE_HOST, v6 ? "2001:db8::1" : "198.51.100.1", port),
		portal_at(PLAN_PORTAL_LOAD_BALANCER, PLAN_SCOPE_ARRIVING, v6 ? "2001:db8::2" : "198.51.100.2",
			port),
	};

	for (size_t i = 0; i < sizeof(portals) / sizeof(portals[0]); i++)
		steering_rules_add_portal(rules, listener, &portals[i], (uint16_t)(40000 + n));
}

static void each_kind_action_and_scope_has_its_rule_in_both_families(void **state)
{
	struct addr any = addr_any(ADDR_V4);
	struct addr_prefix allowed[2] = {{.bits = 8}, {.bits = 64}};
	struct steering_rules rules;
	uint16_t n = 0;
	char *text;

	(void)state;
	steering_rules_init(&rules, &any);
	assert_int_equal(addr_parse(&allowed[0].addr, "192.0.0.0"), 0);
	assert_int_equal(addr_parse(&allowed[1].addr, "192.168.0.0"), 0);
	rules.node_port_ranges = allowed;
	rules.node_port_range_count = 2;
	allowed[1].bits = 16;
	for (enum plan_action action = PLAN_PROXY; action < PLAN_ACTIONS; action++) {
		for (enum proto proto = PROTO_TCP; proto <= PROTO_UDP; proto++, n++) {
			struct plan_listener listener = {
				.key = "default/web", .proto = proto, .action = action};

			listener.family = ADDR_V4;
			add_all_kinds(&rules, &listener, n);
			listener.family = ADDR_V6;
			add_all_kinds(&rules, &listener, n);
		}
	}
	text = steering_iptables_render(&rules, ADDR_V4, NULL);
	assert_golden("portals-v4.rules", text);
	free(text);
	text = steering_iptables_render(&rules, ADDR_V6, NULL);
	assert_golden("portals-v6.rules", text);
	free(text);
	assert_int_equal(addr_parse_prefix(&rules.pods[0], "10.244.0.0/16"), 0);
	rules.pod_range_count = 1;
	text = steering_iptables_render(&rules, ADDR_V4, NULL);
	assert_golden("portals-pods.rules", text);
	free(text);
	steering_rules_fini(&rules);
}

static void jumps_are_made_where_there_are_none(void **state)
{
	(void)state;
	assert_edits("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING" FOREIGN "COMMIT\n", NULL,
		"-I PREROUTING 1" PORTALS_TAIL "KUBE-PORTALS-CONTAINER\n"
		"-I OUTPUT 1" PORTALS_TAIL "KUBE-PORTALS-HOST\n"
		"-A " PRE_NODEPORT "-A " OUT_NODEPORT
		"-I INPUT 1 -m comment --comment \"Ensure that non-local NodePort traffic can flow\" "
		"-j KUBE-NODEPORT-NON-LOCAL\n"
		"-I INPUT 1" REJECT_TAIL "\n-I FORWARD 1" REJECT_TAIL "\n-I OUTPUT 1" REJECT_TAIL "-HOST\n");
}

static void right_jumps_are_left_alone(void **state)
{
	(void)state;
	assert_edits(NAT_CHAINS PREROUTING_RIGHT OUTPUT_RIGHT "COMMIT\n", FILTER_RIGHT, "");
	assert_edits(NAT_CHAINS "-A " PRE_PORTALS "-A PREROUTING" FOREIGN "-A " PRE_NODEPORT OUTPUT_RIGHT
				"-A POSTROUTING" FOREIGN "COMMIT\n",
		FILTER_RIGHT, "");
	/* Another version may print the parts of a rule in another order. */
	assert_edits(NAT_CHAINS OUTPUT_RIGHT
		"-A " PRE_PORTALS "-A PREROUTING -m comment --comment \"handle service NodePorts; NOTE: "
		"this must be the last rule in the chain\" -m addrtype --dst-type LOCAL "
		"-j KUBE-NODEPORT-CONTAINER\nCOMMIT\n",
		FILTER_RIGHT, "");
}

static void misplaced_jumps_are_moved(void **state)
{
	(void)state;
	assert_edits(NAT_CHAINS "-A PREROUTING" FOREIGN "-A " PRE_PORTALS "-A " PRE_NODEPORT OUTPUT_RIGHT
				"COMMIT\n",
		FILTER_RIGHT, "-D " PRE_PORTALS "-I PREROUTING 1" PORTALS_TAIL "KUBE-PORTALS-CONTAINER\n");
	assert_edits(NAT_CHAINS PREROUTING_RIGHT OUTPUT_RIGHT "-A OUTPUT" FOREIGN "COMMIT\n", FILTER_RIGHT,
		"-D " OUT_NODEPORT "-A " OUT_NODEPORT);
}

static void doubled_jumps_become_one(void **state)
{
	(void)state;
	assert_edits(NAT_CHAINS "-A " PRE_PORTALS PREROUTING_RIGHT OUTPUT_RIGHT "COMMIT\n", FILTER_RIGHT,
		"-D " PRE_PORTALS "-D " PRE_PORTALS "-I PREROUTING 1" PORTALS_TAIL
		"KUBE-PORTALS-CONTAINER\n");
}

static void altered_jumps_are_replaced(void **state)
{
	static const char *const altered[] = {
		"OUTPUT -j KUBE-PORTALS-HOST\n",
		"OUTPUT -g KUBE-PORTALS-HOST\n",
		"OUTPUT -p tcp" PORTALS_TAIL "KUBE-PORTALS-HOST\n",
		"OUTPUT -m comment --comment \"something else\" -j KUBE-PORTALS-HOST\n",
		"OUTPUT -m addrtype --dst-type LOCAL" PORTALS_TAIL "KUBE-PORTALS-HOST\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(altered) / sizeof(altered[0]); i++) {
		char *nat = mem_printf(
			NAT_CHAINS PREROUTING_RIGHT "-A %s-A " OUT_NODEPORT "COMMIT\n", altered[i]);
		char *expected =
			mem_printf("-D %s-I OUTPUT 1" PORTALS_TAIL "KUBE-PORTALS-HOST\n", altered[i]);

		assert_edits(nat, FILTER_RIGHT, expected);
		free(nat);
		free(expected);
	}
}

static void comments_cannot_break_out_of_their_quotes(void **state)
{
	struct steering_rules rules;
	struct addr any = addr_any(ADDR_V4);
	struct plan_portal portal = {.kind = PLAN_PORTAL_CLUSTER_IP, .at = {addr_v4(0x0a600001), 80}};
	struct plan_listener listener = {.portals = &portal, .portal_count = 1};
	char *text, *fitting, *longest = mem_calloc(1, 1000);

	(void)state;
	steering_rules_init(&rules, &any);
	listener.key = "a\"b\\c'd\n-A INPUT -j DROP";
	steering_rules_add(&rules, &listener, 40000);
	memset(longest, 'x', 999);
	listener.key = longest;
	steering_rules_add(&rules, &listener, 40000);
	text = steering_iptables_render(&rules, ADDR_V4, NULL);
	assert_non_null(strstr(text, "--comment \"a\\\"b\\\\c\\'d?-A INPUT -j DROP\" -m tcp"));
	longest[255] = '\0';
	fitting = mem_printf("--comment \"%s\" ", longest);
	assert_non_null(strstr(text, fitting));
	free(fitting);
	free(longest);
	free(text);
	steering_rules_fini(&rules);
}

static void cleanup_removes_what_is_there_and_no_more(void **state)
{
	struct steering_saved saved = {.nat = NAT_CHAINS "-A PREROUTING" FOREIGN PREROUTING_RIGHT
							 "-A KUBE-PORTALS-HOST -p tcp -j RETURN\nCOMMIT\n"};
	char *text = steering_iptables_render_cleanup(&saved);

	(void)state;
	assert_string_equal(text, "*nat\n-D " PRE_PORTALS "-D " PRE_NODEPORT
				  "-F KUBE-PORTALS-CONTAINER\n-X KUBE-PORTALS-CONTAINER\n"
				  "-F KUBE-PORTALS-HOST\n-X KUBE-PORTALS-HOST\n"
				  "-F KUBE-NODEPORT-CONTAINER\n-X KUBE-NODEPORT-CONTAINER\n"
				  "-F KUBE-NODEPORT-HOST\n-X KUBE-NODEPORT-HOST\nCOMMIT\n");
	free(text);
	saved.nat = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING" FOREIGN "COMMIT\n";
	text = steering_iptables_render_cleanup(&saved);
	assert_string_equal(text, "");
	free(text);
}

static void cleanup_leaves_a_chain_that_a_foreign_rule_needs(void **state)
{
	struct steering_saved saved = {.nat = "*nat\n:KUBE-PORTALS-HOST - [0:0]\n:MINE - [0:0]\n"
					      "-A MINE -j KUBE-PORTALS-HOST\nCOMMIT\n"};
	char *text = steering_iptables_render_cleanup(&saved);

	(void)state;
	assert_string_equal(text, "*nat\n-F KUBE-PORTALS-HOST\nCOMMIT\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(renders_the_plan_as_it_always_did),
		cmocka_unit_test(each_kind_action_and_scope_has_its_rule_in_both_families),
		cmocka_unit_test(jumps_are_made_where_there_are_none),
		cmocka_unit_test(right_jumps_are_left_alone),
		cmocka_unit_test(misplaced_jumps_are_moved),
		cmocka_unit_test(doubled_jumps_become_one),
		cmocka_unit_test(altered_jumps_are_replaced),
		cmocka_unit_test(comments_cannot_break_out_of_their_quotes),
		cmocka_unit_test(cleanup_removes_what_is_there_and_no_more),
		cmocka_unit_test(cleanup_leaves_a_chain_that_a_foreign_rule_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
