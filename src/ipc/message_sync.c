/* Owns the messages between control and supervisor: the plan and its acknowledgement. The supervisor
 * decodes bytes of an unprivileged process here. */
#include <errno.h>

#include "ipc/cursor.h"
#include "portald/ipc.h"
#include "portald/plan.h"

#define KEY_BYTES (PLAN_MAX_KEY_BYTES - 1)
#define PORTAL_BYTES (3 + IPC_ADDR_PORT_BYTES)
#define BACKEND_BYTES (IPC_ADDR_PORT_BYTES + 2)
#define PROTOS (PROTO_SCTP + 1)

int ipc_send_sync(struct ipc_channel *channel, enum ipc_type type, const struct ipc_sync *sync)
{
	struct ipc_writer writer = {0};

	if (type != IPC_SYNC_BEGIN && type != IPC_SYNC_END)
		return -EINVAL;
	ipc_put_u64(&writer, sync->generation);
	ipc_put_bool(&writer, sync->full);
	return ipc_writer_send(&writer, channel, type, NULL, 0);
}

int ipc_decode_sync(const struct ipc_frame *frame, struct ipc_sync *out)
{
	enum ipc_type type = frame->type == IPC_SYNC_END ? IPC_SYNC_END : IPC_SYNC_BEGIN;
	struct ipc_reader reader = ipc_reader_of(frame, type);

	out->generation = ipc_get_u64(&reader);
	out->full = ipc_get_bool(&reader);
	return ipc_reader_finish(&reader);
}

int ipc_send_sync_done(struct ipc_channel *channel, const struct ipc_sync_done *done)
{
	struct ipc_writer writer = {0};

	ipc_put_u64(&writer, done->generation);
	ipc_put_u32(&writer, done->failed);
	ipc_put_i32(&writer, done->error);
	return ipc_writer_send(&writer, channel, IPC_SYNC_DONE, NULL, 0);
}

int ipc_decode_sync_done(const struct ipc_frame *frame, struct ipc_sync_done *out)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_SYNC_DONE);

	out->generation = ipc_get_u64(&reader);
	out->failed = ipc_get_u32(&reader);
	out->error = ipc_get_error(&reader);
	return ipc_reader_finish(&reader);
}

static void put_portal(struct ipc_writer *writer, const struct plan_portal *portal)
{
	ipc_put_u8(writer, (uint8_t)portal->kind);
	ipc_put_u8(writer, (uint8_t)portal->scope);
	ipc_put_bool(writer, portal->check_source);
	ipc_put_addr_port(writer, &portal->at);
}

int ipc_send_listener_put(struct ipc_channel *channel, const struct plan_listener *listener)
{
	struct ipc_writer writer = {0};

	ipc_put_text(&writer, listener->id, KEY_BYTES);
	ipc_put_text(&writer, listener->key, KEY_BYTES);
	ipc_put_u8(&writer, (uint8_t)listener->proto);
	ipc_put_u8(&writer, (uint8_t)listener->family);
	ipc_put_u8(&writer, (uint8_t)listener->action);
	ipc_put_options(&writer, &listener->options);
	ipc_put_count(&writer, listener->portal_count, PLAN_MAX_PORTALS);
	for (size_t i = 0; i < listener->portal_count; i++)
		put_portal(&writer, &listener->portals[i]);
	ipc_put_count(&writer, listener->source_range_count, PLAN_MAX_SOURCE_RANGES);
	for (size_t i = 0; i < listener->source_range_count; i++)
		ipc_put_prefix(&writer, &listener->source_ranges[i]);
	ipc_put_count(&writer, listener->backend_count, PLAN_MAX_BACKENDS);
	for (size_t i = 0; i < listener->backend_count; i++) {
		ipc_put_addr_port(&writer, &listener->backends[i].at);
		ipc_put_u16(&writer, listener->backends[i].weight);
	}
	return ipc_writer_send(&writer, channel, IPC_LISTENER_PUT, NULL, 0);
}

static enum addr_family get_family(struct ipc_reader *reader)
{
	uint8_t family = ipc_get_u8(reader);

	if (family != ADDR_V4 && family != ADDR_V6)
		reader->failed = true;
	return family == ADDR_V6 ? ADDR_V6 : ADDR_V4;
}

static struct addr_port get_addr_of(struct ipc_reader *reader, enum addr_family family)
{
	struct addr_port at = ipc_get_addr_port(reader);

	if (addr_family(&at.addr) != family)
		reader->failed = true;
	return at;
}

static void get_portals(struct ipc_reader *reader, struct plan_listener *listener)
{
	size_t count = ipc_get_count(reader, PLAN_MAX_PORTALS, PORTAL_BYTES);

	for (size_t i = 0; i < count && !reader->failed; i++) {
		struct plan_portal portal;

		portal.kind = ipc_get_enum(reader, PLAN_PORTAL_KINDS);
		portal.scope = ipc_get_enum(reader, PLAN_SCOPES);
		portal.check_source = ipc_get_bool(reader);
		portal.at = get_addr_of(reader, listener->family);
		if (plan_listener_add_portal(listener, &portal) < 0)
			reader->failed = true;
	}
}

static void get_source_ranges(struct ipc_reader *reader, struct plan_listener *listener)
{
	size_t count = ipc_get_count(reader, PLAN_MAX_SOURCE_RANGES, IPC_PREFIX_BYTES);

	for (size_t i = 0; i < count && !reader->failed; i++) {
		struct addr_prefix range = ipc_get_prefix(reader);

		if (addr_family(&range.addr) != listener->family ||
			plan_listener_add_source_range(listener, &range) < 0)
			reader->failed = true;
	}
}

static void get_backends(struct ipc_reader *reader, struct plan_listener *listener)
{
	size_t count = ipc_get_count(reader, PLAN_MAX_BACKENDS, BACKEND_BYTES);

	for (size_t i = 0; i < count && !reader->failed; i++) {
		struct addr_port at = get_addr_of(reader, listener->family);
		uint16_t weight = ipc_get_u16(reader);

		if (plan_listener_add_backend(listener, &at, weight, NULL) < 0)
			reader->failed = true;
	}
}

int ipc_decode_listener_put(const struct ipc_frame *frame, struct plan_listener **out)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_LISTENER_PUT);
	struct ipc_storage storage = {.count = 0};
	const char *id = ipc_get_key(&reader, &storage);
	const char *key = ipc_get_key(&reader, &storage);
	enum proto proto = ipc_get_enum(&reader, PROTOS);
	enum addr_family family = get_family(&reader);
	enum plan_action action = ipc_get_enum(&reader, PLAN_ACTIONS);
	struct service_options options = ipc_get_options(&reader);
	struct plan_listener *listener;
	int rc;

	*out = NULL;
	if (reader.failed) {
		ipc_storage_free(&storage);
		return -EPROTO;
	}
	listener = plan_listener_new(id, key, proto, family);
	listener->action = action;
	listener->options = options;
	ipc_storage_free(&storage);
	get_portals(&reader, listener);
	get_source_ranges(&reader, listener);
	get_backends(&reader, listener);
	rc = ipc_reader_finish(&reader);
	if (rc == 0)
		*out = listener;
	else
		plan_listener_free(listener);
	return rc;
}

int ipc_send_listener_del(struct ipc_channel *channel, const char *id)
{
	struct ipc_writer writer = {0};

	ipc_put_text(&writer, id, KEY_BYTES);
	return ipc_writer_send(&writer, channel, IPC_LISTENER_DEL, NULL, 0);
}

int ipc_decode_listener_del(const struct ipc_frame *frame, const char **id, struct ipc_storage *storage)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_LISTENER_DEL);

	storage->count = 0;
	*id = ipc_get_key(&reader, storage);
	return ipc_reader_finish_in(&reader, storage);
}
