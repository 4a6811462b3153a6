/* Owns the plan of each Service and what of it has been told: puts, settles, compares. Runs in control and in
 * `portald plan`.
 *
 * An entry's listeners hold the portals that they have; what they claim is in its claimants. A listener that
 * has lost all of its portals stays, without any, and counts as skipped.
 */
#include "portald/plan_book.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

/* What one Service opens. */
struct plan_entry {
	UT_hash_handle hh;
	char *key;           /* "namespace/name" */
	struct plan *part;   /* its listeners sorted by id */
	struct plan *before; /* the part as it was last told, if it is another one */
	struct plan_claimant *claimants;
	size_t claimant_count;
	char **notes; /* of each listener, without what it has lost */
	bool dirty;
	struct plan_entry *next_dirty;
};

struct plan_book {
	struct service_options defaults;
	struct plan_entry *entries; /* a uthash */
	struct plan_entry *dirty;
	struct plan_claims claims;
	struct plan view; /* arrays of what the entries own */
	bool viewed;      /* view is up to date */
	bool health_checks_changed;
};

typedef void change_fn(void *context, enum plan_change kind, const struct plan_listener *listener);

struct plan_book *plan_book_new(const struct service_options *defaults)
{
	struct plan_book *book = mem_calloc(1, sizeof(*book));

	book->defaults = *defaults;
	return book;
}

static void mark(void *context, struct plan_entry *entry)
{
	struct plan_book *book = context;

	if (entry->dirty)
		return;
	entry->dirty = true;
	entry->next_dirty = book->dirty;
	book->dirty = entry;
}

/* ---- the part of one Service ---- */

static bool has_health_check(const struct model_service *service)
{
	return !service->out_of_scope && service->type == MODEL_LOAD_BALANCER && service->external_local &&
	       service->health_check_node_port != 0;
}

static void add_health_check(
	struct plan *part, const struct plan_input *input, const struct plan_facts *facts)
{
	const struct model_service *service = input->service;
	struct plan_health_check *check =
		plan_array_append(&part->health_checks, &part->health_check_count, sizeof(*check));

	*check = (struct plan_health_check){
		.port = service->health_check_node_port,
		.namespace = mem_strdup(service->namespace),
		.name = mem_strdup(service->name),
		.local_endpoints = plan_count_local(input, facts),
	};
}

static int listeners_cmp(const void *a, const void *b)
{
	return strcmp((*(struct plan_listener *const *)a)->id, (*(struct plan_listener *const *)b)->id);
}

/* A second listener of one id is what a source lets through only by mistake. */
static void drop_repeated(struct plan *part)
{
	size_t kept = 0;

	for (size_t i = 0; i < part->listener_count; i++) {
		struct plan_listener *listener = part->listeners[i];

		if (kept > 0 && strcmp(part->listeners[kept - 1]->id, listener->id) == 0) {
			plan_skip(
				part, listener->key, mem_strdup("another port of the Service has that name"));
			plan_listener_free(listener);
		} else {
			part->listeners[kept++] = listener;
		}
	}
	part->listener_count = kept;
}

static struct plan *build_part(const struct plan_input *input, const struct plan_facts *facts)
{
	struct plan *part = mem_calloc(1, sizeof(*part));

	plan_build_service(part, input, facts);
	if (has_health_check(input->service))
		add_health_check(part, input, facts);
	if (part->listener_count > 0)
		qsort(part->listeners, part->listener_count, sizeof(*part->listeners), listeners_cmp);
	drop_repeated(part);
	return part;
}

/* ---- entries ---- */

static void entry_drop_claimants(struct plan_book *book, struct plan_entry *entry)
{
	for (size_t i = 0; i < entry->claimant_count; i++)
		plan_claims_remove(&book->claims, &entry->claimants[i]);
	free(entry->claimants);
	entry->claimants = NULL;
	entry->claimant_count = 0;
}

static bool same_portal(const struct plan_portal *a, const struct plan_portal *b)
{
	return a->kind == b->kind && a->scope == b->scope && a->check_source == b->check_source &&
	       addr_port_equal(&a->at, &b->at);
}

/* True if part claims exactly what the entry claims already, which is so when only endpoints changed. */
static bool same_claims(const struct plan_entry *entry, const struct plan *part)
{
	size_t at = 0;

	for (size_t i = 0; i < part->listener_count; i++) {
		const struct plan_listener *listener = part->listeners[i];

		for (size_t p = 0; p < listener->portal_count; p++, at++) {
			const struct plan_claimant *claimant;

			if (at == entry->claimant_count)
				return false;
			claimant = &entry->claimants[at];
			if (claimant->listener->proto != listener->proto ||
				!same_portal(&claimant->portal, &listener->portals[p]) ||
				strcmp(claimant->listener->id, listener->id) != 0)
				return false;
		}
	}
	return at == entry->claimant_count;
}

static void move_claimants(struct plan_entry *entry, const struct plan *part)
{
	size_t at = 0;

	for (size_t i = 0; i < part->listener_count; i++) {
		for (size_t p = 0; p < part->listeners[i]->portal_count; p++)
			entry->claimants[at++].listener = part->listeners[i];
	}
}

static void make_claimants(struct plan_book *book, struct plan_entry *entry, const struct plan *part)
{
	size_t count = 0;

	for (size_t i = 0; i < part->listener_count; i++)
		count += part->listeners[i]->portal_count;
	entry->claimants = mem_calloc(count, sizeof(*entry->claimants));
	for (size_t i = 0; i < part->listener_count; i++) {
		struct plan_listener *listener = part->listeners[i];

		for (size_t p = 0; p < listener->portal_count; p++) {
			size_t place = entry->claimant_count++;

			entry->claimants[place] = (struct plan_claimant){
				.entry = entry,
				.listener = listener,
				.portal = listener->portals[p],
				.place = place,
			};
			plan_claims_add(&book->claims, &entry->claimants[place]);
		}
	}
}

static void free_notes(struct plan_entry *entry)
{
	for (size_t i = 0; entry->notes && i < entry->part->listener_count; i++)
		free(entry->notes[i]);
	free(entry->notes);
	entry->notes = NULL;
}

static bool same_health_checks(const struct plan *a, const struct plan *b)
{
	if (a->health_check_count != b->health_check_count)
		return false;
	for (size_t i = 0; i < a->health_check_count; i++) {
		if (a->health_checks[i].port != b->health_checks[i].port ||
			a->health_checks[i].local_endpoints != b->health_checks[i].local_endpoints)
			return false;
	}
	return true;
}

static void replace_part_take(struct plan_book *book, struct plan_entry *entry, struct plan *part)
{
	if (same_claims(entry, part)) {
		move_claimants(entry, part);
	} else {
		entry_drop_claimants(book, entry);
		make_claimants(book, entry, part);
	}
	if (!same_health_checks(entry->part, part))
		book->health_checks_changed = true;
	free_notes(entry);
	/* Of several puts in a row the first one's predecessor is what was told. */
	if (entry->before)
		plan_free(entry->part);
	else
		entry->before = entry->part;
	entry->part = part;
	entry->notes = mem_calloc(part->listener_count, sizeof(*entry->notes));
	for (size_t i = 0; i < part->listener_count; i++)
		entry->notes[i] = mem_strdup(part->listeners[i]->note);
	book->viewed = false;
	mark(book, entry);
}

static struct plan_entry *find_entry(const struct plan_book *book, const char *key)
{
	struct plan_entry *entry;

	HASH_FIND_STR(book->entries, key, entry);
	return entry;
}

void plan_book_put(struct plan_book *book, const struct model_service *service,
	struct model_slice *const *slices, size_t slice_count, const struct plan_facts *facts)
{
	struct plan_input input = {.service = service, .slices = slices, .slice_count = slice_count};
	char *key = mem_printf("%s/%s", service->namespace, service->name);
	struct plan_entry *entry = find_entry(book, key);

	if (entry) {
		free(key);
	} else {
		entry = mem_calloc(1, sizeof(*entry));
		entry->key = key;
		entry->part = mem_calloc(1, sizeof(*entry->part));
		HASH_ADD_KEYPTR(hh, book->entries, entry->key, strlen(entry->key), entry);
	}
	replace_part_take(book, entry, build_part(&input, facts));
}

/* The entry stays, without anything, until its end has been told. */
void plan_book_remove(struct plan_book *book, const char *namespace, const char *name)
{
	char *key = mem_printf("%s/%s", namespace, name);
	struct plan_entry *entry = find_entry(book, key);

	free(key);
	if (entry)
		replace_part_take(book, entry, mem_calloc(1, sizeof(*entry->part)));
}

static void entry_free(struct plan_book *book, struct plan_entry *entry)
{
	HASH_DEL(book->entries, entry);
	entry_drop_claimants(book, entry);
	free_notes(entry);
	plan_free(entry->before);
	plan_free(entry->part);
	free(entry->key);
	free(entry);
}

/* ---- settling ---- */

/* Gives the listener what it has won of its claimants, the `count` from `claimants` on, and makes its note
 * say what it has lost. Returns true if its portals changed. */
static bool settle_listener(
	struct plan_listener *listener, const char *note, const struct plan_claimant *claimants, size_t count)
{
	struct plan_portal *portals = mem_calloc(count, sizeof(*portals));
	size_t kept = 0;
	bool changed;

	free(listener->note);
	listener->note = NULL;
	for (size_t i = 0; i < count; i++) {
		if (!claimants[i].owner)
			portals[kept++] = claimants[i].portal;
		else
			listener->note = plan_join(listener->note, plan_claim_lost_text(&claimants[i]));
	}
	/* With nothing left, what was lost is the reason why it is not opened, and all that there is to say.
	 */
	if (note && kept > 0)
		listener->note =
			listener->note ? plan_join(mem_strdup(note), listener->note) : mem_strdup(note);
	changed = kept != listener->portal_count;
	for (size_t i = 0; i < kept && !changed; i++)
		changed = !same_portal(&portals[i], &listener->portals[i]);
	free(listener->portals);
	listener->portals = portals;
	listener->portal_count = kept;
	return changed;
}

/* Settles all listeners of the entry. If it was told before, change is called for those that differ. */
static void settle_entry(struct plan_entry *entry, change_fn *change, void *context)
{
	size_t at = 0;

	for (size_t i = 0; i < entry->part->listener_count; i++) {
		struct plan_listener *listener = entry->part->listeners[i];
		size_t first = at;
		bool was_there = listener->portal_count > 0, changed;

		while (at < entry->claimant_count && entry->claimants[at].listener == listener)
			at++;
		changed = settle_listener(listener, entry->notes[i], &entry->claimants[first], at - first);
		if (!changed || entry->before)
			continue;
		if (listener->portal_count == 0)
			change(context, PLAN_REMOVED, listener);
		else
			change(context, was_there ? PLAN_CHANGED : PLAN_ADDED, listener);
	}
}

/* The listeners of a part that have portals, as a plan that borrows them. */
static struct plan open_listeners(const struct plan *part)
{
	struct plan open = {.listeners = mem_calloc(part->listener_count, sizeof(*open.listeners))};

	for (size_t i = 0; i < part->listener_count; i++) {
		if (part->listeners[i]->portal_count > 0)
			open.listeners[open.listener_count++] = part->listeners[i];
	}
	return open;
}

static void tell_entry(struct plan_entry *entry, change_fn *change, void *context)
{
	struct plan old, new;

	if (!entry->before)
		return;
	old = open_listeners(entry->before);
	new = open_listeners(entry->part);
	plan_diff(&old, &new, change, context);
	free(old.listeners);
	free(new.listeners);
	plan_free(entry->before);
	entry->before = NULL;
}

void plan_book_settle(struct plan_book *book, change_fn *change, void *context)
{
	plan_claims_settle(&book->claims, mark, book);
	while (book->dirty) {
		struct plan_entry *entry = book->dirty;

		book->dirty = entry->next_dirty;
		entry->dirty = false;
		book->viewed = false;
		settle_entry(entry, change, context);
		tell_entry(entry, change, context);
		if (entry->part->listener_count == 0 && entry->part->skipped_count == 0 &&
			entry->part->health_check_count == 0)
			entry_free(book, entry);
	}
}

/* ---- the whole ---- */

static int skipped_cmp(const void *a, const void *b)
{
	const struct plan_skipped *x = a, *y = b;
	int by_key = strcmp(x->key, y->key);

	return by_key ? by_key : strcmp(x->reason, y->reason);
}

static int health_checks_cmp(const void *a, const void *b)
{
	const struct plan_health_check *x = a, *y = b;

	return (x->port > y->port) - (x->port < y->port);
}

static void add_skipped(struct plan *view, const struct plan_skipped *skipped)
{
	*(struct plan_skipped *)plan_array_append(&view->skipped, &view->skipped_count, sizeof(*skipped)) =
		*skipped;
}

static void view_part(struct plan *view, const struct plan *part)
{
	for (size_t i = 0; i < part->listener_count; i++) {
		struct plan_listener *listener = part->listeners[i];
		struct plan_skipped lost = {.key = listener->key, .reason = listener->note};

		if (listener->portal_count > 0)
			*(struct plan_listener **)plan_array_append(
				&view->listeners, &view->listener_count, sizeof(listener)) = listener;
		else
			add_skipped(view, &lost);
	}
	for (size_t i = 0; i < part->skipped_count; i++)
		add_skipped(view, &part->skipped[i]);
	for (size_t i = 0; i < part->health_check_count; i++)
		*(struct plan_health_check *)plan_array_append(&view->health_checks,
			&view->health_check_count, sizeof(part->health_checks[i])) = part->health_checks[i];
}

static void view_free(struct plan_book *book)
{
	free(book->view.listeners);
	free(book->view.skipped);
	free(book->view.health_checks);
	book->view = (struct plan){.listeners = NULL};
	book->viewed = false;
}

const struct plan *plan_book_view(struct plan_book *book)
{
	struct plan *view = &book->view;

	if (book->viewed)
		return view;
	view_free(book);
	service_options_init(&view->usual);
	plan_complete_options(&view->usual, &book->defaults);
	for (struct plan_entry *entry = book->entries; entry; entry = entry->hh.next)
		view_part(view, entry->part);
	if (view->listener_count > 0)
		qsort(view->listeners, view->listener_count, sizeof(*view->listeners), listeners_cmp);
	if (view->skipped_count > 0)
		qsort(view->skipped, view->skipped_count, sizeof(*view->skipped), skipped_cmp);
	if (view->health_check_count > 0)
		qsort(view->health_checks, view->health_check_count, sizeof(*view->health_checks),
			health_checks_cmp);
	book->viewed = true;
	return view;
}

bool plan_book_health_checks_changed(struct plan_book *book)
{
	bool changed = book->health_checks_changed;

	book->health_checks_changed = false;
	return changed;
}

void plan_book_free(struct plan_book *book)
{
	struct plan_entry *entry, *next;

	if (!book)
		return;
	view_free(book);
	HASH_ITER (hh, book->entries, entry, next)
		entry_free(book, entry);
	plan_claims_fini(&book->claims);
	free(book);
}

static void ignore_change(void *context, enum plan_change kind, const struct plan_listener *listener)
{
	(void)context;
	(void)kind;
	(void)listener;
}

/* What the view has taken over of the part. */
static void release_part(struct plan *part)
{
	size_t kept = 0;

	for (size_t i = 0; i < part->listener_count; i++) {
		struct plan_listener *listener = part->listeners[i];

		if (listener->portal_count > 0)
			continue;
		listener->key = listener->note = NULL;
		part->listeners[kept++] = listener;
	}
	part->listener_count = kept;
	part->skipped_count = part->health_check_count = 0;
}

struct plan *plan_book_finish(struct plan_book *book)
{
	struct plan *plan = mem_calloc(1, sizeof(*plan));
	struct plan_entry *entry, *next;

	plan_book_settle(book, ignore_change, NULL);
	*plan = *plan_book_view(book);
	book->view = (struct plan){.listeners = NULL};
	HASH_ITER (hh, book->entries, entry, next) {
		/* Claims are over before the listeners' keys go. */
		entry_drop_claimants(book, entry);
		free_notes(entry);
		release_part(entry->part);
	}
	plan_book_free(book);
	return plan;
}
