/* Owns the settling of portals that several Service ports claim. Services of one cluster can't clash, but a
 * set of manifests can, and nobody checks externalIPs. Each address, port and protocol is settled by itself,
 * so a change concerns only those who claim the same. Runs in control and in `portald plan`. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

/* Hashed as bytes: without holes. A NodePort's address is "any", which no other portal has. */
struct claim_key {
	struct addr addr;
	uint16_t port;
	uint16_t proto;
};
_Static_assert(sizeof(struct claim_key) == 20, "claim_key must have no holes");

struct plan_claim {
	struct claim_key key;
	struct plan_claimant *claimants; /* in the order in which they may have it */
	struct plan_claim *next_touched;
	bool touched;
	UT_hash_handle hh;
};

const char *plan_portal_word(enum plan_portal_kind kind)
{
	static const char *const words[PLAN_PORTAL_KINDS] = {
		[PLAN_PORTAL_CLUSTER_IP] = "clusterIP",
		[PLAN_PORTAL_NODE_PORT] = "nodePort",
		[PLAN_PORTAL_EXTERNAL_IP] = "externalIP",
		[PLAN_PORTAL_LOAD_BALANCER] = "loadBalancer",
	};

	return words[kind];
}

static struct plan_claim *find_claim(struct plan_claims *claims, const struct plan_claimant *claimant)
{
	struct claim_key key = {
		.addr = claimant->portal.at.addr,
		.port = claimant->portal.at.port,
		.proto = (uint16_t)claimant->listener->proto,
	};
	struct plan_claim *claim;

	HASH_FIND(hh, claims->table, &key, sizeof(key), claim);
	if (claim)
		return claim;
	claim = mem_calloc(1, sizeof(*claim));
	claim->key = key;
	HASH_ADD(hh, claims->table, key, sizeof(key), claim);
	return claim;
}

static void touch(struct plan_claims *claims, struct plan_claim *claim)
{
	if (claim->touched)
		return;
	claim->touched = true;
	claim->next_touched = claims->touched;
	claims->touched = claim;
}

static int claimants_cmp(const struct plan_claimant *a, const struct plan_claimant *b)
{
	int by_id;

	if (a->portal.kind != b->portal.kind)
		return a->portal.kind < b->portal.kind ? -1 : 1;
	by_id = strcmp(a->listener->id, b->listener->id);
	if (by_id)
		return by_id;
	return a->place < b->place ? -1 : 1;
}

void plan_claims_add(struct plan_claims *claims, struct plan_claimant *claimant)
{
	struct plan_claim *claim = find_claim(claims, claimant);
	struct plan_claimant **at = &claim->claimants;

	while (*at && claimants_cmp(*at, claimant) < 0)
		at = &(*at)->next;
	claimant->next = *at;
	*at = claimant;
	claimant->claim = claim;
	claimant->owner = NULL;
	touch(claims, claim);
}

void plan_claims_remove(struct plan_claims *claims, struct plan_claimant *claimant)
{
	struct plan_claimant **at = &claimant->claim->claimants;

	while (*at != claimant)
		at = &(*at)->next;
	*at = claimant->next;
	touch(claims, claimant->claim);
}

/* Of what arrives and of what this node sends itself, each goes to the first that claims it; who can't have
 * all that it claims has nothing. */
static void settle_claim(struct plan_claim *claim)
{
	const struct plan_claimant *arriving = NULL, *host = NULL;

	for (struct plan_claimant *one = claim->claimants; one; one = one->next) {
		bool wants_arriving = one->portal.scope != PLAN_SCOPE_HOST;
		bool wants_host = one->portal.scope != PLAN_SCOPE_ARRIVING;

		one->owner = NULL;
		if (wants_arriving && arriving)
			one->owner = arriving;
		else if (wants_host && host)
			one->owner = host;
		if (one->owner)
			continue;
		if (wants_arriving)
			arriving = one;
		if (wants_host)
			host = one;
	}
}

void plan_claims_settle(
	struct plan_claims *claims, void (*affected)(void *context, struct plan_entry *entry), void *context)
{
	while (claims->touched) {
		struct plan_claim *claim = claims->touched;

		claims->touched = claim->next_touched;
		claim->touched = false;
		settle_claim(claim);
		for (const struct plan_claimant *one = claim->claimants; one; one = one->next)
			affected(context, one->entry);
		if (!claim->claimants) {
			HASH_DEL(claims->table, claim);
			free(claim);
		}
	}
}

void plan_claims_fini(struct plan_claims *claims)
{
	struct plan_claim *claim = claims->table, *next;

	HASH_CLEAR(hh, claims->table);
	for (; claim; claim = next) {
		next = claim->hh.next;
		free(claim);
	}
}

char *plan_claim_lost_text(const struct plan_claimant *claimant)
{
	const struct plan_portal *portal = &claimant->portal;
	const char *proto = proto_name(claimant->listener->proto), *owner = claimant->owner->listener->key;
	char text[ADDR_TEXT_BYTES];

	if (portal->kind == PLAN_PORTAL_NODE_PORT)
		return mem_printf("nodePort %u/%s is taken by %s", portal->at.port, proto, owner);
	return mem_printf("%s %s/%s is taken by %s", plan_portal_word(portal->kind),
		addr_port_format(&portal->at, text), proto, owner);
}
