/* The supervisor: takes plan records from control, opens listeners, hands them to the relays, has the rules
 * programmed, and restarts what dies. It parses nothing but its own messages and never sees a client's byte.
 *
 * A sync: control's records are collected between SYNC_BEGIN and SYNC_END, then applied at once: listeners
 * open, relays are told, rules are changed, and when the rules are in force, what was removed is closed. */
#include "proc/supervisor.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "portald/descriptors.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "portald/stats.h"
#include "portald/steering.h"
#include "proc/children.h"
#include "proc/command.h"
#include "proc/control.h"
#include "proc/notify.h"
#include "proc/ports.h"
#include "proc/records.h"
#include "proc/reload.h"
#include "proc/staged.h"
#include "proc/table.h"
#include "proc/tell.h"
#include "proc/vitals.h"

/* For one run of a firewall tool, which waits up to 5 s for the xtables lock. */
#define TOOL_TIMEOUT_MS 20000
/* Listeners that could not be opened, and ports that could not be claimed, are tried again this often. */
#define REOPEN_MS 2000

struct supervisor {
	const struct supervisor_setup *setup;
	const struct options *options; /* in force: setup's, or reload's */
	struct reload *reload;
	struct event_base *base;
	struct event *signals[4];
	struct event *reopen;
	struct stats *stats;
	struct table *table;
	struct children *children;
	enum steering_kind kind;
	struct steering *steering; /* NULL with --steering=none */
	struct ports *ports;
	struct addresses_watch *watch;
	struct notify *notify;
	struct vitals *vitals;
	bool syncing; /* between SYNC_BEGIN and SYNC_END */
	struct ipc_sync sync;
	struct staged_list staged;
	uint64_t applied;  /* the generation that was given to steering last */
	size_t missing;    /* listeners that could not be opened */
	bool ready;        /* a plan has been in force */
	pid_t command_pid; /* 0: no COMMAND is running */
	int exit_code;
};

static void supervisor_stop(struct supervisor *supervisor, int exit_code)
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
		supervisor->steering != NULL);
}

static void tell_relays(struct supervisor *supervisor, const struct table_entry *entry, unsigned change)
{
	for (uint32_t i = 0; i < supervisor->options->relay_count; i++)
		tell_relay(supervisor, i, entry, change);
}

static void on_entry_gone(void *context, struct table_entry *entry)
{
	struct supervisor *supervisor = context;

	for (uint32_t i = 0; i < supervisor->options->relay_count; i++)
		tell_gone(children_relay(supervisor->children, i), entry);
}

static void on_bound(void *context, const struct table_entry *entry, const struct table_binding *binding)
{
	struct supervisor *supervisor = context;

	for (uint32_t i = 0; i < supervisor->options->relay_count; i++)
		tell_of_binding(children_relay(supervisor->children, i), i, entry, binding,
			TABLE_FRONT | TABLE_BACKENDS);
}

static void on_unbound(void *context, const struct table_entry *entry, const struct table_binding *binding)
{
	struct supervisor *supervisor = context;

	(void)entry;
	for (uint32_t i = 0; i < supervisor->options->relay_count; i++)
		tell_unbound(children_relay(supervisor->children, i), binding);
}

/* ---- rules ---- */

static void tell_control_done(struct supervisor *supervisor, int error)
{
	struct link *link = children_control(supervisor->children);
	struct ipc_sync_done done = {
		.generation = supervisor->applied,
		.failed = (uint32_t)supervisor->missing,
		.error = error,
	};

	if (link_is_up(link))
		link_sent(link, ipc_send_sync_done(link->channel, &done));
}

/* What became of a listener: at its portals, and in the counters. */
static void tell_control_state(void *context, const struct table_entry *entry)
{
	struct supervisor *supervisor = context;

	tell_state(children_control(supervisor->children), entry, supervisor->steering);
}

/* Seldom, so that it may look at all. */
static void on_refusal(void *context, const char *key)
{
	struct supervisor *supervisor = context;

	for (struct table_entry *entry = table_first(supervisor->table); entry; entry = entry->hh.next) {
		if (strcmp(entry->record->key, key) == 0)
			tell_control_state(supervisor, entry);
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

static void in_force(struct supervisor *supervisor)
{
	table_drop_retired(supervisor->table, on_entry_gone, supervisor);
	ports_settle(supervisor->ports);
	log_info(supervisor->ready ? "plan in force" : "ready",
		log_int("generation", (int64_t)supervisor->applied),
		log_int("listeners", (int64_t)table_count(supervisor->table)),
		log_int("not_open", (int64_t)supervisor->missing),
		log_int("not_claimed", (int64_t)ports_failed(supervisor->ports)));
	if (!supervisor->steering)
		records_print_table(supervisor->table, stdout);
	if (!supervisor->ready && supervisor->options->command == OPTIONS_RUN)
		start_command(supervisor);
	supervisor->ready = true;
	notify_ready(supervisor->notify, supervisor->missing > 0
						 ? "Serving; some listeners could not be opened, see the log"
						 : "Serving");
}

static void on_synced(void *context, int error, const char *detail)
{
	struct supervisor *supervisor = context;

	if (error < 0) {
		log_error("rules not in force: will try again", log_errno("error", -error),
			log_str("detail", detail));
		notify_status(supervisor->notify, "Rules are not in force: will try again, see the log");
	} else if (steering_is_behind(supervisor->steering)) {
		return;
	} else {
		in_force(supervisor);
	}
	tell_control_done(supervisor, error);
}

static void try_again_later(struct supervisor *supervisor)
{
	struct timeval later = {.tv_sec = REOPEN_MS / 1000};

	if (supervisor->missing > 0 || ports_failed(supervisor->ports) > 0)
		event_add(supervisor->reopen, &later);
}

static void apply_rules(struct supervisor *supervisor)
{
	struct steering_rules rules;

	if (!supervisor->steering) {
		in_force(supervisor);
		tell_control_done(supervisor, 0);
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
	tell_control_state(context, entry);
}

/* Where only endpoints have changed, no rule is touched; but what was asked for before must be in force. */
static void rules_stay(struct supervisor *supervisor)
{
	if (supervisor->steering && steering_is_behind(supervisor->steering))
		return;
	log_info("plan in force", log_int("generation", (int64_t)supervisor->applied));
	tell_control_done(supervisor, 0);
}

/* Opens what could not be opened and claims what could not be claimed. Returns true if that changes rules. */
static bool retry(struct supervisor *supervisor)
{
	size_t before = supervisor->missing;
	bool changed;

	supervisor->missing = table_open_missing(supervisor->table, on_opened, supervisor);
	changed = supervisor->steering && ports_update(supervisor->ports);
	try_again_later(supervisor);
	return changed || supervisor->missing < before;
}

static void on_reopen(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	if (retry(context))
		apply_rules(context);
}

static void on_addresses_changed(void *context)
{
	if (retry(context))
		apply_rules(context);
}

/* ---- a sync from control ---- */

static void discard_staged(struct supervisor *supervisor)
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
	tell_control_state(supervisor, entry);
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
	discard_staged(supervisor);
	/* Where only endpoints changed, nothing is looked at that grows with the number of Services. */
	if (changed) {
		retry(supervisor);
		apply_rules(supervisor);
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

static int on_child_frame(void *context, enum ipc_role role, uint32_t index, struct ipc_frame *frame)
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

/* ---- children ---- */

static void on_child_up(void *context, enum ipc_role role, uint32_t index)
{
	struct supervisor *supervisor = context;

	if (role == IPC_ROLE_CONTROL)
		return;
	for (struct table_entry *entry = table_first(supervisor->table); entry; entry = entry->hh.next)
		tell_relay(supervisor, index, entry, TABLE_FRONT | TABLE_BACKENDS);
}

static void on_child_gone(void *context, enum ipc_role role, uint32_t index, int status)
{
	struct supervisor *supervisor = context;

	if (role == IPC_ROLE_RELAY) {
		stats_relay_reset_active(supervisor->stats, index, table_listener_slots(supervisor->table),
			table_backend_slots(supervisor->table));
		return;
	}
	discard_staged(supervisor);
	if (!supervisor->ready && WIFEXITED(status) &&
		(WEXITSTATUS(status) == CONTROL_EXIT_FATAL || WEXITSTATUS(status) == CONTROL_EXIT_BIND))
		supervisor_stop(supervisor, 1);
}

static void on_config(void *context, int fd)
{
	struct supervisor *supervisor = context;

	reload_start(supervisor->reload, fd);
}

/* Control starts anew and sends its plan: what the options change of it is found as a difference. */
static void on_reloaded(void *context, const struct options *fresh)
{
	struct supervisor *supervisor = context;

	supervisor->options = fresh;
	ports_set_options(supervisor->ports, fresh);
	if (supervisor->steering)
		steering_set_periods(
			supervisor->steering, (int)fresh->min_sync_period_ms, (int)fresh->sync_period_ms);
	children_take_settings(supervisor->children, &fresh->file);
	if (retry(supervisor))
		apply_rules(supervisor);
}

static void on_starter_gone(void *context)
{
	supervisor_stop(context, 1);
}

static const struct child_handlers child_handlers = {
	.up = on_child_up,
	.frame = on_child_frame,
	.gone = on_child_gone,
	.config = on_config,
	.starter_gone = on_starter_gone,
};

/* ---- signals ---- */

static void on_terminate(evutil_socket_t signal_number, short what, void *context)
{
	struct supervisor *supervisor = context;
	bool run = supervisor->options->command == OPTIONS_RUN;

	(void)what;
	/* ^C in the terminal reaches COMMAND by itself, and COMMAND decides what it means. */
	if (run && supervisor->command_pid && signal_number == SIGINT)
		return;
	log_info("stopping", log_int("signal", signal_number));
	if (supervisor->command_pid)
		kill(supervisor->command_pid, signal_number);
	supervisor_stop(supervisor, run ? 128 + signal_number : 0);
}

static void on_child_signal(evutil_socket_t signal_number, short what, void *context)
{
	struct supervisor *supervisor = context;
	int status;

	(void)signal_number;
	(void)what;
	/* Only COMMAND: the firewall tools are waited for by those who started them. */
	if (supervisor->command_pid && waitpid(supervisor->command_pid, &status, WNOHANG) > 0) {
		supervisor->command_pid = 0;
		supervisor_stop(supervisor, command_exit_code(status));
	}
}

static void add_signal(struct supervisor *supervisor, size_t place, int number, event_callback_fn handle)
{
	supervisor->signals[place] = evsignal_new(supervisor->base, number, handle, supervisor);
	event_add(supervisor->signals[place], NULL);
}

/* ---- life ---- */

static enum steering_kind steering_kind(const struct options *options)
{
	static const enum steering_kind kinds[] = {
		[OPTIONS_STEERING_IPTABLES] = STEERING_IPTABLES,
		[OPTIONS_STEERING_NFTABLES] = STEERING_NFTABLES,
		[OPTIONS_STEERING_LOCAL] = STEERING_LOCAL,
		[OPTIONS_STEERING_NONE] = STEERING_KINDS,
	};

	if (options->steering == OPTIONS_STEERING_AUTO)
		return steering_choose(TOOL_TIMEOUT_MS);
	return kinds[options->steering];
}

static int open_steering(struct supervisor *supervisor)
{
	struct steering_options options = {
		/* A namespace of its own is a new one. */
		.kind = supervisor->kind,
		.take_over = supervisor->options->command != OPTIONS_RUN,
		.tool = supervisor->options->iptables_variant,
		.tool_timeout_ms = TOOL_TIMEOUT_MS,
		.min_sync_period_ms = (int)supervisor->options->min_sync_period_ms,
		.sync_period_ms = (int)supervisor->options->sync_period_ms,
		.synced = on_synced,
		.refusal = on_refusal,
		.context = supervisor,
	};

	if (supervisor->options->steering == OPTIONS_STEERING_NONE)
		return 0;
	supervisor->steering = steering_new(supervisor->base, &options);
	if (!supervisor->steering)
		return -ENOENT;
	supervisor->watch = addresses_watch_new(supervisor->base, on_addresses_changed, supervisor);
	return 0;
}

static uint16_t left_port(void *context, const struct plan_listener *record)
{
	struct supervisor *supervisor = context;
	uint16_t port = 0;

	for (size_t i = 0; supervisor->steering && port == 0 && i < record->portal_count; i++)
		port = steering_left_port(supervisor->steering, record->proto, &record->portals[i].at);
	return port;
}

static int supervisor_open(struct supervisor *supervisor)
{
	struct table_setup table = {
		.bind_v4 = options_bind_addr(supervisor->options, ADDR_V4),
		.bind_v6 = options_bind_addr(supervisor->options, ADDR_V6),
		.range = supervisor->options->proxy_ports,
		.relay_count = supervisor->options->relay_count,
		.spread_sockets = descriptors_limit() / 2,
		.left_port = left_port,
		.context = supervisor,
	};

	supervisor->kind = steering_kind(supervisor->options);
	table.direct = supervisor->kind == STEERING_LOCAL;
	if (getrandom(&table.seed, sizeof(table.seed), 0) < 0)
		return -errno;
	supervisor->stats = stats_map(supervisor->setup->stats_fd, 1);
	if (!supervisor->stats)
		return -errno;
	supervisor->base = event_base_new();
	if (!supervisor->base)
		return -ENOMEM;
	supervisor->table = table_new(&table, supervisor->stats);
	supervisor->ports = ports_new(supervisor->table, supervisor->options, table.direct,
		&(struct claims_listener){.changed = tell_control_state, .context = supervisor},
		&(struct bindings_events){.bound = on_bound, .unbound = on_unbound, .context = supervisor});
	supervisor->children =
		children_new(supervisor->base, supervisor->setup->starter_fd, supervisor->setup->stats_fd,
			supervisor->stats, supervisor->options->relay_count, &child_handlers, supervisor);
	supervisor->notify = notify_new(
		supervisor->base, supervisor->setup->notify, children_are_well, supervisor->children);
	supervisor->vitals = vitals_new(supervisor->base, supervisor->stats);
	supervisor->reload = reload_new(supervisor->base, supervisor->options, on_reloaded, supervisor);
	supervisor->reopen = event_new(supervisor->base, -1, 0, on_reopen, supervisor);
	add_signal(supervisor, 0, SIGTERM, on_terminate);
	add_signal(supervisor, 1, SIGINT, on_terminate);
	add_signal(supervisor, 2, SIGHUP, on_terminate);
	add_signal(supervisor, 3, SIGCHLD, on_child_signal);
	return open_steering(supervisor);
}

/* Rules go first, then the processes: until its rule is gone, a connection is still served. */
static void supervisor_close(struct supervisor *supervisor)
{
	const struct options *options = supervisor->options;

	/* In a namespace of its own there is nothing to clean: it ends with the last process in it. */
	bool clean = supervisor->steering && !options->keep_rules && options->command != OPTIONS_RUN;

	steering_free(supervisor->steering);
	if (clean && steering_cleanup(TOOL_TIMEOUT_MS) < 0 && supervisor->exit_code == 0)
		supervisor->exit_code = 1;
	if (!supervisor->children)
		close(supervisor->setup->starter_fd);
	children_free(supervisor->children);
	table_free(supervisor->table);
	ports_free(supervisor->ports);
	addresses_watch_free(supervisor->watch);
	notify_free(supervisor->notify);
	vitals_free(supervisor->vitals);
	staged_fini(&supervisor->staged);
	reload_free(supervisor->reload);
	if (supervisor->reopen)
		event_free(supervisor->reopen);
	for (size_t i = 0; i < sizeof(supervisor->signals) / sizeof(supervisor->signals[0]); i++) {
		if (supervisor->signals[i])
			event_free(supervisor->signals[i]);
	}
	if (supervisor->base)
		event_base_free(supervisor->base);
	stats_unmap(supervisor->stats);
}

int supervisor_run(const struct supervisor_setup *setup)
{
	struct supervisor supervisor = {.setup = setup, .options = setup->options};
	int rc = supervisor_open(&supervisor);

	if (rc == 0) {
		children_start(supervisor.children);
		event_base_dispatch(supervisor.base);
	} else {
		log_error("cannot start", log_errno("error", -rc));
		supervisor.exit_code = 1;
	}
	supervisor_close(&supervisor);
	return supervisor.exit_code;
}
