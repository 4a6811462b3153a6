/* Finding the few of many that spoil a transaction: which to try next, given how the tries so far ended.
 * Pure.
 *
 * Items are tried on top of those that were accepted. One that fails alone is refused; so is one that was
 * named as the culprit. */
#ifndef STEERING_BISECT_H
#define STEERING_BISECT_H

#include <stdbool.h>
#include <stddef.h>

struct bisect_range {
	size_t first, end;
};

/* More than this, and it is not for single items that tries fail. */
#define BISECT_MAX_TRIES 64

struct bisect {
	struct bisect_range *todo; /* a stack */
	size_t count, capacity;
	size_t tries;
};

/* Items first to end - 1 were tried and failed: bisect_failed() comes first. */
void bisect_init(struct bisect *bisect, size_t first, size_t end);
void bisect_fini(struct bisect *bisect);

/* The range to be tried next. False if there is none, or too many tries were made already. */
bool bisect_next(struct bisect *bisect, struct bisect_range *range);

/* How the try of the range ended. culprit: the item that was named, or any that is not in the range. Returns
 * true if *refused is an item that is refused now. */
void bisect_accepted(struct bisect *bisect);
bool bisect_failed(struct bisect *bisect, size_t culprit, size_t *refused);

/* True if tries were given up. */
bool bisect_exhausted(const struct bisect *bisect);

#endif
