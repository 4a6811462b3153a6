/* Owns the steps of a sync in the making. Runs in the supervisor. */
#include "proc/staged.h"

#include <errno.h>
#include <stdlib.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "portald/plan.h"
#include "proc/records.h"

static void add(struct staged_list *list, struct staged step)
{
	list->steps = mem_grow(list->steps, list->count, &list->capacity, sizeof(step));
	list->steps[list->count++] = step;
}

int staged_take_put(struct staged_list *list, const struct ipc_frame *frame, const struct options *options)
{
	struct plan_listener *record;
	int rc;

	if (ipc_decode_listener_put(frame, &record) < 0)
		return -EPROTO;
	rc = records_check(record, options);
	if (rc < 0) {
		log_error("a listener is out of bounds", log_str("service", record->key));
		plan_listener_free(record);
		return rc;
	}
	add(list, (struct staged){.put = record});
	return 0;
}

int staged_take_del(struct staged_list *list, const struct ipc_frame *frame)
{
	struct ipc_storage storage = {.count = 0};
	const char *id;

	if (ipc_decode_listener_del(frame, &id, &storage) < 0)
		return -EPROTO;
	add(list, (struct staged){.del = mem_strdup(id)});
	ipc_storage_free(&storage);
	return 0;
}

void staged_clear(struct staged_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		plan_listener_free(list->steps[i].put);
		free(list->steps[i].del);
	}
	list->count = 0;
}

void staged_fini(struct staged_list *list)
{
	staged_clear(list);
	free(list->steps);
	*list = (struct staged_list){.count = 0};
}
