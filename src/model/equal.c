/* Compares the model's objects. Runs in control and in `portald plan`. */
#include <string.h>

#include "portald/model.h"

static bool text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool texts_equal(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	for (size_t i = 0; a_count == b_count && i < a_count; i++) {
		if (!text_equal(a[i], b[i]))
			return false;
	}
	return a_count == b_count;
}

static bool addrs_equal(const struct addr *a, size_t a_count, const struct addr *b, size_t b_count)
{
	for (size_t i = 0; a_count == b_count && i < a_count; i++) {
		if (!addr_equal(&a[i], &b[i]))
			return false;
	}
	return a_count == b_count;
}

static bool source_ranges_equal(const struct model_service *a, const struct model_service *b)
{
	if (a->source_range_count != b->source_range_count)
		return false;
	for (size_t i = 0; i < a->source_range_count; i++) {
		if (a->source_ranges[i].bits != b->source_ranges[i].bits ||
			!addr_equal(&a->source_ranges[i].addr, &b->source_ranges[i].addr))
			return false;
	}
	return true;
}

static bool ports_equal(const struct model_service *a, const struct model_service *b)
{
	if (a->port_count != b->port_count)
		return false;
	for (size_t i = 0; i < a->port_count; i++) {
		const struct model_service_port *pa = &a->ports[i], *pb = &b->ports[i];

		if (!text_equal(pa->name, pb->name) || pa->proto != pb->proto || pa->port != pb->port ||
			pa->node_port != pb->node_port)
			return false;
	}
	return true;
}

static bool service_texts_equal(const struct model_service *a, const struct model_service *b)
{
	return text_equal(a->namespace, b->namespace) && text_equal(a->name, b->name) &&
	       text_equal(a->no_endpoints_reason, b->no_endpoints_reason) &&
	       text_equal(a->out_of_scope, b->out_of_scope);
}

static bool service_policies_equal(const struct model_service *a, const struct model_service *b)
{
	return a->type == b->type && a->headless == b->headless &&
	       a->publish_not_ready == b->publish_not_ready && a->internal_local == b->internal_local &&
	       a->external_local == b->external_local && a->distribution == b->distribution &&
	       a->health_check_node_port == b->health_check_node_port &&
	       service_options_equal(&a->options, &b->options);
}

bool model_service_equal(const struct model_service *a, const struct model_service *b)
{
	if (a == b)
		return true;
	return service_texts_equal(a, b) && service_policies_equal(a, b) && ports_equal(a, b) &&
	       addrs_equal(a->cluster_ips, a->cluster_ip_count, b->cluster_ips, b->cluster_ip_count) &&
	       addrs_equal(a->external_ips, a->external_ip_count, b->external_ips, b->external_ip_count) &&
	       addrs_equal(a->load_balancer_ips, a->load_balancer_ip_count, b->load_balancer_ips,
		       b->load_balancer_ip_count) &&
	       source_ranges_equal(a, b);
}

static bool endpoint_equal(const struct model_endpoint *a, const struct model_endpoint *b)
{
	return addr_equal(&a->addr, &b->addr) && a->ready == b->ready && a->serving == b->serving &&
	       a->terminating == b->terminating && a->weight == b->weight &&
	       text_equal(a->target, b->target) && text_equal(a->node_name, b->node_name) &&
	       text_equal(a->zone, b->zone) &&
	       texts_equal(a->zone_hints, a->zone_hint_count, b->zone_hints, b->zone_hint_count) &&
	       texts_equal(a->node_hints, a->node_hint_count, b->node_hints, b->node_hint_count);
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

bool model_node_equal(const struct model_node *a, const struct model_node *b)
{
	return a == b || (text_equal(a->name, b->name) && text_equal(a->zone, b->zone));
}
