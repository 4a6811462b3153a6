/* Owns the model's objects: construction, reference counts, comparison, snapshots. Runs in control and in
 * `portald plan`. */
#include "portald/model.h"

#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"

/* Appends a zeroed entry of size bytes to *array, which grows by doubling from powers of two, so that no
 * capacity needs to be kept. */
static void *array_append(void *array_pointer, size_t *count, size_t size)
{
	void **array = array_pointer;
	size_t capacity = *count;
	char *entry;

	/* Full exactly when count is 0 or a power of two from 8 up. */
	if (*count == 0 || (*count >= 8 && (*count & (*count - 1)) == 0))
		*array = mem_grow(*array, *count, &capacity, size);
	entry = (char *)*array + *count * size;
	memset(entry, 0, size);
	(*count)++;
	return entry;
}

struct model_service *model_service_new(const char *namespace, const char *name)
{
	struct model_service *service = mem_calloc(1, sizeof(*service));

	service->refs = 1;
	service->namespace = mem_strdup(namespace);
	service->name = mem_strdup(name);
	return service;
}

struct model_slice *model_slice_new(const char *namespace, const char *service_name, const char *name)
{
	struct model_slice *slice = mem_calloc(1, sizeof(*slice));

	slice->refs = 1;
	slice->namespace = mem_strdup(namespace);
	slice->service_name = mem_strdup(service_name);
	slice->name = mem_strdup(name);
	slice->family = ADDR_V4;
	return slice;
}

struct model_service_port *model_service_add_port(struct model_service *service)
{
	struct model_service_port *port;

	if (service->port_count >= MODEL_MAX_PORTS)
		return NULL;
	port = array_append(&service->ports, &service->port_count, sizeof(*port));
	port->name = mem_strdup("");
	return port;
}

struct model_slice_port *model_slice_add_port(struct model_slice *slice)
{
	struct model_slice_port *port;

	if (slice->port_count >= MODEL_MAX_PORTS)
		return NULL;
	port = array_append(&slice->ports, &slice->port_count, sizeof(*port));
	port->name = mem_strdup("");
	return port;
}

struct model_endpoint *model_slice_add_endpoint(struct model_slice *slice)
{
	if (slice->endpoint_count >= MODEL_MAX_ENDPOINTS)
		return NULL;
	return array_append(&slice->endpoints, &slice->endpoint_count, sizeof(*slice->endpoints));
}

struct model_service *model_service_ref(struct model_service *service)
{
	service->refs++;
	return service;
}

struct model_slice *model_slice_ref(struct model_slice *slice)
{
	slice->refs++;
	return slice;
}

void model_service_unref(struct model_service *service)
{
	if (!service || --service->refs > 0)
		return;
	for (size_t i = 0; i < service->port_count; i++)
		free(service->ports[i].name);
	free(service->ports);
	free(service->namespace);
	free(service->name);
	free(service->no_endpoints_reason);
	free(service);
}

void model_slice_unref(struct model_slice *slice)
{
	if (!slice || --slice->refs > 0)
		return;
	for (size_t i = 0; i < slice->port_count; i++)
		free(slice->ports[i].name);
	for (size_t i = 0; i < slice->endpoint_count; i++) {
		free(slice->endpoints[i].target);
		free(slice->endpoints[i].node_name);
	}
	free(slice->ports);
	free(slice->endpoints);
	free(slice->namespace);
	free(slice->service_name);
	free(slice->name);
	free(slice);
}

/* ---- comparison ---- */

static bool text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool service_port_equal(const struct model_service_port *a, const struct model_service_port *b)
{
	return text_equal(a->name, b->name) && a->proto == b->proto && a->port == b->port &&
	       a->node_port == b->node_port;
}

bool model_service_equal(const struct model_service *a, const struct model_service *b)
{
	if (a == b)
		return true;
	if (!text_equal(a->namespace, b->namespace) || !text_equal(a->name, b->name) || a->type != b->type ||
		a->headless != b->headless || a->cluster_ip_count != b->cluster_ip_count ||
		a->publish_not_ready != b->publish_not_ready || a->port_count != b->port_count ||
		!text_equal(a->no_endpoints_reason, b->no_endpoints_reason))
		return false;
	for (size_t i = 0; i < a->cluster_ip_count; i++) {
		if (!addr_equal(&a->cluster_ips[i], &b->cluster_ips[i]))
			return false;
	}
	for (size_t i = 0; i < a->port_count; i++) {
		if (!service_port_equal(&a->ports[i], &b->ports[i]))
			return false;
	}
	return true;
}

static bool endpoint_equal(const struct model_endpoint *a, const struct model_endpoint *b)
{
	return addr_equal(&a->addr, &b->addr) && a->ready == b->ready && a->serving == b->serving &&
	       a->terminating == b->terminating && text_equal(a->target, b->target) &&
	       text_equal(a->node_name, b->node_name);
}

bool model_slice_equal(const struct model_slice *a, const struct model_slice *b)
{
	if (a == b)
		return true;
	if (!text_equal(a->namespace, b->namespace) || !text_equal(a->name, b->name) ||
		!text_equal(a->service_name, b->service_name) || a->family != b->family ||
		a->port_count != b->port_count || a->endpoint_count != b->endpoint_count)
		return false;
	for (size_t i = 0; i < a->port_count; i++) {
		const struct model_slice_port *pa = &a->ports[i], *pb = &b->ports[i];

		if (!text_equal(pa->name, pb->name) || pa->proto != pb->proto || pa->port != pb->port)
			return false;
	}
	for (size_t i = 0; i < a->endpoint_count; i++) {
		if (!endpoint_equal(&a->endpoints[i], &b->endpoints[i]))
			return false;
	}
	return true;
}
