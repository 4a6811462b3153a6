/* Owns the encoding of fields. Runs in every process; the reader faces bytes of a less privileged one. */
#include "ipc/cursor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/types.h"
#include "portald/mem.h"
#include "portald/plan.h"

/* ---- writing ---- */

static void put_bytes(struct ipc_writer *writer, const void *bytes, size_t count)
{
	if (count > IPC_MAX_PAYLOAD_BYTES - writer->length)
		writer->error = -EMSGSIZE;
	if (writer->error || count == 0)
		return;
	while (writer->capacity - writer->length < count)
		writer->bytes = mem_grow(writer->bytes, writer->capacity, &writer->capacity, 1);
	memcpy(writer->bytes + writer->length, bytes, count);
	writer->length += count;
}

/* The low count bytes of value, the highest one first. */
static void put_number(struct ipc_writer *writer, uint64_t value, size_t count)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(value >> 8 * (count - 1 - i));
	put_bytes(writer, bytes, count);
}

void ipc_put_u8(struct ipc_writer *writer, uint8_t value)
{
	put_number(writer, value, 1);
}

void ipc_put_u16(struct ipc_writer *writer, uint16_t value)
{
	put_number(writer, value, 2);
}

void ipc_put_u32(struct ipc_writer *writer, uint32_t value)
{
	put_number(writer, value, 4);
}

void ipc_put_i32(struct ipc_writer *writer, int32_t value)
{
	put_number(writer, (uint32_t)value, 4);
}

void ipc_put_u64(struct ipc_writer *writer, uint64_t value)
{
	put_number(writer, value, 8);
}

void ipc_put_bool(struct ipc_writer *writer, bool value)
{
	put_number(writer, value ? 1 : 0, 1);
}

void ipc_put_text(struct ipc_writer *writer, const char *text, size_t max_bytes)
{
	size_t length = strlen(text);

	if (length > max_bytes || length > UINT16_MAX) {
		writer->error = -EINVAL;
		return;
	}
	ipc_put_u16(writer, (uint16_t)length);
	put_bytes(writer, text, length);
}

void ipc_put_count(struct ipc_writer *writer, size_t count, size_t max)
{
	if (count > max)
		writer->error = -EINVAL;
	ipc_put_u32(writer, (uint32_t)count);
}

void ipc_put_addr_port(struct ipc_writer *writer, const struct addr_port *at)
{
	put_bytes(writer, at->addr.bytes, sizeof(at->addr.bytes));
	ipc_put_u16(writer, at->port);
}

int ipc_writer_send(struct ipc_writer *writer, struct ipc_channel *channel, enum ipc_type type,
	const int *fds, size_t fd_count)
{
	int rc = writer->error;

	if (rc == 0)
		rc = ipc_send(channel, type, writer->bytes, writer->length, fds, fd_count);
	free(writer->bytes);
	*writer = (struct ipc_writer){0};
	return rc;
}

/* ---- reading ---- */

struct ipc_reader ipc_reader_of(const struct ipc_frame *frame, enum ipc_type type)
{
	const struct ipc_type_info *info = ipc_type_info(type);
	struct ipc_reader reader = {.at = frame->payload, .end = frame->payload};

	if (frame->type != type || !info || frame->fd_count < info->fd_min || frame->fd_count > info->fd_max)
		reader.failed = true;
	else if (frame->payload_bytes > 0)
		reader.end += frame->payload_bytes;
	return reader;
}

/* The next count bytes, or NULL. */
static const uint8_t *get_bytes(struct ipc_reader *reader, size_t count)
{
	const uint8_t *bytes = reader->at;

	if (reader->failed || (size_t)(reader->end - reader->at) < count) {
		reader->failed = true;
		return NULL;
	}
	reader->at += count;
	return bytes;
}

static uint64_t get_number(struct ipc_reader *reader, size_t count)
{
	const uint8_t *bytes = get_bytes(reader, count);
	uint64_t value = 0;

	for (size_t i = 0; bytes && i < count; i++)
		value = value << 8 | bytes[i];
	return value;
}

uint8_t ipc_get_u8(struct ipc_reader *reader)
{
	return (uint8_t)get_number(reader, 1);
}

uint16_t ipc_get_u16(struct ipc_reader *reader)
{
	return (uint16_t)get_number(reader, 2);
}

uint32_t ipc_get_u32(struct ipc_reader *reader)
{
	return (uint32_t)get_number(reader, 4);
}

int32_t ipc_get_i32(struct ipc_reader *reader)
{
	return (int32_t)ipc_get_u32(reader);
}

uint64_t ipc_get_u64(struct ipc_reader *reader)
{
	return get_number(reader, 8);
}

unsigned ipc_get_enum(struct ipc_reader *reader, unsigned limit)
{
	unsigned value = ipc_get_u8(reader);

	if (value < limit)
		return value;
	reader->failed = true;
	return 0;
}

bool ipc_get_bool(struct ipc_reader *reader)
{
	return ipc_get_enum(reader, 2) == 1;
}

int32_t ipc_get_error(struct ipc_reader *reader)
{
	int32_t error = ipc_get_i32(reader);

	/* The kernel's own bound of errno values: whoever negates the number must not overflow. */
	if (error <= 0 && error >= -4095)
		return error;
	reader->failed = true;
	return 0;
}

struct addr_port ipc_get_addr_port(struct ipc_reader *reader)
{
	const uint8_t *bytes = get_bytes(reader, sizeof(struct addr));
	struct addr_port at = {.port = ipc_get_u16(reader)};

	if (bytes)
		memcpy(at.addr.bytes, bytes, sizeof(at.addr.bytes));
	return at;
}

size_t ipc_get_count(struct ipc_reader *reader, size_t max, size_t entry_bytes)
{
	size_t count = ipc_get_u32(reader);

	if (count <= max && count <= (size_t)(reader->end - reader->at) / entry_bytes)
		return count;
	reader->failed = true;
	return 0;
}

const char *ipc_get_text(struct ipc_reader *reader, size_t max_bytes, struct ipc_storage *storage)
{
	size_t length = ipc_get_u16(reader);
	const uint8_t *bytes = get_bytes(reader, length);
	char *text;

	if (!bytes || length > max_bytes || memchr(bytes, '\0', length)) {
		reader->failed = true;
		return NULL;
	}
	text = ipc_storage_add(storage, length + 1, 1);
	memcpy(text, bytes, length);
	return text;
}

const char *ipc_get_key(struct ipc_reader *reader, struct ipc_storage *storage)
{
	const char *key = ipc_get_text(reader, PLAN_MAX_KEY_BYTES - 1, storage);

	if (key && !*key)
		reader->failed = true;
	for (const char *c = key; c && *c; c++) {
		if (*c <= ' ' || *c >= 0x7f || *c == '"' || *c == '\'' || *c == '\\')
			reader->failed = true;
	}
	return reader->failed ? NULL : key;
}

int ipc_reader_finish(const struct ipc_reader *reader)
{
	return reader->failed || reader->at != reader->end ? -EPROTO : 0;
}

int ipc_reader_finish_in(const struct ipc_reader *reader, struct ipc_storage *storage)
{
	int rc = ipc_reader_finish(reader);

	if (rc < 0)
		ipc_storage_free(storage);
	return rc;
}

void *ipc_storage_add(struct ipc_storage *storage, size_t count, size_t size)
{
	/* The number of blocks a decoder asks for is fixed in its text. */
	if (storage->count == sizeof(storage->blocks) / sizeof(storage->blocks[0]))
		abort();
	return storage->blocks[storage->count++] = mem_calloc(count, size);
}

void ipc_storage_free(struct ipc_storage *storage)
{
	while (storage->count > 0)
		free(storage->blocks[--storage->count]);
}
