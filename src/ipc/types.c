/* Owns the table of message types. Runs in every process. */
#include "ipc/types.h"

#include "portald/plan.h"

/* Encoded sizes. */
#define TEXT_BYTES(max) (2 + (max))
#define ADDR_PORT_BYTES 18
#define PORTAL_BYTES (1 + ADDR_PORT_BYTES)
#define RELAY_BACKEND_BYTES (ADDR_PORT_BYTES + 4)

static const struct ipc_type_info type_infos[IPC_TYPES] = {
	[IPC_SYNC_BEGIN] = {"sync-begin", 0, 0, 9},
	[IPC_LISTENER_PUT] = {"listener-put", 0, 0,
		TEXT_BYTES(PLAN_MAX_KEY_BYTES) + 2 + 4 + PLAN_MAX_PORTALS *PORTAL_BYTES + 4 +
			PLAN_MAX_BACKENDS *ADDR_PORT_BYTES},
	[IPC_LISTENER_DEL] = {"listener-del", 0, 0, TEXT_BYTES(PLAN_MAX_KEY_BYTES)},
	[IPC_SYNC_END] = {"sync-end", 0, 0, 9},
	[IPC_SYNC_DONE] = {"sync-done", 0, 0, 16},
	[IPC_RELAY_LISTENER] = {"relay-listener", 1, 1,
		4 + 2 + TEXT_BYTES(PLAN_MAX_KEY_BYTES) + 4 + PLAN_MAX_PORTALS *ADDR_PORT_BYTES},
	[IPC_RELAY_BACKENDS] = {"relay-backends", 0, 0, 4 + 4 + PLAN_MAX_BACKENDS *RELAY_BACKEND_BYTES},
	[IPC_RELAY_CLOSE] = {"relay-close", 0, 0, 4},
	[IPC_SPAWN] = {"spawn", 1, IPC_MAX_FDS, 5},
	[IPC_EXITED] = {"exited", 0, 0, 9},
	[IPC_FILES_GET] = {"files-get", 0, 0, 4},
	[IPC_FILE] = {"file", 0, 1, TEXT_BYTES(IPC_MAX_NAME_BYTES) + 4},
};

const struct ipc_type_info *ipc_type_info(unsigned type)
{
	return type < IPC_TYPES && type_infos[type].name ? &type_infos[type] : NULL;
}

const char *ipc_type_name(unsigned type)
{
	const struct ipc_type_info *info = ipc_type_info(type);

	return info ? info->name : "unknown";
}
