/* Owns the choice of a Service port's endpoints out of its slices. Runs in control and in `portald plan`. */
#include <stdlib.h>
#include <string.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

/* Why an endpoint gets no connections; the better reason comes first. */
enum verdict { USED, NOT_READY, TERMINATING, NO_PORT, OTHER_FAMILY };

/* An endpoint of one of the slices. */
struct candidate {
	struct addr_port at; /* port 0: the slice has no such port */
	enum verdict verdict;
	const struct model_endpoint *endpoint;
	const struct model_slice *slice;
	size_t index; /* in the order of the slices: keeps the sort stable */
};

struct candidates {
	struct candidate *entries;
	size_t count;
};

static const struct model_slice_port *find_port(
	const struct model_slice *slice, const struct model_service_port *wanted)
{
	for (size_t i = 0; i < slice->port_count; i++) {
		const struct model_slice_port *port = &slice->ports[i];

		if (port->port != 0 && port->proto == wanted->proto && strcmp(port->name, wanted->name) == 0)
			return port;
	}
	return NULL;
}

static enum verdict judge(const struct model_service *service, const struct model_endpoint *endpoint,
	const struct model_slice_port *port, enum addr_family family)
{
	if (addr_family(&endpoint->addr) != family)
		return OTHER_FAMILY;
	if (!port)
		return NO_PORT;
	if (endpoint->ready || service->publish_not_ready)
		return USED;
	return endpoint->terminating ? TERMINATING : NOT_READY;
}

static void collect_slice(struct candidates *candidates, enum addr_family family,
	const struct model_service *service, const struct model_slice *slice,
	const struct model_service_port *wanted)
{
	const struct model_slice_port *port = find_port(slice, wanted);

	for (size_t i = 0; i < slice->endpoint_count; i++) {
		const struct model_endpoint *endpoint = &slice->endpoints[i];
		struct candidate *candidate =
			plan_array_append(&candidates->entries, &candidates->count, sizeof(*candidate));

		*candidate = (struct candidate){
			.at = {.addr = endpoint->addr, .port = port ? port->port : 0},
			.verdict = judge(service, endpoint, port, family),
			.endpoint = endpoint,
			.slice = slice,
			.index = candidates->count,
		};
	}
}

/* By address and port, and the ones to be used first among equals. */
static int candidate_cmp(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int by_at = addr_port_cmp(&x->at, &y->at);

	if (by_at)
		return by_at;
	if (x->verdict != y->verdict)
		return x->verdict < y->verdict ? -1 : 1;
	return x->index < y->index ? -1 : 1;
}

static char *verdict_text(const struct candidate *candidate, const struct model_service_port *port)
{
	switch (candidate->verdict) {
	case NOT_READY:
		return mem_strdup("not ready");
	case TERMINATING:
		return mem_strdup("terminating");
	case OTHER_FAMILY:
		return mem_strdup("IPv6 is not proxied yet");
	case NO_PORT:
		if (port->name[0])
			return mem_printf("no %s port named %s in EndpointSlice %s", proto_name(port->proto),
				port->name, candidate->slice->name);
		return mem_printf("no unnamed %s port in EndpointSlice %s", proto_name(port->proto),
			candidate->slice->name);
	case USED:
		break;
	}
	return mem_printf("more than %d endpoints", PLAN_MAX_BACKENDS);
}

static void leave_out(struct plan_listener *listener, const struct candidate *candidate, char *reason_take)
{
	struct plan_left_out *left_out =
		plan_array_append(&listener->left_out, &listener->left_out_count, sizeof(*left_out));

	left_out->at = candidate->at;
	left_out->target = mem_strdup(candidate->endpoint->target);
	left_out->reason = reason_take;
}

/* A slice may repeat an endpoint of another (while the controller moves it). One that is ready in any slice
 * is ready; that the other slice says otherwise is worth telling. */
static void leave_out_duplicate(struct plan_listener *listener, const struct candidate *candidate,
	const struct candidate *first, const struct model_service_port *port)
{
	char *here = verdict_text(candidate, port);

	leave_out(listener, candidate,
		mem_printf("duplicate of the one in EndpointSlice %s: %s in EndpointSlice %s",
			first->slice->name, here, candidate->slice->name));
	free(here);
}

static void decide(struct plan_listener *listener, const struct candidates *candidates,
	const struct model_service_port *port)
{
	const struct candidate *first = NULL, *before = NULL;

	for (size_t i = 0; i < candidates->count; i++) {
		const struct candidate *candidate = &candidates->entries[i];
		bool duplicate = before && addr_port_equal(&before->at, &candidate->at);
		bool silent = duplicate && before->verdict == candidate->verdict &&
			      (candidate->verdict != NO_PORT || before->slice == candidate->slice);

		before = candidate;
		if (silent)
			continue;
		if (!duplicate)
			first = candidate;
		if (candidate->verdict == USED &&
			plan_listener_add_backend(listener, &candidate->at, candidate->endpoint->target) == 0)
			continue;
		if (duplicate && candidate->verdict != NO_PORT)
			leave_out_duplicate(listener, candidate, first, port);
		else
			leave_out(listener, candidate, verdict_text(candidate, port));
	}
}

/* "no ready endpoint (2 not ready, 1 terminating)" */
static char *no_backend_text(const struct model_service *service, const struct candidates *candidates)
{
	size_t count[OTHER_FAMILY + 1] = {0};

	if (service->no_endpoints_reason)
		return mem_strdup(service->no_endpoints_reason);
	if (candidates->count == 0)
		return mem_strdup("no endpoints");

	for (size_t i = 0; i < candidates->count; i++) {
		const struct candidate *candidate = &candidates->entries[i];

		if (i == 0 || candidate->verdict != candidate[-1].verdict ||
			!addr_port_equal(&candidate->at, &candidate[-1].at))
			count[candidate->verdict]++;
	}
	if (count[NO_PORT] + count[OTHER_FAMILY] > 0)
		return mem_printf("no usable endpoint (%zu left out)",
			count[NO_PORT] + count[OTHER_FAMILY] + count[NOT_READY] + count[TERMINATING]);
	if (count[TERMINATING] == 0)
		return mem_printf("no ready endpoint (%zu not ready)", count[NOT_READY]);
	if (count[NOT_READY] == 0)
		return mem_printf("no ready endpoint (%zu terminating)", count[TERMINATING]);
	return mem_printf(
		"no ready endpoint (%zu not ready, %zu terminating)", count[NOT_READY], count[TERMINATING]);
}

void plan_choose_endpoints(struct plan_listener *listener, const struct model_snapshot *snapshot,
	const struct model_service *service, const struct model_service_port *port)
{
	struct candidates candidates = {.count = 0};
	size_t first, slice_count = model_slices_of(snapshot, service, &first);

	for (size_t i = 0; i < slice_count; i++)
		collect_slice(&candidates, listener->family, service, snapshot->slices[first + i], port);
	if (candidates.count > 0)
		qsort(candidates.entries, candidates.count, sizeof(*candidates.entries), candidate_cmp);
	decide(listener, &candidates, port);
	if (listener->backend_count == 0)
		listener->note = no_backend_text(service, &candidates);
	free(candidates.entries);
}
