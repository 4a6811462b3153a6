/* Families of addresses, and where endpoints are: nodes, zones, hints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "source_util.h"

/* "10.96.0.9 fd00::9" */
static char *cluster_ips_text(const struct model_service *service)
{
	char first[ADDR_TEXT_BYTES] = "", second[ADDR_TEXT_BYTES] = "";

	if (service->cluster_ip_count > 0)
		addr_format(&service->cluster_ips[0], first);
	if (service->cluster_ip_count > 1)
		addr_format(&service->cluster_ips[1], second);
	return mem_printf("%s%s%s", first, *second ? " " : "", second);
}

struct family_case {
	const char *ranges, *spec;
	const char *cluster_ips; /* NULL: the Service is refused */
	const char *message;
};

static void run_family_case(const struct family_case *one)
{
	struct source_options options;
	char *text = mem_printf(
		"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {%sports: [{port: 80}]}}\n---\n"
		"{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: [{addresses: [{ip: "
		"10.0.0.1}]}]}",
		one->spec);
	struct decoded decoded;
	const struct model_service *service;

	source_options_init(&options);
	if (one->ranges)
		assert_int_equal(source_options_set_ranges(&options, one->ranges), 0);
	decoded = decode_with(text, &options);
	service = find_service(&decoded, "default", "web");
	if (!service != !one->cluster_ips || !strstr(decoded.messages, one->message) ||
		(!*one->message && decoded.message_count > 0))
		fail_msg("%s: %s", one->spec, decoded.messages);
	if (service) {
		char *cluster_ips = cluster_ips_text(service);

		if (strcmp(cluster_ips, one->cluster_ips) != 0)
			fail_msg("%s: %s", one->spec, cluster_ips);
		free(cluster_ips);
	}
	decoded_fini(&decoded);
	free(text);
}

static void a_service_gets_the_addresses_its_family_policy_asks_for(void **state)
{
	static const struct family_case cases[] = {
		{NULL, "", "10.108.95.220", ""},
		{NULL, "ipFamilyPolicy: SingleStack, ", "10.108.95.220", ""},
		{NULL, "ipFamilies: [IPv6], ", "fd00:10:96::5fdc", ""},
		{NULL, "ipFamilyPolicy: PreferDualStack, ", "10.108.95.220 fd00:10:96::5fdc", ""},
		{NULL, "ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6], ",
			"fd00:10:96::5fdc 10.108.95.220", ""},
		{NULL, "ipFamilies: [IPv6, IPv4], ", "fd00:10:96::5fdc 10.108.95.220", ""},
		{NULL, "clusterIP: 10.96.0.9, ", "10.96.0.9", ""},
		{NULL, "clusterIP: 10.96.0.9, ipFamilyPolicy: PreferDualStack, ",
			"10.96.0.9 fd00:10:96::5fdc", ""},
		{NULL, "clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ", "10.96.0.9 fd00::9", ""},
		{NULL,
			"clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilyPolicy: "
			"SingleStack, ",
			NULL, "spec.ipFamilyPolicy: Invalid value: \"SingleStack\""},
		{"10.96.0.0/12", "ipFamilyPolicy: PreferDualStack, ", "10.108.95.220", ""},
		{"10.96.0.0/12", "ipFamilyPolicy: RequireDualStack, ", NULL,
			"spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": "
			"--service-cluster-ip-range has no IPv6 range"},
		{"10.96.0.0/12", "ipFamilies: [IPv6], ", "", "has no IPv6 range, which its ipFamilies"},
		{"fd00:10:96::/112,10.96.0.0/12", "", "fd00:10:96::5fdc", ""},
		{"fd00:10:96::/112,10.96.0.0/12", "ipFamilies: [IPv4], ", "10.108.95.220", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		run_family_case(&cases[i]);
}

static void ranges_are_one_or_two_of_different_families(void **state)
{
	static const struct {
		const char *text;
		int rc;
		bool second;
	} cases[] = {
		{"10.0.0.0/8", 0, false},
		{"fd00::/112", 0, false},
		{"10.0.0.0/8,fd00::/112", 0, true},
		{"fd00::/112,10.0.0.0/8", 0, true},
		{"10.0.0.0/8,10.0.0.0/16", -1, false},
		{"10.0.0.0/8,", -1, false},
		{",10.0.0.0/8", -1, false},
		{"10.0.0.0/8,fd00::/112,fd01::/112", -1, false},
		{"10.0.0.1/8", -1, false},
		{"", -1, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct source_options options = {.node_port_first = 7};

		assert_int_equal(source_options_set_ranges(&options, cases[i].text) < 0, cases[i].rc < 0);
		assert_int_equal(options.has_second_cluster_ip_range, cases[i].second);
		assert_int_equal(options.node_port_first, 7);
	}
}

/* ---- where endpoints are ---- */

static char *append_words(char *text, const char *name, char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *longer = mem_printf("%s%s%s", text, i ? "," : name, words[i]);

		free(text);
		text = longer;
	}
	return text;
}

/* "10.1.0.1 @node-1/zone-a zones=zone-a nodes=node-1; ..." of all slices. */
static void assert_places(const struct decoded *decoded, const char *expected)
{
	const struct model_snapshot *snapshot = decoded->result.snapshot;
	char *text = mem_strdup(""), buf[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < snapshot->slice_count; i++) {
		for (size_t e = 0; e < snapshot->slices[i]->endpoint_count; e++) {
			const struct model_endpoint *endpoint = &snapshot->slices[i]->endpoints[e];
			char *longer = mem_printf("%s%s%s @%s/%s", text, *text ? "; " : "",
				addr_format(&endpoint->addr, buf),
				endpoint->node_name ? endpoint->node_name : "-",
				endpoint->zone ? endpoint->zone : "-");

			free(text);
			text = append_words(
				longer, " zones=", endpoint->zone_hints, endpoint->zone_hint_count);
			text = append_words(text, " nodes=", endpoint->node_hints, endpoint->node_hint_count);
		}
	}
	if (strcmp(text, expected) != 0)
		fail_msg("%s\n%s", text, decoded->messages);
	free(text);
}

static void slices_say_where_endpoints_are_and_for_whom(void **state)
{
	struct decoded decoded = decode_text(
		"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}\n---\n"
		"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, labels: "
		"{kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 80}], endpoints: "
		"[{addresses: [10.1.0.1], nodeName: n1, zone: za, hints: {forZones: [{name: za}, {name: "
		"zb}], "
		"forNodes: [{name: n1}]}}, {addresses: [10.1.0.2]}]}\n---\n"
		"{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, metadata: {name: b, labels: "
		"{kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 80}], endpoints: "
		"[{addresses: [10.1.0.3], topology: {kubernetes.io/hostname: n3, "
		"topology.kubernetes.io/zone: zc}, hints: {forZones: [{name: zc}]}}]}");

	(void)state;
	assert_string_equal(decoded.messages, "");
	assert_places(
		&decoded, "10.1.0.1 @n1/za zones=za,zb nodes=n1; 10.1.0.2 @-/-; 10.1.0.3 @n3/zc zones=zc");
	decoded_fini(&decoded);
}

static void bad_hints_are_refused(void **state)
{
	static const struct {
		const char *hints, *message;
	} cases[] = {
		{"{forZones: [{}]}", "endpoints[0].hints.forZones[0].name: Required value"},
		{"{forZones: [za]}", "hints.forZones[0]: must be an object"},
		{"{forNodes: [{name: a}, {name: a}, {name: a}, {name: a}, {name: a}, {name: a}, {name: a}, "
		 "{name: a}, {name: a}]}",
			"endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items"},
		{"{forZone: []}", "did you mean \"forZones\"?"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = mem_printf(
			"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, labels: "
			"{kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 80}], "
			"endpoints: "
			"[{addresses: [10.1.0.1], hints: %s}]}",
			cases[i].hints);
		struct decoded decoded = decode_text(text);

		if (!strstr(decoded.messages, cases[i].message) || decoded.result.error_count != 1)
			fail_msg("%s: %s", cases[i].hints, decoded.messages);
		decoded_fini(&decoded);
		free(text);
	}
}

/* Two Pods on nodes, one nowhere, of which only the first node has a zone. */
static struct decoded decode_cluster(const char *distribution)
{
	char *text = mem_printf(
		"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {%s selector: {a: b}, ports: "
		"[{port: 80}]}}\n---\n"
		"{apiVersion: v1, kind: NodeList, items: [{metadata: {name: n2}}, {metadata: {name: n1, "
		"labels: {topology.kubernetes.io/zone: za}}, spec: {podCIDR: 10.1.0.0/24}}]}\n---\n"
		"{apiVersion: v1, kind: Pod, metadata: {name: p1, labels: {a: b}}, spec: {nodeName: n1}, "
		"status: {podIP: 10.1.0.1}}\n---\n"
		"{apiVersion: v1, kind: Pod, metadata: {name: p2, labels: {a: b}}, spec: {nodeName: n2}, "
		"status: {podIP: 10.1.0.2}}\n---\n"
		"{apiVersion: v1, kind: Pod, metadata: {name: p3, labels: {a: b}}, status: {podIP: "
		"10.1.0.3}}",
		distribution);
	struct decoded decoded = decode_text(text);

	free(text);
	assert_string_equal(decoded.messages, "");
	return decoded;
}

static void pods_get_the_hints_that_the_traffic_distribution_asks_for(void **state)
{
	static const struct {
		const char *distribution, *places;
	} cases[] = {
		{"", "10.1.0.1 @n1/za; 10.1.0.2 @n2/-; 10.1.0.3 @-/-"},
		{"trafficDistribution: PreferClose,",
			"10.1.0.1 @n1/za zones=za; 10.1.0.2 @n2/-; 10.1.0.3 @-/-"},
		{"trafficDistribution: PreferSameZone,",
			"10.1.0.1 @n1/za zones=za; 10.1.0.2 @n2/-; 10.1.0.3 @-/-"},
		{"trafficDistribution: PreferSameNode,",
			"10.1.0.1 @n1/za zones=za nodes=n1; 10.1.0.2 @n2/- nodes=n2; 10.1.0.3 @-/-"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct decoded decoded = decode_cluster(cases[i].distribution);

		assert_places(&decoded, cases[i].places);
		decoded_fini(&decoded);
	}
}

static void nodes_are_in_the_snapshot_with_their_zones(void **state)
{
	struct decoded decoded = decode_cluster("");
	const struct model_snapshot *snapshot = decoded.result.snapshot;

	(void)state;
	assert_int_equal(snapshot->node_count, 2);
	assert_string_equal(model_find_node(snapshot, "n1")->zone, "za");
	assert_null(model_find_node(snapshot, "n2")->zone);
	assert_null(model_find_node(snapshot, "n3"));
	decoded_fini(&decoded);
	decoded = decode_text("{apiVersion: v1, kind: Node, metadata: {name: n1, labels: "
			      "{failure-domain.beta.kubernetes.io/zone: old}}}\n---\n"
			      "{apiVersion: v1, kind: Node, metadata: {name: N_2}}\n---\n"
			      "{apiVersion: v1, kind: Node, metadata: {name: n1, labels: "
			      "{topology.kubernetes.io/zone: new}}}");
	assert_int_equal(decoded.result.snapshot->node_count, 1);
	assert_string_equal(model_find_node(decoded.result.snapshot, "n1")->zone, "new");
	assert_non_null(strstr(decoded.messages, "error: Node N_2: metadata.name: Invalid value"));
	assert_non_null(strstr(decoded.messages, "warning: Node n1: replaces the one"));
	decoded_fini(&decoded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_service_gets_the_addresses_its_family_policy_asks_for),
		cmocka_unit_test(ranges_are_one_or_two_of_different_families),
		cmocka_unit_test(slices_say_where_endpoints_are_and_for_whom),
		cmocka_unit_test(bad_hints_are_refused),
		cmocka_unit_test(pods_get_the_hints_that_the_traffic_distribution_asks_for),
		cmocka_unit_test(nodes_are_in_the_snapshot_with_their_zones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
