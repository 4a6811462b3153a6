/* Owns the timer queues. Runs in every relay. */
#include "relay/timers.h"

#include <stddef.h>

static const int32_t durations_ms[TIMER_CLASSES] = {
	[TIMER_DIAL_1] = 250,
	[TIMER_DIAL_2] = 500,
	[TIMER_DIAL_3] = 1000,
	[TIMER_DIAL_4] = 2000,
	[TIMER_FAREWELL] = 50,
};

int32_t timers_duration_ms(enum timer_class class)
{
	return durations_ms[class];
}

void timers_init(struct timers *timers)
{
	for (enum timer_class class = 0; class < TIMER_CLASSES; class ++)
		TAILQ_INIT(&timers->queues[class]);
}

void timer_init(struct timer *timer)
{
	timer->class = TIMER_CLASSES;
}

void timer_arm(struct timers *timers, struct timer *timer, enum timer_class class, int64_t now_ms)
{
	timer_disarm(timers, timer);
	timer->class = class;
	timer->at_ms = now_ms + durations_ms[class];
	TAILQ_INSERT_TAIL(&timers->queues[class], timer, link);
}

void timer_disarm(struct timers *timers, struct timer *timer)
{
	if (timer->class == TIMER_CLASSES)
		return;
	TAILQ_REMOVE(&timers->queues[timer->class], timer, link);
	timer->class = TIMER_CLASSES;
}

struct timer *timers_expired(struct timers *timers, int64_t now_ms)
{
	for (enum timer_class class = 0; class < TIMER_CLASSES; class ++) {
		struct timer *first = TAILQ_FIRST(&timers->queues[class]);

		if (first && first->at_ms <= now_ms) {
			timer_disarm(timers, first);
			return first;
		}
	}
	return NULL;
}

int64_t timers_next_ms(const struct timers *timers)
{
	int64_t next_ms = INT64_MAX;

	for (enum timer_class class = 0; class < TIMER_CLASSES; class ++) {
		const struct timer *first = TAILQ_FIRST(&timers->queues[class]);

		if (first && first->at_ms < next_ms)
			next_ms = first->at_ms;
	}
	return next_ms;
}
