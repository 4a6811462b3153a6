/* What the files of the module plan share. */
#ifndef PLAN_PLAN_PRIVATE_H
#define PLAN_PLAN_PRIVATE_H

#include "portald/plan.h"

struct model_service;

/* Appends a zeroed entry of size bytes to *array_pointer, which must only ever have grown by this. */
void *plan_array_append(void *array_pointer, size_t *count, size_t size);

/* Puts what one Service opens into plan: listeners at the end, unsorted. Looks at that Service and its
 * slices only, never at other Services. */
void plan_build_service(
	struct plan *plan, const struct model_snapshot *snapshot, const struct model_service *service);

/* Fills in the listener's endpoints of that Service port, used and left out, and its note. */
void plan_choose_endpoints(struct plan_listener *listener, const struct model_snapshot *snapshot,
	const struct model_service *service, const struct model_service_port *port);

/* Takes portals that an earlier listener (in key order) has away from later ones. The listeners are sorted.
 */
void plan_settle_conflicts(struct plan *plan);

/* Records that a Service or port opens nothing. reason is taken. */
void plan_skip(struct plan *plan, const char *key, char *reason_take);

/* Returns "before; more", or more alone if before is NULL. Both are taken. */
char *plan_join(char *before_take, char *more_take);

/* Returns 0 or -EIO. */
int plan_print_table(const struct plan *plan, FILE *out);
int plan_print_tree(const struct plan *plan, enum plan_output output, FILE *out);

#endif
