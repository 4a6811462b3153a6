/* One daemon a network namespace: two would take each other's rules away. */
#ifndef PROC_INSTANCE_H
#define PROC_INSTANCE_H

#include "proc/options.h"

/* Claims the network namespace for this process, if the options say that it will steer traffic in it. Returns
 * 0 and in *fd what holds the claim until it is closed in every process that has it (-1: none needed), or
 * -EADDRINUSE if another daemon has it (logged). */
int instance_claim(const struct options *options, int *fd);

/* The claim fd (-1: none), made by another process, is this one's from now on. */
void instance_adopt(int fd);

/* True if a daemon steers traffic in this network namespace (logged with its process number). */
bool instance_is_running(void);

#endif
