/* Owns the choice among a Service port's endpoints: by kube-proxy's rules for readiness, traffic policy and
 * topology. Runs in control and in `portald plan`. */
#include <stdlib.h>
#include <string.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

/* What is chosen from the candidates. */
struct selection {
	const struct plan_facts *facts;
	bool local_only;
	enum plan_state state; /* PLAN_READY, or PLAN_DRAINING if none is ready */
	enum plan_topology topology;
};

/* Why an endpoint was not chosen, for counting. */
enum loss { LOST_NOT_READY, LOST_TERMINATING, LOST_REMOTE, LOST_UNFIT, LOSSES };

static struct selection selection_of(
	const struct plan_candidates *candidates, enum plan_policy policy, const struct plan_facts *facts)
{
	struct selection selection = {
		.facts = facts,
		.local_only = policy == PLAN_POLICY_LOCAL,
		.state = PLAN_DRAINING,
	};

	for (size_t i = 0; i < candidates->count; i++) {
		const struct plan_candidate *candidate = &candidates->entries[i];

		if (candidate->state == PLAN_READY && (candidate->local || !selection.local_only))
			selection.state = PLAN_READY;
	}
	if (!selection.local_only)
		selection.topology = plan_topology_of(candidates, facts);
	return selection;
}

static bool is_selected(const struct selection *selection, const struct plan_candidate *candidate)
{
	if (candidate->better || candidate->state != selection->state)
		return false;
	if (selection->local_only)
		return candidate->local;
	return selection->state != PLAN_READY ||
	       plan_topology_allows(selection->topology, candidate->endpoint, selection->facts);
}

/* ---- reasons ---- */

static char *no_port_text(const struct plan_candidate *candidate, const struct model_service_port *port)
{
	if (port->name[0])
		return mem_printf("no %s port named %s in EndpointSlice %s", proto_name(port->proto),
			port->name, candidate->slice->name);
	return mem_printf(
		"no unnamed %s port in EndpointSlice %s", proto_name(port->proto), candidate->slice->name);
}

static char *remote_text(const struct model_endpoint *endpoint)
{
	if (endpoint->node_name)
		return mem_printf("not on this node (on %s)", endpoint->node_name);
	return mem_strdup("not on this node (which one is not known)");
}

/* "hinted for zone b, c" */
static char *hint_text(const char *what, char *const *hints, size_t count)
{
	char *text = mem_printf("hinted for %s %s", what, hints[0]);

	for (size_t i = 1; i < count; i++) {
		char *longer = mem_printf("%s, %s", text, hints[i]);

		free(text);
		text = longer;
	}
	return text;
}

static char *state_text(const struct plan_candidate *candidate, const struct model_service_port *port)
{
	switch (candidate->state) {
	case PLAN_NOT_READY:
		return mem_strdup("not ready");
	case PLAN_DRAINING:
	case PLAN_TERMINATING:
		return mem_strdup("terminating");
	case PLAN_OTHER_FAMILY:
		return mem_printf("the Service has no %s clusterIP",
			addr_family(&candidate->at.addr) == ADDR_V6 ? "IPv6" : "IPv4");
	case PLAN_NO_PORT:
		return no_port_text(candidate, port);
	case PLAN_READY:
	case PLAN_STATES:
		break;
	}
	return mem_strdup("ready");
}

/* Why one that is as ready as those in use was not selected. */
static char *unselected_text(const struct selection *selection, const struct plan_candidate *candidate)
{
	const struct model_endpoint *endpoint = candidate->endpoint;

	if (selection->local_only && !candidate->local)
		return remote_text(endpoint);
	if (selection->topology == PLAN_TOPOLOGY_NODE)
		return hint_text("node", endpoint->node_hints, endpoint->node_hint_count);
	return hint_text("zone", endpoint->zone_hints, endpoint->zone_hint_count);
}

/* True if it would be used were it not for its place. */
static bool is_misplaced(const struct selection *selection, const struct plan_candidate *candidate)
{
	return candidate->state == PLAN_READY ||
	       (selection->local_only && candidate->state == PLAN_DRAINING && !candidate->local);
}

static char *reason_text(const struct selection *selection, const struct plan_candidate *candidate,
	const struct model_service_port *port)
{
	if (is_selected(selection, candidate))
		return mem_printf("more than %d endpoints", PLAN_MAX_BACKENDS);
	if (is_misplaced(selection, candidate))
		return unselected_text(selection, candidate);
	return state_text(candidate, port);
}

/* ---- the choice ---- */

static void leave_out_take(
	struct plan_listener *listener, const struct plan_candidate *candidate, char *reason_take)
{
	struct plan_left_out *left_out =
		plan_array_append(&listener->left_out, &listener->left_out_count, sizeof(*left_out));

	left_out->at = candidate->at;
	left_out->target = mem_strdup(candidate->endpoint->target);
	left_out->reason = reason_take;
}

/* A slice may repeat an endpoint of another (while the controller moves it). One that is ready in any slice
 * is ready; that the other slice says otherwise is worth telling. */
static void leave_out_duplicate(struct plan_listener *listener, const struct plan_candidate *candidate,
	const struct model_service_port *port)
{
	const struct plan_candidate *before = candidate - 1;
	char *here;

	if (candidate->state == PLAN_NO_PORT) {
		if (before->slice != candidate->slice)
			leave_out_take(listener, candidate, no_port_text(candidate, port));
		return;
	}
	if (before->state == candidate->state)
		return;
	here = state_text(candidate, port);
	leave_out_take(listener, candidate,
		mem_printf("duplicate of the one in EndpointSlice %s: %s in EndpointSlice %s",
			candidate->better->slice->name, here, candidate->slice->name));
	free(here);
}

static void decide(struct plan_listener *listener, const struct plan_candidates *candidates,
	const struct selection *selection)
{
	for (size_t i = 0; i < candidates->count; i++) {
		const struct plan_candidate *candidate = &candidates->entries[i];
		const struct model_endpoint *endpoint = candidate->endpoint;

		if (candidate->better) {
			leave_out_duplicate(listener, candidate, candidates->port);
			continue;
		}
		if (is_selected(selection, candidate) && plan_listener_add_backend(listener, &candidate->at,
								 endpoint->weight, endpoint->target) == 0)
			continue;
		leave_out_take(listener, candidate, reason_text(selection, candidate, candidates->port));
	}
}

/* ---- notes ---- */

static void count_losses(
	const struct plan_candidates *candidates, const struct selection *selection, size_t counts[LOSSES])
{
	for (size_t i = 0; i < candidates->count; i++) {
		const struct plan_candidate *candidate = &candidates->entries[i];

		if (candidate->better)
			continue;
		if (is_misplaced(selection, candidate))
			counts[LOST_REMOTE]++;
		else if (candidate->state == PLAN_NOT_READY)
			counts[LOST_NOT_READY]++;
		else if (candidate->state == PLAN_TERMINATING)
			counts[LOST_TERMINATING]++;
		else
			counts[LOST_UNFIT]++;
	}
}

/* "no ready endpoint (2 not ready, 1 terminating)" */
static char *no_backend_text(const struct plan_candidates *candidates, const struct selection *selection)
{
	size_t count[LOSSES] = {0};

	if (candidates->service->no_endpoints_reason)
		return mem_strdup(candidates->service->no_endpoints_reason);
	if (candidates->count == 0)
		return mem_strdup("no endpoints");
	count_losses(candidates, selection, count);
	if (count[LOST_REMOTE] > 0)
		return mem_printf("no endpoint on this node (%zu elsewhere)", count[LOST_REMOTE]);
	if (count[LOST_UNFIT] > 0)
		return mem_printf("no usable endpoint (%zu left out)",
			count[LOST_UNFIT] + count[LOST_NOT_READY] + count[LOST_TERMINATING]);
	if (count[LOST_TERMINATING] == 0)
		return mem_printf("no ready endpoint (%zu not ready)", count[LOST_NOT_READY]);
	if (count[LOST_NOT_READY] == 0)
		return mem_printf("no ready endpoint (%zu terminating)", count[LOST_TERMINATING]);
	return mem_printf("no ready endpoint (%zu not ready, %zu terminating)", count[LOST_NOT_READY],
		count[LOST_TERMINATING]);
}

static bool any_weight(const struct plan_listener *listener)
{
	for (size_t i = 0; i < listener->backend_count; i++) {
		if (listener->backends[i].weight > 0)
			return true;
	}
	return false;
}

void plan_choose_endpoints(struct plan_listener *listener, const struct plan_candidates *candidates,
	enum plan_policy policy, const struct plan_facts *facts)
{
	struct selection selection = selection_of(candidates, policy, facts);

	decide(listener, candidates, &selection);
	listener->action = any_weight(listener) ? PLAN_PROXY : PLAN_REJECT;
	if (listener->backend_count == 0)
		listener->note = no_backend_text(candidates, &selection);
	else if (listener->action == PLAN_REJECT)
		listener->note = mem_strdup("every endpoint has weight 0");
	else if (selection.state == PLAN_DRAINING)
		listener->note = mem_strdup("no ready endpoint: terminating ones are used");
}
