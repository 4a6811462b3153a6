/* Owns what one Service opens: its listeners with portals, endpoints and options. Runs in control and in
 * `portald plan`.
 *
 *     internal   external   clusterIP   external, arriving   external, from the node itself
 *     Cluster    Cluster    key: all    key: all             key: all
 *     Cluster    Local      key: all    #external: local     key: all
 *     Local      Cluster    key: local  #external: all       #external: all
 *     Local      Local      key: local  #external: local     #host: all
 *
 * A UDP listener with portals of which only some check the client's address gives those up to one more,
 * with #checked behind its id.
 *
 * The policies alone decide which listeners there are, not the endpoints of the moment: so a listener, its
 * proxy port and its connections stay while endpoints come and go.
 */
#include <stdlib.h>
#include <string.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

/* One Service port in one family. */
struct work {
	struct plan *plan;
	const struct plan_facts *facts;
	const struct model_service *service;
	const struct model_service_port *port;
	const char *key;
	enum addr_family family;
	struct plan_candidates candidates;
};

static const char *family_name(enum addr_family family)
{
	return family == ADDR_V6 ? "IPv6" : "IPv4";
}

/* Why a whole Service opens nothing, or NULL. */
static const char *service_unfit(const struct model_service *service)
{
	if (service->out_of_scope)
		return service->out_of_scope;
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

static bool has_cluster_ip(const struct model_service *service, enum addr_family family)
{
	for (size_t i = 0; i < service->cluster_ip_count; i++) {
		if (addr_family(&service->cluster_ips[i]) == family)
			return true;
	}
	return false;
}

static bool has_addr(const struct addr *addrs, size_t count, const struct addr *wanted)
{
	for (size_t i = 0; i < count; i++) {
		if (addr_equal(&addrs[i], wanted))
			return true;
	}
	return false;
}

/* ---- portals ---- */

static bool is_balanced(const struct model_service *service)
{
	return service->type == MODEL_LOAD_BALANCER;
}

static bool has_node_port(const struct work *work)
{
	return work->port->node_port != 0 && work->service->type != MODEL_CLUSTER_IP;
}

static bool has_source_ranges(const struct work *work)
{
	for (size_t i = 0; i < work->service->source_range_count; i++) {
		if (addr_family(&work->service->source_ranges[i].addr) == work->family)
			return is_balanced(work->service);
	}
	return false;
}

static void add_portal(const struct work *work, struct plan_listener *listener, enum plan_portal_kind kind,
	enum plan_scope scope, const struct addr *addr)
{
	struct plan_portal portal = {
		.kind = kind,
		.scope = scope,
		.at = {.addr = *addr, .port = work->port->port},
	};

	if (addr_family(addr) != work->family)
		return;
	if (kind == PLAN_PORTAL_NODE_PORT)
		portal.at.port = work->port->node_port;
	if (kind == PLAN_PORTAL_LOAD_BALANCER ||
		(kind == PLAN_PORTAL_NODE_PORT && work->facts->source_ranges_on_node_ports))
		portal.check_source = has_source_ranges(work);
	plan_listener_add_portal(listener, &portal);
}

static void add_internal_portals(const struct work *work, struct plan_listener *listener)
{
	for (size_t i = 0; i < work->service->cluster_ip_count; i++)
		add_portal(work, listener, PLAN_PORTAL_CLUSTER_IP, PLAN_SCOPE_ALL,
			&work->service->cluster_ips[i]);
}

/* An address that is both external and the load balancer's is the latter, which may check sources. */
static void add_external_portals(
	const struct work *work, struct plan_listener *listener, enum plan_scope scope)
{
	const struct model_service *service = work->service;
	size_t balancer_count = is_balanced(service) ? service->load_balancer_ip_count : 0;
	struct addr any = addr_any(work->family);

	if (has_node_port(work))
		add_portal(work, listener, PLAN_PORTAL_NODE_PORT, scope, &any);
	for (size_t i = 0; i < service->external_ip_count; i++) {
		const struct addr *addr = &service->external_ips[i];

		if (!has_addr(service->external_ips, i, addr) &&
			!has_addr(service->load_balancer_ips, balancer_count, addr))
			add_portal(work, listener, PLAN_PORTAL_EXTERNAL_IP, scope, addr);
	}
	for (size_t i = 0; i < balancer_count; i++) {
		const struct addr *addr = &service->load_balancer_ips[i];

		if (!has_addr(service->load_balancer_ips, i, addr))
			add_portal(work, listener, PLAN_PORTAL_LOAD_BALANCER, scope, addr);
	}
}

static int portals_cmp(const void *a, const void *b)
{
	const struct plan_portal *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return addr_port_cmp(&x->at, &y->at);
}

static void add_source_ranges(const struct work *work, struct plan_listener *listener)
{
	bool check_source = false;

	for (size_t i = 0; i < listener->portal_count; i++)
		check_source = check_source || listener->portals[i].check_source;
	for (size_t i = 0; check_source && i < work->service->source_range_count; i++) {
		const struct addr_prefix *range = &work->service->source_ranges[i];

		if (addr_family(&range->addr) == work->family)
			plan_listener_add_source_range(listener, range);
	}
}

/* ---- listeners ---- */

static void fill_number(uint32_t *number, uint32_t fallback)
{
	if (*number == 0)
		*number = fallback;
}

void plan_complete_options(struct service_options *options, const struct service_options *defaults)
{
	if (!options->scheduler_set)
		options->scheduler = defaults->scheduler;
	fill_number(&options->connect_timeout_ms, defaults->connect_timeout_ms);
	fill_number(&options->idle_timeout_ms, defaults->idle_timeout_ms);
	fill_number(&options->max_connections, defaults->max_connections);
	fill_number(&options->udp_first_ms, defaults->udp_first_ms);
	fill_number(&options->udp_idle_ms, defaults->udp_idle_ms);
}

static struct service_options options_of(const struct work *work)
{
	struct service_options options = work->service->options;

	plan_complete_options(&options, &work->facts->defaults);
	if (work->port->proto != PROTO_UDP)
		options.udp_first_ms = options.udp_idle_ms = 0;
	return options;
}

/* Takes id. */
static struct plan_listener *add_listener_as(const struct work *work, char *id, enum plan_policy policy)
{
	struct plan_listener *listener = plan_listener_new(id, work->key, work->port->proto, work->family);

	free(id);
	listener->options = options_of(work);
	plan_choose_endpoints(listener, &work->candidates, policy, work->facts);
	/* As kube-proxy: where there is an endpoint but none here, the client is to try again, not to give
	 * up. */
	if (policy == PLAN_POLICY_LOCAL && listener->backend_count == 0 &&
		plan_candidates_any_usable(&work->candidates))
		listener->action = PLAN_DROP;
	*(struct plan_listener **)plan_array_append(&work->plan->listeners, &work->plan->listener_count,
		sizeof(struct plan_listener *)) = listener;
	return listener;
}

static struct plan_listener *add_listener(
	const struct work *work, const char *suffix, enum plan_policy policy)
{
	return add_listener_as(
		work, mem_printf("%s%s%s", work->key, work->family == ADDR_V6 ? "#v6" : "", suffix), policy);
}

/* A relay cannot tell which portal a datagram was sent to, so UDP portals that check sources have a listener
 * of their own, with the same endpoints. */
static void split_checked(const struct work *work, struct plan_listener *listener, enum plan_policy policy)
{
	struct plan_listener *checked;
	size_t kept = 0, count = 0;

	for (size_t i = 0; i < listener->portal_count; i++)
		count += listener->portals[i].check_source;
	if (work->port->proto != PROTO_UDP || count == 0 || count == listener->portal_count)
		return;
	checked = add_listener_as(work, mem_printf("%s#checked", listener->id), policy);
	checked->action = listener->action;
	for (size_t i = 0; i < listener->portal_count; i++) {
		if (listener->portals[i].check_source)
			plan_listener_add_portal(checked, &listener->portals[i]);
		else
			listener->portals[kept++] = listener->portals[i];
	}
	listener->portal_count = kept;
	add_source_ranges(work, checked);
}

/* To be called when the listener has all its portals. */
static void finish_portals(const struct work *work, struct plan_listener *listener, enum plan_policy policy)
{
	if (listener->portal_count > 0)
		qsort(listener->portals, listener->portal_count, sizeof(*listener->portals), portals_cmp);
	split_checked(work, listener, policy);
	add_source_ranges(work, listener);
}

static bool is_reached_from_outside(const struct work *work)
{
	struct plan_listener *probe = plan_listener_new("", "", work->port->proto, work->family);
	bool reached;

	add_external_portals(work, probe, PLAN_SCOPE_ALL);
	reached = probe->portal_count > 0;
	plan_listener_free(probe);
	return reached;
}

/* The table at the top, from its second row on. */
static void add_external_listeners(const struct work *work, struct plan_listener *internal)
{
	struct plan_listener *arriving, *host = internal;

	if (!work->service->external_local) {
		arriving = add_listener(work, "#external", PLAN_POLICY_CLUSTER);
		add_external_portals(work, arriving, PLAN_SCOPE_ALL);
		finish_portals(work, arriving, PLAN_POLICY_CLUSTER);
		return;
	}
	arriving = add_listener(work, "#external", PLAN_POLICY_LOCAL);
	if (work->service->internal_local)
		host = add_listener(work, "#host", PLAN_POLICY_CLUSTER);
	add_external_portals(work, arriving, PLAN_SCOPE_ARRIVING);
	add_external_portals(work, host, PLAN_SCOPE_HOST);
	finish_portals(work, arriving, PLAN_POLICY_LOCAL);
	if (host != internal)
		finish_portals(work, host, PLAN_POLICY_CLUSTER);
}

static void build_family(const struct work *work)
{
	const struct model_service *service = work->service;
	enum plan_policy policy = service->internal_local ? PLAN_POLICY_LOCAL : PLAN_POLICY_CLUSTER;
	struct plan_listener *internal = add_listener(work, "", policy);

	add_internal_portals(work, internal);
	if (!service->internal_local && !service->external_local)
		add_external_portals(work, internal, PLAN_SCOPE_ALL);
	else if (is_reached_from_outside(work))
		add_external_listeners(work, internal);
	finish_portals(work, internal, policy);
}

/* ---- Services ---- */

static void skip_addresses(struct plan *plan, const char *key, const struct model_service *service,
	const struct addr *addrs, size_t count, const char *what)
{
	char text[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < count; i++) {
		enum addr_family family = addr_family(&addrs[i]);

		if (!has_cluster_ip(service, family))
			plan_skip(plan, key,
				mem_printf("%s %s: the Service has no %s clusterIP", what,
					addr_format(&addrs[i], text), family_name(family)));
	}
}

static void build_port(struct plan *plan, const struct plan_input *input,
	const struct model_service_port *port, const char *key, const struct plan_facts *facts)
{
	const struct model_service *service = input->service;
	static const enum addr_family families[] = {ADDR_V4, ADDR_V6};
	bool dual = has_cluster_ip(service, ADDR_V4) && has_cluster_ip(service, ADDR_V6);

	for (size_t i = 0; i < 2; i++) {
		struct work work = {.plan = plan,
			.facts = facts,
			.service = service,
			.port = port,
			.key = key,
			.family = families[i]};

		if (!has_cluster_ip(service, work.family))
			continue;
		work.candidates = plan_candidates_collect(input, port, work.family, !dual, facts);
		build_family(&work);
		plan_candidates_fini(&work.candidates);
	}
	skip_addresses(plan, key, service, service->external_ips, service->external_ip_count,
		plan_portal_word(PLAN_PORTAL_EXTERNAL_IP));
	skip_addresses(plan, key, service, service->load_balancer_ips, service->load_balancer_ip_count,
		plan_portal_word(PLAN_PORTAL_LOAD_BALANCER));
}

void plan_build_service(struct plan *plan, const struct plan_input *input, const struct plan_facts *facts)
{
	const struct model_service *service = input->service;
	static const char longest_suffix[] = "#v6#external";
	const char *unfit = service_unfit(service);

	if (unfit) {
		char *key = mem_printf("%s/%s", service->namespace, service->name);

		plan_skip(plan, key, mem_strdup(unfit));
		free(key);
		return;
	}
	for (size_t i = 0; i < service->port_count; i++) {
		const struct model_service_port *port = &service->ports[i];
		char *key = port_key(service, port);

		/* No valid object has such names; the supervisor would refuse the record. */
		if (strlen(key) + sizeof(longest_suffix) > PLAN_MAX_KEY_BYTES)
			plan_skip(plan, key, mem_strdup("its name is too long"));
		else if (port->proto == PROTO_SCTP)
			plan_skip(plan, key, mem_strdup("SCTP is not proxied"));
		else
			build_port(plan, input, port, key, facts);
		free(key);
	}
}
