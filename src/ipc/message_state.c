/* Owns the message that tells control what became of a listener. */
#include "ipc/cursor.h"
#include "portald/ipc.h"
#include "portald/plan.h"

#define ENTRY_BYTES (IPC_ADDR_PORT_BYTES + 4)

int ipc_send_listener_state(struct ipc_channel *channel, const struct ipc_listener_state *state)
{
	struct ipc_writer writer = {0};

	ipc_put_text(&writer, state->id, PLAN_MAX_KEY_BYTES - 1);
	ipc_put_u32(&writer, state->slot);
	ipc_put_i32(&writer, state->error);
	ipc_put_addr_port(&writer, &state->proxy);
	ipc_put_text(&writer, state->refusal, IPC_REFUSAL_BYTES);
	ipc_put_count(&writer, state->unclaimed_count, PLAN_MAX_PORTALS);
	for (size_t i = 0; i < state->unclaimed_count; i++) {
		ipc_put_addr_port(&writer, &state->unclaimed[i].at);
		ipc_put_i32(&writer, state->unclaimed[i].error);
	}
	ipc_put_count(&writer, state->backend_count, PLAN_MAX_BACKENDS);
	for (size_t i = 0; i < state->backend_count; i++) {
		ipc_put_addr_port(&writer, &state->backends[i].at);
		ipc_put_u32(&writer, state->backends[i].slot);
	}
	return ipc_writer_send(&writer, channel, IPC_LISTENER_STATE, NULL, 0);
}

static const struct ipc_unclaimed *get_unclaimed(
	struct ipc_reader *reader, size_t *count, struct ipc_storage *storage)
{
	struct ipc_unclaimed *unclaimed;

	*count = ipc_get_count(reader, PLAN_MAX_PORTALS, ENTRY_BYTES);
	unclaimed = ipc_storage_add(storage, *count, sizeof(*unclaimed));
	for (size_t i = 0; i < *count; i++) {
		unclaimed[i].at = ipc_get_addr_port(reader);
		unclaimed[i].error = ipc_get_error(reader);
	}
	return unclaimed;
}

static const struct ipc_backend_slot *get_backends(
	struct ipc_reader *reader, size_t *count, struct ipc_storage *storage)
{
	struct ipc_backend_slot *backends;

	*count = ipc_get_count(reader, PLAN_MAX_BACKENDS, ENTRY_BYTES);
	backends = ipc_storage_add(storage, *count, sizeof(*backends));
	for (size_t i = 0; i < *count; i++) {
		backends[i].at = ipc_get_addr_port(reader);
		backends[i].slot = ipc_get_u32(reader);
	}
	return backends;
}

int ipc_decode_listener_state(
	const struct ipc_frame *frame, struct ipc_listener_state *out, struct ipc_storage *storage)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_LISTENER_STATE);

	storage->count = 0;
	out->id = ipc_get_key(&reader, storage);
	out->slot = ipc_get_u32(&reader);
	out->error = ipc_get_error(&reader);
	out->proxy = ipc_get_addr_port(&reader);
	out->refusal = ipc_get_text(&reader, IPC_REFUSAL_BYTES, storage);
	out->unclaimed = get_unclaimed(&reader, &out->unclaimed_count, storage);
	out->backends = get_backends(&reader, &out->backend_count, storage);
	return ipc_reader_finish_in(&reader, storage);
}
