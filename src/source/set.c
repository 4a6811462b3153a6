/* Owns the set of decoded objects and the table of their names. Runs in control, in `portald plan` and in the
 * fuzzers. */
#include "source/set.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "portald/mem.h"

struct set_name {
	UT_hash_handle hh;
	struct object *object;
	char title[];
};

/* ---- labels ---- */

static int label_cmp(const void *a, const void *b)
{
	return strcmp(((const struct label *)a)->key, ((const struct label *)b)->key);
}

static uint32_t hash_label(const char *key, const char *value)
{
	uint32_t hash = 0x811c9dc5;

	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * 0x01000193;
	hash = (hash ^ '=') * 0x01000193;
	for (; *value; value++)
		hash = (hash ^ (unsigned char)*value) * 0x01000193;
	return hash;
}

struct labels labels_from(const struct doc_node *map)
{
	struct labels labels = {0};

	if (!map || map->kind != DOC_MAP || map->count == 0)
		return labels;
	labels.list = mem_calloc(map->count, sizeof(*labels.list));
	labels.count = map->count;
	for (size_t i = 0; i < map->count; i++) {
		const struct doc_node *value = map->pairs[i].value;

		labels.list[i].key = mem_strdup(map->pairs[i].key);
		labels.list[i].value = mem_strdup(value->kind == DOC_STRING ? value->text : "");
		labels.list[i].hash = hash_label(labels.list[i].key, labels.list[i].value);
	}
	qsort(labels.list, labels.count, sizeof(*labels.list), label_cmp);
	return labels;
}

void labels_fini(struct labels *labels)
{
	for (size_t i = 0; i < labels->count; i++) {
		free(labels->list[i].key);
		free(labels->list[i].value);
	}
	free(labels->list);
	*labels = (struct labels){0};
}

const char *labels_get(const struct labels *labels, const char *key)
{
	struct label wanted = {.key = (char *)key};
	struct label *found =
		labels->count ? bsearch(&wanted, labels->list, labels->count, sizeof(wanted), label_cmp)
			      : NULL;

	return found ? found->value : NULL;
}

char *labels_format(const struct labels *labels)
{
	char *text = mem_strdup("");

	for (size_t i = 0; i < labels->count; i++) {
		char *longer = mem_printf(
			"%s%s%s=%s", text, i ? "," : "", labels->list[i].key, labels->list[i].value);

		free(text);
		text = longer;
	}
	return text;
}

static bool has_label(const struct labels *labels, const struct label *wanted)
{
	for (size_t i = 0; i < labels->count; i++) {
		const struct label *label = &labels->list[i];

		if (label->hash == wanted->hash && strcmp(label->key, wanted->key) == 0)
			return strcmp(label->value, wanted->value) == 0;
	}
	return false;
}

size_t labels_matching(const struct labels *wanted, const struct labels *have)
{
	size_t matching = 0;

	for (size_t i = 0; i < wanted->count; i++)
		matching += has_label(have, &wanted->list[i]);
	return matching;
}

/* ---- objects ---- */

void set_service_free(struct set_service *service)
{
	for (size_t i = 0; service->targets && i < service->model->port_count; i++)
		free(service->targets[i].name);
	free(service->targets);
	model_service_unref(service->model);
	labels_fini(&service->selector);
	free(service->object.title);
	free(service);
}

void set_endpoints_free(struct set_endpoints *endpoints)
{
	for (size_t i = 0; i < endpoints->slice_count; i++)
		model_slice_unref(endpoints->slices[i]);
	free(endpoints->slices);
	free(endpoints->namespace);
	free(endpoints->service_name);
	free(endpoints->object.title);
	free(endpoints);
}

void set_pod_free(struct set_pod *pod)
{
	for (size_t i = 0; i < pod->port_count; i++)
		free(pod->ports[i].name);
	free(pod->ports);
	labels_fini(&pod->labels);
	free(pod->namespace);
	free(pod->name);
	free(pod->node_name);
	free(pod->object.title);
	free(pod);
}

void set_node_free(struct set_node *node)
{
	model_node_unref(node->model);
	free(node->object.title);
	free(node);
}

void set_endpoints_add(struct set_endpoints *endpoints, struct model_slice *slice)
{
	endpoints->slices = mem_grow(endpoints->slices, endpoints->slice_count, &endpoints->slice_capacity,
		sizeof(struct model_slice *));
	endpoints->slices[endpoints->slice_count++] = slice;
}

/* ---- the set ---- */

static void take_name(struct set *set, struct object *object)
{
	size_t length = strlen(object->title);
	struct set_name *name;
	char *before;

	HASH_FIND(hh, set->names, object->title, length, name);
	if (!name) {
		name = mem_calloc(1, sizeof(*name) + length + 1);
		memcpy(name->title, object->title, length);
		name->object = object;
		HASH_ADD_KEYPTR(hh, set->names, name->title, length, name);
		return;
	}
	before = findings_place(set->findings, name->object->place);
	findings_add(set->findings, SOURCE_WARNING, object->place, object->title, NULL,
		"replaces the one of the same name at %s", before);
	free(before);
	name->object->gone = true;
	name->object = object;
}

void set_take_service(struct set *set, struct set_service *service)
{
	take_name(set, &service->object);
	set->services = mem_grow(
		set->services, set->service_count, &set->service_capacity, sizeof(struct set_service *));
	set->services[set->service_count++] = service;
}

void set_take_endpoints(struct set *set, struct set_endpoints *endpoints)
{
	take_name(set, &endpoints->object);
	set->endpoints = mem_grow(set->endpoints, set->endpoints_count, &set->endpoints_capacity,
		sizeof(struct set_endpoints *));
	set->endpoints[set->endpoints_count++] = endpoints;
}

void set_take_pod(struct set *set, struct set_pod *pod)
{
	take_name(set, &pod->object);
	set->pods = mem_grow(set->pods, set->pod_count, &set->pod_capacity, sizeof(struct set_pod *));
	set->pods[set->pod_count++] = pod;
}

void set_take_node(struct set *set, struct set_node *node)
{
	take_name(set, &node->object);
	set->nodes = mem_grow(set->nodes, set->node_count, &set->node_capacity, sizeof(struct set_node *));
	set->nodes[set->node_count++] = node;
}

void set_fini(struct set *set)
{
	struct set_name *name = set->names, *next;

	/* Frees the table; the entries are still linked. */
	HASH_CLEAR(hh, set->names);
	for (; name; name = next) {
		next = name->hh.next;
		free(name);
	}
	for (size_t i = 0; i < set->service_count; i++)
		set_service_free(set->services[i]);
	for (size_t i = 0; i < set->endpoints_count; i++)
		set_endpoints_free(set->endpoints[i]);
	for (size_t i = 0; i < set->pod_count; i++)
		set_pod_free(set->pods[i]);
	for (size_t i = 0; i < set->node_count; i++)
		set_node_free(set->nodes[i]);
	free(set->nodes);
	free(set->services);
	free(set->endpoints);
	free(set->pods);
}
