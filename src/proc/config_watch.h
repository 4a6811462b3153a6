/* Whether the configuration file has changed. */
#ifndef PROC_CONFIG_WATCH_H
#define PROC_CONFIG_WATCH_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

/* How often config_watch_changed() is to be asked. */
#define CONFIG_WATCH_MS 1000

/* What tells one content of the file from the next; all zero while there is no file. */
struct config_stamp {
	dev_t device;
	ino_t file;
	off_t bytes;
	struct timespec written;
};

struct config_watch {
	const char *path;          /* borrowed; NULL: nothing is watched */
	struct config_stamp taken; /* as of the content that was read */
	struct config_stamp seen;  /* as of the last look */
};

/* The file as it is. Symbolic links are followed, so a ConfigMap's volume shows its changes. */
struct config_stamp config_stamp_of(const char *path);

/* taken: the file as it was before it was read. */
void config_watch_init(struct config_watch *watch, const char *path, struct config_stamp taken);

/* Looks at the file. Returns true, once a change, if it is another one than was taken, and the same as at the
 * last look: so a file is not read while it is being written. */
bool config_watch_changed(struct config_watch *watch);

#endif
