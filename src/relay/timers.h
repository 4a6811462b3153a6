/* Timers in FIFO queues, one for each duration, in which the first is always the next to expire. Arming and
 * disarming take constant time and no memory. */
#ifndef RELAY_TIMERS_H
#define RELAY_TIMERS_H

#include <stdint.h>
#include <sys/queue.h>

/* Durations. Besides a few fixed ones there is a scale for those that Services ask for, up to a day and
 * more; each of its steps is at most a sixteenth longer than the last, and durations are rounded up to one.
 */
enum timer_class {
	/* The attempt limits of the classic userspace proxy. */
	TIMER_DIAL_1,
	TIMER_DIAL_2,
	TIMER_DIAL_3,
	TIMER_DIAL_4,
	TIMER_FAREWELL, /* how often a reset that waits for its connection's last bytes looks again */
	TIMER_QUEUE,    /* how often clients who wait for others to end are looked at */
	TIMER_SCALE,
	TIMER_CLASSES = TIMER_SCALE + 465
};

#define TIMER_MAX_MS ((int64_t)UINT32_MAX)

/* What the timer is part of: its first member. */
enum timer_owner { TIMER_OF_DIAL, TIMER_OF_CONN, TIMER_OF_LISTENER };

struct timer {
	TAILQ_ENTRY(timer) link;
	int64_t at_ms;
	uint16_t class; /* TIMER_CLASSES: not armed */
	uint8_t owner;
};

TAILQ_HEAD(timer_queue, timer);

#define TIMER_WORDS ((TIMER_CLASSES + 63) / 64)

struct timers {
	struct timer_queue queues[TIMER_CLASSES];
	uint64_t armed[TIMER_WORDS]; /* which queues are not empty */
};

void timers_init(struct timers *timers);
int64_t timers_duration_ms(enum timer_class class);

/* The class for a duration (at least 1 ms, at most TIMER_MAX_MS, else it is taken for that). */
enum timer_class timers_class(int64_t duration_ms);

/* A fresh timer, not armed. */
void timer_init(struct timer *timer, enum timer_owner owner);

/* Time must not run backwards from one call to the next. */
void timer_arm(struct timers *timers, struct timer *timer, enum timer_class class, int64_t now_ms);
void timer_disarm(struct timers *timers, struct timer *timer); /* not armed is fine */

/* Takes out one timer that has expired, or returns NULL. */
struct timer *timers_expired(struct timers *timers, int64_t now_ms);

/* When the next one expires; INT64_MAX if none is armed. */
int64_t timers_next_ms(const struct timers *timers);

#endif
