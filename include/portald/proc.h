/* The whole program: command line in, exit code out. Only main.c includes this. */
#ifndef PORTALD_PROC_H
#define PORTALD_PROC_H

/* Runs portald with these arguments. Returns the exit code: 0, 1 on failure, 2 for a usage error; for
 * `portald run` the command's own. argv's memory is overwritten with the process title. */
int proc_main(int argc, char **argv);

#endif
