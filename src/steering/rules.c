/* Owns sets of wanted rules. Runs in the supervisor and in `portald plan --rules`. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "steering/rules.h"

void steering_rules_init(struct steering_rules *rules, const struct addr *bind_addr)
{
	*rules = (struct steering_rules){.bind_addr = *bind_addr};
}

void steering_rules_fini(struct steering_rules *rules)
{
	free(rules->rules);
	rules->rules = NULL;
	rules->count = 0;
}

static struct steering_rule *rules_append(struct steering_rules *rules)
{
	size_t capacity = rules->count;

	/* Full exactly when count is 0 or a power of two from 8 up: no capacity needs to be kept. */
	if (rules->count == 0 || (rules->count >= 8 && (rules->count & (rules->count - 1)) == 0))
		rules->rules = mem_grow(rules->rules, rules->count, &capacity, sizeof(*rules->rules));
	return &rules->rules[rules->count++];
}

void steering_rules_add_portal(struct steering_rules *rules, const struct plan_listener *listener,
	const struct plan_portal *portal, uint16_t proxy_port)
{
	*rules_append(rules) = (struct steering_rule){
		.key = listener->key,
		.proto = listener->proto,
		.action = listener->action,
		.portal = *portal,
		.proxy_port = proxy_port,
	};
}

void steering_rules_add(
	struct steering_rules *rules, const struct plan_listener *listener, uint16_t proxy_port)
{
	for (size_t i = 0; i < listener->portal_count; i++)
		steering_rules_add_portal(rules, listener, &listener->portals[i], proxy_port);
}

bool steering_rules_have(const struct steering_rules *rules, enum addr_family family)
{
	for (size_t i = 0; i < rules->count; i++) {
		if (addr_family(&rules->rules[i].portal.at.addr) == family)
			return true;
	}
	return false;
}

bool steering_node_port_at(const struct steering_rules *rules, const struct addr *addr)
{
	bool restricted = false;

	for (size_t i = 0; i < rules->node_port_range_count; i++) {
		const struct addr_prefix *range = &rules->node_port_ranges[i];

		if (addr_family(&range->addr) != addr_family(addr))
			continue;
		if (addr_prefix_contains(range, addr))
			return true;
		restricted = true;
	}
	return !restricted;
}

void steering_rules_from_plan(struct steering_rules *rules, const struct plan *plan,
	const struct addr *bind_addr, uint16_t first_port)
{
	size_t span = (size_t)UINT16_MAX - first_port + 1;

	steering_rules_init(rules, bind_addr);
	for (size_t i = 0; i < plan->listener_count; i++) {
		steering_rules_add(rules, plan->listeners[i], (uint16_t)(first_port + i % span));
	}
}

/* NULL if there are none. */
static struct addr_prefix *copy_ranges(const struct steering_rules *rules)
{
	size_t count = rules->node_port_range_count;
	struct addr_prefix *ranges = count > 0 ? mem_calloc(count, sizeof(*ranges)) : NULL;

	if (ranges)
		memcpy(ranges, rules->node_port_ranges, count * sizeof(*ranges));
	return ranges;
}

struct steering_rules *rules_copy(const struct steering_rules *rules)
{
	struct steering_rules *copy = mem_calloc(1, sizeof(*copy));

	*copy = (struct steering_rules){
		.rules = mem_calloc(rules->count, sizeof(*copy->rules)),
		.count = rules->count,
		.bind_addr = rules->bind_addr,
		.node_port_ranges = copy_ranges(rules),
		.node_port_range_count = rules->node_port_range_count,
	};
	for (size_t i = 0; i < rules->count; i++) {
		copy->rules[i] = rules->rules[i];
		copy->rules[i].key = mem_strdup(rules->rules[i].key);
	}
	return copy;
}

void rules_copy_free(struct steering_rules *rules)
{
	if (!rules)
		return;
	for (size_t i = 0; i < rules->count; i++)
		free((char *)rules->rules[i].key);
	free((struct addr_prefix *)rules->node_port_ranges);
	steering_rules_fini(rules);
	free(rules);
}

static int addrs_cmp(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

struct addr *rules_cluster_ips(const struct steering_rules *rules, size_t *count)
{
	struct addr *addrs = mem_calloc(rules->count, sizeof(*addrs));
	size_t found = 0, kept = 0;

	for (size_t i = 0; i < rules->count; i++) {
		if (rules->rules[i].portal.kind == PLAN_PORTAL_CLUSTER_IP)
			addrs[found++] = rules->rules[i].portal.at.addr;
	}
	qsort(addrs, found, sizeof(*addrs), addrs_cmp);
	for (size_t i = 0; i < found; i++) {
		if (kept == 0 || !addr_equal(&addrs[kept - 1], &addrs[i]))
			addrs[kept++] = addrs[i];
	}
	*count = kept;
	return addrs;
}
