/* The store as the watches fill it. */
#ifndef SOURCE_WATCH_STORE_H
#define SOURCE_WATCH_STORE_H

#include "portald/watch.h"
#include "source/api_object.h"

/* One object: it is put, or what there was under its name is removed. Moves out of *object. */
void watch_store_put(struct watch_store *store, enum watch_resource resource, const char *namespace,
	const char *name, struct api_object *object);
void watch_store_remove(
	struct watch_store *store, enum watch_resource resource, const char *namespace, const char *name);

/* A list on its way, page by page; the store shows it when it is complete, and all at once.
 * _begin drops one that was not completed. */
void watch_store_list_begin(struct watch_store *store, enum watch_resource resource);
void watch_store_list_put(struct watch_store *store, enum watch_resource resource, const char *namespace,
	const char *name, struct api_object *object);
/* The object is listed, but cannot be decoded: what there was under its name, if anything, stays. */
void watch_store_list_keep(
	struct watch_store *store, enum watch_resource resource, const char *namespace, const char *name);
void watch_store_list_end(struct watch_store *store, enum watch_resource resource);

#endif
