/* Owns the list of credential files that may be opened. Runs in the starter.
 *
 *     state    from    by
 *     open     start   a path that is asked for is added and opened
 *     closed   open    permits_close(), for good: a path is opened if it was added */
#include "proc/permits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/kubeconfig.h"
#include "portald/log.h"
#include "portald/mem.h"

static bool is_listed(const struct permits *permits, const char *path)
{
	for (size_t i = 0; i < permits->count; i++) {
		if (strcmp(permits->paths[i], path) == 0)
			return true;
	}
	return false;
}

int permits_open(struct permits *permits, const char *path)
{
	if (!is_listed(permits, path)) {
		if (permits->closed) {
			log_warning("not opened: no such file was named at start, restart portald to have it",
				log_str("path", path));
			return -EACCES;
		}
		if (permits->count == PERMITS_MAX)
			return -ENOSPC;
		permits->paths[permits->count++] = mem_strdup(path);
	}
	return kubeconfig_open_plain(NULL, path);
}

void permits_close(struct permits *permits)
{
	permits->closed = true;
}

void permits_fini(struct permits *permits)
{
	for (size_t i = 0; i < permits->count; i++)
		free(permits->paths[i]);
	*permits = (struct permits){.count = 0};
}
