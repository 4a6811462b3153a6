/* Structured log lines on standard error, as key=value text or JSON, one line a call, one write a line.
 *
 * Every process of the daemon has one logger; it is the only process-wide state in the program
 * (documented in doc/ARCHITECTURE.md). Messages are constant text; what varies goes into fields:
 *
 *     log_error("cannot open listener", log_str("service", key), log_errno("error", -rc));
 *
 * Warnings and errors with the same message are limited to a burst of 10 every 10 s; the next line that
 * passes carries suppressed=N.
 */
#ifndef PORTALD_LOG_H
#define PORTALD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO };
enum log_format { LOG_TEXT, LOG_JSON };

struct addr;
struct addr_port;

/* One field. Made by the log_* constructors below; strings are borrowed for the call. */
struct log_field {
	const char *key;
	enum { LOG_FIELD_NONE, LOG_FIELD_STR, LOG_FIELD_INT } kind;
	const char *str;
	int64_t num;
	char text[64];
};

/* Sets the process's logger: role is "supervisor", "control", "relay-0", ... (copied). Lines of
 * log_v(N) appear when N <= verbosity. */
void log_init(const char *role, enum log_format format, int verbosity);

/* True if log_v(level) lines appear: guards fields that are costly to make. */
bool log_verbose(int level);

/* Text; NULL appears as an empty one. */
struct log_field log_str(const char *key, const char *value);
struct log_field log_int(const char *key, int64_t value);
/* The text of a positive errno. */
struct log_field log_errno(const char *key, int error);
struct log_field log_addr(const char *key, const struct addr *addr);
struct log_field log_addr_port(const char *key, const struct addr_port *at);

/* limited: whether the limit on repeated messages applies (to warnings and errors). */
void log_write(enum log_level level, bool limited, const char *message, const struct log_field *fields,
	size_t count);

#define LOG_FIELDS_(...)                                                                                     \
	(const struct log_field[]){{.kind = LOG_FIELD_NONE}, ##__VA_ARGS__},                                 \
		sizeof((const struct log_field[]){{.kind = LOG_FIELD_NONE}, ##__VA_ARGS__}) /                \
			sizeof(struct log_field)

#define log_error(message, ...) log_write(LOG_LEVEL_ERROR, true, message, LOG_FIELDS_(__VA_ARGS__))
#define log_warning(message, ...) log_write(LOG_LEVEL_WARNING, true, message, LOG_FIELDS_(__VA_ARGS__))
#define log_info(message, ...) log_write(LOG_LEVEL_INFO, true, message, LOG_FIELDS_(__VA_ARGS__))
/* For lines of which each says something else: never held back. */
#define log_each(level, message, ...) log_write(level, false, message, LOG_FIELDS_(__VA_ARGS__))
/* Detail for --v=level and above. */
#define log_v(level, message, ...)                                                                           \
	do {                                                                                                 \
		if (log_verbose(level))                                                                      \
			log_info(message, ##__VA_ARGS__);                                                    \
	} while (0)

#endif
