/* The supervisor's own structure, and what its files do for each other. */
#ifndef PROC_SUPERVISOR_CORE_H
#define PROC_SUPERVISOR_CORE_H

#include <event2/event.h>

#include "portald/ipc.h"
#include "portald/stats.h"
#include "portald/steering.h"
#include "proc/children.h"
#include "proc/inherit.h"
#include "proc/link.h"
#include "proc/notify.h"
#include "proc/ports.h"
#include "proc/reload.h"
#include "proc/staged.h"
#include "proc/supervisor.h"
#include "proc/table.h"
#include "proc/vitals.h"

/* For one run of a firewall tool, which waits up to 5 s for the xtables lock. */
#define TOOL_TIMEOUT_MS 20000

/* How far an upgrade is, in the old process (upgrade.c) and the new one (succeed.c). */
enum supervisor_stage {
	STAGE_PLANNING, /* new: listeners are adopted and opened, no relay is told */
	STAGE_STEERING, /* new: rules are brought into force */
	STAGE_SERVING,  /* the usual one */
	STAGE_RELEASED, /* old: the rules are the other's, and can be taken back */
	STAGE_LEAVING,  /* old: control ends */
	STAGE_DRAINING, /* old: relays end with their last connection */
};

struct supervisor {
	const struct supervisor_setup *setup;
	const struct options *options; /* in force: setup's, or reload's */
	struct reload *reload;
	struct event_base *base;
	struct event *signals[5];
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
	/* ---- an upgrade ---- */
	enum supervisor_stage stage;
	struct inherit *inherit; /* successor: until it serves */
	struct link
		predecessor; /* successor: to the one before, and afterwards to the keeper, if there is one */
	struct link successor;     /* to the one that is to follow, or that this one keeps */
	struct event *step_timer;  /* its limit; or the successor's look at what it waits for */
	struct event *drain_timer; /* --upgrade-drain */
	struct event *keeper_end;  /* draining: when the keeper ends, so does this process */
	int keeper_fds[2];         /* keeper: the pipe that tells; 0: none yet */
	pid_t successor_pid;       /* 0: none */
	pid_t failed_pid;          /* one that was given up, to be waited for; 0: none */
	bool keeps;                /* draining: stays as long as the successor, and tells it signals */
	bool told;                 /* successor: has said what is to be said in this stage */
};

/* ---- supervisor.c ---- */

void supervisor_stop(struct supervisor *supervisor, int exit_code);

/* False with --steering=none. */
static inline bool supervisor_steers(const struct supervisor *supervisor)
{
	return supervisor->kind != STEERING_KINDS;
}

/* Tells a relay everything. */
void supervisor_tell_relay(struct supervisor *supervisor, uint32_t relay);
/* Opens what could not be opened and claims what could not be claimed. Returns true if that changes rules. */
bool supervisor_retry(struct supervisor *supervisor);
/* Asks for the rules of the table, if this process steers now. */
void supervisor_apply_rules(struct supervisor *supervisor);
/* What was asked for last is in force. */
void supervisor_in_force(struct supervisor *supervisor);
void supervisor_tell_control_done(struct supervisor *supervisor, int error);
void supervisor_discard_staged(struct supervisor *supervisor);
int supervisor_on_child_frame(void *context, enum ipc_role role, uint32_t index, struct ipc_frame *frame);
/* Callbacks of the modules that supervisor_life.c opens. */
void supervisor_on_synced(void *context, int error, const char *detail);
void supervisor_on_refusal(void *context, const char *key);
void supervisor_on_state(void *context, const struct table_entry *entry);
void supervisor_on_bound(void *context, const struct table_entry *entry, const struct table_binding *binding);
void supervisor_on_unbound(
	void *context, const struct table_entry *entry, const struct table_binding *binding);
void supervisor_on_addresses_changed(void *context);
void supervisor_on_reopen(evutil_socket_t fd, short what, void *context);

/* ---- supervisor_life.c ---- */

/* The way of steering that the options ask for, which may need a look at the host. */
enum steering_kind supervisor_kind(const struct options *options);
/* Returns 0 or a negative errno. */
int supervisor_open_steering(struct supervisor *supervisor);

/* ---- upgrade.c ---- */

/* Begins an upgrade, or says in the log why not. */
void upgrade_request(struct supervisor *supervisor);
/* What an upgrade has to do with a child's end. */
void upgrade_child_gone(struct supervisor *supervisor, enum ipc_role role);
/* A process has ended that this one keeps: returns true if the status is the daemon's. */
bool upgrade_is_kept(const struct supervisor *supervisor, pid_t pid);
/* For a signal that is to end the daemon: true if it is the successor's. */
bool upgrade_forward(struct supervisor *supervisor, int signal_number);
/* This process is about to end: so is who would have succeeded it. */
void upgrade_close(struct supervisor *supervisor);

/* ---- succeed.c ---- */

/* Whether the process succeeds another that serves yet. */
static inline bool succeed_waits(const struct supervisor *supervisor)
{
	return supervisor->stage < STAGE_SERVING;
}

/* Before anything is opened: takes in what the process before has left. Returns 0 or a negative errno
 * (logged).
 */
int succeed_load(struct supervisor *supervisor);
/* When all is open: begins to wait for what makes it ready. */
void succeed_open(struct supervisor *supervisor);
/* Rules are in force for the first time. */
void succeed_steered(struct supervisor *supervisor);
void succeed_close(struct supervisor *supervisor);

#endif
