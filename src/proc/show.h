/* `portald plan`: what a node would open, without opening it. */
#ifndef PROC_SHOW_H
#define PROC_SHOW_H

#include "proc/options.h"

/* Reads the manifests, prints findings on standard error and the plan (or the rules) on standard output.
 * Returns the exit code: 1 if something was left out and --strict was given, or nothing could be read. */
int show_plan(const struct options *options);

#endif
