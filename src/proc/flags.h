/* The table of flags, in groups: each says its name, value, default and help text, so that the parser and
 * --help cannot disagree. One file a group or two: flags_*.c. */
#ifndef PROC_FLAGS_H
#define PROC_FLAGS_H

#include "proc/options.h"

struct flag {
	const char *name;
	char letter;       /* 0: none */
	const char *value; /* the value's name in help; NULL for a switch, whose value is "true" if none is
			      given */
	/* Sets the option; value, never NULL, lives as long as options. Returns NULL, or what is wrong with
	 * it. */
	const char *(*set)(struct options *options, const char *value);
	const char *help;
};

struct flag_group {
	const char *title;
	const struct flag *flags; /* the last one has no name */
};

extern const struct flag_group flags_source, flags_service, flags_steering, flags_process, flags_output;
extern const struct flag_group flags_conntrack, flags_config, flags_admin;
extern const struct flag_group flags_ignored; /* values are checked, and then nothing is done with them */

/* The groups in the order of --help; NULL after the last one. */
const struct flag_group *flag_group_at(size_t place);

/* The flag of that name, whose length is given; '_' stands for '-'. NULL if there is none. */
const struct flag *flag_find(const char *name, size_t length);
const struct flag *flag_find_letter(char letter);

/* Values that several flags have. As a setter's: NULL, or what is wrong. */
const char *flag_switch(bool *out, const char *value);
const char *flag_duration(uint32_t *out_ms, const char *value);

#endif
