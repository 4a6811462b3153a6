/* Steering: how traffic for a portal gets to a proxy port. An engine that owns time (when what comes into
 * force, audits, back-off), and behind it a back end that knows how.
 *
 * Rendering is pure: (rules wanted, what iptables-save printed) -> text for iptables-restore. Applying
 * runs the firewall tools as children with a timeout and never blocks the caller's loop. Runs in the
 * supervisor; the renderer also in `portald plan --rules`.
 */
#ifndef PORTALD_STEERING_H
#define PORTALD_STEERING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"
#include "portald/plan.h"

struct event_base;

/* One portal and the proxy port that serves it. */
struct steering_rule {
	const char *key; /* the rule's comment: kube-proxy's ServicePortName */
	enum proto proto;
	enum plan_action action;
	struct plan_portal portal;
	uint16_t proxy_port;
};

/* Everything that shall be in force, in the order in which it shall stand. */
struct steering_rules {
	struct steering_rule *rules;
	size_t count;
	struct addr bind_addr; /* --bind-address; "any" means REDIRECT, else DNAT to it */
	/* An address of the node in each family, "any" where there is none: a REDIRECT needs an address at
	 * the interface by which traffic enters, and a DNAT to one of these does not. nftables goes by it. */
	struct addr node_v4, node_v6;
	/* An interface that traffic enters by has no IPv4 address: the iptables back end goes by node_v4 too.
	 */
	bool routed;
	/* Where NodePorts are, borrowed from the caller until fini: a family without any range has them on
	 * every address of the node. */
	const struct addr_prefix *node_port_ranges;
	size_t node_port_range_count;
	/* The addresses of the cluster's pods, at most one range a family. What arrives from them meets the
	 * portals of PLAN_SCOPE_HOST, as kube-proxy does it: neither policy counts for a pod that uses an
	 * external address. */
	struct addr_prefix pods[ADDR_FAMILIES];
	size_t pod_range_count;
};

/* Where the iptables back end sends traffic of the family and scope by DNAT; "any": by REDIRECT. */
struct addr steering_rules_dnat(
	const struct steering_rules *rules, enum addr_family family, enum plan_scope scope);

/* Building a set: init, add listener by listener, fini. Keys are borrowed from the caller until fini. */
void steering_rules_init(struct steering_rules *rules, const struct addr *bind_addr);
void steering_rules_fini(struct steering_rules *rules);

/* Appends a rule for each portal of a listener, or for one. Only a set that grows by these alone may grow
 * by them. */
void steering_rules_add(
	struct steering_rules *rules, const struct plan_listener *listener, uint16_t proxy_port);
void steering_rules_add_portal(struct steering_rules *rules, const struct plan_listener *listener,
	const struct plan_portal *portal, uint16_t proxy_port);

/* The range of the family's pods, NULL if it isn't known. */
const struct addr_prefix *steering_rules_pods(const struct steering_rules *rules, enum addr_family family);

/* True if a rule is for a portal of the family. */
bool steering_rules_have(const struct steering_rules *rules, enum addr_family family);

/* True if the NodePorts are on that address, provided that it is one of the node's. */
bool steering_node_port_at(const struct steering_rules *rules, const struct addr *addr);

/* Initializes rules as they would look for the plan, for `portald plan --rules`: listeners get proxy ports
 * counted up from first_port, starting again at it after 65535. Keys are the plan's. */
void steering_rules_from_plan(struct steering_rules *rules, const struct plan *plan,
	const struct addr *bind_addr, uint16_t first_port);

/* What iptables-save printed for each table ("" if nothing). */
struct steering_saved {
	const char *nat;
	const char *filter;
};

/* Text for `iptables-restore --noflush` (or ip6tables-restore): one transaction that makes our chains hold
 * exactly the rules of that family, and puts our jumps where they belong: of both what saved shows to be
 * missing, doubled, misplaced or otherwise wrong; "" if nothing is. Foreign rules are not named. saved is
 * that family's; NULL: as on a machine without any rules. The caller frees the text. */
char *steering_iptables_render(
	const struct steering_rules *rules, enum addr_family family, const struct steering_saved *saved);

/* The same from what is in force for certain: the lines that make now of was, "" if none. NULL if rendering
 * all anew is the better way: where more than the rules differ, or very many go. */
char *steering_iptables_render_change(
	const struct steering_rules *was, const struct steering_rules *now, enum addr_family family);

/* Text that removes our jumps and chains, and only those that saved shows; "" if there are none. It is the
 * same in both families. The caller frees it. */
char *steering_iptables_render_cleanup(const struct steering_saved *saved);

/* Text for `nft -f -`: one transaction that makes our tables hold exactly the rules, of both families, where
 * they hold those of was; "" if nothing has to change. was NULL: whatever there is of ours is replaced. A
 * table whose last rule goes stays. The caller frees the text. */
char *steering_nftables_render(const struct steering_rules *now, const struct steering_rules *was);

/* Text that removes our tables, whether they are there or not. The caller frees it. */
char *steering_nftables_render_cleanup(void);

/* The back ends. */
enum steering_kind {
	STEERING_IPTABLES,
	STEERING_NFTABLES,
	STEERING_LOCAL, /* no rules: listeners are on the portals' own addresses, which become the host's */
	STEERING_KINDS,
};

/* Which of the host's iptables is used. */
enum steering_tool { STEERING_TOOL_AUTO, STEERING_TOOL_NFT, STEERING_TOOL_LEGACY };

/* The steering engine of a running supervisor. Keeps one pass of the back end in flight; a newer set of rules
 * waits for it and replaces one that waits. A failed pass is tried again with back-off (1 s doubling to 30
 * s). */
struct steering;

struct steering_options {
	enum steering_kind kind;
	enum steering_tool tool; /* for STEERING_IPTABLES */
	bool take_over; /* look for what an earlier run has left; remove another back end's or variant's */
	int tool_timeout_ms;    /* a tool that takes longer is killed and the pass counts as failed */
	int min_sync_period_ms; /* passes begin no more often, but for two in a row; 0: no bound */
	int sync_period_ms;     /* what is in force is audited this often; 0: only when it was disturbed */
	/* After each pass for a change: error is 0 or a negative errno; detail quotes the tool (NULL if 0).
	 * Single rules that were refused are logged and tried again, and are no error. */
	void (*synced)(void *context, int error, const char *detail);
	/* The rule of a portal of that listener key was refused, or is not any more: before synced() or
	 * audited() (NULL is fine). */
	void (*refusal)(void *context, const char *key);
	/* After each audit (NULL is fine); corrected: what was in force was not what should be. Logged
	 * anyway. */
	void (*audited)(void *context, int error, bool corrected);
	void *context;
};

/* Returns NULL and logs why if the back end can't work on this host. options is copied. */
struct steering *steering_new(struct event_base *base, const struct steering_options *options);
void steering_free(struct steering *steering); /* kills a tool in flight; leaves rules; NULL is fine */

/* Asks for rules to be in force: copied, returns at once. The outcome comes by synced(). Where the back end
 * needs that, also sees to it that each ClusterIP has a route on a host that has none to it (an offline
 * laptop, a bare namespace), so that the host itself can connect to it. */
void steering_apply(struct steering *steering, const struct steering_rules *rules);

/* Changes the periods of steering_options; what is in flight goes on. */
void steering_set_periods(struct steering *steering, int min_sync_period_ms, int sync_period_ms);

/* Asks for an audit as soon as the minimal period allows, for whoever has reason to doubt. */
void steering_audit(struct steering *steering);

/* True if what steering_apply() was given last is not in force yet, and synced() will tell. */
bool steering_is_behind(const struct steering *steering);

/* The proxy port to which the rules that were there at start, an earlier run's, lead the portal's traffic (a
 * NodePort has the family's "any" address); 0 if there is none. Who listens there spares clients a change. */
uint16_t steering_left_port(
	const struct steering *steering, enum proto proto, const struct addr_port *portal);

/* How many rules were refused when all were tried last; *detail quotes the tool about the newest of them,
 * until the next pass (NULL if none). */
size_t steering_refused(const struct steering *steering, const char **detail);

/* What the tool has said of the portal whose rule it refused, until the next pass; NULL: its rule was not
 * refused. */
const char *steering_refusal(
	const struct steering *steering, enum proto proto, const struct plan_portal *portal);

/* For --steering=auto: the back end that this host can do, best first, with a log line for each that was
 * looked at. Waits for the tools it asks. */
enum steering_kind steering_choose(int tool_timeout_ms);

/* Removes everything of ours, synchronously, for `portald cleanup` and the end of the supervisor: of every
 * back end, our routes too. Idempotent. Returns 0 or a negative errno (logged). */
int steering_cleanup(int tool_timeout_ms);

#endif
