/* Owns the search for rules that a tool refuses. Runs in the supervisor. */
#include "steering/attempt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "steering/iptables_private.h"
#include "steering/lines.h"

static size_t family_place(enum addr_family family)
{
	return family == ADDR_V6;
}

static enum addr_family family_of(const struct attempt *attempt, size_t i)
{
	return addr_family(&attempt->rules->rules[i].portal.at.addr);
}

static bool concerns(const struct attempt *attempt, size_t i)
{
	return attempt->families[family_place(family_of(attempt, i))];
}

/* Puts the lines for one rule into *text, which the caller frees. */
static void text_of_one(const struct attempt *attempt, size_t i, char **text)
{
	struct steering_rules one = *attempt->rules;

	one.rules = &attempt->rules->rules[i];
	one.count = 1;
	*text = attempt->text->of_one(&one, family_of(attempt, i));
}

/* ---- iptables ---- */

/* For a machine without rules, with chains and jumps. The caller frees it. */
static char *iptables_of_one(const struct steering_rules *one, enum addr_family family)
{
	return steering_iptables_render(one, family, NULL);
}

/* Names of chains, and jumps to them, are no rule's. */
static bool iptables_may_blame(const struct span *line)
{
	return line->length == 0 || span_is(line, "COMMIT") || iptables_is_rule_of_ours(line);
}

static const struct attempt_text iptables_text = {.of_one = iptables_of_one, .may_blame = iptables_may_blame};

/* True if each of the rule's lines is among the sorted ones. */
static bool is_there(const struct attempt *attempt, size_t i, const struct lines *there)
{
	const char *rest;
	bool all = true;
	struct span line;
	char *text;

	text_of_one(attempt, i, &text);
	rest = text;
	while (all && span_next_line(&rest, &line)) {
		if (iptables_is_rule_of_ours(&line))
			all = lines_sorted_have(there, &line);
	}
	free(text);
	return all;
}

/* ---- life ---- */

void attempt_init(
	struct attempt *attempt, const struct steering_rules *rules, const struct attempt_text *text)
{
	*attempt = (struct attempt){.rules = rules, .text = text, .families = {true, true}};
	attempt->accepted = mem_calloc(rules->count, sizeof(*attempt->accepted));
	bisect_init(&attempt->bisect, 0, rules->count);
}

void attempt_init_family(struct attempt *attempt, const struct steering_rules *rules, enum addr_family family,
	const struct steering_saved *saved)
{
	struct lines there = {.count = 0};

	attempt_init(attempt, rules, &iptables_text);
	attempt->families[family_place(family == ADDR_V6 ? ADDR_V4 : ADDR_V6)] = false;
	lines_add_text(&there, saved->nat ? saved->nat : "");
	lines_add_text(&there, saved->filter ? saved->filter : "");
	lines_sort(&there);
	for (size_t i = 0; i < rules->count; i++)
		attempt->accepted[i] = !concerns(attempt, i) || is_there(attempt, i, &there);
	lines_fini(&there);
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

static bool text_has(const char *text, const struct span *line)
{
	struct span each;

	while (span_next_line(&text, &each)) {
		if (each.length == line->length && memcmp(each.start, line->start, each.length) == 0)
			return true;
	}
	return false;
}

/* The place of the rule that has the line, or one behind all. */
static size_t find_culprit(const struct attempt *attempt, const struct span *line)
{
	size_t i = 0;

	for (; line->length > 0 && i < attempt->rules->count; i++) {
		char *text = NULL;
		bool found;

		if (concerns(attempt, i))
			text_of_one(attempt, i, &text);
		found = text && text_has(text, line);
		free(text);
		if (found)
			return i;
	}
	return attempt->rules->count;
}

int attempt_failed(struct attempt *attempt, const struct span *line, const struct steering_rule **refused)
{
	size_t culprit, place;

	*refused = NULL;
	if (attempt->bare || attempt->bisect.count == 0 || !attempt->text->may_blame(line))
		return -EIO;
	culprit = find_culprit(attempt, line);
	if (culprit < attempt->rules->count)
		attempt->accepted[culprit] = false;
	if (bisect_failed(&attempt->bisect, culprit, &place) && concerns(attempt, place) &&
		!attempt->accepted[place])
		*refused = &attempt->rules->rules[place];
	return bisect_exhausted(&attempt->bisect) ? -EIO : 0;
}
