/* Parts of the iptables renderer: single rules, and what was saved. */
#ifndef STEERING_IPTABLES_PRIVATE_H
#define STEERING_IPTABLES_PRIVATE_H

#include <stdbool.h>

#include "portald/steering.h"

struct lines;
struct span;
struct text;

enum jump_place { JUMP_FIRST, JUMP_LAST };

/* The rule of a built-in chain that leads to a chain of ours. */
struct iptables_jump {
	const char *from;
	const char *to;
	enum jump_place place;
	bool local_only;    /* -m addrtype --dst-type LOCAL */
	bool new_only;      /* -m conntrack --ctstate NEW */
	const char *beside; /* JUMP_FIRST: the chain of ours whose jump may also be in front; NULL: none */
	const char *comment;
};

/* Adds what makes the jump stand once, in its place and form; nothing if saved shows that it does. saved
 * is iptables-save's text for the jump's table. */
void iptables_jump_repair(struct text *out, const struct iptables_jump *jump, const char *saved);

/* Adds what removes the jump, in whatever number and form it is there. */
void iptables_jump_remove(struct text *out, const struct iptables_jump *jump, const char *saved);

bool iptables_chain_exists(const char *saved, const char *chain);

/* True if a rule that is not in one of froms (NULL-terminated) leads to the chain. */
bool iptables_chain_used_elsewhere(const char *saved, const char *chain, const char *const *froms);

/* Which chain a rule stands in: that of the first translation, or of the filter before or after it. */
enum iptables_content {
	CONTENT_PORTALS,    /* nat: portals with an address */
	CONTENT_NODE_PORTS, /* nat: portals on every address of the node, or those of --nodeport-addresses */
	CONTENT_REFUSED,    /* filter: portals without endpoints, and proxy ports met directly */
	CONTENT_ACCEPT,     /* filter: what NodePorts redirect to */
};

struct iptables_chain {
	const char *name;
	enum iptables_content content;
	enum plan_scope scope; /* whose traffic passes it: ARRIVING or HOST */
};

/* The order of a chain's rules matters only between these two. */
enum iptables_part {
	PART_FIRST, /* what is more specific: for arriving traffic, or that of the host */
	PART_LAST,
};

/* Adds a part of the chain's rules for one family. */
void iptables_render_chain(struct text *out, const struct iptables_chain *chain,
	const struct steering_rules *rules, enum addr_family family, enum iptables_part part);

/* Adds the lines of the saved text that append to the chain. */
void iptables_saved_chain(struct lines *lines, const char *saved, const char *chain);

/* True if the line appends to a chain of ours. */
bool iptables_is_rule_of_ours(const struct span *line);

/* True if the chain is one of ours, or one with a jump to one. */
bool iptables_chain_matters(const char *name);

/* A range of rules that one chain's lines are made from. */
struct iptables_range {
	size_t first, end;
};

/* Where two sets differ: all before and behind is the same in both. Listeners are not cut in two. */
void iptables_difference(const struct steering_rules *was, const struct steering_rules *now,
	struct iptables_range *was_range, struct iptables_range *now_range);

/* The chains of ours in one table, in the order in which they are written: calls each(). */
enum iptables_table { IPTABLES_NAT, IPTABLES_FILTER, IPTABLES_TABLES };
const struct iptables_chain *iptables_next_chain(enum iptables_table table, size_t *position);
const char *iptables_table_name(enum iptables_table table);

#endif
