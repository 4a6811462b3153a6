/* Which rules to try next, after iptables-restore has refused some of them. Pure.
 *
 * Without the rule that the tool names; in halves if it names none. What was accepted stays, and so does what
 * was there before. Two tables are two transactions, of which the first may have come into force though the
 * second was refused: the caller looks at what is there before each try. */
#ifndef STEERING_ATTEMPT_H
#define STEERING_ATTEMPT_H

#include "portald/steering.h"
#include "steering/bisect.h"

struct attempt {
	const struct steering_rules *rules;
	enum addr_family family;
	struct bisect bisect;
	bool *accepted;              /* by place in rules */
	bool bare;                   /* what is tried is nothing but what was accepted */
	struct steering_rules tried; /* a part of rules, whose keys are borrowed */
};

/* For rules, borrowed until fini, that were refused as a whole. saved is what was there before. */
void attempt_init(struct attempt *attempt, const struct steering_rules *rules, enum addr_family family,
	const struct steering_saved *saved);
void attempt_fini(struct attempt *attempt);

/* What to try now, owned by the attempt. NULL: there is nothing more to try. */
const struct steering_rules *attempt_next(struct attempt *attempt);

/* How it ended. line: the one that the tool has named, without its end; NULL if none. Returns 0, and in
 * *refused the rule that is left out from now on, or NULL; -EIO if leaving rules out doesn't help. For the
 * failure of the whole, attempt_next() has not been called before. */
void attempt_succeeded(struct attempt *attempt);
int attempt_failed(struct attempt *attempt, const char *line, const struct steering_rule **refused);

#endif
