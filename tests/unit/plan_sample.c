#include "plan_sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"

struct model_service *sample_service(struct model_builder *builder, const char *namespace, const char *name,
	enum model_service_type type, const char *cluster_ip)
{
	struct model_service *service = model_service_new(namespace, name);

	service->type = type;
	service->headless = cluster_ip && strcmp(cluster_ip, "None") == 0;
	if (cluster_ip && !service->headless)
		assert_int_equal(
			addr_parse(&service->cluster_ips[service->cluster_ip_count++], cluster_ip), 0);
	model_builder_take_service(builder, service);
	return service;
}

void sample_service_port(
	struct model_service *service, const char *name, enum proto proto, uint16_t port, uint16_t node_port)
{
	struct model_service_port *entry = model_service_add_port(service);

	free(entry->name);
	entry->name = mem_strdup(name);
	entry->proto = proto;
	entry->port = port;
	entry->node_port = node_port;
}

struct model_slice *sample_slice(
	struct model_builder *builder, const struct model_service *service, const char *name)
{
	struct model_slice *slice = model_slice_new(service->namespace, service->name, name);

	model_builder_take_slice(builder, slice);
	return slice;
}

void sample_slice_port(struct model_slice *slice, const char *name, enum proto proto, uint16_t port)
{
	struct model_slice_port *entry = model_slice_add_port(slice);

	free(entry->name);
	entry->name = mem_strdup(name);
	entry->proto = proto;
	entry->port = port;
}

void sample_endpoint(struct model_slice *slice, const char *addr, char state, const char *target)
{
	struct model_endpoint *endpoint = model_slice_add_endpoint(slice);

	assert_int_equal(addr_parse(&endpoint->addr, addr), 0);
	endpoint->ready = state == 'r';
	endpoint->serving = state == 'r' || state == 't';
	endpoint->terminating = state == 't' || state == 'g';
	endpoint->target = mem_strdup(target);
}

static void add_shop(struct model_builder *builder, bool full)
{
	struct model_service *web = sample_service(builder, "shop", "web", MODEL_NODE_PORT, "10.96.0.10");
	struct model_slice *a, *b;

	sample_service_port(web, "http", PROTO_TCP, 80, 30080);
	sample_service_port(web, "metrics", PROTO_TCP, 9100, 30910);
	if (full) {
		sample_service_port(web, "dns", PROTO_UDP, 9100, 30910);
		sample_service_port(web, "sigtran", PROTO_SCTP, 2905, 0);
	}
	a = sample_slice(builder, web, "web-a");
	sample_slice_port(a, "http", PROTO_TCP, 8080);
	sample_slice_port(a, "metrics", PROTO_TCP, 9100);
	sample_slice_port(a, "dns", PROTO_UDP, 53);
	sample_endpoint(a, "10.244.1.6", 'r', "Pod shop/web-2");
	sample_endpoint(a, "10.244.1.5", 'r', "Pod shop/web-1");
	sample_endpoint(a, "10.244.1.7", 'n', "Pod shop/web-3");
	sample_endpoint(a, "10.244.1.8", 't', "Pod shop/web-4");
	b = sample_slice(builder, web, "web-b");
	sample_slice_port(b, "http", PROTO_TCP, 8080);
	sample_endpoint(b, "10.244.1.5", 'r', "Pod shop/web-1");
	sample_endpoint(b, "10.244.1.6", 'n', "Pod shop/web-2");
	sample_endpoint(b, "10.244.2.5", 'r', NULL);
}

static void add_database(struct model_builder *builder, bool full)
{
	struct model_service *db = sample_service(builder, "shop", "db", MODEL_CLUSTER_IP, "10.96.0.11");
	struct model_slice *slice;

	if (full)
		assert_int_equal(addr_parse(&db->cluster_ips[db->cluster_ip_count++], "fd00:96::11"), 0);
	sample_service_port(db, "", PROTO_TCP, 5432, 0);
	slice = sample_slice(builder, db, "db");
	sample_slice_port(slice, "", PROTO_TCP, 5432);
	sample_endpoint(slice, "10.244.3.1", 'n', "Pod shop/db-0");
	slice = sample_slice(builder, db, "db-v6");
	slice->family = ADDR_V6;
	sample_slice_port(slice, "", PROTO_TCP, 5432);
	sample_endpoint(slice, "fd00:244::1", 'r', "Pod shop/db-0");
}

static void parse(struct addr *out, const char *text)
{
	assert_int_equal(addr_parse(out, text), 0);
}

/* Endpoints here and elsewhere, everything outside, and every option. */
static void add_gate(struct model_builder *builder)
{
	struct model_service *gate =
		sample_service(builder, "shop", "gate", MODEL_LOAD_BALANCER, "10.96.0.13");
	struct model_slice *slice;

	sample_service_port(gate, "", PROTO_TCP, 443, 30443);
	parse(model_service_add_external_ip(gate), "198.51.100.7");
	parse(model_service_add_external_ip(gate), "2001:db8::7");
	parse(model_service_add_load_balancer_ip(gate), "203.0.113.7");
	assert_int_equal(addr_parse_prefix(model_service_add_source_range(gate), "198.51.100.0/24"), 0);
	gate->external_local = true;
	gate->health_check_node_port = 30100;
	gate->options = (struct service_options){
		SCHEDULER_LC, true, 10800, 2, 100, 200, 300, 400, 500, SERVICE_REMOVAL_DRAIN, 600, 700, 800};
	slice = sample_slice(builder, gate, "gate");
	sample_slice_port(slice, "", PROTO_TCP, 8443);
	sample_endpoint(slice, "10.244.1.9", 'r', "Pod shop/gate-1");
	slice->endpoints[0].node_name = mem_strdup("node-1");
	slice->endpoints[0].weight = 3;
	sample_endpoint(slice, "10.244.2.9", 'r', "Pod shop/gate-2");
	slice->endpoints[1].node_name = mem_strdup("node-2");
}

static void add_what_opens_nothing(struct model_builder *builder, bool full)
{
	struct model_service *service;

	service = sample_service(builder, "shop", "mail", MODEL_EXTERNAL_NAME, NULL);
	sample_service_port(service, "", PROTO_TCP, 25, 0);
	service = sample_service(builder, "shop", "peers", MODEL_CLUSTER_IP, "None");
	sample_service_port(service, "", PROTO_TCP, 7000, 0);
	if (full) {
		service = sample_service(builder, "shop", "six", MODEL_CLUSTER_IP, "fd00:96::12");
		sample_service_port(service, "", PROTO_TCP, 80, 0);
	}
	service = sample_service(builder, "shop", "theirs", MODEL_CLUSTER_IP, "10.96.0.30");
	sample_service_port(service, "", PROTO_TCP, 80, 0);
	service->out_of_scope = mem_strdup("label service.kubernetes.io/service-proxy-name=other: not ours");
}

static void add_rivals(struct model_builder *builder)
{
	struct model_service *service;

	service = sample_service(builder, "shop-old", "web", MODEL_LOAD_BALANCER, "10.96.0.20");
	sample_service_port(service, "http", PROTO_TCP, 80, 30080);
	service->no_endpoints_reason = mem_strdup("selector app=old-web meets no Pod");
	service = sample_service(builder, "tools", "debug", MODEL_CLUSTER_IP, "10.96.0.10");
	sample_service_port(service, "http", PROTO_TCP, 80, 0);
}

static struct model_snapshot *make_snapshot(bool full)
{
	struct model_builder *builder = model_builder_new();

	add_shop(builder, full);
	add_database(builder, full);
	if (full)
		add_gate(builder);
	add_what_opens_nothing(builder, full);
	add_rivals(builder);
	return model_builder_finish(builder);
}

struct model_snapshot *sample_snapshot(void)
{
	return make_snapshot(false);
}

struct model_snapshot *sample_snapshot_full(void)
{
	return make_snapshot(true);
}

static char *golden_path(const char *name)
{
	const char *top = getenv("srcdir");

	return mem_printf("%s/tests/unit/golden/%s", top ? top : ".", name);
}

void assert_golden(const char *name, const char *text)
{
	char *path = golden_path(name), *expected = mem_calloc(1, 65536);
	bool update = getenv("PORTALD_UPDATE_GOLDEN") != NULL;
	FILE *file = fopen(path, update ? "we" : "re");

	if (!file)
		fail_msg("cannot open %s", path);
	if (update)
		fputs(text, file);
	else if (fread(expected, 1, 65535, file) == 0 || strcmp(expected, text) != 0)
		fail_msg("%s differs; now it is:\n%s\n(PORTALD_UPDATE_GOLDEN=1 rewrites it)", path, text);
	fclose(file);
	free(expected);
	free(path);
}
