/* Owns the messages from the supervisor to a relay: what to listen on and where to connect to. */
#include <errno.h>

#include "ipc/cursor.h"
#include "portald/ipc.h"
#include "portald/plan.h"

#define PORTAL_BYTES (IPC_ADDR_PORT_BYTES + 1)
#define BACKEND_BYTES (IPC_ADDR_PORT_BYTES + 6)
#define PROTOS (PROTO_SCTP + 1)

int ipc_send_relay_listener(struct ipc_channel *channel, const struct ipc_relay_listener *listener, int fd)
{
	struct ipc_writer writer = {0};

	ipc_put_u32(&writer, listener->name);
	ipc_put_u32(&writer, listener->slot);
	ipc_put_u8(&writer, (uint8_t)listener->proto);
	ipc_put_bool(&writer, listener->check_destination);
	ipc_put_bool(&writer, listener->direct);
	ipc_put_text(&writer, listener->key, PLAN_MAX_KEY_BYTES - 1);
	ipc_put_options(&writer, &listener->options);
	ipc_put_count(&writer, listener->portal_count, PLAN_MAX_PORTALS);
	for (size_t i = 0; i < listener->portal_count; i++) {
		ipc_put_addr_port(&writer, &listener->portals[i].at);
		ipc_put_bool(&writer, listener->portals[i].check_source);
	}
	ipc_put_count(&writer, listener->source_range_count, PLAN_MAX_SOURCE_RANGES);
	for (size_t i = 0; i < listener->source_range_count; i++)
		ipc_put_prefix(&writer, &listener->source_ranges[i]);
	return ipc_writer_send(&writer, channel, IPC_RELAY_LISTENER, &fd, 1);
}

static const struct ipc_relay_portal *get_portals(
	struct ipc_reader *reader, size_t *count, struct ipc_storage *storage)
{
	struct ipc_relay_portal *portals;

	*count = ipc_get_count(reader, PLAN_MAX_PORTALS, PORTAL_BYTES);
	portals = ipc_storage_add(storage, *count, sizeof(*portals));
	for (size_t i = 0; i < *count; i++) {
		portals[i].at = ipc_get_addr_port(reader);
		portals[i].check_source = ipc_get_bool(reader);
	}
	return portals;
}

static const struct addr_prefix *get_source_ranges(
	struct ipc_reader *reader, size_t *count, struct ipc_storage *storage)
{
	struct addr_prefix *ranges;

	*count = ipc_get_count(reader, PLAN_MAX_SOURCE_RANGES, IPC_PREFIX_BYTES);
	ranges = ipc_storage_add(storage, *count, sizeof(*ranges));
	for (size_t i = 0; i < *count && !reader->failed; i++)
		ranges[i] = ipc_get_prefix(reader);
	return ranges;
}

int ipc_decode_relay_listener(
	const struct ipc_frame *frame, struct ipc_relay_listener *out, struct ipc_storage *storage)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_RELAY_LISTENER);

	storage->count = 0;
	out->name = ipc_get_u32(&reader);
	out->slot = ipc_get_u32(&reader);
	out->proto = ipc_get_enum(&reader, PROTOS);
	out->check_destination = ipc_get_bool(&reader);
	out->direct = ipc_get_bool(&reader);
	out->key = ipc_get_key(&reader, storage);
	out->options = ipc_get_options(&reader);
	out->portals = get_portals(&reader, &out->portal_count, storage);
	out->source_ranges = get_source_ranges(&reader, &out->source_range_count, storage);
	return ipc_reader_finish_in(&reader, storage);
}

int ipc_send_relay_backends(struct ipc_channel *channel, const struct ipc_relay_backends *backends)
{
	struct ipc_writer writer = {0};

	ipc_put_u32(&writer, backends->listener);
	ipc_put_count(&writer, backends->backend_count, PLAN_MAX_BACKENDS);
	for (size_t i = 0; i < backends->backend_count; i++) {
		ipc_put_addr_port(&writer, &backends->backends[i].at);
		ipc_put_u32(&writer, backends->backends[i].slot);
		ipc_put_u16(&writer, backends->backends[i].weight);
	}
	return ipc_writer_send(&writer, channel, IPC_RELAY_BACKENDS, NULL, 0);
}

int ipc_decode_relay_backends(
	const struct ipc_frame *frame, struct ipc_relay_backends *out, struct ipc_storage *storage)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_RELAY_BACKENDS);
	struct ipc_relay_backend *backends;

	storage->count = 0;
	out->listener = ipc_get_u32(&reader);
	out->backend_count = ipc_get_count(&reader, PLAN_MAX_BACKENDS, BACKEND_BYTES);
	backends = ipc_storage_add(storage, out->backend_count, sizeof(*backends));
	for (size_t i = 0; i < out->backend_count; i++) {
		backends[i].at = ipc_get_addr_port(&reader);
		backends[i].slot = ipc_get_u32(&reader);
		backends[i].weight = ipc_get_u16(&reader);
	}
	out->backends = backends;
	return ipc_reader_finish_in(&reader, storage);
}

int ipc_send_relay_close(struct ipc_channel *channel, uint32_t listener)
{
	struct ipc_writer writer = {0};

	ipc_put_u32(&writer, listener);
	return ipc_writer_send(&writer, channel, IPC_RELAY_CLOSE, NULL, 0);
}

int ipc_decode_relay_close(const struct ipc_frame *frame, uint32_t *listener)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_RELAY_CLOSE);

	*listener = ipc_get_u32(&reader);
	return ipc_reader_finish(&reader);
}
