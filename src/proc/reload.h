/* A changed configuration file, taken up while the daemon runs. */
#ifndef PROC_RELOAD_H
#define PROC_RELOAD_H

#include "proc/options.h"

struct event_base;
struct reload;

/* current (borrowed) is in force now. taken is told when others are in their place; they live until it is
 * told the next time, or until reload_free(). */
struct reload *reload_new(struct event_base *base, const struct options *current,
	void (*taken)(void *context, const struct options *fresh), void *context);
void reload_free(struct reload *reload); /* NULL is fine */

/* Reads what a reader sends through fd, which is taken. Another one that has not ended yet is given up. */
void reload_start(struct reload *reload, int fd);

/* Makes *out of current's command line and of a file's settings (text), except that what takes a new start
 * stays as it is in current, which is a warning in the log. Returns 1 and *out, which the caller frees; 0 if
 * that changes nothing; or a negative errno (logged): the settings are no good. */
int reload_merge(struct options *out, const struct options *current, const char *text);

/* Frees options in memory of their own; *own may be NULL, and becomes it. */
void reload_drop(struct options **own);

/* Puts options of base's command line and of a file's settings (text) in the place of *own, which may be NULL
 * and is freed. Returns 0 or -EINVAL, with *own as it was. */
int reload_replace(struct options **own, const struct options *base, const char *text);

#endif
