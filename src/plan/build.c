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

/* Why a whole Service opens nothing, or NULL. */
static const char *service_unfit(const struct model_service *service)
{
	if (service->type == MODEL_EXTERNAL_NAME)
		return "ExternalName: a name for DNS, without an address of its own";
	if (service->headless)
		return "headless: clients find its endpoints through DNS";
	if (service->port_count == 0)
		return "it has no ports";
	if (service->cluster_ip_count == 0)
		return "it has no clusterIP";
	return NULL;
}

static char *port_key(const struct model_service *service, const struct model_service_port *port)
{
	return mem_printf(
		"%s/%s%s%s", service->namespace, service->name, port->name[0] ? ":" : "", port->name);
}

static void add_portals(struct plan *plan, struct plan_listener *listener,
	const struct model_service *service, const struct model_service_port *port)
{
	char text[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < service->cluster_ip_count; i++) {
		struct addr_port at = {.addr = service->cluster_ips[i], .port = port->port};

		if (addr_family(&at.addr) == listener->family)
			plan_listener_add_portal(listener, PLAN_PORTAL_CLUSTER_IP, &at);
		else
			plan_skip(plan, listener->key,
				mem_printf("clusterIP %s: IPv6 is not proxied yet",
					addr_format(&at.addr, text)));
	}
	/* What a cloud balancer sends to a node arrives at the NodePort. */
	if (listener->portal_count > 0 && port->node_port != 0 && service->type != MODEL_CLUSTER_IP) {
		struct addr_port at = {.addr = addr_any(listener->family), .port = port->node_port};

		plan_listener_add_portal(listener, PLAN_PORTAL_NODE_PORT, &at);
	}
}

static void build_port(struct plan *plan, const struct model_snapshot *snapshot,
	const struct model_service *service, const struct model_service_port *port)
{
	char *key = port_key(service, port);
	struct plan_listener *listener;

	if (port->proto != PROTO_TCP) {
		plan_skip(plan, key, mem_printf("%s is not proxied yet", proto_name(port->proto)));
	} else if (strlen(key) >= PLAN_MAX_KEY_BYTES) {
		/* No valid object has such names; the supervisor would refuse the record. */
		plan_skip(plan, key, mem_strdup("its name is too long"));
	} else {
		listener = plan_listener_new(key, port->proto, ADDR_V4);
		add_portals(plan, listener, service, port);
		if (listener->portal_count > 0) {
			plan_choose_endpoints(listener, snapshot, service, port);
			*(struct plan_listener **)plan_array_append(&plan->listeners, &plan->listener_count,
				sizeof(struct plan_listener *)) = listener;
		} else {
			plan_listener_free(listener);
		}
	}
	free(key);
}

void plan_build_service(
	struct plan *plan, const struct model_snapshot *snapshot, const struct model_service *service)
{
	const char *unfit = service_unfit(service);

	if (unfit) {
		char *key = mem_printf("%s/%s", service->namespace, service->name);

		plan_skip(plan, key, mem_strdup(unfit));
		free(key);
		return;
	}
	for (size_t i = 0; i < service->port_count; i++)
		build_port(plan, snapshot, service, &service->ports[i]);
}

static int listeners_cmp(const void *a, const void *b)
{
	return strcmp((*(struct plan_listener *const *)a)->key, (*(struct plan_listener *const *)b)->key);
}

static int skipped_cmp(const void *a, const void *b)
{
	const struct plan_skipped *x = a, *y = b;
	int by_key = strcmp(x->key, y->key);

	return by_key ? by_key : strcmp(x->reason, y->reason);
}

struct plan *plan_build(const struct model_snapshot *snapshot, const struct plan_facts *facts)
{
	struct plan *plan = mem_calloc(1, sizeof(*plan));

	/* Nothing in ClusterIP and NodePort depends on the node. */
	(void)facts;
	for (size_t i = 0; i < snapshot->service_count; i++)
		plan_build_service(plan, snapshot, snapshot->services[i]);
	if (plan->listener_count > 0)
		qsort(plan->listeners, plan->listener_count, sizeof(struct plan_listener *), listeners_cmp);
	plan_settle_conflicts(plan);
	if (plan->skipped_count > 0)
		qsort(plan->skipped, plan->skipped_count, sizeof(struct plan_skipped), skipped_cmp);
	return plan;
}
