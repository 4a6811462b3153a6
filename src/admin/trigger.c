/* Owns what is known of when endpoints have changed in the cluster. Runs in control.
 *
 * A Service comes again with every change of any of its slices, so the time that was counted last is kept for
 * each, and only a newer one counts. */
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "admin/admin_private.h"
#include "portald/mem.h"

struct trigger {
	UT_hash_handle hh;
	struct trigger *next; /* in the list of those that wait */
	bool pending;
	int64_t ms;
	char key[]; /* namespace/service */
};

static struct trigger *find(struct admin *admin, const char *key)
{
	struct trigger *trigger;

	HASH_FIND(hh, admin->triggers, key, strlen(key), trigger);
	return trigger;
}

static struct trigger *add(struct admin *admin, const char *key)
{
	size_t length = strlen(key);
	struct trigger *trigger = mem_calloc(1, sizeof(*trigger) + length + 1);

	memcpy(trigger->key, key, length + 1);
	HASH_ADD_KEYPTR(hh, admin->triggers, trigger->key, length, trigger);
	return trigger;
}

static void drop(struct admin *admin, struct trigger *trigger)
{
	struct trigger **link = &admin->pending_triggers;

	while (trigger->pending && *link != trigger)
		link = &(*link)->next;
	if (trigger->pending)
		*link = trigger->next;
	HASH_DEL(admin->triggers, trigger);
	free(trigger);
}

static void note(struct admin *admin, const char *key, int64_t trigger_ms)
{
	struct trigger *trigger = find(admin, key);

	if (trigger_ms == 0) {
		if (trigger)
			drop(admin, trigger);
		return;
	}
	if (trigger_ms * 1000 < admin->health.started_wall_us || (trigger && trigger->ms >= trigger_ms))
		return;
	if (!trigger)
		trigger = add(admin, key);
	trigger->ms = trigger_ms;
	if (trigger->pending)
		return;
	trigger->pending = true;
	trigger->next = admin->pending_triggers;
	admin->pending_triggers = trigger;
}

void admin_note_trigger(struct admin *admin, const char *namespace, const char *service, int64_t trigger_ms)
{
	char *key = mem_printf("%s/%s", namespace, service);

	note(admin, key, trigger_ms);
	free(key);
}

void triggers_done(struct admin *admin)
{
	int64_t now_ms = admin->options.wall_us() / 1000;

	while (admin->pending_triggers) {
		struct trigger *trigger = admin->pending_triggers;

		admin->pending_triggers = trigger->next;
		trigger->pending = false;
		/* Clocks may differ. */
		histogram_add(&admin->counts.programming,
			trigger->ms < now_ms ? (double)(now_ms - trigger->ms) / 1000 : 0);
	}
}

void triggers_free(struct admin *admin)
{
	struct trigger *trigger, *next;

	HASH_ITER (hh, admin->triggers, trigger, next)
		drop(admin, trigger);
}
