/* Log lines: one line a call, valid JSON whatever a field holds, repetition limited. Standard error is a
 * memory file during a test; time is the test's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <yajl/yajl_parse.h>
#include <yajl/yajl_tree.h>

#include "portald/addr.h"
#include "portald/clock.h"
#include "portald/log.h"

#define MAX_LINE_BYTES 2048

/* The test's clock, in place of the library's. */
static int64_t fake_now_ms = 1000;

int64_t clock_now_ms(void)
{
	return fake_now_ms;
}

int64_t clock_now_us(void)
{
	return fake_now_ms * 1000;
}

struct capture {
	int file, saved_stderr;
	char text[65536];
	size_t length;
};

static void capture_begin(struct capture *capture)
{
	capture->file = memfd_create("stderr", MFD_CLOEXEC);
	capture->saved_stderr = dup(STDERR_FILENO);
	assert_true(capture->file >= 0 && capture->saved_stderr >= 0);
	assert_true(dup2(capture->file, STDERR_FILENO) >= 0);
}

static const char *capture_end(struct capture *capture)
{
	ssize_t got = pread(capture->file, capture->text, sizeof(capture->text) - 1, 0);

	dup2(capture->saved_stderr, STDERR_FILENO);
	close(capture->saved_stderr);
	close(capture->file);
	assert_true(got >= 0);
	capture->length = (size_t)got;
	capture->text[got] = '\0';
	assert_int_equal(strlen(capture->text), capture->length);
	return capture->text;
}

static size_t line_count(const char *text)
{
	size_t count = 0;

	for (; *text; text++)
		count += *text == '\n';
	return count;
}

/* The value of a member in the only line, which must be one JSON object. */
static void assert_json_field(const char *text, const char *key, const char *value)
{
	const char *path[] = {key, NULL};
	char error[256];
	yajl_val root = yajl_tree_parse(text, error, sizeof(error)), member;

	if (!root)
		fail_msg("no JSON: %s in: %s", error, text);
	member = yajl_tree_get(root, path, yajl_t_any);
	assert_non_null(member);
	if (value)
		assert_string_equal(
			YAJL_IS_NUMBER(member) ? YAJL_GET_NUMBER(member) : YAJL_GET_STRING(member), value);
	yajl_tree_free(root);
}

/* yajl checks UTF-8 in a parse, which the tree's parser can't be told to do for trailing bytes. */
static void assert_json_lines(const char *text)
{
	while (*text) {
		const char *end = strchr(text, '\n');
		yajl_handle parser = yajl_alloc(NULL, NULL, NULL);

		assert_non_null(end);
		assert_true(end - text < MAX_LINE_BYTES);
		if (yajl_parse(parser, (const unsigned char *)text, (size_t)(end - text)) != yajl_status_ok ||
			yajl_complete_parse(parser) != yajl_status_ok)
			fail_msg("no JSON: %.*s", (int)(end - text), text);
		yajl_free(parser);
		text = end + 1;
	}
}

static void test_text_line_has_its_fields(void **state)
{
	struct addr_port at = {.addr = addr_v4(0x0a000001), .port = 80};
	struct capture capture;
	const char *text;

	(void)state;
	log_init("control", LOG_TEXT, 0);
	capture_begin(&capture);
	log_info("ready", log_str("service", "default/web"), log_int("count", -7), log_addr_port("at", &at),
		log_addr("addr", &at.addr), log_errno("error", ENOENT), log_str("none", NULL));
	text = capture_end(&capture);
	assert_int_equal(strncmp(text, "time=20", 7), 0);
	assert_non_null(strstr(text,
		"Z level=info role=control msg=ready service=default/web count=-7 at=10.0.0.1:80 "
		"addr=10.0.0.1 error=\"No such file or directory\" none=\"\"\n"));
}

static void test_text_is_quoted_where_it_must_be(void **state)
{
	struct capture capture;
	const char *text;

	(void)state;
	log_init("control", LOG_TEXT, 0);
	capture_begin(&capture);
	log_info("two words", log_str("a", "x=y"), log_str("b", "line\nlevel=error"), log_str("c", "\x1b[2J"),
		log_str("d", "q\"\\"), log_str("e", "\xc2\x9b"), log_str("f", "\xff"),
		log_str("g", "\xc3\xa4"));
	text = capture_end(&capture);
	assert_int_equal(line_count(text), 1);
	assert_non_null(strstr(text,
		"msg=\"two words\" a=\"x=y\" b=\"line\\nlevel=error\" c=\"\\u001b[2J\" d=\"q\\\"\\\\\" "
		"e=\"\\u009b\" f=\"\\ufffd\" g=\"\xc3\xa4\"\n"));
}

static void test_json_line_is_an_object(void **state)
{
	struct capture capture;
	const char *text;

	(void)state;
	log_init("relay-0", LOG_JSON, 0);
	capture_begin(&capture);
	log_info("ready", log_str("service", "a \"b\"\n\\"), log_int("count", INT64_MIN));
	text = capture_end(&capture);
	assert_int_equal(line_count(text), 1);
	assert_json_field(text, "msg", "ready");
	assert_json_field(text, "role", "relay-0");
	assert_json_field(text, "level", "info");
	assert_json_field(text, "service", "a \"b\"\n\\");
	assert_json_field(text, "count", "-9223372036854775808");
}

/* Every byte, alone and after the beginning of every kind of UTF-8 sequence. */
static void test_json_stays_json_for_any_bytes(void **state)
{
	static const char *const before[] = {"", "\xc3", "\xe0", "\xe0\x80", "\xe2\x82", "\xed\xa0",
		"\xf0\x9f", "\xf0\x9f\x98", "\xf4\x90", "\xf8", "\\", "\xc0"};
	struct capture capture;

	(void)state;
	log_init("control", LOG_JSON, 0);
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		capture_begin(&capture);
		for (int byte = 1; byte < 256; byte++) {
			char value[16];

			snprintf(value, sizeof(value), "%s%cx", before[i], byte);
			log_info("bytes", log_str("value", value), log_int("after", byte));
		}
		assert_int_equal(line_count(capture_end(&capture)), 255);
		assert_json_lines(capture.text);
	}
}

static void test_valid_utf8_passes_as_it_is(void **state)
{
	static const char utf8[] =
		"\xc2\xa0 \xe2\x82\xac \xed\x9f\xbf \xee\x80\x80 \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf";
	struct capture capture;

	(void)state;
	log_init("control", LOG_JSON, 0);
	capture_begin(&capture);
	log_info("bytes", log_str("value", utf8));
	assert_non_null(strstr(capture_end(&capture), utf8));
	assert_json_field(capture.text, "value", utf8);
}

/* Values around the length of a line, of bytes that become one, two and six characters or stay two: the
 * line is cut, ends with its newline and is JSON still. */
static void test_long_lines_are_cut_and_stay_json(void **state)
{
	static const char *const units[] = {"a", "\"", "\x01", "\xc3\xa4"};
	char *value = malloc(2 * MAX_LINE_BYTES + 3);
	struct capture capture;

	(void)state;
	log_init("control", LOG_JSON, 0);
	for (size_t unit = 0; unit < 4; unit++) {
		for (size_t length = 300; length < MAX_LINE_BYTES + 50; length++) {
			size_t count = 0, step = strlen(units[unit]);

			while (count + step <= length) {
				memcpy(value + count, units[unit], step);
				count += step;
			}
			value[count] = '\0';
			capture_begin(&capture);
			log_info("long", log_str("value", value), log_int("number", INT64_MIN),
				log_str("x", value), log_str("y", ""), log_str("z", "z"), log_int("n", 1));
			assert_int_equal(line_count(capture_end(&capture)), 1);
			assert_true(capture.length <= MAX_LINE_BYTES);
			assert_json_lines(capture.text);
		}
	}
	free(value);
}

static void test_many_fields_do_not_overrun_a_full_line(void **state)
{
	char value[1000];
	struct capture capture;

	(void)state;
	memset(value, ' ', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
		log_init("control", (enum log_format)format, 0);
		capture_begin(&capture);
		log_info("many", log_str("a", value), log_str("b", value), log_str("c", value),
			log_str("d", value), log_str("e", value), log_str("f", value), log_str("g", value),
			log_str("h", value), log_str("i", value));
		capture_end(&capture);
		assert_true(capture.length <= MAX_LINE_BYTES);
		assert_int_equal(line_count(capture.text), 1);
		assert_int_equal(capture.text[capture.length - 1], '\n');
	}
	assert_json_lines(capture.text);
}

static void test_repeated_errors_are_limited_and_counted(void **state)
{
	struct capture capture;

	(void)state;
	log_init("control", LOG_TEXT, 0);
	fake_now_ms = 100000;
	capture_begin(&capture);
	for (int i = 0; i < 25; i++)
		log_warning("something is wrong", log_int("i", i));
	/* Another message has a limit of its own; information has none. */
	log_error("something else");
	for (int i = 0; i < 25; i++)
		log_info("all is well");
	assert_int_equal(line_count(capture_end(&capture)), 10 + 1 + 25);
	assert_non_null(strstr(capture.text, "i=9\n"));
	assert_null(strstr(capture.text, "i=10\n"));
	fake_now_ms += 9999;
	capture_begin(&capture);
	log_warning("something is wrong");
	assert_int_equal(line_count(capture_end(&capture)), 0);
}

/* One call in the text, for one message in one place. */
static void warn_again(void)
{
	log_warning("it happened again");
}

static void test_next_window_tells_what_was_held_back(void **state)
{
	struct capture capture;

	(void)state;
	log_init("control", LOG_JSON, 0);
	fake_now_ms = 200000;
	capture_begin(&capture);
	for (int i = 0; i < 14; i++)
		warn_again();
	assert_int_equal(line_count(capture_end(&capture)), 10);
	assert_null(strstr(capture.text, "suppressed"));
	fake_now_ms += 10000;
	capture_begin(&capture);
	warn_again();
	assert_json_field(capture_end(&capture), "suppressed", "4");
	capture_begin(&capture);
	warn_again();
	assert_null(strstr(capture_end(&capture), "suppressed"));
}

/* Messages that want the same place in the table, by their addresses. */
static void test_messages_do_not_lift_each_others_limit(void **state)
{
	static char messages[4][512];
	struct capture capture;

	(void)state;
	log_init("control", LOG_TEXT, 0);
	fake_now_ms = 300000;
	for (int i = 0; i < 4; i++)
		snprintf(messages[i], sizeof(messages[i]), "message %d", i);
	capture_begin(&capture);
	for (int round = 0; round < 15; round++) {
		for (int i = 0; i < 4; i++)
			log_write(LOG_LEVEL_ERROR, true, messages[i], NULL, 0);
	}
	assert_int_equal(line_count(capture_end(&capture)), 40);
}

static void test_lines_that_differ_are_not_limited(void **state)
{
	struct capture capture;

	(void)state;
	log_init("control", LOG_TEXT, 0);
	capture_begin(&capture);
	for (int i = 0; i < 25; i++)
		log_each(LOG_LEVEL_ERROR, "one of many", log_int("i", i));
	assert_int_equal(line_count(capture_end(&capture)), 25);
}

static void test_verbosity_selects_detail(void **state)
{
	struct capture capture;

	(void)state;
	log_init("control", LOG_TEXT, 2);
	assert_true(log_verbose(0) && log_verbose(2) && !log_verbose(3));
	capture_begin(&capture);
	log_v(2, "shown");
	log_v(3, "hidden");
	capture_end(&capture);
	assert_int_equal(line_count(capture.text), 1);
	assert_non_null(strstr(capture.text, "msg=shown"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_line_has_its_fields),
		cmocka_unit_test(test_text_is_quoted_where_it_must_be),
		cmocka_unit_test(test_json_line_is_an_object),
		cmocka_unit_test(test_json_stays_json_for_any_bytes),
		cmocka_unit_test(test_valid_utf8_passes_as_it_is),
		cmocka_unit_test(test_long_lines_are_cut_and_stay_json),
		cmocka_unit_test(test_many_fields_do_not_overrun_a_full_line),
		cmocka_unit_test(test_repeated_errors_are_limited_and_counted),
		cmocka_unit_test(test_next_window_tells_what_was_held_back),
		cmocka_unit_test(test_messages_do_not_lift_each_others_limit),
		cmocka_unit_test(test_lines_that_differ_are_not_limited),
		cmocka_unit_test(test_verbosity_selects_detail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
