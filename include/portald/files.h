/* Manifest files: which ones a path stands for, opening and reading them.
 *
 * Used by the starter, which opens files for unprivileged control, and by `portald plan`. What the files hold
 * is no affair of this module.
 */
#ifndef PORTALD_FILES_H
#define PORTALD_FILES_H

#include <stddef.h>

/* Receives a file. name is as it shall appear in messages. fd is open for reading and is closed after the
 * call, or -1 if the file cannot be read; then error says why (negative errno, see files_error_text()).
 * Returns 0 to go on; anything else ends the collection. */
typedef int files_fn(void *context, const char *name, int fd, int error);

/* Calls fn for path if it is a regular file, or for each file in it whose name ends in .yaml, .yml or .json
 * if it is a directory: sorted by name, without descending, without names that begin with a dot, following
 * symbolic links (as in a ConfigMap's volume). What is neither, or cannot be opened, comes as an error. "-"
 * stands for standard input, which stays open. Returns what fn returned last, or 0. */
int files_collect(const char *path, files_fn *fn, void *context);

/* Reads the whole file into fresh memory, ended by a NUL that does not count. Returns 0, -EFBIG if it has
 * more than SOURCE_MAX_FILE_BYTES, or another negative errno. The caller frees *bytes. */
int files_read(int fd, char **bytes, size_t *count);

/* What went wrong, for a person. */
const char *files_error_text(int error);

#endif
