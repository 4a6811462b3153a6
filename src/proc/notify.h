/* Telling the service manager how the daemon is: systemd's notification protocol (sd_notify(3)), which is one
 * datagram of lines to the socket that NOTIFY_SOCKET names. It is done here rather than by libsystemd, which
 * would be the container image's largest library for the sake of one sendto(). */
#ifndef PROC_NOTIFY_H
#define PROC_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct event_base;
struct notify;

/* Whom to tell, and what it expects. */
struct notify_target {
	struct sockaddr_un socket;
	socklen_t socket_bytes; /* 0: nobody wants to know */
	uint64_t watchdog_us;   /* a sign of life is due in this time; 0: none is */
};

/* Reads the target from the environment of this process and takes it out there, so that no child can speak in
 * the daemon's name. Returns 0, with *target empty if there is none, or -EINVAL if what the environment says
 * makes no sense; *target is empty then. */
int notify_target_take(struct notify_target *target);

/* Puts the target back into the environment, for a program that is executed next. */
void notify_target_give(const struct notify_target *target);

/* is_well() is asked whenever a sign of life is due; while it says no, none is sent. target is copied; the
 * socket may be made later, and anew. Never NULL; says nothing to an empty target. Freed with notify_free().
 */
struct notify *notify_new(struct event_base *base, const struct notify_target *target,
	bool (*is_well)(void *context), void *context);
void notify_free(struct notify *notify); /* NULL is fine */

/* The service is up, from the first call on, and this is how it is (one line for people). */
void notify_ready(struct notify *notify, const char *status);

/* How it is, whether up or not. */
void notify_status(struct notify *notify, const char *status);

/* The service is another process from now on, which tells how it is; this one says nothing more. */
void notify_main_pid(struct notify *notify, pid_t pid);

/* It is about to end. Nothing is sent after this. */
void notify_stopping(struct notify *notify);

#endif
