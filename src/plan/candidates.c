/* Owns the list of a Service port's endpoints out of its slices, before any is chosen. Runs in control and in
 * `portald plan`. */
#include <stdlib.h>
#include <string.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

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

static bool is_ready(const struct model_service *service, const struct model_endpoint *endpoint)
{
	return endpoint->ready || service->publish_not_ready;
}

static bool is_local(const struct model_endpoint *endpoint, const struct plan_facts *facts)
{
	return endpoint->node_name && facts->node_name && strcmp(endpoint->node_name, facts->node_name) == 0;
}

static enum plan_state judge(
	const struct model_service *service, const struct model_endpoint *endpoint, bool has_port)
{
	if (!has_port)
		return PLAN_NO_PORT;
	if (is_ready(service, endpoint))
		return PLAN_READY;
	if (!endpoint->terminating)
		return PLAN_NOT_READY;
	return endpoint->serving ? PLAN_DRAINING : PLAN_TERMINATING;
}

static void add_endpoint(struct plan_candidates *candidates, const struct model_slice *slice,
	const struct model_endpoint *endpoint, uint16_t port, bool other_family)
{
	struct plan_candidate *candidate =
		plan_array_append(&candidates->entries, &candidates->count, sizeof(*candidate));

	*candidate = (struct plan_candidate){
		.at = {.addr = endpoint->addr, .port = port},
		.state = other_family ? PLAN_OTHER_FAMILY : judge(candidates->service, endpoint, port != 0),
		.endpoint = endpoint,
		.slice = slice,
		.index = candidates->count,
	};
}

static void collect_slice(struct plan_candidates *candidates, const struct model_slice *slice,
	enum addr_family family, bool with_others, const struct plan_facts *facts)
{
	const struct model_slice_port *port = find_port(slice, candidates->port);

	for (size_t i = 0; i < slice->endpoint_count; i++) {
		const struct model_endpoint *endpoint = &slice->endpoints[i];
		bool other_family = addr_family(&endpoint->addr) != family;

		if (other_family && !with_others)
			continue;
		add_endpoint(candidates, slice, endpoint, port ? port->port : 0, other_family);
		candidates->entries[candidates->count - 1].local = is_local(endpoint, facts);
	}
}

static int candidate_cmp(const void *a, const void *b)
{
	const struct plan_candidate *x = a, *y = b;
	int by_at = addr_port_cmp(&x->at, &y->at);

	if (by_at)
		return by_at;
	if (x->state != y->state)
		return x->state < y->state ? -1 : 1;
	if (x->local != y->local)
		return x->local ? -1 : 1;
	return x->index < y->index ? -1 : 1;
}

static void find_duplicates(struct plan_candidates *candidates)
{
	const struct plan_candidate *first = NULL;

	for (size_t i = 0; i < candidates->count; i++) {
		struct plan_candidate *candidate = &candidates->entries[i];

		if (first && addr_port_equal(&first->at, &candidate->at))
			candidate->better = first;
		else
			first = candidate;
	}
}

struct plan_candidates plan_candidates_collect(const struct plan_input *input,
	const struct model_service_port *port, enum addr_family family, bool with_others,
	const struct plan_facts *facts)
{
	struct plan_candidates candidates = {.service = input->service, .port = port};

	for (size_t i = 0; i < input->slice_count; i++)
		collect_slice(&candidates, input->slices[i], family, with_others, facts);
	if (candidates.count > 0)
		qsort(candidates.entries, candidates.count, sizeof(*candidates.entries), candidate_cmp);
	find_duplicates(&candidates);
	return candidates;
}

void plan_candidates_fini(struct plan_candidates *candidates)
{
	free(candidates->entries);
	candidates->entries = NULL;
	candidates->count = 0;
}

bool plan_candidates_any_usable(const struct plan_candidates *candidates)
{
	for (size_t i = 0; i < candidates->count; i++) {
		if (candidates->entries[i].state <= PLAN_DRAINING)
			return true;
	}
	return false;
}

/* ---- counting for healthCheckNodePort ---- */

static int addrs_cmp(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static bool has_any_port(const struct model_slice *slice)
{
	for (size_t i = 0; i < slice->port_count; i++) {
		if (slice->ports[i].port != 0)
			return true;
	}
	return false;
}

static size_t count_unique(struct addr *addrs, size_t count, enum addr_family family)
{
	size_t unique = 0;

	for (size_t i = 0; i < count; i++) {
		if (addr_family(&addrs[i]) == family && (i == 0 || !addr_equal(&addrs[i], &addrs[i - 1])))
			unique++;
	}
	return unique;
}

size_t plan_count_local(const struct plan_input *input, const struct plan_facts *facts)
{
	struct addr *addrs = NULL;
	size_t count = 0, v4, v6;

	for (size_t i = 0; i < input->slice_count; i++) {
		const struct model_slice *slice = input->slices[i];

		for (size_t e = 0; has_any_port(slice) && e < slice->endpoint_count; e++) {
			const struct model_endpoint *endpoint = &slice->endpoints[e];

			if (is_ready(input->service, endpoint) && is_local(endpoint, facts))
				*(struct addr *)plan_array_append(&addrs, &count, sizeof(*addrs)) =
					endpoint->addr;
		}
	}
	if (count > 0)
		qsort(addrs, count, sizeof(*addrs), addrs_cmp);
	v4 = count_unique(addrs, count, ADDR_V4);
	v6 = count_unique(addrs, count, ADDR_V6);
	free(addrs);
	return v4 > v6 ? v4 : v6;
}
