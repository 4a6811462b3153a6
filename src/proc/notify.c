/* Owns what the service manager is told, and when. Runs in the supervisor, on its event loop.
 *
 * A message says all there is to say, so that one which finds the manager's socket full is made up for by the
 * next, which is tried soon. */
#include "proc/notify.h"

#include <errno.h>
#include <event2/event.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portald/log.h"
#include "portald/mem.h"

#define STATUS_BYTES 256
#define RETRY_US 200000

struct notify {
	struct notify_target target;
	struct event *watchdog, *retry;
	bool (*is_well)(void *context);
	void *context;
	bool ready, stopping;
	bool unwell; /* said so in the log */
	char status[STATUS_BYTES];
};

/* ---- the environment ---- */

static int parse_socket(const char *name, struct notify_target *target)
{
	size_t length = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || length < 2 || length >= sizeof(target->socket.sun_path))
		return -EINVAL;
	target->socket.sun_family = AF_UNIX;
	memcpy(target->socket.sun_path, name, length);
	/* '@' stands for the NUL of the abstract namespace. */
	if (name[0] == '@')
		target->socket.sun_path[0] = '\0';
	target->socket_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return 0;
}

static int parse_number(const char *text, unsigned long long *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return text[0] < '0' || text[0] > '9' || *end || errno ? -EINVAL : 0;
}

static int parse_watchdog(const char *period, const char *pid, struct notify_target *target)
{
	unsigned long long number;

	if (pid && parse_number(pid, &number) < 0)
		return -EINVAL;
	/* Meant for another process, whose environment this one has inherited. */
	if (pid && number != (unsigned long long)getpid())
		return 0;
	if (parse_number(period, &number) < 0 || number == 0)
		return -EINVAL;
	target->watchdog_us = number;
	return 0;
}

int notify_target_take(struct notify_target *target)
{
	const char *name = getenv("NOTIFY_SOCKET"), *period = getenv("WATCHDOG_USEC");
	int rc = 0;

	*target = (struct notify_target){.socket_bytes = 0};
	if (name && *name)
		rc = parse_socket(name, target);
	if (rc == 0 && target->socket_bytes > 0 && period)
		rc = parse_watchdog(period, getenv("WATCHDOG_PID"), target);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	if (rc < 0)
		*target = (struct notify_target){.socket_bytes = 0};
	return rc;
}

void notify_target_give(const struct notify_target *target)
{
	size_t length = target->socket_bytes - offsetof(struct sockaddr_un, sun_path);
	char name[sizeof(target->socket.sun_path) + 1], period[24];

	if (target->socket_bytes == 0)
		return;
	memcpy(name, target->socket.sun_path, length);
	name[length] = '\0';
	if (name[0] == '\0')
		name[0] = '@';
	setenv("NOTIFY_SOCKET", name, 1);
	if (target->watchdog_us == 0)
		return;
	snprintf(period, sizeof(period), "%llu", (unsigned long long)target->watchdog_us);
	setenv("WATCHDOG_USEC", period, 1);
}

/* ---- messages ---- */

static int send_text(const struct notify *notify, const char *text)
{
	const struct sockaddr *to = (const struct sockaddr *)&notify->target.socket;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc = 0;

	if (fd < 0)
		return -errno;
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, to, notify->target.socket_bytes) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static void tell(struct notify *notify, bool alive)
{
	struct timeval soon = {.tv_usec = RETRY_US};
	char text[STATUS_BYTES + 64];
	int rc;

	if (notify->target.socket_bytes == 0)
		return;
	snprintf(text, sizeof(text), "%s%s%sSTATUS=%s\n", notify->ready ? "READY=1\n" : "",
		notify->stopping ? "STOPPING=1\n" : "", alive ? "WATCHDOG=1\n" : "", notify->status);
	rc = send_text(notify, text);
	if (rc == 0)
		return;
	log_warning("cannot tell the service manager", log_errno("error", -rc));
	event_add(notify->retry, &soon);
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	tell(context, false);
}

static void on_watchdog(evutil_socket_t fd, short what, void *context)
{
	struct notify *notify = context;
	bool well = notify->is_well(notify->context);

	(void)fd;
	(void)what;
	if (!well && !notify->unwell)
		log_error("a part of the daemon does not work: no sign of life for the service manager");
	notify->unwell = !well;
	if (well)
		tell(notify, true);
}

/* Twice in the time that the manager allows, as sd_watchdog_enabled(3) recommends. */
static void start_watchdog(struct notify *notify, struct event_base *base)
{
	uint64_t period_us = notify->target.watchdog_us / 2;
	struct timeval period = {
		.tv_sec = (time_t)(period_us / 1000000),
		.tv_usec = (suseconds_t)(period_us % 1000000),
	};

	notify->watchdog = event_new(base, -1, EV_PERSIST, on_watchdog, notify);
	event_add(notify->watchdog, &period);
}

struct notify *notify_new(struct event_base *base, const struct notify_target *target,
	bool (*is_well)(void *context), void *context)
{
	struct notify *notify = mem_calloc(1, sizeof(*notify));

	notify->target = *target;
	notify->is_well = is_well;
	notify->context = context;
	notify->retry = event_new(base, -1, 0, on_retry, notify);
	notify_status(notify, "Starting");
	if (target->watchdog_us > 0)
		start_watchdog(notify, base);
	return notify;
}

void notify_free(struct notify *notify)
{
	if (!notify)
		return;
	event_free(notify->retry);
	if (notify->watchdog)
		event_free(notify->watchdog);
	free(notify);
}

static void set_status(struct notify *notify, const char *status)
{
	snprintf(notify->status, sizeof(notify->status), "%s", status);
	/* It is one line: what follows would be taken for another message. */
	notify->status[strcspn(notify->status, "\r\n")] = '\0';
}

void notify_status(struct notify *notify, const char *status)
{
	if (notify->stopping)
		return;
	set_status(notify, status);
	tell(notify, false);
}

void notify_ready(struct notify *notify, const char *status)
{
	notify->ready = !notify->stopping;
	notify_status(notify, status);
}

void notify_main_pid(struct notify *notify, pid_t pid)
{
	char text[32];
	int rc = 0;

	snprintf(text, sizeof(text), "MAINPID=%d\n", (int)pid);
	if (notify->target.socket_bytes > 0)
		rc = send_text(notify, text);
	if (rc < 0)
		log_error("cannot tell the service manager of the new main process", log_errno("error", -rc));
	notify->target.socket_bytes = 0;
	event_del(notify->retry);
	if (notify->watchdog)
		event_del(notify->watchdog);
}

void notify_stopping(struct notify *notify)
{
	if (notify->stopping)
		return;
	set_status(notify, "Stopping");
	notify->ready = false;
	notify->stopping = true;
	tell(notify, false);
	if (notify->watchdog)
		event_del(notify->watchdog);
}
