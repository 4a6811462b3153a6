/* Owns the settling of portals that two Service ports claim. Services of one cluster can't clash, but a set
 * of manifests can. Runs in control and in `portald plan`. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

/* Hashed as bytes: without holes. */
struct claim_key {
	struct addr addr;
	uint16_t port;
	uint8_t kind;
	uint8_t proto;
};
_Static_assert(sizeof(struct claim_key) == 20, "claim_key must have no holes");

struct claim {
	struct claim_key key;
	const char *owner;
	UT_hash_handle hh;
};

struct claims {
	struct claim *table;
	struct claim *entries; /* room for every portal of the plan */
	size_t count;
};

/* Returns the key of the listener that has the portal already, or NULL after claiming it. */
static const char *claim_portal(
	struct claims *claims, const struct plan_listener *listener, const struct plan_portal *portal)
{
	struct claim_key key = {
		.addr = portal->at.addr,
		.port = portal->at.port,
		.kind = (uint8_t)portal->kind,
		.proto = (uint8_t)listener->proto,
	};
	struct claim *claim;

	HASH_FIND(hh, claims->table, &key, sizeof(key), claim);
	if (claim)
		return claim->owner;
	claim = &claims->entries[claims->count++];
	claim->key = key;
	claim->owner = listener->key;
	HASH_ADD(hh, claims->table, key, sizeof(key), claim);
	return NULL;
}

static char *conflict_text(
	const struct plan_listener *listener, const struct plan_portal *portal, const char *owner)
{
	char text[ADDR_TEXT_BYTES];

	if (portal->kind == PLAN_PORTAL_NODE_PORT)
		return mem_printf(
			"nodePort %u/%s is taken by %s", portal->at.port, proto_name(listener->proto), owner);
	return mem_printf("clusterIP %s/%s is taken by %s", addr_port_format(&portal->at, text),
		proto_name(listener->proto), owner);
}

/* Leaves the listener with the portals that nobody claimed before. Returns what it lost and to whom, which
 * the caller frees; NULL if nothing. */
static char *settle_listener(struct claims *claims, struct plan_listener *listener)
{
	char *lost = NULL;
	size_t kept = 0;

	for (size_t i = 0; i < listener->portal_count; i++) {
		const char *owner = claim_portal(claims, listener, &listener->portals[i]);

		if (owner)
			lost = plan_join(lost, conflict_text(listener, &listener->portals[i], owner));
		else
			listener->portals[kept++] = listener->portals[i];
	}
	listener->portal_count = kept;
	return lost;
}

static struct claims claims_for(const struct plan *plan)
{
	size_t portals = 0;

	for (size_t i = 0; i < plan->listener_count; i++)
		portals += plan->listeners[i]->portal_count;
	return (struct claims){.entries = mem_calloc(portals, sizeof(struct claim))};
}

/* True for a second listener of one key: what a source lets through only by mistake. */
static bool same_key_before(const struct plan *plan, size_t kept, const struct plan_listener *listener)
{
	return kept > 0 && strcmp(plan->listeners[kept - 1]->key, listener->key) == 0;
}

void plan_settle_conflicts(struct plan *plan)
{
	struct claims claims = claims_for(plan);
	size_t kept = 0;

	for (size_t i = 0; i < plan->listener_count; i++) {
		struct plan_listener *listener = plan->listeners[i];
		bool repeated = same_key_before(plan, kept, listener);
		char *lost = repeated ? mem_strdup("another port of the Service has that name")
				      : settle_listener(&claims, listener);

		if (!repeated && listener->portal_count > 0) {
			if (lost)
				listener->note = plan_join(listener->note, lost);
			plan->listeners[kept++] = listener;
			continue;
		}
		plan_skip(plan, listener->key, lost);
		plan_listener_free(listener);
	}
	plan->listener_count = kept;
	HASH_CLEAR(hh, claims.table);
	free(claims.entries);
}
