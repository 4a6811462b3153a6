/* Owns the comparison of texts line by line. Runs in the supervisor. */
#include "steering/lines.h"

#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"

/* ---- spans ---- */

bool span_next_line(const char **rest, struct span *line)
{
	const char *end;

	if (!**rest)
		return false;
	end = strchrnul(*rest, '\n');
	*line = (struct span){*rest, (size_t)(end - *rest)};
	*rest = *end ? end + 1 : end;
	return true;
}

struct span span_nth_line(const char *text, unsigned long number)
{
	struct span line = {text, 0};

	for (unsigned long at = 0; at < number; at++) {
		if (!span_next_line(&text, &line))
			return (struct span){text, 0};
	}
	return line;
}

bool span_next_word(struct span *rest, struct span *word)
{
	size_t start = 0, end;
	bool quoted = false;

	while (start < rest->length && rest->start[start] == ' ')
		start++;
	for (end = start; end < rest->length && (quoted || rest->start[end] != ' '); end++) {
		if (rest->start[end] == '\\')
			end++;
		else if (rest->start[end] == '"')
			quoted = !quoted;
	}
	if (end > rest->length)
		end = rest->length;
	*word = (struct span){rest->start + start, end - start};
	*rest = (struct span){rest->start + end, rest->length - end};
	return word->length > 0;
}

bool span_is(const struct span *span, const char *text)
{
	return span->length == strlen(text) && memcmp(span->start, text, span->length) == 0;
}

static int span_cmp(const struct span *a, const struct span *b)
{
	size_t shorter = a->length < b->length ? a->length : b->length;
	int order = memcmp(a->start, b->start, shorter);

	return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

/* ---- lines ---- */

void lines_add(struct lines *lines, struct span line)
{
	if (lines->count == lines->capacity)
		lines->list = mem_grow(lines->list, lines->count, &lines->capacity, sizeof(*lines->list));
	lines->list[lines->count++] = line;
}

void lines_add_text(struct lines *lines, const char *text)
{
	struct span line;

	while (span_next_line(&text, &line))
		lines_add(lines, line);
}

void lines_fini(struct lines *lines)
{
	free(lines->list);
	*lines = (struct lines){.count = 0};
}

/* ---- comparing ---- */

static int pointed_cmp(const void *a, const void *b)
{
	const struct span *const *x = a, *const *y = b;

	return span_cmp(*x, *y);
}

/* Pointers to the spans, sorted by what they point to. The caller frees them. */
static const struct span **sorted(const struct span *list, size_t count)
{
	const struct span **pointers = mem_calloc(count, sizeof(*pointers));

	for (size_t i = 0; i < count; i++)
		pointers[i] = &list[i];
	if (count > 0)
		qsort(pointers, count, sizeof(*pointers), pointed_cmp);
	return pointers;
}

bool lines_same_set(const struct span *a, size_t a_count, const struct span *b, size_t b_count)
{
	const struct span **x, **y;
	bool same = a_count == b_count;

	/* They mostly stand in the same order too. */
	for (size_t i = 0; same && i < a_count; i++)
		same = span_cmp(&a[i], &b[i]) == 0;
	if (same || a_count != b_count)
		return same;
	x = sorted(a, a_count);
	y = sorted(b, b_count);
	same = true;
	for (size_t i = 0; same && i < a_count; i++)
		same = span_cmp(x[i], y[i]) == 0;
	free(x);
	free(y);
	return same;
}

static int spans_cmp(const void *a, const void *b)
{
	return span_cmp(a, b);
}

void lines_sort(struct lines *lines)
{
	if (lines->count > 0)
		qsort(lines->list, lines->count, sizeof(*lines->list), spans_cmp);
}

bool lines_sorted_have(const struct lines *lines, const struct span *line)
{
	return lines->count > 0 &&
	       bsearch(line, lines->list, lines->count, sizeof(*lines->list), spans_cmp) != NULL;
}

static void keep_unmarked(struct lines *lines, const bool *marked)
{
	size_t kept = 0;

	for (size_t i = 0; i < lines->count; i++) {
		if (!marked[i])
			lines->list[kept++] = lines->list[i];
	}
	lines->count = kept;
}

void lines_cancel(struct lines *a, struct lines *b)
{
	const struct span **x = sorted(a->list, a->count), **y = sorted(b->list, b->count);
	bool *in_b = mem_calloc(a->count, sizeof(*in_b)), *in_a = mem_calloc(b->count, sizeof(*in_a));
	size_t i = 0, k = 0;

	while (i < a->count && k < b->count) {
		int order = span_cmp(x[i], y[k]);

		if (order == 0) {
			in_b[x[i] - a->list] = true;
			in_a[y[k] - b->list] = true;
		}
		i += order <= 0;
		k += order >= 0;
	}
	keep_unmarked(a, in_b);
	keep_unmarked(b, in_a);
	free(in_a);
	free(in_b);
	free(x);
	free(y);
}
