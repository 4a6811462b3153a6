/* The host's iptables: which variants there are, and which one is in use. */
#ifndef STEERING_HOST_H
#define STEERING_HOST_H

#include <stdbool.h>

#include "portald/steering.h"

/* The tools of one family, by their paths. */
struct host_pair {
	char *save;
	char *restore;
};

/* One variant of iptables. */
struct host_tools {
	enum steering_tool kind; /* STEERING_TOOL_AUTO: the plain iptables of a host, which may be either */
	struct host_pair v4;
	struct host_pair v6; /* NULLs: the host has none */
	int lock_fd;         /* a private lock where the common one can't be opened; 0: none needed */
};

static inline const struct host_pair *host_pair(const struct host_tools *tools, enum addr_family family)
{
	return family == ADDR_V6 ? &tools->v6 : &tools->v4;
}

/* Finds the variant, or for STEERING_TOOL_AUTO the one that the host uses already. Returns 0, or -ENOENT
 * after logging what is missing. The caller ends with host_tools_fini(). */
int host_tools_find(struct host_tools *tools, enum steering_tool wanted, int timeout_ms);

/* Finds each variant that is there, for cleaning up. Returns how many were stored. */
int host_tools_find_all(struct host_tools tools[2]);

void host_tools_fini(struct host_tools *tools);

/* The path of a tool, by PATH or where the system's tools are, which the caller frees; NULL: it is not there.
 */
char *host_find_tool(const char *name);

/* True if the kernel holds that table of the legacy variant, or where it doesn't say. table NULL: any table;
 * then false where it doesn't say. */
bool host_legacy_table_loaded(enum addr_family family, const char *table);

#endif
