/* Sets of rules that own their keys, for a set that outlives the call it came by. */
#ifndef STEERING_RULES_H
#define STEERING_RULES_H

#include "portald/steering.h"

struct steering_rules *rules_copy(const struct steering_rules *rules);
void rules_copy_free(struct steering_rules *rules); /* NULL is fine */

/* The ClusterIPs of the rules, sorted and unique, which the caller frees; *count of them. */
struct addr *rules_cluster_ips(const struct steering_rules *rules, size_t *count);

#endif
