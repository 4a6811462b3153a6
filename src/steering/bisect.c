/* Owns the search for what spoils a transaction. Runs in the supervisor. */
#include "steering/bisect.h"

#include <stdlib.h>

#include "portald/mem.h"

static void push(struct bisect *bisect, size_t first, size_t end)
{
	if (first >= end)
		return;
	if (bisect->count == bisect->capacity)
		bisect->todo =
			mem_grow(bisect->todo, bisect->count, &bisect->capacity, sizeof(*bisect->todo));
	bisect->todo[bisect->count++] = (struct bisect_range){first, end};
}

void bisect_init(struct bisect *bisect, size_t first, size_t end)
{
	*bisect = (struct bisect){.count = 0};
	push(bisect, first, end);
}

void bisect_fini(struct bisect *bisect)
{
	free(bisect->todo);
	*bisect = (struct bisect){.count = 0};
}

bool bisect_next(struct bisect *bisect, struct bisect_range *range)
{
	if (bisect->count == 0 || bisect_exhausted(bisect))
		return false;
	bisect->tries++;
	*range = bisect->todo[bisect->count - 1];
	return true;
}

void bisect_accepted(struct bisect *bisect)
{
	bisect->count--;
}

bool bisect_failed(struct bisect *bisect, size_t culprit, size_t *refused)
{
	struct bisect_range range = bisect->todo[--bisect->count];
	size_t middle = range.first + (range.end - range.first) / 2;
	bool named = culprit >= range.first && culprit < range.end;

	if (range.end - range.first == 1)
		culprit = range.first;
	else if (!named)
		culprit = range.end;
	if (culprit < range.end) {
		push(bisect, culprit + 1, range.end);
		push(bisect, range.first, culprit);
		*refused = culprit;
		return true;
	}
	push(bisect, middle, range.end);
	push(bisect, range.first, middle);
	return false;
}

bool bisect_exhausted(const struct bisect *bisect)
{
	return bisect->count > 0 && bisect->tries >= BISECT_MAX_TRIES;
}
