/* The plan kept up to date, Service by Service: a change costs what the changed Services cost, however many
 * others there are. plan_build() is a book that everything is put into once.
 *
 * Portals that several Services claim are settled as plan_build() says, whatever the order of the puts: who
 * loses one gets it when its owner gives it up. Runs in control.
 */
#ifndef PORTALD_PLAN_BOOK_H
#define PORTALD_PLAN_BOOK_H

#include "portald/plan.h"

struct plan_book;

/* defaults: what a Service leaves open; copied. */
struct plan_book *plan_book_new(const struct service_options *defaults);
void plan_book_free(struct plan_book *book); /* NULL is fine */

/* Puts the Service in place of what it was, with its slices. All arguments are borrowed for the call; facts
 * hold for this Service alone, and their zone is final. */
void plan_book_put(struct plan_book *book, const struct model_service *service,
	struct model_slice *const *slices, size_t slice_count, const struct plan_facts *facts);

/* Takes the Service out; one that isn't there is no error. */
void plan_book_remove(struct plan_book *book, const char *namespace, const char *name);

/* What differs since the last call, Service by Service, as plan_diff() would say it. */
void plan_book_settle(struct plan_book *book,
	void (*change)(void *context, enum plan_change kind, const struct plan_listener *listener),
	void *context);

/* All of it as last settled, borrowed until the next call that changes the book. Made on demand: its cost
 * grows with the number of Services, once after a change. */
const struct plan *plan_book_view(struct plan_book *book);

/* True if the health checks differ since this was last asked. */
bool plan_book_health_checks_changed(struct plan_book *book);

/* Settles, and frees the book but for the plan, which the caller frees with plan_free(). */
struct plan *plan_book_finish(struct plan_book *book);

#endif
