/* What the supervisor tells of its own process in the shared counters. */
#ifndef PROC_VITALS_H
#define PROC_VITALS_H

struct event_base;
struct stats;
struct vitals;

/* Tells it now and every few seconds. stats is borrowed. */
struct vitals *vitals_new(struct event_base *base, struct stats *stats);
void vitals_free(struct vitals *vitals); /* NULL is fine */

#endif
