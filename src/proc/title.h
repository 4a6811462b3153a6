/* The process title, as ps shows it. */
#ifndef PROC_TITLE_H
#define PROC_TITLE_H

#include <stddef.h>

/* The memory that holds the title: that of the original arguments and environment. */
struct title {
	char *start;
	size_t bytes;
	char **environment; /* the copies, also of variables that are taken out of the environment later */
};

/* Takes the memory of argv and environ for titles; both keep working, as copies. argv is the array that
 * main got. Returns 0 or -ENOMEM. Call once, first of all. */
int title_init(struct title *title, int argc, char **argv);

/* Frees the copies of the environment, which is empty then. */
void title_fini(struct title *title);

/* Sets "portald: " and the formatted text, cut to what fits. */
void title_set(const struct title *title, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
