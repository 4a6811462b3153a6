/* Reading YAML and JSON: documents, scalars, places, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "source/doc.h"

/* What a reader delivered: all documents as text, and the first problem. */
struct got {
	char text[4096];
	size_t documents, problems;
	unsigned line, column;
	char problem[256];
};

static void print_node(struct got *got, const struct doc_node *node)
{
	char *end = got->text + strlen(got->text);
	size_t room = sizeof(got->text) - strlen(got->text);
	static const char *const kinds[] = {"null", "bool", "int", "float", "str"};

	if (node->kind == DOC_SEQUENCE || node->kind == DOC_MAP) {
		strncat(got->text, node->kind == DOC_MAP ? "{" : "[", room - 1);
		for (size_t i = 0; i < node->count; i++) {
			end = got->text + strlen(got->text);
			room = sizeof(got->text) - strlen(got->text);
			if (node->kind == DOC_MAP)
				snprintf(end, room, "%s@%u:%u%s=", node->pairs[i].key, node->pairs[i].line,
					node->pairs[i].column, node->pairs[i].duplicate ? "!" : "");
			print_node(got, node->kind == DOC_MAP ? node->pairs[i].value : node->items[i]);
		}
		room = sizeof(got->text) - strlen(got->text);
		strncat(got->text, node->kind == DOC_MAP ? "}" : "]", room - 1);
		return;
	}
	snprintf(end, room, "%s(%s)@%u:%u ", kinds[node->kind], node->text, node->line, node->column);
}

static void on_document(void *context, struct doc *doc)
{
	struct got *got = context;

	got->documents++;
	print_node(got, doc->root);
	strncat(got->text, ";", sizeof(got->text) - strlen(got->text) - 1);
	doc_free(doc);
}

static void on_problem(void *context, unsigned line, unsigned column, const char *message)
{
	struct got *got = context;

	if (got->problems++ > 0)
		return;
	got->line = line;
	got->column = column;
	snprintf(got->problem, sizeof(got->problem), "%s", message);
}

static struct got read_bytes(const char *bytes, size_t count)
{
	struct got got = {0};

	doc_read(bytes, count, &(struct doc_sink){on_document, on_problem, &got});
	return got;
}

static struct got read_text(const char *text)
{
	return read_bytes(text, strlen(text));
}

static void assert_reads(const char *text, const char *expected)
{
	struct got got = read_text(text);

	assert_string_equal(got.problem, "");
	assert_string_equal(got.text, expected);
}

static void yaml_scalars_have_the_types_kubectl_gives_them(void **state)
{
	static const struct {
		const char *text;
		enum doc_kind kind;
		int64_t number;
	} cases[] = {
		{"80", DOC_INT, 80},
		{"-5", DOC_INT, -5},
		{"+7", DOC_INT, 7},
		{"0x1F", DOC_INT, 31},
		{"0o17", DOC_INT, 15},
		{"010", DOC_INT, 8},
		{"0b101", DOC_INT, 5},
		{"1_000", DOC_INT, 1000},
		{"80.0", DOC_INT, 80},
		{"1e3", DOC_INT, 1000},
		{"08", DOC_INT, 8},
		{"1.5", DOC_FLOAT, 0},
		{".inf", DOC_FLOAT, 0},
		{"99999999999999999999", DOC_FLOAT, 0},
		{"true", DOC_BOOL, 1},
		{"Yes", DOC_BOOL, 1},
		{"on", DOC_BOOL, 1},
		{"n", DOC_BOOL, 0},
		{"OFF", DOC_BOOL, 0},
		{"", DOC_NULL, 0},
		{"~", DOC_NULL, 0},
		{"null", DOC_NULL, 0},
		{"22:22", DOC_STRING, 0},
		{"0x", DOC_STRING, 0},
		{"0x0x1", DOC_STRING, 0},
		{"0x-1", DOC_STRING, 0},
		{"+-1", DOC_STRING, 0},
		{"1.2.3.4", DOC_STRING, 0},
		{"1e", DOC_STRING, 0},
		{"-", DOC_STRING, 0},
		{".", DOC_STRING, 0},
		{"web", DOC_STRING, 0},
		{"yEs", DOC_STRING, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int64_t number;
		enum doc_kind kind = doc_resolve_plain(cases[i].text, &number);

		if (kind != cases[i].kind || number != cases[i].number)
			fail_msg("%s: kind %d, number %lld", cases[i].text, (int)kind, (long long)number);
	}
}

static void quotes_and_tags_decide_over_form(void **state)
{
	(void)state;
	assert_reads("a: '80'\nb: \"yes\"\nc: !!str 7\nd: !!int '7'\ne: !x y\nf: |\n  12\n",
		"{a@1:1=str(80)@1:4 b@2:1=str(yes)@2:4 c@3:1=str(7)@3:4 d@4:1=int(7)@4:4 "
		"e@5:1=str(y)@5:4 f@6:1=str(12\n)@6:4 };");
}

static void documents_have_places_in_the_whole_file(void **state)
{
	(void)state;
	assert_reads("# c\n%YAML 1.1\n---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n\nc: 3\n",
		"{a@4:1=int(1)@4:4 };null()@6:1 ;null()@8:1 ;{b@9:1=int(2)@9:4 };{c@12:1=int(3)@12:4 };");
}

static void windows_line_ends_and_a_byte_order_mark_are_no_content(void **state)
{
	struct got got = read_text("\xef\xbb\xbf"
				   "a: x\r\nb:\r\n- y\r\n---\r\nc: 1\r\n");

	(void)state;
	assert_string_equal(got.problem, "");
	assert_int_equal(got.documents, 2);
	assert_non_null(strstr(got.text, "c@5:1=int(1)@5:4"));
}

static void an_empty_file_has_no_documents(void **state)
{
	static const char *const texts[] = {"", "\n\n", "# only a comment\n", "\xef\xbb\xbf"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct got got = read_text(texts[i]);

		assert_int_equal(got.documents, 0);
		assert_int_equal(got.problems, 0);
	}
}

static void after_a_syntax_error_the_next_document_is_read(void **state)
{
	static const char *const broken[] = {"a: [1", "a: 'x", "a: b: c", "\t- x", "a: \xff", "a: @x", "}",
		"&a [*a]", "*b", "{a: 1}: x\n? [b]\n: c", "%TAG x\nb"};

	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
		char *text = mem_printf("x: 1\n---\n%s\n---\ny: 2\n", broken[i]);
		struct got got = read_text(text);

		if (got.problems != 1 || got.documents < 2 || !strstr(got.text, "{x@1:1=int(1)@1:4 }") ||
			!strstr(got.text, "=int(2)@") || got.line < 3)
			fail_msg("%s: %zu problems, %s at %u, %s", broken[i], got.problems, got.problem,
				got.line, got.text);
		free(text);
	}
}

static void a_marker_inside_a_scalar_is_indented_and_no_marker(void **state)
{
	(void)state;
	assert_reads("a: |\n  x\n  ---\n  y\nb: ----\nc: '\n ---'\n",
		"{a@1:1=str(x\n---\ny\n)@1:4 b@5:1=str(----)@5:4 c@6:1=str( ---)@6:4 };");
}

static void aliases_stand_for_what_they_name(void **state)
{
	(void)state;
	assert_reads("a: &x {k: v}\nb: *x\nc: [&y 1, *y]\n",
		"{a@1:1={k@1:8=str(v)@1:11 }b@2:1={k@1:8=str(v)@1:11 }c@3:1=[int(1)@3:5 int(1)@3:5 ]};");
}

static void aliases_cannot_multiply_without_bound(void **state)
{
	char text[2048] = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
	struct got got;

	(void)state;
	for (int i = 1; i <= 9; i++) {
		size_t length = strlen(text);

		snprintf(text + length, sizeof(text) - length,
			"a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i,
			i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	}
	got = read_text(text);
	assert_int_equal(got.documents, 0);
	assert_int_equal(got.problems, 1);
	assert_non_null(strstr(got.problem, "aliases"));
}

static void nesting_has_a_bound(void **state)
{
	static const char *const openings[] = {"[", "{\"a\":"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		size_t length = strlen(openings[i]), depth = DOC_MAX_DEPTH + 10;
		char *text = mem_calloc(depth + 1, length);
		struct got got;

		for (size_t j = 0; j < depth; j++)
			memcpy(text + j * length, openings[i], length);
		got = read_bytes(text, depth * length);
		assert_int_equal(got.documents, 0);
		assert_int_equal(got.problems, 1);
		free(text);
	}
}

static void duplicate_keys_are_marked(void **state)
{
	(void)state;
	assert_reads("a: 1\nb: 2\na: 3\n", "{a@1:1=int(1)@1:4 b@2:1=int(2)@2:4 a@3:1!=int(3)@3:4 };");
	assert_reads("{\"a\": 1, \"a\": 2}", "{a@1:2=int(1)@1:7 a@1:10!=int(2)@1:15 };");
}

static void json_has_places(void **state)
{
	(void)state;
	assert_reads("{\n  \"a\": \"\\u00e4\\\"\",\n  \"b\" : [ true,\n null, -3, 1.5 ]\n}\n",
		"{a@2:3=str(\xc3\xa4\")@2:8 b@3:3=[bool(true)@3:11 null(null)@4:2 int(-3)@4:8 "
		"float(1.5)@4:12 ]};");
}

static void json_documents_follow_each_other(void **state)
{
	struct got got = read_text("{\"a\":1}\n{\"b\":2} {\"c\":3}");

	(void)state;
	assert_int_equal(got.problems, 0);
	assert_int_equal(got.documents, 3);
}

static void a_json_error_keeps_what_was_complete(void **state)
{
	struct got got = read_text("{\"a\":1}\n{\"b\":\n  }, ]\n");

	(void)state;
	assert_int_equal(got.documents, 1);
	assert_int_equal(got.problems, 1);
	assert_int_equal(got.line, 3);
	assert_int_equal(got.column, 3);
	got = read_text("{\"a\": {\n");
	assert_int_equal(got.problems, 1);
	assert_non_null(strstr(got.problem, "ends within"));
}

static void flow_yaml_is_not_mistaken_for_json(void **state)
{
	struct got got = read_text("{a: 1, b: [x]}\n");

	(void)state;
	assert_int_equal(got.problems, 0);
	assert_string_equal(got.text, "{a@1:2=int(1)@1:5 b@1:8=[str(x)@1:12 ]};");
	got = read_text("{\"a\": 1}\n---\n{b: 2}\n");
	assert_int_equal(got.problems, 0);
	assert_int_equal(got.documents, 2);
}

static void an_escaped_nul_does_not_shorten_a_name(void **state)
{
	struct got got = read_text("{\"a\\u0000b\": \"web\\u0000x\"}");

	(void)state;
	assert_string_equal(got.text, "{a\x01"
				      "b@1:2=str(web\x01"
				      "x)@1:14 };");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(yaml_scalars_have_the_types_kubectl_gives_them),
		cmocka_unit_test(quotes_and_tags_decide_over_form),
		cmocka_unit_test(documents_have_places_in_the_whole_file),
		cmocka_unit_test(windows_line_ends_and_a_byte_order_mark_are_no_content),
		cmocka_unit_test(an_empty_file_has_no_documents),
		cmocka_unit_test(after_a_syntax_error_the_next_document_is_read),
		cmocka_unit_test(a_marker_inside_a_scalar_is_indented_and_no_marker),
		cmocka_unit_test(aliases_stand_for_what_they_name),
		cmocka_unit_test(aliases_cannot_multiply_without_bound),
		cmocka_unit_test(nesting_has_a_bound),
		cmocka_unit_test(duplicate_keys_are_marked),
		cmocka_unit_test(json_has_places),
		cmocka_unit_test(json_documents_follow_each_other),
		cmocka_unit_test(a_json_error_keeps_what_was_complete),
		cmocka_unit_test(flow_yaml_is_not_mistaken_for_json),
		cmocka_unit_test(an_escaped_nul_does_not_shorten_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
