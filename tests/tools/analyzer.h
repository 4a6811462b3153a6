/* For the static analyzer only, which reads it before each file (lint.py): what it cannot know. */
#ifndef PORTALD_ANALYZER_H
#define PORTALD_ANALYZER_H

#include <errno.h>
#include <uthash.h>

/* A call that failed leaves a positive errno: otherwise it would follow `return -errno` into the path for
 * success. One of two numbers, so that the code for EAGAIN and that for other errors are both followed. */
int analyzer_unknown(void);

static inline int *analyzer_errno(void)
{
	int *value = __errno_location();

	*value = analyzer_unknown() ? EAGAIN : EIO;
	return value;
}

#undef errno
#define errno (*analyzer_errno())

/* An entry that was taken out of a table is not reached through its neighbours any more: otherwise each
 * table that is emptied entry by entry would be a use after free. */
void analyzer_unlink(void *head, void *entry);

#undef HASH_DELETE
#define HASH_DELETE(hh, head, entry) analyzer_unlink(&(head), entry)

#endif
