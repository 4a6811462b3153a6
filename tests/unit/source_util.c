#include "source_util.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "portald/files.h"
#include "portald/mem.h"

static void on_diag(void *context, const struct source_diag *diag)
{
	struct decoded *decoded = context;
	char *line = source_diag_format(diag);
	char *longer = mem_printf("%s%s\n", decoded->messages, line);

	free(line);
	free(decoded->messages);
	decoded->messages = longer;
	decoded->message_count++;
}

static struct decoded decode_all(
	const struct source_text *texts, size_t count, const struct source_options *options)
{
	struct decoded decoded = {.messages = mem_strdup("")};

	decoded.result = source_manifests_decode(texts, count, options, on_diag, &decoded);
	assert_non_null(decoded.result.snapshot);
	return decoded;
}

struct decoded decode_texts(const struct source_text *texts, size_t count)
{
	struct source_options options;

	source_options_init(&options);
	return decode_all(texts, count, &options);
}

struct decoded decode_with(const char *text, const struct source_options *options)
{
	return decode_all(&(struct source_text){.name = "t.yaml", .bytes = text, .byte_count = strlen(text)},
		1, options);
}

struct decoded decode_text(const char *text)
{
	return decode_texts(
		&(struct source_text){.name = "t.yaml", .bytes = text, .byte_count = strlen(text)}, 1);
}

char *manifest_text(const char *name, size_t *count)
{
	const char *srcdir = getenv("srcdir");
	char *path = mem_printf("%s/tests/unit/manifests/%s", srcdir ? srcdir : ".", name), *bytes;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fail_msg("cannot open %s", path);
	assert_int_equal(files_read(fd, &bytes, count), 0);
	close(fd);
	free(path);
	return bytes;
}

struct decoded decode_manifest(const char *name)
{
	struct source_text text = {.name = name};
	char *bytes = manifest_text(name, &text.byte_count);
	struct decoded decoded;

	text.bytes = bytes;
	decoded = decode_texts(&text, 1);
	free(bytes);
	return decoded;
}

void decoded_fini(struct decoded *decoded)
{
	model_snapshot_unref(decoded->result.snapshot);
	free(decoded->messages);
}

const struct model_service *find_service(
	const struct decoded *decoded, const char *namespace, const char *name)
{
	const struct model_snapshot *snapshot = decoded->result.snapshot;

	for (size_t i = 0; i < snapshot->service_count; i++) {
		const struct model_service *service = snapshot->services[i];

		if (strcmp(service->namespace, namespace) == 0 && strcmp(service->name, name) == 0)
			return service;
	}
	return NULL;
}

static char *append_endpoint(char *text, const struct model_endpoint *endpoint, uint16_t port)
{
	struct addr_port at = {endpoint->addr, port};
	char buf[ADDR_TEXT_BYTES], *longer;

	longer = mem_printf("%s%s%s%s%s%s%s%s", text, *text ? ", " : "", addr_port_format(&at, buf),
		endpoint->ready ? "+R" : "", endpoint->serving ? "+S" : "", endpoint->terminating ? "+T" : "",
		endpoint->target ? " " : "", endpoint->target ? endpoint->target : "");
	free(text);
	return longer;
}

char *endpoints_text(
	const struct decoded *decoded, const struct model_service *service, const char *port_name)
{
	const struct model_snapshot *snapshot = decoded->result.snapshot;
	size_t first, count = model_slices_of(snapshot, service, &first);
	char *text = mem_strdup("");

	for (size_t i = first; i < first + count; i++) {
		const struct model_slice *slice = snapshot->slices[i];

		for (size_t p = 0; p < slice->port_count; p++) {
			for (size_t e = 0;
				strcmp(slice->ports[p].name, port_name) == 0 && e < slice->endpoint_count;
				e++)
				text = append_endpoint(text, &slice->endpoints[e], slice->ports[p].port);
		}
	}
	return text;
}
