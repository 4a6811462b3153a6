/* Owns the reading of what iptables-save prints. Only lines about our own chains matter; others are counted.
 * Runs in the supervisor and in `portald plan --rules`. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "steering/iptables_private.h"
#include "steering/lines.h"
#include "steering/text.h"

/* True if the line appends to the chain; *rest is then what follows. */
static bool line_appends(const struct span *line, const char *chain, struct span *rest)
{
	struct span word;

	*rest = *line;
	return span_next_word(rest, &word) && span_is(&word, "-A") && span_next_word(rest, &word) &&
	       span_is(&word, chain);
}

/* True if a word that names a target (-j or -g) is followed by the chain. */
static bool leads_to(struct span rest, const char *chain)
{
	struct span word;

	while (span_next_word(&rest, &word)) {
		if ((span_is(&word, "-j") || span_is(&word, "-g")) && span_next_word(&rest, &word) &&
			span_is(&word, chain))
			return true;
	}
	return false;
}

static bool span_is_comment(const struct span *span, const char *comment)
{
	struct text quoted = {.bytes = NULL};
	char *text;
	bool same;

	text_quoted(&quoted, comment);
	text = text_take(&quoted);
	same = span_is(span, text);
	free(text);
	return same;
}

void iptables_saved_chain(struct lines *lines, const char *saved, const char *chain)
{
	struct span line, rest;

	while (span_next_line(&saved, &line)) {
		if (line_appends(&line, chain, &rest))
			lines_add(lines, line);
	}
}

/* What a jump's line may hold, as bits: each must be there once, in whatever order a version prints them. */
enum part { PART_COMMENT = 1, PART_LOCAL = 2, PART_NEW = 4, PART_TARGET = 8 };

/* The part that the word begins, eaten from *rest; 0 if it is none of ours. */
static unsigned eat_part(const struct span *word, struct span *rest, const struct iptables_jump *jump)
{
	struct span a = {0}, b = {0}, c = {0};

	span_next_word(rest, &a);
	if (span_is(word, "-j"))
		return span_is(&a, jump->to) ? PART_TARGET : 0;
	if (!span_is(word, "-m"))
		return 0;
	span_next_word(rest, &b);
	span_next_word(rest, &c);
	if (span_is(&a, "comment") && span_is(&b, "--comment") && span_is_comment(&c, jump->comment))
		return PART_COMMENT;
	if (span_is(&a, "addrtype") && span_is(&b, "--dst-type") && span_is(&c, "LOCAL"))
		return PART_LOCAL;
	if (span_is(&a, "conntrack") && span_is(&b, "--ctstate") && span_is(&c, "NEW"))
		return PART_NEW;
	return 0;
}

/* True if what follows "-A CHAIN" is the jump in the form in which we write it. */
static bool is_wanted_form(struct span rest, const struct iptables_jump *jump)
{
	unsigned wanted = PART_COMMENT | PART_TARGET | (jump->local_only ? PART_LOCAL : 0) |
			  (jump->new_only ? PART_NEW : 0);
	unsigned found = 0;
	struct span word;

	while (span_next_word(&rest, &word)) {
		unsigned part = eat_part(&word, &rest, jump);

		if (part == 0 || (found & part))
			return false;
		found |= part;
	}
	return found == wanted;
}

/* How the jump stands in the saved text. */
struct standing {
	size_t jumps; /* how often it is there, in any form */
	bool right;   /* the last one found has the right form and stands at the right end */
};

static struct standing jump_standing(const struct iptables_jump *jump, const char *saved)
{
	struct standing standing = {.jumps = 0};
	size_t position = 0;
	struct span line, rest;

	while (span_next_line(&saved, &line)) {
		if (!line_appends(&line, jump->from, &rest))
			continue;
		if (jump->beside && leads_to(rest, jump->beside))
			continue;
		position++;
		if (leads_to(rest, jump->to)) {
			standing.jumps++;
			standing.right =
				is_wanted_form(rest, jump) && (jump->place == JUMP_LAST || position == 1);
		} else if (jump->place == JUMP_LAST) {
			standing.right = false;
		}
	}
	return standing;
}

void iptables_jump_remove(struct text *out, const struct iptables_jump *jump, const char *saved)
{
	struct span line, rest;

	while (span_next_line(&saved, &line)) {
		if (line_appends(&line, jump->from, &rest) && leads_to(rest, jump->to))
			text_printf(out, "-D %s%.*s\n", jump->from, (int)rest.length, rest.start);
	}
}

void iptables_jump_repair(struct text *out, const struct iptables_jump *jump, const char *saved)
{
	struct standing standing = jump_standing(jump, saved);

	if (standing.jumps == 1 && standing.right)
		return;
	iptables_jump_remove(out, jump, saved);
	text_printf(out, jump->place == JUMP_FIRST ? "-I %s 1" : "-A %s", jump->from);
	if (jump->local_only)
		text_printf(out, " -m addrtype --dst-type LOCAL");
	if (jump->new_only)
		text_printf(out, " -m conntrack --ctstate NEW");
	text_printf(out, " -m comment --comment ");
	text_quoted(out, jump->comment);
	text_printf(out, " -j %s\n", jump->to);
}

bool iptables_chain_exists(const char *saved, const char *chain)
{
	struct span line, word;

	while (span_next_line(&saved, &line)) {
		if (line.length > 0 && line.start[0] == ':') {
			line.start++;
			line.length--;
			if (span_next_word(&line, &word) && span_is(&word, chain))
				return true;
		}
	}
	return false;
}

static bool line_is_in(const struct span *line, const char *const *chains)
{
	struct span rest;

	for (; *chains; chains++) {
		if (line_appends(line, *chains, &rest))
			return true;
	}
	return false;
}

bool iptables_chain_used_elsewhere(const char *saved, const char *chain, const char *const *froms)
{
	struct span line;

	while (span_next_line(&saved, &line)) {
		if (line.length > 2 && memcmp(line.start, "-A", 2) == 0 && !line_is_in(&line, froms) &&
			leads_to(line, chain))
			return true;
	}
	return false;
}
