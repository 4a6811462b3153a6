/* Owns the table of message types. Runs in every process. */
#include "ipc/types.h"

#include "ipc/cursor.h"
#include "portald/plan.h"

/* Encoded sizes. */
#define TEXT_BYTES(max) (2 + (max))
#define PORTAL_BYTES (3 + IPC_ADDR_PORT_BYTES)
#define BACKEND_BYTES (IPC_ADDR_PORT_BYTES + 2)
#define RELAY_PORTAL_BYTES (IPC_ADDR_PORT_BYTES + 1)
#define RELAY_BACKEND_BYTES (IPC_ADDR_PORT_BYTES + 6)
#define UNCLAIMED_BYTES (IPC_ADDR_PORT_BYTES + 4)
#define BACKEND_SLOT_BYTES (IPC_ADDR_PORT_BYTES + 4)
#define RANGES_BYTES (4 + PLAN_MAX_SOURCE_RANGES * IPC_PREFIX_BYTES)

static const struct ipc_type_info type_infos[IPC_TYPES] = {
	[IPC_SYNC_BEGIN] = {"sync-begin", 0, 0, 9},
	[IPC_LISTENER_PUT] = {"listener-put", 0, 0,
		2 * TEXT_BYTES(PLAN_MAX_KEY_BYTES) + 3 + IPC_OPTIONS_BYTES + 4 +
			PLAN_MAX_PORTALS *PORTAL_BYTES + RANGES_BYTES + 4 + PLAN_MAX_BACKENDS *BACKEND_BYTES},
	[IPC_LISTENER_DEL] = {"listener-del", 0, 0, TEXT_BYTES(PLAN_MAX_KEY_BYTES)},
	[IPC_SYNC_END] = {"sync-end", 0, 0, 9},
	[IPC_SYNC_DONE] = {"sync-done", 0, 0, 16},
	[IPC_RELAY_LISTENER] = {"relay-listener", 1, 1,
		4 + 2 + TEXT_BYTES(PLAN_MAX_KEY_BYTES) + IPC_OPTIONS_BYTES + 4 +
			PLAN_MAX_PORTALS *RELAY_PORTAL_BYTES + RANGES_BYTES},
	[IPC_RELAY_BACKENDS] = {"relay-backends", 0, 0, 4 + 4 + PLAN_MAX_BACKENDS *RELAY_BACKEND_BYTES},
	[IPC_RELAY_CLOSE] = {"relay-close", 0, 0, 4},
	[IPC_SPAWN] = {"spawn", 1, IPC_MAX_FDS, 5},
	[IPC_EXITED] = {"exited", 0, 0, 9},
	[IPC_FILES_GET] = {"files-get", 0, 0, 4},
	[IPC_LISTENER_STATE] = {"listener-state", 0, 0,
		TEXT_BYTES(PLAN_MAX_KEY_BYTES) + 8 + IPC_ADDR_PORT_BYTES + 4 +
			PLAN_MAX_PORTALS *UNCLAIMED_BYTES + 4 + PLAN_MAX_BACKENDS *BACKEND_SLOT_BYTES},
	[IPC_FILE] = {"file", 0, 1, TEXT_BYTES(IPC_MAX_NAME_BYTES) + 4},
	[IPC_CREDENTIAL_GET] = {"credential-get", 0, 0, TEXT_BYTES(IPC_MAX_NAME_BYTES)},
	[IPC_CONFIG] = {"config", 1, 1, 0},
	[IPC_SETTINGS] = {"settings", 0, 0, TEXT_BYTES(IPC_MAX_SETTINGS_BYTES)},
	[IPC_RELAY_DRAIN] = {"relay-drain", 0, 0, 0},
	[IPC_SUCCEED] = {"succeed", 2, 2, 0},
	[IPC_HANDOVER] = {"handover", 0, 0, 1},
	[IPC_SUCCESSOR] = {"successor", 1, 1, 4},
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
