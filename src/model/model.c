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
	service_options_init(&service->options);
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

struct model_node *model_node_new(const char *name, const char *zone)
{
	struct model_node *node = mem_calloc(1, sizeof(*node));

	node->refs = 1;
	node->name = mem_strdup(name);
	node->zone = mem_strdup(zone);
	return node;
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
	struct model_endpoint *endpoint;

	if (slice->endpoint_count >= MODEL_MAX_ENDPOINTS)
		return NULL;
	endpoint = array_append(&slice->endpoints, &slice->endpoint_count, sizeof(*endpoint));
	endpoint->weight = SERVICE_WEIGHT_DEFAULT;
	return endpoint;
}

struct addr *model_service_add_external_ip(struct model_service *service)
{
	if (service->external_ip_count >= MODEL_MAX_EXTERNAL_IPS)
		return NULL;
	return array_append(&service->external_ips, &service->external_ip_count, sizeof(struct addr));
}

struct addr *model_service_add_load_balancer_ip(struct model_service *service)
{
	if (service->load_balancer_ip_count >= MODEL_MAX_LOAD_BALANCER_IPS)
		return NULL;
	return array_append(
		&service->load_balancer_ips, &service->load_balancer_ip_count, sizeof(struct addr));
}

struct addr_prefix *model_service_add_source_range(struct model_service *service)
{
	if (service->source_range_count >= MODEL_MAX_SOURCE_RANGES)
		return NULL;
	return array_append(
		&service->source_ranges, &service->source_range_count, sizeof(struct addr_prefix));
}

static bool add_hint(char ***hints, uint8_t *count, const char *text)
{
	size_t entries = *count;

	if (entries >= MODEL_MAX_HINTS)
		return false;
	*(char **)array_append(hints, &entries, sizeof(char *)) = mem_strdup(text);
	*count = (uint8_t)entries;
	return true;
}

bool model_endpoint_add_zone_hint(struct model_endpoint *endpoint, const char *zone)
{
	return add_hint(&endpoint->zone_hints, &endpoint->zone_hint_count, zone);
}

bool model_endpoint_add_node_hint(struct model_endpoint *endpoint, const char *node_name)
{
	return add_hint(&endpoint->node_hints, &endpoint->node_hint_count, node_name);
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

struct model_node *model_node_ref(struct model_node *node)
{
	node->refs++;
	return node;
}

void model_service_unref(struct model_service *service)
{
	if (!service || --service->refs > 0)
		return;
	for (size_t i = 0; i < service->port_count; i++)
		free(service->ports[i].name);
	free(service->ports);
	free(service->external_ips);
	free(service->load_balancer_ips);
	free(service->source_ranges);
	free(service->namespace);
	free(service->name);
	free(service->no_endpoints_reason);
	free(service->out_of_scope);
	free(service);
}

static void endpoint_fini(struct model_endpoint *endpoint)
{
	for (size_t i = 0; i < endpoint->zone_hint_count; i++)
		free(endpoint->zone_hints[i]);
	for (size_t i = 0; i < endpoint->node_hint_count; i++)
		free(endpoint->node_hints[i]);
	free(endpoint->zone_hints);
	free(endpoint->node_hints);
	free(endpoint->target);
	free(endpoint->node_name);
	free(endpoint->zone);
}

void model_slice_unref(struct model_slice *slice)
{
	if (!slice || --slice->refs > 0)
		return;
	for (size_t i = 0; i < slice->port_count; i++)
		free(slice->ports[i].name);
	for (size_t i = 0; i < slice->endpoint_count; i++)
		endpoint_fini(&slice->endpoints[i]);
	free(slice->ports);
	free(slice->endpoints);
	free(slice->namespace);
	free(slice->service_name);
	free(slice->name);
	free(slice);
}

void model_node_unref(struct model_node *node)
{
	if (!node || --node->refs > 0)
		return;
	free(node->name);
	free(node->zone);
	free(node);
}
