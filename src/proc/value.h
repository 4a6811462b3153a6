/* Values on the command line. */
#ifndef PROC_VALUE_H
#define PROC_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "portald/addr.h"

/* Looks value up in a NULL-terminated list. Returns the index or -1. */
int value_choice(const char *value, const char *const *names);

/* Parses a decimal number that is not larger than most. */
bool value_number(const char *value, unsigned long most, unsigned long *out);

/* Parses "first-last", "first+more" or a single port, as kube-proxy does. */
bool value_port_range(const char *value, uint16_t *first, uint16_t *last);

/* Parses a duration as Go writes them: "250ms", "1m30s", "1.5h", and "0" alone. At most 24 hours; rounded up
 * to milliseconds. */
bool value_duration_ms(const char *value, uint32_t *out_ms);

/* Parses a duration of whole seconds; what is less than one is cut off. At most 2^31 - 1 seconds. */
bool value_duration_s(const char *value, uint32_t *out_s);

/* Parses what Go takes for a boolean: true, false, 1, 0, t, f ... */
bool value_switch(const char *value, bool *out);

/* Takes the next of several CIDR blocks, separated by commas, off *value, which is not empty. Returns false
 * if it is none. */
bool value_next_prefix(const char **value, struct addr_prefix *out);

/* Parses a decimal number that may be negative and lies between least and most. */
bool value_integer(const char *value, long least, long most, long *out);

#endif
