/* Addresses: parsing, printing, order, classes, blocks, socket addresses. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/addr.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct addr addr_of(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(&addr, text), 0);
	return addr;
}

static struct addr_prefix prefix_of(const char *text)
{
	struct addr_prefix prefix;

	assert_int_equal(addr_parse_prefix(&prefix, text), 0);
	return prefix;
}

static void test_what_is_parsed_prints_the_same(void **state)
{
	static const char *const texts[] = {"0.0.0.0", "10.96.0.10", "255.255.255.255", "127.0.0.1",
		"::", "::1", "fd00::7", "fe80::1", "2001:db8:1:2:3:4:5:6",
		/* Not mapped: only near it. */
		"::fffe:a00:1", "::ffff:0:a00:1", "64:ff9b::a00:1"};
	char buf[ADDR_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct addr addr = addr_of(texts[i]);

		assert_string_equal(addr_format(&addr, buf), texts[i]);
		assert_int_equal(addr_family(&addr), strchr(texts[i], ':') ? ADDR_V6 : ADDR_V4);
	}
}

static void test_what_is_no_literal_is_refused(void **state)
{
	static const char *const texts[] = {"", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256",
		"1.2.3.4 ", " 1.2.3.4", "1.2.3.-4", "0x1.2.3.4", "localhost", "fe80::1%lo", "::g", "1::2::3",
		"[::1]", "::ffff:10.0.0.1", "::ffff:a00:1", "1.2.3.4/8", "12345::"};
	struct addr addr, untouched;

	(void)state;
	memset(&untouched, 0x5a, sizeof(untouched));
	for (size_t i = 0; i < COUNT(texts); i++) {
		addr = untouched;
		assert_int_equal(addr_parse(&addr, texts[i]), -EINVAL);
		assert_true(addr_equal(&addr, &untouched));
	}
}

static void test_prefix_takes_exact_blocks_only(void **state)
{
	static const char *const bad[] = {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
		"10.0.0.0/+8", "10.0.0.0/ 8", "10.0.0.0/8x", "10.0.0.1/8", "fd00::1/64", "fd00::/129", "/8",
		"x/8", "10.0.0.0/99999999999999999999",
		"1111111111111111111111111111111111111111111111111111111111111111111111/8"};
	struct addr_prefix prefix;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(addr_parse_prefix(&prefix, bad[i]), -EINVAL);
	assert_int_equal(prefix_of("10.96.0.0/12").bits, 12);
	assert_int_equal(prefix_of("0.0.0.0/0").bits, 0);
	assert_int_equal(prefix_of("10.0.0.1/32").bits, 32);
	assert_int_equal(prefix_of("::1/128").bits, 128);
}

static bool contains(const char *block, const char *text)
{
	struct addr_prefix prefix = prefix_of(block);
	struct addr addr = addr_of(text);

	return addr_prefix_contains(&prefix, &addr);
}

static void test_prefix_contains_its_addresses(void **state)
{
	(void)state;
	assert_true(contains("10.96.0.0/12", "10.96.0.0"));
	assert_true(contains("10.96.0.0/12", "10.111.255.255"));
	assert_false(contains("10.96.0.0/12", "10.112.0.0"));
	assert_false(contains("10.96.0.0/12", "10.95.255.255"));
	assert_true(contains("0.0.0.0/0", "255.1.2.3"));
	assert_true(contains("10.0.0.1/32", "10.0.0.1"));
	assert_false(contains("10.0.0.1/32", "10.0.0.2"));
	assert_true(contains("fd00::/9", "fd7f::1"));
	assert_false(contains("fd00::/9", "fd80::1"));
	assert_true(contains("::1/128", "::1"));
	assert_false(contains("::1/128", "::2"));
	/* Everything of one family holds nothing of the other. */
	assert_false(contains("0.0.0.0/0", "::1"));
	assert_false(contains("::/0", "10.0.0.1"));
}

static void test_address_with_port_prints_for_both_families(void **state)
{
	struct addr_port v4 = {.addr = addr_of("1.2.3.4"), .port = 80};
	struct addr_port v6 = {.addr = addr_of("1111:2222:3333:4444:5555:6666:7777:8888"), .port = 65535};
	char buf[ADDR_TEXT_BYTES];

	(void)state;
	assert_string_equal(addr_port_format(&v4, buf), "1.2.3.4:80");
	assert_string_equal(addr_port_format(&v6, buf), "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
	v6.addr = addr_any(ADDR_V6);
	assert_string_equal(addr_port_format(&v6, buf), "[::]:65535");
}

static void test_classes(void **state)
{
	struct addr any4 = addr_any(ADDR_V4), any6 = addr_any(ADDR_V6);
	struct addr lo4 = addr_of("127.255.0.9"), lo6 = addr_of("::1"), one = addr_of("0.0.0.1");
	struct addr multi4 = addr_of("239.1.2.3"), multi6 = addr_of("ff02::1"),
		    class_e = addr_of("240.0.0.1");
	struct addr link4 = addr_of("169.254.1.1"), link6 = addr_of("febf::1"), site = addr_of("fec0::1");

	(void)state;
	assert_int_equal(addr_family(&any4), ADDR_V4);
	assert_int_equal(addr_family(&any6), ADDR_V6);
	assert_true(addr_is_any(&any4) && addr_is_any(&any6) && !addr_is_any(&one) && !addr_is_any(&lo6));
	assert_true(addr_is_loopback(&lo4) && addr_is_loopback(&lo6));
	assert_false(addr_is_loopback(&any4) || addr_is_loopback(&any6));
	assert_true(addr_is_multicast(&multi4) && addr_is_multicast(&multi6));
	assert_false(addr_is_multicast(&class_e) || addr_is_multicast(&link6));
	assert_true(addr_is_link_local(&link4) && addr_is_link_local(&link6));
	assert_false(addr_is_link_local(&site) || addr_is_link_local(&lo4));
}

static int cmp_for_qsort(const void *a, const void *b)
{
	return addr_port_cmp(a, b);
}

static void test_order_is_by_family_number_and_port(void **state)
{
	struct addr_port list[] = {{addr_of("::"), 1}, {addr_of("fd00::1"), 1}, {addr_of("10.0.0.10"), 80},
		{addr_of("9.255.0.1"), 2}, {addr_of("10.0.0.9"), 443}, {addr_of("10.0.0.9"), 80},
		{addr_of("200.0.0.1"), 1}};
	static const char *const sorted[] = {"9.255.0.1:2", "10.0.0.9:80", "10.0.0.9:443", "10.0.0.10:80",
		"200.0.0.1:1", "[::]:1", "[fd00::1]:1"};
	char buf[ADDR_TEXT_BYTES];

	(void)state;
	qsort(list, COUNT(list), sizeof(list[0]), cmp_for_qsort);
	for (size_t i = 0; i < COUNT(list); i++)
		assert_string_equal(addr_port_format(&list[i], buf), sorted[i]);
	assert_int_equal(addr_port_cmp(&list[0], &list[0]), 0);
	assert_true(addr_port_equal(&list[1], &list[1]) && !addr_port_equal(&list[1], &list[2]));
}

static void test_v4_value_is_in_host_order(void **state)
{
	struct addr addr = addr_v4(0x0a600001);
	char buf[ADDR_TEXT_BYTES];

	(void)state;
	assert_string_equal(addr_format(&addr, buf), "10.96.0.1");
	assert_int_equal(addr_v4_value(&addr), 0x0a600001);
}

static void test_socket_addresses_round_trip(void **state)
{
	struct addr_port v4 = {.addr = addr_of("1.2.3.4"), .port = 0x1234}, out;
	struct addr_port v6 = {.addr = addr_of("fd00::7"), .port = 443};
	struct sockaddr_storage sa;

	(void)state;
	memset(&sa, 0xff, sizeof(sa));
	assert_int_equal(addr_to_sockaddr(&v4, &sa), sizeof(struct sockaddr_in));
	assert_int_equal(sa.ss_family, AF_INET);
	assert_int_equal(((struct sockaddr_in *)&sa)->sin_port, htons(0x1234));
	assert_int_equal(addr_from_sockaddr(&out, (struct sockaddr *)&sa), 0);
	assert_true(addr_port_equal(&out, &v4));
	memset(&sa, 0xff, sizeof(sa));
	assert_int_equal(addr_to_sockaddr(&v6, &sa), sizeof(struct sockaddr_in6));
	assert_int_equal(((struct sockaddr_in6 *)&sa)->sin6_scope_id, 0);
	assert_int_equal(addr_from_sockaddr(&out, (struct sockaddr *)&sa), 0);
	assert_true(addr_port_equal(&out, &v6));
	sa.ss_family = AF_UNIX;
	assert_int_equal(addr_from_sockaddr(&out, (struct sockaddr *)&sa), -EAFNOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_parsed_prints_the_same),
		cmocka_unit_test(test_what_is_no_literal_is_refused),
		cmocka_unit_test(test_prefix_takes_exact_blocks_only),
		cmocka_unit_test(test_prefix_contains_its_addresses),
		cmocka_unit_test(test_address_with_port_prints_for_both_families),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_order_is_by_family_number_and_port),
		cmocka_unit_test(test_v4_value_is_in_host_order),
		cmocka_unit_test(test_socket_addresses_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
