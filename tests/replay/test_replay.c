/* Runs each scenario of tests/replay/scenarios as a test. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "scenario.h"

static void run(void **state)
{
	const char *path = *state, *slash = strrchr(path, '/');
	char *recorded = mem_printf("%.*s/../recorded", (int)(slash - path), path);

	scenario_run(path, recorded);
	free(recorded);
}

int main(void)
{
	const char *srcdir = getenv("srcdir");
	char *pattern = mem_printf("%s/tests/replay/scenarios/*.txt", srcdir ? srcdir : ".");
	struct CMUnitTest *tests;
	glob_t found;
	int failed;

	if (glob(pattern, 0, NULL, &found) != 0) {
		fprintf(stderr, "no scenarios: %s\n", pattern);
		return EXIT_FAILURE;
	}
	tests = mem_calloc(found.gl_pathc, sizeof(*tests));
	for (size_t i = 0; i < found.gl_pathc; i++)
		tests[i] = (struct CMUnitTest){.name = strrchr(found.gl_pathv[i], '/') + 1,
			.test_func = run,
			.initial_state = found.gl_pathv[i]};
	failed = _cmocka_run_group_tests("replay", tests, found.gl_pathc, NULL, NULL);
	globfree(&found);
	free(tests);
	free(pattern);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
