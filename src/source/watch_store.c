/* Owns what the API server has last said: a table of objects by name for each resource, the same objects
 * sorted for the plan, and which Services have changed. Runs in control and in the fuzzers. */
#include "source/watch_store.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "portald/mem.h"

/* An object under its name. */
struct stored {
	UT_hash_handle hh;
	struct api_object object;
	char key[]; /* "namespace/name" */
};

struct table {
	struct stored *current, *incoming;
	bool listed;
};

/* Objects of the tables, borrowed, in the order of a snapshot. */
struct sorted {
	void **list;
	size_t count, capacity;
};

struct change {
	UT_hash_handle hh;
	struct watch_change change;
	char key[]; /* "namespace/name" */
};

struct watch_store {
	struct table tables[WATCH_RESOURCES];
	struct sorted services, slices;
	struct change *changes;
	const struct watch_change *last_change;
	bool node_changed;
	struct model_snapshot *snapshot; /* the last one made, NULL after a change */
};

/* ---- order ---- */

/* The place of a Service, or (with slice set) of a slice; "" comes before all slices of the Service. */
struct place_key {
	const char *namespace, *service, *slice;
};

typedef int place_fn(const void *object, const struct place_key *key);

static int service_place(const void *object, const struct place_key *key)
{
	const struct model_service *service = object;
	int by_namespace = strcmp(service->namespace, key->namespace);

	return by_namespace ? by_namespace : strcmp(service->name, key->service);
}

static int slice_place(const void *object, const struct place_key *key)
{
	const struct model_slice *slice = object;
	int by_namespace = strcmp(slice->namespace, key->namespace);
	int by_service = by_namespace ? by_namespace : strcmp(slice->service_name, key->service);

	return by_service ? by_service : strcmp(slice->name, key->slice);
}

static struct place_key service_key(const struct model_service *service)
{
	return (struct place_key){service->namespace, service->name, NULL};
}

static struct place_key slice_key(const struct model_slice *slice)
{
	return (struct place_key){slice->namespace, slice->service_name, slice->name};
}

static int service_cmp(const void *a, const void *b)
{
	struct place_key key = service_key(*(struct model_service *const *)b);

	return service_place(*(struct model_service *const *)a, &key);
}

static int slice_cmp(const void *a, const void *b)
{
	struct place_key key = slice_key(*(struct model_slice *const *)b);

	return slice_place(*(struct model_slice *const *)a, &key);
}

/* The first index whose object is not before key. */
static size_t sorted_find(const struct sorted *sorted, place_fn *place, const struct place_key *key)
{
	size_t low = 0, high = sorted->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (place(sorted->list[middle], key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void sorted_append(struct sorted *sorted, void *object)
{
	sorted->list = mem_grow(sorted->list, sorted->count, &sorted->capacity, sizeof(*sorted->list));
	sorted->list[sorted->count++] = object;
}

static void sorted_insert(struct sorted *sorted, place_fn *place, const struct place_key *key, void *object)
{
	size_t at = sorted_find(sorted, place, key);

	sorted_append(sorted, object);
	memmove(&sorted->list[at + 1], &sorted->list[at], (sorted->count - 1 - at) * sizeof(*sorted->list));
	sorted->list[at] = object;
}

static void sorted_remove(
	struct sorted *sorted, place_fn *place, const struct place_key *key, const void *object)
{
	size_t at = sorted_find(sorted, place, key);

	while (at < sorted->count && sorted->list[at] != object && place(sorted->list[at], key) == 0)
		at++;
	if (at >= sorted->count || sorted->list[at] != object)
		return;
	sorted->count--;
	memmove(&sorted->list[at], &sorted->list[at + 1], (sorted->count - at) * sizeof(*sorted->list));
}

/* ---- changes ---- */

static char *key_text(const char *namespace, const char *name)
{
	return mem_printf("%s/%s", namespace, name);
}

static struct watch_change *mark(struct watch_store *store, const char *namespace, const char *name)
{
	size_t namespace_bytes = strlen(namespace) + 1, name_bytes = strlen(name) + 1;
	struct change *change = mem_calloc(1, sizeof(*change) + namespace_bytes + name_bytes);
	struct change *known;

	/* Both ends in NUL: neither can hold one, so the key is unique. */
	memcpy(change->key, namespace, namespace_bytes);
	memcpy(change->key + namespace_bytes, name, name_bytes);
	HASH_FIND(hh, store->changes, change->key, namespace_bytes + name_bytes, known);
	if (known) {
		free(change);
		return &known->change;
	}
	change->change.namespace = change->key;
	change->change.name = change->key + namespace_bytes;
	change->change.next = store->last_change;
	store->last_change = &change->change;
	HASH_ADD_KEYPTR(hh, store->changes, change->key, namespace_bytes + name_bytes, change);
	return &change->change;
}

static void mark_object(struct watch_store *store, const struct api_object *object)
{
	if (object->service)
		mark(store, object->service->namespace, object->service->name)->service = true;
	for (size_t i = 0; i < object->slice_count; i++)
		mark(store, object->slices[i]->namespace, object->slices[i]->service_name)->endpoints = true;
	if (object->node)
		store->node_changed = true;
	model_snapshot_unref(store->snapshot);
	store->snapshot = NULL;
}

const struct watch_change *watch_store_changes(const struct watch_store *store)
{
	return store->last_change;
}

bool watch_store_node_changed(const struct watch_store *store)
{
	return store->node_changed;
}

void watch_store_changes_clear(struct watch_store *store)
{
	struct change *change = store->changes, *next;

	/* Frees the table; the entries are still linked. */
	HASH_CLEAR(hh, store->changes);
	for (; change; change = next) {
		next = change->hh.next;
		free(change);
	}
	store->last_change = NULL;
	store->node_changed = false;
}

/* ---- tables ---- */

static struct stored *stored_find(struct stored *table, const char *key)
{
	struct stored *stored;

	HASH_FIND_STR(table, key, stored);
	return stored;
}

static void stored_free(struct stored *stored)
{
	api_object_fini(&stored->object);
	free(stored);
}

static void stored_free_all(struct stored **table)
{
	struct stored *stored = *table, *next;

	HASH_CLEAR(hh, *table);
	for (; stored; stored = next) {
		next = stored->hh.next;
		stored_free(stored);
	}
}

/* Puts the object under its key; what was there is freed. */
static void stored_put(struct stored **table, const char *key, struct api_object *object)
{
	struct stored *stored = stored_find(*table, key);
	size_t key_bytes = strlen(key) + 1;

	if (stored) {
		api_object_fini(&stored->object);
	} else {
		stored = mem_calloc(1, sizeof(*stored) + key_bytes);
		memcpy(stored->key, key, key_bytes);
		HASH_ADD_STR(*table, key, stored);
	}
	stored->object = *object;
	*object = (struct api_object){0};
}

/* ---- single objects ---- */

static void index_add(struct watch_store *store, const struct api_object *object)
{
	if (object->service) {
		struct place_key key = service_key(object->service);

		sorted_insert(&store->services, service_place, &key, object->service);
	}
	for (size_t i = 0; i < object->slice_count; i++) {
		struct place_key key = slice_key(object->slices[i]);

		sorted_insert(&store->slices, slice_place, &key, object->slices[i]);
	}
}

static void index_remove(struct watch_store *store, const struct api_object *object)
{
	if (object->service) {
		struct place_key key = service_key(object->service);

		sorted_remove(&store->services, service_place, &key, object->service);
	}
	for (size_t i = 0; i < object->slice_count; i++) {
		struct place_key key = slice_key(object->slices[i]);

		sorted_remove(&store->slices, slice_place, &key, object->slices[i]);
	}
}

void watch_store_put(struct watch_store *store, enum watch_resource resource, const char *namespace,
	const char *name, struct api_object *object)
{
	struct table *table = &store->tables[resource];
	char *key = key_text(namespace, name);
	struct stored *before = stored_find(table->current, key);

	if (before && api_object_equal(&before->object, object)) {
		api_object_fini(object);
	} else {
		if (before) {
			mark_object(store, &before->object);
			index_remove(store, &before->object);
		}
		mark_object(store, object);
		index_add(store, object);
		stored_put(&table->current, key, object);
	}
	free(key);
}

void watch_store_remove(
	struct watch_store *store, enum watch_resource resource, const char *namespace, const char *name)
{
	struct table *table = &store->tables[resource];
	char *key = key_text(namespace, name);
	struct stored *stored = stored_find(table->current, key);

	free(key);
	if (!stored)
		return;
	mark_object(store, &stored->object);
	index_remove(store, &stored->object);
	HASH_DEL(table->current, stored);
	stored_free(stored);
}

/* ---- lists ---- */

void watch_store_list_begin(struct watch_store *store, enum watch_resource resource)
{
	stored_free_all(&store->tables[resource].incoming);
}

/* An object that is the same as before is not kept twice: the old one is shared until the list is complete.
 */
static void share(struct api_object *object, const struct api_object *before)
{
	api_object_fini(object);
	if (before->service)
		object->service = model_service_ref(before->service);
	object->slices = mem_calloc(before->slice_count, sizeof(struct model_slice *));
	object->slice_count = before->slice_count;
	for (size_t i = 0; i < before->slice_count; i++)
		object->slices[i] = model_slice_ref(before->slices[i]);
}

void watch_store_list_put(struct watch_store *store, enum watch_resource resource, const char *namespace,
	const char *name, struct api_object *object)
{
	struct table *table = &store->tables[resource];
	char *key = key_text(namespace, name);
	const struct stored *before = stored_find(table->current, key);

	if (before && !object->node && api_object_equal(&before->object, object))
		share(object, &before->object);
	stored_put(&table->incoming, key, object);
	free(key);
}

void watch_store_list_keep(
	struct watch_store *store, enum watch_resource resource, const char *namespace, const char *name)
{
	struct table *table = &store->tables[resource];
	char *key = key_text(namespace, name);
	const struct stored *before = stored_find(table->current, key);
	struct api_object object = {0};

	if (before && !before->object.node) {
		share(&object, &before->object);
		stored_put(&table->incoming, key, &object);
	}
	free(key);
}

/* Marks what differs between the two, by pointer where it may be. */
static void mark_differences(struct watch_store *store, const struct table *table)
{
	for (struct stored *stored = table->current; stored; stored = stored->hh.next) {
		if (!stored_find(table->incoming, stored->key))
			mark_object(store, &stored->object);
	}
	for (struct stored *stored = table->incoming; stored; stored = stored->hh.next) {
		struct stored *before = stored_find(table->current, stored->key);

		if (before && api_object_equal(&before->object, &stored->object))
			continue;
		if (before)
			mark_object(store, &before->object);
		mark_object(store, &stored->object);
	}
}

static void index_rebuild(struct watch_store *store, enum watch_resource resource)
{
	struct sorted *sorted = resource == WATCH_SERVICES ? &store->services : &store->slices;

	if (resource == WATCH_NODE)
		return;
	sorted->count = 0;
	for (struct stored *stored = store->tables[resource].current; stored; stored = stored->hh.next) {
		if (stored->object.service)
			sorted_append(sorted, stored->object.service);
		for (size_t i = 0; i < stored->object.slice_count; i++)
			sorted_append(sorted, stored->object.slices[i]);
	}
	if (sorted->count > 0)
		qsort(sorted->list, sorted->count, sizeof(*sorted->list),
			resource == WATCH_SERVICES ? service_cmp : slice_cmp);
}

void watch_store_list_end(struct watch_store *store, enum watch_resource resource)
{
	struct table *table = &store->tables[resource];

	mark_differences(store, table);
	stored_free_all(&table->current);
	table->current = table->incoming;
	table->incoming = NULL;
	table->listed = true;
	index_rebuild(store, resource);
}

/* ---- the store ---- */

struct watch_store *watch_store_new(void)
{
	return mem_calloc(1, sizeof(struct watch_store));
}

void watch_store_free(struct watch_store *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < WATCH_RESOURCES; i++) {
		stored_free_all(&store->tables[i].current);
		stored_free_all(&store->tables[i].incoming);
	}
	watch_store_changes_clear(store);
	model_snapshot_unref(store->snapshot);
	free(store->services.list);
	free(store->slices.list);
	free(store);
}

bool watch_store_listed(const struct watch_store *store, enum watch_resource resource)
{
	return store->tables[resource].listed;
}

bool watch_store_synced(const struct watch_store *store)
{
	return store->tables[WATCH_SERVICES].listed && store->tables[WATCH_ENDPOINTS].listed;
}

size_t watch_store_count(const struct watch_store *store, enum watch_resource resource)
{
	return HASH_COUNT(store->tables[resource].current);
}

struct model_snapshot *watch_store_snapshot(struct watch_store *store)
{
	const struct watch_node *node = watch_store_node(store);
	struct model_snapshot *snapshot;

	if (store->snapshot)
		return model_snapshot_ref(store->snapshot);
	snapshot = mem_calloc(1, sizeof(*snapshot));
	snapshot->refs = 1;
	snapshot->services = mem_calloc(store->services.count, sizeof(*snapshot->services));
	snapshot->slices = mem_calloc(store->slices.count, sizeof(*snapshot->slices));
	for (size_t i = 0; i < store->services.count; i++)
		snapshot->services[i] = model_service_ref(store->services.list[i]);
	for (size_t i = 0; i < store->slices.count; i++)
		snapshot->slices[i] = model_slice_ref(store->slices.list[i]);
	snapshot->service_count = store->services.count;
	snapshot->slice_count = store->slices.count;
	if (node) {
		snapshot->nodes = mem_calloc(1, sizeof(*snapshot->nodes));
		snapshot->nodes[0] = model_node_ref(node->model);
		snapshot->node_count = 1;
	}
	store->snapshot = model_snapshot_ref(snapshot);
	return snapshot;
}

const struct model_service *watch_store_service(
	const struct watch_store *store, const char *namespace, const char *name)
{
	struct place_key key = {namespace, name, NULL};
	size_t at = sorted_find(&store->services, service_place, &key);

	if (at >= store->services.count || service_place(store->services.list[at], &key) != 0)
		return NULL;
	return store->services.list[at];
}

static bool is_slice_of(const struct model_slice *slice, const char *namespace, const char *service_name)
{
	return strcmp(slice->namespace, namespace) == 0 && strcmp(slice->service_name, service_name) == 0;
}

size_t watch_store_slices(const struct watch_store *store, const char *namespace, const char *service_name,
	struct model_slice *const **first)
{
	struct place_key key = {namespace, service_name, ""};
	size_t at = sorted_find(&store->slices, slice_place, &key), end = at;

	while (end < store->slices.count && is_slice_of(store->slices.list[end], namespace, service_name))
		end++;
	*first = end > at ? (struct model_slice *const *)(const void *)&store->slices.list[at] : NULL;
	return end - at;
}

const struct watch_node *watch_store_node(const struct watch_store *store)
{
	return store->tables[WATCH_NODE].current ? store->tables[WATCH_NODE].current->object.node : NULL;
}
