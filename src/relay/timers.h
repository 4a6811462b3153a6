/* Timers with a few fixed durations: a FIFO queue for each, in which the first is always the next to
 * expire. Arming and disarming take constant time and no memory. */
#ifndef RELAY_TIMERS_H
#define RELAY_TIMERS_H

#include <stdint.h>
#include <sys/queue.h>

/* The attempt limits of the classic userspace proxy, and how often a reset that waits for its
 * connection's last bytes looks again. */
enum timer_class { TIMER_DIAL_1, TIMER_DIAL_2, TIMER_DIAL_3, TIMER_DIAL_4, TIMER_FAREWELL, TIMER_CLASSES };

struct timer {
	TAILQ_ENTRY(timer) link;
	int64_t at_ms;
	enum timer_class class; /* TIMER_CLASSES: not armed */
};

TAILQ_HEAD(timer_queue, timer);

struct timers {
	struct timer_queue queues[TIMER_CLASSES];
};

void timers_init(struct timers *timers);
int32_t timers_duration_ms(enum timer_class class);

/* A fresh timer, not armed. */
void timer_init(struct timer *timer);

/* Time must not run backwards from one call to the next. */
void timer_arm(struct timers *timers, struct timer *timer, enum timer_class class, int64_t now_ms);
void timer_disarm(struct timers *timers, struct timer *timer); /* not armed is fine */

/* Takes out one timer that has expired, or returns NULL. */
struct timer *timers_expired(struct timers *timers, int64_t now_ms);

/* When the next one expires; INT64_MAX if none is armed. */
int64_t timers_next_ms(const struct timers *timers);

#endif
