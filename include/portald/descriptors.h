/* How many file descriptors this process has, for what tells of its health. */
#ifndef PORTALD_DESCRIPTORS_H
#define PORTALD_DESCRIPTORS_H

#include <stdint.h>

/* Those that are open, by /proc: some milliseconds where there are ten thousands of them. 0 where /proc can't
 * be read. */
uint64_t descriptors_open(void);

/* How many there may be (the soft limit). */
uint64_t descriptors_limit(void);

#endif
