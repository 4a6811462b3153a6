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

/* Kept free for what closes a line: quote, brace, newline. */
#define TAIL_BYTES 4

/* A field begins only where its key, the punctuation and a number fit. */
#define FIELD_BYTES 32

/* Repeated messages: at most BURST of one message every WINDOW_MS. */
#define BURST 10
#define WINDOW_MS 10000
#define REPEAT_SLOTS 64
#define REPEAT_PROBES 4

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

/* full: something did not fit, and nothing more is added but what closes the line. */
struct line {
	size_t length;
	bool full;
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

static size_t line_room(const struct line *line)
{
	size_t limit = line->full ? 0 : LINE_BYTES - TAIL_BYTES;

	return line->length < limit ? limit - line->length : 0;
}

/* Adds all of it or nothing, so that no escape sequence or character is cut in two. */
static void line_add(struct line *line, const char *text, size_t length)
{
	if (length > line_room(line)) {
		line->full = true;
		return;
	}
	memcpy(line->text + line->length, text, length);
	line->length += length;
}

static void line_text(struct line *line, const char *text)
{
	line_add(line, text, strlen(text));
}

/* For what closes a line or a value: the tail is kept free for it. */
static void line_close(struct line *line, char c)
{
	line->text[line->length++] = c;
}

/* The length of the UTF-8 sequence at text (RFC 3629) and its code point; 0 if there is none. */
static size_t utf8_decode(const unsigned char *text, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = text[0] < 0x80 ? 1 : text[0] < 0xc0 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

	if (length == 0 || text[0] > 0xf4)
		return 0;
	*code = length == 1 ? text[0] : text[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		/* The final NUL is no continuation: this never reads past it. */
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (text[i] & 0x3f);
	}
	if (*code < least[length] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return length;
}

static void line_escape(struct line *line, uint32_t code)
{
	char escape[8];

	snprintf(escape, sizeof(escape), "\\u%04x", code & 0xffff);
	line_text(line, escape);
}

/* Quotes so that one line stays one line, JSON stays JSON and a terminal is told nothing, whatever the
 * text holds: controls (C1 too) are escaped, bytes that are no UTF-8 become replacement characters. */
static void line_quoted(struct line *line, const char *text)
{
	line_text(line, "\"");
	while (*text && !line->full) {
		uint32_t code = 0;
		size_t length = utf8_decode((const unsigned char *)text, &code);

		if (length == 0)
			line_escape(line, 0xfffd);
		else if (code == '"' || code == '\\')
			line_text(line, code == '"' ? "\\\"" : "\\\\");
		else if (code == '\n')
			line_text(line, "\\n");
		else if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
			line_escape(line, code);
		else
			line_add(line, text, length);
		text += length ? length : 1;
	}
	line_close(line, '"');
}

static bool needs_quotes(const char *text)
{
	if (!*text)
		return true;
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
			return true;
	}
	return false;
}

/* Begins a field. Returns false if the line has no room for it. Keys are constants that need no quoting. */
static bool line_key(struct line *line, const char *key)
{
	bool json = logger.format == LOG_JSON;

	if (strlen(key) + FIELD_BYTES > line_room(line)) {
		line->full = true;
		return false;
	}
	if (json)
		line_text(line, line->length > 1 ? ",\"" : "\"");
	else if (line->length > 0)
		line_text(line, " ");
	line_text(line, key);
	line_text(line, json ? "\":" : "=");
	return true;
}

static void line_str(struct line *line, const char *key, const char *value)
{
	if (!line_key(line, key))
		return;
	/* What is too long is cut within quotes. */
	if (logger.format == LOG_JSON || needs_quotes(value) || strlen(value) > line_room(line))
		line_quoted(line, value);
	else
		line_text(line, value);
}

static void line_int(struct line *line, const char *key, int64_t value)
{
	char digits[24];

	if (!line_key(line, key))
		return;
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

/* The message's entry: messages are constants, so the pointer stands for the text. Where there is none yet
 * and all places are taken, another message's is given up. */
static struct log_repeat *repeat_of(const char *message, int64_t now_ms)
{
	size_t home = (uintptr_t)message >> 3;
	struct log_repeat *spare = NULL;

	for (size_t i = 0; i < REPEAT_PROBES; i++) {
		struct log_repeat *repeat = &logger.repeats[(home + i) % REPEAT_SLOTS];

		if (repeat->message == message)
			return repeat;
		if (!spare && (!repeat->message || now_ms - repeat->window_start_ms >= WINDOW_MS))
			spare = repeat;
	}
	if (!spare)
		spare = &logger.repeats[home % REPEAT_SLOTS];
	*spare = (struct log_repeat){.message = message, .window_start_ms = now_ms};
	return spare;
}

/* Returns false if the line shall not appear; otherwise *suppressed is how many were held back since the
 * last one that did. */
static bool log_admit(const char *message, uint64_t *suppressed)
{
	int64_t now_ms = clock_now_ms();
	struct log_repeat *repeat = repeat_of(message, now_ms);

	*suppressed = 0;
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
		line_text(&line, "{");
	line_time(&line);
	line_str(&line, "level", level_name(level));
	line_str(&line, "role", logger.role);
	line_str(&line, "msg", message);
	/* Before the fields, which may fill the line. */
	if (suppressed)
		line_int(&line, "suppressed", (int64_t)suppressed);
	for (size_t i = 0; i < count; i++) {
		if (fields[i].kind == LOG_FIELD_STR)
			line_str(&line, fields[i].key, fields[i].str ? fields[i].str : fields[i].text);
		else if (fields[i].kind == LOG_FIELD_INT)
			line_int(&line, fields[i].key, fields[i].num);
	}
	if (logger.format == LOG_JSON)
		line_close(&line, '}');
	line_close(&line, '\n');
	/* Nowhere to report a failure to. */
	if (write(STDERR_FILENO, line.text, line.length) < 0)
		return;
}
