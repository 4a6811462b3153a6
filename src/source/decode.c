/* Sorts documents by kind, unpacks lists, and hands objects to their decoders. Runs in control, in
 * `portald plan` and in the fuzzers. */
#include "source/decode.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "portald/mem.h"
#include "source/names.h"
#include "source/schema.h"

/* A List in a List in a List makes no sense; a bound keeps the recursion short. */
#define LIST_MAX_DEPTH 8

struct decode_kind {
	UT_hash_handle hh;
	char title[]; /* "Deployment.apps" */
};

/* The kinds that are read. */
struct reader {
	const char *kind, *api_version;
	const struct schema *schema;
	const char *(*name_rule)(const char *);
	void (*decode)(struct decoder *, struct scope *, const struct doc_node *);
	bool lenient;
	bool cluster_wide; /* in no namespace */
};

static const struct reader readers[] = {
	{"Service", "v1", &schema_service, names_dns1035_label, decode_service, false, false},
	{"Endpoints", "v1", &schema_endpoints, names_dns1123_subdomain, decode_endpoints, false, false},
	{"EndpointSlice", "discovery.k8s.io/v1", &schema_endpoint_slice_v1, names_dns1123_subdomain,
		decode_endpoint_slice, false, false},
	{"EndpointSlice", "discovery.k8s.io/v1beta1", &schema_endpoint_slice_v1beta1, names_dns1123_subdomain,
		decode_endpoint_slice, false, false},
	{"Pod", "v1", &schema_pod, names_dns1123_subdomain, decode_pod, true, false},
	{"Node", "v1", &schema_node, names_dns1123_subdomain, decode_node, true, true},
};
#define READER_COUNT (sizeof(readers) / sizeof(*readers))

void decoder_fini(struct decoder *decoder)
{
	struct decode_kind *kind = decoder->passed_over, *next;

	/* Frees the table; the entries are still linked. */
	HASH_CLEAR(hh, decoder->passed_over);
	for (; kind; kind = next) {
		next = kind->hh.next;
		free(kind);
	}
}

/* ---- one object ---- */

const struct doc_node *decode_at(const struct doc_node *parent, const char *field)
{
	const struct doc_node *value = doc_get(parent, field);

	return value ? value : parent;
}

const char *decode_namespace(const struct doc_node *node)
{
	const char *namespace = doc_get_text(doc_get(node, "metadata"), "namespace");

	return namespace ? namespace : "default";
}

const char *decode_name(const struct doc_node *node)
{
	return doc_get_text(doc_get(node, "metadata"), "name");
}

const char *decode_label(const struct doc_node *node, const char *key)
{
	return doc_get_text(doc_get(doc_get(node, "metadata"), "labels"), key);
}

const char *decode_annotation(const struct doc_node *node, const char *key)
{
	return doc_get_text(doc_get(doc_get(node, "metadata"), "annotations"), key);
}

static char *object_title(const char *kind, const struct doc_node *node, bool cluster_wide)
{
	const char *name = decode_name(node);
	char *title;

	if (!name)
		title = mem_printf("%s without a name", kind);
	else if (cluster_wide)
		title = mem_printf("%s %s", kind, name);
	else
		title = mem_printf("%s %s/%s", kind, decode_namespace(node), name);
	for (char *c = title; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	return title;
}

/* The rule's name for a value that would keep it in lower case, as the most frequent mistake. */
static void invalid_name(
	struct scope *scope, const struct doc_node *at, const char *name, const char *(*rule)(const char *))
{
	char *lower = mem_strdup(name), *why;

	for (char *c = lower; *c; c++)
		*c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c == '_' ? '-' : *c;
	why = rule(lower) ? mem_strdup(rule(name)) : mem_printf("%s (such as \"%s\")", rule(name), lower);
	scope_invalid(scope, "name", at, name, why);
	free(why);
	free(lower);
}

void decode_meta(struct scope *scope, const struct doc_node *node, const char *(*name_rule)(const char *))
{
	const struct doc_node *meta = doc_get(node, "metadata");
	const char *name = doc_get_text(meta, "name"), *namespace = decode_namespace(node);
	size_t mark = scope_enter(scope, "metadata");

	if (!name)
		scope_required(scope, "name", meta ? meta : node, "a name is needed");
	else if (name_rule(name))
		invalid_name(scope, decode_at(meta, "name"), name, name_rule);
	if (names_dns1123_label(namespace))
		scope_invalid(scope, "namespace", decode_at(meta, "namespace"), namespace,
			names_dns1123_label(namespace));
	decode_labels_check(scope, meta, "labels");
	scope_leave(scope, mark);
}

static void decode_object(
	struct decoder *decoder, const struct reader *reader, const struct doc_node *node, bool duplicates)
{
	char *title = object_title(reader->kind, node, reader->cluster_wide);
	struct scope scope = {
		.findings = decoder->set->findings,
		.file = decoder->file,
		.object = title,
		.lenient = reader->lenient,
		.stored = doc_get_text(doc_get(node, "metadata"), "uid") != NULL,
	};

	if (duplicates)
		schema_check_duplicates(&scope, node);
	schema_check(&scope, node, reader->schema);
	/* A decoder relies on the forms of the fields. What only has a bad name may have other faults, too.
	 */
	if (scope.error_count == 0) {
		decode_meta(&scope, node, reader->name_rule);
		if (decode_name(node))
			reader->decode(decoder, &scope, node);
	}
	if (scope.error_count > 0)
		decoder->set->left_out++;
	free(title);
}

/* ---- kinds ---- */

static void refuse(struct decoder *decoder, const struct doc_node *at, const char *object, const char *field,
	const char *message)
{
	decoder->set->left_out++;
	findings_add(decoder->set->findings, SOURCE_ERROR,
		(struct place){decoder->file, at->line, at->column}, object, field, "%s", message);
}

static void pass_over(
	struct decoder *decoder, const struct doc_node *at, const char *kind, const char *api_version)
{
	const char *slash = strchr(api_version, '/');
	char *title = slash ? mem_printf("%s.%.*s", kind, (int)(slash - api_version), api_version)
			    : mem_strdup(kind);
	char *quoted = finding_quote(title);
	size_t length = strlen(title);
	struct decode_kind *known;

	HASH_FIND(hh, decoder->passed_over, title, length, known);
	if (!known) {
		known = mem_calloc(1, sizeof(*known) + length + 1);
		memcpy(known->title, title, length);
		HASH_ADD_KEYPTR(hh, decoder->passed_over, known->title, length, known);
		findings_add(decoder->set->findings, SOURCE_NOTE,
			(struct place){decoder->file, at->line, at->column}, NULL, NULL,
			"objects of kind %s are passed over", quoted);
	}
	free(quoted);
	free(title);
}

/* Groups of Kubernetes' own: a kind of ours in one of them is a mistake. Others may have a kind of the same
 * name, such as serving.knative.dev's Service. */
static bool is_builtin_group(const char *api_version)
{
	const char *slash = strchr(api_version, '/');
	size_t length = slash ? (size_t)(slash - api_version) : 0;

	return !memchr(api_version, '.', length) ||
	       (length > 7 && memcmp(api_version + length - 7, ".k8s.io", 7) == 0);
}

/* The kind of ours that a kind of no known group seems to mean, NULL if none. */
static const struct reader *meant_reader(const char *kind)
{
	for (size_t i = 0; i < READER_COUNT; i++) {
		size_t distance = names_distance(kind, readers[i].kind);

		/* Short names are too close to others: Pod, Job, Node. */
		if (distance == 0 || (distance <= 2 && strlen(readers[i].kind) > 6))
			return &readers[i];
	}
	return NULL;
}

static void unknown_kind(
	struct decoder *decoder, const struct doc_node *node, const char *kind, const char *api_version)
{
	const struct reader *meant = is_builtin_group(api_version) ? meant_reader(kind) : NULL;
	char *title, *message, *quoted_kind, *quoted_version;

	if (!meant) {
		pass_over(decoder, node, kind, api_version);
		return;
	}
	title = object_title(kind, node, meant->cluster_wide);
	quoted_kind = finding_quote(kind);
	quoted_version = finding_quote(api_version);
	message = mem_printf("no kind %s in version %s, did you mean \"%s\" in \"%s\"?", quoted_kind,
		quoted_version, meant->kind, meant->api_version);
	refuse(decoder, decode_at(node, strcmp(kind, meant->kind) ? "kind" : "apiVersion"), title,
		strcmp(kind, meant->kind) ? "kind" : "apiVersion", message);
	free(message);
	free(quoted_version);
	free(quoted_kind);
	free(title);
}

static const struct reader *find_reader(const char *kind, size_t kind_length, const char *api_version)
{
	for (size_t i = 0; i < READER_COUNT; i++) {
		if (strlen(readers[i].kind) == kind_length &&
			memcmp(readers[i].kind, kind, kind_length) == 0 &&
			strcmp(readers[i].api_version, api_version) == 0)
			return &readers[i];
	}
	return NULL;
}

/* ---- lists ---- */

static void decode_any(
	struct decoder *decoder, const struct doc_node *node, const struct reader *list_of, bool duplicates);

static void decode_items(
	struct decoder *decoder, const struct doc_node *node, const struct reader *list_of, bool duplicates)
{
	const struct doc_node *items = doc_get(node, "items");

	if (items && items->kind != DOC_SEQUENCE) {
		refuse(decoder, items, NULL, "items", "must be a list");
		return;
	}
	if (decoder->depth >= LIST_MAX_DEPTH) {
		refuse(decoder, node, NULL, NULL, "lists are nested too deeply");
		return;
	}
	decoder->depth++;
	for (size_t i = 0; items && i < items->count; i++)
		decode_any(decoder, items->items[i], list_of, duplicates);
	decoder->depth--;
}

/* True if kind is "List" in v1, or the list kind of a kind that is read (*list_of). */
static bool is_list(const char *kind, const char *api_version, const struct reader **list_of)
{
	size_t length = strlen(kind);

	*list_of = NULL;
	if (strcmp(kind, "List") == 0 && strcmp(api_version, "v1") == 0)
		return true;
	if (length <= 4 || strcmp(kind + length - 4, "List") != 0)
		return false;
	*list_of = find_reader(kind, length - 4, api_version);
	return *list_of != NULL;
}

static bool is_text(const struct doc_node *node, const char *key)
{
	return doc_get_text(node, key) != NULL;
}

/* Items of a typed list may go without kind and apiVersion. */
static void decode_any(
	struct decoder *decoder, const struct doc_node *node, const struct reader *list_of, bool duplicates)
{
	const char *kind, *api_version;
	const struct reader *reader, *items_of;

	if (node->kind != DOC_MAP) {
		refuse(decoder, node, NULL, NULL,
			"not an object: a manifest has apiVersion, kind and metadata");
		return;
	}
	kind = is_text(node, "kind") || !list_of ? doc_get_text(node, "kind") : list_of->kind;
	api_version = is_text(node, "apiVersion") || !list_of ? doc_get_text(node, "apiVersion")
							      : list_of->api_version;
	if (!kind || !api_version) {
		refuse(decoder, node, NULL, kind ? "apiVersion" : "kind", "Required value");
		return;
	}
	if (is_list(kind, api_version, &items_of)) {
		decode_items(decoder, node, items_of, duplicates);
		return;
	}
	reader = find_reader(kind, strlen(kind), api_version);
	if (reader)
		decode_object(decoder, reader, node, duplicates);
	else
		unknown_kind(decoder, node, kind, api_version);
}

void decode_document(struct decoder *decoder, const struct doc *doc)
{
	if (doc->root->kind != DOC_NULL)
		decode_any(decoder, doc->root, NULL, doc->has_duplicates);
}
