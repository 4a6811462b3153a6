/* Owns the encoding of what plan records and relay messages share: options of a Service, CIDR blocks. */
#include <stdio.h>

#include "ipc/cursor.h"

void ipc_put_prefix(struct ipc_writer *writer, const struct addr_prefix *prefix)
{
	for (size_t i = 0; i < sizeof(prefix->addr.bytes); i++)
		ipc_put_u8(writer, prefix->addr.bytes[i]);
	ipc_put_u8(writer, prefix->bits);
}

struct addr_prefix ipc_get_prefix(struct ipc_reader *reader)
{
	struct addr_prefix prefix;
	char text[ADDR_TEXT_BYTES + 8], literal[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < sizeof(prefix.addr.bytes); i++)
		prefix.addr.bytes[i] = ipc_get_u8(reader);
	prefix.bits = ipc_get_u8(reader);
	/* The one check of a block there is. */
	snprintf(text, sizeof(text), "%s/%u", addr_format(&prefix.addr, literal), prefix.bits);
	if (addr_parse_prefix(&prefix, text) < 0)
		reader->failed = true;
	return prefix;
}

/* IPC_OPTIONS_BYTES in all. */
void ipc_put_options(struct ipc_writer *writer, const struct service_options *options)
{
	ipc_put_u8(writer, (uint8_t)options->scheduler);
	ipc_put_bool(writer, options->scheduler_set);
	ipc_put_u8(writer, options->proxy_protocol);
	ipc_put_u8(writer, (uint8_t)options->removal);
	ipc_put_u32(writer, options->affinity_timeout_s);
	ipc_put_u32(writer, options->connect_timeout_ms);
	ipc_put_u32(writer, options->idle_timeout_ms);
	ipc_put_u32(writer, options->max_connections);
	ipc_put_u32(writer, options->queue_length);
	ipc_put_u32(writer, options->queue_timeout_ms);
	ipc_put_u32(writer, options->drain_ms);
	ipc_put_u32(writer, options->udp_first_ms);
	ipc_put_u32(writer, options->udp_idle_ms);
}

struct service_options ipc_get_options(struct ipc_reader *reader)
{
	struct service_options options;

	options.scheduler = ipc_get_enum(reader, SCHEDULERS);
	options.scheduler_set = ipc_get_bool(reader);
	options.proxy_protocol = (uint8_t)ipc_get_enum(reader, 3);
	options.removal = ipc_get_enum(reader, SERVICE_REMOVALS);
	options.affinity_timeout_s = ipc_get_u32(reader);
	options.connect_timeout_ms = ipc_get_u32(reader);
	options.idle_timeout_ms = ipc_get_u32(reader);
	options.max_connections = ipc_get_u32(reader);
	options.queue_length = ipc_get_u32(reader);
	options.queue_timeout_ms = ipc_get_u32(reader);
	options.drain_ms = ipc_get_u32(reader);
	options.udp_first_ms = ipc_get_u32(reader);
	options.udp_idle_ms = ipc_get_u32(reader);
	return options;
}
