/* Owns the decision what a node opens: Service by Service, then across Services. Runs in control and in
 * `portald plan`. */
#include <stdlib.h>
#include <string.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

void plan_skip(struct plan *plan, const char *key, char *reason_take)
{
	struct plan_skipped *skipped =
		plan_array_append(&plan->skipped, &plan->skipped_count, sizeof(*skipped));

	skipped->key = mem_strdup(key);
	skipped->reason = reason_take;
}

char *plan_join(char *before_take, char *more_take)
{
	char *joined;

	if (!before_take)
		return more_take;
	joined = mem_printf("%s; %s", before_take, more_take);
	free(before_take);
	free(more_take);
	return joined;
}

static bool has_health_check(const struct model_service *service)
{
	return service->type == MODEL_LOAD_BALANCER && service->external_local &&
	       service->health_check_node_port != 0;
}

static void add_health_check(struct plan *plan, const struct model_snapshot *snapshot,
	const struct model_service *service, const struct plan_facts *facts)
{
	struct plan_health_check *check =
		plan_array_append(&plan->health_checks, &plan->health_check_count, sizeof(*check));

	*check = (struct plan_health_check){
		.port = service->health_check_node_port,
		.namespace = mem_strdup(service->namespace),
		.name = mem_strdup(service->name),
		.local_endpoints = plan_count_local(snapshot, service, facts),
	};
}

static int listeners_cmp(const void *a, const void *b)
{
	return strcmp((*(struct plan_listener *const *)a)->id, (*(struct plan_listener *const *)b)->id);
}

static int skipped_cmp(const void *a, const void *b)
{
	const struct plan_skipped *x = a, *y = b;
	int by_key = strcmp(x->key, y->key);

	return by_key ? by_key : strcmp(x->reason, y->reason);
}

static int health_checks_cmp(const void *a, const void *b)
{
	const struct plan_health_check *x = a, *y = b;

	return (x->port > y->port) - (x->port < y->port);
}

/* The facts with the zone that the snapshot knows, if they have none. */
static struct plan_facts facts_with_zone(
	const struct plan_facts *facts, const struct model_snapshot *snapshot)
{
	struct plan_facts complete = *facts;
	const struct model_node *node = facts->node_name ? model_find_node(snapshot, facts->node_name) : NULL;

	if (!complete.zone && node)
		complete.zone = node->zone;
	return complete;
}

struct plan *plan_build(const struct model_snapshot *snapshot, const struct plan_facts *given)
{
	struct plan *plan = mem_calloc(1, sizeof(*plan));
	struct plan_facts facts = facts_with_zone(given, snapshot);

	service_options_init(&plan->usual);
	plan_complete_options(&plan->usual, &facts.defaults);
	for (size_t i = 0; i < snapshot->service_count; i++) {
		const struct model_service *service = snapshot->services[i];

		plan_build_service(plan, snapshot, service, &facts);
		if (!service->out_of_scope && has_health_check(service))
			add_health_check(plan, snapshot, service, &facts);
	}
	if (plan->listener_count > 0)
		qsort(plan->listeners, plan->listener_count, sizeof(struct plan_listener *), listeners_cmp);
	plan_settle_conflicts(plan);
	if (plan->skipped_count > 0)
		qsort(plan->skipped, plan->skipped_count, sizeof(struct plan_skipped), skipped_cmp);
	if (plan->health_check_count > 0)
		qsort(plan->health_checks, plan->health_check_count, sizeof(*plan->health_checks),
			health_checks_cmp);
	return plan;
}
