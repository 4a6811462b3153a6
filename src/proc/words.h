/* The command line's words. */
#ifndef PROC_WORDS_H
#define PROC_WORDS_H

#include <stdio.h>

#include "proc/options.h"

/* Reads argv into the command, the words of a COMMAND (borrowed) and options->line; values are not looked
 * into. Returns 0, or -EINVAL after printing what is wrong to err. */
int words_read(struct options *options, int argc, char **argv, FILE *err);

#endif
