/* Allocation for start-up, control and the supervisor, where running out of memory is fatal: these end
 * the process with a message instead of returning NULL (control is restarted by its supervisor). The
 * relay's data path does not use them: there, a failed allocation costs one connection. */
#ifndef PORTALD_MEM_H
#define PORTALD_MEM_H

#include <stddef.h>

/* Zeroed memory for count objects of size bytes; the caller frees it with free(). */
void *mem_calloc(size_t count, size_t size);

/* A copy of text, which may be NULL (then so is the copy). The caller frees it with free(). */
char *mem_strdup(const char *text);

/* printf into fresh memory. The caller frees it with free(). */
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Grows array so that it holds at least count + 1 objects of size bytes, doubling; *capacity is kept.
 * Returns the array, moved or not. */
void *mem_grow(void *array, size_t count, size_t *capacity, size_t size);

#endif
