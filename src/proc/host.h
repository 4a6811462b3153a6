/* What the daemon sets on its host at start, as kube-proxy does. */
#ifndef PROC_HOST_H
#define PROC_HOST_H

#include "proc/options.h"

/* The OOM score of this process, which its children inherit, and connection tracking. Only for a daemon with
 * rules: `portald run` and --steering=none leave the host as it is. Whatever cannot be set is a warning. */
void host_prepare(const struct options *options);

#endif
