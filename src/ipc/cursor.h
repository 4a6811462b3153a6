/* Typed fields in a payload: a writer and a reader, each with an error that sticks, so that a codec is a
 * plain list of puts or gets with one check at its end. Numbers are in network byte order; a text is a
 * 16-bit length and that many bytes without NUL; a list is a 32-bit count and its entries.
 */
#ifndef IPC_CURSOR_H
#define IPC_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"
#include "portald/ipc.h"

struct ipc_writer {
	uint8_t *bytes;
	size_t length, capacity;
	int error; /* 0 or a negative errno: what could not be put */
};

void ipc_put_u8(struct ipc_writer *writer, uint8_t value);
void ipc_put_u16(struct ipc_writer *writer, uint16_t value);
void ipc_put_u32(struct ipc_writer *writer, uint32_t value);
void ipc_put_i32(struct ipc_writer *writer, int32_t value);
void ipc_put_u64(struct ipc_writer *writer, uint64_t value);
void ipc_put_bool(struct ipc_writer *writer, bool value);
/* -EINVAL sticks if the text is longer than max_bytes. */
void ipc_put_text(struct ipc_writer *writer, const char *text, size_t max_bytes);
/* -EINVAL sticks if count is above max. */
void ipc_put_count(struct ipc_writer *writer, size_t count, size_t max);
void ipc_put_addr_port(struct ipc_writer *writer, const struct addr_port *at);

/* Sends what was put as one frame and frees the writer's memory. Returns 0, or a negative errno: the
 * one that stuck (nothing was sent), or ipc_send()'s. */
int ipc_writer_send(struct ipc_writer *writer, struct ipc_channel *channel, enum ipc_type type,
	const int *fds, size_t fd_count);

struct ipc_reader {
	const uint8_t *at, *end;
	bool failed;
};

/* Starts reading the frame, if it is of that type and has as many descriptors as the type may have. */
struct ipc_reader ipc_reader_of(const struct ipc_frame *frame, enum ipc_type type);

/* After a failure all of these return 0, false, an "any" address or NULL. */
uint8_t ipc_get_u8(struct ipc_reader *reader);
uint16_t ipc_get_u16(struct ipc_reader *reader);
uint32_t ipc_get_u32(struct ipc_reader *reader);
int32_t ipc_get_i32(struct ipc_reader *reader);
uint64_t ipc_get_u64(struct ipc_reader *reader);
bool ipc_get_bool(struct ipc_reader *reader);
/* A byte that must be below limit. */
unsigned ipc_get_enum(struct ipc_reader *reader, unsigned limit);
/* 0 or a negative errno. */
int32_t ipc_get_error(struct ipc_reader *reader);
struct addr_port ipc_get_addr_port(struct ipc_reader *reader);
/* At most max, and no more than could follow with entry_bytes each. */
size_t ipc_get_count(struct ipc_reader *reader, size_t max, size_t entry_bytes);
/* A NUL-terminated copy in storage. */
const char *ipc_get_text(struct ipc_reader *reader, size_t max_bytes, struct ipc_storage *storage);
/* The same for a key: not empty, printable ASCII without blanks, quotes and backslashes, so that it can
 * stand in a log line or a rule as it is. */
const char *ipc_get_key(struct ipc_reader *reader, struct ipc_storage *storage);

/* 0 if nothing failed and nothing is left, or else -EPROTO. */
int ipc_reader_finish(const struct ipc_reader *reader);

/* The same; frees storage unless it returns 0. */
int ipc_reader_finish_in(const struct ipc_reader *reader, struct ipc_storage *storage);

/* Zeroed memory that lives in storage. */
void *ipc_storage_add(struct ipc_storage *storage, size_t count, size_t size);

#endif
