/* Which credential files the starter opens for control: those that control asked for before it closed the
 * list, which is before it has seen a byte from the network. */
#ifndef PROC_PERMITS_H
#define PROC_PERMITS_H

#include <stdbool.h>
#include <stddef.h>

#define PERMITS_MAX 64

struct permits {
	char *paths[PERMITS_MAX];
	size_t count;
	bool closed;
};

/* Opens the regular file for reading. While the list is open the path is added to it. Returns a descriptor
 * that the caller closes, -EACCES for a path that isn't in the closed list, -ENOSPC if the open one is full,
 * or another negative errno. */
int permits_open(struct permits *permits, const char *path);

/* From now on only what is in the list is opened. For good: a control process that is started later can
 * not add to it. */
void permits_close(struct permits *permits);

void permits_fini(struct permits *permits);

#endif
