/* Owns the reading of what `nft -n list table` prints: enough to say whether it is what was sent. Pure. Runs
 * in the supervisor.
 *
 * nft lists elements in the order of a hash table, and puts chains and maps into words of its own version. So
 * elements are compared as an unordered sum of hashes of their text, and the rest with what the same tool has
 * listed right after the table was made. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "portald/hash.h"
#include "portald/mem.h"
#include "steering/left.h"
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

/* Whoever wants to know what is in one. */
struct reader {
	void (*element)(void *context, const struct place *place, const char *element, size_t bytes);
	void (*line)(void *context, const char *line, size_t bytes); /* without elements; NULL: never mind */
	void *context;
};

/* The elements from list up to its closing brace, to which it returns a pointer. */
static const char *read_elements(const struct reader *reader, const struct place *place, const char *list)
{
	while (*list && *list != '}') {
		size_t bytes, end;

		list += strspn(list, ", \t\n");
		bytes = end = strcspn(list, ",}\n");
		while (bytes > 0 && list[bytes - 1] == ' ')
			bytes--;
		if (bytes > 0)
			reader->element(reader->context, place, list, bytes);
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

static void read_listing(const struct reader *reader, const char *listing)
{
	struct place place = {"", ""};

	while (*listing) {
		size_t length = strcspn(listing, "\n");
		const char *content = listing + strspn(listing, " \t");

		note_place(content, &place);
		if (strncmp(content, ELEMENTS, strlen(ELEMENTS)) == 0) {
			listing = read_elements(reader, &place, content + strlen(ELEMENTS));
			length = strcspn(listing, "\n");
		} else if (reader->line) {
			reader->line(reader->context, listing, length);
		}
		listing += length;
		listing += *listing == '\n';
	}
}

/* ---- its fingerprint ---- */

struct digesting {
	struct nftables_digest digest;
	struct text frame;
};

static void digest_element(void *context, const struct place *place, const char *element, size_t bytes)
{
	struct digesting *digesting = context;

	digest_add(&digesting->digest, place, element, bytes);
}

static void digest_line(void *context, const char *line, size_t bytes)
{
	struct digesting *digesting = context;

	text_add(&digesting->frame, line, bytes);
	text_add(&digesting->frame, "\n", 1);
}

struct nftables_digest nftables_digest_listing(const char *listing)
{
	struct digesting digesting = {.frame = {.bytes = NULL}};
	const struct reader reader = {.element = digest_element, .line = digest_line, .context = &digesting};

	read_listing(&reader, listing);
	digesting.digest.frame = text_take(&digesting.frame);
	return digesting.digest;
}

void nftables_digest_fini(struct nftables_digest *digest)
{
	free(digest->frame);
	*digest = (struct nftables_digest){.count = 0};
}

/* ---- proxy ports ---- */

struct collecting {
	struct left *left;
	enum addr_family family;
};

/* Take a number, a word, or all up to a word off the text; false if it doesn't begin so. */
static bool take_number(const char **text, unsigned long *value)
{
	char *end;

	*value = strtoul(*text, &end, 10);
	if (end == *text || *value > UINT16_MAX)
		return false;
	*text = end;
	return true;
}

static bool take_word(const char **text, const char *word)
{
	size_t length = strlen(word);

	if (strncmp(*text, word, length) != 0)
		return false;
	*text += length;
	return true;
}

static bool take_until(const char **text, const char *word)
{
	const char *found = strstr(*text, word);

	if (found)
		*text = found + strlen(word);
	return found != NULL;
}

/* "6 . 80 comment "default/web:http" : 34000" */
static bool read_numbers(const char *text, struct left_entry *entry)
{
	unsigned long proto, port, proxy_port;

	if (!take_number(&text, &proto) || !take_word(&text, " . ") || !take_number(&text, &port) ||
		!take_until(&text, "\" : ") || !take_number(&text, &proxy_port) ||
		(proto != IPPROTO_TCP && proto != IPPROTO_UDP))
		return false;
	entry->proto = proto == IPPROTO_UDP ? PROTO_UDP : PROTO_TCP;
	entry->at.port = (uint16_t)port;
	entry->proxy_port = (uint16_t)proxy_port;
	return true;
}

static void collect_element(void *context, const struct place *place, const char *element, size_t bytes)
{
	struct collecting *collecting = context;
	struct left_entry entry = {.at = {.addr = addr_any(collecting->family)}};
	char *text = mem_printf("%.*s", (int)bytes, element), *numbers = text;
	bool read = strncmp(place->map, "node_ports", strlen("node_ports")) == 0;

	if (strncmp(place->map, "portals", strlen("portals")) == 0) {
		numbers = strstr(text, " . ");
		if (numbers) {
			*numbers = '\0';
			numbers += strlen(" . ");
			read = addr_parse(&entry.at.addr, text) == 0;
		}
	}
	if (numbers && read && read_numbers(numbers, &entry))
		left_add(collecting->left, &entry);
	free(text);
}

void nftables_collect_left(struct left *left, const char *listing, enum addr_family family)
{
	struct collecting collecting = {.left = left, .family = family};

	read_listing(&(struct reader){.element = collect_element, .context = &collecting}, listing);
}
