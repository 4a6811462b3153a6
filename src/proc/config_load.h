/* The configuration file: read, and written. */
#ifndef PROC_CONFIG_LOAD_H
#define PROC_CONFIG_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "portald/source.h"
#include "proc/options.h"

/* The largest configuration file that is read. */
#define CONFIG_MAX_BYTES ((size_t)1024 * 1024)

/* Reads a configuration file's content into settings. Every value is one that its flag takes. Findings go to
 * print, one formatted line each. Returns the number of errors; with any, *out is to be freed, not used. */
size_t config_parse(struct settings *out, const struct source_text *text,
	void (*print)(enum source_severity severity, const char *line));

/* Opens line->config_path and has it parsed by a short-lived process without privilege, which logs what it
 * finds. Returns 0 and *out, which the caller frees, or a negative errno (logged). */
int config_load(const struct options *line, struct settings *out);

/* Forks a reader of line->config_path: a process that first calls in_child (NULL is fine) to let go of what
 * is not a parser's, gives up all privilege, and sends settings through the descriptor that is returned, or
 * logs why not. Returns it, which the caller closes, and *pid, which the caller waits for; or a negative
 * errno. */
int config_reader_start(
	const struct options *line, void (*in_child)(void *context), void *context, pid_t *pid);

/* Whether text, all that a reader has sent, is whole; cuts off what says so. */
bool config_text_is_whole(char *text);

/* Prints a finding to the log. */
void config_log_finding(enum source_severity severity, const char *line);

/* Writes what is in force to options->write_config_to. Returns 0 or a negative errno (logged). */
int config_write(const struct options *options);

/* Prints it. */
void config_print(const struct options *options, FILE *out);

/* kube-proxy's part of it as JSON, as /configz has it: {"kubeproxy.config.k8s.io": {...}}. In fresh memory,
 * to be freed by the caller; NULL if out of memory. */
char *config_json(const struct options *options);

/* Logs once which settings that were given have no effect. */
void config_log_ignored(const struct options *options);

#endif
