/* Owns the format of metrics. Runs in control. */
#include "admin/text.h"

#include <event2/buffer.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"

void text_family(struct evbuffer *out, const char *name, enum text_type type, const char *help)
{
	static const char *const types[] = {
		[TEXT_COUNTER] = "counter", [TEXT_GAUGE] = "gauge", [TEXT_HISTOGRAM] = "histogram"};

	evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, types[type]);
}

/* Beyond it a double does not hold every whole number. */
#define WHOLE_MOST 9007199254740992.0

static void number_format(char *buf, size_t bytes, double value)
{
	if (value == trunc(value) && fabs(value) < WHOLE_MOST)
		snprintf(buf, bytes, "%.0f", value);
	else
		snprintf(buf, bytes, "%.15g", value);
}

void text_sample(struct evbuffer *out, const char *name, const char *labels, double value)
{
	char number[32];

	number_format(number, sizeof(number), value);
	if (labels && *labels)
		evbuffer_add_printf(out, "%s{%s} %s\n", name, labels, number);
	else
		evbuffer_add_printf(out, "%s %s\n", name, number);
}

static void bucket(struct evbuffer *out, const char *name, const char *labels, const char *le, uint64_t count)
{
	evbuffer_add_printf(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, labels ? labels : "",
		labels && *labels ? "," : "", le, (unsigned long long)count);
}

void text_histogram(struct evbuffer *out, const char *name, const char *labels, const double *bounds,
	size_t bound_count, const uint64_t *counts, double sum)
{
	char number[32], *sum_name = mem_printf("%s_sum", name), *count_name = mem_printf("%s_count", name);
	uint64_t total = 0;

	for (size_t i = 0; i < bound_count; i++) {
		total += counts[i];
		number_format(number, sizeof(number), bounds[i]);
		bucket(out, name, labels, number, total);
	}
	total += counts[bound_count];
	bucket(out, name, labels, "+Inf", total);
	text_sample(out, sum_name, labels, sum);
	text_sample(out, count_name, labels, (double)total);
	free(sum_name);
	free(count_name);
}

char *text_label(const char *before, const char *name, const char *value)
{
	char *escaped = mem_calloc(2 * strlen(value) + 1, 1), *to = escaped, *label;

	for (const char *from = value; *from; from++) {
		if (*from == '\\' || *from == '"' || *from == '\n')
			*to++ = '\\';
		*to++ = (char)(*from == '\n' ? 'n' : *from);
	}
	label = mem_printf("%s%s%s=\"%s\"", before ? before : "", before ? "," : "", name, escaped);
	free(escaped);
	return label;
}
