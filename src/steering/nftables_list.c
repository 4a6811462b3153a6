/* Owns the reading of what `nft -n list table` prints: enough to say whether it is what was sent. Pure. Runs
 * in the supervisor.
 *
 * nft lists elements in the order of a hash table, and puts chains and maps into words of its own version. So
 * elements are compared as an unordered sum of hashes of their text, and the rest with what the same tool has
 * listed right after the table was made. */
#include <stdlib.h>
#include <string.h>

#include "portald/hash.h"
#include "portald/mem.h"
#include "steering/nftables.h"
#include "steering/text.h"

#define ELEMENTS "elements = {"

/* FNV-1a. */
static uint64_t hash_bytes(uint64_t hash, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3;
	return hash;
}

/* Where an element stands: of which table, in which map. Parts of a line, or words. */
struct place {
	const char *family, *map;
};

static uint64_t hash_word(uint64_t hash, const char *word)
{
	return hash_bytes(hash, word, strcspn(word, " ")) * 31;
}

static void digest_add(
	struct nftables_digest *digest, const struct place *place, const char *element, size_t bytes)
{
	uint64_t hash = hash_word(hash_word(0xcbf29ce484222325, place->family), place->map);

	digest->elements += hash_mix(hash_bytes(hash, element, bytes));
	digest->count++;
}

/* ---- rules ---- */

static void digest_family(
	struct nftables_digest *digest, const struct steering_rules *rules, enum addr_family family)
{
	struct nftables_elements elements = nftables_elements_of(rules, family);
	struct text line = {.bytes = NULL};

	for (size_t i = 0; i < elements.count; i++) {
		const struct place place = {nftables_family(family), nftables_map_name(elements.list[i].map)};

		line.length = 0;
		nftables_element_print(&line, &elements.list[i]);
		digest_add(digest, &place, line.bytes, line.length);
	}
	free(text_take(&line));
	nftables_elements_fini(&elements);
}

struct nftables_digest nftables_digest_rules(const struct steering_rules *rules)
{
	struct nftables_digest digest = {.frame = mem_strdup("")};

	digest_family(&digest, rules, ADDR_V4);
	digest_family(&digest, rules, ADDR_V6);
	return digest;
}

/* ---- a listing ---- */

/* The elements from list up to its closing brace, to which it returns a pointer. */
static const char *take_elements(struct nftables_digest *digest, const struct place *place, const char *list)
{
	while (*list && *list != '}') {
		size_t bytes, end;

		list += strspn(list, ", \t\n");
		bytes = end = strcspn(list, ",}\n");
		while (bytes > 0 && list[bytes - 1] == ' ')
			bytes--;
		if (bytes > 0)
			digest_add(digest, place, list, bytes);
		list += end;
	}
	return list;
}

/* Takes up the names in a line that begins a table, map or set. */
static void note_place(const char *line, struct place *place)
{
	if (strncmp(line, "table ", 6) == 0)
		place->family = line + 6;
	else if (strncmp(line, "map ", 4) == 0 || strncmp(line, "set ", 4) == 0)
		place->map = line + 4;
}

struct nftables_digest nftables_digest_listing(const char *listing)
{
	struct nftables_digest digest = {.count = 0};
	struct place place = {"", ""};
	struct text frame = {.bytes = NULL};

	while (*listing) {
		size_t length = strcspn(listing, "\n");
		const char *content = listing + strspn(listing, " \t");

		note_place(content, &place);
		if (strncmp(content, ELEMENTS, strlen(ELEMENTS)) == 0) {
			listing = take_elements(&digest, &place, content + strlen(ELEMENTS));
			length = strcspn(listing, "\n");
		} else {
			text_add(&frame, listing, length);
			text_add(&frame, "\n", 1);
		}
		listing += length;
		listing += *listing == '\n';
	}
	digest.frame = text_take(&frame);
	return digest;
}

void nftables_digest_fini(struct nftables_digest *digest)
{
	free(digest->frame);
	*digest = (struct nftables_digest){.count = 0};
}
