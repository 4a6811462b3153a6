/* Owns the decision which conntrack entries are stale. Pure. Runs in the supervisor.
 *
 * The nat table is asked at the first packet of a flow only; what it said then holds for as long as the entry
 * lives, and a UDP client that keeps sending keeps it alive for ever. So an entry that was made before the
 * Service's rule was there, or that leads to a proxy port of the past, would keep the client away from the
 * Service. A TCP client's retransmissions do the same until it gives up. */
#include <stdlib.h>

#include "portald/mem.h"
#include "steering/conntrack.h"

/* A portal, of now or of the past. */
struct target {
	const struct steering_rule *rule;
	bool past;
};

struct conntrack_index {
	const struct steering_rules *now;
	const struct addr *own;
	size_t own_count;
	struct target *targets; /* sorted by protocol, address and port; those of now first */
	size_t count;
};

static int cmp_place(const struct target *target, enum proto proto, const struct addr_port *at)
{
	if (target->rule->proto != proto)
		return target->rule->proto < proto ? -1 : 1;
	return addr_port_cmp(&target->rule->portal.at, at);
}

static int targets_cmp(const void *a, const void *b)
{
	const struct target *x = a, *y = b;
	int order = cmp_place(x, y->rule->proto, &y->rule->portal.at);

	return order ? order : (int)x->past - (int)y->past;
}

struct conntrack_index *conntrack_index_new(const struct steering_rules *now,
	const struct steering_rule *past, size_t past_count, const struct addr *own, size_t own_count)
{
	struct conntrack_index *index = mem_calloc(1, sizeof(*index));

	*index = (struct conntrack_index){.now = now, .own = own, .own_count = own_count};
	index->targets = mem_calloc(now->count + past_count, sizeof(*index->targets));
	for (size_t i = 0; i < now->count; i++)
		index->targets[index->count++].rule = &now->rules[i];
	for (size_t i = 0; i < past_count; i++)
		index->targets[index->count++] = (struct target){.rule = &past[i], .past = true};
	if (index->count > 0)
		qsort(index->targets, index->count, sizeof(*index->targets), targets_cmp);
	return index;
}

void conntrack_index_free(struct conntrack_index *index)
{
	if (!index)
		return;
	free(index->targets);
	free(index);
}

static int addrs_cmp(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static bool is_own(const struct conntrack_index *index, const struct addr *addr)
{
	return addr_is_loopback(addr) || (index->own_count > 0 && bsearch(addr, index->own, index->own_count,
									  sizeof(*addr), addrs_cmp) != NULL);
}

/* The first target of a place, or where it would be. */
static size_t first_at(const struct conntrack_index *index, enum proto proto, const struct addr_port *at)
{
	size_t low = 0, high = index->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (cmp_place(&index->targets[middle], proto, at) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool in_scope(const struct conntrack_index *index, const struct plan_portal *portal,
	const struct conntrack_flow *flow)
{
	const struct addr_prefix *pods = steering_rules_pods(index->now, addr_family(&flow->from.addr));
	bool like_own =
		is_own(index, &flow->from.addr) || (pods && addr_prefix_contains(pods, &flow->from.addr));
	enum plan_scope scope = like_own ? PLAN_SCOPE_HOST : PLAN_SCOPE_ARRIVING;

	return portal->scope == PLAN_SCOPE_ALL || portal->scope == scope;
}

/* Whether the flow goes where the rule would send it. */
static bool agrees(const struct steering_rule *rule, const struct conntrack_flow *flow)
{
	return rule->action == PLAN_PROXY && flow->translated && flow->proxy_port == rule->proxy_port;
}

/* Whether the flow goes where a rule of the past has sent it. */
static bool is_left_over(const struct steering_rule *rule, const struct conntrack_flow *flow)
{
	return flow->translated && flow->proxy_port == rule->proxy_port;
}

enum verdict { NO_PORTAL, FRESH, STALE };

static enum verdict judge_at(
	const struct conntrack_index *index, const struct conntrack_flow *flow, const struct addr_port *at)
{
	for (size_t i = first_at(index, flow->proto, at); i < index->count; i++) {
		const struct target *target = &index->targets[i];

		if (cmp_place(target, flow->proto, at) != 0)
			break;
		if (!in_scope(index, &target->rule->portal, flow))
			continue;
		if (!target->past)
			return agrees(target->rule, flow) ? FRESH : STALE;
		if (is_left_over(target->rule, flow))
			return STALE;
	}
	return NO_PORTAL;
}

bool conntrack_is_stale(const struct conntrack_index *index, const struct conntrack_flow *flow)
{
	struct addr_port any = {.addr = addr_any(addr_family(&flow->to.addr)), .port = flow->to.port};
	enum verdict verdict;

	if (flow->proto != PROTO_UDP && !(flow->proto == PROTO_TCP && flow->attempt))
		return false;
	verdict = judge_at(index, flow, &flow->to);
	if (verdict == NO_PORTAL && is_own(index, &flow->to.addr) &&
		steering_node_port_at(index->now, &flow->to.addr))
		verdict = judge_at(index, flow, &any);
	return verdict == STALE;
}
