/* The supervisor: takes plan records from control, opens listeners, hands them to the relays, has the rules
 * programmed, and restarts what dies. It parses nothing but its own messages and never sees a client's byte.
 *
 * A sync: control's records are collected between SYNC_BEGIN and SYNC_END, then applied at once: listeners
 * open, relays are told, rules are changed, and when the rules are in force, what was removed is closed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/log.h"
#include "proc/command.h"
#include "proc/records.h"
#include "proc/supervisor_core.h"
#include "proc/tell.h"

/* Listeners that could not be opened, and ports that could not be claimed, are tried again this often. */
#define REOPEN_MS 2000

void supervisor_stop(struct supervisor *supervisor, int exit_code)
{
	supervisor->exit_code = exit_code;
	notify_stopping(supervisor->notify);
	event_base_loopbreak(supervisor->base);
}

/* ---- telling the relays ---- */

static void tell_relay(
	struct supervisor *supervisor, uint32_t relay, const struct table_entry *entry, unsigned change)
{
	tell_of_entry(children_relay(supervisor->children, relay), relay, entry, change,
		supervisor_steers(supervisor));
}

void supervisor_tell_relay(struct supervisor *supervisor, uint32_t relay)
{
	for (struct table_entry *entry = table_first(supervisor->table); entry; entry = entry->hh.next)
		tell_relay(supervisor, relay, entry, TABLE_FRONT | TABLE_BACKENDS);
}

static void tell_relays(struct supervisor *supervisor, const struct table_entry *entry, unsigned change)
{
	if (succeed_waits(supervisor))
		return;
	for (uint32_t i = 0; i < supervisor->options->relay_count; i++)
		tell_relay(supervisor, i, entry, change);
}

static void on_entry_gone(void *context, struct table_entry *entry)
{
	struct supervisor *supervisor = context;

	for (uint32_t i = 0; i < supervisor->options->relay_count; i++)
		tell_gone(children_relay(supervisor->children, i), entry);
}

void supervisor_on_bound(void *context, const struct table_entry *entry, const struct table_binding *binding)
{
	struct supervisor *supervisor = context;

	if (succeed_waits(supervisor))
		return;
	for (uint32_t i = 0; i < supervisor->options->relay_count; i++)
		tell_of_binding(children_relay(supervisor->children, i), i, entry, binding,
			TABLE_FRONT | TABLE_BACKENDS);
}

void supervisor_on_unbound(
	void *context, const struct table_entry *entry, const struct table_binding *binding)
{
	struct supervisor *supervisor = context;

	(void)entry;
	for (uint32_t i = 0; i < supervisor->options->relay_count; i++)
		tell_unbound(children_relay(supervisor->children, i), binding);
}

/* ---- rules ---- */

void supervisor_tell_control_done(struct supervisor *supervisor, int error)
{
	struct link *link = children_control(supervisor->children);
	struct ipc_sync_done done = {
		.generation = supervisor->applied,
		.failed = (uint32_t)supervisor->missing,
		.error = error,
	};

	if (link_is_up(link) && !succeed_waits(supervisor))
		link_sent(link, ipc_send_sync_done(link->channel, &done));
}

/* What became of a listener: at its portals, and in the counters. */
void supervisor_on_state(void *context, const struct table_entry *entry)
{
	struct supervisor *supervisor = context;

	tell_state(children_control(supervisor->children), entry, supervisor->steering);
}

/* Seldom, so that it may look at all. */
void supervisor_on_refusal(void *context, const char *key)
{
	struct supervisor *supervisor = context;

	for (struct table_entry *entry = table_first(supervisor->table); entry; entry = entry->hh.next) {
		if (strcmp(entry->record->key, key) == 0)
			supervisor_on_state(supervisor, entry);
	}
}

static void start_command(struct supervisor *supervisor)
{
	pid_t pid = command_start(supervisor->options->run_command);

	if (pid < 0) {
		log_error("cannot start the command", log_errno("error", (int)-pid));
		supervisor_stop(supervisor, 1);
		return;
	}
	supervisor->command_pid = pid;
}

void supervisor_in_force(struct supervisor *supervisor)
{
	table_drop_retired(supervisor->table, on_entry_gone, supervisor);
	ports_settle(supervisor->ports);
	if (succeed_waits(supervisor)) {
		succeed_steered(supervisor);
		return;
	}
	log_info(supervisor->ready ? "plan in force" : "ready",
		log_int("generation", (int64_t)supervisor->applied),
		log_int("listeners", (int64_t)table_count(supervisor->table)),
		log_int("not_open", (int64_t)supervisor->missing),
		log_int("not_claimed", (int64_t)ports_failed(supervisor->ports)));
	if (!supervisor_steers(supervisor))
		records_print_table(supervisor->table, stdout);
	if (!supervisor->ready && supervisor->options->command == OPTIONS_RUN)
		start_command(supervisor);
	supervisor->ready = true;
	notify_ready(supervisor->notify, supervisor->missing > 0
						 ? "Serving; some listeners could not be opened, see the log"
						 : "Serving");
}

void supervisor_on_synced(void *context, int error, const char *detail)
{
	struct supervisor *supervisor = context;

	if (error < 0) {
		log_error("rules not in force: will try again", log_errno("error", -error),
			log_str("detail", detail));
		notify_status(supervisor->notify, "Rules are not in force: will try again, see the log");
	} else if (steering_is_behind(supervisor->steering)) {
		return;
	} else {
		supervisor_in_force(supervisor);
	}
	supervisor_tell_control_done(supervisor, error);
}

static void try_again_later(struct supervisor *supervisor)
{
	struct timeval later = {.tv_sec = REOPEN_MS / 1000};

	if (supervisor->missing > 0 || ports_failed(supervisor->ports) > 0)
		event_add(supervisor->reopen, &later);
}

void supervisor_apply_rules(struct supervisor *supervisor)
{
	struct steering_rules rules;

	if (supervisor->stage != STAGE_STEERING && supervisor->stage != STAGE_SERVING)
		return;
	if (!supervisor->steering) {
		supervisor_in_force(supervisor);
		supervisor_tell_control_done(supervisor, 0);
		return;
	}
	records_rules(&rules, supervisor->table, &supervisor->options->bind_addr);
	ports_describe(supervisor->ports, &rules);
	steering_apply(supervisor->steering, &rules);
	steering_rules_fini(&rules);
}

static void on_opened(void *context, struct table_entry *entry)
{
	tell_relays(context, entry, TABLE_FRONT | TABLE_BACKENDS);
	supervisor_on_state(context, entry);
}

/* Where only endpoints have changed, no rule is touched; but what was asked for before must be in force. */
static void rules_stay(struct supervisor *supervisor)
{
	if (supervisor->steering && steering_is_behind(supervisor->steering))
		return;
	log_info("plan in force", log_int("generation", (int64_t)supervisor->applied));
	supervisor_tell_control_done(supervisor, 0);
}

/* Opens what could not be opened and claims what could not be claimed. Returns true if that changes rules. */
bool supervisor_retry(struct supervisor *supervisor)
{
	size_t before = supervisor->missing;
	bool changed;

	supervisor->missing = table_open_missing(supervisor->table, on_opened, supervisor);
	changed = supervisor_steers(supervisor) && ports_update(supervisor->ports);
	try_again_later(supervisor);
	return changed || supervisor->missing < before;
}

void supervisor_on_reopen(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	if (supervisor_retry(context))
		supervisor_apply_rules(context);
}

void supervisor_on_addresses_changed(void *context)
{
	if (supervisor_retry(context))
		supervisor_apply_rules(context);
}

/* ---- a sync from control ---- */

void supervisor_discard_staged(struct supervisor *supervisor)
{
	staged_clear(&supervisor->staged);
	supervisor->syncing = false;
}

/* Returns true if rules may have to change. */
static bool apply_staged(struct supervisor *supervisor, struct staged *staged)
{
	struct table_entry *entry;
	unsigned change;

	if (staged->del) {
		entry = table_find(supervisor->table, staged->del);
		if (entry)
			table_retire(supervisor->table, entry);
		return entry != NULL;
	}
	entry = table_put_take(supervisor->table, staged->put, &change);
	staged->put = NULL;
	if (!entry)
		return true;
	tell_relays(supervisor, entry, change);
	supervisor_on_state(supervisor, entry);
	return change & TABLE_FRONT;
}

static void apply_sync(struct supervisor *supervisor)
{
	/* Nothing was asked for before the first plan, not even that there be nothing. */
	bool changed = !supervisor->ready;

	if (supervisor->sync.full)
		table_unmark_all(supervisor->table);
	for (size_t i = 0; i < supervisor->staged.count; i++)
		changed |= apply_staged(supervisor, &supervisor->staged.steps[i]);
	if (supervisor->sync.full)
		changed |= table_retire_unkept(supervisor->table) > 0;
	supervisor->applied = supervisor->sync.generation;
	supervisor_discard_staged(supervisor);
	/* Where only endpoints changed, nothing is looked at that grows with the number of Services. */
	if (changed) {
		supervisor_retry(supervisor);
		supervisor_apply_rules(supervisor);
	} else {
		rules_stay(supervisor);
	}
}

static int take_sync(struct supervisor *supervisor, const struct ipc_frame *frame)
{
	struct ipc_sync sync;
	int rc = ipc_decode_sync(frame, &sync);

	if (rc < 0 || supervisor->syncing == (frame->type == IPC_SYNC_BEGIN))
		return -EPROTO;
	if (frame->type == IPC_SYNC_BEGIN) {
		supervisor->sync = sync;
		supervisor->syncing = true;
		return 0;
	}
	if (sync.generation != supervisor->sync.generation)
		return -EPROTO;
	apply_sync(supervisor);
	return 0;
}

int supervisor_on_child_frame(void *context, enum ipc_role role, uint32_t index, struct ipc_frame *frame)
{
	struct supervisor *supervisor = context;

	(void)index;
	/* Relays have nothing to say: what they count is in shared memory. */
	if (role != IPC_ROLE_CONTROL)
		return -EPROTO;
	switch (frame->type) {
	case IPC_SYNC_BEGIN:
	case IPC_SYNC_END:
		return take_sync(supervisor, frame);
	case IPC_LISTENER_PUT:
		return supervisor->syncing ? staged_take_put(&supervisor->staged, frame, supervisor->options)
					   : -EPROTO;
	case IPC_LISTENER_DEL:
		return supervisor->syncing ? staged_take_del(&supervisor->staged, frame) : -EPROTO;
	default:
		return -EPROTO;
	}
}
