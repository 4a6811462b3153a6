/* Owns the step from manifest files to a snapshot, with what a reload must keep. Runs in control and in
 * `portald plan`. */
#include "proc/manifests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/files.h"
#include "portald/ipc.h"
#include "portald/log.h"
#include "portald/mem.h"

/* The starter answers at once; only a stopped process or a dead disk takes longer. */
#define FETCH_TIMEOUT_MS 30000

static void manifests_unreadable(struct manifests *manifests, const char *name, int error)
{
	log_error("cannot read manifests", log_str("path", name), log_str("error", files_error_text(error)));
	manifests->unreadable++;
}

/* Reads one opened file; a files_fn. */
static int manifests_add(void *context, const char *name, int fd, int error)
{
	struct manifests *manifests = context;
	struct source_text text = {.name = NULL};
	char *bytes = NULL;

	if (error == 0)
		error = files_read(fd, &bytes, &text.byte_count);
	if (error < 0) {
		manifests_unreadable(manifests, name, error);
		return 0;
	}
	text.name = mem_strdup(name);
	text.bytes = bytes;
	manifests->texts =
		mem_grow(manifests->texts, manifests->count, &manifests->capacity, sizeof(*manifests->texts));
	manifests->texts[manifests->count++] = text;
	return 0;
}

/* One path: FILE messages until one without a name. Returns 0 or a negative errno. */
static int fetch_path(struct manifests *out, struct ipc_channel *channel)
{
	struct ipc_frame frame;
	int rc;

	while ((rc = ipc_receive_wait(channel, &frame, FETCH_TIMEOUT_MS)) > 0) {
		struct ipc_storage storage = {.count = 0};
		struct ipc_file file;
		bool last;

		if (frame.type != IPC_FILE || ipc_decode_file(&frame, &file, &storage) < 0)
			return -EPROTO;
		last = !*file.name;
		if (!last)
			manifests_add(out, file.name, frame.fd_count ? frame.fds[0] : -1, file.error);
		ipc_storage_free(&storage);
		if (last)
			return 0;
	}
	return rc < 0 ? rc : -EPIPE;
}

int manifests_fetch(struct manifests *out, const struct options *options, struct ipc_channel *channel)
{
	*out = (struct manifests){.count = 0};
	for (size_t i = 0; i < options->manifest_count; i++) {
		int rc = ipc_send_files_get(channel, (uint32_t)i);

		if (rc == 0)
			rc = fetch_path(out, channel);
		if (rc < 0) {
			manifests_free(out);
			return rc;
		}
	}
	return 0;
}

void manifests_collect(struct manifests *out, const struct options *options)
{
	*out = (struct manifests){.count = 0};
	for (size_t i = 0; i < options->manifest_count; i++)
		files_collect(options->manifests[i], manifests_add, out);
}

void manifests_free(struct manifests *manifests)
{
	for (size_t i = 0; i < manifests->count; i++) {
		free((char *)manifests->texts[i].name);
		free((char *)manifests->texts[i].bytes);
	}
	free(manifests->texts);
	*manifests = (struct manifests){.count = 0};
}

bool manifests_equal(const struct manifests *a, const struct manifests *b)
{
	if (a->count != b->count || a->unreadable != b->unreadable)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct source_text *ta = &a->texts[i], *tb = &b->texts[i];

		if (ta->byte_count != tb->byte_count || strcmp(ta->name, tb->name) != 0 ||
			memcmp(ta->bytes, tb->bytes, ta->byte_count) != 0)
			return false;
	}
	return true;
}

/* ---- decoding, and what stays of the last good state ---- */

struct findings {
	void (*print)(enum source_severity severity, const char *line);
	char **objects; /* that an error left out: "Service default/web" */
	size_t count, capacity;
};

static void note_finding(void *context, const struct source_diag *diag)
{
	struct findings *findings = context;
	char *line = source_diag_format(diag);

	findings->print(diag->severity, line);
	free(line);
	if (diag->severity != SOURCE_ERROR || !diag->object)
		return;
	findings->objects = mem_grow(findings->objects, findings->count, &findings->capacity, sizeof(char *));
	findings->objects[findings->count++] = mem_strdup(diag->object);
}

static bool findings_have_take(const struct findings *findings, char *object_take)
{
	bool found = false;

	for (size_t i = 0; i < findings->count && !found; i++)
		found = strcmp(findings->objects[i], object_take) == 0;
	free(object_take);
	return found;
}

static bool findings_name(
	const struct findings *findings, const char *kind, const char *namespace, const char *name)
{
	return findings_have_take(findings, mem_printf("%s %s/%s", kind, namespace, name));
}

static bool has_service(const struct model_snapshot *snapshot, const struct model_service *service)
{
	for (size_t i = 0; i < snapshot->service_count; i++) {
		if (strcmp(snapshot->services[i]->namespace, service->namespace) == 0 &&
			strcmp(snapshot->services[i]->name, service->name) == 0)
			return true;
	}
	return false;
}

static bool slice_is_kept(const struct findings *findings, const struct model_slice *slice)
{
	return findings_name(findings, "Service", slice->namespace, slice->service_name) ||
	       findings_name(findings, "Endpoints", slice->namespace, slice->service_name) ||
	       findings_name(findings, "EndpointSlice", slice->namespace, slice->name);
}

static void keep_nodes(struct model_builder *builder, const struct model_snapshot *decoded,
	const struct model_snapshot *last, const struct findings *findings)
{
	for (size_t i = 0; i < last->node_count; i++) {
		if (findings_have_take(findings, mem_printf("Node %s", last->nodes[i]->name)))
			model_builder_take_node(builder, model_node_ref(last->nodes[i]));
	}
	for (size_t i = 0; i < decoded->node_count; i++)
		model_builder_take_node(builder, model_node_ref(decoded->nodes[i]));
}

/* Returns decoded with the objects of last that errors left out put back. Takes decoded's reference. */
static struct model_snapshot *keep_last_good(
	struct model_snapshot *decoded, struct model_snapshot *last, const struct findings *findings)
{
	struct model_builder *builder = model_builder_new();

	/* What is put later wins: the new objects come last. */
	for (size_t i = 0; i < last->slice_count; i++) {
		if (slice_is_kept(findings, last->slices[i]))
			model_builder_take_slice(builder, model_slice_ref(last->slices[i]));
	}
	for (size_t i = 0; i < last->service_count; i++) {
		struct model_service *service = last->services[i];

		if (findings_name(findings, "Service", service->namespace, service->name) &&
			!has_service(decoded, service))
			model_builder_take_service(builder, model_service_ref(service));
	}
	for (size_t i = 0; i < decoded->slice_count; i++)
		model_builder_take_slice(builder, model_slice_ref(decoded->slices[i]));
	for (size_t i = 0; i < decoded->service_count; i++)
		model_builder_take_service(builder, model_service_ref(decoded->services[i]));
	keep_nodes(builder, decoded, last, findings);
	model_snapshot_unref(decoded);
	return model_builder_finish(builder);
}

struct model_snapshot *manifests_decode(const struct manifests *manifests, const struct options *options,
	struct model_snapshot *last, void (*print)(enum source_severity severity, const char *line),
	size_t *errors)
{
	struct findings findings = {.print = print};
	struct source_result result = source_manifests_decode(
		manifests->texts, manifests->count, &options->source, note_finding, &findings);
	struct model_snapshot *snapshot = result.snapshot;

	*errors = result.error_count + manifests->unreadable;
	if (last && (result.incomplete || manifests->unreadable)) {
		model_snapshot_unref(snapshot);
		snapshot = NULL;
	} else if (last && findings.count > 0) {
		snapshot = keep_last_good(snapshot, last, &findings);
	}
	for (size_t i = 0; i < findings.count; i++)
		free(findings.objects[i]);
	free(findings.objects);
	return snapshot;
}
