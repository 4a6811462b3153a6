/* portald.io/ annotations: what they mean, and that a bad one costs a warning and nothing else. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "source/decode.h"
#include "source_util.h"

static struct decoded decode_annotated(const char *annotations)
{
	char *text = mem_printf("apiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: {%s}}\n"
				"spec: {ports: [{port: 80}]}\n---\n"
				"apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\n"
				"subsets: [{addresses: [{ip: 10.0.0.1}]}]\n",
		annotations);
	struct decoded decoded = decode_text(text);

	free(text);
	return decoded;
}

static const struct service_options *options_of(const struct decoded *decoded)
{
	const struct model_service *service = find_service(decoded, "default", "web");

	assert_non_null(service);
	return &service->options;
}

static void durations_are_read_as_kubernetes_writes_them(void **state)
{
	static const struct {
		const char *text;
		uint32_t ms; /* 0: not a duration of use */
	} cases[] = {
		{"30s", 30000},
		{"250ms", 250},
		{"1m30s", 90000},
		{"1h", 3600000},
		{"1.5s", 1500},
		{".5s", 500},
		{"2.s", 2000},
		{"1h2m3s4ms", 3723004},
		{"2000us", 2},
		{"2000\xc2\xb5s", 2},
		{"1000000ns", 1},
		{"0.0000000000000000001h1ms", 1},
		{"596h", 2145600000},
		{"2147483647ms", 2147483647},
		{"2147483648ms", 0},
		{"597h", 0},
		{"99999999999999999999s", 0},
		{"2147483647ms1ms", 0},
		{"999us", 0},
		{"0", 0},
		{"0s", 0},
		{"", 0},
		{"30", 0},
		{"s", 0},
		{".s", 0},
		{"-1s", 0},
		{"+1s", 0},
		{"1 s", 0},
		{"1s ", 0},
		{"1d", 0},
		{"1S", 0},
		{"1..5s", 0},
		{"1s30", 0},
		{"1sm", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint32_t ms = 0;
		int rc = decode_duration(cases[i].text, &ms);

		if (rc != (cases[i].ms ? 0 : -EINVAL) || ms != cases[i].ms)
			fail_msg("%s: %d, %u ms", cases[i].text, rc, ms);
	}
}

static void each_annotation_sets_its_option(void **state)
{
	struct decoded decoded = decode_annotated(
		"portald.io/scheduler: wlc, portald.io/proxy-protocol: v2, portald.io/connect-timeout: "
		"250ms, "
		"portald.io/idle-timeout: 1h, portald.io/max-connections: '100', portald.io/queue-length: "
		"'0', "
		"portald.io/queue-timeout: 3s, portald.io/on-endpoint-removal: 'drain:1m30s', "
		"portald.io/udp-timeout: 2s, portald.io/udp-first-timeout: 20s, example.com/other: x");
	const struct service_options expected = {
		.scheduler = SCHEDULER_LC,
		.scheduler_set = true,
		.proxy_protocol = 2,
		.connect_timeout_ms = 250,
		.idle_timeout_ms = 3600000,
		.max_connections = 100,
		.queue_length = 0,
		.queue_timeout_ms = 3000,
		.removal = SERVICE_REMOVAL_DRAIN,
		.drain_ms = 90000,
		.udp_idle_ms = 2000,
		.udp_first_ms = 20000,
	};

	(void)state;
	assert_string_equal(decoded.messages, "");
	assert_true(service_options_equal(options_of(&decoded), &expected));
	decoded_fini(&decoded);
}

static void words_are_told_apart(void **state)
{
	struct decoded decoded =
		decode_annotated("portald.io/proxy-protocol: v1, portald.io/on-endpoint-removal: reset");

	(void)state;
	assert_int_equal(options_of(&decoded)->proxy_protocol, 1);
	assert_int_equal(options_of(&decoded)->removal, SERVICE_REMOVAL_RESET);
	decoded_fini(&decoded);
	decoded = decode_annotated("portald.io/on-endpoint-removal: keep, portald.io/scheduler: rr");
	assert_int_equal(options_of(&decoded)->removal, SERVICE_REMOVAL_KEEP);
	assert_true(options_of(&decoded)->scheduler_set);
	decoded_fini(&decoded);
}

static void a_bad_annotation_is_warned_about_and_nothing_else(void **state)
{
	static const struct {
		const char *annotation, *message;
	} cases[] = {
		{"portald.io/scheduler: fastest", "t.yaml:3:59: warning: Service default/web: "
						  "metadata.annotations[portald.io/scheduler]: Invalid "
						  "value: \"fastest\": must be rr, lc, "
						  "dh, sh, sed or nq (also wrr, wlc); the default is used"},
		{"portald.io/proxy-protocol: '2'", "must be v1 or v2"},
		{"portald.io/connect-timeout: '30'", "must be a duration such as 250ms, 30s or 1m30s"},
		{"portald.io/idle-timeout: never", "must be a duration"},
		{"portald.io/max-connections: '0'", "must be a number from 1 to 1000000"},
		{"portald.io/max-connections: '-1'", "must be a number"},
		{"portald.io/max-connections: '1000001'", "must be a number"},
		{"portald.io/queue-length: many", "must be a number from 0"},
		{"portald.io/queue-length: ''", "must be a number from 0"},
		{"portald.io/queue-timeout: ~", "must be a duration"},
		{"portald.io/on-endpoint-removal: drain", "such as drain:30s"},
		{"portald.io/on-endpoint-removal: 'drain:30'", "such as drain:30s"},
		{"portald.io/udp-timeout: 0s", "must be a duration"},
		{"portald.io/schedular: rr", "unknown annotation, did you mean \"portald.io/scheduler\"?"},
		{"portald.io/colour: blue",
			"unknown annotation: those of a Service are portald.io/ and one of scheduler, "
			"proxy-protocol, connect-timeout"},
		{"portald.io/weight: '3'", "it belongs on a Pod or an EndpointSlice"},
	};
	struct service_options plain;

	(void)state;
	service_options_init(&plain);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct decoded decoded = decode_annotated(cases[i].annotation);

		if (decoded.message_count != 1 || !strstr(decoded.messages, cases[i].message) ||
			!strstr(decoded.messages, "warning: "))
			fail_msg("%s: %s", cases[i].annotation, decoded.messages);
		assert_true(service_options_equal(options_of(&decoded), &plain));
		assert_int_equal(decoded.result.error_count, 0);
		decoded_fini(&decoded);
	}
}

/* ---- weights ---- */

/* The weight of the only endpoint of default/web. */
static uint16_t only_weight(const struct decoded *decoded)
{
	const struct model_snapshot *snapshot = decoded->result.snapshot;

	assert_int_equal(snapshot->slice_count, 1);
	assert_int_equal(snapshot->slices[0]->endpoint_count, 1);
	return snapshot->slices[0]->endpoints[0].weight;
}

static void pods_and_slices_carry_weights(void **state)
{
	static const char pod[] =
		"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {a: b}, ports: "
		"[{port: 80}]}}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {a: b}, "
		"annotations: {%s}}, status: {podIP: 10.1.0.1}}\n";
	static const char slice[] =
		"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}\n---\n"
		"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, labels: "
		"{kubernetes.io/service-name: web}, annotations: {%s}}, addressType: IPv4, ports: [{port: "
		"80}], endpoints: [{addresses: [10.1.0.1]}]}\n";
	static const struct {
		const char *annotations;
		uint16_t weight;
		const char *message;
	} cases[] = {
		{"", 1, ""},
		{"portald.io/weight: '3'", 3, ""},
		{"portald.io/weight: '0'", 0, ""},
		{"portald.io/weight: '65535'", 65535, ""},
		{"portald.io/weight: '65536'", 1, "must be a number from 0 to 65535; the default is used"},
		{"portald.io/weight: heavy", 1, "must be a number from 0 to 65535"},
		{"portald.io/wieght: '3'", 1, "unknown annotation: the only one here is portald.io/weight"},
		{"portald.io/scheduler: lc", 1, "has no effect here: it belongs on a Service"},
	};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
		char *text = i % 2 ? mem_printf(slice, cases[i / 2].annotations)
				   : mem_printf(pod, cases[i / 2].annotations);
		struct decoded decoded = decode_text(text);

		if (!strstr(decoded.messages, cases[i / 2].message) ||
			decoded.message_count != (*cases[i / 2].message != '\0'))
			fail_msg("%s: %s", text, decoded.messages);
		assert_int_equal(only_weight(&decoded), cases[i / 2].weight);
		decoded_fini(&decoded);
		free(text);
	}
}

static void a_pods_weight_counts_through_target_ref(void **state)
{
	static const char service[] =
		"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}\n---\n";
	static const char pod[] =
		"{apiVersion: v1, kind: Pod, metadata: {name: p%s, annotations: {%s}}, status: {podIP: "
		"10.1.0.1}}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: a}}\n---\n";
	static const char slice[] =
		"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, labels: "
		"{kubernetes.io/service-name: web}, annotations: {portald.io/weight: '3'}}, addressType: "
		"IPv4, ports: [{port: 80}], endpoints: [{addresses: [10.1.0.1], targetRef: {kind: %s, name: "
		"p}}]}\n";
	static const char endpoints[] =
		"{apiVersion: v1, kind: Endpoints, metadata: {name: web, annotations: {portald.io/weight: "
		"'3'}}, subsets: [{ports: [{port: 80}], addresses: [{ip: 10.1.0.1, targetRef: {kind: %s, "
		"name: p}}]}]}\n";
	static const struct {
		const char *pod_name_more, *annotations, *kind;
		uint16_t weight;
	} cases[] = {
		{"", "portald.io/weight: '7'", "Pod", 7},
		{"", "portald.io/weight: '1'", "Pod", 1},
		{"", "", "Pod", 3},
		{"2", "portald.io/weight: '7'", "Pod", 3},
		{"", "portald.io/weight: '7'", "Node", 3},
		{", namespace: other", "portald.io/weight: '7'", "Pod", 3},
	};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
		char *pods = mem_printf(pod, cases[i / 2].pod_name_more, cases[i / 2].annotations);
		char *ends = mem_printf(i % 2 ? slice : endpoints, cases[i / 2].kind);
		char *text = mem_printf("%s%s%s", service, pods, ends);
		struct decoded decoded = decode_text(text);

		if (only_weight(&decoded) != cases[i / 2].weight)
			fail_msg("%u with %s: %s", only_weight(&decoded), text, decoded.messages);
		decoded_fini(&decoded);
		free(text);
		free(ends);
		free(pods);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_read_as_kubernetes_writes_them),
		cmocka_unit_test(each_annotation_sets_its_option),
		cmocka_unit_test(words_are_told_apart),
		cmocka_unit_test(a_bad_annotation_is_warned_about_and_nothing_else),
		cmocka_unit_test(pods_and_slices_carry_weights),
		cmocka_unit_test(a_pods_weight_counts_through_target_ref),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
