/* Owns the numbering of counter slots. Runs in the supervisor. */
#include "proc/slots.h"

#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"

void slots_init(struct slots *slots, uint32_t limit)
{
	*slots = (struct slots){.limit = limit};
}

void slots_fini(struct slots *slots)
{
	free(slots->freed);
}

uint32_t slots_take(struct slots *slots, bool (*idle)(void *context, uint32_t slot), void *context)
{
	if (slots->count > 0 && idle(context, slots->freed[slots->head])) {
		slots->count--;
		return slots->freed[slots->head++];
	}
	return slots->next < slots->limit ? slots->next++ : SLOTS_NONE;
}

void slots_give_back(struct slots *slots, uint32_t slot)
{
	if (slots->head > 0 && slots->head + slots->count == slots->capacity) {
		memmove(slots->freed, slots->freed + slots->head, slots->count * sizeof(*slots->freed));
		slots->head = 0;
	}
	slots->freed =
		mem_grow(slots->freed, slots->head + slots->count, &slots->capacity, sizeof(*slots->freed));
	slots->freed[slots->head + slots->count++] = slot;
}
