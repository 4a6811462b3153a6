/* The table of flags, in groups: each says its name, value, default and help text, so that the parser and
 * --help cannot disagree. One file a group or two: flags_*.c. */
#ifndef PROC_FLAGS_H
#define PROC_FLAGS_H

#include "proc/options.h"

struct flag {
	const char *name;
	char letter;       /* 0: none */
	const char *value; /* the value's name in help; NULL for a switch */
	/* Sets the option. Returns NULL, or what is wrong with value. */
	const char *(*set)(struct options *options, const char *value);
	const char *help;
};

struct flag_group {
	const char *title;
	const struct flag *flags; /* the last one has no name */
};

extern const struct flag_group flags_source, flags_service, flags_steering, flags_process, flags_output;

/* Values that several flags have. As a setter's: NULL, or what is wrong. value may be NULL for a switch. */
const char *flag_switch(bool *out, const char *value);
const char *flag_duration(uint32_t *out_ms, const char *value);

#endif
