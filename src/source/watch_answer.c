/* What the API server's answers say: items of lists and events go into the store, errors are noted for the
 * machine. Runs in control and in the fuzzers. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode.h"
#include "source/watch_private.h"

void watch_set_text(char **text, const char *value)
{
	char *copy = mem_strdup(value);

	free(*text);
	*text = copy;
}

void watch_report(const struct watch *watch, enum watch_level level, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int bytes;

	if (!watch->config.report)
		return;
	va_start(args, format);
	bytes = vasprintf(&text, format, args);
	va_end(args);
	if (bytes < 0)
		return;
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	watch->config.report(watch->config.context, level, text);
	free(text);
}

/* ---- errors ---- */

static int on_status(void *context, const struct doc_node *root, bool item)
{
	struct watch *watch = context;
	struct watch_answer *answer = &watch->answer;
	struct api_status status = api_status_read(root);

	(void)item;
	answer->has_error = true;
	answer->error_code = status.code ? status.code : answer->status;
	/* Servers before 1.18 said Gone where later ones say Expired. */
	if (strcmp(status.reason, "Expired") == 0 || strcmp(status.reason, "Gone") == 0)
		answer->error_code = 410;
	answer->too_large = status.too_large;
	if (answer->retry_after_s < 0)
		answer->retry_after_s = status.retry_after_s;
	watch_set_text(&answer->error_text, *status.message ? status.message : NULL);
	return 0;
}

/* ---- objects ---- */

static const char *object_namespace(const struct watch *watch, const struct doc_node *root)
{
	return watch->config.resource == WATCH_NODE ? "" : decode_namespace(root);
}

/* Decodes; what cannot be decoded is reported. */
static bool decode(struct watch *watch, const struct doc_node *root, struct api_object *object)
{
	char *problem;

	if (api_object_decode(object, watch_api(watch)->kind, root, &problem) == 0)
		return true;
	watch_report(watch, WATCH_WARNING, "%s: what was known of it stays in force", problem);
	free(problem);
	return false;
}

static void on_item(struct watch *watch, const struct doc_node *root)
{
	enum watch_resource resource = watch->config.resource;
	const char *namespace = object_namespace(watch, root), *name = decode_name(root);
	struct api_object object;

	if (decode(watch, root, &object))
		watch_store_list_put(watch->store, resource, namespace, name, &object);
	else if (name)
		watch_store_list_keep(watch->store, resource, namespace, name);
}

/* ---- lists ---- */

static bool is_list_kind(const char *kind, const char *item_kind)
{
	size_t length = strlen(item_kind);

	return kind && strncmp(kind, item_kind, length) == 0 && strcmp(kind + length, "List") == 0;
}

static int on_list(void *context, const struct doc_node *root, bool item)
{
	struct watch *watch = context;
	const struct doc_node *meta = doc_get(root, "metadata");

	if (item) {
		on_item(watch, root);
		return 0;
	}
	/* Something else must not pass for an empty list: it would delete everything. */
	if (!is_list_kind(doc_get_text(root, "kind"), api_kind_name(watch_api(watch)->kind)) ||
		!doc_get_text(meta, "resourceVersion"))
		return -EBADMSG;
	watch->answer.complete = true;
	watch_set_text(&watch->answer.list_version, doc_get_text(meta, "resourceVersion"));
	watch_set_text(&watch->answer.list_continue, doc_get_text(meta, "continue"));
	return 0;
}

/* ---- events ---- */

static bool is_kind(const struct watch *watch, const struct doc_node *object)
{
	const char *kind = doc_get_text(object, "kind");

	return kind && strcmp(kind, api_kind_name(watch_api(watch)->kind)) == 0;
}

static void put_event(struct watch *watch, const struct doc_node *root)
{
	struct api_object object;

	if (decode(watch, root, &object))
		watch_store_put(watch->store, watch->config.resource, object_namespace(watch, root),
			decode_name(root), &object);
}

static void remove_event(struct watch *watch, const struct doc_node *root)
{
	if (decode_name(root))
		watch_store_remove(watch->store, watch->config.resource, object_namespace(watch, root),
			decode_name(root));
}

/* Returns false for a type that is not known. */
static bool apply_event(struct watch *watch, const char *type, const struct doc_node *object)
{
	if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0)
		put_event(watch, object);
	else if (strcmp(type, "DELETED") == 0)
		remove_event(watch, object);
	else if (strcmp(type, "BOOKMARK") != 0)
		return false;
	return true;
}

static int on_event(void *context, const struct doc_node *root, bool item)
{
	struct watch *watch = context;
	const char *type = doc_get_text(root, "type"), *version;
	const struct doc_node *object = doc_get(root, "object");

	if (!type || !object)
		return -EBADMSG;
	if (strcmp(type, "ERROR") == 0) {
		on_status(watch, object, item);
		return -ECANCELED;
	}
	if (!is_kind(watch, object) || !apply_event(watch, type, object)) {
		watch_report(watch, WATCH_DETAIL, "passed over an event of type %s about a %s", type,
			doc_get_text(object, "kind") ? doc_get_text(object, "kind") : "thing without kind");
		return 0;
	}
	version = doc_get_text(doc_get(object, "metadata"), "resourceVersion");
	if (version)
		watch_set_text(&watch->resource_version, version);
	watch->answer.event_count++;
	watch->corrupt = 0;
	return 0;
}

/* ---- answers ---- */

void watch_answer_begin(struct watch *watch, int status, int64_t retry_after_s)
{
	enum api_kind kind = watch_api(watch)->kind;

	watch_answer_fini(watch);
	watch->answer.status = status;
	watch->answer.retry_after_s = retry_after_s;
	if (status != 200)
		watch->stream = api_stream_new(api_filter_status(), on_status, watch);
	else if (watch->step == WATCH_STEP_LIST)
		watch->stream = api_stream_new(api_filter_list(kind), on_list, watch);
	else
		watch->stream = api_stream_new(api_filter_event(kind), on_event, watch);
}

void watch_answer_fini(struct watch *watch)
{
	api_stream_free(watch->stream);
	watch->stream = NULL;
	free(watch->answer.error_text);
	free(watch->answer.list_version);
	free(watch->answer.list_continue);
	watch->answer = (struct watch_answer){.retry_after_s = -1};
}
