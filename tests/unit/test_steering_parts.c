/* The pure parts of the steering engine: when passes begin, how a culprit is found, what an earlier run's
 * rules tell, and the difference of two sets as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "portald/steering.h"
#include "steering/addr_set.h"
#include "steering/bisect.h"
#include "steering/left.h"
#include "steering/pace.h"

/* ---- pace ---- */

static void two_passes_in_a_row_begin_at_once_and_a_third_waits(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 1000);
	assert_int_equal(pace_delay_ms(&pace, 50000), 0);
	pace_begin(&pace, 50000);
	assert_int_equal(pace_delay_ms(&pace, 50010), 0);
	pace_begin(&pace, 50010);
	assert_int_equal(pace_delay_ms(&pace, 50020), 980);
	assert_int_equal(pace_delay_ms(&pace, 51000), 0);
	pace_begin(&pace, 51000);
	assert_int_equal(pace_delay_ms(&pace, 51000), 1000);
	/* After a rest, as at the beginning. */
	assert_int_equal(pace_delay_ms(&pace, 60000), 0);
	pace_begin(&pace, 60000);
	assert_int_equal(pace_delay_ms(&pace, 60000), 0);
}

static void pauses_double_after_failures_until_a_success(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 0);
	for (int64_t pause_ms = 1000; pause_ms < 30000; pause_ms *= 2) {
		pace_failed(&pace, 70000);
		assert_int_equal(pace_delay_ms(&pace, 70000), pause_ms);
	}
	pace_failed(&pace, 70000);
	assert_int_equal(pace_delay_ms(&pace, 70000), 30000);
	/* Who has waited for a lock asks again soon, however often. */
	for (int tries = 0; tries < 10; tries++) {
		pace_was_kept_waiting(&pace, 80000);
		assert_int_equal(pace_delay_ms(&pace, 80000), 1000);
	}
	pace_succeeded(&pace);
	assert_int_equal(pace_delay_ms(&pace, 70000), 0);
	pace_failed(&pace, 70000);
	assert_int_equal(pace_delay_ms(&pace, 70000), 1000);
}

/* ---- bisect ---- */

/* Tries until all is decided. Returns how many tries that took; *refused has a bit for each refused item. */
static size_t search(size_t count, uint64_t bad, bool named, uint64_t *refused)
{
	struct bisect bisect;
	struct bisect_range range = {0, count};
	size_t tries = 0;

	*refused = 0;
	bisect_init(&bisect, 0, count);
	while (bisect_next(&bisect, &range)) {
		size_t culprit = count, item;

		tries++;
		for (size_t i = range.end; i-- > range.first;) {
			if (bad & (UINT64_C(1) << i))
				culprit = i;
		}
		if (culprit == count)
			bisect_accepted(&bisect);
		else if (bisect_failed(&bisect, named ? culprit : count, &item))
			*refused |= UINT64_C(1) << item;
	}
	assert_false(bisect_exhausted(&bisect));
	bisect_fini(&bisect);
	return tries;
}

static void exactly_the_bad_ones_are_refused(void **state)
{
	static const uint64_t bads[] = {0, 1, UINT64_C(1) << 49, UINT64_C(1) << 20 | 1 << 7, 6};
	uint64_t refused;

	(void)state;
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		size_t halving = search(50, bads[i], false, &refused);

		assert_int_equal(refused, bads[i]);
		assert_true(search(50, bads[i], true, &refused) <= halving);
		assert_int_equal(refused, bads[i]);
	}
}

static void a_search_that_leads_nowhere_ends(void **state)
{
	struct bisect bisect;
	struct bisect_range range;
	size_t tries = 0, item;

	(void)state;
	bisect_init(&bisect, 0, 10000);
	while (bisect_next(&bisect, &range)) {
		bisect_failed(&bisect, 10000, &item);
		tries++;
	}
	assert_int_equal(tries, BISECT_MAX_TRIES);
	assert_true(bisect_exhausted(&bisect));
	bisect_fini(&bisect);
}

/* ---- what was left ---- */

static struct addr_port at(const char *addr, uint16_t port)
{
	struct addr_port at = {.port = port};

	assert_int_equal(addr_parse(&at.addr, addr), 0);
	return at;
}

static void ports_of_an_earlier_run_are_read_from_its_rules(void **state)
{
	static const char v4[] =
		"*nat\n:KUBE-PORTALS-CONTAINER - [0:0]\n"
		"-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9\n"
		"-A KUBE-PORTALS-CONTAINER -d 10.96.0.1/32 -p tcp -m comment --comment \"a/b: --dport 7\" "
		"-m tcp --dport 80 -j REDIRECT --to-ports 40001\n"
		"-A KUBE-PORTALS-CONTAINER -d 10.96.0.1/32 -p udp -m udp --dport 80 -j REDIRECT --to-ports "
		"40002\n"
		"-A KUBE-PORTALS-HOST -d nonsense -p tcp --dport 81 -j REDIRECT --to-ports 40003\n"
		"-A KUBE-PORTALS-HOST -d 10.96.0.2/32 -p tcp --dport 99999 -j REDIRECT --to-ports 40004\n"
		"-A KUBE-NODEPORT-HOST -d 192.0.2.0/24 -p tcp -m tcp --dport 30080 -j DNAT "
		"--to-destination 192.0.2.1:40005\nCOMMIT\n";
	static const char v6[] = "-A KUBE-PORTALS-HOST -d fd00::1/128 -p tcp -m tcp --dport 80 -j DNAT "
				 "--to-destination [2001:db8::1]:40006\n";
	const struct addr_port portals[] = {at("10.96.0.1", 80), at("0.0.0.0", 30080), at("fd00::1", 80),
		at("10.96.0.2", 34463), at("0.0.0.0", 81), at("0.0.0.0", 80)};
	static const uint16_t expected[] = {40001, 40005, 40006, 0, 0, 0};
	struct left left = {.count = 0};

	(void)state;
	left_add_iptables(&left, v4, ADDR_V4);
	left_add_iptables(&left, v6, ADDR_V6);
	left_sort(&left);
	for (size_t i = 0; i < sizeof(portals) / sizeof(portals[0]); i++)
		assert_int_equal(left_find(&left, PROTO_TCP, &portals[i]), expected[i]);
	assert_int_equal(left_find(&left, PROTO_UDP, &portals[0]), 40002);
	left_fini(&left);
}

/* ---- where traffic goes ---- */

static void an_interface_without_address_makes_arriving_traffic_go_to_the_nodes_own(void **state)
{
	struct plan_portal portal = {.kind = PLAN_PORTAL_CLUSTER_IP, .at = at("10.96.0.1", 80)};
	struct plan_listener listener = {.key = "default/web", .portals = &portal, .portal_count = 1};
	struct addr any = addr_any(ADDR_V4);
	struct steering_rules rules;
	char *text;

	(void)state;
	steering_rules_init(&rules, &any);
	steering_rules_add(&rules, &listener, 40001);
	rules.node_v4 = at("192.0.2.1", 0).addr;
	for (int routed = 0; routed < 2; routed++) {
		rules.routed = routed;
		text = steering_iptables_render(&rules, ADDR_V4, NULL);
		assert_true(routed ==
			    (strstr(text, "--dport 80 -j DNAT --to-destination 192.0.2.1:40001") != NULL));
		assert_non_null(strstr(text, "-j REDIRECT --to-ports 40001"));
		free(text);
	}
	steering_rules_fini(&rules);
}

/* ---- sets of addresses ---- */

#define UNIVERSE 5

/* Some of five addresses, by the bits of a number. */
static struct addr_set some(unsigned bits)
{
	static const char *const all[UNIVERSE] = {"0.0.0.1", "10.0.0.1", "255.0.0.1", "::1", "fd00::1"};
	struct addr_set set = {.list = mem_calloc(UNIVERSE, sizeof(*set.list))};

	for (size_t i = 0; i < UNIVERSE; i++) {
		if (bits & 1u << i)
			set.list[set.count++] = at(all[i], 0).addr;
	}
	return set;
}

static void assert_set(struct addr_set set, unsigned bits)
{
	struct addr_set expected = some(bits), all = some((1u << UNIVERSE) - 1);

	assert_int_equal(set.count, expected.count);
	for (size_t i = 0; i < set.count; i++)
		assert_true(addr_equal(&set.list[i], &expected.list[i]));
	for (size_t i = 0; i < UNIVERSE; i++)
		assert_int_equal(addr_set_find(&set, &all.list[i]) != NULL, bits >> i & 1);
	addr_set_fini(&set);
	addr_set_fini(&expected);
	addr_set_fini(&all);
}

static void sets_of_addresses_are_added_and_taken_away(void **state)
{
	(void)state;
	for (unsigned a = 0; a < 1u << UNIVERSE; a++) {
		for (unsigned b = 0; b < 1u << UNIVERSE; b++) {
			struct addr_set left = some(a), right = some(b);

			assert_set(addr_set_union(&left, &right), a | b);
			assert_set(addr_set_minus(&left, &right), a & ~b);
			addr_set_fini(&left);
			addr_set_fini(&right);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_passes_in_a_row_begin_at_once_and_a_third_waits),
		cmocka_unit_test(pauses_double_after_failures_until_a_success),
		cmocka_unit_test(exactly_the_bad_ones_are_refused),
		cmocka_unit_test(a_search_that_leads_nowhere_ends),
		cmocka_unit_test(ports_of_an_earlier_run_are_read_from_its_rules),
		cmocka_unit_test(an_interface_without_address_makes_arriving_traffic_go_to_the_nodes_own),
		cmocka_unit_test(sets_of_addresses_are_added_and_taken_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
