/* Owns the list of refused rules. Runs in the supervisor. */
#include "steering/refused.h"

#include <stdlib.h>

#include "portald/mem.h"
#include "steering/rules.h"

bool refused_have(const struct refused *refused, const struct steering_rule *rule)
{
	for (size_t i = 0; i < refused->rules.count; i++) {
		if (rules_same_rule(&refused->rules.rules[i], rule))
			return true;
	}
	return false;
}

void refused_add(struct refused *refused, const struct steering_rule *rule, const char *detail)
{
	const struct plan_listener listener = {
		.key = mem_strdup(rule->key), .proto = rule->proto, .action = rule->action};

	if (refused_have(refused, rule) || refused->rules.count == REFUSED_MAX) {
		free((char *)listener.key);
		return;
	}
	refused->details[refused->rules.count] = mem_strdup(detail);
	steering_rules_add_portal(&refused->rules, &listener, &rule->portal, rule->proxy_port);
}

const char *refused_find(const struct refused *refused, enum proto proto, const struct plan_portal *portal)
{
	for (size_t i = 0; i < refused->rules.count; i++) {
		const struct steering_rule *rule = &refused->rules.rules[i];

		if (rule->proto == proto && rule->portal.scope == portal->scope &&
			addr_port_equal(&rule->portal.at, &portal->at))
			return refused->details[i];
	}
	return NULL;
}

void refused_clear(struct refused *refused)
{
	for (size_t i = 0; i < refused->rules.count; i++) {
		free((char *)refused->rules.rules[i].key);
		free(refused->details[i]);
	}
	steering_rules_fini(&refused->rules);
	*refused = (struct refused){.rules = {.count = 0}};
}

void refused_move(struct refused *to, struct refused *from)
{
	refused_clear(to);
	*to = *from;
	*from = (struct refused){.rules = {.count = 0}};
}
