/* Services: what the API server would refuse is refused, with its place; the rest is decoded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "source_util.h"

struct spec_case {
	const char *spec;     /* in flow style */
	const char *expected; /* part of the only message; NULL: the Service loads without one */
};

/* Decodes a Service of that spec, whose endpoints are of no interest. */
static struct decoded decode_spec(const char *spec)
{
	char *text = mem_printf("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: %s\n---\n"
				"apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\n"
				"subsets: [{addresses: [{ip: 10.0.0.1}]}]\n",
		spec);
	struct decoded decoded = decode_text(text);

	free(text);
	return decoded;
}

static void run_spec_cases(const struct spec_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct decoded decoded = decode_spec(cases[i].spec);
		bool loaded = find_service(&decoded, "default", "web") != NULL;

		if (!cases[i].expected && (!loaded || decoded.message_count > 0))
			fail_msg("%s: %s", cases[i].spec, decoded.messages);
		if (cases[i].expected && (loaded || decoded.result.error_count != 1 ||
						 !strstr(decoded.messages, cases[i].expected)))
			fail_msg("%s: %s", cases[i].spec, decoded.messages);
		decoded_fini(&decoded);
	}
}

#define RUN_SPEC_CASES(cases) run_spec_cases(cases, sizeof(cases) / sizeof(*(cases)))

static void ports_are_checked(void **state)
{
	static const struct spec_case cases[] = {
		{"{ports: [{port: 80}]}", NULL},
		{"{ports: [{port: 65535, targetPort: 1}]}", NULL},
		{"{ports: [{port: 80, targetPort: http-alt}]}", NULL},
		{"{ports: [{port: 80, targetPort: 0}]}", NULL},
		{"{ports: [{name: a, port: 53, protocol: UDP}, {name: b, port: 53}]}", NULL},
		{"{}", "spec.ports: Required value"},
		{"{ports: []}", "spec.ports: Required value"},
		{"{ports: [{name: x}]}", "spec.ports[0].port: Required value"},
		{"{ports: [{port: 0}]}",
			"spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"},
		{"{ports: [{port: 65536}]}", "spec.ports[0].port: Invalid value: 65536"},
		{"{ports: [{port: -1}]}", "spec.ports[0].port: Invalid value: -1"},
		{"{ports: [{port: 99999999999}]}", "does not fit 32 bits"},
		{"{ports: [{port: \"80\"}]}",
			"spec.ports[0].port: must be an integer, not the string \"80\""},
		{"{ports: [{port: 80.5}]}", "must be an integer, not a fraction (80.5)"},
		{"{ports: {port: 80}}", "spec.ports: must be a list, not an object"},
		{"{ports: [80]}", "spec.ports[0]: must be an object, not an integer (80)"},
		{"{ports: [{port: 80, targetPort: 70000}]}",
			"spec.ports[0].targetPort: Invalid value: 70000"},
		{"{ports: [{port: 80, targetPort: \"80\"}]}", "at least one letter"},
		{"{ports: [{port: 80, targetPort: HTTP}]}", "targetPort: Invalid value: \"HTTP\""},
		{"{ports: [{port: 80, targetPort: a-name-of-16-chars}]}", "at most 15"},
		{"{ports: [{port: 80, targetPort: true}]}", "must be an integer, not a boolean"},
		{"{ports: [{port: 80, protocol: tcp}]}",
			"Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\""},
		{"{ports: [{port: 80, name: Web}]}", "spec.ports[0].name: Invalid value: \"Web\""},
		{"{ports: [{name: a, port: 80}, {port: 81}]}", "spec.ports[1].name: Required value"},
		{"{ports: [{name: a, port: 80}, {name: a, port: 81}]}",
			"spec.ports[1].name: Duplicate value: \"a\""},
		{"{ports: [{name: a, port: 80}, {name: b, port: 80}]}", "Duplicate value: port 80 and"},
		{"{ports: [{port: 80, appProtocol: a b}]}", "spec.ports[0].appProtocol: Invalid value"},
	};

	(void)state;
	RUN_SPEC_CASES(cases);
}

static void node_ports_are_checked(void **state)
{
	static const struct spec_case cases[] = {
		{"{type: NodePort, ports: [{port: 80, nodePort: 30000}]}", NULL},
		{"{type: LoadBalancer, ports: [{port: 80, nodePort: 32767}]}", NULL},
		{"{type: NodePort, ports: [{name: a, port: 53, nodePort: 30053, protocol: UDP}, "
		 "{name: b, port: 53, nodePort: 30053}]}",
			NULL},
		{"{ports: [{port: 80, nodePort: 30000}]}",
			"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"},
		{"{type: NodePort, ports: [{port: 80, nodePort: 29999}]}",
			"The range of valid ports is 30000-32767"},
		{"{type: NodePort, ports: [{port: 80, nodePort: 32768}]}", "Invalid value: 32768"},
		{"{type: NodePort, ports: [{name: a, port: 80, nodePort: 30001}, "
		 "{name: b, port: 81, nodePort: 30001}]}",
			"spec.ports[1].nodePort: Duplicate value: 30001"},
	};

	(void)state;
	RUN_SPEC_CASES(cases);
}

static void addresses_are_checked(void **state)
{
	static const struct spec_case cases[] = {
		{"{clusterIP: 10.97.97.97, ports: [{port: 80}]}", NULL},
		{"{clusterIP: 172.20.0.5, ports: [{port: 80}]}", NULL},
		{"{clusterIP: '', ports: [{port: 80}]}", NULL},
		{"{clusterIP: None}", NULL},
		{"{clusterIP: None, clusterIPs: [None], ports: [{port: 80}]}", NULL},
		{"{clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilyPolicy: "
		 "PreferDualStack, ipFamilies: [IPv4, IPv6], ports: [{port: 80}]}",
			NULL},
		{"{clusterIP: 10.96.0.300, ports: [{port: 80}]}",
			"spec.clusterIP: Invalid value: \"10.96.0.300\": must be a valid IP address"},
		{"{clusterIP: 010.96.0.3, ports: [{port: 80}]}", "must be a valid IP address"},
		{"{clusterIP: none, ports: [{port: 80}]}", "must be a valid IP address"},
		{"{clusterIP: 127.0.0.1, ports: [{port: 80}]}", "loopback"},
		{"{clusterIP: 0.0.0.0, ports: [{port: 80}]}", "unspecified"},
		{"{clusterIP: 224.0.0.1, ports: [{port: 80}]}", "multicast"},
		{"{clusterIP: 10.96.0.9, clusterIPs: [10.96.0.8], ports: [{port: 80}]}",
			"spec.clusterIPs: Invalid value: \"10.96.0.8\""},
		{"{clusterIPs: [10.96.0.8], ports: [{port: 80}]}", "`clusterIP` is not specified"},
		{"{clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 10.96.0.8], ports: [{port: 80}]}",
			"spec.clusterIPs[1]: Invalid value"},
		{"{clusterIP: 10.96.0.9, ipFamilies: [IPv6], ports: [{port: 80}]}", "ipFamilies"},
		{"{ipFamilies: [IPv5], ports: [{port: 80}]}", "spec.ipFamilies[0]: Unsupported value"},
		{"{ipFamilies: [IPv4, IPv4], ports: [{port: 80}]}", "spec.ipFamilies[1]: Duplicate value"},
		{"{clusterIP: None, type: NodePort, ports: [{port: 80}]}", "may not be set to 'None'"},
		{"{externalIPs: [198.51.100.7], ports: [{port: 80}]}", NULL},
		{"{externalIPs: [127.0.0.1], ports: [{port: 80}]}", "spec.externalIPs[0]: Invalid value"},
		{"{externalIPs: [x], ports: [{port: 80}]}", "spec.externalIPs[0]: Invalid value"},
	};

	(void)state;
	RUN_SPEC_CASES(cases);
}

static void other_fields_are_checked(void **state)
{
	static const struct spec_case cases[] = {
		{"{type: ExternalName, externalName: db.example.com.}", NULL},
		{"{type: ExternalName}", "spec.externalName: Required value"},
		{"{type: ExternalName, externalName: a..b}", "spec.externalName: Invalid value"},
		{"{type: ExternalName, externalName: a.b, clusterIP: 10.96.0.9}",
			"spec.clusterIP: Forbidden"},
		{"{type: nodePort, ports: [{port: 80}]}", "spec.type: Unsupported value: \"nodePort\""},
		{"{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86400}}, "
		 "ports: [{port: 80}]}",
			NULL},
		{"{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}, "
		 "ports: [{port: 80}]}",
			"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0"},
		{"{sessionAffinity: clientip, ports: [{port: 80}]}", "spec.sessionAffinity: Unsupported"},
		{"{externalTrafficPolicy: Local, ports: [{port: 80}]}", "externally-accessible"},
		{"{type: NodePort, externalTrafficPolicy: local, ports: [{port: 80}]}", "Unsupported value"},
		{"{internalTrafficPolicy: Local, ports: [{port: 80}]}", NULL},
		{"{internalTrafficPolicy: local, ports: [{port: 80}]}", "Unsupported value"},
		{"{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30100, "
		 "ports: [{port: 80}]}",
			NULL},
		{"{type: NodePort, healthCheckNodePort: 30100, ports: [{port: 80}]}",
			"spec.healthCheckNodePort: Invalid value: 30100"},
		{"{allocateLoadBalancerNodePorts: false, ports: [{port: 80}]}", "Forbidden"},
		{"{type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0], ports: [{port: 80}]}",
			"spec.loadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0\": must be a valid "
			"CIDR"},
		{"{type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/33], ports: [{port: 80}]}",
			"valid CIDR"},
		{"{type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/], ports: [{port: 80}]}",
			"valid CIDR"},
		{"{type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/-1], ports: [{port: 80}]}",
			"valid CIDR"},
		{"{type: LoadBalancer, loadBalancerSourceRanges: ['::/129'], ports: [{port: 80}]}",
			"valid CIDR"},
		{"{loadBalancerSourceRanges: [10.0.0.0/8], ports: [{port: 80}]}",
			"spec.loadBalancerSourceRanges: Forbidden: may only be used when `type` is"},
		{"{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 29999, "
		 "ports: [{port: 80}]}",
			"spec.healthCheckNodePort: Invalid value: 29999: provided port is not in"},
		{"{type: LoadBalancer, healthCheckNodePort: 30100, ports: [{port: 80}]}",
			"spec.healthCheckNodePort: Invalid value: 30100"},
		{"{trafficDistribution: PreferNear, ports: [{port: 80}]}",
			"spec.trafficDistribution: Unsupported value: \"PreferNear\""},
		{"{ipFamilyPolicy: SingleStack, ipFamilies: [IPv4, IPv6], ports: [{port: 80}]}",
			"spec.ipFamilyPolicy: Invalid value: \"SingleStack\""},
		{"{ipFamilyPolicy: Dual, ports: [{port: 80}]}", "spec.ipFamilyPolicy: Unsupported value"},
		{"{selector: {app: 1}, ports: [{port: 80}]}",
			"spec.selector[app]: must be a string (quote it), not an integer (1)"},
		{"{selector: {app: yes}, ports: [{port: 80}]}", "not a boolean (yes)"},
		{"{selector: {app: 'a b'}, ports: [{port: 80}]}", "spec.selector[app]: Invalid value"},
		{"{selector: {'-a': b}, ports: [{port: 80}]}", "spec.selector: Invalid value: \"-a\""},
		{"{selector: [app], ports: [{port: 80}]}", "spec.selector: must be a map of strings"},
	};

	(void)state;
	RUN_SPEC_CASES(cases);
}

static void unknown_fields_are_refused_with_the_likely_one(void **state)
{
	static const struct spec_case cases[] = {
		{"{type: NodePort, ports: [{port: 80, nodeport: 30001}]}",
			"t.yaml:4:43: error: Service default/web: spec.ports[0].nodeport: unknown field "
			"\"nodeport\", did you mean \"nodePort\"?"},
		{"{selecter: {a: b}, ports: [{port: 80}]}", "did you mean \"selector\"?"},
		{"{clusterip: 10.96.0.9, ports: [{port: 80}]}", "did you mean \"clusterIP\"?"},
		{"{ports: [{port: 80, targetport: 8080}]}", "did you mean \"targetPort\"?"},
		{"{ports: [{prot: 80}]}", "did you mean \"port\"?"},
		{"{ports: [{port: 80}], somethingElse: 1}", "unknown field \"somethingElse\"\n"},
		{"{ports: [{port: 80, port: 81}]}", "spec.ports[0].port: duplicate field"},
	};

	(void)state;
	RUN_SPEC_CASES(cases);
}

static void names_are_checked(void **state)
{
	static const struct {
		const char *metadata, *expected;
	} cases[] = {
		{"{name: myapp-NodePort}", "metadata.name: Invalid value: \"myapp-NodePort\""},
		{"{name: myapp-NodePort}", "(such as \"myapp-nodeport\")"},
		{"{name: 1web}", "DNS-1035 label"},
		{"{name: web.x}", "DNS-1035 label"},
		{"{name: -web}", "DNS-1035 label"},
		{"{name: a123456789a123456789a123456789a123456789a123456789a123456789a123}",
			"at most 63 characters"},
		{"{name: 80}", "metadata.name: must be a string (quote it), not an integer (80)"},
		{"{}", "metadata.name: Required value"},
		{"{generateName: web-}", "metadata.name: Required value"},
		{"{name: web, namespace: My}", "metadata.namespace: Invalid value: \"My\""},
		{"{name: web, labels: {a: 'x y'}}", "metadata.labels[a]: Invalid value"},
		{"{name: web, lables: {}}", "did you mean \"labels\"?"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = mem_printf("apiVersion: v1\nkind: Service\nmetadata: %s\n"
					"spec: {ports: [{port: 80}]}\n",
			cases[i].metadata);
		struct decoded decoded = decode_text(text);

		if (decoded.result.snapshot->service_count != 0 || decoded.result.error_count != 1 ||
			!strstr(decoded.messages, cases[i].expected))
			fail_msg("%s: %s", cases[i].metadata, decoded.messages);
		decoded_fini(&decoded);
		free(text);
	}
}

static void kinds_are_told_apart(void **state)
{
	static const struct {
		const char *text, *expected;
		size_t errors;
	} cases[] = {
		{"kind: Service", "t.yaml:1:1: error: apiVersion: Required value", 1},
		{"apiVersion: v1", "error: kind: Required value", 1},
		{"[1]", "error: not an object", 1},
		{"text", "error: not an object", 1},
		{"{apiVersion: v1, kind: service}", "did you mean \"Service\" in \"v1\"?", 1},
		{"{apiVersion: v1, kind: Endpoint}", "did you mean \"Endpoints\" in \"v1\"?", 1},
		{"{apiVersion: v2, kind: Service}", "no kind \"Service\" in version \"v2\"", 1},
		{"{apiVersion: apps/v1, kind: Service}", "did you mean \"Service\" in \"v1\"?", 1},
		{"{apiVersion: v1, kind: EndpointSlice}", "in \"discovery.k8s.io/v1\"?", 1},
		{"{apiVersion: serving.knative.dev/v1, kind: Service}",
			"note: objects of kind \"Service.serving.knative.dev\" are passed over", 0},
		{"{apiVersion: apps/v1, kind: Deployment}", "note: objects of kind \"Deployment.apps\"", 0},
		{"{apiVersion: v1, kind: ConfigMap}", "note: objects of kind \"ConfigMap\"", 0},
		{"{apiVersion: v1, kind: Node}", "Node without a name: metadata.name: Required value", 1},
		{"{apiVersion: v1, kind: List, items: {}}", "items: must be a list", 1},
		{"{apiVersion: v1, kind: List, items: [x]}", "not an object", 1},
		{"{apiVersion: v1, kind: List}", "", 0},
		{"{apiVersion: v1, kind: ServiceList, items: [{}]}",
			"Service without a name: metadata.name: Required value", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct decoded decoded = decode_text(cases[i].text);

		if (decoded.result.error_count != cases[i].errors ||
			!strstr(decoded.messages, cases[i].expected))
			fail_msg("%s: %s", cases[i].text, decoded.messages);
		decoded_fini(&decoded);
	}
}

static void a_kind_passed_over_is_named_once(void **state)
{
	struct decoded decoded = decode_text("{apiVersion: apps/v1, kind: Deployment}\n---\n"
					     "{apiVersion: apps/v1, kind: Deployment}\n---\n"
					     "{apiVersion: v1, kind: Secret}\n");

	(void)state;
	assert_int_equal(decoded.message_count, 2);
	decoded_fini(&decoded);
}

static void one_bad_object_leaves_the_others(void **state)
{
	struct decoded decoded = decode_manifest("mistakes.yaml");
	size_t count;
	char *expected = manifest_text("mistakes.expected", &count);

	(void)state;
	assert_string_equal(decoded.messages, expected);
	assert_non_null(find_service(&decoded, "default", "np1"));
	assert_true(decoded.result.incomplete);
	free(expected);
	decoded_fini(&decoded);
}

static void an_object_out_of_a_cluster_may_have_newer_fields(void **state)
{
	struct decoded decoded =
		decode_text("apiVersion: v1\nkind: Service\nmetadata: {name: web, uid: 1f3c1a44, newer: 1}\n"
			    "spec: {ports: [{port: 80, newest: x}]}\n");

	(void)state;
	assert_int_equal(decoded.result.error_count, 0);
	assert_non_null(
		strstr(decoded.messages, "warning: Service default/web: metadata.newer: unknown field"));
	assert_non_null(find_service(&decoded, "default", "web"));
	decoded_fini(&decoded);
}

static void the_later_of_two_of_a_name_wins(void **state)
{
	struct decoded decoded =
		decode_text("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
			    "spec: {type: NodePort, ports: [{port: 80, nodePort: 30001}]}\n---\n"
			    "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
			    "spec: {type: NodePort, ports: [{port: 81, nodePort: 30001}]}\n");

	(void)state;
	assert_int_equal(decoded.result.error_count, 0);
	assert_non_null(strstr(decoded.messages,
		"t.yaml:6:1: warning: Service default/web: replaces the one of the same name at t.yaml:1:1"));
	assert_int_equal(decoded.result.snapshot->service_count, 1);
	assert_int_equal(decoded.result.snapshot->services[0]->ports[0].port, 81);
	decoded_fini(&decoded);
}

static void fields_arrive_in_the_model(void **state)
{
	struct decoded decoded = decode_spec("{type: LoadBalancer, clusterIP: 10.96.3.4, "
					     "publishNotReadyAddresses: true, ports: [{name: a, port: 80, "
					     "nodePort: 30001}, {name: b, port: 53, protocol: UDP, nodePort: "
					     "30002}]}");
	const struct model_service *service = find_service(&decoded, "default", "web");

	(void)state;
	assert_non_null(service);
	assert_int_equal(service->type, MODEL_LOAD_BALANCER);
	assert_int_equal(service->cluster_ip_count, 1);
	assert_int_equal(addr_v4_value(&service->cluster_ips[0]), 0x0a600304);
	assert_true(service->publish_not_ready);
	assert_int_equal(service->port_count, 2);
	assert_string_equal(service->ports[1].name, "b");
	assert_int_equal(service->ports[1].proto, PROTO_UDP);
	assert_int_equal(service->ports[1].port, 53);
	assert_int_equal(service->ports[1].node_port, 30002);
	decoded_fini(&decoded);
}

/* ---- what the API server does not check in spec, or not at all ---- */

#define BALANCER(metadata, rest)                                                                             \
	"{apiVersion: v1, kind: Service, metadata: {name: web" metadata "}, spec: {type: LoadBalancer, "     \
	"ports: [{port: 80}]}" rest "}\n"

static void assert_addrs(const struct addr *addrs, size_t count, const char *expected)
{
	char *text = mem_strdup(""), buf[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < count; i++) {
		char *longer = mem_printf("%s%s%s", text, i ? " " : "", addr_format(&addrs[i], buf));

		free(text);
		text = longer;
	}
	assert_string_equal(text, expected);
	free(text);
}

static void assert_ranges(const struct model_service *service, const char *expected)
{
	char *text = mem_strdup(""), buf[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < service->source_range_count; i++) {
		char *longer = mem_printf("%s%s%s/%u", text, i ? " " : "",
			addr_format(&service->source_ranges[i].addr, buf), service->source_ranges[i].bits);

		free(text);
		text = longer;
	}
	assert_string_equal(text, expected);
	free(text);
}

static void balancer_addresses_come_from_the_status(void **state)
{
	static const struct {
		const char *status, *addrs, *message;
	} cases[] = {
		{"", "", ""},
		{", status: {loadBalancer: {}}", "", ""},
		{", status: {loadBalancer: {ingress: [{ip: 203.0.113.7}, {hostname: lb.example}]}}",
			"203.0.113.7", ""},
		{", status: {loadBalancer: {ingress: [{ip: 203.0.113.7, ipMode: Proxy}, "
		 "{ip: '2001:db8::7', ipMode: VIP}]}}",
			"2001:db8::7", ""},
		{", status: {loadBalancer: {ingress: [{ip: 127.0.0.1}]}}", "",
			"note: Service default/web: status.loadBalancer.ingress[0]: is passed over"},
		{", status: {loadBalancer: {ingress: [{ip: 300.0.0.1}]}}", NULL,
			"error: Service default/web: status.loadBalancer.ingress[0].ip: Invalid value"},
		{", status: {loadBalancer: {ingress: [{ip: 203.0.113.7, ipMode: proxy}]}}", NULL,
			"status.loadBalancer.ingress[0].ipMode: Unsupported value"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = mem_printf(BALANCER("", "%s"), cases[i].status);
		struct decoded decoded = decode_text(text);
		const struct model_service *service = find_service(&decoded, "default", "web");

		if (!strstr(decoded.messages, cases[i].message))
			fail_msg("%s: %s", text, decoded.messages);
		assert_int_equal(service != NULL, cases[i].addrs != NULL);
		if (service)
			assert_addrs(
				service->load_balancer_ips, service->load_balancer_ip_count, cases[i].addrs);
		decoded_fini(&decoded);
		free(text);
	}
}

static void a_service_of_another_type_has_no_balancer(void **state)
{
	struct decoded decoded = decode_text("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: "
					     "{type: NodePort, ports: [{port: 80}]}, status: {loadBalancer: "
					     "{ingress: [{ip: 203.0.113.7}]}}}");

	(void)state;
	assert_int_equal(find_service(&decoded, "default", "web")->load_balancer_ip_count, 0);
	decoded_fini(&decoded);
}

static void source_ranges_come_from_the_field_or_its_predecessor(void **state)
{
	static const char annotated[] =
		", annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: '%s'}";
	static const struct {
		const char *annotation, *field, *ranges, *message;
	} cases[] = {
		{"", "[10.1.2.3/8, ' 2001:db8::1/64 ']", "10.0.0.0/8 2001:db8::/64", ""},
		{"10.0.0.0/8, 192.0.2.0/24", "[]", "10.0.0.0/8 192.0.2.0/24", ""},
		{"10.0.0.0/8", "[192.0.2.0/24]", "192.0.2.0/24", ""},
		{" ", "[]", "", ""},
		{"10.0.0.0/8,x", "[]", NULL,
			"metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: "
			"Invalid value: \"x\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *annotation = mem_printf(annotated, cases[i].annotation);
		char *text =
			mem_printf("{apiVersion: v1, kind: Service, metadata: {name: web%s}, spec: {type: "
				   "LoadBalancer, ports: [{port: 80}], loadBalancerSourceRanges: %s}}",
				annotation, cases[i].field);
		struct decoded decoded = decode_text(text);
		const struct model_service *service = find_service(&decoded, "default", "web");

		if (!strstr(decoded.messages, cases[i].message) || !service != !cases[i].ranges)
			fail_msg("%s: %s", text, decoded.messages);
		if (service)
			assert_ranges(service, cases[i].ranges);
		decoded_fini(&decoded);
		free(text);
		free(annotation);
	}
}

static void policies_arrive_in_the_model(void **state)
{
	struct decoded decoded = decode_spec(
		"{type: LoadBalancer, internalTrafficPolicy: Local, externalTrafficPolicy: Local, "
		"healthCheckNodePort: 30100, trafficDistribution: PreferClose, externalIPs: [198.51.100.7, "
		"'2001:db8::7'], sessionAffinity: ClientIP, ports: [{port: 80}]}");
	const struct model_service *service = find_service(&decoded, "default", "web");

	(void)state;
	assert_true(service->internal_local && service->external_local);
	assert_int_equal(service->health_check_node_port, 30100);
	assert_int_equal(service->distribution, MODEL_PREFER_SAME_ZONE);
	assert_addrs(service->external_ips, service->external_ip_count, "198.51.100.7 2001:db8::7");
	assert_int_equal(service->options.affinity_timeout_s, 10800);
	assert_null(service->out_of_scope);
	decoded_fini(&decoded);
	decoded = decode_spec("{trafficDistribution: PreferSameNode, sessionAffinity: ClientIP, "
			      "sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}, ports: [{port: 80}]}");
	service = find_service(&decoded, "default", "web");
	assert_false(service->internal_local || service->external_local);
	assert_int_equal(service->distribution, MODEL_PREFER_SAME_NODE);
	assert_int_equal(service->options.affinity_timeout_s, 5);
	decoded_fini(&decoded);
}

static void a_health_check_port_is_allocated_where_one_is_needed(void **state)
{
	struct decoded decoded =
		decode_spec("{type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}");
	const struct model_service *service = find_service(&decoded, "default", "web");

	(void)state;
	assert_in_range(service->health_check_node_port, 30000, 32767);
	assert_int_not_equal(service->health_check_node_port, service->ports[0].node_port);
	decoded_fini(&decoded);
	decoded = decode_spec("{type: NodePort, externalTrafficPolicy: Local, ports: [{port: 80}]}");
	assert_int_equal(find_service(&decoded, "default", "web")->health_check_node_port, 0);
	decoded_fini(&decoded);
}

static void labels_put_a_service_out_of_scope(void **state)
{
	static const struct {
		const char *labels, *reason;
	} cases[] = {
		{"{service.kubernetes.io/service-proxy-name: other}", "service-proxy-name=other"},
		{"{service.kubernetes.io/service-proxy-name: ''}", "service-proxy-name="},
		{"{service.kubernetes.io/headless: ''}", "service.kubernetes.io/headless"},
		{"{app: web}", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = mem_printf("{apiVersion: v1, kind: Service, metadata: {name: web, labels: %s}, "
					"spec: {ports: [{port: 80}]}}",
			cases[i].labels);
		struct decoded decoded = decode_text(text);
		const struct model_service *service = find_service(&decoded, "default", "web");

		assert_int_equal(service->out_of_scope != NULL, cases[i].reason != NULL);
		if (service->out_of_scope && cases[i].reason) {
			assert_non_null(strstr(service->out_of_scope, cases[i].reason));
			/* That it has no endpoints is no concern of ours. */
			assert_string_equal(decoded.messages, "");
		}
		decoded_fini(&decoded);
		free(text);
	}
}

static void a_message_cannot_carry_control_characters(void **state)
{
	struct decoded decoded = decode_text("{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":"
					     "{\"name\":\"a\\u001b[2J\\n\"},\"spec\":{\"\\u001b\":1}}");

	(void)state;
	assert_int_equal(decoded.result.error_count, 1);
	assert_null(strchr(decoded.messages, '\x1b'));
	decoded_fini(&decoded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_are_checked),
		cmocka_unit_test(node_ports_are_checked),
		cmocka_unit_test(addresses_are_checked),
		cmocka_unit_test(other_fields_are_checked),
		cmocka_unit_test(unknown_fields_are_refused_with_the_likely_one),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(kinds_are_told_apart),
		cmocka_unit_test(a_kind_passed_over_is_named_once),
		cmocka_unit_test(one_bad_object_leaves_the_others),
		cmocka_unit_test(an_object_out_of_a_cluster_may_have_newer_fields),
		cmocka_unit_test(the_later_of_two_of_a_name_wins),
		cmocka_unit_test(fields_arrive_in_the_model),
		cmocka_unit_test(balancer_addresses_come_from_the_status),
		cmocka_unit_test(a_service_of_another_type_has_no_balancer),
		cmocka_unit_test(source_ranges_come_from_the_field_or_its_predecessor),
		cmocka_unit_test(policies_arrive_in_the_model),
		cmocka_unit_test(a_health_check_port_is_allocated_where_one_is_needed),
		cmocka_unit_test(labels_put_a_service_out_of_scope),
		cmocka_unit_test(a_message_cannot_carry_control_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
