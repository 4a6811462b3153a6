/* Runs a fuzz target over stored inputs, for `make check` and for compilers without libFuzzer.
 *
 *     fuzz_NAME [FILE or DIRECTORY]...
 *
 * Without arguments: $srcdir/tests/fuzz/corpus/NAME, by the program's own name. Fails where there is
 * nothing to replay; otherwise the target itself, or a sanitizer, says what is wrong by aborting.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_BYTES 4096
#define MAX_INPUT_BYTES ((size_t)64 * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns how many inputs were replayed (1), or a negative errno. */
static int replay_file(const char *path, const struct stat *info)
{
	size_t size = (size_t)info->st_size;
	uint8_t *data;
	FILE *file;
	int rc = 1;

	if (size > MAX_INPUT_BYTES)
		return -EFBIG;
	file = fopen(path, "re");
	if (!file)
		return -errno;
	/* Exactly as large as the input, so that a sanitizer sees a read past its end. */
	data = malloc(size ? size : 1);
	if (!data || fread(data, 1, size, file) != size)
		rc = -EIO;
	else
		LLVMFuzzerTestOneInput(data, size);
	free(data);
	fclose(file);
	return rc;
}

static int replay_entry(const char *directory, const char *name)
{
	char path[PATH_BYTES];
	struct stat info;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (stat(path, &info) < 0)
		return -errno;
	return S_ISREG(info.st_mode) ? replay_file(path, &info) : 0;
}

static int replay_directory(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	int rc = 0, count = 0;

	if (!directory)
		return -errno;
	while (rc >= 0 && (entry = readdir(directory))) {
		rc = replay_entry(path, entry->d_name);
		count += rc > 0;
	}
	closedir(directory);
	return rc < 0 ? rc : count;
}

static int replay_path(const char *path)
{
	struct stat info;
	int rc;

	if (stat(path, &info) < 0)
		rc = -errno;
	else
		rc = S_ISDIR(info.st_mode) ? replay_directory(path) : replay_file(path, &info);
	if (rc <= 0)
		fprintf(stderr, "%s: %s\n", path, rc < 0 ? strerror(-rc) : "no inputs");
	else
		printf("%s: %d inputs\n", path, rc);
	return rc;
}

static int replay_default(void)
{
	const char *name = program_invocation_short_name;
	const char *srcdir = getenv("srcdir");
	char path[PATH_BYTES];

	if (strncmp(name, "fuzz_", 5) == 0)
		name += 5;
	snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".", name);
	return replay_path(path);
}

int main(int argc, char **argv)
{
	int rc = argc > 1 ? 1 : replay_default();

	for (int i = 1; i < argc && rc > 0; i++)
		rc = replay_path(argv[i]);
	return rc > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
