/* Owns the look at the configuration file, by its stamp: a look each second costs nothing, and works where
 * inotify does not. Runs in the starter. */
#include "proc/config_watch.h"

#include <stddef.h>
#include <sys/stat.h>

static bool stamp_equal(const struct config_stamp *a, const struct config_stamp *b)
{
	return a->device == b->device && a->file == b->file && a->bytes == b->bytes &&
	       a->written.tv_sec == b->written.tv_sec && a->written.tv_nsec == b->written.tv_nsec;
}

struct config_stamp config_stamp_of(const char *path)
{
	struct stat info;

	if (!path || stat(path, &info) < 0)
		return (struct config_stamp){.file = 0};
	return (struct config_stamp){
		.device = info.st_dev,
		.file = info.st_ino,
		.bytes = info.st_size,
		.written = info.st_mtim,
	};
}

void config_watch_init(struct config_watch *watch, const char *path, struct config_stamp taken)
{
	*watch = (struct config_watch){.path = path, .taken = taken, .seen = taken};
}

bool config_watch_changed(struct config_watch *watch)
{
	struct config_stamp now = config_stamp_of(watch->path);
	bool settled = stamp_equal(&now, &watch->seen);

	watch->seen = now;
	/* A file that is gone is on its way to be replaced; until then the last good state stays. */
	if (!settled || now.file == 0 || stamp_equal(&now, &watch->taken))
		return false;
	watch->taken = now;
	return true;
}
