/* What the files of the module plan share. */
#ifndef PLAN_PLAN_PRIVATE_H
#define PLAN_PLAN_PRIVATE_H

#include "portald/plan.h"

/* Appends a zeroed entry of size bytes to *array_pointer, which must only ever have grown by this. */
void *plan_array_append(void *array_pointer, size_t *count, size_t size);

/* A Service with its slices, borrowed. */
struct plan_input {
	const struct model_service *service;
	struct model_slice *const *slices;
	size_t slice_count;
};

/* Puts what one Service opens into plan: listeners at the end, unsorted. Looks at that Service and its
 * slices only, never at other Services. The zone in facts is final. */
void plan_build_service(struct plan *plan, const struct plan_input *input, const struct plan_facts *facts);

/* What options leave open is as the daemon's flags say. */
void plan_complete_options(struct service_options *options, const struct service_options *defaults);

/* ---- endpoints ---- */

/* How good an endpoint is for traffic; the better comes first. */
enum plan_state {
	PLAN_READY,
	PLAN_DRAINING, /* terminating but serving: used if nothing is ready */
	PLAN_NOT_READY,
	PLAN_TERMINATING,
	PLAN_NO_PORT, /* its slice has no such port */
	PLAN_OTHER_FAMILY,
	PLAN_STATES
};

/* An endpoint of one of the slices. */
struct plan_candidate {
	struct addr_port at; /* port 0: the slice has no such port */
	enum plan_state state;
	bool local; /* on this node */
	const struct model_endpoint *endpoint;
	const struct model_slice *slice;
	size_t index; /* in the order of the slices: keeps the sort stable */
	/* The one that stands for all of the same address and port; NULL if this is it. */
	const struct plan_candidate *better;
};

/* All endpoints of a Service port in one family, sorted by address and port, the better of equals first. */
struct plan_candidates {
	const struct model_service *service;
	const struct model_service_port *port;
	struct plan_candidate *entries;
	size_t count;
};

/* with_others: endpoints of the other family are listed too, as PLAN_OTHER_FAMILY. */
struct plan_candidates plan_candidates_collect(const struct plan_input *input,
	const struct model_service_port *port, enum addr_family family, bool with_others,
	const struct plan_facts *facts);
void plan_candidates_fini(struct plan_candidates *candidates);
/* True if one of them could be used by some node. */
bool plan_candidates_any_usable(const struct plan_candidates *candidates);

/* Which endpoints a traffic policy leaves. */
enum plan_policy { PLAN_POLICY_CLUSTER, PLAN_POLICY_LOCAL };

/* By what hints endpoints are chosen, as in kube-proxy: the hints count only if every ready endpoint has them
 * and some are for this node or zone. */
enum plan_topology { PLAN_TOPOLOGY_NONE, PLAN_TOPOLOGY_ZONE, PLAN_TOPOLOGY_NODE };

enum plan_topology plan_topology_of(const struct plan_candidates *candidates, const struct plan_facts *facts);
bool plan_topology_allows(
	enum plan_topology topology, const struct model_endpoint *endpoint, const struct plan_facts *facts);

/* Fills in the listener's endpoints, used and left out, its action (PLAN_PROXY or PLAN_REJECT) and note. */
void plan_choose_endpoints(struct plan_listener *listener, const struct plan_candidates *candidates,
	enum plan_policy policy, const struct plan_facts *facts);

/* Ready endpoints of the Service on this node, each address once; of two families the one with more. */
size_t plan_count_local(const struct plan_input *input, const struct plan_facts *facts);

/* ---- portals ---- */

/* A portal that a listener claims. */
struct plan_claimant {
	struct plan_claimant *next; /* of the same address, port and protocol; the first in order has it */
	struct plan_claim *claim;
	struct plan_entry *entry;
	struct plan_listener *listener;
	struct plan_portal portal;
	size_t place;                      /* in its entry: the last thing to order by */
	const struct plan_claimant *owner; /* who has it instead; NULL: this one */
};

/* All claims of a book, and those whose claimants have changed. */
struct plan_claims {
	struct plan_claim *table; /* a uthash */
	struct plan_claim *touched;
};

void plan_claims_add(struct plan_claims *claims, struct plan_claimant *claimant);
void plan_claims_remove(struct plan_claims *claims, struct plan_claimant *claimant);
/* Settles who has what. Calls affected for each entry whose claimants may have won or lost. */
void plan_claims_settle(
	struct plan_claims *claims, void (*affected)(void *context, struct plan_entry *entry), void *context);
void plan_claims_fini(struct plan_claims *claims);

/* "nodePort 30080/TCP is taken by default/web:http", in fresh memory. */
char *plan_claim_lost_text(const struct plan_claimant *claimant);

/* "clusterIP", "nodePort", "externalIP" or "loadBalancer IP". */
const char *plan_portal_word(enum plan_portal_kind kind);

/* Records that a Service or port opens nothing. reason is taken. */
void plan_skip(struct plan *plan, const char *key, char *reason_take);

/* Returns "before; more", or more alone if before is NULL. Both are taken. */
char *plan_join(char *before_take, char *more_take);

/* Returns 0 or -EIO. */
int plan_print_table(const struct plan *plan, FILE *out);
int plan_print_tree(const struct plan *plan, enum plan_output output, FILE *out);

#endif
