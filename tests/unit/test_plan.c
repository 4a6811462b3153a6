#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan_sample.h"
#include "portald/mem.h"
#include "portald/plan.h"

static const struct plan_facts facts = {.node_name = "node-1"};

/* One Service with TCP port "http" 80, and one slice with port "http" 8080, both to be added to. */
struct one {
	struct model_builder *builder;
	struct model_service *service;
	struct model_slice *slice;
	struct plan *plan;
};

static struct one one_service(void)
{
	struct one one = {.builder = model_builder_new()};

	one.service = sample_service(one.builder, "default", "web", MODEL_CLUSTER_IP, "10.96.0.10");
	sample_service_port(one.service, "http", PROTO_TCP, 80, 0);
	one.slice = sample_slice(one.builder, one.service, "web-a");
	sample_slice_port(one.slice, "http", PROTO_TCP, 8080);
	return one;
}

static struct plan_listener *one_build(struct one *one)
{
	struct model_snapshot *snapshot = model_builder_finish(one->builder);

	one->plan = plan_build(snapshot, &facts);
	model_snapshot_unref(snapshot);
	return plan_find(one->plan, "default/web:http");
}

/* "10.244.1.5:8080 10.244.1.6:8080" */
static char *backends_text(const struct plan_listener *listener)
{
	char *text = mem_strdup(""), at[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < listener->backend_count; i++) {
		char *longer = mem_printf(
			"%s%s%s", text, i ? " " : "", addr_port_format(&listener->backends[i].at, at));

		free(text);
		text = longer;
	}
	return text;
}

static void assert_backends(const struct plan_listener *listener, const char *expected)
{
	char *text = backends_text(listener);

	assert_string_equal(text, expected);
	free(text);
}

static void assert_left_out(
	const struct plan_listener *listener, size_t index, const char *at, const char *reason)
{
	char text[ADDR_TEXT_BYTES];

	assert_true(index < listener->left_out_count);
	assert_string_equal(addr_port_format(&listener->left_out[index].at, text), at);
	assert_string_equal(listener->left_out[index].reason, reason);
}

static void uses_ready_endpoints_of_all_slices_once(void **state)
{
	struct one one = one_service();
	struct model_slice *second = sample_slice(one.builder, one.service, "web-b");
	struct plan_listener *listener;

	(void)state;
	sample_slice_port(second, "http", PROTO_TCP, 8080);
	sample_endpoint(one.slice, "10.244.1.6", 'r', NULL);
	sample_endpoint(one.slice, "10.244.1.5", 'r', NULL);
	sample_endpoint(second, "10.244.1.6", 'r', NULL);
	sample_endpoint(second, "10.244.1.4", 'r', NULL);
	listener = one_build(&one);
	assert_backends(listener, "10.244.1.4:8080 10.244.1.5:8080 10.244.1.6:8080");
	assert_int_equal(listener->left_out_count, 0);
	assert_null(listener->note);
	plan_free(one.plan);
}

static void leaves_out_unready_and_terminating_endpoints(void **state)
{
	struct one one = one_service();
	struct plan_listener *listener;

	(void)state;
	sample_endpoint(one.slice, "10.244.1.5", 'n', NULL);
	sample_endpoint(one.slice, "10.244.1.6", 'g', NULL);
	sample_endpoint(one.slice, "10.244.1.7", 'n', NULL);
	listener = one_build(&one);
	assert_int_equal(listener->backend_count, 0);
	assert_int_equal(listener->action, PLAN_REJECT);
	assert_left_out(listener, 0, "10.244.1.5:8080", "not ready");
	assert_left_out(listener, 1, "10.244.1.6:8080", "terminating");
	assert_string_equal(listener->note, "no ready endpoint (2 not ready, 1 terminating)");
	plan_free(one.plan);
}

static void publish_not_ready_uses_every_endpoint(void **state)
{
	struct one one = one_service();

	(void)state;
	one.service->publish_not_ready = true;
	sample_endpoint(one.slice, "10.244.1.5", 'n', NULL);
	sample_endpoint(one.slice, "10.244.1.6", 't', NULL);
	assert_backends(one_build(&one), "10.244.1.5:8080 10.244.1.6:8080");
	plan_free(one.plan);
}

static void ready_in_one_slice_is_ready(void **state)
{
	struct one one = one_service();
	struct model_slice *second = sample_slice(one.builder, one.service, "web-b");
	struct plan_listener *listener;

	(void)state;
	sample_slice_port(second, "http", PROTO_TCP, 8080);
	sample_endpoint(one.slice, "10.244.1.5", 'n', NULL);
	sample_endpoint(second, "10.244.1.5", 'r', NULL);
	listener = one_build(&one);
	assert_backends(listener, "10.244.1.5:8080");
	assert_left_out(listener, 0, "10.244.1.5:8080",
		"duplicate of the one in EndpointSlice web-b: not ready in EndpointSlice web-a");
	plan_free(one.plan);
}

static void matches_slice_ports_by_name_and_protocol(void **state)
{
	struct one one = one_service();
	struct model_slice *other = sample_slice(one.builder, one.service, "web-b");
	struct model_slice *udp = sample_slice(one.builder, one.service, "web-c");
	struct plan_listener *listener;

	(void)state;
	sample_slice_port(other, "admin", PROTO_TCP, 8080);
	sample_slice_port(udp, "http", PROTO_UDP, 8080);
	sample_endpoint(one.slice, "10.244.1.7", 'r', NULL);
	sample_endpoint(other, "10.244.1.5", 'r', NULL);
	sample_endpoint(udp, "10.244.1.6", 'r', NULL);
	listener = one_build(&one);
	assert_backends(listener, "10.244.1.7:8080");
	assert_left_out(listener, 0, "10.244.1.5:0", "no TCP port named http in EndpointSlice web-b");
	assert_left_out(listener, 1, "10.244.1.6:0", "no TCP port named http in EndpointSlice web-c");
	plan_free(one.plan);
}

static void says_why_there_is_no_backend(void **state)
{
	struct one none = one_service(), known = one_service(), port = one_service();

	(void)state;
	assert_string_equal(one_build(&none)->note, "no endpoints");
	known.service->no_endpoints_reason = mem_strdup("selector app=web meets no Pod");
	assert_string_equal(one_build(&known)->note, "selector app=web meets no Pod");
	port.slice->ports[0].proto = PROTO_SCTP;
	sample_endpoint(port.slice, "10.244.1.5", 'r', NULL);
	assert_string_equal(one_build(&port)->note, "no usable endpoint (1 left out)");
	plan_free(none.plan);
	plan_free(known.plan);
	plan_free(port.plan);
}

/* ---- portals ---- */

struct portal_case {
	enum model_service_type type;
	uint16_t node_port;
	size_t portals;
};

static void node_port_is_one_more_portal_of_the_listener(void **state)
{
	static const struct portal_case cases[] = {
		{MODEL_CLUSTER_IP, 0, 1},
		{MODEL_NODE_PORT, 30080, 2},
		{MODEL_LOAD_BALANCER, 30080, 2},
		{MODEL_LOAD_BALANCER, 0, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct one one = one_service();
		struct plan_listener *listener;

		one.service->type = cases[i].type;
		one.service->ports[0].node_port = cases[i].node_port;
		listener = one_build(&one);
		assert_int_equal(listener->portal_count, cases[i].portals);
		assert_int_equal(listener->portals[0].kind, PLAN_PORTAL_CLUSTER_IP);
		if (cases[i].portals == 2) {
			assert_int_equal(listener->portals[1].kind, PLAN_PORTAL_NODE_PORT);
			assert_true(addr_is_any(&listener->portals[1].at.addr));
			assert_int_equal(listener->portals[1].at.port, 30080);
		}
		plan_free(one.plan);
	}
}

static const char *skip_reason(const struct plan *plan, const char *key)
{
	for (size_t i = 0; i < plan->skipped_count; i++) {
		if (strcmp(plan->skipped[i].key, key) == 0)
			return plan->skipped[i].reason;
	}
	return NULL;
}

static void what_opens_nothing_is_named_with_its_reason(void **state)
{
	struct model_snapshot *snapshot = sample_snapshot_full();
	struct plan *plan = plan_build(snapshot, &facts);

	(void)state;
	assert_string_equal(skip_reason(plan, "shop/web:sigtran"), "SCTP is not proxied");
	assert_non_null(strstr(skip_reason(plan, "shop/theirs"), "service-proxy-name"));
	assert_string_equal(
		skip_reason(plan, "shop/gate"), "externalIP 2001:db8::7: the Service has no IPv6 clusterIP");
	assert_non_null(strstr(skip_reason(plan, "shop/peers"), "headless"));
	assert_non_null(strstr(skip_reason(plan, "shop/mail"), "ExternalName"));
	plan_free(plan);
	model_snapshot_unref(snapshot);
}

static void first_in_key_order_keeps_a_contested_portal(void **state)
{
	struct model_snapshot *snapshot = sample_snapshot_full();
	struct plan *plan = plan_build(snapshot, &facts);
	struct plan_listener *first = plan_find(plan, "shop-old/web:http");
	struct plan_listener *second = plan_find(plan, "shop/web:http");

	(void)state;
	/* '-' sorts before '/', though "shop" is the earlier namespace. */
	assert_int_equal(first->portal_count, 2);
	assert_int_equal(second->portal_count, 1);
	assert_string_equal(second->note, "nodePort 30080/TCP is taken by shop-old/web:http");
	assert_null(plan_find(plan, "tools/debug:http"));
	assert_non_null(strstr(skip_reason(plan, "tools/debug:http"),
		"clusterIP 10.96.0.10:80/TCP is taken by shop/web:http"));
	plan_free(plan);
	model_snapshot_unref(snapshot);
}

static void a_second_port_of_the_same_name_is_skipped(void **state)
{
	struct one one = one_service();

	(void)state;
	sample_service_port(one.service, "http", PROTO_TCP, 81, 0);
	assert_non_null(one_build(&one));
	assert_int_equal(one.plan->listener_count, 1);
	assert_string_equal(
		skip_reason(one.plan, "default/web:http"), "another port of the Service has that name");
	plan_free(one.plan);
}

/* ---- records and differences ---- */

static void listener_refuses_more_than_its_bounds(void **state)
{
	struct plan_listener *listener = plan_listener_new("a/b", "a/b", PROTO_TCP, ADDR_V4);
	struct addr_port at = {.addr = addr_v4(1), .port = 1};

	(void)state;
	for (int i = 0; i < PLAN_MAX_PORTALS; i++)
		assert_int_equal(plan_listener_add_portal(listener,
					 &(struct plan_portal){.kind = PLAN_PORTAL_CLUSTER_IP, .at = at}),
			0);
	assert_int_equal(plan_listener_add_portal(
				 listener, &(struct plan_portal){.kind = PLAN_PORTAL_CLUSTER_IP, .at = at}),
		-ENOSPC);
	for (int i = 0; i < PLAN_MAX_BACKENDS; i++)
		assert_int_equal(plan_listener_add_backend(listener, &at, 1, NULL), 0);
	assert_int_equal(plan_listener_add_backend(listener, &at, 1, NULL), -ENOSPC);
	plan_listener_free(listener);
}

#define CHANGES_BYTES 256

static void record_change(void *context, enum plan_change kind, const struct plan_listener *listener)
{
	char *log = context;

	snprintf(log + strlen(log), CHANGES_BYTES - strlen(log), " %c%s",
		kind == PLAN_ADDED     ? '+'
		: kind == PLAN_REMOVED ? '-'
				       : '~',
		listener->key);
}

/* Each letter is a Service; a capital one has an endpoint more. */
static struct plan *letters_plan(const char *letters)
{
	struct model_builder *builder = model_builder_new();
	struct model_snapshot *snapshot;
	struct plan *plan;

	for (; *letters; letters++) {
		char name[2] = {(char)(*letters | 0x20), '\0'}, ip[32];
		struct model_service *service;

		snprintf(ip, sizeof(ip), "10.96.0.%d", name[0]);
		service = sample_service(builder, "x", name, MODEL_CLUSTER_IP, ip);
		sample_service_port(service, "", PROTO_TCP, 80, 0);
		if (*letters != name[0]) {
			struct model_slice *slice = sample_slice(builder, service, name);

			sample_slice_port(slice, "", PROTO_TCP, 80);
			sample_endpoint(slice, "10.244.0.1", 'r', NULL);
		}
	}
	snapshot = model_builder_finish(builder);
	plan = plan_build(snapshot, &facts);
	model_snapshot_unref(snapshot);
	return plan;
}

static void diff_names_each_changed_key_in_order(void **state)
{
	static const struct {
		const char *old, *new, *changes;
	} cases[] = {
		{NULL, "ab", " +x/a +x/b"},
		{"ab", "ab", ""},
		{"abd", "aBc", " ~x/b +x/c -x/d"},
		{"ab", "", " -x/a -x/b"},
		{"b", "abc", " +x/a +x/c"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct plan *old = cases[i].old ? letters_plan(cases[i].old) : NULL;
		struct plan *new = letters_plan(cases[i].new);
		char log[CHANGES_BYTES] = "";

		plan_diff(old, new, record_change, log);
		assert_string_equal(log, cases[i].changes);
		plan_free(old);
		plan_free(new);
	}
}

/* ---- printing ---- */

static void print_golden(const struct plan *plan, enum plan_output output, const char *name)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_int_equal(plan_print(plan, output, out), 0);
	fclose(out);
	assert_golden(name, text);
	free(text);
}

static void prints_as_it_always_did(void **state)
{
	struct model_snapshot *snapshot = sample_snapshot_full();
	struct plan *plan = plan_build(snapshot, &facts);

	(void)state;
	print_golden(plan, PLAN_TABLE, "plan.txt");
	print_golden(plan, PLAN_JSON, "plan.json");
	print_golden(plan, PLAN_YAML, "plan.yaml");
	plan_free(plan);
	model_snapshot_unref(snapshot);
}

static void prints_an_empty_plan(void **state)
{
	struct plan *plan = letters_plan("");

	(void)state;
	print_golden(plan, PLAN_TABLE, "plan-empty.txt");
	print_golden(plan, PLAN_JSON, "plan-empty.json");
	print_golden(plan, PLAN_YAML, "plan-empty.yaml");
	plan_free(plan);
}

static void printing_to_a_full_disk_fails(void **state)
{
	struct plan *plan = letters_plan("ab");
	enum plan_output outputs[] = {PLAN_TABLE, PLAN_JSON, PLAN_YAML};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		FILE *full = fopen("/dev/full", "we");

		assert_non_null(full);
		assert_int_equal(plan_print(plan, outputs[i], full), -EIO);
		fclose(full);
	}
	plan_free(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uses_ready_endpoints_of_all_slices_once),
		cmocka_unit_test(leaves_out_unready_and_terminating_endpoints),
		cmocka_unit_test(publish_not_ready_uses_every_endpoint),
		cmocka_unit_test(ready_in_one_slice_is_ready),
		cmocka_unit_test(matches_slice_ports_by_name_and_protocol),
		cmocka_unit_test(says_why_there_is_no_backend),
		cmocka_unit_test(node_port_is_one_more_portal_of_the_listener),
		cmocka_unit_test(what_opens_nothing_is_named_with_its_reason),
		cmocka_unit_test(first_in_key_order_keeps_a_contested_portal),
		cmocka_unit_test(a_second_port_of_the_same_name_is_skipped),
		cmocka_unit_test(listener_refuses_more_than_its_bounds),
		cmocka_unit_test(diff_names_each_changed_key_in_order),
		cmocka_unit_test(prints_as_it_always_did),
		cmocka_unit_test(prints_an_empty_plan),
		cmocka_unit_test(printing_to_a_full_disk_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
