/* Owns snapshots: built once, sorted, then only read. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "portald/model.h"

struct model_builder {
	struct model_service **services;
	size_t service_count, service_capacity;
	struct model_slice **slices;
	size_t slice_count, slice_capacity;
};

struct model_builder *model_builder_new(void)
{
	return mem_calloc(1, sizeof(struct model_builder));
}

void model_builder_free(struct model_builder *builder)
{
	if (!builder)
		return;
	for (size_t i = 0; i < builder->service_count; i++)
		model_service_unref(builder->services[i]);
	for (size_t i = 0; i < builder->slice_count; i++)
		model_slice_unref(builder->slices[i]);
	free(builder->services);
	free(builder->slices);
	free(builder);
}

void model_builder_take_service(struct model_builder *builder, struct model_service *service)
{
	builder->services = mem_grow(builder->services, builder->service_count, &builder->service_capacity,
		sizeof(struct model_service *));
	builder->services[builder->service_count++] = service;
}

void model_builder_take_slice(struct model_builder *builder, struct model_slice *slice)
{
	builder->slices = mem_grow(builder->slices, builder->slice_count, &builder->slice_capacity,
		sizeof(struct model_slice *));
	builder->slices[builder->slice_count++] = slice;
}

static int service_key_cmp(const struct model_service *a, const struct model_service *b)
{
	int by_namespace = strcmp(a->namespace, b->namespace);

	return by_namespace ? by_namespace : strcmp(a->name, b->name);
}

static int slice_service_cmp(const struct model_slice *slice, const struct model_service *service)
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

static int services_cmp(const void *a, const void *b)
{
	return service_key_cmp(*(struct model_service *const *)a, *(struct model_service *const *)b);
}

static int slices_cmp(const void *a, const void *b)
{
	return slice_key_cmp(*(struct model_slice *const *)a, *(struct model_slice *const *)b);
}

/* glibc's qsort is a stable merge sort unless memory is short, so of equal keys the last put stands last. */
static void sort_services(struct model_snapshot *snapshot)
{
	size_t kept = 0;

	if (snapshot->service_count == 0)
		return;
	qsort(snapshot->services, snapshot->service_count, sizeof(struct model_service *), services_cmp);
	for (size_t i = 1; i < snapshot->service_count; i++) {
		if (service_key_cmp(snapshot->services[kept], snapshot->services[i]) == 0)
			model_service_unref(snapshot->services[kept]);
		else
			kept++;
		snapshot->services[kept] = snapshot->services[i];
	}
	snapshot->service_count = kept + 1;
}

static void sort_slices(struct model_snapshot *snapshot)
{
	size_t kept = 0;

	if (snapshot->slice_count == 0)
		return;
	qsort(snapshot->slices, snapshot->slice_count, sizeof(struct model_slice *), slices_cmp);
	for (size_t i = 1; i < snapshot->slice_count; i++) {
		if (slice_key_cmp(snapshot->slices[kept], snapshot->slices[i]) == 0)
			model_slice_unref(snapshot->slices[kept]);
		else
			kept++;
		snapshot->slices[kept] = snapshot->slices[i];
	}
	snapshot->slice_count = kept + 1;
}

struct model_snapshot *model_builder_finish(struct model_builder *builder)
{
	struct model_snapshot *snapshot = mem_calloc(1, sizeof(*snapshot));

	*snapshot = (struct model_snapshot){
		.refs = 1,
		.services = builder->services,
		.service_count = builder->service_count,
		.slices = builder->slices,
		.slice_count = builder->slice_count,
	};
	free(builder);
	sort_services(snapshot);
	sort_slices(snapshot);
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

		if (slice_service_cmp(snapshot->slices[middle], service) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*first = low;
	for (end = low; end < snapshot->slice_count; end++) {
		if (slice_service_cmp(snapshot->slices[end], service) != 0)
			break;
	}
	return end - low;
}
