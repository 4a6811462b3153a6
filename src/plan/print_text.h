/* The words that both forms of printing share. */
#ifndef PLAN_PRINT_TEXT_H
#define PLAN_PRINT_TEXT_H

#include "plan/plan_private.h"

/* Into buf (ADDR_TEXT_BYTES + 4), which is returned. */
const char *plan_prefix_format(const struct addr_prefix *prefix, char *buf);

/* Receives an option that is not as usual: text, or number if text is NULL. */
typedef void plan_option_fn(void *context, const char *name, const char *text, unsigned number);

/* Returns how many there are; each may be NULL. */
size_t plan_options_each(const struct plan_listener *listener, const struct service_options *usual,
	plan_option_fn *each, void *context);

#endif
