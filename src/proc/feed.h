/* Where control's Services come from: manifest files or the API server. Who is fed can't tell which.
 *
 * A feed says what changed, Service by Service, and when what it said belongs together. What it has said once
 * stays true until it says otherwise: while files are broken or the API server is away it says nothing. */
#ifndef PROC_FEED_H
#define PROC_FEED_H

#include <stdbool.h>
#include <stddef.h>

#include "portald/model.h"
#include "proc/options.h"

struct event_base;
struct ipc_channel;

/* A Service that is new, or that has changed, or whose endpoints have. All is borrowed for the call. */
struct feed_service {
	const char *namespace, *name;
	const struct model_service *service;     /* NULL: there is none any more */
	bool service_changed, endpoints_changed; /* neither: it comes again because of the node */
	struct model_slice *const *slices;
	size_t slice_count;
};

/* The own node. */
struct feed_node {
	const char *zone; /* NULL: unknown; borrowed for the call */
	bool deleting;    /* it is to go away: whoever sends traffic here should send it elsewhere */
};

struct feed_handlers {
	/* Every Service comes (again) after a node with another zone. */
	void (*node)(void *context, const struct feed_node *node);
	void (*service)(void *context, const struct feed_service *service);
	/* What came since the last call is to take effect together. whole: nothing is missing that a
	 * predecessor of this process may have known, so what was not named does not exist. */
	void (*settled)(void *context, bool whole);
	/* True if a change can be taken up now; otherwise the feed waits a little, and gathers. */
	bool (*ready)(void *context);
	/* The API server has answered, or not (status 0). host is host:port. */
	void (*asked)(void *context, unsigned status, const char *host);
	/* It cannot go on (logged). */
	void (*failed)(void *context, int exit_code);
};

struct feed_setup {
	const struct options *options;
	struct event_base *base;
	struct ipc_channel *files; /* to the starter, which opens the files */
	int inotify_fd;            /* tells of changed manifests; -1: poll */
	bool first;                /* not a restart: --strict applies */
	const struct feed_handlers *handlers;
	void *context;
};

struct feed;

/* Begins: handlers may be called from within. setup is copied, what it points to borrowed. */
struct feed *feed_open(const struct feed_setup *setup);
void feed_close(struct feed *feed); /* NULL is fine */

/* ---- the two kinds ---- */

struct feed_files;
struct feed_files *feed_files_open(const struct feed_setup *setup);
void feed_files_close(struct feed_files *feed);

struct feed_api;
struct feed_api *feed_api_open(const struct feed_setup *setup);
void feed_api_close(struct feed_api *feed);

#endif
