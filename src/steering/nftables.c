/* Owns the text that nft gets: a table of our own for each family, named portald, and nobody else's. Pure.
 * Runs in the supervisor and in `portald plan --rules`.
 *
 *     arriving             nat prerouting  before others  portals with an address, traffic that arrives
 *     arriving_node_ports  nat prerouting  after others   NodePorts, traffic that arrives
 *     host                 nat output      before others  portals with an address, the host's own traffic
 *     host_node_ports      nat output      after others   NodePorts, the host's own traffic
 *     input                filter input                   UDP proxy ports that were met directly; portals
 *                                                         that are refused
 *     forward              filter forward                 portals that are refused
 *     output               filter output                  portals that are refused, the host's own traffic
 *     refuse               where refused elements lead
 *
 * Each chain is a handful of rules that look packets up in maps, hashed by (address, protocol, port): it
 * takes the same time with one Service and with ten thousand. A map for each scope, and one for portals of
 * any: the scope's own is looked at first, as its rules stand first in the iptables back end. What stands
 * where and why is the same there (iptables.c).
 *
 * One thing is not: a table can't let pass what another table's chain drops, so there is no counterpart of
 * KUBE-NODEPORT-NON-LOCAL, and a closed firewall has to be opened for the proxy ports by who closed it. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "portald/steering.h"
#include "steering/nftables.h"
#include "steering/text.h"

/* The places of a hook around the usual one of NAT (-100), and before the usual one of filters (0). */
#define PRIORITY_PORTALS (-101)
#define PRIORITY_NODE_PORTS (-99)
#define PRIORITY_FILTER (-10)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const enum addr_family families[] = {ADDR_V4, ADDR_V6};

/* ---- maps ---- */

static void print_type(struct text *out, unsigned map, enum addr_family family)
{
	const char *addr = family == ADDR_V6 ? "ipv6_addr" : "ipv4_addr";
	enum nftables_content content = nftables_map_content(map);
	bool refused = content == NFTABLES_REFUSED || content == NFTABLES_REFUSED_NODE_PORTS;

	text_printf(out, "\t\ttype ");
	if (content == NFTABLES_GUARDED) {
		text_printf(out, "inet_service;\n");
		return;
	}
	if (content == NFTABLES_PORTALS || content == NFTABLES_REFUSED)
		text_printf(out, "%s . ", addr);
	text_printf(out, "inet_proto . inet_service : %s;\n", refused ? "verdict" : "inet_service");
}

static void print_map(struct text *out, unsigned map, enum addr_family family)
{
	const char *kind = nftables_map_content(map) == NFTABLES_GUARDED ? "set" : "map";

	text_printf(out, "\t%s %s {\n", kind, nftables_map_name(map));
	print_type(out, map, family);
	text_printf(out, "\t}\n");
}

/* ---- chains ---- */

struct framing {
	struct text *out;
	const struct steering_rules *rules;
	enum addr_family family;
	struct addr to; /* where the chain's translations lead; "any": wherever redirection leads */
	const struct addr_prefix *from; /* who sends; NULL: anybody */
};

/* Where NodePorts are, as the beginning of a rule. */
struct place {
	const struct addr_prefix *range; /* NULL: all addresses of the node */
};

static void begin_chain(
	struct framing *framing, const char *name, const char *type, const char *hook, int priority)
{
	text_printf(framing->out, "\tchain %s {\n\t\ttype %s hook %s priority %d; policy accept;\n", name,
		type, hook, priority);
}

static void end_chain(struct framing *framing)
{
	text_printf(framing->out, "\t}\n");
}

static void print_place(struct framing *framing, const struct place *place)
{
	char addr[ADDR_TEXT_BYTES];

	text_printf(framing->out, "fib daddr type local ");
	if (place->range)
		text_printf(framing->out, "%s daddr %s/%u ", nftables_family(framing->family),
			addr_format(&place->range->addr, addr), place->range->bits);
}

/* The map's rule: translate (or with vmap, judge) what is found. place: only for NodePorts. */
static void print_lookup(struct framing *framing, unsigned map, const struct place *place)
{
	enum nftables_content content = nftables_map_content(map);
	bool refused = content == NFTABLES_REFUSED || content == NFTABLES_REFUSED_NODE_PORTS;
	bool bound = !addr_is_any(&framing->to);
	char addr[ADDR_TEXT_BYTES];

	text_printf(framing->out, "\t\t");
	if (place)
		print_place(framing, place);
	if (framing->from)
		text_printf(framing->out, "%s saddr %s/%u ", nftables_family(framing->family),
			addr_format(&framing->from->addr, addr), framing->from->bits);
	/* nft translates ports only of protocols that it knows to have them. */
	text_printf(framing->out, "meta l4proto { tcp, udp } ");
	if (!refused && bound && framing->family == ADDR_V6)
		text_printf(framing->out, "dnat to [%s] : ", addr_format(&framing->to, addr));
	else if (!refused && bound)
		text_printf(framing->out, "dnat to %s : ", addr_format(&framing->to, addr));
	else if (!refused)
		text_printf(framing->out, "redirect to : ");
	if (!place)
		text_printf(framing->out, "%s daddr . ", nftables_family(framing->family));
	text_printf(framing->out, "meta l4proto . th dport %s @%s\n", refused ? "vmap" : "map",
		nftables_map_name(map));
}

/* The rules of one scope, and then those of portals for anybody. What was refused to pods has come by the nat
 * chains, where they met the host's portals. */
static void print_lookups(struct framing *framing, enum nftables_content content, enum plan_scope scope,
	const struct place *place)
{
	bool refused = content == NFTABLES_REFUSED || content == NFTABLES_REFUSED_NODE_PORTS;

	if (scope == PLAN_SCOPE_ARRIVING && !refused)
		framing->from = steering_rules_pods(framing->rules, framing->family);
	if (framing->from)
		print_lookup(framing, nftables_map(content, PLAN_SCOPE_HOST), place);
	framing->from = NULL;
	print_lookup(framing, nftables_map(content, scope), place);
	print_lookup(framing, nftables_map(content, PLAN_SCOPE_ALL), place);
}

static void print_node_ports(struct framing *framing, enum nftables_content content, enum plan_scope scope)
{
	const struct steering_rules *rules = framing->rules;
	bool restricted = false;

	for (size_t i = 0; i < rules->node_port_range_count; i++) {
		const struct place place = {.range = &rules->node_port_ranges[i]};

		if (addr_family(&place.range->addr) != framing->family)
			continue;
		restricted = true;
		print_lookups(framing, content, scope, &place);
	}
	if (!restricted)
		print_lookups(framing, content, scope, &(struct place){.range = NULL});
}

/* Redirection leads to an address of the interface by which a packet has come in, and drops it where there is
 * none: behind a pod's own veth, as Calico has them. So what arrives goes to an address of the node. */
static struct addr destination(const struct framing *framing, enum plan_scope scope)
{
	const struct steering_rules *rules = framing->rules;

	if (addr_family(&rules->bind_addr) == framing->family && !addr_is_any(&rules->bind_addr))
		return rules->bind_addr;
	if (scope != PLAN_SCOPE_ARRIVING)
		return addr_any(framing->family);
	return framing->family == ADDR_V6 ? rules->node_v6 : rules->node_v4;
}

static void print_nat(struct framing *framing, const char *name, const char *hook, enum plan_scope scope)
{
	framing->to = destination(framing, scope);
	begin_chain(framing, name, "nat", hook, PRIORITY_PORTALS);
	print_lookups(framing, NFTABLES_PORTALS, scope, NULL);
	end_chain(framing);
	text_printf(framing->out,
		"\tchain %s_node_ports {\n\t\ttype nat hook %s priority %d; policy accept;\n", name, hook,
		PRIORITY_NODE_PORTS);
	print_node_ports(framing, NFTABLES_NODE_PORTS, scope);
	end_chain(framing);
}

/* Only packets that begin something are looked at. */
static void begin_filter(struct framing *framing, const char *hook)
{
	begin_chain(framing, hook, "filter", hook, PRIORITY_FILTER);
	text_printf(framing->out, "\t\tct state != new return\n");
}

static void print_refusals(struct framing *framing, enum plan_scope scope)
{
	print_lookups(framing, NFTABLES_REFUSED, scope, NULL);
	print_node_ports(framing, NFTABLES_REFUSED_NODE_PORTS, scope);
	end_chain(framing);
}

static void print_filters(struct framing *framing)
{
	text_printf(
		framing->out, "\tchain refuse {\n\t\tmeta l4proto tcp reject with tcp reset\n\t\treject\n");
	end_chain(framing);
	begin_filter(framing, "input");
	text_printf(framing->out, "\t\tct status & dnat == 0 udp dport @%s reject\n",
		nftables_map_name(nftables_map(NFTABLES_GUARDED, PLAN_SCOPE_ALL)));
	/* What the host sends itself has been judged in output. */
	text_printf(framing->out, "\t\tiifname \"lo\" return\n");
	print_refusals(framing, PLAN_SCOPE_ARRIVING);
	begin_filter(framing, "forward");
	print_refusals(framing, PLAN_SCOPE_ARRIVING);
	begin_filter(framing, "output");
	print_refusals(framing, PLAN_SCOPE_HOST);
}

static void print_frame(struct text *out, const struct steering_rules *rules, enum addr_family family)
{
	struct framing framing = {.out = out, .rules = rules, .family = family};

	text_printf(out, "table %s " NFTABLES_TABLE " {\n", nftables_family(family));
	for (unsigned map = 0; map < NFTABLES_MAPS; map++)
		print_map(out, map, family);
	print_nat(&framing, "arriving", "prerouting", PLAN_SCOPE_ARRIVING);
	print_nat(&framing, "host", "output", PLAN_SCOPE_HOST);
	print_filters(&framing);
	text_printf(out, "}\n");
}

char *nftables_frames(const struct steering_rules *rules)
{
	struct text out = {.bytes = NULL};

	for (size_t i = 0; i < COUNT(families); i++) {
		if (steering_rules_have(rules, families[i]))
			print_frame(&out, rules, families[i]);
	}
	return text_take(&out);
}

/* ---- elements ---- */

/* The commands of one text, those for a map as one. */
struct commands {
	struct text *out;
	enum addr_family family;
	const char *verb;
	unsigned map; /* NFTABLES_MAPS: none is open */
};

static void commands_end(struct commands *commands)
{
	if (commands->map != NFTABLES_MAPS)
		text_printf(commands->out, "\n}\n");
	commands->map = NFTABLES_MAPS;
}

static void commands_add(struct commands *commands, const struct nftables_element *element)
{
	if (commands->map == element->map) {
		text_printf(commands->out, ",\n");
	} else {
		commands_end(commands);
		text_printf(commands->out, "%s element %s " NFTABLES_TABLE " %s {\n", commands->verb,
			nftables_family(commands->family), nftables_map_name(element->map));
		commands->map = element->map;
	}
	nftables_element_print(commands->out, element);
}

/* Commands for each element of some that is not the same in others. */
static void print_difference(struct text *out, enum addr_family family, const char *verb,
	const struct nftables_elements *some, const struct nftables_elements *others)
{
	struct commands commands = {.out = out, .family = family, .verb = verb, .map = NFTABLES_MAPS};
	size_t o = 0;

	for (size_t i = 0; i < some->count; i++) {
		while (o < others->count && nftables_element_cmp(&others->list[o], &some->list[i]) < 0)
			o++;
		if (o == others->count || !nftables_element_same(&others->list[o], &some->list[i]))
			commands_add(&commands, &some->list[i]);
	}
	commands_end(&commands);
}

static void print_change(struct text *out, const struct steering_rules *was, const struct steering_rules *now,
	enum addr_family family)
{
	struct nftables_elements old = nftables_elements_of(was, family);
	struct nftables_elements new = nftables_elements_of(now, family);

	print_difference(out, family, "delete", &old, &new);
	print_difference(out, family, "add", &new, &old);
	nftables_elements_fini(&old);
	nftables_elements_fini(&new);
}

static void print_removal(struct text *out, enum addr_family family)
{
	const char *word = nftables_family(family);

	/* To delete a table that is not there is an error. */
	text_printf(out, "add table %s " NFTABLES_TABLE "\ndelete table %s " NFTABLES_TABLE "\n", word, word);
}

static void print_whole(struct text *out, const struct steering_rules *rules, enum addr_family family)
{
	const struct nftables_elements none = {.count = 0};
	struct nftables_elements all = nftables_elements_of(rules, family);

	print_removal(out, family);
	print_frame(out, rules, family);
	print_difference(out, family, "add", &all, &none);
	nftables_elements_fini(&all);
}

static bool same_frame(
	const struct steering_rules *a, const struct steering_rules *b, enum addr_family family)
{
	struct text one = {.bytes = NULL}, other = {.bytes = NULL};
	bool same;

	print_frame(&one, a, family);
	print_frame(&other, b, family);
	same = strcmp(one.bytes, other.bytes) == 0;
	free(text_take(&one));
	free(text_take(&other));
	return same;
}

/* The table stays when its last element goes: with its chains the kernel would give up translating, and cut
 * connections that go on. */
static void print_family(struct text *out, const struct steering_rules *now, const struct steering_rules *was,
	enum addr_family family)
{
	bool wanted = steering_rules_have(now, family);
	bool there = was && steering_rules_have(was, family);

	if (there && (!wanted || same_frame(was, now, family)))
		print_change(out, was, now, family);
	else if (wanted)
		print_whole(out, now, family);
	else if (!was)
		print_removal(out, family);
}

char *steering_nftables_render(const struct steering_rules *now, const struct steering_rules *was)
{
	struct text out = {.bytes = NULL};

	for (size_t i = 0; i < COUNT(families); i++)
		print_family(&out, now, was, families[i]);
	return text_take(&out);
}

char *steering_nftables_render_cleanup(void)
{
	struct text out = {.bytes = NULL};

	for (size_t i = 0; i < COUNT(families); i++)
		print_removal(&out, families[i]);
	return text_take(&out);
}
