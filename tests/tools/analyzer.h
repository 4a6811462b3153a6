/* For the static analyzer only, which reads it before each file (lint.py). It does not know that a call that
 * failed leaves a positive errno, and would follow `return -errno` into the path for success. Here errno is
 * one of two numbers, so that the code for EAGAIN and that for other errors are both followed. */
#ifndef PORTALD_ANALYZER_H
#define PORTALD_ANALYZER_H

#include <errno.h>

int analyzer_unknown(void);

static inline int *analyzer_errno(void)
{
	int *value = __errno_location();

	*value = analyzer_unknown() ? EAGAIN : EIO;
	return value;
}

#undef errno
#define errno (*analyzer_errno())

#endif
