/* Owns the search for rules that iptables-restore refuses. Runs in the supervisor. */
#include "steering/attempt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "steering/iptables_private.h"
#include "steering/lines.h"

static bool concerns(const struct attempt *attempt, size_t i)
{
	return addr_family(&attempt->rules->rules[i].portal.at.addr) == attempt->family;
}

/* The rules of a single one, for the table and chains of it: text for a machine without rules. The caller
 * frees it. */
static char *text_of_one(const struct attempt *attempt, size_t i)
{
	struct steering_rules one = *attempt->rules;

	one.rules = &attempt->rules->rules[i];
	one.count = 1;
	return steering_iptables_render(&one, attempt->family, NULL);
}

/* ---- what was there ---- */

/* True if each of the rule's lines is among the sorted ones. Jumps, which the text also has, are no rule's.
 */
static bool is_there(const struct attempt *attempt, size_t i, const struct lines *there)
{
	char *text = text_of_one(attempt, i);
	const char *rest = text;
	bool all = true;
	struct span line;

	while (all && span_next_line(&rest, &line)) {
		if (iptables_is_rule_of_ours(&line))
			all = lines_sorted_have(there, &line);
	}
	free(text);
	return all;
}

void attempt_init(struct attempt *attempt, const struct steering_rules *rules, enum addr_family family,
	const struct steering_saved *saved)
{
	struct lines there = {.count = 0};

	*attempt = (struct attempt){.rules = rules, .family = family};
	lines_add_text(&there, saved->nat ? saved->nat : "");
	lines_add_text(&there, saved->filter ? saved->filter : "");
	lines_sort(&there);
	attempt->accepted = mem_calloc(rules->count, sizeof(*attempt->accepted));
	for (size_t i = 0; i < rules->count; i++)
		attempt->accepted[i] = !concerns(attempt, i) || is_there(attempt, i, &there);
	lines_fini(&there);
	bisect_init(&attempt->bisect, 0, rules->count);
}

void attempt_fini(struct attempt *attempt)
{
	bisect_fini(&attempt->bisect);
	free(attempt->accepted);
	free(attempt->tried.rules);
	*attempt = (struct attempt){.rules = NULL};
}

/* ---- tries ---- */

/* What was accepted and what is in the range. */
static void choose(struct attempt *attempt, const struct bisect_range *range)
{
	const struct steering_rules *all = attempt->rules;
	struct steering_rules *tried = &attempt->tried;

	free(tried->rules);
	*tried = *all;
	tried->rules = mem_calloc(all->count, sizeof(*tried->rules));
	tried->count = 0;
	for (size_t i = 0; i < all->count; i++) {
		if (attempt->accepted[i] || (i >= range->first && i < range->end))
			tried->rules[tried->count++] = all->rules[i];
	}
}

/* Nothing of it is left to be tried. */
static bool all_accepted(const struct attempt *attempt, const struct bisect_range *range)
{
	for (size_t i = range->first; i < range->end; i++) {
		if (!attempt->accepted[i])
			return false;
	}
	return true;
}

const struct steering_rules *attempt_next(struct attempt *attempt)
{
	struct bisect_range range = {0, 0};
	bool more;

	while ((more = bisect_next(&attempt->bisect, &range)) && all_accepted(attempt, &range))
		bisect_accepted(&attempt->bisect);
	if (!more) {
		/* At last what is to go, or if all was refused. */
		if (attempt->bare)
			return NULL;
		attempt->bare = true;
		range = (struct bisect_range){0, 0};
	}
	choose(attempt, &range);
	return &attempt->tried;
}

void attempt_succeeded(struct attempt *attempt)
{
	struct bisect_range range;

	if (attempt->bare)
		return;
	range = attempt->bisect.todo[attempt->bisect.count - 1];
	for (size_t i = range.first; i < range.end; i++)
		attempt->accepted[i] = true;
	bisect_accepted(&attempt->bisect);
}

/* ---- failures ---- */

/* True if both add the same to the same chain. */
static bool text_adds(const char *text, const char *line)
{
	const struct span wanted = {line, strcspn(line, "\n")};
	struct span each;

	while (span_next_line(&text, &each)) {
		if (each.length == wanted.length && memcmp(each.start, line, each.length) == 0)
			return true;
	}
	return false;
}

/* The place of the rule that has the line, or one behind all. */
static size_t find_culprit(const struct attempt *attempt, const char *line)
{
	size_t i = 0;

	for (; line && i < attempt->rules->count; i++) {
		char *text = concerns(attempt, i) ? text_of_one(attempt, i) : NULL;
		bool found = text && text_adds(text, line);

		free(text);
		if (found)
			return i;
	}
	return attempt->rules->count;
}

/* Names of chains, and jumps to them, are no rule's. */
static bool may_be_a_rules_fault(const char *line)
{
	const struct span span = {line, line ? strcspn(line, "\n") : 0};

	return span.length == 0 || span_is(&span, "COMMIT") || iptables_is_rule_of_ours(&span);
}

int attempt_failed(struct attempt *attempt, const char *line, const struct steering_rule **refused)
{
	size_t culprit, place;

	*refused = NULL;
	if (attempt->bare || attempt->bisect.count == 0 || !may_be_a_rules_fault(line))
		return -EIO;
	culprit = find_culprit(attempt, line);
	if (culprit < attempt->rules->count)
		attempt->accepted[culprit] = false;
	if (bisect_failed(&attempt->bisect, culprit, &place) && concerns(attempt, place) &&
		!attempt->accepted[place])
		*refused = &attempt->rules->rules[place];
	return bisect_exhausted(&attempt->bisect) ? -EIO : 0;
}
