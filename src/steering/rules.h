/* Sets of rules that own their keys, for a set that outlives the call it came by. */
#ifndef STEERING_RULES_H
#define STEERING_RULES_H

#include <stdbool.h>

#include "portald/steering.h"

/* A copy that can be shared: it is never changed, and freed with its last reference. */
struct steering_rules *rules_copy(const struct steering_rules *rules);
struct steering_rules *rules_ref(struct steering_rules *copy); /* NULL is fine */
void rules_unref(struct steering_rules *copy);                 /* NULL is fine */

/* True if both are for the same traffic and do the same with it under the same name. */
bool rules_same_rule(const struct steering_rule *a, const struct steering_rule *b);

/* True if both sets have the same setting: all but the rules. */
bool rules_same_frame(const struct steering_rules *a, const struct steering_rules *b);

/* True if both sets make the same firewall. */
bool rules_same(const struct steering_rules *a, const struct steering_rules *b);

/* Those of the set that equal none of some few others: a new copy, or a reference if there are no others. */
struct steering_rules *rules_without(struct steering_rules *copy, const struct steering_rules *others);

/* The ClusterIPs of the rules, sorted and unique, which the caller frees; *count of them. */
struct addr *rules_cluster_ips(const struct steering_rules *rules, size_t *count);

/* The addresses of all portals that have one of their own, likewise. */
struct addr *rules_addresses(const struct steering_rules *rules, size_t *count);

#endif
