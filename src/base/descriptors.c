/* Counts the descriptors of the process that calls. */
#include "portald/descriptors.h"

#include <dirent.h>
#include <stddef.h>
#include <sys/resource.h>

uint64_t descriptors_open(void)
{
	DIR *directory = opendir("/proc/self/fd");
	uint64_t count = 0;

	if (!directory)
		return 0;
	while (readdir(directory))
		count++;
	closedir(directory);
	/* Not "." and "..", and not the directory itself. */
	return count > 3 ? count - 3 : 0;
}

uint64_t descriptors_limit(void)
{
	struct rlimit limit = {.rlim_cur = 0};

	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}
