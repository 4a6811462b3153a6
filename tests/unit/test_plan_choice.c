/* Which endpoints a node uses, and which listeners and portals a Service gets: tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan_sample.h"
#include "portald/mem.h"
#include "portald/plan.h"

/* This node is "a" in zone "x". */
static const struct plan_facts facts = {.node_name = "a", .zone = "x"};

static char *join_take(char *text_take, const char *separator, char *more_take)
{
	char *joined = mem_printf("%s%s%s", text_take, *text_take ? separator : "", more_take);

	free(text_take);
	free(more_take);
	return joined;
}

/* "2r@b zx,y nb *3" is 10.0.0.2, ready, on node b, hinted for zones x and y and node b, of weight 3. */
static void add_hints(struct model_endpoint *endpoint, const char *names,
	bool (*add)(struct model_endpoint *, const char *))
{
	for (; *names; names++) {
		if (*names != ',')
			assert_true(add(endpoint, (char[]){*names, '\0'}));
	}
}

static void add_endpoint(struct model_slice *slice, char *text)
{
	char *rest = text, *word = strsep(&rest, " "), addr[32];
	struct model_endpoint *endpoint;

	snprintf(addr, sizeof(addr), "%s%c", slice->family == ADDR_V6 ? "fd00::" : "10.0.0.", word[0]);
	sample_endpoint(slice, addr, word[1], NULL);
	endpoint = &slice->endpoints[slice->endpoint_count - 1];
	endpoint->node_name = mem_strdup(word[2] == '@' ? word + 3 : NULL);
	while ((word = strsep(&rest, " "))) {
		if (*word == 'z')
			add_hints(endpoint, word + 1, model_endpoint_add_zone_hint);
		else if (*word == 'n')
			add_hints(endpoint, word + 1, model_endpoint_add_node_hint);
		else
			endpoint->weight = (uint16_t)strtoul(word + 1, NULL, 10);
	}
}

/* endpoints: "1r@a; 2n@b" */
static void add_endpoints(struct model_slice *slice, const char *endpoints)
{
	char *text = mem_strdup(endpoints), *rest = text, *word;

	while ((word = strsep(&rest, ";"))) {
		while (*word == ' ')
			word++;
		if (*word)
			add_endpoint(slice, word);
	}
	free(text);
}

struct subject {
	struct model_builder *builder;
	struct model_service *service;
	struct model_slice *slice;
};

static struct subject subject_new(const char *endpoints)
{
	struct subject subject = {.builder = model_builder_new()};

	subject.service = sample_service(subject.builder, "d", "s", MODEL_CLUSTER_IP, "10.96.0.1");
	sample_service_port(subject.service, "", PROTO_TCP, 80, 0);
	subject.slice = sample_slice(subject.builder, subject.service, "s-1");
	sample_slice_port(subject.slice, "", PROTO_TCP, 8080);
	add_endpoints(subject.slice, endpoints);
	return subject;
}

static struct plan *subject_plan(struct subject *subject, const struct plan_facts *with)
{
	struct model_snapshot *snapshot = model_builder_finish(subject->builder);
	struct plan *plan = plan_build(snapshot, with);

	model_snapshot_unref(snapshot);
	return plan;
}

/* "1 2" by the last digit of the address. */
static char *backends_text(const struct plan_listener *listener)
{
	char *text = mem_strdup(""), addr[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < listener->backend_count; i++) {
		addr_format(&listener->backends[i].at.addr, addr);
		text = join_take(text, " ", mem_strdup(addr + strlen(addr) - 1));
	}
	return text;
}

/* "proxy 1 2 | #external drop": each listener's id beyond the key, action, backends. */
static char *plan_text(const struct plan *plan)
{
	static const char *const actions[PLAN_ACTIONS] = {"proxy", "reject", "drop"};
	char *text = mem_strdup("");

	for (size_t i = 0; i < plan->listener_count; i++) {
		const struct plan_listener *listener = plan->listeners[i];
		const char *suffix = listener->id + strlen(listener->key);
		char *backends = backends_text(listener);

		text = join_take(text, " | ",
			mem_printf("%s%s%s%s%s", suffix, *suffix ? " " : "", actions[listener->action],
				*backends ? " " : "", backends));
		free(backends);
	}
	return text;
}

static void assert_plan(const struct plan *plan, const char *expected, const char *what)
{
	char *text = plan_text(plan);

	if (strcmp(text, expected) != 0)
		fail_msg("%s: expected %s, got %s", what, expected, text);
	free(text);
}

/* ---- readiness and policies ---- */

enum { INTERNAL = 1, EXTERNAL = 2, NODE_PORT = 4 };

struct choice_case {
	const char *endpoints;
	int flags; /* which policies are Local, and whether there is a NodePort */
	const char *expected;
};

static void run_choice_cases(const struct choice_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct subject subject = subject_new(cases[i].endpoints);
		struct plan *plan;

		subject.service->internal_local = cases[i].flags & INTERNAL;
		subject.service->external_local = cases[i].flags & EXTERNAL;
		if (cases[i].flags & NODE_PORT) {
			subject.service->type = MODEL_NODE_PORT;
			subject.service->ports[0].node_port = 30080;
		}
		plan = subject_plan(&subject, &facts);
		assert_plan(plan, cases[i].expected, cases[i].endpoints);
		plan_free(plan);
	}
}

#define RUN_CHOICE_CASES(cases) run_choice_cases(cases, sizeof(cases) / sizeof(*(cases)))

static void ready_endpoints_come_before_serving_ones_that_terminate(void **state)
{
	static const struct choice_case cases[] = {
		{"", 0, "reject"},
		{"1r@a; 2r@b", 0, "proxy 1 2"},
		{"1n@a; 2r@b", 0, "proxy 2"},
		{"1t@a; 2r@b", 0, "proxy 2"},
		{"1t@a; 2t@b", 0, "proxy 1 2"},
		{"1t@a; 2n@b; 3g@b", 0, "proxy 1"},
		{"1n@a; 2g@b", 0, "reject"},
		{"1r; 2r", 0, "proxy 1 2"},
		{"1r@a *0; 2r@b *0", 0, "reject 1 2"},
		{"1r@a *0; 2r@b *9", 0, "proxy 1 2"},
	};

	(void)state;
	RUN_CHOICE_CASES(cases);
}

static void internal_policy_local_uses_this_nodes_endpoints(void **state)
{
	static const struct choice_case cases[] = {
		{"1r@a; 2r@b", INTERNAL, "proxy 1"},
		{"1r@b; 2r@c", INTERNAL, "drop"},
		{"1r; 2r@b", INTERNAL, "drop"},
		{"1t@a; 2r@b", INTERNAL, "proxy 1"},
		{"1t@a; 2r@a", INTERNAL, "proxy 2"},
		{"1n@a; 2r@b", INTERNAL, "drop"},
		{"", INTERNAL, "reject"},
		/* The external policy means nothing where nothing leads in from outside. */
		{"1r@a; 2r@b", EXTERNAL, "proxy 1 2"},
		{"1r@a; 2r@b", INTERNAL | EXTERNAL, "proxy 1"},
	};

	(void)state;
	RUN_CHOICE_CASES(cases);
}

static void each_policy_has_its_own_endpoints(void **state)
{
	static const struct choice_case cases[] = {
		{"1r@a; 2r@b", NODE_PORT, "proxy 1 2"},
		{"1r@a; 2r@b", NODE_PORT | EXTERNAL, "proxy 1 2 | #external proxy 1"},
		{"1r@b; 2r@c", NODE_PORT | EXTERNAL, "proxy 1 2 | #external drop"},
		{"1t@b; 2n@a", NODE_PORT | EXTERNAL, "proxy 1 | #external drop"},
		{"1n@b; 2n@a", NODE_PORT | EXTERNAL, "reject | #external reject"},
		{"", NODE_PORT | EXTERNAL, "reject | #external reject"},
		{"1t@a; 2r@b", NODE_PORT | EXTERNAL, "proxy 2 | #external proxy 1"},
		/* As many listeners as the policies ask for, also while the endpoints are the same. */
		{"1r@a; 2r@a", NODE_PORT | EXTERNAL, "proxy 1 2 | #external proxy 1 2"},
		{"1r@a; 2r@b", NODE_PORT | INTERNAL, "proxy 1 | #external proxy 1 2"},
		{"1r@b", NODE_PORT | INTERNAL, "drop | #external proxy 1"},
		{"1r@a; 2r@b", NODE_PORT | INTERNAL | EXTERNAL,
			"proxy 1 | #external proxy 1 | #host proxy 1 2"},
		{"1r@b", NODE_PORT | INTERNAL | EXTERNAL, "drop | #external drop | #host proxy 1"},
		{"1r@a *0; 2r@b", NODE_PORT | EXTERNAL, "proxy 1 2 | #external reject 1"},
	};

	(void)state;
	RUN_CHOICE_CASES(cases);
}

static void without_a_node_name_nothing_is_local(void **state)
{
	static const struct plan_facts unknown = {.node_name = NULL};
	struct subject subject = subject_new("1r@a; 2r");
	struct plan *plan;

	(void)state;
	subject.service->internal_local = true;
	plan = subject_plan(&subject, &unknown);
	assert_plan(plan, "drop", "no node name");
	plan_free(plan);
}

/* ---- hints ---- */

static void hints_count_only_if_all_ready_endpoints_have_them(void **state)
{
	static const struct choice_case cases[] = {
		{"1r@b zx; 2r@b zy", 0, "proxy 1"},
		{"1r@b zx,y; 2r@b zy; 3r@c zx", 0, "proxy 1 3"},
		{"1r@b zx; 2r@b", 0, "proxy 1 2"},
		{"1r@b zy; 2r@b zy", 0, "proxy 1 2"},
		/* What is not ready needs no hint, and does not help by one. */
		{"1r@b zx; 2n@b; 3r@b zy", 0, "proxy 1"},
		{"1n@b zx; 2r@b zy", 0, "proxy 2"},
		{"1t@b zx; 2t@b zy", 0, "proxy 1 2"},
		{"1r@a na; 2r@b nb", 0, "proxy 1"},
		{"1r@b na; 2r@a nb", 0, "proxy 1"},
		{"1r@a na; 2r@b", 0, "proxy 1 2"},
		{"1r@b nb; 2r@c nc", 0, "proxy 1 2"},
		/* Node hints before zone hints, and zone hints where no endpoint is for this node. */
		{"1r@a na zx; 2r@b nb zx; 3r@c nc zy", 0, "proxy 1"},
		{"1r@b nb zx; 2r@c nc zy", 0, "proxy 1"},
		{"1r@b nb zy; 2r@c zx", 0, "proxy 2"},
		/* A policy of Local looks at no hints. */
		{"1r@a zy; 2r@b zx", INTERNAL, "proxy 1"},
		{"1r@a zy; 2r@b zx", NODE_PORT | EXTERNAL, "proxy 2 | #external proxy 1"},
	};

	(void)state;
	RUN_CHOICE_CASES(cases);
}

static void the_zone_is_given_or_that_of_the_node(void **state)
{
	static const struct {
		const char *given, *of_node, *expected;
	} cases[] = {
		{NULL, NULL, "proxy 1 2"},
		{NULL, "x", "proxy 1"},
		{"y", "x", "proxy 2"},
		{"q", "x", "proxy 1 2"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct subject subject = subject_new("1r zx; 2r zy");
		struct plan_facts with = {.node_name = "a", .zone = cases[i].given};
		struct plan *plan;

		model_builder_take_node(subject.builder, model_node_new("a", cases[i].of_node));
		model_builder_take_node(subject.builder, model_node_new("b", "y"));
		plan = subject_plan(&subject, &with);
		assert_plan(plan, cases[i].expected, cases[i].given ? cases[i].given : "-");
		plan_free(plan);
	}
}

/* ---- reasons ---- */

static void what_is_not_used_has_a_reason(void **state)
{
	static const struct {
		const char *endpoints;
		int flags;
		const char *reason, *note;
	} cases[] = {
		{"1r@a; 2n@a", 0, "not ready", NULL},
		{"1r@a; 2t@a", 0, "terminating", NULL},
		{"1t@a; 2g@a", 0, "terminating", "no ready endpoint: terminating ones are used"},
		{"1r@a zx; 2r@a zy,z", 0, "hinted for zone y, z", NULL},
		{"1r@a na; 2r@b nb", 0, "hinted for node b", NULL},
		{"1r@a; 2r@b", INTERNAL, "not on this node (on b)", NULL},
		{"1r@a; 2r", INTERNAL, "not on this node (which one is not known)", NULL},
		{"2r@b", INTERNAL, "not on this node (on b)", "no endpoint on this node (1 elsewhere)"},
		{"2t@b", INTERNAL, "not on this node (on b)", "no endpoint on this node (1 elsewhere)"},
		{"2n@b", INTERNAL, "not ready", "no ready endpoint (1 not ready)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct subject subject = subject_new(cases[i].endpoints);
		const struct plan_listener *listener;
		struct plan *plan;

		subject.service->internal_local = cases[i].flags & INTERNAL;
		plan = subject_plan(&subject, &facts);
		listener = plan->listeners[0];
		assert_int_equal(listener->left_out_count, 1);
		assert_string_equal(listener->left_out[0].reason, cases[i].reason);
		assert_int_equal(listener->note != NULL, cases[i].note != NULL);
		if (cases[i].note)
			assert_string_equal(listener->note, cases[i].note);
		plan_free(plan);
	}
}

/* ---- portals ---- */

/* "10.96.0.1:80 C, 0.0.0.0:30080 N>" : kinds by letter, '>' arriving, '<' from this host, '!' checked. */
static char *portals_text(const struct plan_listener *listener)
{
	static const char kinds[] = "CNEL";
	static const char *const scopes[PLAN_SCOPES] = {"", ">", "<"};
	char *text = mem_strdup(""), at[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < listener->portal_count; i++) {
		const struct plan_portal *portal = &listener->portals[i];

		text = join_take(text, ", ",
			mem_printf("%s %c%s%s", addr_port_format(&portal->at, at), kinds[portal->kind],
				scopes[portal->scope], portal->check_source ? "!" : ""));
	}
	return text;
}

static void assert_portals(const struct plan *plan, const char *id, const char *expected)
{
	struct plan_listener *listener = plan_find(plan, id);
	char *text = listener ? portals_text(listener) : mem_strdup("no such listener");

	if (strcmp(text, expected) != 0)
		fail_msg("%s: expected %s, got %s", id, expected, text);
	free(text);
}

static void parse(struct addr *out, const char *text)
{
	assert_int_equal(addr_parse(out, text), 0);
}

/* A LoadBalancer in both families with everything that leads to it. */
static struct subject gate(void)
{
	struct subject subject = subject_new("1r@a; 2r@b");
	struct model_service *service = subject.service;
	struct model_slice *v6 = sample_slice(subject.builder, service, "s-2");

	v6->family = ADDR_V6;
	sample_slice_port(v6, "", PROTO_TCP, 8080);
	add_endpoints(v6, "3r@a; 4r@b");
	service->type = MODEL_LOAD_BALANCER;
	service->ports[0].node_port = 30080;
	parse(&service->cluster_ips[service->cluster_ip_count++], "fd00:96::1");
	parse(model_service_add_external_ip(service), "198.51.100.9");
	parse(model_service_add_external_ip(service), "198.51.100.7");
	parse(model_service_add_external_ip(service), "198.51.100.9");
	parse(model_service_add_external_ip(service), "203.0.113.7");
	parse(model_service_add_load_balancer_ip(service), "203.0.113.7");
	parse(model_service_add_load_balancer_ip(service), "2001:db8::7");
	assert_int_equal(addr_parse_prefix(model_service_add_source_range(service), "192.0.2.0/24"), 0);
	return subject;
}

static void a_listener_a_family_has_all_its_portals(void **state)
{
	struct subject subject = gate();
	struct plan *plan = subject_plan(&subject, &facts);

	(void)state;
	assert_plan(plan, "proxy 1 2 | #v6 proxy 3 4", "both families");
	assert_portals(plan, "d/s",
		"10.96.0.1:80 C, 0.0.0.0:30080 N, 198.51.100.7:80 E, 198.51.100.9:80 E, 203.0.113.7:80 L!");
	/* The ranges of one family say nothing of the other. */
	assert_portals(plan, "d/s#v6", "[fd00:96::1]:80 C, [::]:30080 N, [2001:db8::7]:80 L");
	assert_int_equal(plan_find(plan, "d/s")->source_range_count, 1);
	assert_int_equal(plan_find(plan, "d/s#v6")->source_range_count, 0);
	assert_int_equal(plan->skipped_count, 0);
	plan_free(plan);
}

static void external_portals_are_split_between_arriving_and_the_nodes_own(void **state)
{
	struct subject subject = gate();
	struct plan *plan;

	(void)state;
	subject.service->external_local = true;
	plan = subject_plan(&subject, &facts);
	assert_plan(plan, "proxy 1 2 | #external proxy 1 | #v6 proxy 3 4 | #v6#external proxy 3",
		"external Local");
	assert_portals(plan, "d/s",
		"10.96.0.1:80 C, 0.0.0.0:30080 N<, 198.51.100.7:80 E<, 198.51.100.9:80 E<, 203.0.113.7:80 "
		"L<!");
	assert_portals(plan, "d/s#external",
		"0.0.0.0:30080 N>, 198.51.100.7:80 E>, 198.51.100.9:80 E>, 203.0.113.7:80 L>!");
	assert_portals(plan, "d/s#v6#external", "[::]:30080 N>, [2001:db8::7]:80 L>");
	assert_int_equal(plan_find(plan, "d/s#external")->source_range_count, 1);
	plan_free(plan);
	subject = gate();
	subject.service->external_local = subject.service->internal_local = true;
	plan = subject_plan(&subject, &facts);
	assert_portals(plan, "d/s", "10.96.0.1:80 C");
	assert_portals(plan, "d/s#host",
		"0.0.0.0:30080 N<, 198.51.100.7:80 E<, 198.51.100.9:80 E<, 203.0.113.7:80 L<!");
	plan_free(plan);
	subject = gate();
	subject.service->internal_local = true;
	plan = subject_plan(&subject, &facts);
	assert_portals(plan, "d/s", "10.96.0.1:80 C");
	assert_portals(plan, "d/s#v6#external", "[::]:30080 N, [2001:db8::7]:80 L");
	plan_free(plan);
}

static void source_ranges_hold_for_node_ports_if_asked(void **state)
{
	static const struct plan_facts strict = {.node_name = "a", .source_ranges_on_node_ports = true};
	struct subject subject = gate();
	struct plan *plan;

	(void)state;
	subject.service->external_ip_count = 0;
	plan = subject_plan(&subject, &strict);
	assert_portals(plan, "d/s", "10.96.0.1:80 C, 0.0.0.0:30080 N!, 203.0.113.7:80 L!");
	plan_free(plan);
}

static void addresses_of_a_family_the_service_lacks_are_named(void **state)
{
	struct subject subject = gate();
	struct plan *plan;

	(void)state;
	subject.service->cluster_ip_count = 1;
	plan = subject_plan(&subject, &facts);
	assert_int_equal(plan->listener_count, 1);
	assert_int_equal(plan->skipped_count, 1);
	assert_string_equal(
		plan->skipped[0].reason, "loadBalancer 2001:db8::7: the Service has no IPv6 clusterIP");
	assert_int_equal(plan->listeners[0]->left_out_count, 2);
	assert_string_equal(plan->listeners[0]->left_out[0].reason, "the Service has no IPv6 clusterIP");
	plan_free(plan);
}

static void one_number_serves_tcp_and_udp(void **state)
{
	struct subject subject = subject_new("1r@a");
	struct plan *plan;

	(void)state;
	subject.service->type = MODEL_NODE_PORT;
	subject.service->ports[0].node_port = 30080;
	sample_service_port(subject.service, "u", PROTO_UDP, 80, 30080);
	sample_slice_port(subject.slice, "u", PROTO_UDP, 8081);
	plan = subject_plan(&subject, &facts);
	assert_portals(plan, "d/s", "10.96.0.1:80 C, 0.0.0.0:30080 N");
	assert_portals(plan, "d/s:u", "10.96.0.1:80 C, 0.0.0.0:30080 N");
	assert_int_equal(plan_find(plan, "d/s:u")->proto, PROTO_UDP);
	assert_int_equal(plan->skipped_count, 0);
	plan_free(plan);
}

/* An external address that is another's clusterIP would take its traffic away. */
static void a_cluster_ip_comes_before_an_external_address(void **state)
{
	struct subject subject = subject_new("1r@a");
	struct model_service *thief =
		sample_service(subject.builder, "a", "thief", MODEL_CLUSTER_IP, "10.96.0.66");
	struct plan *plan;

	(void)state;
	sample_service_port(thief, "", PROTO_TCP, 80, 0);
	parse(model_service_add_external_ip(thief), "10.96.0.1");
	parse(model_service_add_external_ip(thief), "10.96.0.2");
	plan = subject_plan(&subject, &facts);
	assert_portals(plan, "d/s", "10.96.0.1:80 C");
	assert_portals(plan, "a/thief", "10.96.0.66:80 C, 10.96.0.2:80 E");
	assert_non_null(
		strstr(plan_find(plan, "a/thief")->note, "externalIP 10.96.0.1:80/TCP is taken by d/s"));
	plan_free(plan);
}

static void halves_of_an_external_address_conflict_with_another_services(void **state)
{
	struct subject subject = gate();
	struct model_service *rival =
		sample_service(subject.builder, "e", "rival", MODEL_CLUSTER_IP, "10.96.0.66");
	struct plan *plan;

	(void)state;
	subject.service->external_local = true;
	sample_service_port(rival, "", PROTO_TCP, 80, 0);
	parse(model_service_add_external_ip(rival), "198.51.100.7");
	plan = subject_plan(&subject, &facts);
	assert_portals(plan, "e/rival", "10.96.0.66:80 C");
	plan_free(plan);
}

/* ---- options ---- */

static void what_a_service_leaves_open_is_as_the_daemon_says(void **state)
{
	struct plan_facts with = facts;
	struct subject subject = subject_new("1r@a");
	const struct service_options *options;
	struct plan *plan;

	(void)state;
	service_options_init(&with.defaults);
	with.defaults.scheduler = SCHEDULER_SH;
	with.defaults.udp_idle_ms = 250;
	with.defaults.udp_first_ms = 10000;
	sample_service_port(subject.service, "u", PROTO_UDP, 80, 0);
	subject.service->options.udp_first_ms = 20000;
	plan = subject_plan(&subject, &with);
	options = &plan_find(plan, "d/s:u")->options;
	assert_int_equal(options->scheduler, SCHEDULER_SH);
	assert_int_equal(options->udp_idle_ms, 250);
	assert_int_equal(options->udp_first_ms, 20000);
	/* A TCP listener must not change with what is for UDP. */
	assert_int_equal(plan_find(plan, "d/s")->options.udp_idle_ms, 0);
	plan_free(plan);
	subject = subject_new("1r@a");
	subject.service->options.scheduler_set = true;
	plan = subject_plan(&subject, &with);
	assert_int_equal(plan_find(plan, "d/s")->options.scheduler, SCHEDULER_RR);
	plan_free(plan);
}

/* The daemon's own settings would stand at every listener and tell nothing. */
static void only_what_is_not_usual_is_printed(void **state)
{
	struct plan_facts with = facts;
	struct subject subject = subject_new("1r@a");
	char *text = NULL;
	struct plan *plan;
	size_t size;
	FILE *out;

	(void)state;
	service_options_init(&with.defaults);
	with.defaults.scheduler = SCHEDULER_SH;
	with.defaults.udp_idle_ms = 250;
	sample_service_port(subject.service, "u", PROTO_UDP, 80, 0);
	subject.service->options.udp_first_ms = 20000;
	plan = subject_plan(&subject, &with);
	out = open_memstream(&text, &size);
	assert_int_equal(plan_print(plan, PLAN_YAML, out), 0);
	fclose(out);
	assert_null(strstr(text, "scheduler"));
	assert_null(strstr(text, "udpTimeoutMs"));
	assert_non_null(strstr(text, "udpFirstTimeoutMs: 20000"));
	free(text);
	plan_free(plan);
}

static void weights_come_with_the_backends(void **state)
{
	struct subject subject = subject_new("1r@a *3; 2r@b *0; 3r");
	struct plan *plan = subject_plan(&subject, &facts);
	const struct plan_backend *backends = plan->listeners[0]->backends;

	(void)state;
	assert_int_equal(backends[0].weight, 3);
	assert_int_equal(backends[1].weight, 0);
	assert_int_equal(backends[2].weight, 1);
	plan_free(plan);
}

/* ---- health checks ---- */

static void health_checks_count_ready_endpoints_on_this_node(void **state)
{
	static const struct {
		const char *endpoints;
		size_t local;
	} cases[] = {{"", 0}, {"1r@a; 2r@a; 3r@b", 2}, {"1t@a; 2n@a; 3r@b", 0}, {"1r@a; 1r@a", 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct subject subject = subject_new(cases[i].endpoints);
		struct plan *plan;

		subject.service->type = MODEL_LOAD_BALANCER;
		subject.service->external_local = true;
		subject.service->health_check_node_port = 30100;
		plan = subject_plan(&subject, &facts);
		assert_int_equal(plan->health_check_count, 1);
		assert_int_equal(plan->health_checks[0].port, 30100);
		assert_string_equal(plan->health_checks[0].namespace, "d");
		assert_string_equal(plan->health_checks[0].name, "s");
		assert_int_equal(plan->health_checks[0].local_endpoints, cases[i].local);
		plan_free(plan);
	}
}

static void only_balancers_with_local_policy_have_health_checks(void **state)
{
	static const struct {
		enum model_service_type type;
		bool local, out_of_scope;
	} cases[] = {{MODEL_NODE_PORT, true, false}, {MODEL_LOAD_BALANCER, false, false},
		{MODEL_LOAD_BALANCER, true, true}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct subject subject = subject_new("1r@a");
		struct plan *plan;

		subject.service->type = cases[i].type;
		subject.service->external_local = cases[i].local;
		subject.service->health_check_node_port = 30100;
		if (cases[i].out_of_scope)
			subject.service->out_of_scope = mem_strdup("not ours");
		plan = subject_plan(&subject, &facts);
		assert_int_equal(plan->health_check_count, 0);
		assert_int_equal(plan->listener_count, cases[i].out_of_scope ? 0 : 1);
		plan_free(plan);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ready_endpoints_come_before_serving_ones_that_terminate),
		cmocka_unit_test(internal_policy_local_uses_this_nodes_endpoints),
		cmocka_unit_test(each_policy_has_its_own_endpoints),
		cmocka_unit_test(without_a_node_name_nothing_is_local),
		cmocka_unit_test(hints_count_only_if_all_ready_endpoints_have_them),
		cmocka_unit_test(the_zone_is_given_or_that_of_the_node),
		cmocka_unit_test(what_is_not_used_has_a_reason),
		cmocka_unit_test(a_listener_a_family_has_all_its_portals),
		cmocka_unit_test(external_portals_are_split_between_arriving_and_the_nodes_own),
		cmocka_unit_test(source_ranges_hold_for_node_ports_if_asked),
		cmocka_unit_test(addresses_of_a_family_the_service_lacks_are_named),
		cmocka_unit_test(one_number_serves_tcp_and_udp),
		cmocka_unit_test(a_cluster_ip_comes_before_an_external_address),
		cmocka_unit_test(halves_of_an_external_address_conflict_with_another_services),
		cmocka_unit_test(what_a_service_leaves_open_is_as_the_daemon_says),
		cmocka_unit_test(only_what_is_not_usual_is_printed),
		cmocka_unit_test(weights_come_with_the_backends),
		cmocka_unit_test(health_checks_count_ready_endpoints_on_this_node),
		cmocka_unit_test(only_balancers_with_local_policy_have_health_checks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
