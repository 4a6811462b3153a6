/* Objects of one size from blocks: no header an object, none of malloc's rounding. Blocks are kept for
 * the next connections; they are given back with the slab. */
#ifndef RELAY_SLAB_H
#define RELAY_SLAB_H

#include <stddef.h>

struct slab_block;

struct slab {
	size_t object_bytes;
	size_t in_use;
	void *free_list;
	struct slab_block *blocks;
};

void slab_init(struct slab *slab, size_t object_bytes);
void slab_fini(struct slab *slab);

/* A zeroed object, aligned to 16 bytes; NULL when out of memory. */
void *slab_get(struct slab *slab);
void slab_put(struct slab *slab, void *object);

/* Calls visit for every object of every block, in use or not: those never handed out are zero, and the
 * first pointer's place of those given back is the slab's. */
void slab_each(struct slab *slab, void (*visit)(void *context, void *object), void *context);

#endif
