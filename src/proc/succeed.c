/* Owns the new process's side of an upgrade. Runs in the supervisor that was started by another one.
 *
 *   stage     event                                 next
 *   planning  the plan is known, the relays run     planning; PLANNED to the one before
 *   planning  RELEASED                              steering
 *   steering  the rules are in force                steering; READY to it
 *   steering  GO                                    serving, with the one before as keeper
 *   steering  GO_ALONE                              serving
 *   before    a child ends, or the one before does  the process ends, and has changed nothing
 *   serving   the keeper ends                       stops, as by a signal to it
 *
 * Relays are told of listeners at GO, when those of before take in nothing more: what came meanwhile has
 * waited in the sockets. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "portald/log.h"
#include "proc/instance.h"
#include "proc/program.h"
#include "proc/supervisor_core.h"

#define LOOK_MS 10

static int disagree(const char *what)
{
	log_error("this takes a stop and a start, not an upgrade: it differs from the process before",
		log_str("what", what));
	return -EINVAL;
}

int succeed_load(struct supervisor *supervisor)
{
	const struct inherit_facts *facts;
	int fd = supervisor->setup->successor->sockets_fd;

	if (!succeed_waits(supervisor)) {
		supervisor->kind = supervisor_kind(supervisor->options);
		return 0;
	}
	supervisor->inherit = inherit_load(fd);
	close(fd);
	if (!supervisor->inherit)
		return -EINVAL;
	facts = inherit_facts(supervisor->inherit);
	/* Where it is left to portald, it is as it was. */
	supervisor->kind = supervisor->options->steering == OPTIONS_STEERING_AUTO
				   ? facts->kind
				   : supervisor_kind(supervisor->options);
	if (supervisor->kind != facts->kind)
		return disagree("--steering");
	if (supervisor->options->iptables_variant != facts->tool)
		return disagree("--iptables-variant");
	if (supervisor->options->relay_count != facts->relay_count)
		return disagree("--relays");
	return 0;
}

static void tell(struct supervisor *supervisor, enum ipc_step step)
{
	struct link *link = &supervisor->predecessor;

	supervisor->told = true;
	if (link_is_up(link))
		link_sent(link, ipc_send_handover(link->channel, step));
}

static void on_look(evutil_socket_t fd, short what, void *context)
{
	const struct timeval later = {.tv_usec = LOOK_MS * 1000};
	struct supervisor *supervisor = context;

	(void)fd;
	(void)what;
	if (supervisor->applied > 0 && children_relays_are_up(supervisor->children))
		tell(supervisor, IPC_STEP_PLANNED);
	else
		event_add(supervisor->step_timer, &later);
}

static void steer(struct supervisor *supervisor)
{
	supervisor->stage = STAGE_STEERING;
	supervisor->told = false;
	supervisor_apply_rules(supervisor);
}

void succeed_steered(struct supervisor *supervisor)
{
	if (!supervisor->told)
		tell(supervisor, IPC_STEP_READY);
}

/* From here on this process is the daemon. */
static void serve(struct supervisor *supervisor)
{
	supervisor->stage = STAGE_SERVING;
	event_free(supervisor->step_timer);
	supervisor->step_timer = NULL;
	table_settle(supervisor->table);
	inherit_free(supervisor->inherit);
	supervisor->inherit = NULL;
	instance_adopt(supervisor->setup->instance_fd);
	for (uint32_t i = 0; i < supervisor->options->relay_count; i++)
		supervisor_tell_relay(supervisor, i);
	notify_free(supervisor->notify);
	supervisor->notify = notify_new(
		supervisor->base, supervisor->setup->notify, children_are_well, supervisor->children);
	/* A change may be on its way: then it will be told of that. */
	if (supervisor->steering && steering_is_behind(supervisor->steering))
		return;
	supervisor_in_force(supervisor);
	supervisor_tell_control_done(supervisor, 0);
}

static int on_frame(void *context, struct ipc_frame *frame)
{
	struct supervisor *supervisor = context;
	enum ipc_step step;

	if (frame->type != IPC_HANDOVER || ipc_decode_handover(frame, &step) < 0 || !supervisor->told)
		return -EPROTO;
	if (step == IPC_STEP_RELEASED && supervisor->stage == STAGE_PLANNING) {
		steer(supervisor);
	} else if ((step == IPC_STEP_GO || step == IPC_STEP_GO_ALONE) &&
		   supervisor->stage == STAGE_STEERING) {
		if (step == IPC_STEP_GO_ALONE)
			link_close(&supervisor->predecessor);
		serve(supervisor);
	} else {
		return -EPROTO;
	}
	return 0;
}

static void on_down(void *context, int error)
{
	struct supervisor *supervisor = context;

	log_error(succeed_waits(supervisor) ? "the process before does not wait any more"
					    : "the keeper is gone: stopping",
		log_errno("error", -error));
	supervisor_stop(supervisor, succeed_waits(supervisor) ? 1 : 0);
}

static const struct link_handlers handlers = {.frame = on_frame, .down = on_down};

void succeed_open(struct supervisor *supervisor)
{
	if (!succeed_waits(supervisor))
		return;
	inherit_take_claims(supervisor->inherit, ports_claims(supervisor->ports));
	link_open(&supervisor->predecessor, supervisor->base, supervisor->setup->successor->channel_fd,
		&handlers, supervisor);
	supervisor->step_timer = evtimer_new(supervisor->base, on_look, supervisor);
	event_active(supervisor->step_timer, EV_TIMEOUT, 0);
}

void succeed_close(struct supervisor *supervisor)
{
	link_close(&supervisor->predecessor);
	inherit_free(supervisor->inherit);
	supervisor->inherit = NULL;
}
