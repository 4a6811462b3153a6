/* Stale conntrack entries, in the kernel's own table: entries are put there by the conntrack tool, each with
 * a source port of its own, and what is left is read from there. Every test has a network namespace of its
 * own with nothing but lo and 192.0.2.1. */
#include <event2/event.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "netns_rig.h"
#include "portald/mem.h"
#include "steering/conntrack.h"
#include "steering/rules.h"

#define PORTAL "10.96.0.1"
#define PORTAL_V6 "fd00:96::1"
#define CLIENT "198.51.100.9"
#define CLIENT_V6 "2001:db8::9"
#define NODE "192.0.2.1"

struct fixture {
	struct event_base *base;
	struct conntrack *conntrack;
	struct steering_rules rules;
};

static int set_up(void **state)
{
	struct fixture *fixture = mem_calloc(1, sizeof(*fixture));
	struct addr any = addr_any(ADDR_V4);

	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	rig_lo_up();
	free(shell("ip addr add " NODE "/32 dev lo"));
	fixture->base = event_base_new();
	fixture->conntrack = conntrack_new(fixture->base);
	steering_rules_init(&fixture->rules, &any);
	*state = fixture;
	return fixture->conntrack ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	conntrack_free(fixture->conntrack);
	steering_rules_fini(&fixture->rules);
	event_base_free(fixture->base);
	free(fixture);
	return 0;
}

/* ---- entries ---- */

static void insert(const char *arguments, const char *from, const char *to, uint16_t port, uint16_t tag)
{
	char *out =
		shell("PATH=$PATH:/usr/sbin:/sbin conntrack -I -t 1000 %s -s %s -d %s --dport %u --sport %u "
		      "2>/dev/null",
			arguments, from, to, port, tag);

	assert_non_null(out);
	free(out);
}

/* A UDP flow that no rule has met. */
static void udp_plain(const char *from, const char *to, uint16_t port, uint16_t tag)
{
	insert("-p udp", from, to, port, tag);
}

/* A UDP flow that was redirected to a proxy port. */
static void udp_redirected(const char *from, const char *to, uint16_t port, uint16_t proxy_port, uint16_t tag)
{
	const char *here = strchr(to, ':') ? "::1" : "127.0.0.1";
	char *arguments = mem_printf(
		"-p udp -r %s -q %s --reply-port-src %u --reply-port-dst %u", here, from, proxy_port, tag);

	insert(arguments, from, to, port, tag);
	free(arguments);
}

/* The tags of all entries, in ascending order. */
static void assert_left(const char *expected)
{
	char *left =
		shell("export PATH=$PATH:/usr/sbin:/sbin; (conntrack -L; conntrack -L -f ipv6) 2>/dev/null | "
		      "sed 's/^[^=]*=[^=]*=[^=]*=\\([0-9]*\\).*/\\1/' | sort -nu | tr '\\n' ' '");

	assert_non_null(left);
	assert_string_equal(left, expected);
	free(left);
}

/* ---- rules ---- */

struct portal {
	enum proto proto;
	enum plan_action action;
	enum plan_portal_kind kind;
	enum plan_scope scope;
	const char *addr;
	uint16_t port, proxy_port;
};

static void add(struct fixture *fixture, const struct portal *portal)
{
	struct plan_portal at = {.kind = portal->kind, .scope = portal->scope, .at.port = portal->port};
	struct plan_listener listener = {
		.key = "default/dns", .proto = portal->proto, .action = portal->action};

	assert_int_equal(addr_parse(&at.at.addr, portal->addr), 0);
	steering_rules_add_portal(&fixture->rules, &listener, &at, portal->proxy_port);
}

static void in_force(struct fixture *fixture)
{
	struct steering_rules *copy = rules_copy(&fixture->rules);

	conntrack_update(fixture->conntrack, copy);
	rules_unref(copy);
}

/* Brings the rules that were added into force. */
static void update(struct fixture *fixture)
{
	in_force(fixture);
	fixture->rules.count = 0;
	while (conntrack_is_busy(fixture->conntrack))
		assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
}

static const struct portal dns = {
	PROTO_UDP, PLAN_PROXY, PLAN_PORTAL_CLUSTER_IP, PLAN_SCOPE_ALL, PORTAL, 53, 40001};

/* ---- behaviours ---- */

static void flows_that_predate_the_rule_or_went_to_a_dead_port_are_removed(void **state)
{
	struct portal v6 = dns;

	v6.addr = PORTAL_V6;
	udp_plain(CLIENT, PORTAL, 53, 1001);
	udp_plain(NODE, PORTAL, 53, 1002);
	udp_redirected(CLIENT, PORTAL, 53, 39999, 1003);
	udp_redirected(CLIENT, PORTAL, 53, 40001, 2001);
	udp_plain(CLIENT_V6, PORTAL_V6, 53, 1004);
	udp_redirected(CLIENT_V6, PORTAL_V6, 53, 40001, 2002);
	add(*state, &dns);
	add(*state, &v6);
	update(*state);
	assert_left("2001 2002 ");
}

static void what_is_no_portals_stays(void **state)
{
	udp_plain(CLIENT, PORTAL, 54, 2001);
	udp_plain(CLIENT, "10.96.0.2", 53, 2002);
	udp_plain(PORTAL, CLIENT, 1234, 2003);
	udp_redirected(CLIENT, "10.96.0.2", 53, 39999, 2004);
	insert("-p tcp --state ESTABLISHED -u SEEN_REPLY,ASSURED", CLIENT, PORTAL, 53, 2005);
	insert("-p tcp --state SYN_SENT", CLIENT, PORTAL, 53, 2006);
	add(*state, &dns);
	update(*state);
	assert_left("2001 2002 2003 2004 2005 2006 ");
}

static void a_changed_proxy_port_moves_the_flows(void **state)
{
	struct portal moved = dns;

	add(*state, &dns);
	update(*state);
	udp_redirected(CLIENT, PORTAL, 53, 40001, 1001);
	moved.proxy_port = 40002;
	add(*state, &moved);
	update(*state);
	assert_left("");
}

static void a_removed_portals_flows_go_with_it(void **state)
{
	add(*state, &dns);
	update(*state);
	udp_redirected(CLIENT, PORTAL, 53, 40001, 1001);
	udp_redirected(CLIENT, PORTAL, 53, 50000, 2001);
	udp_plain(CLIENT, PORTAL, 53, 2002);
	update(*state);
	assert_left("2001 2002 ");
}

static void a_refused_portals_flows_are_ended(void **state)
{
	struct portal refused = dns;

	add(*state, &dns);
	update(*state);
	udp_redirected(CLIENT, PORTAL, 53, 40001, 1001);
	refused.action = PLAN_REJECT;
	add(*state, &refused);
	update(*state);
	assert_left("");
}

static void a_nodeports_flows_are_those_to_addresses_of_the_node(void **state)
{
	struct portal node_port = {
		PROTO_UDP, PLAN_PROXY, PLAN_PORTAL_NODE_PORT, PLAN_SCOPE_ALL, "0.0.0.0", 30053, 40001};

	udp_plain(CLIENT, NODE, 30053, 1001);
	udp_plain(NODE, NODE, 30053, 1002);
	udp_plain("127.0.0.1", "127.0.0.1", 30053, 1003);
	udp_redirected(CLIENT, NODE, 30053, 39999, 1004);
	udp_redirected(CLIENT, NODE, 30053, 40001, 2001);
	/* Another node's NodePort, to which a pod of this one talks. */
	udp_plain(CLIENT, "192.0.2.2", 30053, 2002);
	add(*state, &node_port);
	update(*state);
	assert_left("2001 2002 ");
}

static void nodeports_elsewhere_than_allowed_are_not_ours(void **state)
{
	struct fixture *fixture = *state;
	struct portal node_port = {
		PROTO_UDP, PLAN_PROXY, PLAN_PORTAL_NODE_PORT, PLAN_SCOPE_ALL, "0.0.0.0", 30053, 40001};
	struct addr_prefix allowed = {.bits = 32};

	assert_int_equal(addr_parse(&allowed.addr, NODE), 0);
	fixture->rules.node_port_ranges = &allowed;
	fixture->rules.node_port_range_count = 1;
	udp_plain(CLIENT, NODE, 30053, 1001);
	udp_plain("127.0.0.1", "127.0.0.1", 30053, 2001);
	add(fixture, &node_port);
	update(fixture);
	assert_left("2001 ");
}

static void each_scope_has_its_own_right_port(void **state)
{
	struct portal inside = dns, outside = dns;

	inside.scope = PLAN_SCOPE_HOST;
	outside.scope = PLAN_SCOPE_ARRIVING;
	outside.proxy_port = 40002;
	udp_redirected(NODE, PORTAL, 53, 40001, 2001);
	udp_redirected(CLIENT, PORTAL, 53, 40002, 2002);
	udp_redirected(NODE, PORTAL, 53, 40002, 1001);
	udp_redirected(CLIENT, PORTAL, 53, 40001, 1002);
	add(*state, &inside);
	add(*state, &outside);
	update(*state);
	assert_left("2001 2002 ");
}

static void what_pods_send_goes_by_the_hosts_portals(void **state)
{
	struct portal inside = dns, outside = dns;
	struct fixture *fixture = *state;

	assert_int_equal(addr_parse_prefix(&fixture->rules.pods[0], CLIENT "/32"), 0);
	fixture->rules.pod_range_count = 1;
	inside.scope = PLAN_SCOPE_HOST;
	outside.scope = PLAN_SCOPE_ARRIVING;
	outside.proxy_port = 40002;
	udp_redirected(CLIENT, PORTAL, 53, 40001, 2001);
	udp_redirected(CLIENT, PORTAL, 53, 40002, 1001);
	add(*state, &inside);
	add(*state, &outside);
	update(*state);
	assert_left("2001 ");
}

static void only_attempts_of_tcp_are_removed(void **state)
{
	struct portal web = {
		PROTO_TCP, PLAN_PROXY, PLAN_PORTAL_CLUSTER_IP, PLAN_SCOPE_ALL, PORTAL, 80, 40001};

	insert("-p tcp --state SYN_SENT", CLIENT, PORTAL, 80, 1001);
	insert("-p tcp --state ESTABLISHED -u SEEN_REPLY,ASSURED", CLIENT, PORTAL, 80, 2001);
	insert("-p tcp --state ESTABLISHED -u SEEN_REPLY,ASSURED -r 127.0.0.1 -q " CLIENT
	       " --reply-port-src 39999 --reply-port-dst 2002",
		CLIENT, PORTAL, 80, 2002);
	insert("-p tcp --state SYN_SENT -r 127.0.0.1 -q " CLIENT
	       " --reply-port-src 40001 --reply-port-dst 2003",
		CLIENT, PORTAL, 80, 2003);
	add(*state, &web);
	update(*state);
	assert_left("2001 2002 2003 ");
}

static void the_same_rules_again_cost_nothing(void **state)
{
	struct fixture *fixture = *state;

	add(fixture, &dns);
	update(fixture);
	add(fixture, &dns);
	in_force(fixture);
	assert_false(conntrack_is_busy(fixture->conntrack));
}

static void rules_that_were_in_force_for_a_moment_leave_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct portal brief = dns;

	brief.proxy_port = 40002;
	add(fixture, &dns);
	in_force(fixture);
	assert_true(conntrack_is_busy(fixture->conntrack));
	fixture->rules.count = 0;
	add(fixture, &brief);
	in_force(fixture);
	fixture->rules.count = 0;
	udp_redirected(CLIENT, PORTAL, 53, 40001, 1001);
	udp_redirected(CLIENT, PORTAL, 53, 40002, 1002);
	update(fixture);
	assert_left("");
}

static void a_large_table_is_read_in_pieces(void **state)
{
	struct fixture *fixture = *state;
	int turns = 0;
	char *out = shell(
		"export PATH=$PATH:/usr/sbin:/sbin; for n in $(seq 10000 13999); do echo -I -t 1000 -p udp "
		"-s " CLIENT " -d " PORTAL " --dport $((n %% 2 + 53)) --sport $n; done > /tmp/entries-$$; "
		"conntrack -R /tmp/entries-$$ 2>/dev/null; rm /tmp/entries-$$");

	assert_non_null(out);
	free(out);
	add(fixture, &dns);
	in_force(fixture);
	for (; conntrack_is_busy(fixture->conntrack); turns++)
		event_base_loop(fixture->base, EVLOOP_ONCE);
	assert_true(turns > 10);
	out = shell("PATH=$PATH:/usr/sbin:/sbin conntrack -L 2>/dev/null | grep -c dport=5");
	assert_string_equal(out, "2000\n");
	free(out);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(flows_that_predate_the_rule_or_went_to_a_dead_port_are_removed),
		CASE(what_is_no_portals_stays),
		CASE(a_changed_proxy_port_moves_the_flows),
		CASE(a_removed_portals_flows_go_with_it),
		CASE(a_refused_portals_flows_are_ended),
		CASE(a_nodeports_flows_are_those_to_addresses_of_the_node),
		CASE(nodeports_elsewhere_than_allowed_are_not_ours),
		CASE(each_scope_has_its_own_right_port),
		CASE(what_pods_send_goes_by_the_hosts_portals),
		CASE(only_attempts_of_tcp_are_removed),
		CASE(the_same_rules_again_cost_nothing),
		CASE(rules_that_were_in_force_for_a_moment_leave_nothing),
		CASE(a_large_table_is_read_in_pieces),
	};
	char *tool;

	if (rig_enter_user_namespace() < 0)
		return rig_skipped("this user can make no user and network namespace");
	tool = shell("PATH=$PATH:/usr/sbin:/sbin conntrack -L 2>/dev/null && command -v ip");
	if (!tool)
		return rig_skipped("ip or conntrack is missing or doesn't work here");
	free(tool);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
