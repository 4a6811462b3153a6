/* What the files of the module plan share. */
#ifndef PLAN_PLAN_PRIVATE_H
#define PLAN_PLAN_PRIVATE_H

#include "portald/plan.h"

/* Appends a zeroed entry of size bytes to *array_pointer, which must only ever have grown by this. */
void *plan_array_append(void *array_pointer, size_t *count, size_t size);

/* Why the plan's Service port has no backend, by the listener's record; "" if it has. */
void plan_print_table(const struct plan *plan, FILE *out);
int plan_print_json(const struct plan *plan, FILE *out);
int plan_print_yaml(const struct plan *plan, FILE *out);

#endif
