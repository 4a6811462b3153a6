/* Memory that is there or the process is not. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "portald/clock.h"
#include "portald/mem.h"

static void test_memory_comes_zeroed(void **state)
{
	unsigned char *bytes = mem_calloc(1000, 3);

	(void)state;
	for (size_t i = 0; i < 3000; i++)
		assert_int_equal(bytes[i], 0);
	free(bytes);
	/* Nothing is something that can be freed. */
	bytes = mem_calloc(0, 8);
	assert_non_null(bytes);
	free(bytes);
}

static void test_copy_of_nothing_is_nothing(void **state)
{
	char *copy = mem_strdup("text");

	(void)state;
	assert_string_equal(copy, "text");
	free(copy);
	assert_null(mem_strdup(NULL));
}

static void test_printf_makes_a_string(void **state)
{
	char *text = mem_printf("%s-%d", "a", 7);

	(void)state;
	assert_string_equal(text, "a-7");
	free(text);
}

static void test_array_grows_and_keeps_its_content(void **state)
{
	uint32_t *array = NULL;
	size_t capacity = 0;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		array = mem_grow(array, i, &capacity, sizeof(*array));
		assert_true(capacity > i);
		array[i] = i;
	}
	assert_int_equal(capacity, 1024);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(array[i], i);
	free(array);
}

/* Both a size that overflows and one that no machine has end the process, with a message. */
static void expect_abort(size_t count, size_t size)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		free(mem_calloc(count, size));
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	/* A sanitizer ends the process in its own way. */
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_running_out_ends_the_process(void **state)
{
	/* Not known to the compiler, which would warn. */
	volatile size_t huge = SIZE_MAX / 2;

	(void)state;
	expect_abort(huge, 4);
	expect_abort(huge, 1);
}

static void test_clock_does_not_go_back(void **state)
{
	int64_t before_us = clock_now_us(), before_ms = clock_now_ms();

	(void)state;
	assert_true(clock_now_us() >= before_us && clock_now_ms() >= before_ms);
	assert_true(before_ms - before_us / 1000 <= 1000 && before_ms >= before_us / 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_comes_zeroed),
		cmocka_unit_test(test_copy_of_nothing_is_nothing),
		cmocka_unit_test(test_printf_makes_a_string),
		cmocka_unit_test(test_array_grows_and_keeps_its_content),
		cmocka_unit_test(test_running_out_ends_the_process),
		cmocka_unit_test(test_clock_does_not_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
