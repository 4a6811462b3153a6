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
#include "steering/lines.h"
#include "steering/text.h"

static const char *const table_names[IPTABLES_TABLES] = {
	[IPTABLES_NAT] = "nat",
	[IPTABLES_FILTER] = "filter",
};

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
	enum iptables_table table;
	struct iptables_chain chain;
	const char *froms[MAX_FROMS]; /* the built-in chains with a jump to it */
};

static const struct chain chains[] = {
	{IPTABLES_NAT, {"KUBE-PORTALS-CONTAINER", CONTENT_PORTALS, PLAN_SCOPE_ARRIVING}, {"PREROUTING"}},
	{IPTABLES_NAT, {"KUBE-PORTALS-HOST", CONTENT_PORTALS, PLAN_SCOPE_HOST}, {"OUTPUT"}},
	{IPTABLES_NAT, {"KUBE-NODEPORT-CONTAINER", CONTENT_NODE_PORTS, PLAN_SCOPE_ARRIVING}, {"PREROUTING"}},
	{IPTABLES_NAT, {"KUBE-NODEPORT-HOST", CONTENT_NODE_PORTS, PLAN_SCOPE_HOST}, {"OUTPUT"}},
	{IPTABLES_FILTER, {NON_LOCAL_CHAIN, CONTENT_ACCEPT, PLAN_SCOPE_ALL}, {"INPUT"}},
	{IPTABLES_FILTER, {REJECT_CHAIN, CONTENT_REFUSED, PLAN_SCOPE_ARRIVING}, {"INPUT", "FORWARD"}},
	{IPTABLES_FILTER, {REJECT_CHAIN "-HOST", CONTENT_REFUSED, PLAN_SCOPE_HOST}, {"OUTPUT"}},
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
static void for_each_jump(struct text *out, enum iptables_table table, const char *saved,
	void (*change)(struct text *out, const struct iptables_jump *jump, const char *saved))
{
	for (size_t i = 0; i < CHAINS; i++) {
		for (const char *const *from = chains[i].froms; chains[i].table == table && *from; from++) {
			struct iptables_jump jump = jump_to(&chains[i], *from);

			change(out, &jump, saved);
		}
	}
}

static const char *saved_table(const struct steering_saved *saved, enum iptables_table table)
{
	const char *text = !saved ? NULL : table == IPTABLES_NAT ? saved->nat : saved->filter;

	return text ? text : "";
}

/* ---- all ---- */

/* The part's lines, which the caller frees. */
static char *chain_text(const struct iptables_chain *chain, const struct steering_rules *rules,
	enum addr_family family, enum iptables_part part)
{
	struct text out = {.bytes = NULL};

	iptables_render_chain(&out, chain, rules, family, part);
	return text_take(&out);
}

/* True if the chain holds those lines and no others. */
static bool chain_is_right(const char *saved, const char *name, const char *first, const char *last)
{
	struct lines found = {.count = 0}, wanted = {.count = 0};
	size_t first_count;
	bool right;

	iptables_saved_chain(&found, saved, name);
	lines_add_text(&wanted, first);
	first_count = wanted.count;
	lines_add_text(&wanted, last);
	right = found.count == wanted.count &&
		lines_same_set(found.list, first_count, wanted.list, first_count) &&
		lines_same_set(found.list + first_count, found.count - first_count, wanted.list + first_count,
			wanted.count - first_count);
	lines_fini(&found);
	lines_fini(&wanted);
	return right && iptables_chain_exists(saved, name);
}

/* Naming a chain empties it, or creates it: that comes before everything else in the table. */
static void render_chain(struct text *names, struct text *lines, const struct iptables_chain *chain,
	const struct steering_rules *rules, const char *saved, enum addr_family family)
{
	char *first = chain_text(chain, rules, family, PART_FIRST);
	char *last = chain_text(chain, rules, family, PART_LAST);

	if (!chain_is_right(saved, chain->name, first, last)) {
		text_printf(names, ":%s - [0:0]\n", chain->name);
		text_add(lines, first, strlen(first));
		text_add(lines, last, strlen(last));
	}
	free(first);
	free(last);
}

static void render_table(struct text *out, enum iptables_table table, const struct steering_rules *rules,
	const char *saved, enum addr_family family)
{
	struct text names = {.bytes = NULL}, lines = {.bytes = NULL};
	char *text;

	for (size_t i = 0; i < CHAINS; i++) {
		if (chains[i].table == table)
			render_chain(&names, &lines, &chains[i].chain, rules, saved, family);
	}
	for_each_jump(&names, table, saved, iptables_jump_repair);
	text_add(&names, lines.bytes ? lines.bytes : "", lines.length);
	free(text_take(&lines));
	text = text_take(&names);
	if (text[0])
		text_printf(out, "*%s\n%sCOMMIT\n", table_names[table], text);
	free(text);
}

char *steering_iptables_render(
	const struct steering_rules *rules, enum addr_family family, const struct steering_saved *saved)
{
	struct text out = {.bytes = NULL};

	for (enum iptables_table table = IPTABLES_NAT; table < IPTABLES_TABLES; table++)
		render_table(&out, table, rules, saved_table(saved, table), family);
	return text_take(&out);
}

/* ---- for the difference ---- */

const struct iptables_chain *iptables_next_chain(enum iptables_table table, size_t *position)
{
	while (*position < CHAINS) {
		const struct chain *chain = &chains[(*position)++];

		if (chain->table == table)
			return &chain->chain;
	}
	return NULL;
}

const char *iptables_table_name(enum iptables_table table)
{
	return table_names[table];
}

bool iptables_is_rule_of_ours(const struct span *line)
{
	struct span rest = *line, word;

	if (!span_next_word(&rest, &word) || !span_is(&word, "-A") || !span_next_word(&rest, &word))
		return false;
	for (size_t i = 0; i < CHAINS; i++) {
		if (span_is(&word, chains[i].chain.name))
			return true;
	}
	return false;
}

bool iptables_chain_matters(const char *name)
{
	for (size_t i = 0; i < CHAINS; i++) {
		if (strcmp(name, chains[i].chain.name) == 0)
			return true;
		for (const char *const *from = chains[i].froms; *from; from++) {
			if (strcmp(name, *from) == 0)
				return true;
		}
	}
	return false;
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

static void cleanup_table(struct text *out, enum iptables_table table, const char *saved)
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

	for (enum iptables_table table = IPTABLES_NAT; table < IPTABLES_TABLES; table++)
		cleanup_table(&out, table, saved_table(saved, table));
	return text_take(&out);
}
