/* Manifest files: real directories, links, and what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "portald/files.h"
#include "portald/mem.h"
#include "portald/source.h"

/* A directory of its own for each test, which is the working directory meanwhile. */
struct fixture {
	char path[64];
	int before;
};

struct seen {
	char *text; /* "name=content;" or "name!errno;" */
	size_t count, stop_after;
};

static int set_up(void **state)
{
	struct fixture *fixture = mem_calloc(1, sizeof(*fixture));

	snprintf(fixture->path, sizeof(fixture->path), "/tmp/portald-files-XXXXXX");
	fixture->before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = fixture;
	return fixture->before < 0 || !mkdtemp(fixture->path) || chdir(fixture->path) < 0;
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *where)
{
	(void)about;
	(void)kind;
	(void)where;
	return remove(path);
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	int rc = fchdir(fixture->before);

	close(fixture->before);
	rc = nftw(fixture->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS) || rc;
	free(fixture);
	return rc;
}

static void write_file(const char *path, const char *content)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(content, file);
	fclose(file);
}

static int on_file(void *context, const char *name, int fd, int error)
{
	struct seen *seen = context;
	char *longer, *bytes;
	size_t count;

	if (fd < 0) {
		assert_true(error < 0);
		longer = mem_printf("%s%s!%s;", seen->text, name, strerrorname_np(-error));
	} else {
		assert_int_equal(error, 0);
		assert_int_equal(files_read(fd, &bytes, &count), 0);
		assert_int_equal(strlen(bytes), count);
		longer = mem_printf("%s%s=%s;", seen->text, name, bytes);
		free(bytes);
	}
	free(seen->text);
	seen->text = longer;
	return ++seen->count == seen->stop_after ? 77 : 0;
}

static void assert_collects(const char *path, const char *expected)
{
	struct seen seen = {.text = mem_strdup("")};

	assert_int_equal(files_collect(path, on_file, &seen), 0);
	assert_string_equal(seen.text, expected);
	free(seen.text);
}

static void a_file_stands_for_itself_whatever_its_name(void **state)
{
	(void)state;
	write_file("web.txt", "a: 1");
	assert_collects("web.txt", "web.txt=a: 1;");
}

static void a_directory_stands_for_its_manifests_in_order(void **state)
{
	(void)state;
	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(mkdir("d/deeper.yaml", 0755), 0);
	write_file("d/b.yaml", "b");
	write_file("d/a.json", "a");
	write_file("d/c.yml", "");
	write_file("d/.hidden.yaml", "no");
	write_file("d/.yaml", "no");
	write_file("d/note.txt", "no");
	write_file("d/b.yaml~", "no");
	assert_collects("d", "d/a.json=a;d/b.yaml=b;d/c.yml=;d/deeper.yaml!EOPNOTSUPP;");
	assert_int_equal(rmdir("d/deeper.yaml"), 0);
	assert_collects("d/", "d/a.json=a;d/b.yaml=b;d/c.yml=;");
}

static void an_empty_directory_has_no_files(void **state)
{
	(void)state;
	assert_int_equal(mkdir("d", 0755), 0);
	assert_collects("d", "");
}

/* A ConfigMap's volume: web.yaml -> ..data/web.yaml, ..data -> ..version, swapped by a rename. */
static void a_configmaps_links_are_followed_after_the_swap(void **state)
{
	(void)state;
	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(mkdir("d/..v1", 0755), 0);
	assert_int_equal(mkdir("d/..v2", 0755), 0);
	write_file("d/..v1/web.yaml", "one");
	write_file("d/..v2/web.yaml", "two");
	assert_int_equal(symlink("..v1", "d/..data"), 0);
	assert_int_equal(symlink("..data/web.yaml", "d/web.yaml"), 0);
	assert_collects("d", "d/web.yaml=one;");
	assert_int_equal(symlink("..v2", "d/..data_tmp"), 0);
	assert_int_equal(rename("d/..data_tmp", "d/..data"), 0);
	assert_collects("d", "d/web.yaml=two;");
}

static void what_cannot_be_opened_is_named(void **state)
{
	(void)state;
	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(symlink("nowhere", "d/a.yaml"), 0);
	write_file("d/b.yaml", "b");
	assert_collects("d", "d/a.yaml!ENOENT;d/b.yaml=b;");
	assert_collects("missing", "missing!ENOENT;");
	assert_collects("d/b.yaml/x", "d/b.yaml/x!ENOTDIR;");
}

static void a_fifo_or_a_device_is_refused_at_once(void **state)
{
	(void)state;
	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(mkfifo("d/f.yaml", 0644), 0);
	assert_int_equal(symlink("/dev/zero", "d/z.yaml"), 0);
	assert_collects("d", "d/f.yaml!EOPNOTSUPP;d/z.yaml!EOPNOTSUPP;");
	assert_collects("d/f.yaml", "d/f.yaml!EOPNOTSUPP;");
	assert_string_equal(files_error_text(-ENOTSUP), "not a regular file");
}

static void the_receiver_can_end_the_collection(void **state)
{
	struct seen seen = {.text = mem_strdup(""), .stop_after = 1};

	(void)state;
	assert_int_equal(mkdir("d", 0755), 0);
	write_file("d/a.yaml", "a");
	write_file("d/b.yaml", "b");
	assert_int_equal(files_collect("d", on_file, &seen), 77);
	assert_string_equal(seen.text, "d/a.yaml=a;");
	free(seen.text);
}

static void a_file_beyond_the_limit_is_not_read(void **state)
{
	char *bytes = NULL;
	size_t count;
	int fd = open("big", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)SOURCE_MAX_FILE_BYTES + 1), 0);
	assert_int_equal(files_read(fd, &bytes, &count), -EFBIG);
	assert_int_equal(ftruncate(fd, (off_t)200000), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(files_read(fd, &bytes, &count), 0);
	assert_int_equal(count, 200000);
	free(bytes);
	close(fd);
	assert_string_equal(files_error_text(-EFBIG), "too large for a manifest");
}

static void a_directory_cannot_be_read_as_a_file(void **state)
{
	char *bytes = NULL;
	size_t count;
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(files_read(fd, &bytes, &count), -EISDIR);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_file_stands_for_itself_whatever_its_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_directory_stands_for_its_manifests_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_empty_directory_has_no_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_configmaps_links_are_followed_after_the_swap, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_cannot_be_opened_is_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_fifo_or_a_device_is_refused_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_receiver_can_end_the_collection, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_file_beyond_the_limit_is_not_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_directory_cannot_be_read_as_a_file, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
