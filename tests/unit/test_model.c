/* The model: objects, their references, comparison, snapshots. Leaks and uses after the end are for the
 * sanitizers to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "portald/model.h"

static void set_text(char **field, const char *text)
{
	free(*field);
	*field = mem_strdup(text);
}

static struct model_service *make_service(const char *name)
{
	struct model_service *service = model_service_new("default", name);
	struct model_service_port *port = model_service_add_port(service);

	set_text(&port->name, "http");
	port->port = 80;
	port->node_port = 30080;
	service->type = MODEL_NODE_PORT;
	service->cluster_ips[0] = addr_v4(0x0a600001);
	service->cluster_ip_count = 1;
	*model_service_add_external_ip(service) = addr_v4(0xc6336407);
	*model_service_add_load_balancer_ip(service) = addr_v4(0xcb007107);
	*model_service_add_source_range(service) = (struct addr_prefix){addr_v4(0xc6336400), 24};
	return service;
}

static struct model_slice *make_slice(const char *service_name, const char *name)
{
	struct model_slice *slice = model_slice_new("default", service_name, name);
	struct model_slice_port *port = model_slice_add_port(slice);
	struct model_endpoint *endpoint = model_slice_add_endpoint(slice);

	set_text(&port->name, "http");
	port->port = 8080;
	endpoint->addr = addr_v4(0x0a000001);
	endpoint->ready = endpoint->serving = true;
	endpoint->target = mem_strdup("Pod default/web-1");
	endpoint->node_name = mem_strdup("node-1");
	endpoint->zone = mem_strdup("zone-a");
	assert_true(model_endpoint_add_zone_hint(endpoint, "zone-a"));
	assert_true(model_endpoint_add_node_hint(endpoint, "node-1"));
	return slice;
}

/* ---- objects ---- */

static void test_new_objects_are_empty(void **state)
{
	struct model_service *service = model_service_new("ns", "web");
	struct model_slice *slice = model_slice_new("ns", "web", "web-abc");

	(void)state;
	assert_true(service->refs == 1 && slice->refs == 1);
	assert_string_equal(service->namespace, "ns");
	assert_string_equal(service->name, "web");
	assert_string_equal(slice->service_name, "web");
	assert_string_equal(slice->name, "web-abc");
	assert_int_equal(slice->family, ADDR_V4);
	assert_string_equal(model_service_add_port(service)->name, "");
	assert_string_equal(model_slice_add_port(slice)->name, "");
	assert_null(model_slice_add_endpoint(slice)->target);
	model_service_unref(service);
	model_slice_unref(slice);
}

static void test_object_lives_as_long_as_its_last_reference(void **state)
{
	struct model_service *service = make_service("web");
	struct model_slice *slice = make_slice("web", "web-1");

	(void)state;
	assert_ptr_equal(model_service_ref(service), service);
	assert_ptr_equal(model_slice_ref(slice), slice);
	model_service_unref(service);
	model_slice_unref(slice);
	assert_string_equal(service->ports[0].name, "http");
	assert_string_equal(slice->endpoints[0].node_name, "node-1");
	model_service_unref(service);
	model_slice_unref(slice);
	model_service_unref(NULL);
	model_slice_unref(NULL);
	model_snapshot_unref(NULL);
	model_builder_free(NULL);
}

/* Entries keep their content while the array moves, and new ones are zeroed; at the limit it says so. */
static void test_entries_are_added_up_to_the_limit(void **state)
{
	struct model_service *service = model_service_new("ns", "web");
	struct model_slice *slice = model_slice_new("ns", "web", "web-1");

	(void)state;
	for (unsigned i = 0; i < MODEL_MAX_PORTS; i++) {
		struct model_service_port *port = model_service_add_port(service);

		assert_true(port && port->port == 0 && port->node_port == 0);
		port->port = (uint16_t)(i + 1);
	}
	assert_null(model_service_add_port(service));
	for (unsigned i = 0; i < MODEL_MAX_ENDPOINTS; i++) {
		struct model_endpoint *endpoint = model_slice_add_endpoint(slice);

		assert_true(endpoint && !endpoint->ready && !endpoint->target);
		endpoint->addr = addr_v4(i);
	}
	assert_null(model_slice_add_endpoint(slice));
	assert_int_equal(slice->endpoint_count, MODEL_MAX_ENDPOINTS);
	for (unsigned i = 0; i < MODEL_MAX_PORTS; i++) {
		assert_int_equal(service->ports[i].port, i + 1);
		assert_non_null(model_slice_add_port(slice));
	}
	assert_null(model_slice_add_port(slice));
	for (unsigned i = 0; i < MODEL_MAX_ENDPOINTS; i++)
		assert_int_equal(addr_v4_value(&slice->endpoints[i].addr), i);
	model_service_unref(service);
	model_slice_unref(slice);
}

static void test_addresses_and_hints_are_added_up_to_the_limit(void **state)
{
	struct model_service *service = model_service_new("ns", "web");
	struct model_slice *slice = model_slice_new("ns", "web", "a");
	struct model_endpoint *endpoint = model_slice_add_endpoint(slice);

	(void)state;
	assert_int_equal(endpoint->weight, SERVICE_WEIGHT_DEFAULT);
	for (unsigned i = 0; i < MODEL_MAX_EXTERNAL_IPS; i++)
		assert_non_null(model_service_add_external_ip(service));
	for (unsigned i = 0; i < MODEL_MAX_LOAD_BALANCER_IPS; i++)
		assert_non_null(model_service_add_load_balancer_ip(service));
	for (unsigned i = 0; i < MODEL_MAX_SOURCE_RANGES; i++)
		assert_non_null(model_service_add_source_range(service));
	for (unsigned i = 0; i < MODEL_MAX_HINTS; i++) {
		assert_true(model_endpoint_add_zone_hint(endpoint, "z"));
		assert_true(model_endpoint_add_node_hint(endpoint, "n"));
	}
	assert_null(model_service_add_external_ip(service));
	assert_null(model_service_add_load_balancer_ip(service));
	assert_null(model_service_add_source_range(service));
	assert_false(model_endpoint_add_zone_hint(endpoint, "z"));
	assert_false(model_endpoint_add_node_hint(endpoint, "n"));
	model_service_unref(service);
	model_slice_unref(slice);
}

/* ---- comparison ---- */

/* Each of these changes one thing. */
static void change_type(struct model_service *service)
{
	service->type = MODEL_CLUSTER_IP;
}

static void change_headless(struct model_service *service)
{
	service->headless = true;
}

static void change_cluster_ip(struct model_service *service)
{
	service->cluster_ips[0] = addr_v4(0x0a600002);
}

static void change_cluster_ip_count(struct model_service *service)
{
	service->cluster_ip_count = 0;
}

static void change_publishing(struct model_service *service)
{
	service->publish_not_ready = true;
}

static void change_port_name(struct model_service *service)
{
	set_text(&service->ports[0].name, "https");
}

static void change_port(struct model_service *service)
{
	service->ports[0].port = 81;
}

static void change_node_port(struct model_service *service)
{
	service->ports[0].node_port = 0;
}

static void change_proto(struct model_service *service)
{
	service->ports[0].proto = PROTO_UDP;
}

static void change_ports(struct model_service *service)
{
	model_service_add_port(service);
}

static void change_reason(struct model_service *service)
{
	set_text(&service->no_endpoints_reason, "selector meets no Pod");
}

static void change_namespace(struct model_service *service)
{
	set_text(&service->namespace, "other");
}

static void change_internal_policy(struct model_service *service)
{
	service->internal_local = true;
}

static void change_external_policy(struct model_service *service)
{
	service->external_local = true;
}

static void change_distribution(struct model_service *service)
{
	service->distribution = MODEL_PREFER_SAME_NODE;
}

static void change_health_check(struct model_service *service)
{
	service->health_check_node_port = 30001;
}

static void change_options(struct model_service *service)
{
	service->options.affinity_timeout_s = 5;
}

static void change_external_ip(struct model_service *service)
{
	service->external_ips[0] = addr_v4(7);
}

static void change_external_ips(struct model_service *service)
{
	model_service_add_external_ip(service);
}

static void change_load_balancer_ip(struct model_service *service)
{
	service->load_balancer_ips[0] = addr_v4(7);
}

static void change_load_balancer_ips(struct model_service *service)
{
	model_service_add_load_balancer_ip(service);
}

static void change_source_range(struct model_service *service)
{
	service->source_ranges[0].bits = 7;
}

static void change_source_ranges(struct model_service *service)
{
	model_service_add_source_range(service);
}

static void change_scope(struct model_service *service)
{
	set_text(&service->out_of_scope, "label");
}

static void test_services_differ_in_any_field(void **state)
{
	static void (*const changes[])(struct model_service *) = {change_type, change_headless,
		change_cluster_ip, change_cluster_ip_count, change_publishing, change_port_name, change_port,
		change_node_port, change_proto, change_ports, change_reason, change_namespace,
		change_internal_policy, change_external_policy, change_distribution, change_health_check,
		change_options, change_external_ip, change_external_ips, change_load_balancer_ip,
		change_load_balancer_ips, change_source_range, change_source_ranges, change_scope};
	struct model_service *a = make_service("web");

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct model_service *b = make_service("web");

		assert_true(model_service_equal(a, b) && model_service_equal(a, a));
		changes[i](b);
		assert_false(model_service_equal(a, b));
		assert_false(model_service_equal(b, a));
		model_service_unref(b);
	}
	model_service_unref(a);
}

static void change_family(struct model_slice *slice)
{
	slice->family = ADDR_V6;
}

static void change_slice_port(struct model_slice *slice)
{
	slice->ports[0].port = 8081;
}

static void change_slice_port_name(struct model_slice *slice)
{
	set_text(&slice->ports[0].name, "");
}

static void change_addr(struct model_slice *slice)
{
	slice->endpoints[0].addr = addr_v4(0x0a000002);
}

static void change_ready(struct model_slice *slice)
{
	slice->endpoints[0].ready = false;
}

static void change_serving(struct model_slice *slice)
{
	slice->endpoints[0].serving = false;
}

static void change_terminating(struct model_slice *slice)
{
	slice->endpoints[0].terminating = true;
}

static void change_target(struct model_slice *slice)
{
	set_text(&slice->endpoints[0].target, NULL);
}

static void change_node_name(struct model_slice *slice)
{
	set_text(&slice->endpoints[0].node_name, "node-2");
}

static void change_weight(struct model_slice *slice)
{
	slice->endpoints[0].weight = 0;
}

static void change_zone(struct model_slice *slice)
{
	set_text(&slice->endpoints[0].zone, NULL);
}

static void change_zone_hint(struct model_slice *slice)
{
	set_text(&slice->endpoints[0].zone_hints[0], "zone-b");
}

static void change_zone_hints(struct model_slice *slice)
{
	model_endpoint_add_zone_hint(&slice->endpoints[0], "zone-b");
}

static void change_node_hint(struct model_slice *slice)
{
	set_text(&slice->endpoints[0].node_hints[0], "node-2");
}

static void change_node_hints(struct model_slice *slice)
{
	model_endpoint_add_node_hint(&slice->endpoints[0], "node-2");
}

static void change_endpoints(struct model_slice *slice)
{
	model_slice_add_endpoint(slice);
}

static void change_service_name(struct model_slice *slice)
{
	set_text(&slice->service_name, "other");
}

static void test_slices_differ_in_any_field(void **state)
{
	static void (*const changes[])(struct model_slice *) = {change_family, change_slice_port,
		change_slice_port_name, change_addr, change_ready, change_serving, change_terminating,
		change_target, change_node_name, change_weight, change_zone, change_zone_hint,
		change_zone_hints, change_node_hint, change_node_hints, change_endpoints,
		change_service_name};
	struct model_slice *a = make_slice("web", "web-1");

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct model_slice *b = make_slice("web", "web-1");

		assert_true(model_slice_equal(a, b) && model_slice_equal(a, a));
		changes[i](b);
		assert_false(model_slice_equal(a, b));
		assert_false(model_slice_equal(b, a));
		model_slice_unref(b);
	}
	model_slice_unref(a);
}

static void test_nodes_differ_in_name_or_zone(void **state)
{
	struct model_node *a = model_node_new("n", "z"), *same = model_node_new("n", "z");
	struct model_node *zone = model_node_new("n", NULL), *name = model_node_new("m", "z");

	(void)state;
	assert_true(model_node_equal(a, a) && model_node_equal(a, same));
	assert_false(model_node_equal(a, zone) || model_node_equal(zone, a) || model_node_equal(a, name));
	model_node_unref(a);
	model_node_unref(same);
	model_node_unref(zone);
	model_node_unref(name);
}

/* ---- snapshots ---- */

static void test_nodes_are_found_by_name(void **state)
{
	struct model_builder *builder = model_builder_new(), *unfinished = model_builder_new();
	struct model_node *shared = model_node_new("b", "2");
	struct model_snapshot *snapshot;

	(void)state;
	model_builder_take_node(builder, model_node_new("c", "3"));
	model_builder_take_node(builder, model_node_new("a", "old"));
	model_builder_take_node(builder, model_node_ref(shared));
	model_builder_take_node(unfinished, shared);
	model_builder_take_node(builder, model_node_new("a", "1"));
	snapshot = model_builder_finish(builder);
	model_builder_free(unfinished);
	assert_int_equal(snapshot->node_count, 3);
	assert_string_equal(model_find_node(snapshot, "a")->zone, "1");
	assert_string_equal(model_find_node(snapshot, "b")->zone, "2");
	assert_string_equal(model_find_node(snapshot, "c")->zone, "3");
	assert_null(model_find_node(snapshot, "d"));
	model_snapshot_unref(snapshot);
}

static void test_snapshot_is_sorted(void **state)
{
	static const char *const names[] = {"web", "api", "web-2", "a"};
	static const char *const sorted[] = {"a", "api", "web", "web-2"};
	struct model_builder *builder = model_builder_new();
	struct model_snapshot *snapshot;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		model_builder_take_service(builder, model_service_new("ns", names[i]));
	model_builder_take_service(builder, model_service_new("a", "zzz"));
	snapshot = model_builder_finish(builder);
	assert_int_equal(snapshot->service_count, 5);
	assert_string_equal(snapshot->services[0]->name, "zzz");
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(snapshot->services[i + 1]->name, sorted[i]);
	model_snapshot_unref(snapshot);
}

/* Enough objects that an unstable sort shows. */
static void test_last_one_of_a_key_wins(void **state)
{
	struct model_builder *builder = model_builder_new();
	struct model_snapshot *snapshot;
	char name[16];

	(void)state;
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 200; i++) {
			struct model_service *service;
			struct model_slice *slice;

			snprintf(name, sizeof(name), "s%u", i * 7919 % 200);
			service = model_service_new("ns", name);
			service->cluster_ip_count = round;
			slice = model_slice_new("ns", name, "slice");
			slice->family = round == 4 ? ADDR_V6 : ADDR_V4;
			model_builder_take_service(builder, service);
			model_builder_take_slice(builder, slice);
		}
	}
	snapshot = model_builder_finish(builder);
	assert_int_equal(snapshot->service_count, 200);
	assert_int_equal(snapshot->slice_count, 200);
	for (size_t i = 0; i < 200; i++) {
		assert_int_equal(snapshot->services[i]->cluster_ip_count, 4);
		assert_int_equal(snapshot->slices[i]->family, ADDR_V6);
	}
	model_snapshot_unref(snapshot);
}

static void test_slices_are_found_by_service(void **state)
{
	struct model_builder *builder = model_builder_new();
	struct model_service *web = model_service_new("default", "web"),
			     *api = model_service_new("default", "api");
	struct model_service *other = model_service_new("other", "web");
	struct model_snapshot *snapshot;
	size_t first;

	(void)state;
	model_builder_take_slice(builder, make_slice("web", "web-b"));
	model_builder_take_slice(builder, make_slice("we", "x"));
	model_builder_take_slice(builder, make_slice("web", "web-a"));
	model_builder_take_slice(builder, make_slice("web2", "x"));
	snapshot = model_builder_finish(builder);
	assert_int_equal(model_slices_of(snapshot, web, &first), 2);
	assert_string_equal(snapshot->slices[first]->name, "web-a");
	assert_string_equal(snapshot->slices[first + 1]->name, "web-b");
	assert_int_equal(model_slices_of(snapshot, api, &first), 0);
	assert_int_equal(model_slices_of(snapshot, other, &first), 0);
	model_snapshot_unref(snapshot);
	model_service_unref(web);
	model_service_unref(api);
	model_service_unref(other);
}

static void test_empty_snapshot(void **state)
{
	struct model_snapshot *snapshot = model_builder_finish(model_builder_new());
	struct model_service *web = model_service_new("default", "web");
	size_t first;

	(void)state;
	assert_true(snapshot->service_count == 0 && snapshot->slice_count == 0);
	assert_int_equal(model_slices_of(snapshot, web, &first), 0);
	assert_ptr_equal(model_snapshot_ref(snapshot), snapshot);
	model_snapshot_unref(snapshot);
	model_snapshot_unref(snapshot);
	model_service_unref(web);
}

static void test_snapshots_share_objects(void **state)
{
	struct model_service *service = make_service("web");
	struct model_builder *first = model_builder_new(), *second = model_builder_new();
	struct model_snapshot *old, *new;

	(void)state;
	model_builder_take_service(first, service);
	old = model_builder_finish(first);
	model_builder_take_service(second, model_service_ref(old->services[0]));
	new = model_builder_finish(second);
	model_snapshot_unref(old);
	assert_ptr_equal(new->services[0], service);
	assert_int_equal(service->refs, 1);
	model_snapshot_unref(new);
}

static void test_unfinished_builder_frees_what_it_took(void **state)
{
	struct model_builder *builder = model_builder_new();
	struct model_service *service = make_service("web");

	(void)state;
	model_builder_take_service(builder, model_service_ref(service));
	model_builder_take_slice(builder, make_slice("web", "web-1"));
	model_builder_free(builder);
	assert_int_equal(service->refs, 1);
	model_service_unref(service);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_objects_are_empty),
		cmocka_unit_test(test_object_lives_as_long_as_its_last_reference),
		cmocka_unit_test(test_entries_are_added_up_to_the_limit),
		cmocka_unit_test(test_services_differ_in_any_field),
		cmocka_unit_test(test_slices_differ_in_any_field),
		cmocka_unit_test(test_addresses_and_hints_are_added_up_to_the_limit),
		cmocka_unit_test(test_nodes_differ_in_name_or_zone),
		cmocka_unit_test(test_nodes_are_found_by_name),
		cmocka_unit_test(test_snapshot_is_sorted),
		cmocka_unit_test(test_last_one_of_a_key_wins),
		cmocka_unit_test(test_slices_are_found_by_service),
		cmocka_unit_test(test_empty_snapshot),
		cmocka_unit_test(test_snapshots_share_objects),
		cmocka_unit_test(test_unfinished_builder_frees_what_it_took),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
