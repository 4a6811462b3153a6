/* Protocol names are the API's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "portald/proto.h"

static void test_names_parse_to_themselves(void **state)
{
	static const char *const names[] = {"TCP", "UDP", "SCTP"};
	enum proto proto;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(proto_parse(&proto, names[i]), 0);
		assert_string_equal(proto_name(proto), names[i]);
	}
}

static void test_other_spellings_are_refused(void **state)
{
	static const char *const names[] = {"", "tcp", "TCP ", "Tcp", "TC", "TCPX", "ICMP"};
	enum proto proto = PROTO_SCTP;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(proto_parse(&proto, names[i]), -EINVAL);
	assert_int_equal(proto, PROTO_SCTP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_parse_to_themselves),
		cmocka_unit_test(test_other_spellings_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
