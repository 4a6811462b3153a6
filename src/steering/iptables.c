/* Owns the rules' text for iptables: the classic chains of kube-proxy's userspace mode, so that who knows
 * those finds the same. Pure. Runs in the supervisor and in `portald plan --rules`.
 *
 *     nat     PREROUTING  first  -> KUBE-PORTALS-CONTAINER    ClusterIPs, traffic that arrives
 *                         last   -> KUBE-NODEPORT-CONTAINER   NodePorts, traffic that arrives
 *             OUTPUT      first  -> KUBE-PORTALS-HOST         ClusterIPs, traffic of the host itself
 *                         last   -> KUBE-NODEPORT-HOST        NodePorts, traffic of the host itself
 *     filter  INPUT       first  -> KUBE-NODEPORT-NON-LOCAL   lets NodePort traffic pass a closed firewall
 *
 * The NodePort rules match any local address, so they must come after the ClusterIP rules.
 *
 * Where the proxy listens on every address, both directions use REDIRECT. Arriving traffic then goes to the
 * address of the interface it came in by, which is where the client's path ends anyway. Traffic of the host
 * itself goes to 127.0.0.1. kube-proxy had DNAT to the node's address there, for the sake of UDP answers;
 * for TCP, REDIRECT is better: it needs no address on the node, so it works in a namespace with nothing
 * but lo and on a laptop that changes networks. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "portald/steering.h"
#include "steering/iptables_private.h"
#include "steering/text.h"

enum table { TABLE_NAT, TABLE_FILTER, TABLES };

static const char *const table_names[TABLES] = {[TABLE_NAT] = "nat", [TABLE_FILTER] = "filter"};

#define PORTALS_COMMENT "handle ClusterIPs; NOTE: this must be before the NodePort rules"
#define NODEPORT_COMMENT "handle service NodePorts; NOTE: this must be the last rule in the chain"
#define NON_LOCAL_COMMENT "Ensure that non-local NodePort traffic can flow"

/* What one of our chains takes up. */
enum content { CONTENT_PORTALS, CONTENT_NODE_PORTS, CONTENT_ACCEPT };

/* A chain of ours and the jump to it. */
struct chain {
	enum table table;
	enum content content;
	struct iptables_jump jump;
};

static const struct chain chains[] = {
	{TABLE_NAT, CONTENT_PORTALS,
		{"PREROUTING", "KUBE-PORTALS-CONTAINER", JUMP_FIRST, false, PORTALS_COMMENT}},
	{TABLE_NAT, CONTENT_PORTALS, {"OUTPUT", "KUBE-PORTALS-HOST", JUMP_FIRST, false, PORTALS_COMMENT}},
	{TABLE_NAT, CONTENT_NODE_PORTS,
		{"PREROUTING", "KUBE-NODEPORT-CONTAINER", JUMP_LAST, true, NODEPORT_COMMENT}},
	{TABLE_NAT, CONTENT_NODE_PORTS, {"OUTPUT", "KUBE-NODEPORT-HOST", JUMP_LAST, true, NODEPORT_COMMENT}},
	{TABLE_FILTER, CONTENT_ACCEPT,
		{"INPUT", "KUBE-NODEPORT-NON-LOCAL", JUMP_FIRST, false, NON_LOCAL_COMMENT}},
};
#define CHAINS (sizeof(chains) / sizeof(chains[0]))

static const char *saved_table(const struct steering_saved *saved, enum table table)
{
	const char *text = !saved ? NULL : table == TABLE_NAT ? saved->nat : saved->filter;

	return text ? text : "";
}

/* ---- rules ---- */

static const char *proto_word(enum proto proto)
{
	static const char *const words[] = {
		[PROTO_TCP] = "tcp",
		[PROTO_UDP] = "udp",
		[PROTO_SCTP] = "sctp",
	};

	return words[proto];
}

/* In the order in which iptables-save prints. */
static void add_matches(
	struct text *out, const struct steering_rule *rule, const struct addr *destination, uint16_t port)
{
	const char *proto = proto_word(rule->proto);
	char text[ADDR_TEXT_BYTES];

	if (destination)
		text_printf(out, " -d %s/%d", addr_format(destination, text),
			addr_family(destination) == ADDR_V4 ? 32 : 128);
	text_printf(out, " -p %s -m comment --comment ", proto);
	text_quoted(out, rule->key);
	text_printf(out, " -m %s --dport %u", proto, port);
}

static void add_target(struct text *out, const struct steering_rule *rule, const struct addr *bind_addr)
{
	struct addr_port to = {.addr = *bind_addr, .port = rule->proxy_port};
	char text[ADDR_TEXT_BYTES];

	if (addr_is_any(bind_addr))
		text_printf(out, " -j REDIRECT --to-ports %u\n", rule->proxy_port);
	else
		text_printf(out, " -j DNAT --to-destination %s\n", addr_port_format(&to, text));
}

static void add_rule(struct text *out, const struct chain *chain, const struct steering_rule *rule,
	const struct addr *bind_addr)
{
	const struct plan_portal *portal = &rule->portal;

	text_printf(out, "-A %s", chain->jump.to);
	if (chain->content == CONTENT_ACCEPT) {
		/* INPUT comes after the translation: it sees the proxy port. */
		add_matches(out, rule, NULL, rule->proxy_port);
		text_printf(out, " -m state --state NEW -j ACCEPT\n");
		return;
	}
	add_matches(out, rule, chain->content == CONTENT_PORTALS ? &portal->at.addr : NULL, portal->at.port);
	add_target(out, rule, bind_addr);
}

static bool chain_wants(const struct chain *chain, const struct steering_rule *rule, enum addr_family family)
{
	enum plan_portal_kind kind =
		chain->content == CONTENT_PORTALS ? PLAN_PORTAL_CLUSTER_IP : PLAN_PORTAL_NODE_PORT;

	return rule->portal.kind == kind && addr_family(&rule->portal.at.addr) == family;
}

static void render_chain(struct text *out, const struct chain *chain, const struct steering_rules *rules,
	enum addr_family family)
{
	/* A bind address binds one family; the other one is not restricted. */
	struct addr any = addr_any(family);
	const struct addr *bind_addr = addr_family(&rules->bind_addr) == family ? &rules->bind_addr : &any;

	for (size_t i = 0; i < rules->count; i++) {
		if (chain_wants(chain, &rules->rules[i], family))
			add_rule(out, chain, &rules->rules[i], bind_addr);
	}
}

static void render_table(struct text *out, enum table table, const struct steering_rules *rules,
	const char *saved, enum addr_family family)
{
	text_printf(out, "*%s\n", table_names[table]);
	/* Naming a chain empties it, or creates it. */
	for (size_t i = 0; i < CHAINS; i++) {
		if (chains[i].table == table)
			text_printf(out, ":%s - [0:0]\n", chains[i].jump.to);
	}
	for (size_t i = 0; i < CHAINS; i++) {
		if (chains[i].table == table)
			iptables_jump_repair(out, &chains[i].jump, saved);
	}
	for (size_t i = 0; i < CHAINS; i++) {
		if (chains[i].table == table)
			render_chain(out, &chains[i], rules, family);
	}
	text_printf(out, "COMMIT\n");
}

static char *render(
	const struct steering_rules *rules, const struct steering_saved *saved, enum addr_family family)
{
	struct text out = {.bytes = NULL};

	for (enum table table = TABLE_NAT; table < TABLES; table++)
		render_table(&out, table, rules, saved_table(saved, table), family);
	return text_take(&out);
}

char *steering_iptables_render(const struct steering_rules *rules, const struct steering_saved *saved)
{
	return render(rules, saved, ADDR_V4);
}

/* ---- cleanup ---- */

static void cleanup_chain(struct text *out, const struct chain *chain, const char *saved)
{
	if (!iptables_chain_exists(saved, chain->jump.to))
		return;
	text_printf(out, "-F %s\n", chain->jump.to);
	/* Somebody else's rule leads here: that rule stays, and so must the chain, empty. */
	if (!iptables_chain_used_elsewhere(saved, &chain->jump))
		text_printf(out, "-X %s\n", chain->jump.to);
}

static void cleanup_table(struct text *out, enum table table, const char *saved)
{
	struct text body = {.bytes = NULL};
	char *lines;

	for (size_t i = 0; i < CHAINS; i++) {
		if (chains[i].table == table)
			iptables_jump_remove(&body, &chains[i].jump, saved);
	}
	for (size_t i = 0; i < CHAINS; i++) {
		if (chains[i].table == table)
			cleanup_chain(&body, &chains[i], saved);
	}
	lines = text_take(&body);
	if (lines[0])
		text_printf(out, "*%s\n%sCOMMIT\n", table_names[table], lines);
	free(lines);
}

char *steering_iptables_render_cleanup(const struct steering_saved *saved)
{
	struct text out = {.bytes = NULL};

	for (enum table table = TABLE_NAT; table < TABLES; table++)
		cleanup_table(&out, table, saved_table(saved, table));
	return text_take(&out);
}
