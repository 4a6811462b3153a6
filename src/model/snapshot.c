/* Owns snapshots: built once, sorted, then only read. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "portald/model.h"

/* An object on its way into a snapshot. */
struct entry {
	void *object;
	size_t order; /* of being put: qsort need not be stable */
};

struct entries {
	struct entry *list;
	size_t count, capacity;
};

struct model_builder {
	struct entries services, slices, nodes;
};

/* What entries hold, for the parts that do not care. */
struct kind {
	int (*cmp)(const void *entry_a, const void *entry_b); /* by key and order */
	bool (*same_key)(const void *object_a, const void *object_b);
	void (*unref)(void *object);
};

struct model_builder *model_builder_new(void)
{
	return mem_calloc(1, sizeof(struct model_builder));
}

static void entries_take(struct entries *entries, void *object)
{
	entries->list = mem_grow(entries->list, entries->count, &entries->capacity, sizeof(*entries->list));
	entries->list[entries->count] = (struct entry){.object = object, .order = entries->count};
	entries->count++;
}

void model_builder_take_service(struct model_builder *builder, struct model_service *service)
{
	entries_take(&builder->services, service);
}

void model_builder_take_slice(struct model_builder *builder, struct model_slice *slice)
{
	entries_take(&builder->slices, slice);
}

void model_builder_take_node(struct model_builder *builder, struct model_node *node)
{
	entries_take(&builder->nodes, node);
}

void model_builder_free(struct model_builder *builder)
{
	if (!builder)
		return;
	for (size_t i = 0; i < builder->services.count; i++)
		model_service_unref(builder->services.list[i].object);
	for (size_t i = 0; i < builder->slices.count; i++)
		model_slice_unref(builder->slices.list[i].object);
	for (size_t i = 0; i < builder->nodes.count; i++)
		model_node_unref(builder->nodes.list[i].object);
	free(builder->nodes.list);
	free(builder->services.list);
	free(builder->slices.list);
	free(builder);
}

int model_service_cmp(const struct model_service *a, const struct model_service *b)
{
	int by_namespace = strcmp(a->namespace, b->namespace);

	return by_namespace ? by_namespace : strcmp(a->name, b->name);
}

int model_slice_service_cmp(const struct model_slice *slice, const struct model_service *service)
{
	int by_namespace = strcmp(slice->namespace, service->namespace);

	return by_namespace ? by_namespace : strcmp(slice->service_name, service->name);
}

static int slice_key_cmp(const struct model_slice *a, const struct model_slice *b)
{
	int by_namespace = strcmp(a->namespace, b->namespace);
	int by_service = by_namespace ? by_namespace : strcmp(a->service_name, b->service_name);

	return by_service ? by_service : strcmp(a->name, b->name);
}

static int order_cmp(const struct entry *a, const struct entry *b)
{
	return a->order < b->order ? -1 : a->order > b->order;
}

static int service_entry_cmp(const void *a, const void *b)
{
	const struct entry *ea = a, *eb = b;
	int by_key = model_service_cmp(ea->object, eb->object);

	return by_key ? by_key : order_cmp(ea, eb);
}

static int slice_entry_cmp(const void *a, const void *b)
{
	const struct entry *ea = a, *eb = b;
	int by_key = slice_key_cmp(ea->object, eb->object);

	return by_key ? by_key : order_cmp(ea, eb);
}

static int node_key_cmp(const struct model_node *a, const struct model_node *b)
{
	return strcmp(a->name, b->name);
}

static int node_entry_cmp(const void *a, const void *b)
{
	const struct entry *ea = a, *eb = b;
	int by_key = node_key_cmp(ea->object, eb->object);

	return by_key ? by_key : order_cmp(ea, eb);
}

static bool node_same_key(const void *a, const void *b)
{
	return node_key_cmp(a, b) == 0;
}

static void node_unref(void *node)
{
	model_node_unref(node);
}

static bool service_same_key(const void *a, const void *b)
{
	return model_service_cmp(a, b) == 0;
}

static bool slice_same_key(const void *a, const void *b)
{
	return slice_key_cmp(a, b) == 0;
}

static void service_unref(void *service)
{
	model_service_unref(service);
}

static void slice_unref(void *slice)
{
	model_slice_unref(slice);
}

/* Turns the entries into an array sorted by key, in which of equal keys only the last one put remains. */
static void *entries_finish(struct entries *entries, const struct kind *kind, size_t *count)
{
	void **objects = entries->count ? mem_calloc(entries->count, sizeof(void *)) : NULL;
	size_t kept = 0;

	if (entries->count > 0)
		qsort(entries->list, entries->count, sizeof(*entries->list), kind->cmp);
	for (size_t i = 0; i < entries->count; i++) {
		void *object = entries->list[i].object;

		if (i + 1 < entries->count && kind->same_key(object, entries->list[i + 1].object))
			kind->unref(object);
		else
			objects[kept++] = object;
	}
	free(entries->list);
	*count = kept;
	return objects;
}

struct model_snapshot *model_builder_finish(struct model_builder *builder)
{
	static const struct kind services = {service_entry_cmp, service_same_key, service_unref};
	static const struct kind slices = {slice_entry_cmp, slice_same_key, slice_unref};
	static const struct kind nodes = {node_entry_cmp, node_same_key, node_unref};
	struct model_snapshot *snapshot = mem_calloc(1, sizeof(*snapshot));

	snapshot->refs = 1;
	snapshot->services = entries_finish(&builder->services, &services, &snapshot->service_count);
	snapshot->slices = entries_finish(&builder->slices, &slices, &snapshot->slice_count);
	snapshot->nodes = entries_finish(&builder->nodes, &nodes, &snapshot->node_count);
	free(builder);
	return snapshot;
}

struct model_snapshot *model_snapshot_ref(struct model_snapshot *snapshot)
{
	snapshot->refs++;
	return snapshot;
}

void model_snapshot_unref(struct model_snapshot *snapshot)
{
	if (!snapshot || --snapshot->refs > 0)
		return;
	for (size_t i = 0; i < snapshot->service_count; i++)
		model_service_unref(snapshot->services[i]);
	for (size_t i = 0; i < snapshot->slice_count; i++)
		model_slice_unref(snapshot->slices[i]);
	for (size_t i = 0; i < snapshot->node_count; i++)
		model_node_unref(snapshot->nodes[i]);
	free(snapshot->nodes);
	free(snapshot->services);
	free(snapshot->slices);
	free(snapshot);
}

size_t model_slices_of(
	const struct model_snapshot *snapshot, const struct model_service *service, size_t *first)
{
	size_t low = 0, high = snapshot->slice_count, end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (model_slice_service_cmp(snapshot->slices[middle], service) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*first = low;
	for (end = low; end < snapshot->slice_count; end++) {
		if (model_slice_service_cmp(snapshot->slices[end], service) != 0)
			break;
	}
	return end - low;
}

static int node_name_cmp(const void *name, const void *node)
{
	return strcmp(name, (*(struct model_node *const *)node)->name);
}

const struct model_node *model_find_node(const struct model_snapshot *snapshot, const char *name)
{
	struct model_node **found = NULL;

	if (snapshot->node_count > 0)
		found = bsearch(name, snapshot->nodes, snapshot->node_count, sizeof(struct model_node *),
			node_name_cmp);
	return found ? *found : NULL;
}
