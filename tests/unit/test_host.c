/* The settings of connection tracking, in a directory that stands for /proc/sys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "proc/conntrack_sysctls.h"

#define MAX "nf_conntrack_max"
#define ESTABLISHED "nf_conntrack_tcp_timeout_established"

static char directory[] = "/tmp/portald-host-XXXXXX/";

static void put(const char *name, const char *value)
{
	char *path = mem_printf("%s%s", directory, name);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(value, file);
	fclose(file);
	free(path);
}

static long get(const char *name)
{
	char *path = mem_printf("%s%s", directory, name), text[32] = "";
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	free(path);
	return atol(text);
}

static int setup(void **state)
{
	size_t slash = strlen(directory) - 1;

	(void)state;
	log_init("test", LOG_TEXT, 0);
	directory[slash] = '\0';
	if (!mkdtemp(directory))
		return -1;
	directory[slash] = '/';
	return 0;
}

static int fill(void **state)
{
	(void)state;
	put(MAX, "65536\n");
	put("hashsize", "16384\n");
	put(ESTABLISHED, "432000\n");
	put("nf_conntrack_tcp_timeout_close_wait", "60\n");
	put("nf_conntrack_udp_timeout", "30\n");
	put("nf_conntrack_udp_timeout_stream", "120\n");
	put("nf_conntrack_tcp_be_liberal", "0\n");
	return 0;
}

static int teardown(void **state)
{
	char *command = mem_printf("rm -r %s", directory);
	int rc = system(command);

	(void)state;
	free(command);
	return rc;
}

static void the_limit_grows_with_the_cpus_and_the_hash_table_with_it(void **state)
{
	struct conntrack_sysctls sysctls;

	(void)state;
	conntrack_sysctls_init(&sysctls);
	conntrack_sysctls_apply(&sysctls, 2, directory, directory);
	assert_int_equal(get(MAX), 131072);
	assert_int_equal(get("hashsize"), 32768);
	conntrack_sysctls_apply(&sysctls, 16, directory, directory);
	assert_int_equal(get(MAX), 524288);
	assert_int_equal(get("hashsize"), 131072);
}

static void a_larger_limit_is_left_alone(void **state)
{
	struct conntrack_sysctls sysctls;

	(void)state;
	put(MAX, "999999999\n");
	put("hashsize", "99999999\n");
	conntrack_sysctls_init(&sysctls);
	conntrack_sysctls_apply(&sysctls, 2, directory, directory);
	assert_int_equal(get(MAX), 999999999);
	assert_int_equal(get("hashsize"), 99999999);
}

static void timeouts_are_set_both_up_and_down(void **state)
{
	struct conntrack_sysctls sysctls;

	(void)state;
	conntrack_sysctls_init(&sysctls);
	sysctls.udp_s = 7;
	sysctls.tcp_be_liberal = true;
	conntrack_sysctls_apply(&sysctls, 2, directory, directory);
	assert_int_equal(get(ESTABLISHED), 86400);
	assert_int_equal(get("nf_conntrack_tcp_timeout_close_wait"), 3600);
	assert_int_equal(get("nf_conntrack_udp_timeout"), 7);
	assert_int_equal(get("nf_conntrack_udp_timeout_stream"), 120);
	assert_int_equal(get("nf_conntrack_tcp_be_liberal"), 1);
}

static void zero_leaves_all_as_it_is(void **state)
{
	struct conntrack_sysctls sysctls = {.min = 999999};

	(void)state;
	conntrack_sysctls_apply(&sysctls, 64, directory, directory);
	assert_int_equal(get(MAX), 65536);
	assert_int_equal(get("hashsize"), 16384);
	assert_int_equal(get(ESTABLISHED), 432000);
}

static void what_is_not_there_stops_nothing(void **state)
{
	struct conntrack_sysctls sysctls;

	(void)state;
	conntrack_sysctls_init(&sysctls);
	conntrack_sysctls_apply(&sysctls, 64, directory, "/nonexistent/");
	assert_int_equal(get(ESTABLISHED), 86400);
	conntrack_sysctls_apply(&sysctls, 64, "/nonexistent/", directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_limit_grows_with_the_cpus_and_the_hash_table_with_it, fill),
		cmocka_unit_test_setup(a_larger_limit_is_left_alone, fill),
		cmocka_unit_test_setup(timeouts_are_set_both_up_and_down, fill),
		cmocka_unit_test_setup(zero_leaves_all_as_it_is, fill),
		cmocka_unit_test_setup(what_is_not_there_stops_nothing, fill),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
