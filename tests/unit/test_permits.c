#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "proc/permits.h"

/* A directory with two files. */
struct place {
	char directory[32];
	char *one, *two;
	struct permits permits;
};

static char *make_file(const char *directory, const char *name)
{
	char *path = mem_printf("%s/%s", directory, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
	return path;
}

static int setup(void **state)
{
	struct place *place = mem_calloc(1, sizeof(*place));

	snprintf(place->directory, sizeof(place->directory), "/tmp/portald-test-XXXXXX");
	assert_non_null(mkdtemp(place->directory));
	place->one = make_file(place->directory, "one");
	place->two = make_file(place->directory, "two");
	*state = place;
	return 0;
}

static int teardown(void **state)
{
	struct place *place = *state;

	permits_fini(&place->permits);
	unlink(place->one);
	unlink(place->two);
	rmdir(place->directory);
	free(place->one);
	free(place->two);
	free(place);
	return 0;
}

static void opens(struct place *place, const char *path)
{
	int fd = permits_open(&place->permits, path);

	assert_true(fd >= 0);
	close(fd);
}

static void test_a_closed_list_opens_what_it_has_and_nothing_else(void **state)
{
	struct place *place = *state;

	opens(place, place->one);
	permits_close(&place->permits);
	assert_int_equal(permits_open(&place->permits, place->two), -EACCES);
	/* Credentials rotate: the same name is opened again and again. */
	opens(place, place->one);
	opens(place, place->one);
}

static void test_a_file_that_comes_later_may_have_been_named(void **state)
{
	struct place *place = *state;

	unlink(place->two);
	assert_int_equal(permits_open(&place->permits, place->two), -ENOENT);
	permits_close(&place->permits);
	free(place->two);
	place->two = make_file(place->directory, "two");
	opens(place, place->two);
}

static void test_only_regular_files_are_opened(void **state)
{
	struct place *place = *state;

	assert_true(permits_open(&place->permits, place->directory) < 0);
	assert_true(permits_open(&place->permits, "/dev/null") < 0);
}

static void test_the_list_is_bounded(void **state)
{
	struct place *place = *state;

	for (unsigned i = 0; i < PERMITS_MAX; i++) {
		char *path = mem_printf("%s/%u", place->directory, i);

		assert_int_equal(permits_open(&place->permits, path), -ENOENT);
		free(path);
	}
	assert_int_equal(permits_open(&place->permits, place->one), -ENOSPC);
}

#define PLACE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACE_TEST(test_a_closed_list_opens_what_it_has_and_nothing_else),
		PLACE_TEST(test_a_file_that_comes_later_may_have_been_named),
		PLACE_TEST(test_only_regular_files_are_opened),
		PLACE_TEST(test_the_list_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
