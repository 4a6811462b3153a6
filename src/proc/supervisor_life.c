/* Owns the supervisor's life: what it opens and closes, signals, and the end of children. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "portald/descriptors.h"
#include "portald/log.h"
#include "proc/command.h"
#include "proc/control.h"
#include "proc/program.h"
#include "proc/supervisor_core.h"

/* A relay that does not end by itself is ended by the starter. */
#define RELAYS_END_MS 1000

/* ---- children ---- */

static void on_child_up(void *context, enum ipc_role role, uint32_t index)
{
	struct supervisor *supervisor = context;

	if (role == IPC_ROLE_RELAY && !succeed_waits(supervisor))
		supervisor_tell_relay(supervisor, index);
}

static void on_child_gone(void *context, enum ipc_role role, uint32_t index, int status)
{
	struct supervisor *supervisor = context;

	if (succeed_waits(supervisor)) {
		log_error("a child has ended before all was ready: the process before goes on");
		supervisor_stop(supervisor, 1);
		return;
	}
	upgrade_child_gone(supervisor, role);
	if (supervisor->stage == STAGE_DRAINING ||
		(supervisor->stage == STAGE_LEAVING && role == IPC_ROLE_CONTROL))
		return;
	if (role == IPC_ROLE_RELAY) {
		stats_relay_reset_active(supervisor->stats, index, table_listener_slots(supervisor->table),
			table_backend_slots(supervisor->table));
		return;
	}
	supervisor_discard_staged(supervisor);
	if (!supervisor->ready && WIFEXITED(status) &&
		(WEXITSTATUS(status) == CONTROL_EXIT_FATAL || WEXITSTATUS(status) == CONTROL_EXIT_BIND))
		supervisor_stop(supervisor, 1);
}

static void on_config(void *context, int fd)
{
	struct supervisor *supervisor = context;

	if (supervisor->stage == STAGE_DRAINING) {
		close(fd);
		return;
	}
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
	if (supervisor_retry(supervisor))
		supervisor_apply_rules(supervisor);
}

static void on_starter_gone(void *context)
{
	struct supervisor *supervisor = context;

	/* The last one of a process that drains ends it. */
	if (supervisor->stage < STAGE_DRAINING)
		supervisor_stop(supervisor, 1);
}

static const struct child_handlers child_handlers = {
	.up = on_child_up,
	.frame = supervisor_on_child_frame,
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
	if (upgrade_forward(supervisor, signal_number))
		return;
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
	pid_t pid;

	(void)signal_number;
	(void)what;
	/* A keeper has no other children than those of its successors that have lost their parents. */
	while (supervisor->keeps && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (upgrade_is_kept(supervisor, pid))
			supervisor_stop(supervisor, command_exit_code(status));
	}
	if (supervisor->failed_pid && waitpid(supervisor->failed_pid, NULL, WNOHANG) != 0)
		supervisor->failed_pid = 0;
	/* Only COMMAND: the firewall tools are waited for by those who started them. */
	if (supervisor->command_pid && waitpid(supervisor->command_pid, &status, WNOHANG) > 0) {
		supervisor->command_pid = 0;
		supervisor_stop(supervisor, command_exit_code(status));
	}
}

static void on_upgrade_signal(evutil_socket_t signal_number, short what, void *context)
{
	struct supervisor *supervisor = context;

	(void)what;
	if (!upgrade_forward(supervisor, signal_number))
		upgrade_request(supervisor);
}

static void add_signal(struct supervisor *supervisor, size_t place, int number, event_callback_fn handle)
{
	supervisor->signals[place] = evsignal_new(supervisor->base, number, handle, supervisor);
	event_add(supervisor->signals[place], NULL);
}

/* ---- life ---- */

enum steering_kind supervisor_kind(const struct options *options)
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

int supervisor_open_steering(struct supervisor *supervisor)
{
	struct steering_options options = {
		/* A namespace of its own is a new one. */
		.kind = supervisor->kind,
		.take_over = supervisor->options->command != OPTIONS_RUN,
		.tool = supervisor->options->iptables_variant,
		.tool_timeout_ms = TOOL_TIMEOUT_MS,
		.min_sync_period_ms = (int)supervisor->options->min_sync_period_ms,
		.sync_period_ms = (int)supervisor->options->sync_period_ms,
		.synced = supervisor_on_synced,
		.refusal = supervisor_on_refusal,
		.context = supervisor,
	};

	if (supervisor->options->steering == OPTIONS_STEERING_NONE)
		return 0;
	supervisor->steering = steering_new(supervisor->base, &options);
	if (!supervisor->steering)
		return -ENOENT;
	if (!supervisor->watch)
		supervisor->watch =
			addresses_watch_new(supervisor->base, supervisor_on_addresses_changed, supervisor);
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
	const struct notify_target nobody = {.socket_bytes = 0};
	int rc = succeed_load(supervisor);

	if (rc < 0)
		return rc;
	table.inherit = supervisor->inherit;
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
		&(struct claims_listener){.changed = supervisor_on_state, .context = supervisor},
		&(struct bindings_events){.bound = supervisor_on_bound,
			.unbound = supervisor_on_unbound,
			.context = supervisor});
	supervisor->children =
		children_new(supervisor->base, supervisor->setup->starter_fd, supervisor->setup->stats_fd,
			supervisor->stats, supervisor->options->relay_count, &child_handlers, supervisor);
	/* A service manager does not listen to a process that is not the main one yet. */
	supervisor->notify =
		notify_new(supervisor->base, succeed_waits(supervisor) ? &nobody : supervisor->setup->notify,
			children_are_well, supervisor->children);
	supervisor->vitals = vitals_new(supervisor->base, supervisor->stats);
	supervisor->reload = reload_new(supervisor->base, supervisor->options, on_reloaded, supervisor);
	supervisor->reopen = event_new(supervisor->base, -1, 0, supervisor_on_reopen, supervisor);
	add_signal(supervisor, 0, SIGTERM, on_terminate);
	add_signal(supervisor, 1, SIGINT, on_terminate);
	add_signal(supervisor, 2, SIGHUP, on_terminate);
	add_signal(supervisor, 3, SIGCHLD, on_child_signal);
	add_signal(supervisor, 4, SIGUSR2, on_upgrade_signal);
	return supervisor_open_steering(supervisor);
}

/* What the daemon has made on the host is this process's to remove. */
static bool supervisor_in_charge(const struct supervisor *supervisor)
{
	return !succeed_waits(supervisor) && supervisor->stage < STAGE_DRAINING;
}

/* Sockets go first, then the rules: what tells clients of the end, and refuses new ones, comes back to them
 * by the rules only. */
static void supervisor_close(struct supervisor *supervisor)
{
	const struct options *options = supervisor->options;

	/* In a namespace of its own there is nothing to clean: it ends with the last process in it. */
	bool clean = (supervisor->steering || supervisor->stage > STAGE_SERVING) &&
		     supervisor_steers(supervisor) && supervisor_in_charge(supervisor) &&
		     !options->keep_rules && options->command != OPTIONS_RUN;

	upgrade_close(supervisor);
	if (clean && supervisor->children)
		children_end_relays(supervisor->children, RELAYS_END_MS);
	table_free(supervisor->table);
	steering_free(supervisor->steering);
	if (clean && steering_cleanup(TOOL_TIMEOUT_MS) < 0 && supervisor->exit_code == 0)
		supervisor->exit_code = 1;
	if (!supervisor->children && supervisor->stage != STAGE_DRAINING)
		close(supervisor->setup->starter_fd);
	succeed_close(supervisor);
	children_free(supervisor->children);
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
	if (supervisor->step_timer)
		event_free(supervisor->step_timer);
	if (supervisor->drain_timer)
		event_free(supervisor->drain_timer);
	if (supervisor->base)
		event_base_free(supervisor->base);
	stats_unmap(supervisor->stats);
}

int supervisor_run(const struct supervisor_setup *setup, bool *in_charge)
{
	struct supervisor supervisor = {
		.setup = setup,
		.options = setup->options,
		.stage = setup->successor->role == SUCCESSOR_NONE ? STAGE_SERVING : STAGE_PLANNING,
	};
	int rc = supervisor_open(&supervisor);

	if (rc == 0) {
		succeed_open(&supervisor);
		children_start(supervisor.children);
		event_base_dispatch(supervisor.base);
	} else {
		log_error("cannot start", log_errno("error", -rc));
		supervisor.exit_code = 1;
	}
	*in_charge = supervisor_in_charge(&supervisor);
	supervisor_close(&supervisor);
	return supervisor.exit_code;
}
