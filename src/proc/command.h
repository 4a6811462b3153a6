/* The COMMAND of `portald run`. */
#ifndef PROC_COMMAND_H
#define PROC_COMMAND_H

#include <sys/types.h>

/* Starts argv (NULL-terminated; NULL: the user's shell) with default signal handling. Returns its pid or a
 * negative errno. */
pid_t command_start(char **argv);

/* The exit code that a shell would report for a status of waitpid(). */
int command_exit_code(int status);

#endif
