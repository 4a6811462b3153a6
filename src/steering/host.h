/* The host's iptables: which variants there are, and which one is in use. */
#ifndef STEERING_HOST_H
#define STEERING_HOST_H

#include <stdbool.h>

#include "portald/steering.h"

/* One variant of iptables, by the paths of its tools. */
struct host_tools {
	enum steering_tool kind; /* STEERING_TOOL_AUTO: the plain iptables of a host, which may be either */
	char *save;
	char *restore;
	int lock_fd; /* a private lock where the common one can't be opened; 0: none needed */
};

/* Finds the variant, or for STEERING_TOOL_AUTO the one that the host uses already. Returns 0, or -ENOENT
 * after logging what is missing. The caller ends with host_tools_fini(). */
int host_tools_find(struct host_tools *tools, enum steering_tool wanted, int timeout_ms);

/* Finds each variant that is there, for cleaning up. Returns how many were stored. */
int host_tools_find_all(struct host_tools tools[2]);

void host_tools_fini(struct host_tools *tools);

/* True if the kernel holds that table of the legacy variant, or where it doesn't say. table NULL: any table;
 * then false where it doesn't say. */
bool host_legacy_table_loaded(const char *table);

#endif
