/* What nft is sent, and what is made of its listings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "portald/steering.h"
#include "steering/left.h"
#include "steering/nftables.h"

static struct addr address(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(&addr, text), 0);
	return addr;
}

struct portal {
	const char *key;
	enum proto proto;
	enum plan_portal_kind kind;
	const char *addr;
	uint16_t port, proxy_port;
	enum plan_scope scope;
	enum plan_action action;
};

static struct steering_rules rules_of(const struct portal *portals, size_t count)
{
	const struct addr any = addr_any(ADDR_V4);
	struct steering_rules rules;

	steering_rules_init(&rules, &any);
	for (size_t i = 0; i < count; i++) {
		const struct plan_listener listener = {.key = (char *)portals[i].key,
			.proto = portals[i].proto,
			.action = portals[i].action};
		const struct plan_portal portal = {.kind = portals[i].kind,
			.scope = portals[i].scope,
			.at = {address(portals[i].addr), portals[i].port}};

		steering_rules_add_portal(&rules, &listener, &portal, portals[i].proxy_port);
	}
	return rules;
}

#define RULES(...)                                                                                           \
	rules_of((const struct portal[]){__VA_ARGS__},                                                       \
		sizeof((const struct portal[]){__VA_ARGS__}) / sizeof(struct portal))

#define WEB                                                                                                  \
	{                                                                                                    \
		.key = "default/web:http", .addr = "10.96.0.10", .port = 80, .proxy_port = 34000,            \
	}
#define DNS                                                                                                  \
	{                                                                                                    \
		.key = "kube-system/dns", .proto = PROTO_UDP, .addr = "10.96.0.53", .port = 53,              \
		.proxy_port = 34001,                                                                         \
	}
#define WEB6                                                                                                 \
	{                                                                                                    \
		.key = "default/web:http", .addr = "fd00:96::10", .port = 80, .proxy_port = 34002,           \
	}

static void assert_change(
	const struct steering_rules *was, const struct steering_rules *now, const char *text)
{
	char *change = steering_nftables_render(now, was);

	assert_string_equal(change, text);
	free(change);
}

static void assert_holds(const char *text, const char *part, bool held)
{
	if ((strstr(text, part) != NULL) != held)
		fail_msg("%s in:\n%s", held ? part : "what should not be there is", text);
}

static void test_what_is_in_force_is_not_sent_again(void **state)
{
	struct steering_rules was = RULES(WEB, DNS), now = RULES(WEB, DNS);

	(void)state;
	assert_change(&was, &now, "");
	steering_rules_fini(&was);
	steering_rules_fini(&now);
}

static void test_one_more_service_sends_its_own_elements_only(void **state)
{
	struct steering_rules was = RULES(WEB), now = RULES(WEB, DNS);

	(void)state;
	assert_change(&was, &now,
		"add element ip portald portals {\n"
		"10.96.0.53 . 17 . 53 comment \"kube-system/dns\" : 34001\n}\n"
		"add element ip portald guarded {\n34001 comment \"kube-system/dns\"\n}\n");
	assert_change(&now, &was,
		"delete element ip portald portals {\n"
		"10.96.0.53 . 17 . 53 comment \"kube-system/dns\" : 34001\n}\n"
		"delete element ip portald guarded {\n34001 comment \"kube-system/dns\"\n}\n");
	steering_rules_fini(&was);
	steering_rules_fini(&now);
}

static void test_a_service_that_loses_its_endpoints_moves_to_the_refused(void **state)
{
	struct steering_rules was = RULES(WEB);
	struct steering_rules now = RULES({.key = "default/web:http",
		.addr = "10.96.0.10",
		.port = 80,
		.proxy_port = 34000,
		.action = PLAN_REJECT});

	(void)state;
	assert_change(&was, &now,
		"delete element ip portald portals {\n"
		"10.96.0.10 . 6 . 80 comment \"default/web:http\" : 34000\n}\n"
		"add element ip portald refused {\n"
		"10.96.0.10 . 6 . 80 comment \"default/web:http\" : goto refuse\n}\n");
	steering_rules_fini(&was);
	steering_rules_fini(&now);
}

static void test_a_family_comes_as_a_whole_and_leaves_its_table(void **state)
{
	struct steering_rules was = RULES(WEB), now = RULES(WEB, WEB6);
	char *text = steering_nftables_render(&now, &was);

	(void)state;
	assert_holds(text, "table ip6 portald {\n", true);
	assert_holds(text, "fd00:96::10 . 6 . 80 comment \"default/web:http\" : 34002", true);
	assert_holds(text, "table ip portald", false);
	free(text);
	assert_change(&now, &was,
		"delete element ip6 portald portals {\n"
		"fd00:96::10 . 6 . 80 comment \"default/web:http\" : 34002\n}\n");
	steering_rules_fini(&was);
	steering_rules_fini(&now);
}

static void test_what_pods_send_is_looked_up_with_what_the_host_sends(void **state)
{
	struct steering_rules now = RULES(WEB);
	char *text;

	(void)state;
	assert_int_equal(addr_parse_prefix(&now.pods[0], "10.244.0.0/16"), 0);
	now.pod_range_count = 1;
	text = steering_nftables_render(&now, NULL);
	assert_holds(text,
		"priority -101; policy accept;\n"
		"\t\tip saddr 10.244.0.0/16 meta l4proto { tcp, udp } redirect to : ip daddr . meta l4proto "
		". "
		"th dport map @portals_host\n",
		true);
	assert_holds(text,
		"\t\tfib daddr type local ip saddr 10.244.0.0/16 meta l4proto { tcp, udp } redirect to : "
		"meta l4proto . th dport map @node_ports_host\n",
		true);
	assert_holds(text, "ip saddr 10.244.0.0/16 meta l4proto { tcp, udp } ip daddr", false);
	free(text);
	steering_rules_fini(&now);
}

static void test_other_node_port_addresses_replace_the_table(void **state)
{
	struct steering_rules was = RULES(WEB), now = RULES(WEB);
	struct addr_prefix range = {.addr = address("192.0.2.0"), .bits = 24};
	char *text;

	(void)state;
	now.node_port_ranges = &range;
	now.node_port_range_count = 1;
	text = steering_nftables_render(&now, &was);
	assert_holds(text, "delete table ip portald\n", true);
	assert_holds(text, "fib daddr type local ip daddr 192.0.2.0/24 ", true);
	assert_holds(text, "table ip6", false);
	free(text);
	steering_rules_fini(&was);
	steering_rules_fini(&now);
}

static void test_the_first_rule_for_the_same_traffic_has_it(void **state)
{
	struct steering_rules none = RULES(WEB6), now = RULES(WEB6, DNS, WEB,
							  {.key = "default/late:http",
								  .addr = "10.96.0.10",
								  .port = 80,
								  .proxy_port = 34009});
	struct nftables_elements elements = nftables_elements_of(&now, ADDR_V4);

	(void)state;
	assert_int_equal(elements.count, 3);
	assert_int_equal(elements.list[0].proxy_port, 34000);
	nftables_elements_fini(&elements);
	steering_rules_fini(&none);
	steering_rules_fini(&now);
}

static void test_a_name_cannot_end_its_comment(void **state)
{
	struct steering_rules none = RULES(DNS), now = RULES(DNS, {.key = "a\" : 1, 10.0.0.1 . 6 . 1\n",
									  .addr = "10.96.0.10",
									  .port = 80,
									  .proxy_port = 34000});

	(void)state;
	assert_change(&none, &now,
		"add element ip portald portals {\n"
		"10.96.0.10 . 6 . 80 comment \"a??:?1??10.0.0.1?.?6?.?1?\" : 34000\n}\n");
	steering_rules_fini(&none);
	steering_rules_fini(&now);
}

/* As nft 1.0.6 prints it, but for the chains. */
#define LISTING(elements)                                                                                    \
	"table ip portald {\n"                                                                               \
	"\tmap portals {\n\t\ttype ipv4_addr . inet_proto . inet_service : inet_service\n" elements          \
	"\t}\n\n\tset guarded {\n\t\ttype inet_service\n"                                                    \
	"\t\telements = { 34001 comment \"kube-system/dns\" }\n\t}\n}\n"

#define DNS_ELEMENT "10.96.0.53 . 17 . 53 comment \"kube-system/dns\" : 34001"

static void assert_same_elements(const char *listing, const struct steering_rules *rules, bool same)
{
	struct nftables_digest there = nftables_digest_listing(listing),
			       wanted = nftables_digest_rules(rules);

	assert_int_equal(there.elements == wanted.elements && there.count == wanted.count, same);
	nftables_digest_fini(&there);
	nftables_digest_fini(&wanted);
}

static void test_a_listing_is_recognized_in_any_order_and_no_other_is(void **state)
{
	struct steering_rules rules = RULES(WEB, DNS);

	(void)state;
	assert_same_elements(
		LISTING("\t\telements = { " DNS_ELEMENT ",\n\t\t\t     10.96.0.10 . 6 . 80 comment "
			"\"default/web:http\" : 34000 }\n"),
		&rules, true);
	assert_same_elements(
		LISTING("\t\telements = { 10.96.0.10 . 6 . 80 comment \"default/web:http\" : 34000,\n"
			"\t\t\t     " DNS_ELEMENT " }\n"),
		&rules, true);
	assert_same_elements(LISTING("\t\telements = { " DNS_ELEMENT " }\n"), &rules, false);
	assert_same_elements(LISTING(""), &rules, false);
	assert_same_elements(
		LISTING("\t\telements = { " DNS_ELEMENT ",\n\t\t\t     10.96.0.10 . 6 . 80 comment "
			"\"default/web:http\" : 34003 }\n"),
		&rules, false);
	steering_rules_fini(&rules);
}

static void test_the_frame_of_a_listing_is_all_but_its_elements(void **state)
{
	struct nftables_digest full =
		nftables_digest_listing(LISTING("\t\telements = { " DNS_ELEMENT " }\n"));
	struct nftables_digest less = nftables_digest_listing(LISTING(""));
	struct nftables_digest other = nftables_digest_listing("table ip portald {\n}\n");

	(void)state;
	assert_holds(full.frame, "elements", false);
	assert_string_not_equal(full.frame, other.frame);
	assert_int_equal(less.count, 1);
	nftables_digest_fini(&full);
	nftables_digest_fini(&less);
	nftables_digest_fini(&other);
}

static void test_the_proxy_ports_of_a_listing_are_known(void **state)
{
	struct left left = {.list = NULL};
	struct addr_port dns = {address("10.96.0.53"), 53}, other = {address("10.96.0.54"), 53};

	(void)state;
	nftables_collect_left(&left, LISTING("\t\telements = { " DNS_ELEMENT ", nonsense . 6 }\n"), ADDR_V4);
	left_sort(&left);
	assert_int_equal(left.count, 1);
	assert_int_equal(left_find(&left, PROTO_UDP, &dns), 34001);
	assert_int_equal(left_find(&left, PROTO_TCP, &dns), 0);
	assert_int_equal(left_find(&left, PROTO_UDP, &other), 0);
	left_fini(&left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_in_force_is_not_sent_again),
		cmocka_unit_test(test_one_more_service_sends_its_own_elements_only),
		cmocka_unit_test(test_a_service_that_loses_its_endpoints_moves_to_the_refused),
		cmocka_unit_test(test_a_family_comes_as_a_whole_and_leaves_its_table),
		cmocka_unit_test(test_what_pods_send_is_looked_up_with_what_the_host_sends),
		cmocka_unit_test(test_other_node_port_addresses_replace_the_table),
		cmocka_unit_test(test_the_first_rule_for_the_same_traffic_has_it),
		cmocka_unit_test(test_a_name_cannot_end_its_comment),
		cmocka_unit_test(test_a_listing_is_recognized_in_any_order_and_no_other_is),
		cmocka_unit_test(test_the_proxy_ports_of_a_listing_are_known),
		cmocka_unit_test(test_the_frame_of_a_listing_is_all_but_its_elements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
