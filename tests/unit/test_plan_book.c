#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan_sample.h"
#include "portald/mem.h"
#include "portald/plan_book.h"

#define SERVICES 12
#define STEPS 3000

static const struct plan_facts facts = {.node_name = "node-1"};

/* Small numbers, so that every step meets what another one has left. */
struct dice {
	uint32_t state;
};

static uint32_t roll(struct dice *dice, uint32_t sides)
{
	dice->state = dice->state * 1664525u + 1013904223u;
	return (dice->state >> 8) % sides;
}

/* What the supervisor would know: the listeners as text, by id. */
struct mirror {
	char *ids[8 * SERVICES];
	char *texts[8 * SERVICES];
	size_t count;
	unsigned told[3];
};

static char *listener_text(const struct plan_listener *listener)
{
	char *text = mem_printf("%s %d", listener->key, (int)listener->action);

	for (size_t i = 0; i < listener->portal_count; i++) {
		char at[ADDR_TEXT_BYTES], *longer;

		longer = mem_printf("%s [%d %d %s]", text, (int)listener->portals[i].kind,
			(int)listener->portals[i].scope, addr_port_format(&listener->portals[i].at, at));
		free(text);
		text = longer;
	}
	for (size_t i = 0; i < listener->backend_count; i++) {
		char at[ADDR_TEXT_BYTES],
			*longer = mem_printf("%s %s", text, addr_port_format(&listener->backends[i].at, at));

		free(text);
		text = longer;
	}
	return text;
}

static void reflect(void *context, enum plan_change kind, const struct plan_listener *listener)
{
	struct mirror *mirror = context;
	size_t at = 0;

	mirror->told[kind]++;
	while (at < mirror->count && strcmp(mirror->ids[at], listener->id) != 0)
		at++;
	if (kind == PLAN_ADDED) {
		assert_int_equal(at, mirror->count);
		assert_true(mirror->count < sizeof(mirror->ids) / sizeof(mirror->ids[0]));
		mirror->ids[mirror->count++] = mem_strdup(listener->id);
		mirror->texts[at] = listener_text(listener);
		return;
	}
	assert_true(at < mirror->count);
	free(mirror->texts[at]);
	mirror->texts[at] = kind == PLAN_CHANGED ? listener_text(listener) : NULL;
	if (kind == PLAN_CHANGED)
		return;
	free(mirror->ids[at]);
	mirror->count--;
	mirror->ids[at] = mirror->ids[mirror->count];
	mirror->texts[at] = mirror->texts[mirror->count];
}

static void mirror_free(struct mirror *mirror)
{
	for (size_t i = 0; i < mirror->count; i++) {
		free(mirror->ids[i]);
		free(mirror->texts[i]);
	}
}

static char *plan_text(const struct plan *plan)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	assert_int_equal(plan_print(plan, PLAN_YAML, out), 0);
	fclose(out);
	return text;
}

static void assert_same_plan(struct plan_book *book, const struct mirror *mirror, const struct plan *expected)
{
	char *told = plan_text(plan_book_view(book)), *whole = plan_text(expected);

	assert_string_equal(told, whole);
	free(told);
	free(whole);
	assert_int_equal(mirror->count, expected->listener_count);
	for (size_t i = 0; i < mirror->count; i++) {
		const struct plan_listener *listener = plan_find(expected, mirror->ids[i]);
		char *text;

		assert_non_null(listener);
		text = listener_text(listener);
		assert_string_equal(mirror->texts[i], text);
		free(text);
	}
}

/* A Service whose clusterIP, NodePort and external IP are likely another one's too. */
static struct model_service *random_service(struct dice *dice, struct model_builder *builder, unsigned number)
{
	char name[16], cluster_ip[32];
	struct model_service *service;

	snprintf(name, sizeof(name), "s%u", number);
	snprintf(cluster_ip, sizeof(cluster_ip), "10.96.0.%u", 1 + roll(dice, SERVICES));
	service = sample_service(
		builder, "default", name, roll(dice, 2) ? MODEL_NODE_PORT : MODEL_LOAD_BALANCER, cluster_ip);
	service->external_local = roll(dice, 3) == 0;
	service->health_check_node_port = service->external_local ? (uint16_t)(31000 + number) : 0;
	sample_service_port(service, "http", roll(dice, 4) ? PROTO_TCP : PROTO_UDP, 80,
		(uint16_t)(30080 + roll(dice, 4)));
	if (roll(dice, 2))
		addr_parse(model_service_add_external_ip(service), roll(dice, 2) ? "192.0.2.1" : cluster_ip);
	return service;
}

static void random_endpoints(
	struct dice *dice, struct model_builder *builder, const struct model_service *service)
{
	struct model_slice *slice = sample_slice(builder, service, "slice");

	sample_slice_port(slice, "http", service->ports[0].proto, 8080);
	for (unsigned i = roll(dice, 4); i > 0; i--)
		sample_endpoint(
			slice, roll(dice, 2) ? "10.244.0.1" : "10.244.0.2", "rnt"[roll(dice, 3)], NULL);
}

static struct model_snapshot *next_snapshot(
	struct dice *dice, struct model_snapshot *last, unsigned changed, bool only_endpoints)
{
	struct model_builder *builder = model_builder_new();
	char name[16];

	snprintf(name, sizeof(name), "s%u", changed);
	for (size_t i = 0; i < last->service_count; i++) {
		struct model_service *service = last->services[i];
		size_t first, count = model_slices_of(last, service, &first);
		bool same = strcmp(service->name, name) != 0;

		if (!same && !only_endpoints)
			continue;
		model_builder_take_service(builder, model_service_ref(service));
		if (!same)
			random_endpoints(dice, builder, service);
		for (size_t k = first; same && k < first + count; k++)
			model_builder_take_slice(builder, model_slice_ref(last->slices[k]));
	}
	if (!only_endpoints && roll(dice, 4) > 0)
		random_endpoints(dice, builder, random_service(dice, builder, changed));
	model_snapshot_unref(last);
	return model_builder_finish(builder);
}

static void put_one(struct plan_book *book, const struct model_snapshot *snapshot, unsigned number)
{
	char name[16];

	snprintf(name, sizeof(name), "s%u", number);
	for (size_t i = 0; i < snapshot->service_count; i++) {
		const struct model_service *service = snapshot->services[i];
		size_t first, count = model_slices_of(snapshot, service, &first);

		if (strcmp(service->name, name) != 0)
			continue;
		plan_book_put(book, service, snapshot->slices + first, count, &facts);
		return;
	}
	plan_book_remove(book, "default", name);
}

static void test_a_book_says_what_a_whole_plan_would(void **state)
{
	struct model_snapshot *snapshot = model_builder_finish(model_builder_new());
	struct plan_book *book = plan_book_new(&facts.defaults);
	struct mirror mirror = {.count = 0};
	struct dice dice = {.state = 1};

	(void)state;
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned number = roll(&dice, SERVICES);
		struct plan *expected;

		snapshot = next_snapshot(&dice, snapshot, number, roll(&dice, 2) == 0);
		put_one(book, snapshot, number);
		/* Sometimes several changes are settled together. */
		if (roll(&dice, 3) == 0)
			continue;
		plan_book_settle(book, reflect, &mirror);
		expected = plan_build(snapshot, &facts);
		assert_same_plan(book, &mirror, expected);
		plan_free(expected);
	}
	/* The dice have thrown what this is about. */
	assert_true(mirror.told[PLAN_ADDED] > 100 && mirror.told[PLAN_CHANGED] > 100 &&
		    mirror.told[PLAN_REMOVED] > 100);
	mirror_free(&mirror);
	plan_book_free(book);
	model_snapshot_unref(snapshot);
}

static void test_what_says_the_same_is_no_change(void **state)
{
	struct model_snapshot *snapshot = sample_snapshot_full();
	struct plan_book *book = plan_book_new(&facts.defaults);
	struct mirror mirror = {.count = 0};

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < snapshot->service_count; i++) {
			size_t first, count = model_slices_of(snapshot, snapshot->services[i], &first);

			plan_book_put(book, snapshot->services[i], snapshot->slices + first, count, &facts);
		}
		plan_book_settle(book, reflect, &mirror);
		assert_true(plan_book_health_checks_changed(book) == (round == 0));
	}
	assert_int_equal(mirror.told[PLAN_ADDED], mirror.count);
	assert_int_equal(mirror.told[PLAN_CHANGED] + mirror.told[PLAN_REMOVED], 0);
	mirror_free(&mirror);
	plan_book_free(book);
	model_snapshot_unref(snapshot);
}

static void test_a_lost_nodeport_comes_when_its_owner_goes(void **state)
{
	struct model_builder *builder = model_builder_new();
	struct model_service *a = sample_service(builder, "default", "a", MODEL_NODE_PORT, "10.96.0.1");
	struct model_service *b = sample_service(builder, "default", "b", MODEL_NODE_PORT, "10.96.0.2");
	struct plan_book *book = plan_book_new(&facts.defaults);
	struct mirror mirror = {.count = 0};
	struct model_snapshot *snapshot;

	(void)state;
	sample_service_port(a, "http", PROTO_TCP, 80, 30080);
	sample_service_port(b, "http", PROTO_TCP, 80, 30080);
	snapshot = model_builder_finish(builder);
	plan_book_put(book, b, NULL, 0, &facts);
	plan_book_put(book, a, NULL, 0, &facts);
	plan_book_settle(book, reflect, &mirror);
	assert_int_equal(plan_find(plan_book_view(book), "default/b:http")->portal_count, 1);
	assert_string_equal(plan_find(plan_book_view(book), "default/b:http")->note,
		"no endpoints; nodePort 30080/TCP is taken by default/a:http");
	plan_book_remove(book, "default", "a");
	plan_book_settle(book, reflect, &mirror);
	assert_int_equal(plan_find(plan_book_view(book), "default/b:http")->portal_count, 2);
	assert_int_equal(mirror.told[PLAN_CHANGED], 1);
	mirror_free(&mirror);
	plan_book_free(book);
	model_snapshot_unref(snapshot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_book_says_what_a_whole_plan_would),
		cmocka_unit_test(test_what_says_the_same_is_no_change),
		cmocka_unit_test(test_a_lost_nodeport_comes_when_its_owner_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
