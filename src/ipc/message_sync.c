/* Owns the messages between control and supervisor: the plan and its acknowledgement. The supervisor
 * decodes bytes of an unprivileged process here. */
#include <errno.h>

#include "ipc/cursor.h"
#include "portald/ipc.h"
#include "portald/plan.h"

#define KEY_BYTES (PLAN_MAX_KEY_BYTES - 1)
#define ADDR_PORT_BYTES 18
#define PORTAL_KINDS (PLAN_PORTAL_NODE_PORT + 1)
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

int ipc_send_listener_put(struct ipc_channel *channel, const struct plan_listener *listener)
{
	struct ipc_writer writer = {0};

	ipc_put_text(&writer, listener->key, KEY_BYTES);
	ipc_put_u8(&writer, (uint8_t)listener->proto);
	ipc_put_u8(&writer, (uint8_t)listener->family);
	ipc_put_count(&writer, listener->portal_count, PLAN_MAX_PORTALS);
	for (size_t i = 0; i < listener->portal_count; i++) {
		ipc_put_u8(&writer, (uint8_t)listener->portals[i].kind);
		ipc_put_addr_port(&writer, &listener->portals[i].at);
	}
	ipc_put_count(&writer, listener->backend_count, PLAN_MAX_BACKENDS);
	for (size_t i = 0; i < listener->backend_count; i++)
		ipc_put_addr_port(&writer, &listener->backends[i].at);
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
	size_t count = ipc_get_count(reader, PLAN_MAX_PORTALS, 1 + ADDR_PORT_BYTES);

	for (size_t i = 0; i < count && !reader->failed; i++) {
		enum plan_portal_kind kind = ipc_get_enum(reader, PORTAL_KINDS);
		struct addr_port at = get_addr_of(reader, listener->family);

		if (plan_listener_add_portal(listener, kind, &at) < 0)
			reader->failed = true;
	}
}

static void get_backends(struct ipc_reader *reader, struct plan_listener *listener)
{
	size_t count = ipc_get_count(reader, PLAN_MAX_BACKENDS, ADDR_PORT_BYTES);

	for (size_t i = 0; i < count && !reader->failed; i++) {
		struct addr_port at = get_addr_of(reader, listener->family);

		if (plan_listener_add_backend(listener, &at, NULL) < 0)
			reader->failed = true;
	}
}

int ipc_decode_listener_put(const struct ipc_frame *frame, struct plan_listener **out)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_LISTENER_PUT);
	struct ipc_storage storage = {.count = 0};
	const char *key = ipc_get_key(&reader, &storage);
	enum proto proto = ipc_get_enum(&reader, PROTOS);
	enum addr_family family = get_family(&reader);
	struct plan_listener *listener;
	int rc;

	*out = NULL;
	if (reader.failed) {
		ipc_storage_free(&storage);
		return -EPROTO;
	}
	listener = plan_listener_new(key, proto, family);
	ipc_storage_free(&storage);
	get_portals(&reader, listener);
	get_backends(&reader, listener);
	rc = ipc_reader_finish(&reader);
	if (rc == 0)
		*out = listener;
	else
		plan_listener_free(listener);
	return rc;
}

int ipc_send_listener_del(struct ipc_channel *channel, const char *key)
{
	struct ipc_writer writer = {0};

	ipc_put_text(&writer, key, KEY_BYTES);
	return ipc_writer_send(&writer, channel, IPC_LISTENER_DEL, NULL, 0);
}

int ipc_decode_listener_del(const struct ipc_frame *frame, const char **key, struct ipc_storage *storage)
{
	struct ipc_reader reader = ipc_reader_of(frame, IPC_LISTENER_DEL);

	storage->count = 0;
	*key = ipc_get_key(&reader, storage);
	return ipc_reader_finish_in(&reader, storage);
}
