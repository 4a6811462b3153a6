/* Owns sets of wanted rules. Runs in the supervisor and in `portald plan --rules`. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "steering/rules.h"

void steering_rules_init(struct steering_rules *rules, const struct addr *bind_addr)
{
	*rules = (struct steering_rules){
		.bind_addr = *bind_addr, .node_v4 = addr_any(ADDR_V4), .node_v6 = addr_any(ADDR_V6)};
}

struct addr steering_rules_dnat(
	const struct steering_rules *rules, enum addr_family family, enum plan_scope scope)
{
	/* A bind address binds one family; the other one is not restricted. */
	if (addr_family(&rules->bind_addr) == family && !addr_is_any(&rules->bind_addr))
		return rules->bind_addr;
	if (family == ADDR_V4 && scope == PLAN_SCOPE_ARRIVING && rules->routed)
		return rules->node_v4;
	return addr_any(family);
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

const struct addr_prefix *steering_rules_pods(const struct steering_rules *rules, enum addr_family family)
{
	for (size_t i = 0; i < rules->pod_range_count; i++) {
		if (addr_family(&rules->pods[i].addr) == family)
			return &rules->pods[i];
	}
	return NULL;
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

/* ---- sharing ---- */

/* NULL if there are none. */
static struct addr_prefix *copy_ranges(const struct steering_rules *rules)
{
	size_t count = rules->node_port_range_count;
	struct addr_prefix *ranges = count > 0 ? mem_calloc(count, sizeof(*ranges)) : NULL;

	if (ranges)
		memcpy(ranges, rules->node_port_ranges, count * sizeof(*ranges));
	return ranges;
}

/* A set and who holds it. */
struct shared {
	struct steering_rules rules; /* first */
	unsigned references;
};

static struct shared *shared_new(const struct steering_rules *like)
{
	struct shared *shared = mem_calloc(1, sizeof(*shared));

	*shared = (struct shared){.rules = *like, .references = 1};
	shared->rules.rules = mem_calloc(like->count, sizeof(*like->rules));
	shared->rules.count = 0;
	shared->rules.node_port_ranges = copy_ranges(like);
	return shared;
}

/* The set was made large enough. */
static void shared_add(struct shared *shared, const struct steering_rule *rule)
{
	struct steering_rule *added = &shared->rules.rules[shared->rules.count++];

	*added = *rule;
	added->key = mem_strdup(rule->key);
}

struct steering_rules *rules_copy(const struct steering_rules *rules)
{
	struct shared *shared = shared_new(rules);

	for (size_t i = 0; i < rules->count; i++)
		shared_add(shared, &rules->rules[i]);
	return &shared->rules;
}

struct steering_rules *rules_ref(struct steering_rules *copy)
{
	if (copy)
		((struct shared *)copy)->references++;
	return copy;
}

void rules_unref(struct steering_rules *copy)
{
	struct shared *shared = (struct shared *)copy;

	if (!shared || --shared->references > 0)
		return;
	for (size_t i = 0; i < copy->count; i++)
		free((char *)copy->rules[i].key);
	free((struct addr_prefix *)copy->node_port_ranges);
	steering_rules_fini(copy);
	free(shared);
}

/* ---- comparing ---- */

bool rules_same_rule(const struct steering_rule *a, const struct steering_rule *b)
{
	return a->proto == b->proto && a->action == b->action && a->proxy_port == b->proxy_port &&
	       a->portal.kind == b->portal.kind && a->portal.scope == b->portal.scope &&
	       addr_port_equal(&a->portal.at, &b->portal.at) && strcmp(a->key, b->key) == 0;
}

bool rules_same_frame(const struct steering_rules *a, const struct steering_rules *b)
{
	return addr_equal(&a->bind_addr, &b->bind_addr) && addr_equal(&a->node_v4, &b->node_v4) &&
	       addr_equal(&a->node_v6, &b->node_v6) && a->routed == b->routed &&
	       a->pod_range_count == b->pod_range_count &&
	       memcmp(a->pods, b->pods, a->pod_range_count * sizeof(*a->pods)) == 0 &&
	       a->node_port_range_count == b->node_port_range_count &&
	       (a->node_port_range_count == 0 ||
		       memcmp(a->node_port_ranges, b->node_port_ranges,
			       a->node_port_range_count * sizeof(*a->node_port_ranges)) == 0);
}

bool rules_same(const struct steering_rules *a, const struct steering_rules *b)
{
	if (a->count != b->count || !rules_same_frame(a, b))
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (!rules_same_rule(&a->rules[i], &b->rules[i]))
			return false;
	}
	return true;
}

static bool is_among(const struct steering_rules *rules, const struct steering_rule *rule)
{
	for (size_t i = 0; i < rules->count; i++) {
		if (rules_same_rule(&rules->rules[i], rule))
			return true;
	}
	return false;
}

struct steering_rules *rules_without(struct steering_rules *copy, const struct steering_rules *others)
{
	struct shared *kept;

	if (others->count == 0)
		return rules_ref(copy);
	kept = shared_new(copy);
	for (size_t i = 0; i < copy->count; i++) {
		if (!is_among(others, &copy->rules[i]))
			shared_add(kept, &copy->rules[i]);
	}
	return &kept->rules;
}

/* ---- addresses ---- */

static int addrs_cmp(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static struct addr *collect_addresses(const struct steering_rules *rules, bool all, size_t *count)
{
	struct addr *addrs = mem_calloc(rules->count, sizeof(*addrs));
	size_t found = 0, kept = 0;

	for (size_t i = 0; i < rules->count; i++) {
		enum plan_portal_kind kind = rules->rules[i].portal.kind;

		if (all ? kind != PLAN_PORTAL_NODE_PORT : kind == PLAN_PORTAL_CLUSTER_IP)
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

struct addr *rules_cluster_ips(const struct steering_rules *rules, size_t *count)
{
	return collect_addresses(rules, false, count);
}

struct addr *rules_addresses(const struct steering_rules *rules, size_t *count)
{
	return collect_addresses(rules, true, count);
}
