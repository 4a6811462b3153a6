/* Owns the process's logger. Runs in every process; a line is composed on the stack and leaves with one
 * write, so lines of different processes on the same terminal do not mix. */
#include "portald/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "portald/addr.h"
#include "portald/clock.h"

#define LINE_BYTES 2048

/* Repeated messages: at most BURST of one message every WINDOW_MS. */
#define BURST 10
#define WINDOW_MS 10000
#define REPEAT_SLOTS 64

struct log_repeat {
	const char *message;
	int64_t window_start_ms;
	uint32_t count;
	uint64_t suppressed;
};

static struct {
	char role[32];
	enum log_format format;
	int verbosity;
	struct log_repeat repeats[REPEAT_SLOTS];
} logger;

struct line {
	size_t length;
	char text[LINE_BYTES];
};

void log_init(const char *role, enum log_format format, int verbosity)
{
	snprintf(logger.role, sizeof(logger.role), "%s", role);
	logger.format = format;
	logger.verbosity = verbosity;
}

bool log_verbose(int level)
{
	return level <= logger.verbosity;
}

struct log_field log_str(const char *key, const char *value)
{
	return (struct log_field){.key = key, .kind = LOG_FIELD_STR, .str = value ? value : ""};
}

struct log_field log_int(const char *key, int64_t value)
{
	return (struct log_field){.key = key, .kind = LOG_FIELD_INT, .num = value};
}

struct log_field log_errno(const char *key, int error)
{
	struct log_field field = {.key = key, .kind = LOG_FIELD_STR};
	/* strerror is not safe for threads, but no process of the daemon has a second one. */
	const char *text = strerrordesc_np(error);

	snprintf(field.text, sizeof(field.text), "%s", text ? text : "unknown error");
	return field;
}

struct log_field log_addr(const char *key, const struct addr *addr)
{
	struct log_field field = {.key = key, .kind = LOG_FIELD_STR};

	addr_format(addr, field.text);
	return field;
}

struct log_field log_addr_port(const char *key, const struct addr_port *at)
{
	struct log_field field = {.key = key, .kind = LOG_FIELD_STR};

	addr_port_format(at, field.text);
	return field;
}

/* ---- composing a line ---- */

static void line_char(struct line *line, char c)
{
	/* Leaves room for what closes a line: quote, brace, newline. */
	if (line->length < LINE_BYTES - 4)
		line->text[line->length++] = c;
}

static void line_text(struct line *line, const char *text)
{
	while (*text)
		line_char(line, *text++);
}

/* Quotes so that one line stays one line and JSON stays JSON, whatever the text holds. */
static void line_quoted(struct line *line, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	line_char(line, '"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\') {
			line_char(line, '\\');
			line_char(line, (char)c);
		} else if (c == '\n') {
			line_text(line, "\\n");
		} else if (c < 0x20 || c == 0x7f) {
			line_text(line, "\\u00");
			line_char(line, hex[c >> 4]);
			line_char(line, hex[c & 15]);
		} else {
			line_char(line, (char)c);
		}
	}
	line->text[line->length++] = '"';
}

static bool needs_quotes(const char *text)
{
	if (!*text)
		return true;
	for (; *text; text++) {
		if ((unsigned char)*text <= ' ' || *text == '"' || *text == '=' || *text == '\\' ||
			*text == 0x7f)
			return true;
	}
	return false;
}

static void line_key(struct line *line, const char *key)
{
	if (logger.format == LOG_JSON) {
		if (line->length > 1)
			line_char(line, ',');
		line_quoted(line, key);
		line_char(line, ':');
		return;
	}
	if (line->length > 0)
		line_char(line, ' ');
	line_text(line, key);
	line_char(line, '=');
}

static void line_str(struct line *line, const char *key, const char *value)
{
	line_key(line, key);
	if (logger.format == LOG_JSON || needs_quotes(value))
		line_quoted(line, value);
	else
		line_text(line, value);
}

static void line_int(struct line *line, const char *key, int64_t value)
{
	char digits[24];

	line_key(line, key);
	snprintf(digits, sizeof(digits), "%" PRId64, value);
	line_text(line, digits);
}

static void line_time(struct line *line)
{
	struct timespec now;
	struct tm utc;
	char text[40];
	size_t length;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	length = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text + length, sizeof(text) - length, ".%03ldZ", now.tv_nsec / 1000000);
	line_str(line, "time", text);
}

/* ---- repetition ---- */

/* Messages are constants, so the pointer stands for the text. Returns false if the line shall not appear;
 * otherwise *suppressed is how many were held back since the last one that did. */
static bool log_admit(const char *message, uint64_t *suppressed)
{
	struct log_repeat *repeat = &logger.repeats[((uintptr_t)message >> 3) % REPEAT_SLOTS];
	int64_t now_ms = clock_now_ms();

	*suppressed = 0;
	if (repeat->message != message)
		*repeat = (struct log_repeat){.message = message, .window_start_ms = now_ms};
	if (now_ms - repeat->window_start_ms >= WINDOW_MS) {
		repeat->window_start_ms = now_ms;
		repeat->count = 0;
		*suppressed = repeat->suppressed;
		repeat->suppressed = 0;
	}
	if (repeat->count >= BURST) {
		repeat->suppressed++;
		return false;
	}
	repeat->count++;
	return true;
}

static const char *level_name(enum log_level level)
{
	static const char *const names[] = {
		[LOG_LEVEL_ERROR] = "error",
		[LOG_LEVEL_WARNING] = "warning",
		[LOG_LEVEL_INFO] = "info",
	};

	return names[level];
}

void log_write(
	enum log_level level, bool limited, const char *message, const struct log_field *fields, size_t count)
{
	struct line line = {.length = 0};
	uint64_t suppressed = 0;

	if (limited && level != LOG_LEVEL_INFO && !log_admit(message, &suppressed))
		return;
	if (logger.format == LOG_JSON)
		line_char(&line, '{');
	line_time(&line);
	line_str(&line, "level", level_name(level));
	line_str(&line, "role", logger.role);
	line_str(&line, "msg", message);
	for (size_t i = 0; i < count; i++) {
		if (fields[i].kind == LOG_FIELD_STR)
			line_str(&line, fields[i].key, fields[i].str ? fields[i].str : fields[i].text);
		else if (fields[i].kind == LOG_FIELD_INT)
			line_int(&line, fields[i].key, fields[i].num);
	}
	if (suppressed)
		line_int(&line, "suppressed", (int64_t)suppressed);
	if (logger.format == LOG_JSON)
		line.text[line.length++] = '}';
	line.text[line.length++] = '\n';
	/* Nowhere to report a failure to. */
	if (write(STDERR_FILENO, line.text, line.length) < 0)
		return;
}
