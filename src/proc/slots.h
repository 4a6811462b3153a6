/* Numbers for places in the shared counters, given out and taken back. */
#ifndef PROC_SLOTS_H
#define PROC_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slots {
	uint32_t next; /* below it, all have been in use */
	uint32_t limit;
	uint32_t *freed; /* oldest first, from freed[head] */
	size_t head, count, capacity;
};

#define SLOTS_NONE UINT32_MAX

void slots_init(struct slots *slots, uint32_t limit);
void slots_fini(struct slots *slots);

/* A slot, or SLOTS_NONE. One that was freed is given out again only if idle() says that no connection
 * counts on it any more. */
uint32_t slots_take(struct slots *slots, bool (*idle)(void *context, uint32_t slot), void *context);

void slots_give_back(struct slots *slots, uint32_t slot);

#endif
