/* Decodes single objects of the API server, with the decoders that manifests have. Runs in control and in the
 * fuzzers. */
#include "source/api_object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode.h"
#include "source/schema.h"

/* Set by the cluster autoscaler; kube-proxy's health check heeds it, too. */
#define TAINT_DELETION "ToBeDeletedByClusterAutoscaler"

/* ---- Node: what the model does not say ---- */

static void node_add_addresses(struct watch_node *node, const struct doc_node *list, const char *type)
{
	for (size_t i = 0; list && list->kind == DOC_SEQUENCE && i < list->count; i++) {
		const char *its_type = doc_get_text(list->items[i], "type");
		const char *text = doc_get_text(list->items[i], "address");
		struct addr addr;

		if (its_type && text && strcmp(its_type, type) == 0 && addr_parse(&addr, text) == 0)
			node->addresses[node->address_count++] = addr;
	}
}

static bool is_deleted_soon(const struct doc_node *root)
{
	const struct doc_node *spec = doc_get(root, "spec"), *taints = doc_get(spec, "taints");

	if (doc_get(doc_get(root, "metadata"), "deletionTimestamp"))
		return true;
	for (size_t i = 0; i < doc_get_count(spec, "taints"); i++) {
		const char *key = doc_get_text(taints->items[i], "key");

		if (key && strcmp(key, TAINT_DELETION) == 0)
			return true;
	}
	return false;
}

static struct watch_node *watch_node_new(struct model_node *model, const struct doc_node *root)
{
	const struct doc_node *status = doc_get(root, "status");
	struct watch_node *node = mem_calloc(1, sizeof(*node));

	node->model = model_node_ref(model);
	node->addresses = mem_calloc(doc_get_count(status, "addresses"), sizeof(*node->addresses));
	node_add_addresses(node, doc_get(status, "addresses"), "InternalIP");
	node_add_addresses(node, doc_get(status, "addresses"), "ExternalIP");
	node->deleting = is_deleted_soon(root);
	return node;
}

void api_node_free(struct watch_node *node)
{
	if (!node)
		return;
	model_node_unref(node->model);
	free(node->addresses);
	free(node);
}

static bool node_equal(const struct watch_node *a, const struct watch_node *b)
{
	if (a == b)
		return true;
	if (!a || !b || !model_node_equal(a->model, b->model) || a->deleting != b->deleting ||
		a->address_count != b->address_count)
		return false;
	for (size_t i = 0; i < a->address_count; i++) {
		if (!addr_equal(&a->addresses[i], &b->addresses[i]))
			return false;
	}
	return true;
}

/* ---- decoding ---- */

struct kind_decoder {
	const struct schema *schema;
	void (*decode)(struct decoder *, struct scope *, const struct doc_node *);
};

static const struct kind_decoder decoders[] = {
	[API_SERVICE] = {&schema_service, decode_service},
	[API_ENDPOINT_SLICE_V1] = {&schema_endpoint_slice_v1, decode_endpoint_slice},
	[API_ENDPOINT_SLICE_V1BETA1] = {&schema_endpoint_slice_v1beta1, decode_endpoint_slice},
	[API_ENDPOINTS] = {&schema_endpoints, decode_endpoints},
	[API_NODE] = {&schema_node, decode_node},
};

/* Moves what was decoded out of the set. */
static void take_from_set(struct api_object *object, const struct set *set, const struct doc_node *root)
{
	struct set_endpoints *endpoints;

	if (set->node_count > 0)
		object->node = watch_node_new(set->nodes[0]->model, root);
	if (set->service_count > 0)
		object->service = model_service_ref(set->services[0]->model);
	/* An EndpointSlice without the label belongs to no Service. */
	if (set->endpoints_count == 0 || !set->endpoints[0]->service_name)
		return;
	endpoints = set->endpoints[0];
	object->slices = endpoints->slices;
	object->slice_count = endpoints->slice_count;
	endpoints->slices = NULL;
	endpoints->slice_count = 0;
}

static char *first_error(const struct findings *findings, const char *title)
{
	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];

		if (finding->severity == SOURCE_ERROR)
			return mem_printf("%s: %s%s%s", title, finding->field ? finding->field : "",
				finding->field ? ": " : "", finding->message);
	}
	return mem_printf("%s: cannot be decoded", title);
}

/* The range of nodePorts is the cluster's affair, which has kept it. */
static const struct source_options any_node_port = {.node_port_first = 1, .node_port_last = UINT16_MAX};

static int decode_checked(struct api_object *object, const struct kind_decoder *kind,
	const struct doc_node *root, const char *title, char **problem)
{
	struct findings findings = {0};
	struct set set = {.findings = &findings};
	struct decoder decoder = {.set = &set, .options = &any_node_port};
	struct scope scope = {.findings = &findings, .object = title, .lenient = true, .stored = true};
	int rc = 0;

	schema_check(&scope, root, kind->schema);
	if (scope.error_count == 0)
		kind->decode(&decoder, &scope, root);
	if (scope.error_count == 0) {
		take_from_set(object, &set, root);
	} else {
		*problem = first_error(&findings, title);
		rc = -EINVAL;
	}
	decoder_fini(&decoder);
	set_fini(&set);
	findings_fini(&findings);
	return rc;
}

/* ---- objects ---- */

int api_object_decode(
	struct api_object *object, enum api_kind kind, const struct doc_node *root, char **problem)
{
	const char *name = decode_name(root);
	char *title;
	int rc;

	*object = (struct api_object){0};
	*problem = NULL;
	if (!name) {
		*problem = mem_printf("%s without a name", api_kind_name(kind));
		return -EINVAL;
	}
	title = mem_printf("%s %s/%s", api_kind_name(kind), decode_namespace(root), name);
	rc = decode_checked(object, &decoders[kind], root, title, problem);
	free(title);
	return rc;
}

void api_object_fini(struct api_object *object)
{
	model_service_unref(object->service);
	for (size_t i = 0; i < object->slice_count; i++)
		model_slice_unref(object->slices[i]);
	free(object->slices);
	api_node_free(object->node);
	*object = (struct api_object){0};
}

bool api_object_equal(const struct api_object *a, const struct api_object *b)
{
	if (!a->service != !b->service || a->slice_count != b->slice_count || !node_equal(a->node, b->node))
		return false;
	if (a->service && !model_service_equal(a->service, b->service))
		return false;
	for (size_t i = 0; i < a->slice_count; i++) {
		if (!model_slice_equal(a->slices[i], b->slices[i]))
			return false;
	}
	return true;
}

/* ---- Status ---- */

static bool says_too_large(const struct doc_node *root, const char *reason, const char *message)
{
	const struct doc_node *details = doc_get(root, "details"), *causes = doc_get(details, "causes");

	for (size_t i = 0; i < doc_get_count(details, "causes"); i++) {
		const char *cause = doc_get_text(causes->items[i], "reason");

		if (cause && strcmp(cause, "ResourceVersionTooLarge") == 0)
			return true;
	}
	/* Before 1.18.6 there was no cause, only words. */
	return strcmp(reason, "Timeout") == 0 && strstr(message, "Too large resource version");
}

struct api_status api_status_read(const struct doc_node *root)
{
	const char *reason = doc_get_text(root, "reason"), *message = doc_get_text(root, "message");
	int64_t code = doc_get_int(root, "code", 0);
	struct api_status status = {
		.code = code >= 0 && code <= 999 ? (int)code : 0,
		.reason = reason ? reason : "",
		.message = message ? message : "",
		.retry_after_s = doc_get_int(doc_get(root, "details"), "retryAfterSeconds", -1),
	};

	status.too_large = says_too_large(root, status.reason, status.message);
	return status;
}
