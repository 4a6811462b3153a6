/* Owns the difference between two sets of rules as text for iptables-restore. Pure. Runs in the supervisor.
 *
 * Most changes concern a few Services of many, so what is the same at both ends of the two sets is passed
 * over rule by rule, and only what is between is rendered and compared by line. */
#include <stdlib.h>

#include "steering/iptables_private.h"
#include "steering/lines.h"
#include "steering/rules.h"
#include "steering/text.h"

/* Removing a line costs the tool a search for it. */
#define MAX_REMOVED 1000

/* ---- where they differ ---- */

static bool same_listener(const struct steering_rule *a, const struct steering_rule *b)
{
	return a->proxy_port == b->proxy_port && a->proto == b->proto;
}

/* True if a listener's rules stand on both sides of the place. */
static bool cuts_listener(const struct steering_rules *rules, size_t place)
{
	return place > 0 && place < rules->count &&
	       same_listener(&rules->rules[place - 1], &rules->rules[place]);
}

void iptables_difference(const struct steering_rules *was, const struct steering_rules *now,
	struct iptables_range *was_range, struct iptables_range *now_range)
{
	size_t shorter = was->count < now->count ? was->count : now->count, first = 0, last = 0;

	while (first < shorter && rules_same_rule(&was->rules[first], &now->rules[first]))
		first++;
	while (cuts_listener(was, first) || cuts_listener(now, first))
		first--;
	while (last < shorter - first &&
		rules_same_rule(&was->rules[was->count - 1 - last], &now->rules[now->count - 1 - last]))
		last++;
	while (last > 0 && (cuts_listener(was, was->count - last) || cuts_listener(now, now->count - last)))
		last--;
	*was_range = (struct iptables_range){first, was->count - last};
	*now_range = (struct iptables_range){first, now->count - last};
}

/* Those of a range, borrowed. */
static struct steering_rules part_of(const struct steering_rules *rules, const struct iptables_range *range)
{
	struct steering_rules part = *rules;

	part.rules = rules->rules + range->first;
	part.count = range->end - range->first;
	return part;
}

/* ---- text ---- */

struct change {
	struct text removals, additions;
	const struct steering_rules *was, *now; /* where they differ */
	enum addr_family family;
	size_t removed;
};

/* A line is "-A CHAIN ...". */
static void add_lines(struct text *out, const struct lines *lines, const char *verb, const char *place)
{
	for (size_t i = 0; i < lines->count; i++) {
		struct span rest = lines->list[i], word, chain;

		span_next_word(&rest, &word);
		span_next_word(&rest, &chain);
		text_printf(out, "%s %.*s%s%.*s\n", verb, (int)chain.length, chain.start, place,
			(int)rest.length, rest.start);
	}
}

static void change_chain(struct change *change, const struct iptables_chain *chain, enum iptables_part part)
{
	struct text before = {.bytes = NULL}, after = {.bytes = NULL};
	struct lines gone = {.count = 0}, fresh = {.count = 0};
	char *was, *now;

	iptables_render_chain(&before, chain, change->was, change->family, part);
	iptables_render_chain(&after, chain, change->now, change->family, part);
	was = text_take(&before);
	now = text_take(&after);
	lines_add_text(&gone, was);
	lines_add_text(&fresh, now);
	lines_cancel(&gone, &fresh);
	add_lines(&change->removals, &gone, "-D", "");
	add_lines(
		&change->additions, &fresh, part == PART_FIRST ? "-I" : "-A", part == PART_FIRST ? " 1" : "");
	change->removed += gone.count;
	lines_fini(&gone);
	lines_fini(&fresh);
	free(was);
	free(now);
}

static void change_table(struct text *out, struct change *change, enum iptables_table table)
{
	const struct iptables_chain *chain;
	size_t position = 0;
	char *removals, *additions;

	while ((chain = iptables_next_chain(table, &position))) {
		change_chain(change, chain, PART_FIRST);
		change_chain(change, chain, PART_LAST);
	}
	removals = text_take(&change->removals);
	additions = text_take(&change->additions);
	if (removals[0] || additions[0]) {
		text_printf(out, "*%s\n", iptables_table_name(table));
		text_printf(out, "%s%sCOMMIT\n", removals, additions);
	}
	free(removals);
	free(additions);
}

char *steering_iptables_render_change(
	const struct steering_rules *was, const struct steering_rules *now, enum addr_family family)
{
	struct iptables_range was_range, now_range;
	struct steering_rules was_part, now_part;
	struct text out = {.bytes = NULL};
	struct change change = {.was = &was_part, .now = &now_part, .family = family};
	char *text;

	if (!rules_same_frame(was, now))
		return NULL;
	iptables_difference(was, now, &was_range, &now_range);
	was_part = part_of(was, &was_range);
	now_part = part_of(now, &now_range);
	for (enum iptables_table table = IPTABLES_NAT; table < IPTABLES_TABLES; table++)
		change_table(&out, &change, table);
	text = text_take(&out);
	if (change.removed <= MAX_REMOVED)
		return text;
	free(text);
	return NULL;
}
