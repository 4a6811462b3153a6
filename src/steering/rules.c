/* Owns sets of wanted rules. Runs in the supervisor and in `portald plan --rules`. */
#include <stdlib.h>

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

void steering_rules_add(struct steering_rules *rules, const char *key, enum proto proto,
	const struct plan_portal *portals, size_t portal_count, uint16_t proxy_port)
{
	for (size_t i = 0; i < portal_count; i++) {
		*rules_append(rules) = (struct steering_rule){
			.key = key,
			.proto = proto,
			.portal = portals[i],
			.proxy_port = proxy_port,
		};
	}
}

void steering_rules_from_plan(struct steering_rules *rules, const struct plan *plan,
	const struct addr *bind_addr, uint16_t first_port)
{
	size_t span = (size_t)UINT16_MAX - first_port + 1;

	steering_rules_init(rules, bind_addr);
	for (size_t i = 0; i < plan->listener_count; i++) {
		const struct plan_listener *listener = plan->listeners[i];

		steering_rules_add(rules, listener->key, listener->proto, listener->portals,
			listener->portal_count, (uint16_t)(first_port + i % span));
	}
}

struct steering_rules *rules_copy(const struct steering_rules *rules)
{
	struct steering_rules *copy = mem_calloc(1, sizeof(*copy));

	*copy = (struct steering_rules){
		.rules = mem_calloc(rules->count, sizeof(*copy->rules)),
		.count = rules->count,
		.bind_addr = rules->bind_addr,
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
