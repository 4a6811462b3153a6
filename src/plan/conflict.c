/* Owns the settling of portals that two Service ports claim. Services of one cluster can't clash, but a set
 * of manifests can, and nobody checks externalIPs. Runs in control and in `portald plan`. */
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

struct claim {
	struct claim_key key;
	/* Whose what arrives is, and what this node sends itself. */
	const char *arriving, *host;
	UT_hash_handle hh;
};

struct claims {
	struct claim *table;
	struct claim *entries; /* room for every portal of the plan */
	size_t count;
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

static struct claim *find_claim(
	struct claims *claims, const struct plan_listener *listener, const struct plan_portal *portal)
{
	struct claim_key key = {
		.addr = portal->at.addr, .port = portal->at.port, .proto = (uint16_t)listener->proto};
	struct claim *claim;

	HASH_FIND(hh, claims->table, &key, sizeof(key), claim);
	if (claim)
		return claim;
	claim = &claims->entries[claims->count++];
	claim->key = key;
	HASH_ADD(hh, claims->table, key, sizeof(key), claim);
	return claim;
}

/* Returns the key of the listener that has the portal already, or NULL after claiming it. */
static const char *claim_portal(
	struct claims *claims, const struct plan_listener *listener, const struct plan_portal *portal)
{
	struct claim *claim = find_claim(claims, listener, portal);

	if (portal->scope != PLAN_SCOPE_HOST && claim->arriving)
		return claim->arriving;
	if (portal->scope != PLAN_SCOPE_ARRIVING && claim->host)
		return claim->host;
	if (portal->scope != PLAN_SCOPE_HOST)
		claim->arriving = listener->key;
	if (portal->scope != PLAN_SCOPE_ARRIVING)
		claim->host = listener->key;
	return NULL;
}

static char *conflict_text(
	const struct plan_listener *listener, const struct plan_portal *portal, const char *owner)
{
	char text[ADDR_TEXT_BYTES];

	if (portal->kind == PLAN_PORTAL_NODE_PORT)
		return mem_printf(
			"nodePort %u/%s is taken by %s", portal->at.port, proto_name(listener->proto), owner);
	return mem_printf("%s %s/%s is taken by %s", plan_portal_word(portal->kind),
		addr_port_format(&portal->at, text), proto_name(listener->proto), owner);
}

/* Leaves the listener with those portals of the kind that nobody claimed before. What it lost and to whom is
 * added to *lost. */
static void settle_kind(
	struct claims *claims, struct plan_listener *listener, enum plan_portal_kind kind, char **lost)
{
	size_t kept = 0;

	for (size_t i = 0; i < listener->portal_count; i++) {
		const struct plan_portal *portal = &listener->portals[i];
		const char *owner = portal->kind == kind ? claim_portal(claims, listener, portal) : NULL;

		if (owner)
			*lost = plan_join(*lost, conflict_text(listener, portal, owner));
		else
			listener->portals[kept++] = *portal;
	}
	listener->portal_count = kept;
}

static struct claims claims_for(const struct plan *plan)
{
	size_t portals = 0;

	for (size_t i = 0; i < plan->listener_count; i++)
		portals += plan->listeners[i]->portal_count;
	return (struct claims){.entries = mem_calloc(portals, sizeof(struct claim))};
}

/* A second listener of one id is what a source lets through only by mistake. */
static void drop_repeated(struct plan *plan)
{
	size_t kept = 0;

	for (size_t i = 0; i < plan->listener_count; i++) {
		struct plan_listener *listener = plan->listeners[i];

		if (kept > 0 && strcmp(plan->listeners[kept - 1]->id, listener->id) == 0) {
			plan_skip(
				plan, listener->key, mem_strdup("another port of the Service has that name"));
			plan_listener_free(listener);
		} else {
			plan->listeners[kept++] = listener;
		}
	}
	plan->listener_count = kept;
}

/* Listeners without a portal are gone; others say what they lost. */
static void drop_losers(struct plan *plan, char **lost)
{
	size_t kept = 0;

	for (size_t i = 0; i < plan->listener_count; i++) {
		struct plan_listener *listener = plan->listeners[i];

		if (listener->portal_count > 0) {
			if (lost[i])
				listener->note = plan_join(listener->note, lost[i]);
			plan->listeners[kept++] = listener;
			continue;
		}
		plan_skip(plan, listener->key, lost[i]);
		plan_listener_free(listener);
	}
	plan->listener_count = kept;
}

void plan_settle_conflicts(struct plan *plan)
{
	struct claims claims;
	char **lost;

	drop_repeated(plan);
	claims = claims_for(plan);
	lost = mem_calloc(plan->listener_count, sizeof(char *));
	for (unsigned kind = 0; kind < PLAN_PORTAL_KINDS; kind++) {
		for (size_t i = 0; i < plan->listener_count; i++)
			settle_kind(&claims, plan->listeners[i], (enum plan_portal_kind)kind, &lost[i]);
	}
	drop_losers(plan, lost);
	free(lost);
	HASH_CLEAR(hh, claims.table);
	free(claims.entries);
}
