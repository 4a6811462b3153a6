/* Owns the elements of the nftables back end: which map a rule stands in, and as what. Pure. Runs in the
 * supervisor and in `portald plan --rules`. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "steering/nftables.h"
#include "steering/text.h"

/* nft takes comments of at most 127 bytes. */
#define COMMENT_BYTES 127

const char *nftables_map_name(unsigned map)
{
	static const char *const names[NFTABLES_MAPS] = {
		"portals",
		"portals_arriving",
		"portals_host", /* the order of enum plan_scope */
		"node_ports",
		"node_ports_arriving",
		"node_ports_host", /* */
		"refused",
		"refused_arriving",
		"refused_host", /* */
		"refused_node_ports",
		"refused_node_ports_arriving",
		"refused_node_ports_host", /* */
		"guarded",
	};

	return names[map];
}

/* ---- from rules ---- */

static enum nftables_content content_of(const struct steering_rule *rule)
{
	bool node_port = rule->portal.kind == PLAN_PORTAL_NODE_PORT;

	if (rule->action == PLAN_PROXY)
		return node_port ? NFTABLES_NODE_PORTS : NFTABLES_PORTALS;
	return node_port ? NFTABLES_REFUSED_NODE_PORTS : NFTABLES_REFUSED;
}

static struct nftables_element portal_element(const struct steering_rule *rule)
{
	return (struct nftables_element){
		.map = nftables_map(content_of(rule), rule->portal.scope),
		.at = rule->portal.at,
		.proto = rule->proto,
		.action = rule->action,
		.proxy_port = rule->action == PLAN_PROXY ? rule->proxy_port : 0,
		.key = rule->key,
	};
}

/* UDP has no accept() at which the relay could ask for the original destination, so nothing but what was
 * translated may get to its proxy port. */
static struct nftables_element guard_element(const struct steering_rule *rule)
{
	return (struct nftables_element){
		.map = nftables_map(NFTABLES_GUARDED, PLAN_SCOPE_ALL),
		.at = {.addr = addr_any(addr_family(&rule->portal.at.addr)), .port = rule->proxy_port},
		.proto = PROTO_UDP,
		.key = rule->key,
	};
}

int nftables_element_cmp(const struct nftables_element *a, const struct nftables_element *b)
{
	if (a->map != b->map)
		return a->map < b->map ? -1 : 1;
	if (a->proto != b->proto)
		return a->proto < b->proto ? -1 : 1;
	return addr_port_cmp(&a->at, &b->at);
}

bool nftables_element_same(const struct nftables_element *a, const struct nftables_element *b)
{
	return nftables_element_cmp(a, b) == 0 && a->action == b->action && a->proxy_port == b->proxy_port &&
	       strcmp(a->key, b->key) == 0;
}

/* For qsort(), which does not keep the order of two for the same traffic by itself. */
struct placed {
	struct nftables_element element;
	size_t place;
};

static int placed_cmp(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;
	int order = nftables_element_cmp(&x->element, &y->element);

	if (order != 0)
		return order;
	return x->place < y->place ? -1 : x->place > y->place;
}

static size_t collect(struct placed *placed, const struct steering_rules *rules, enum addr_family family)
{
	size_t count = 0;

	for (size_t i = 0; i < rules->count; i++) {
		const struct steering_rule *rule = &rules->rules[i];

		if (addr_family(&rule->portal.at.addr) != family)
			continue;
		placed[count] = (struct placed){portal_element(rule), count};
		count++;
		if (rule->proto != PROTO_UDP)
			continue;
		placed[count] = (struct placed){guard_element(rule), count};
		count++;
	}
	return count;
}

struct nftables_elements nftables_elements_of(const struct steering_rules *rules, enum addr_family family)
{
	struct placed *placed = mem_calloc(rules->count * 2 + 1, sizeof(*placed));
	size_t found = collect(placed, rules, family);
	struct nftables_elements elements = {.list = mem_calloc(found + 1, sizeof(*elements.list))};

	qsort(placed, found, sizeof(*placed), placed_cmp);
	/* The first rule for the same traffic has it, as in a chain of rules. */
	for (size_t i = 0; i < found; i++) {
		const struct nftables_element *element = &placed[i].element;

		if (elements.count == 0 ||
			nftables_element_cmp(&elements.list[elements.count - 1], element) != 0)
			elements.list[elements.count++] = *element;
	}
	free(placed);
	return elements;
}

void nftables_elements_fini(struct nftables_elements *elements)
{
	free(elements->list);
	*elements = (struct nftables_elements){.list = NULL};
}

/* ---- to text ---- */

/* nft has no way to quote a quote, and a name of Kubernetes has none. */
static void print_comment(struct text *out, const char *key)
{
	size_t count = 0;

	text_printf(out, " comment \"");
	for (; *key && count < COMMENT_BYTES; key++, count++) {
		char c = isalnum((unsigned char)*key) || strchr("-_./:#", *key) ? *key : '?';

		text_add(out, &c, 1);
	}
	text_printf(out, "\"");
}

static unsigned proto_number(enum proto proto)
{
	static const unsigned numbers[] = {[PROTO_TCP] = 6, [PROTO_UDP] = 17, [PROTO_SCTP] = 132};

	return numbers[proto];
}

void nftables_element_print(struct text *out, const struct nftables_element *element)
{
	enum nftables_content content = nftables_map_content(element->map);
	char addr[ADDR_TEXT_BYTES];

	if (content == NFTABLES_PORTALS || content == NFTABLES_REFUSED)
		text_printf(out, "%s . ", addr_format(&element->at.addr, addr));
	if (content != NFTABLES_GUARDED)
		text_printf(out, "%u . ", proto_number(element->proto));
	text_printf(out, "%u", element->at.port);
	print_comment(out, element->key);
	if (content == NFTABLES_PORTALS || content == NFTABLES_NODE_PORTS)
		text_printf(out, " : %u", element->proxy_port);
	else if (content != NFTABLES_GUARDED)
		text_printf(out, element->action == PLAN_DROP ? " : drop" : " : goto refuse");
}

char *nftables_element_lines(const struct steering_rules *rules, enum addr_family family)
{
	struct nftables_elements elements = nftables_elements_of(rules, family);
	struct text out = {.bytes = NULL};

	for (size_t i = 0; i < elements.count; i++) {
		nftables_element_print(&out, &elements.list[i]);
		text_add(&out, "\n", 1);
	}
	nftables_elements_fini(&elements);
	return text_take(&out);
}
