/* Lines of a text, as parts of it. */
#ifndef STEERING_LINES_H
#define STEERING_LINES_H

#include <stdbool.h>
#include <stddef.h>

/* A part of a text. */
struct span {
	const char *start;
	size_t length;
};

/* Takes the next line (without its end) off *rest; false at the end. */
bool span_next_line(const char **rest, struct span *line);

/* The line with that number, from 1 on; an empty one if there is none. */
struct span span_nth_line(const char *text, unsigned long number);

/* Takes the next word, a quoted one as a whole, off *rest; false at the end. */
bool span_next_word(struct span *rest, struct span *word);

bool span_is(const struct span *span, const char *text);

/* Lines in the order in which they stand. They point into the text, which must outlive them. */
struct lines {
	struct span *list;
	size_t count, capacity;
};

void lines_add(struct lines *lines, struct span line);
void lines_add_text(struct lines *lines, const char *text);
void lines_fini(struct lines *lines);

/* True if both have the same lines, each as often, in whatever order. */
bool lines_same_set(const struct span *a, size_t a_count, const struct span *b, size_t b_count);

/* Sorts them for lines_sorted_have(). */
void lines_sort(struct lines *lines);
bool lines_sorted_have(const struct lines *lines, const struct span *line);

/* Takes what both have out of both, one for one. What is left stays in order. */
void lines_cancel(struct lines *a, struct lines *b);

#endif
