/* Owns what topology hints mean for the choice of endpoints, by kube-proxy's rules. Runs in control and in
 * `portald plan`. */
#include <string.h>

#include "plan/plan_private.h"

static bool has_text(char *const *texts, size_t count, const char *wanted)
{
	for (size_t i = 0; wanted && i < count; i++) {
		if (strcmp(texts[i], wanted) == 0)
			return true;
	}
	return false;
}

static bool for_node(const struct model_endpoint *endpoint, const char *node_name)
{
	return has_text(endpoint->node_hints, endpoint->node_hint_count, node_name);
}

static bool for_zone(const struct model_endpoint *endpoint, const char *zone)
{
	return has_text(endpoint->zone_hints, endpoint->zone_hint_count, zone);
}

enum plan_topology plan_topology_of(const struct plan_candidates *candidates, const struct plan_facts *facts)
{
	bool all_have_node = true, all_have_zone = true, this_node = false, this_zone = false;

	for (size_t i = 0; i < candidates->count; i++) {
		const struct plan_candidate *candidate = &candidates->entries[i];

		if (candidate->better || candidate->state != PLAN_READY)
			continue;
		all_have_node = all_have_node && candidate->endpoint->node_hint_count > 0;
		all_have_zone = all_have_zone && candidate->endpoint->zone_hint_count > 0;
		this_node = this_node || for_node(candidate->endpoint, facts->node_name);
		this_zone = this_zone || for_zone(candidate->endpoint, facts->zone);
	}
	if (all_have_node && this_node)
		return PLAN_TOPOLOGY_NODE;
	return all_have_zone && this_zone ? PLAN_TOPOLOGY_ZONE : PLAN_TOPOLOGY_NONE;
}

bool plan_topology_allows(
	enum plan_topology topology, const struct model_endpoint *endpoint, const struct plan_facts *facts)
{
	switch (topology) {
	case PLAN_TOPOLOGY_NODE:
		return for_node(endpoint, facts->node_name);
	case PLAN_TOPOLOGY_ZONE:
		return for_zone(endpoint, facts->zone);
	case PLAN_TOPOLOGY_NONE:
		break;
	}
	return true;
}
