/* Owns blocks of equal objects. Runs in every relay. */
#include "relay/slab.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define OBJECT_ALIGN ((size_t)16)
#define BLOCK_BYTES ((size_t)16 * 1024)

struct slab_block {
	struct slab_block *next;
	alignas(16) unsigned char objects[];
};

struct free_object {
	struct free_object *next;
};

void slab_init(struct slab *slab, size_t object_bytes)
{
	*slab = (struct slab){.object_bytes = (object_bytes + OBJECT_ALIGN - 1) & ~(OBJECT_ALIGN - 1)};
}

void slab_fini(struct slab *slab)
{
	while (slab->blocks) {
		struct slab_block *block = slab->blocks;

		slab->blocks = block->next;
		free(block);
	}
}

static void slab_push(struct slab *slab, void *memory)
{
	struct free_object *object = memory;

	object->next = slab->free_list;
	slab->free_list = object;
}

static size_t objects_a_block(const struct slab *slab)
{
	return (BLOCK_BYTES - sizeof(struct slab_block)) / slab->object_bytes;
}

static void slab_grow(struct slab *slab)
{
	/* Aligned as malloc aligns: to 16. */
	struct slab_block *block = calloc(1, BLOCK_BYTES);
	size_t count = objects_a_block(slab);

	if (!block)
		return;
	block->next = slab->blocks;
	slab->blocks = block;
	/* Backwards, so that they are handed out in the order of their addresses. */
	while (count-- > 0)
		slab_push(slab, block->objects + count * slab->object_bytes);
}

void *slab_get(struct slab *slab)
{
	struct free_object *object;

	if (!slab->free_list)
		slab_grow(slab);
	object = slab->free_list;
	if (!object)
		return NULL;
	slab->free_list = object->next;
	slab->in_use++;
	return memset(object, 0, slab->object_bytes);
}

void slab_put(struct slab *slab, void *object)
{
	slab->in_use--;
	slab_push(slab, object);
}

void slab_each(struct slab *slab, void (*visit)(void *context, void *object), void *context)
{
	for (struct slab_block *block = slab->blocks; block; block = block->next) {
		for (size_t i = 0; i < objects_a_block(slab); i++)
			visit(context, block->objects + i * slab->object_bytes);
	}
}
