/* Which rules to try next, after a tool has refused some of them. Pure.
 *
 * Without the rule that the tool names; in halves if it names none. What was accepted stays, and so does what
 * was there before. Two tables are two transactions, of which the first may have come into force though the
 * second was refused: the caller looks at what is there before each try. */
#ifndef STEERING_ATTEMPT_H
#define STEERING_ATTEMPT_H

#include "portald/steering.h"
#include "steering/bisect.h"

struct span;

/* What a tool is given. */
struct attempt_text {
	/* The lines for a single rule, and for no other; there may be some beside that are no rule's. The
	 * caller frees it. */
	char *(*of_one)(const struct steering_rules *one, enum addr_family family);
	/* True if it may be for a rule that the tool has named the line (an empty one: none). */
	bool (*may_blame)(const struct span *line);
};

struct attempt {
	const struct steering_rules *rules;
	const struct attempt_text *text;
	bool families[2]; /* which are concerned, by family_place() */
	struct bisect bisect;
	bool *accepted;              /* by place in rules */
	bool bare;                   /* what is tried is nothing but what was accepted */
	struct steering_rules tried; /* a part of rules, whose keys are borrowed */
};

/* For rules, borrowed until fini, that were refused as a whole: those of one family with what was saved
 * before (iptables), or all of them, of which nothing is there without the others. */
void attempt_init_family(struct attempt *attempt, const struct steering_rules *rules, enum addr_family family,
	const struct steering_saved *saved);
void attempt_init(
	struct attempt *attempt, const struct steering_rules *rules, const struct attempt_text *text);
void attempt_fini(struct attempt *attempt);

/* What to try now, owned by the attempt. NULL: there is nothing more to try. */
const struct steering_rules *attempt_next(struct attempt *attempt);

/* How it ended. line: the one that the tool has named; an empty one if none. Returns 0, and in *refused the
 * rule that is left out from now on, or NULL; -EIO if leaving rules out doesn't help. For the failure of the
 * whole, attempt_next() has not been called before. */
void attempt_succeeded(struct attempt *attempt);
int attempt_failed(struct attempt *attempt, const struct span *line, const struct steering_rule **refused);

#endif
