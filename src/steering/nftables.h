/* Parts of the nftables back end: what the table holds, and what `nft list` says it holds. */
#ifndef STEERING_NFTABLES_H
#define STEERING_NFTABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/steering.h"

struct left;
struct text;

#define NFTABLES_TABLE "portald"

/* The word for a family in nft's language. */
static inline const char *nftables_family(enum addr_family family)
{
	return family == ADDR_V6 ? "ip6" : "ip";
}

/* ---- elements (nftables_map.c) ---- */

/* What a map is for; there is one for each scope but for the last, which is a set. */
enum nftables_content {
	NFTABLES_PORTALS,            /* address . protocol . port : proxy port */
	NFTABLES_NODE_PORTS,         /* protocol . port : proxy port */
	NFTABLES_REFUSED,            /* address . protocol . port : verdict */
	NFTABLES_REFUSED_NODE_PORTS, /* protocol . port : verdict */
	NFTABLES_GUARDED,            /* UDP proxy ports */
};

/* Maps are numbered, in the order in which the table has them. */
#define NFTABLES_MAPS (NFTABLES_GUARDED * PLAN_SCOPES + 1)

static inline unsigned nftables_map(enum nftables_content content, enum plan_scope scope)
{
	return content == NFTABLES_GUARDED ? NFTABLES_MAPS - 1 : content * PLAN_SCOPES + scope;
}

static inline enum nftables_content nftables_map_content(unsigned map)
{
	return map / PLAN_SCOPES;
}

const char *nftables_map_name(unsigned map);

struct nftables_element {
	unsigned map;
	struct addr_port at; /* the address is "any" where the map has none */
	enum proto proto;
	enum plan_action action;
	uint16_t proxy_port;
	const char *key; /* the comment, borrowed from the rules */
};

/* Sorted by map and by what is looked up in it; unique. */
struct nftables_elements {
	struct nftables_element *list;
	size_t count;
};

/* The elements that the rules of a family come to. The caller ends with fini. */
struct nftables_elements nftables_elements_of(const struct steering_rules *rules, enum addr_family family);
void nftables_elements_fini(struct nftables_elements *elements);

/* Orders by map and by what is looked up. */
int nftables_element_cmp(const struct nftables_element *a, const struct nftables_element *b);
/* True if what is found, and the comment, are the same too. */
bool nftables_element_same(const struct nftables_element *a, const struct nftables_element *b);

/* Adds the element in the form in which `nft -n list` prints it. */
void nftables_element_print(struct text *out, const struct nftables_element *element);

/* The same for all that rules of a family come to, each on a line. The caller frees it. */
char *nftables_element_lines(const struct steering_rules *rules, enum addr_family family);

/* ---- the table (nftables.c) ---- */

/* Everything of the tables but the elements, for the families that rules have. The caller frees it. */
char *nftables_frames(const struct steering_rules *rules);

/* ---- asking nft while nothing runs: at the start and at the end (nftables_host.c). They wait for it. ----
 */

bool nftables_works(int tool_timeout_ms, char **why);
int nftables_cleanup(int tool_timeout_ms);
void nftables_look_for_left(const char *nft, int tool_timeout_ms, struct left *left);

/* ---- what is there (nftables_list.c) ---- */

/* A fingerprint of both tables, which does not depend on the order in which nft lists elements. */
struct nftables_digest {
	uint64_t elements; /* a sum of hashes */
	size_t count;
	char *frame; /* the listing without elements, "" where made from rules */
};

/* Of what `nft -n list table` has printed, once for each family. The caller ends with fini. */
struct nftables_digest nftables_digest_listing(const char *listing);
/* Of what rules should come to. */
struct nftables_digest nftables_digest_rules(const struct steering_rules *rules);
void nftables_digest_fini(struct nftables_digest *digest);

/* Adds the proxy ports that a listing of one family's table names. */
void nftables_collect_left(struct left *left, const char *listing, enum addr_family family);

#endif
