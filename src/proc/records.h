/* Plan records in the supervisor: checked against bounds, turned into rules, printed. */
#ifndef PROC_RECORDS_H
#define PROC_RECORDS_H

#include <stdio.h>

#include "portald/steering.h"
#include "proc/options.h"
#include "proc/table.h"

/* Checks what control asks for against bounds that were fixed at start: address classes, port ranges.
 * Returns 0 or -EPROTO: control is broken, since its own validation is stricter. */
int records_check(const struct plan_listener *record, const struct options *options);

/* Initializes rules with those for every open listener, in the order of their ids, but for portals whose port
 * could not be claimed. Keys are borrowed from the table. */
void records_rules(struct steering_rules *rules, struct table *table, const struct addr *bind_addr);

/* For --steering=none: which Service port is reached at which local address. */
void records_print_table(struct table *table, FILE *out);

#endif
