/* Prometheus' text format, version 0.0.4: families of samples with labels. */
#ifndef ADMIN_TEXT_H
#define ADMIN_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct evbuffer;
struct histogram;

#define TEXT_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum text_type { TEXT_COUNTER, TEXT_GAUGE, TEXT_HISTOGRAM };

/* Begins a family: its samples follow at once, and each family comes once. */
void text_family(struct evbuffer *out, const char *name, enum text_type type, const char *help);

/* A sample. labels is NULL or what text_labels() has made. Numbers that are whole come without exponent. */
void text_sample(struct evbuffer *out, const char *name, const char *labels, double value);

/* The samples of a histogram: of counts, each for itself, bound_count of them and one beyond all bounds. */
void text_histogram(struct evbuffer *out, const char *name, const char *labels, const double *bounds,
	size_t bound_count, const uint64_t *counts, double sum);

/* A label in fresh memory, to be freed by the caller: before (NULL: nothing) with name="value" behind it, the
 * value escaped. */
char *text_label(const char *before, const char *name, const char *value);

#endif
