/* Owns the frame of the rules for iptables and ip6tables: the classic chains of kube-proxy's userspace mode,
 * so that who knows those finds the same, and the jumps to them. Pure. Runs in the supervisor and in `portald
 * plan --rules`. Both families have the same chains:
 *
 *     nat     PREROUTING  first  -> KUBE-PORTALS-CONTAINER    portals with an address, traffic that arrives
 *                         last   -> KUBE-NODEPORT-CONTAINER   NodePorts, traffic that arrives
 *             OUTPUT      first  -> KUBE-PORTALS-HOST         portals with an address, the host's own traffic
 *                         last   -> KUBE-NODEPORT-HOST        NodePorts, the host's own traffic
 *     filter  INPUT       first  -> KUBE-NODEPORT-NON-LOCAL   lets outside traffic pass a closed firewall
 *                         first  -> KUBE-PORTALS-REJECT       portals that are refused; UDP proxy ports that
 *                                                             were met directly
 *             FORWARD     first  -> KUBE-PORTALS-REJECT
 *             OUTPUT      first  -> KUBE-PORTALS-REJECT-HOST  portals that are refused, the host's own
 * traffic
 *
 * The NodePort rules match any local address, so they must come after those with an address. The two jumps
 * of INPUT may stand in either order: no packet concerns both chains. A portal that is refused has no rule in
 * nat, so the filter sees its own address; only packets that begin something pass those two chains.
 *
 * Where the proxy listens on every address, both directions use REDIRECT. Arriving traffic then goes to the
 * address of the interface it came in by, which is where the client's path ends anyway. Traffic of the host
 * itself goes to 127.0.0.1 or ::1. kube-proxy had DNAT to the node's address there, for the sake of UDP
 * answers, which our relay sends from the address that was asked; REDIRECT is better: it needs no address on
 * the node, so it works in a namespace with nothing but lo and on a laptop that changes networks. */
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
#define REJECT_COMMENT "refuse Services without endpoints"

#define REJECT_CHAIN "KUBE-PORTALS-REJECT"
#define NON_LOCAL_CHAIN "KUBE-NODEPORT-NON-LOCAL"

/* The most built-in chains that lead to one of ours, and a NULL. */
#define MAX_FROMS 3

/* A chain of ours. */
struct chain {
	enum table table;
	struct iptables_chain chain;
	const char *froms[MAX_FROMS]; /* the built-in chains with a jump to it */
};

static const struct chain chains[] = {
	{TABLE_NAT, {"KUBE-PORTALS-CONTAINER", CONTENT_PORTALS, PLAN_SCOPE_ARRIVING}, {"PREROUTING"}},
	{TABLE_NAT, {"KUBE-PORTALS-HOST", CONTENT_PORTALS, PLAN_SCOPE_HOST}, {"OUTPUT"}},
	{TABLE_NAT, {"KUBE-NODEPORT-CONTAINER", CONTENT_NODE_PORTS, PLAN_SCOPE_ARRIVING}, {"PREROUTING"}},
	{TABLE_NAT, {"KUBE-NODEPORT-HOST", CONTENT_NODE_PORTS, PLAN_SCOPE_HOST}, {"OUTPUT"}},
	{TABLE_FILTER, {NON_LOCAL_CHAIN, CONTENT_ACCEPT, PLAN_SCOPE_ALL}, {"INPUT"}},
	{TABLE_FILTER, {REJECT_CHAIN, CONTENT_REFUSED, PLAN_SCOPE_ARRIVING}, {"INPUT", "FORWARD"}},
	{TABLE_FILTER, {REJECT_CHAIN "-HOST", CONTENT_REFUSED, PLAN_SCOPE_HOST}, {"OUTPUT"}},
};
#define CHAINS (sizeof(chains) / sizeof(chains[0]))

/* What the jumps to a chain have in common. */
static struct iptables_jump jump_to(const struct chain *chain, const char *from)
{
	struct iptables_jump jump = {.from = from, .to = chain->chain.name, .place = JUMP_FIRST};

	switch (chain->chain.content) {
	case CONTENT_PORTALS:
		jump.comment = PORTALS_COMMENT;
		break;
	case CONTENT_NODE_PORTS:
		jump.comment = NODEPORT_COMMENT;
		jump.place = JUMP_LAST;
		jump.local_only = true;
		break;
	case CONTENT_ACCEPT:
		jump.comment = NON_LOCAL_COMMENT;
		jump.beside = REJECT_CHAIN;
		break;
	case CONTENT_REFUSED:
		jump.comment = REJECT_COMMENT;
		jump.new_only = true;
		jump.beside = NON_LOCAL_CHAIN;
		break;
	}
	return jump;
}

/* Calls change for each jump of the table. */
static void for_each_jump(struct text *out, enum table table, const char *saved,
	void (*change)(struct text *out, const struct iptables_jump *jump, const char *saved))
{
	for (size_t i = 0; i < CHAINS; i++) {
		for (const char *const *from = chains[i].froms; chains[i].table == table && *from; from++) {
			struct iptables_jump jump = jump_to(&chains[i], *from);

			change(out, &jump, saved);
		}
	}
}

static const char *saved_table(const struct steering_saved *saved, enum table table)
{
	const char *text = !saved ? NULL : table == TABLE_NAT ? saved->nat : saved->filter;

	return text ? text : "";
}

static void render_table(struct text *out, enum table table, const struct steering_rules *rules,
	const char *saved, enum addr_family family)
{
	text_printf(out, "*%s\n", table_names[table]);
	/* Naming a chain empties it, or creates it. */
	for (size_t i = 0; i < CHAINS; i++) {
		if (chains[i].table == table)
			text_printf(out, ":%s - [0:0]\n", chains[i].chain.name);
	}
	for_each_jump(out, table, saved, iptables_jump_repair);
	for (size_t i = 0; i < CHAINS; i++) {
		if (chains[i].table == table)
			iptables_render_chain(out, &chains[i].chain, rules, family);
	}
	text_printf(out, "COMMIT\n");
}

char *steering_iptables_render(
	const struct steering_rules *rules, enum addr_family family, const struct steering_saved *saved)
{
	struct text out = {.bytes = NULL};

	for (enum table table = TABLE_NAT; table < TABLES; table++)
		render_table(&out, table, rules, saved_table(saved, table), family);
	return text_take(&out);
}

/* ---- cleanup ---- */

static void cleanup_chain(struct text *out, const struct chain *chain, const char *saved)
{
	const char *name = chain->chain.name;

	if (!iptables_chain_exists(saved, name))
		return;
	text_printf(out, "-F %s\n", name);
	/* Somebody else's rule leads here: that rule stays, and so must the chain, empty. */
	if (!iptables_chain_used_elsewhere(saved, name, chain->froms))
		text_printf(out, "-X %s\n", name);
}

static void cleanup_table(struct text *out, enum table table, const char *saved)
{
	struct text body = {.bytes = NULL};
	char *lines;

	for_each_jump(&body, table, saved, iptables_jump_remove);
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
