/* Owns what is known of an earlier run's proxy ports. Runs in the supervisor, at start. */
#include "steering/left.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "steering/iptables_private.h"
#include "steering/lines.h"

/* Longer than any address with a port or a prefix. */
#define VALUE_BYTES 80

void left_add(struct left *left, const struct left_entry *entry)
{
	left->list = mem_grow(left->list, left->count, &left->capacity, sizeof(*left->list));
	left->list[left->count++] = *entry;
}

static int entry_cmp(const void *a, const void *b)
{
	const struct left_entry *x = a, *y = b;
	int order = addr_port_cmp(&x->at, &y->at);

	return order != 0 ? order : (int)x->proto - (int)y->proto;
}

void left_sort(struct left *left)
{
	if (left->count > 0)
		qsort(left->list, left->count, sizeof(*left->list), entry_cmp);
}

uint16_t left_find(const struct left *left, enum proto proto, const struct addr_port *at)
{
	const struct left_entry wanted = {.at = *at, .proto = proto}, *found = NULL;

	if (left->count > 0)
		found = bsearch(&wanted, left->list, left->count, sizeof(*left->list), entry_cmp);
	return found ? found->proxy_port : 0;
}

void left_fini(struct left *left)
{
	free(left->list);
	*left = (struct left){.count = 0};
}

/* ---- iptables ---- */

/* 0 if it is no port. */
static uint16_t parse_port(const char *text)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	return *end == '\0' && port <= UINT16_MAX ? (uint16_t)port : 0;
}

/* Takes up what follows an option. Returns false if it makes no sense. */
static bool take_value(struct left_entry *entry, const struct span *option, const char *value)
{
	struct addr_prefix prefix;
	const char *colon;

	if (span_is(option, "-p")) {
		entry->proto = strcmp(value, "udp") == 0 ? PROTO_UDP : PROTO_TCP;
	} else if (span_is(option, "--dport")) {
		entry->at.port = parse_port(value);
	} else if (span_is(option, "--to-ports")) {
		entry->proxy_port = parse_port(value);
	} else if (span_is(option, "--to-destination")) {
		colon = strrchr(value, ':');
		entry->proxy_port = colon ? parse_port(colon + 1) : 0;
	} else if (span_is(option, "-d")) {
		if (addr_parse_prefix(&prefix, value) < 0)
			return false;
		entry->at.addr = prefix.addr;
	}
	return true;
}

/* Of "-A CHAIN" and what follows. */
static bool parse_rule(struct left_entry *entry, struct span rest)
{
	struct span option, value;
	char text[VALUE_BYTES];

	span_next_word(&rest, &option);
	span_next_word(&rest, &option);
	while (span_next_word(&rest, &option)) {
		struct span after = rest;

		if (!span_next_word(&after, &value) || value.length >= sizeof(text))
			continue;
		memcpy(text, value.start, value.length);
		text[value.length] = '\0';
		if (!take_value(entry, &option, text))
			return false;
	}
	return entry->at.port != 0 && entry->proxy_port != 0;
}

void left_add_iptables(struct left *left, const char *saved, enum addr_family family)
{
	struct span line;

	while (span_next_line(&saved, &line)) {
		struct left_entry entry = {.at.addr = addr_any(family)};
		bool node_port = memmem(line.start, line.length, "KUBE-NODEPORT-", strlen("KUBE-NODEPORT-"));

		if (!iptables_is_rule_of_ours(&line) || !parse_rule(&entry, line))
			continue;
		/* With --nodeport-addresses a rule names a range of them. */
		if (node_port)
			entry.at.addr = addr_any(family);
		left_add(left, &entry);
	}
}
