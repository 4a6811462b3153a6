/* The message types in one table: what a frame of each may be like, whoever sends it. */
#ifndef IPC_TYPES_H
#define IPC_TYPES_H

#include <stddef.h>

#include "portald/ipc.h"

struct ipc_type_info {
	const char *name;
	size_t fd_min, fd_max;
	size_t payload_max; /* bytes */
};

/* The type's limits, or NULL if there is no such type. */
const struct ipc_type_info *ipc_type_info(unsigned type);

/* "listener-put", or "unknown": for log lines. */
const char *ipc_type_name(unsigned type);

#endif
