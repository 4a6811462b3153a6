/* Reload: what stays of the last good state when the new input has mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "proc/manifests.h"

static const char *const good = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
				"spec: {clusterIP: 10.96.0.20, ports: [{port: 80}]}\n"
				"---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\n"
				"subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 8080}]}]\n"
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\n"
				"spec: {clusterIP: 10.96.0.21, ports: [{port: 80}]}\n";

/* Service a has a port that can't be, and b has another port. */
static const char *const bad_object = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
				      "spec: {clusterIP: 10.96.0.20, ports: [{port: 70000}]}\n"
				      "---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\n"
				      "spec: {clusterIP: 10.96.0.21, ports: [{port: 81}]}\n";

static const char *const bad_syntax = "apiVersion: v1\nkind: Service\nmetadata: {name: a\n";

static const char *const without_a = "apiVersion: v1\nkind: Service\nmetadata: {name: b}\n"
				     "spec: {clusterIP: 10.96.0.21, ports: [{port: 80}]}\n";

static void ignore_finding(enum source_severity severity, const char *line)
{
	(void)severity;
	(void)line;
}

static struct model_snapshot *decode(const char *text, struct model_snapshot *last, size_t *errors)
{
	struct source_text source = {.name = "test.yaml", .bytes = text, .byte_count = strlen(text)};
	struct manifests manifests = {.texts = &source, .count = 1};
	struct options options = {.command = OPTIONS_PLAN};

	source_options_init(&options.source);
	return manifests_decode(&manifests, &options, last, ignore_finding, errors);
}

static void a_bad_object_keeps_its_last_good_version(void **state)
{
	size_t errors;
	struct model_snapshot *first = decode(good, NULL, &errors), *second;
	size_t at;

	(void)state;
	assert_int_equal(errors, 0);
	assert_int_equal(first->service_count, 2);
	second = decode(bad_object, first, &errors);
	assert_int_equal(errors, 1);
	assert_non_null(second);
	assert_int_equal(second->service_count, 2);
	assert_string_equal(second->services[0]->name, "a");
	assert_int_equal(second->services[0]->ports[0].port, 80);
	assert_int_equal(model_slices_of(second, second->services[0], &at), 1);
	/* The other one's change is taken up all the same. */
	assert_int_equal(second->services[1]->ports[0].port, 81);
	model_snapshot_unref(first);
	model_snapshot_unref(second);
}

static void a_bad_object_without_a_past_is_left_out_alone(void **state)
{
	size_t errors;
	struct model_snapshot *snapshot = decode(bad_object, NULL, &errors);

	(void)state;
	assert_int_equal(errors, 1);
	assert_int_equal(snapshot->service_count, 1);
	assert_string_equal(snapshot->services[0]->name, "b");
	model_snapshot_unref(snapshot);
}

static void a_file_that_cannot_be_parsed_leaves_everything_as_it_was(void **state)
{
	size_t errors;
	struct model_snapshot *first = decode(good, NULL, &errors);

	(void)state;
	assert_null(decode(bad_syntax, first, &errors));
	assert_true(errors > 0);
	model_snapshot_unref(first);
}

static void a_removed_object_is_removed(void **state)
{
	size_t errors;
	struct model_snapshot *first = decode(good, NULL, &errors);
	struct model_snapshot *second = decode(without_a, first, &errors);

	(void)state;
	assert_int_equal(errors, 0);
	assert_int_equal(second->service_count, 1);
	assert_string_equal(second->services[0]->name, "b");
	model_snapshot_unref(first);
	model_snapshot_unref(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bad_object_keeps_its_last_good_version),
		cmocka_unit_test(a_bad_object_without_a_past_is_left_out_alone),
		cmocka_unit_test(a_file_that_cannot_be_parsed_leaves_everything_as_it_was),
		cmocka_unit_test(a_removed_object_is_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
