/* The manifests as control sees them: fetched as descriptors, read, decoded, compared with the last. */
#ifndef PROC_MANIFESTS_H
#define PROC_MANIFESTS_H

#include <stdbool.h>
#include <stddef.h>

#include "portald/model.h"
#include "proc/options.h"

/* All manifest files at one moment. */
struct manifests {
	struct source_text *texts; /* names and bytes are owned */
	size_t count, capacity;
	size_t unreadable; /* paths or files that could not be read (logged) */
};

struct ipc_channel;

/* Fetches all manifests from the starter over channel. Blocks for as long as the starter takes, which
 * never waits for anything but the disk. Returns 0, or a negative errno: the starter is gone. */
int manifests_fetch(struct manifests *out, const struct options *options, struct ipc_channel *channel);

/* Collects all manifests in this process, for `portald plan`. */
void manifests_collect(struct manifests *out, const struct options *options);

void manifests_free(struct manifests *manifests);

/* True if both hold the same names and bytes. */
bool manifests_equal(const struct manifests *a, const struct manifests *b);

/* Decodes. Findings go to print (one formatted line each). last may be NULL; objects that an error left out
 * are taken from it, so a mistake in one object keeps what was in force for it. Returns NULL when last
 * exists and must stay in force as a whole (a file that can't be read or parsed); otherwise a snapshot
 * with one reference. *errors gets the number of objects and files left out. */
struct model_snapshot *manifests_decode(const struct manifests *manifests, const struct options *options,
	struct model_snapshot *last, void (*print)(enum source_severity severity, const char *line),
	size_t *errors);

#endif
