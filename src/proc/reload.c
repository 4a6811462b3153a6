/* Owns the step from a changed configuration file to new options. Runs in the supervisor, which gets settings
 * as text from a reader without privilege (config_load.c): it takes them as it took the command line. */
#include "proc/reload.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "proc/config_fields.h"
#include "proc/config_load.h"

struct reload {
	struct event_base *base;
	const struct options *current; /* the first ones, or own */
	struct options *own;
	void (*taken)(void *context, const struct options *fresh);
	void *context;
	struct event *readable; /* NULL: no reader is at work */
	int fd;
	char *text; /* SETTINGS_MAX_TEXT_BYTES and a NUL */
	size_t length;
};

/* ---- what a reader sends ---- */

struct reload *reload_new(struct event_base *base, const struct options *current,
	void (*taken)(void *context, const struct options *fresh), void *context)
{
	struct reload *reload = mem_calloc(1, sizeof(*reload));

	*reload = (struct reload){
		.base = base,
		.current = current,
		.taken = taken,
		.context = context,
		.text = mem_calloc(1, SETTINGS_MAX_TEXT_BYTES + 1),
	};
	return reload;
}

static void stop(struct reload *reload)
{
	if (!reload->readable)
		return;
	event_free(reload->readable);
	reload->readable = NULL;
	close(reload->fd);
}

void reload_drop(struct options **own)
{
	if (*own)
		options_fini(*own);
	free(*own);
	*own = NULL;
}

void reload_free(struct reload *reload)
{
	if (!reload)
		return;
	stop(reload);
	reload_drop(&reload->own);
	free(reload->text);
	free(reload);
}

static void take(struct reload *reload)
{
	struct options *fresh = mem_calloc(1, sizeof(*fresh));

	if (reload_merge(fresh, reload->current, reload->text) <= 0) {
		free(fresh);
		return;
	}
	reload_drop(&reload->own);
	reload->current = reload->own = fresh;
	log_init("supervisor", fresh->log_format, fresh->verbosity);
	reload->taken(reload->context, fresh);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct reload *reload = context;
	size_t room = SETTINGS_MAX_TEXT_BYTES - reload->length;
	ssize_t got = read(fd, reload->text + reload->length, room);

	(void)what;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0 && (size_t)got < room) {
		reload->length += (size_t)got;
		return;
	}
	stop(reload);
	reload->text[reload->length] = '\0';
	/* A reader that found errors has said so and sends nothing. */
	if (got == 0 && config_text_is_whole(reload->text))
		take(reload);
	else
		log_error("the changed configuration is not taken: the last good one stays in force");
}

void reload_start(struct reload *reload, int fd)
{
	stop(reload);
	reload->fd = fd;
	reload->length = 0;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	reload->readable = event_new(reload->base, fd, EV_READ | EV_PERSIST, on_readable, reload);
	event_add(reload->readable, NULL);
}

/* ---- merging ---- */

static bool same(const struct options *a, const struct options *b, const struct config_field *field)
{
	const char *in_a = settings_get(&a->effective, field->flag);
	const char *in_b = settings_get(&b->effective, field->flag);

	if (field->marks & CONFIG_REPEATED)
		return settings_agree(&a->effective, &b->effective, field->flag);
	in_a = in_a ? in_a : field->standard;
	in_b = in_b ? in_b : field->standard;
	return in_a && in_b ? strcmp(in_a, in_b) == 0 : in_a == in_b;
}

/* Appends "--flag" to a list in fresh memory. */
static void list_flag(char **list, const char *flag)
{
	char *longer = mem_printf("%s%s--%s", *list, **list ? " " : "", flag);

	free(*list);
	*list = longer;
}

/* Calls options_configure() with what it complains about in the log. */
static int configure(struct options *out, const struct options *current, const struct settings *file)
{
	char *message = NULL;
	size_t bytes;
	FILE *err = open_memstream(&message, &bytes);
	int rc;

	if (!err)
		return -ENOMEM;
	rc = options_configure(out, current, file, err);
	fclose(err);
	if (rc < 0) {
		message[strcspn(message, "\n")] = '\0';
		log_error("the changed configuration is not taken: the last good one stays in force",
			log_str("error", message));
	}
	free(message);
	return rc;
}

/* Puts back into file what takes a new start and differs; lists what does, and what is taken up. */
static void keep_fixed(struct settings *file, const struct options *whole, const struct options *current,
	char **fixed, char **taken)
{
	for (const struct config_kind *kind = config_kinds; kind->kind; kind++) {
		for (const struct config_field *field = kind->fields; field->path; field++) {
			if (!field->flag || same(whole, current, field))
				continue;
			list_flag(field->marks & CONFIG_LIVE ? taken : fixed, field->flag);
			if (field->marks & CONFIG_LIVE)
				continue;
			settings_remove(file, field->flag);
			settings_copy_named(file, &current->file, field->flag);
		}
	}
}

static int merge(struct options *out, const struct options *current, struct settings *file)
{
	char *fixed = mem_strdup(""), *taken = mem_strdup("");
	struct options whole;
	int rc = configure(&whole, current, file);

	if (rc == 0) {
		keep_fixed(file, &whole, current, &fixed, &taken);
		options_fini(&whole);
		if (*fixed)
			log_each(LOG_LEVEL_WARNING,
				"the changed configuration needs a new start for some of it",
				log_str("flags", fixed));
		rc = configure(out, current, file);
	}
	if (rc == 0)
		log_info("the changed configuration is taken up", log_str("flags", taken));
	if (rc == 0 && !*taken)
		options_fini(out);
	else if (rc == 0)
		rc = 1;
	free(fixed);
	free(taken);
	return rc;
}

int reload_merge(struct options *out, const struct options *current, const char *text)
{
	struct settings file;
	int rc = settings_from_text(&file, text);

	if (rc < 0) {
		log_error("the configuration's reader sent nonsense");
		return rc;
	}
	rc = merge(out, current, &file);
	settings_fini(&file);
	return rc;
}

int reload_replace(struct options **own, const struct options *base, const char *text)
{
	struct options *fresh = mem_calloc(1, sizeof(*fresh));
	struct settings file;
	int rc = settings_from_text(&file, text);

	if (rc == 0)
		rc = configure(fresh, base, &file);
	settings_fini(&file);
	if (rc < 0) {
		free(fresh);
		return rc;
	}
	reload_drop(own);
	*own = fresh;
	return 0;
}
