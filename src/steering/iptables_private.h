/* What was saved, and how the jumps to our chains stand in it. */
#ifndef STEERING_IPTABLES_PRIVATE_H
#define STEERING_IPTABLES_PRIVATE_H

#include <stdbool.h>

struct text;

enum jump_place { JUMP_FIRST, JUMP_LAST };

/* The rule of a built-in chain that leads to a chain of ours. */
struct iptables_jump {
	const char *from;
	const char *to;
	enum jump_place place;
	bool local_only; /* -m addrtype --dst-type LOCAL */
	const char *comment;
};

/* Adds what makes the jump stand once, in its place and form; nothing if saved shows that it does. saved
 * is iptables-save's text for the jump's table. */
void iptables_jump_repair(struct text *out, const struct iptables_jump *jump, const char *saved);

/* Adds what removes the jump, in whatever number and form it is there. */
void iptables_jump_remove(struct text *out, const struct iptables_jump *jump, const char *saved);

bool iptables_chain_exists(const char *saved, const char *chain);

/* True if another chain than jump->from leads to jump->to. */
bool iptables_chain_used_elsewhere(const char *saved, const struct iptables_jump *jump);

#endif
