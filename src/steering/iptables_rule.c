/* Owns the text of single iptables rules: which rules a chain takes up, and what they say. Pure. Runs in the
 * supervisor and in `portald plan --rules`.
 *
 * All portals with an address look alike: a ClusterIP, an external IP and a load balancer's IP are redirected
 * whoever sends to them, from wherever. kube-proxy's userspace mode took external addresses from pods only if
 * the node had them, or (by physdev, which needs br_netfilter) if the packet had not come in by a bridge's
 * port, and sent the rest of the pods' traffic out to the load balancer. Its later modes spare that detour,
 * and so do we: a Service is reached from a pod also where no load balancer exists. */
#include <stdbool.h>
#include <string.h>

#include "portald/steering.h"
#include "steering/iptables_private.h"
#include "steering/text.h"

static const char *proto_word(enum proto proto)
{
	static const char *const words[] = {
		[PROTO_TCP] = "tcp",
		[PROTO_UDP] = "udp",
		[PROTO_SCTP] = "sctp",
	};

	return words[proto];
}

/* ---- parts, in the order in which iptables-save prints ---- */

/* Who sends; others: all but those. */
struct source {
	const struct addr_prefix *range; /* NULL: anybody */
	bool others;
};

static void add_source(struct text *out, const struct source *source)
{
	char text[ADDR_TEXT_BYTES];

	if (source->range)
		text_printf(out, "%s -s %s/%u", source->others ? " !" : "",
			addr_format(&source->range->addr, text), source->range->bits);
}

static void add_destination(struct text *out, const struct addr_prefix *destination)
{
	char text[ADDR_TEXT_BYTES];

	text_printf(out, " -d %s/%u", addr_format(&destination->addr, text), destination->bits);
}

static void add_service(struct text *out, const struct steering_rule *rule, uint16_t port)
{
	const char *proto = proto_word(rule->proto);

	text_printf(out, " -p %s -m comment --comment ", proto);
	text_quoted(out, rule->key);
	text_printf(out, " -m %s --dport %u", proto, port);
}

static void add_redirect(struct text *out, const struct steering_rule *rule, const struct addr *addr)
{
	struct addr_port to = {.addr = *addr, .port = rule->proxy_port};
	char text[ADDR_TEXT_BYTES];

	if (addr_is_any(addr))
		text_printf(out, " -j REDIRECT --to-ports %u\n", rule->proxy_port);
	else
		text_printf(out, " -j DNAT --to-destination %s\n", addr_port_format(&to, text));
}

static const char *reject_word(enum proto proto, enum addr_family family)
{
	if (proto == PROTO_TCP)
		return "tcp-reset";
	return family == ADDR_V4 ? "icmp-port-unreachable" : "icmp6-port-unreachable";
}

static void add_refusal(struct text *out, const struct steering_rule *rule, enum addr_family family)
{
	if (rule->action == PLAN_DROP)
		text_printf(out, " -j DROP\n");
	else
		text_printf(out, " -j REJECT --reject-with %s\n", reject_word(rule->proto, family));
}

/* ---- one chain ---- */

struct rendering {
	struct text *out;
	const struct iptables_chain *chain;
	const struct steering_rules *rules;
	enum addr_family family;
	struct addr to; /* "any": REDIRECT */
	struct source source;
};

/* The rule for what is sent to destination, or with NULL to any address that gets into the chain. */
static void add_portal(
	struct rendering *rendering, const struct steering_rule *rule, const struct addr_prefix *destination)
{
	struct text *out = rendering->out;
	const struct plan_portal *portal = &rule->portal;
	bool refused = rendering->chain->content == CONTENT_REFUSED;

	text_printf(out, "-A %s", rendering->chain->name);
	add_source(out, &rendering->source);
	if (destination)
		add_destination(out, destination);
	/* INPUT also sees what the host sends itself. */
	if (refused && portal->scope == PLAN_SCOPE_ARRIVING)
		text_printf(out, " ! -i lo");
	add_service(out, rule, portal->at.port);
	if (refused && portal->kind == PLAN_PORTAL_NODE_PORT)
		text_printf(out, " -m addrtype --dst-type LOCAL");
	if (refused)
		add_refusal(out, rule, rendering->family);
	else
		add_redirect(out, rule, &rendering->to);
}

static void add_node_port(struct rendering *rendering, const struct steering_rule *rule)
{
	const struct steering_rules *rules = rendering->rules;
	bool restricted = false;

	for (size_t i = 0; i < rules->node_port_range_count; i++) {
		if (addr_family(&rules->node_port_ranges[i].addr) != rendering->family)
			continue;
		restricted = true;
		add_portal(rendering, rule, &rules->node_port_ranges[i]);
	}
	if (!restricted)
		add_portal(rendering, rule, NULL);
}

/* What INPUT sees after the translation: the proxy port. */
static void add_accept(struct rendering *rendering, const struct steering_rule *rule)
{
	text_printf(rendering->out, "-A %s", rendering->chain->name);
	add_service(rendering->out, rule, rule->proxy_port);
	/* UDP has no accept() at which the relay could ask for the original destination, so nothing but what
	 * was translated may be let through to it. */
	text_printf(rendering->out, rule->proto == PROTO_UDP ? " -m conntrack --ctstate DNAT -j ACCEPT\n"
							     : " -m state --state NEW -j ACCEPT\n");
}

/* A UDP proxy port that somebody met without having been redirected answers as a closed one. */
static void add_guard(struct rendering *rendering, const struct steering_rule *rule)
{
	text_printf(rendering->out, "-A %s", rendering->chain->name);
	add_service(rendering->out, rule, rule->proxy_port);
	text_printf(rendering->out,
		" -m addrtype --dst-type LOCAL -m conntrack ! --ctstate DNAT -j REJECT --reject-with %s\n",
		reject_word(PROTO_UDP, rendering->family));
}

static bool wants(const struct iptables_chain *chain, const struct steering_rule *rule)
{
	bool node_port = rule->portal.kind == PLAN_PORTAL_NODE_PORT;

	switch (chain->content) {
	case CONTENT_PORTALS:
		return rule->action == PLAN_PROXY && !node_port;
	case CONTENT_NODE_PORTS:
		return rule->action == PLAN_PROXY && node_port;
	case CONTENT_REFUSED:
		return rule->action != PLAN_PROXY;
	case CONTENT_ACCEPT:
		break;
	}
	return false;
}

static void add_rule(struct rendering *rendering, const struct steering_rule *rule)
{
	struct addr_prefix whole = addr_whole(&rule->portal.at.addr);

	if (rule->portal.kind == PLAN_PORTAL_NODE_PORT)
		add_node_port(rendering, rule);
	else
		add_portal(rendering, rule, &whole);
}

/* What INPUT sees of a listener is its proxy port, so one rule stands for all of its portals. These follow
 * one another. */
static void render_listeners(struct rendering *rendering, bool (*wanted)(const struct steering_rule *rule),
	void (*add)(struct rendering *rendering, const struct steering_rule *rule))
{
	const struct steering_rules *rules = rendering->rules;
	const struct steering_rule *last = NULL;

	for (size_t i = 0; i < rules->count; i++) {
		const struct steering_rule *rule = &rules->rules[i];

		if ((last && rule->proxy_port == last->proxy_port && rule->proto == last->proto) ||
			addr_family(&rule->portal.at.addr) != rendering->family || !wanted(rule))
			continue;
		last = rule;
		add(rendering, rule);
	}
}

static bool wants_accept(const struct steering_rule *rule)
{
	return rule->action == PLAN_PROXY && rule->portal.kind != PLAN_PORTAL_CLUSTER_IP;
}

static bool wants_guard(const struct steering_rule *rule)
{
	return rule->proto == PROTO_UDP;
}

/* The portals of one scope, for that source. */
static void render_portals(struct rendering *rendering, enum plan_scope scope, struct source source)
{
	const struct steering_rules *rules = rendering->rules;

	rendering->source = source;
	for (size_t i = 0; i < rules->count; i++) {
		const struct steering_rule *rule = &rules->rules[i];

		if (rule->portal.scope == scope && addr_family(&rule->portal.at.addr) == rendering->family &&
			wants(rendering->chain, rule))
			add_rule(rendering, rule);
	}
}

/* What is more specific. The order of these doesn't matter. What was refused to pods has come by the nat
 * table, where they met the host's portals. */
static void render_scoped(struct rendering *rendering)
{
	const struct iptables_chain *chain = rendering->chain;
	const struct addr_prefix *pods = steering_rules_pods(rendering->rules, rendering->family);

	if (chain->scope != PLAN_SCOPE_ARRIVING || chain->content == CONTENT_REFUSED)
		pods = NULL;
	if (pods)
		render_portals(rendering, PLAN_SCOPE_HOST, (struct source){.range = pods});
	render_portals(rendering, chain->scope, (struct source){.range = pods, .others = true});
}

void iptables_render_chain(struct text *out, const struct iptables_chain *chain,
	const struct steering_rules *rules, enum addr_family family, enum iptables_part part)
{
	struct rendering rendering = {
		.out = out,
		.chain = chain,
		.rules = rules,
		.family = family,
		.to = steering_rules_dnat(rules, family, chain->scope),
	};

	if (chain->content == CONTENT_ACCEPT) {
		if (part == PART_LAST)
			render_listeners(&rendering, wants_accept, add_accept);
		return;
	}
	if (part == PART_LAST) {
		render_portals(&rendering, PLAN_SCOPE_ALL, (struct source){.range = NULL});
		return;
	}
	if (chain->content == CONTENT_REFUSED && chain->scope == PLAN_SCOPE_ARRIVING)
		render_listeners(&rendering, wants_guard, add_guard);
	render_scoped(&rendering);
}
