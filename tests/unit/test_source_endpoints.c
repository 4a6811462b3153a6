/* Between objects: endpoints from Pods, EndpointSlices and Endpoints; clashes; allocation; whole dumps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "source_util.h"

#define SERVICE(name, spec)                                                                                  \
	"---\napiVersion: v1\nkind: Service\nmetadata: {name: " name "}\nspec: {" spec "}\n"
#define POD(name, metadata, spec, status)                                                                    \
	"---\napiVersion: v1\nkind: Pod\nmetadata: {name: " name ", " metadata "}\nspec: {" spec             \
	"}\nstatus: {" status "}\n"
#define READY "conditions: [{type: Initialized, status: 'True'}, {type: Ready, status: 'True'}]"
#define SLICE(name, service, rest)                                                                           \
	"---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: " name                  \
	", labels: {kubernetes.io/service-name: " service "}}\n" rest "\n"
#define ENDPOINTS(name, subsets)                                                                             \
	"---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: " name "}\nsubsets: [" subsets "]\n"

/* The Service default/web has these endpoints for its port, and there is no message. */
static void assert_endpoints(const char *text, const char *port, const char *expected)
{
	struct decoded decoded = decode_text(text);
	const struct model_service *service = find_service(&decoded, "default", "web");
	char *endpoints;

	assert_string_equal(decoded.messages, "");
	assert_non_null(service);
	endpoints = endpoints_text(&decoded, service, port);
	assert_string_equal(endpoints, expected);
	assert_null(service->no_endpoints_reason);
	free(endpoints);
	decoded_fini(&decoded);
}

/* The Service default/web has no endpoints, for that reason. */
static void assert_reason(const char *text, const char *expected)
{
	struct decoded decoded = decode_text(text);
	const struct model_service *service = find_service(&decoded, "default", "web");

	assert_non_null(service);
	assert_non_null(service->no_endpoints_reason);
	if (!strstr(service->no_endpoints_reason, expected) || !strstr(decoded.messages, expected))
		fail_msg("%s", decoded.messages);
	decoded_fini(&decoded);
}

static void a_selector_takes_the_pods_it_meets(void **state)
{
	(void)state;
	assert_endpoints(
		SERVICE("web", "selector: {app: web, tier: front}, ports: [{port: 80, targetPort: 8080}]")
			POD("a", "labels: {app: web, tier: front, more: x}", "nodeName: n1",
				"podIP: 10.1.0.1, " READY)
				POD("b", "labels: {app: web}", "", "podIP: 10.1.0.2, " READY)
					POD("c", "labels: {app: web, tier: front}", "", "podIP: 10.1.0.3"),
		"", "10.1.0.1:8080+R+S Pod default/a, 10.1.0.3:8080 Pod default/c");
}

static void pods_that_cannot_serve_are_left_out_or_marked(void **state)
{
	(void)state;
	assert_endpoints(
		SERVICE("web", "selector: {app: web}, ports: [{port: 80}]")
			POD("done", "labels: {app: web}", "", "podIP: 10.1.0.1, phase: Succeeded, " READY)
				POD("failed", "labels: {app: web}", "", "podIP: 10.1.0.2, phase: Failed") POD(
					"pending", "labels: {app: web}", "", "phase: Pending") POD("leaving",
					"labels: {app: web}, deletionTimestamp: '2025-01-01T00:00:00Z'", "",
					"podIP: 10.1.0.4, " READY) POD("ok", "labels: {app: web}", "",
					"podIP: 10.1.0.5, phase: Running, " READY),
		"", "10.1.0.4:80+S+T Pod default/leaving, 10.1.0.5:80+R+S Pod default/ok");
}

static void publish_not_ready_addresses_makes_all_ready(void **state)
{
	(void)state;
	assert_endpoints(
		SERVICE("web", "publishNotReadyAddresses: true, selector: {app: web}, ports: [{port: 80}]")
			POD("a", "labels: {app: web}", "", "podIP: 10.1.0.1"),
		"", "10.1.0.1:80+R Pod default/a");
}

static void a_named_target_port_is_looked_up_in_each_pod(void **state)
{
	static const char text[] = SERVICE("web",
		"selector: {app: web}, ports: [{name: a, port: 80, targetPort: http}, {name: u, port: 53, "
		"protocol: UDP, targetPort: dns}, {name: m, port: 9100}]") POD("one", "labels: {app: web}",
		"containers: [{name: c}, {name: d, ports: [{name: http, containerPort: 8081}, "
		"{name: dns, containerPort: 53}]}]",
		"podIP: 10.1.0.1, " READY) POD("two", "labels: {app: web}",
		"containers: [{ports: [{containerPort: 1}, {name: dns, containerPort: 5353, "
		"protocol: UDP}]}], initContainers: [{name: i, ports: [{name: http, "
		"containerPort: 7}]}, {name: s, restartPolicy: Always, ports: [{name: http, "
		"containerPort: 8082}]}]",
		"podIP: 10.1.0.2, " READY);

	(void)state;
	assert_endpoints(text, "a", "10.1.0.1:8081+R+S Pod default/one, 10.1.0.2:8082+R+S Pod default/two");
	assert_endpoints(text, "u", "10.1.0.2:5353+R+S Pod default/two");
	assert_endpoints(text, "m", "10.1.0.1:9100+R+S Pod default/one, 10.1.0.2:9100+R+S Pod default/two");
}

static void dual_stack_pods_give_the_services_family(void **state)
{
	static const char pod[] = POD("a", "labels: {app: web}", "",
		"podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: 'fd00::1'}], " READY);
	char *text;

	(void)state;
	text = mem_printf("%s%s", SERVICE("web", "selector: {app: web}, ports: [{port: 80}]"), pod);
	assert_endpoints(text, "", "10.1.0.1:80+R+S Pod default/a");
	free(text);
	text = mem_printf("%s%s",
		SERVICE("web", "clusterIP: 'fd00::99', selector: {app: web}, ports: [{port: 80}]"), pod);
	assert_endpoints(text, "", "[fd00::1]:80+R+S Pod default/a");
	free(text);
	text = mem_printf("%s%s",
		SERVICE("web", "ipFamilies: [IPv4, IPv6], selector: {app: web}, ports: [{port: 80}]"), pod);
	assert_endpoints(text, "", "10.1.0.1:80+R+S Pod default/a, [fd00::1]:80+R+S Pod default/a");
	free(text);
}

static void endpoint_slices_unite_and_conditions_have_defaults(void **state)
{
	(void)state;
	assert_endpoints(SERVICE("web", "ports: [{name: h, port: 80}]") SLICE("s1", "web",
				 "addressType: IPv4\nports: [{name: h, port: 8080}]\nendpoints: [{addresses: "
				 "[127.0.0.1], targetRef: {kind: Pod, name: p, namespace: x}}, {addresses: "
				 "[10.0.0.2], conditions: {ready: false}}]") SLICE("s2", "web",
				 "addressType: IPv4\nports: [{name: h, port: 8081}]\nendpoints: "
				 "[{addresses: [10.0.0.3], conditions: {ready: false, serving: true, "
				 "terminating: true}}]"),
		"h", "127.0.0.1:8080+R+S Pod x/p, 10.0.0.2:8080, 10.0.0.3:8081+S+T");
}

static void endpoints_give_ready_and_not_ready_addresses(void **state)
{
	(void)state;
	assert_endpoints(
		SERVICE("web", "ports: [{port: 80}]") ENDPOINTS("web",
			"{addresses: [{ip: 10.0.0.1, nodeName: n1}, {ip: 'fd00::1'}], notReadyAddresses: "
			"[{ip: 10.0.0.2}], ports: [{port: 8080}]}, {addresses: [{ip: 10.0.0.3}], "
			"ports: [{port: 9090}]}"),
		"", "10.0.0.1:8080+R+S, 10.0.0.2:8080, [fd00::1]:8080+R+S, 10.0.0.3:9090+R+S");
}

static void a_mirrored_endpoints_object_is_not_taken_twice(void **state)
{
	static const char service[] = SERVICE("web", "ports: [{port: 80}]")
		ENDPOINTS("web", "{addresses: [{ip: 10.0.0.1}], ports: [{port: 1}]}");
	static const char managed[] =
		", endpointslice.kubernetes.io/managed-by: endpointslicemirroring-controller.k8s.io";
	char *text;

	(void)state;
	text = mem_printf("%s---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
			  "metadata: {name: m, labels: {kubernetes.io/service-name: web%s}}\n"
			  "addressType: IPv4\nports: [{port: 2}]\nendpoints: [{addresses: [10.0.0.2]}]\n",
		service, managed);
	assert_endpoints(text, "", "10.0.0.2:2+R+S");
	free(text);
	text = mem_printf("%s---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
			  "metadata: {name: m, labels: {kubernetes.io/service-name: web}}\n"
			  "addressType: IPv4\nports: [{port: 2}]\nendpoints: [{addresses: [10.0.0.2]}]\n",
		service);
	assert_endpoints(text, "", "10.0.0.1:1+R+S, 10.0.0.2:2+R+S");
	free(text);
}

static void pods_come_before_what_is_written_about_them(void **state)
{
	(void)state;
	assert_endpoints(SERVICE("web", "selector: {app: web}, ports: [{port: 80}]")
				 ENDPOINTS("web", "{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}")
					 POD("a", "labels: {app: web}", "", "podIP: 10.1.0.1, " READY),
		"", "10.1.0.1:80+R+S Pod default/a");
	/* But a selector that meets no Pod leaves the Endpoints to be used. */
	assert_endpoints(SERVICE("web", "selector: {app: web}, ports: [{port: 80}]")
				 ENDPOINTS("web", "{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}")
					 POD("a", "labels: {app: other}", "", "podIP: 10.1.0.1, " READY),
		"", "10.0.0.1:80+R+S");
}

static void a_service_without_endpoints_says_why(void **state)
{
	(void)state;
	assert_reason(SERVICE("web", "selector: {app: wbe}, ports: [{port: 80}]")
			      POD("a", "labels: {app: web}", "", "podIP: 10.1.0.1"),
		"selector app=wbe meets none of the 1 Pods in namespace default; the closest is Pod "
		"default/a "
		"with app=web");
	assert_reason(SERVICE("web", "selector: {app: web}, ports: [{port: 80}]")
			      POD("a", "labels: {app: web}, namespace: prod", "", "podIP: 10.1.0.1"),
		"it would meet 1 in other namespaces, such as prod");
	assert_reason(SERVICE("web", "selector: {app: web}, ports: [{port: 80}]"),
		"there are no Pods in the manifests");
	assert_reason(SERVICE("web", "ports: [{port: 80}]"), "no selector, and no Endpoints");
	assert_reason(SERVICE("web", "selector: {app: web}, ports: [{port: 80}]")
			      POD("a", "labels: {app: web}", "", "phase: Pending"),
		"meets 1 Pods, but none of them runs and has a podIP");
	assert_reason(SERVICE("web", "selector: {app: web}, ports: [{port: 80, targetPort: http}]")
			      POD("a", "labels: {app: web}", "", "podIP: 10.1.0.1"),
		"a port that targetPort names");
	assert_reason(SERVICE("web", "ports: [{port: 80}]") SLICE("s", "web", "addressType: IPv4"),
		"its EndpointSlices and Endpoints are empty");
}

#define TRIGGERED(time)                                                                                      \
	"---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1, labels: "        \
	"{kubernetes.io/service-name: web}, annotations: "                                                   \
	"{endpoints.kubernetes.io/last-change-trigger-time: '" time "'}}\n"                                  \
	"addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.0.0.1]}]\n"

static void assert_trigger(const char *text, int64_t expected_ms)
{
	struct decoded decoded = decode_text(text);

	assert_string_equal(decoded.messages, "");
	assert_int_equal(decoded.result.snapshot->slice_count, 1);
	assert_true(decoded.result.snapshot->slices[0]->trigger_ms == expected_ms);
	decoded_fini(&decoded);
}

static void the_time_of_the_change_is_read(void **state)
{
	static const char service[] = SERVICE("web", "ports: [{port: 80}]");
	char *endpoints = mem_printf(
		"%s" ENDPOINTS("web", "{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}"), service);

	(void)state;
	assert_trigger(endpoints, 0);
	free(endpoints);
	assert_trigger(SERVICE("web", "ports: [{port: 80}]") TRIGGERED("2026-01-02T03:04:05.678901234Z"),
		INT64_C(1767323045678));
	assert_trigger(SERVICE("web", "ports: [{port: 80}]") TRIGGERED("2026-01-02T03:04:05Z"),
		INT64_C(1767323045000));
	assert_trigger(SERVICE("web", "ports: [{port: 80}]") TRIGGERED("2026-01-02T04:34:05+01:30"),
		INT64_C(1767323045000));
}

static void a_time_that_is_none_is_unknown(void **state)
{
	(void)state;
	assert_trigger(SERVICE("web", "ports: [{port: 80}]") TRIGGERED("yesterday"), 0);
	assert_trigger(SERVICE("web", "ports: [{port: 80}]") TRIGGERED("2026-01-02T03:04:05"), 0);
	assert_trigger(SERVICE("web", "ports: [{port: 80}]") TRIGGERED("2026-01-02T03:04:05.5+1"), 0);
	assert_trigger(SERVICE("web", "ports: [{port: 80}]") TRIGGERED("1066-10-14T09:00:00Z"), 0);
}

static void bad_endpoints_are_refused(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ENDPOINTS("web", "{addresses: [{ip: 10.0.0}]}"),
			"subsets[0].addresses[0].ip: Invalid value: "},
		{ENDPOINTS("web", "{addresses: [{}]}"), "subsets[0].addresses[0].ip: Required value"},
		{ENDPOINTS("web", "{addresses: [{ip: 0.0.0.0}]}"), "unspecified"},
		{ENDPOINTS("web", "{addresses: [{ip: 224.0.0.1}]}"), "multicast"},
		{ENDPOINTS("web", "{ports: [{port: 80}]}"), "needs addresses or notReadyAddresses"},
		{ENDPOINTS("web", "{addresses: [{ip: 10.0.0.1}], ports: [{port: 0}]}"),
			"subsets[0].ports[0].port: Invalid value: 0"},
		{ENDPOINTS("web", "{addresses: [{ip: 10.0.0.1}], ports: [{port: 1}, {port: 2}]}"),
			"subsets[0].ports[0].name: Required value"},
		{ENDPOINTS("web", "{adresses: [{ip: 10.0.0.1}]}"), "did you mean \"addresses\"?"},
		{SLICE("s", "web", "endpoints: []"), "addressType: Required value"},
		{SLICE("s", "web", "addressType: IP"), "addressType: Unsupported value: \"IP\""},
		{SLICE("s", "web", "addressType: IPv4\nendpoints: [{addresses: ['fd00::1']}]"),
			"endpoints[0].addresses[0]: Invalid value: \"fd00::1\": must be a valid IPv4"},
		{SLICE("s", "web", "addressType: IPv6\nendpoints: [{addresses: [10.0.0.1]}]"),
			"must be a valid IPv6"},
		{SLICE("s", "web", "addressType: IPv4\nendpoints: [{addresses: []}]"),
			"must contain at least 1 address"},
		{SLICE("s", "web", "addressType: IPv4\nports: [{name: a, port: 1}, {name: a, port: 2}]"),
			"ports[1].name: Duplicate value: \"a\""},
		{SLICE("s", "web", "addressType: IPv4\nendpoints: [{addresses: [10.0.0.1], topology: {}}]"),
			"unknown field \"topology\""},
		{POD("p", "labels: {a: b}", "", "podIP: x"), "status.podIP: Invalid value: \"x\""},
		{POD("p", "labels: {a: 1}", "", ""), "metadata.labels[a]: must be a string"},
		{POD("p", "labels: {a: b}", "containers: [{ports: [{containerPort: 0}]}]", ""),
			"spec.containers[0].ports[0].containerPort: Invalid value: 0"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct decoded decoded = decode_text(cases[i].text);

		if (decoded.result.error_count != 1 || decoded.result.snapshot->slice_count != 0 ||
			!strstr(decoded.messages, cases[i].expected))
			fail_msg("%s: %s", cases[i].text, decoded.messages);
		decoded_fini(&decoded);
	}
}

static void slices_of_no_service_are_noted(void **state)
{
	static const char lone[] = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
				   "metadata: {name: lone}\naddressType: IPv4\n";
	static const char fqdn[] =
		SLICE("f", "nobody", "addressType: FQDN\nendpoints: [{addresses: [a.example]}]");
	char *text = mem_printf("%s%s%s", SLICE("s", "nobody", "addressType: IPv4"), fqdn, lone);
	struct decoded decoded = decode_text(text);

	(void)state;
	assert_int_equal(decoded.result.error_count, 0);
	assert_non_null(strstr(
		decoded.messages, "note: EndpointSlice default/s: there is no Service default/nobody"));
	assert_non_null(strstr(decoded.messages, "host names are passed over"));
	assert_non_null(
		strstr(decoded.messages, "EndpointSlice default/lone: metadata.labels: has no label"));
	decoded_fini(&decoded);
	free(text);
}

static void the_first_claim_on_an_address_or_port_stands(void **state)
{
	struct decoded decoded = decode_text(
		SERVICE("zz", "type: NodePort, clusterIP: 10.96.5.5, ports: [{port: 80, nodePort: 30001}]")
			SERVICE("ip", "clusterIP: 10.96.5.5, ports: [{port: 80}]") SERVICE("port",
				"type: NodePort, ports: [{port: 80, nodePort: 30001, protocol: UDP}]"));

	(void)state;
	assert_int_equal(decoded.result.error_count, 2);
	assert_non_null(find_service(&decoded, "default", "zz"));
	assert_null(find_service(&decoded, "default", "ip"));
	assert_null(find_service(&decoded, "default", "port"));
	assert_non_null(strstr(decoded.messages,
		"error: Service default/ip: spec.clusterIP: Invalid value: 10.96.5.5: provided IP is already "
		"allocated to Service default/zz (t.yaml:2:1)"));
	assert_non_null(strstr(decoded.messages,
		"error: Service default/port: spec.ports[0].nodePort: Invalid value: 30001: provided port is "
		"already allocated to Service default/zz (t.yaml:2:1)"));
	decoded_fini(&decoded);
}

static struct model_service *first_service(const struct decoded *decoded)
{
	return decoded->result.snapshot->services[0];
}

static void allocation_does_not_depend_on_the_others(void **state)
{
	struct decoded alone = decode_text(SERVICE("web", "type: NodePort, ports: [{port: 80}]"));
	struct decoded among = decode_text(SERVICE("zz", "type: NodePort, ports: [{port: 80}]") SERVICE(
		"aa", "ports: [{port: 80}]") SERVICE("web", "type: NodePort, ports: [{port: 80}]"));
	const struct model_service *a = first_service(&alone), *b = find_service(&among, "default", "web");
	struct source_options options;

	(void)state;
	source_options_init(&options);
	assert_int_equal(a->cluster_ip_count, 1);
	assert_true(addr_prefix_contains(&options.service_cluster_ip_range, &a->cluster_ips[0]));
	assert_true(addr_equal(&a->cluster_ips[0], &b->cluster_ips[0]));
	assert_int_equal(a->ports[0].node_port, b->ports[0].node_port);
	assert_in_range(a->ports[0].node_port, 30000, 32767);
	decoded_fini(&alone);
	decoded_fini(&among);
}

/* These values are a promise: a change moves every allocated address at an upgrade. */
static void allocated_values_are_these(void **state)
{
	struct decoded decoded = decode_text(SERVICE("web", "type: NodePort, ports: [{port: 80}]"));
	char text[ADDR_TEXT_BYTES];

	(void)state;
	assert_string_equal(addr_format(&first_service(&decoded)->cluster_ips[0], text), "10.108.95.220");
	assert_int_equal(first_service(&decoded)->ports[0].node_port, 32177);
	decoded_fini(&decoded);
}

static void an_explicit_claim_moves_an_allocated_one(void **state)
{
	struct decoded decoded = decode_text(SERVICE("web", "ports: [{port: 80}]")
			SERVICE("zz", "clusterIP: 10.108.95.220, ports: [{port: 80}]"));
	char text[ADDR_TEXT_BYTES];

	(void)state;
	assert_int_equal(decoded.result.error_count, 0);
	assert_string_equal(addr_format(&first_service(&decoded)->cluster_ips[0], text), "10.108.95.221");
	decoded_fini(&decoded);
}

static void twin_ports_share_a_node_port(void **state)
{
	struct decoded decoded =
		decode_text(SERVICE("dns", "type: NodePort, ports: [{name: u, port: 53, protocol: UDP}, "
					   "{name: t, port: 53}, {name: m, port: 9}]"));
	const struct model_service *service = first_service(&decoded);

	(void)state;
	assert_int_equal(service->ports[0].node_port, service->ports[1].node_port);
	assert_int_not_equal(service->ports[0].node_port, service->ports[2].node_port);
	decoded_fini(&decoded);
}

static void only_what_needs_a_node_port_gets_one(void **state)
{
	struct decoded decoded = decode_text(SERVICE("a", "ports: [{port: 80}]") SERVICE(
		"b", "type: LoadBalancer, ports: [{port: 80}]") SERVICE("c",
		"type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]")
			SERVICE("d", "clusterIP: None, ports: [{port: 80}]"));
	struct model_service **services = decoded.result.snapshot->services;

	(void)state;
	assert_int_equal(services[0]->ports[0].node_port, 0);
	assert_int_not_equal(services[1]->ports[0].node_port, 0);
	assert_int_equal(services[2]->ports[0].node_port, 0);
	assert_true(services[3]->headless);
	assert_int_equal(services[3]->cluster_ip_count, 0);
	decoded_fini(&decoded);
}

static struct decoded decode_small(const char *text, const char *range, uint16_t first, uint16_t last)
{
	struct source_text source = {.name = "t.yaml", .bytes = text, .byte_count = strlen(text)};
	struct source_options options = {.node_port_first = first, .node_port_last = last};
	struct decoded decoded = {.messages = mem_strdup("")};

	assert_int_equal(addr_parse_prefix(&options.service_cluster_ip_range, range), 0);
	decoded.result = source_manifests_decode(&source, 1, &options, NULL, NULL);
	return decoded;
}

static void a_full_range_leaves_services_out(void **state)
{
	static const char text[] = SERVICE("a", "type: NodePort, ports: [{port: 80}]")
		SERVICE("b", "type: NodePort, ports: [{port: 80}]") SERVICE("c", "ports: [{port: 80}]");
	struct decoded decoded = decode_small(text, "10.0.0.0/31", 30000, 30009);

	(void)state;
	assert_int_equal(decoded.result.snapshot->service_count, 2);
	assert_int_equal(decoded.result.error_count, 1);
	decoded_fini(&decoded);
	decoded = decode_small(text, "10.0.0.0/16", 30000, 30000);
	assert_int_equal(decoded.result.snapshot->service_count, 2);
	assert_int_equal(decoded.result.error_count, 1);
	decoded_fini(&decoded);
}

static void an_ipv6_range_gives_ipv6_addresses(void **state)
{
	struct decoded decoded = decode_small(SERVICE("a", "ports: [{port: 80}]")
						      SERVICE("b", "ipFamilies: [IPv4], ports: [{port: 80}]"),
		"fd00:10:96::/108", 30000, 32767);
	struct model_service **services = decoded.result.snapshot->services;
	struct addr_prefix range;

	(void)state;
	assert_int_equal(addr_parse_prefix(&range, "fd00:10:96::/108"), 0);
	assert_int_equal(services[0]->cluster_ip_count, 1);
	assert_true(addr_prefix_contains(&range, &services[0]->cluster_ips[0]));
	assert_int_equal(services[1]->cluster_ip_count, 0);
	decoded_fini(&decoded);
}

static void a_clusters_dump_loads_without_a_word(void **state)
{
	struct decoded decoded = decode_manifest("dump.yaml");
	char *endpoints;

	(void)state;
	assert_string_equal(decoded.messages, "");
	assert_int_equal(decoded.result.snapshot->service_count, 5);
	endpoints = endpoints_text(&decoded, find_service(&decoded, "shop", "web"), "http");
	assert_string_equal(endpoints, "10.244.1.5:8080+R+S Pod shop/web-7c5ddbdf54-2xkqh, "
				       "10.244.2.9:8080 Pod shop/web-7c5ddbdf54-9wz7d");
	free(endpoints);
	endpoints = endpoints_text(&decoded, find_service(&decoded, "shop", "db"), "");
	assert_string_equal(endpoints, "192.0.2.20:5432+R+S");
	free(endpoints);
	decoded_fini(&decoded);
}

/* Pods and Endpoints of one moment in a real cluster tell the same; its EndpointSlices were still empty. */
static void a_real_api_servers_lists_load_and_agree(void **state)
{
	static const char *const names[] = {"recorded/services-list.json", "recorded/pods-list.json",
		"recorded/endpoints-list.json", "recorded/endpointslices-v1beta1-list.json"};
	struct source_text texts[4];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		texts[i].name = names[i];
		texts[i].bytes = manifest_text(names[i], &texts[i].byte_count);
	}
	for (size_t i = 1; i <= 3; i++) {
		/* Services with Pods, with Endpoints, and all four. */
		const struct source_text pair[2] = {texts[0], texts[i]};
		struct decoded decoded = i < 3 ? decode_texts(pair, 2) : decode_texts(texts, 4);
		char *got = endpoints_text(&decoded, find_service(&decoded, "rec", "np"), "");

		assert_int_equal(decoded.result.error_count, 0);
		assert_string_equal(got, "10.244.1.101:8080+R+S Pod rec/web-1, 10.244.1.102:8080+R+S Pod "
					 "rec/web-2, 10.244.1.103:8080 Pod rec/web-3");
		free(got);
		decoded_fini(&decoded);
	}
	for (size_t i = 0; i < 4; i++)
		free((char *)texts[i].bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_selector_takes_the_pods_it_meets),
		cmocka_unit_test(pods_that_cannot_serve_are_left_out_or_marked),
		cmocka_unit_test(publish_not_ready_addresses_makes_all_ready),
		cmocka_unit_test(a_named_target_port_is_looked_up_in_each_pod),
		cmocka_unit_test(dual_stack_pods_give_the_services_family),
		cmocka_unit_test(endpoint_slices_unite_and_conditions_have_defaults),
		cmocka_unit_test(endpoints_give_ready_and_not_ready_addresses),
		cmocka_unit_test(a_mirrored_endpoints_object_is_not_taken_twice),
		cmocka_unit_test(pods_come_before_what_is_written_about_them),
		cmocka_unit_test(a_service_without_endpoints_says_why),
		cmocka_unit_test(the_time_of_the_change_is_read),
		cmocka_unit_test(a_time_that_is_none_is_unknown),
		cmocka_unit_test(bad_endpoints_are_refused),
		cmocka_unit_test(slices_of_no_service_are_noted),
		cmocka_unit_test(the_first_claim_on_an_address_or_port_stands),
		cmocka_unit_test(allocation_does_not_depend_on_the_others),
		cmocka_unit_test(allocated_values_are_these),
		cmocka_unit_test(an_explicit_claim_moves_an_allocated_one),
		cmocka_unit_test(twin_ports_share_a_node_port),
		cmocka_unit_test(only_what_needs_a_node_port_gets_one),
		cmocka_unit_test(a_full_range_leaves_services_out),
		cmocka_unit_test(an_ipv6_range_gives_ipv6_addresses),
		cmocka_unit_test(a_clusters_dump_loads_without_a_word),
		cmocka_unit_test(a_real_api_servers_lists_load_and_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
