/* The decoder of the API server's answers and the store: bounds, memory, what is shared and what changed.
 * What a watch asks and when is in tests/replay. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "portald/watch.h"
#include "source/api_stream.h"

/* ---- the stream ---- */

struct seen {
	char *text; /* each document, in one line */
	size_t count;
	int answer;
};

static void add(char **text, const char *more)
{
	char *longer = mem_printf("%s%s", *text, more);

	free(*text);
	*text = longer;
}

static void add_node(char **text, const struct doc_node *node)
{
	if (node->kind == DOC_SEQUENCE) {
		add(text, "[");
		for (size_t i = 0; i < node->count; i++) {
			add(text, i ? " " : "");
			add_node(text, node->items[i]);
		}
		add(text, "]");
	} else if (node->kind == DOC_MAP) {
		add(text, "{");
		for (size_t i = 0; i < node->count; i++) {
			add(text, i ? " " : "");
			add(text, node->pairs[i].key);
			add(text, ":");
			add_node(text, node->pairs[i].value);
		}
		add(text, "}");
	} else {
		add(text, node->text);
	}
}

static int see(void *context, const struct doc_node *root, bool item)
{
	struct seen *seen = context;

	add(&seen->text, item ? "item " : "whole ");
	add_node(&seen->text, root);
	add(&seen->text, "\n");
	seen->count++;
	return seen->answer;
}

static const struct api_filter part_fields[] = {{"a", NULL, false}, {"note/*", NULL, false}, {0}};
static const struct api_filter filter[] = {
	{"kind", NULL, false}, {"part", part_fields, false}, {"items", part_fields, true}, {0}};

/* Feeds text in pieces; returns the result of feeding, or of ending. */
static int stream(struct seen *seen, const char *text, size_t piece)
{
	struct api_stream *parser = api_stream_new(filter, see, seen);
	size_t length = strlen(text), at = 0;
	int rc = 0;

	seen->text = mem_strdup("");
	seen->count = 0;
	while (at < length && rc == 0) {
		size_t count = length - at < piece ? length - at : piece;

		rc = api_stream_feed(parser, text + at, count);
		at += count;
	}
	if (rc == 0)
		rc = api_stream_end(parser);
	api_stream_free(parser);
	return rc;
}

static void expect_stream(const char *text, int rc, const char *wanted)
{
	for (size_t piece = 1; piece < 40; piece += piece < 8 ? 1 : 15) {
		struct seen seen = {0};

		assert_int_equal(stream(&seen, text, piece), rc);
		assert_string_equal(seen.text, wanted);
		free(seen.text);
	}
}

static void only_what_the_filter_names_is_kept(void **state)
{
	(void)state;
	expect_stream("{\"kind\":\"x\",\"part\":{\"b\":{\"a\":[1,{}]},\"a\":[1,{\"b\":null}],\"note/1\":true,"
		      "\"note\":2},\"rest\":[{\"kind\":[[]]}]}",
		0, "whole {kind:x part:{a:[1 {b:null}] note/1:true}}\n");
}

static void list_items_are_documents_of_their_own(void **state)
{
	(void)state;
	expect_stream(
		"{\"items\":[{\"a\":1,\"b\":2},{\"b\":[]},{\"a\":{\"items\":[{\"z\":1}]}}],\"kind\":\"L\"}",
		0, "item {a:1}\nitem {}\nitem {a:{items:[{z:1}]}}\nwhole {items:[] kind:L}\n");
	expect_stream("{\"items\":null}", 0, "whole {items:null}\n");
	expect_stream("{\"items\":[7]}", 0, "whole {items:[7]}\n");
	expect_stream("{\"items\":{\"a\":1,\"b\":2}}", 0, "whole {items:{a:1}}\n");
}

static void values_follow_one_another(void **state)
{
	(void)state;
	expect_stream("{\"kind\":1}\n{\"kind\":2,\"x\":0}\n\n[{\"kind\":3,\"x\":0}] \"y\"{}", 0,
		"whole {kind:1}\nwhole {kind:2}\nwhole [{kind:3}]\nwhole y\nwhole {}\n");
}

static void what_is_not_json_is_refused(void **state)
{
	(void)state;
	expect_stream("{\"kind\":1}{\"kind\"}", -EBADMSG, "whole {kind:1}\n");
	expect_stream("{\"kind\":1}}", -EBADMSG, "whole {kind:1}\n");
	expect_stream("{\"x\":[}", -EBADMSG, "");
	expect_stream("{\"kind\":\"\xff\"}", -EBADMSG, "");
}

static void an_end_within_a_value_is_noticed(void **state)
{
	(void)state;
	expect_stream("{\"kind\":1", -EBADMSG, "");
	expect_stream("{\"x\":[1", -EBADMSG, "");
	expect_stream("{\"items\":[{\"a\":1}]", -EBADMSG, "item {a:1}\n");
}

static void the_receiver_ends_a_stream(void **state)
{
	struct seen seen = {.answer = -ECANCELED};

	(void)state;
	assert_int_equal(stream(&seen, "{\"kind\":1}{\"kind\":2}", 100), -ECANCELED);
	assert_int_equal(seen.count, 1);
	free(seen.text);
}

static void depth_is_bounded_also_in_what_is_passed_over(void **state)
{
	static const char *const heads[] = {"{\"kind\":", "{\"x\":", ""};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (int extra = 0; extra < 2; extra++) {
			size_t depth = API_MAX_DEPTH - (*heads[i] != '\0') + (size_t)extra;
			char *open = mem_calloc(depth + 1, 1), *close = mem_calloc(depth + 1, 1), *text;
			struct seen seen = {0};

			memset(open, '[', depth);
			memset(close, ']', depth);
			text = mem_printf("%s%s%s%s", heads[i], open, close, *heads[i] ? "}" : "");
			assert_int_equal(stream(&seen, text, 64), extra ? -EBADMSG : 0);
			free(seen.text);
			free(text);
			free(close);
			free(open);
		}
	}
}

/* yajl reads a string that comes in pieces from its beginning with each piece: they had better be large. */
#define PIECE_BYTES 65536

static void an_endless_object_is_refused(void **state)
{
	static const char head[] = "{\"x\":\"";
	struct seen seen = {.text = mem_strdup("")};
	struct api_stream *parser = api_stream_new(filter, see, &seen);
	char *piece = mem_calloc(PIECE_BYTES, 1);
	size_t fed = 0;
	int rc = api_stream_feed(parser, head, strlen(head));

	(void)state;
	memset(piece, 'x', PIECE_BYTES);
	for (; rc == 0 && fed < 2 * API_MAX_OBJECT_BYTES; fed += PIECE_BYTES)
		rc = api_stream_feed(parser, piece, PIECE_BYTES);
	assert_int_equal(rc, -EBADMSG);
	assert_true(fed <= API_MAX_OBJECT_BYTES + PIECE_BYTES);
	api_stream_free(parser);
	free(piece);
	free(seen.text);
}

static void an_object_of_too_many_nodes_is_refused(void **state)
{
	struct seen seen = {.text = mem_strdup("")};
	struct api_stream *parser = api_stream_new(filter, see, &seen);
	int rc = api_stream_feed(parser, "{\"kind\":[", 9);
	size_t fed = 0;

	(void)state;
	for (; rc == 0 && fed < 2 * API_MAX_OBJECT_NODES; fed++)
		rc = api_stream_feed(parser, "1,", 2);
	assert_int_equal(rc, -EBADMSG);
	assert_true(fed <= API_MAX_OBJECT_NODES + 2);
	api_stream_free(parser);
	free(seen.text);
}

/* ---- a large cluster ---- */

#define LARGE_SERVICES 10000
#define CHUNK_BYTES 4096
#define LARGE_MAX_BYTES ((size_t)40 * 1024 * 1024)

struct feeder {
	struct watch *watch;
	char chunk[CHUNK_BYTES];
	size_t used, total, peak;
};

static size_t heap_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void flush(struct feeder *feeder)
{
	size_t now;

	assert_int_equal(watch_body(feeder->watch, 0, feeder->chunk, feeder->used), 0);
	feeder->total += feeder->used;
	feeder->used = 0;
	now = heap_bytes();
	if (now > feeder->peak)
		feeder->peak = now;
}

static void put(struct feeder *feeder, const char *text)
{
	for (; *text; text++) {
		feeder->chunk[feeder->used++] = *text;
		if (feeder->used == CHUNK_BYTES)
			flush(feeder);
	}
}

/* As large as a Service is that kubectl applied: most of it is managedFields and annotations. */
static void put_service(struct feeder *feeder, unsigned number)
{
	static const char fields[] =
		"\"managedFields\":[{\"manager\":\"kubectl-client-side-apply\",\"operation\":\"Update\","
		"\"apiVersion\":\"v1\",\"time\":\"2026-01-01T00:00:00Z\",\"fieldsType\":\"FieldsV1\","
		"\"fieldsV1\":{\"f:metadata\":{\"f:annotations\":{\".\":{},\"f:note\":{}}},\"f:spec\":{"
		"\"f:ports\":{\".\":{},\"k:{\\\"port\\\":80,\\\"protocol\\\":\\\"TCP\\\"}\":{\".\":{},"
		"\"f:port\":{},\"f:targetPort\":{}}},\"f:selector\":{},\"f:type\":{}}}}]";
	char *text = mem_printf(
		"%s{\"metadata\":{\"name\":\"service-%u\",\"namespace\":\"namespace-%u\",\"uid\":\"%032u\","
		"\"resourceVersion\":\"%u\",\"annotations\":{\"note\":\"%0400u\"},%s},\"spec\":{\"ports\":[{"
		"\"name\":\"http\",\"protocol\":\"TCP\",\"port\":80,\"targetPort\":8080}],\"selector\":{"
		"\"app\":\"a\"},\"clusterIP\":\"10.%u.%u.1\",\"clusterIPs\":[\"10.%u.%u.1\"],\"type\":"
		"\"ClusterIP\",\"sessionAffinity\":\"None\"},\"status\":{\"loadBalancer\":{}}}",
		number ? "," : "", number, number % 100, number, number, 0U, fields, number >> 8,
		number & 255, number >> 8, number & 255);

	put(feeder, text);
	free(text);
}

static uint32_t no_random(void *context)
{
	(void)context;
	return 0;
}

static struct watch *start(enum watch_resource resource, struct watch_store *store)
{
	struct watch_config config = {.resource = resource, .random = no_random};
	struct watch *watch = watch_new(&config, store);
	struct watch_request request;

	watch_start(watch, 0);
	assert_true(watch_next(watch, 0, &request));
	watch_response(watch, 0, 200, -1);
	return watch;
}

static void put_large_list(struct feeder *feeder)
{
	put(feeder, "{\"kind\":\"ServiceList\",\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[");
	for (unsigned i = 0; i < LARGE_SERVICES; i++)
		put_service(feeder, i);
	put(feeder, "]}");
	flush(feeder);
	watch_ended(feeder->watch, 0, 0, NULL);
}

/* Listed twice: neither the text nor a tree of it, and the second list shares what is the same. */
static void a_large_list_takes_no_more_memory_than_its_model(void **state)
{
	size_t before = heap_bytes();
	struct watch_store *store = watch_store_new();
	struct feeder feeder = {.watch = start(WATCH_SERVICES, store)};
	size_t first;

	(void)state;
	put_large_list(&feeder);
	assert_int_equal(watch_store_count(store, WATCH_SERVICES), LARGE_SERVICES);
	assert_non_null(watch_store_service(store, "namespace-77", "service-9977"));
	first = feeder.peak - before;
	watch_free(feeder.watch);
	feeder.watch = start(WATCH_SERVICES, store);
	put_large_list(&feeder);
	watch_free(feeder.watch);
	print_message("%zu bytes of JSON: %zu bytes of heap at most, %zu with a second list\n",
		feeder.total / 2, first, feeder.peak - before);
	assert_true(feeder.peak - before < LARGE_MAX_BYTES);
	watch_store_free(store);
}

/* ---- the store ---- */

static void answer(struct watch *watch, const char *text)
{
	assert_int_equal(watch_body(watch, 0, text, strlen(text)), 0);
}

static const char two_services[] = "{\"kind\":\"ServiceList\",\"metadata\":{\"resourceVersion\":\"5\"},"
				   "\"items\":[{\"metadata\":{\"name\":\"b\","
				   "\"namespace\":\"n\"},\"spec\":{\"clusterIP\":\"10.0.0.1\",\"ports\":[{"
				   "\"port\":80}]}},{\"metadata\":{"
				   "\"name\":\"a\",\"namespace\":\"n\"},\"spec\":{\"clusterIP\":\"10.0.0.2\","
				   "\"ports\":[{\"port\":80}]}}]}";

static void snapshots_share_what_did_not_change(void **state)
{
	struct watch_store *store = watch_store_new();
	struct watch *watch = start(WATCH_SERVICES, store);
	struct model_snapshot *first, *same, *second;
	struct watch_request request;

	(void)state;
	answer(watch, two_services);
	watch_ended(watch, 0, 0, NULL);
	first = watch_store_snapshot(store);
	same = watch_store_snapshot(store);
	assert_ptr_equal(first, same);
	assert_int_equal(first->service_count, 2);
	assert_string_equal(first->services[0]->name, "a");
	assert_true(watch_next(watch, 0, &request));
	watch_response(watch, 0, 200, -1);
	answer(watch,
		"{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"Service\",\"metadata\":{\"name\":\"a\","
		"\"namespace\":\"n\"},\"spec\":{\"clusterIP\":\"10.0.0.3\",\"ports\":[{\"port\":80}]}}}");
	second = watch_store_snapshot(store);
	assert_ptr_not_equal(first, second);
	assert_ptr_equal(first->services[1], second->services[1]);
	assert_false(model_service_equal(first->services[0], second->services[0]));
	watch_free(watch);
	watch_store_free(store);
	/* Snapshots outlive the store. */
	assert_string_equal(first->services[0]->name, "a");
	model_snapshot_unref(first);
	model_snapshot_unref(same);
	model_snapshot_unref(second);
}

static void a_change_is_listed_once(void **state)
{
	struct watch_store *store = watch_store_new();
	struct watch *watch = start(WATCH_SERVICES, store);

	(void)state;
	assert_null(watch_store_changes(store));
	answer(watch, two_services);
	watch_ended(watch, 0, 0, NULL);
	assert_non_null(watch_store_changes(store));
	assert_non_null(watch_store_changes(store)->next);
	assert_null(watch_store_changes(store)->next->next);
	watch_store_changes_clear(store);
	assert_null(watch_store_changes(store));
	watch_free(watch);
	watch_store_free(store);
}

static void inputs_out_of_turn_are_harmless(void **state)
{
	struct watch_store *store = watch_store_new();
	struct watch_config config = {.resource = WATCH_NODE, .random = no_random};
	struct watch *watch = watch_new(&config, store);
	struct watch_request request;

	(void)state;
	watch_response(watch, 0, 200, -1);
	assert_true(watch_body(watch, 0, "{}", 2) < 0);
	watch_ended(watch, 0, 0, NULL);
	assert_int_equal(watch_timer(watch, INT64_MAX), 0);
	assert_false(watch_next(watch, 0, &request));
	watch_start(watch, 0);
	watch_start(watch, 5000);
	assert_true(watch_next(watch, 0, &request));
	/* A body without a head. */
	assert_true(watch_body(watch, 0, "{}", 2) < 0);
	watch_ended(watch, 0, 0, NULL);
	assert_int_equal(watch_due_ms(watch), 800);
	watch_free(watch);
	watch_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_the_filter_names_is_kept),
		cmocka_unit_test(list_items_are_documents_of_their_own),
		cmocka_unit_test(values_follow_one_another),
		cmocka_unit_test(what_is_not_json_is_refused),
		cmocka_unit_test(an_end_within_a_value_is_noticed),
		cmocka_unit_test(the_receiver_ends_a_stream),
		cmocka_unit_test(depth_is_bounded_also_in_what_is_passed_over),
		cmocka_unit_test(an_endless_object_is_refused),
		cmocka_unit_test(an_object_of_too_many_nodes_is_refused),
		cmocka_unit_test(a_large_list_takes_no_more_memory_than_its_model),
		cmocka_unit_test(snapshots_share_what_did_not_change),
		cmocka_unit_test(a_change_is_listed_once),
		cmocka_unit_test(inputs_out_of_turn_are_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
