/* Owns the timer queues. Runs in every relay. */
#include "relay/timers.h"

#include <stdbool.h>
#include <stddef.h>

/* The scale has every millisecond up to 2 * STEPS, then STEPS steps for each doubling. */
#define STEPS 16

static const int32_t fixed_ms[TIMER_SCALE] = {
	[TIMER_DIAL_1] = 250,
	[TIMER_DIAL_2] = 500,
	[TIMER_DIAL_3] = 1000,
	[TIMER_DIAL_4] = 2000,
	[TIMER_FAREWELL] = 50,
	[TIMER_QUEUE] = 10,
};

int64_t timers_duration_ms(enum timer_class class)
{
	uint32_t step, shift;

	if (class < TIMER_SCALE)
		return fixed_ms[class];
	step = (uint32_t) class - TIMER_SCALE;
	if (step < 2 * STEPS)
		return step;
	shift = step / STEPS - 1;
	return (int64_t)(STEPS + step % STEPS) << shift;
}

enum timer_class timers_class(int64_t duration_ms)
{
	int64_t ms = duration_ms < 1 ? 1 : duration_ms;
	uint32_t shift = 0;

	if (ms > TIMER_MAX_MS)
		ms = TIMER_MAX_MS;
	while (ms >> shift >= 2 * STEPS)
		shift++;
	/* Rounded up; from 2 * STEPS that is the next doubling's first step, which has the next number. */
	ms = (ms + ((INT64_C(1) << shift) - 1)) >> shift;
	return (enum timer_class)(TIMER_SCALE + STEPS * shift + ms);
}

void timers_init(struct timers *timers)
{
	*timers = (struct timers){.armed = {0}};
	for (int class = 0; class < TIMER_CLASSES; class ++)
		TAILQ_INIT(&timers->queues[class]);
}

void timer_init(struct timer *timer, enum timer_owner owner)
{
	timer->class = TIMER_CLASSES;
	timer->owner = (uint8_t)owner;
}

void timer_arm(struct timers *timers, struct timer *timer, enum timer_class class, int64_t now_ms)
{
	timer_disarm(timers, timer);
	timer->class = (uint16_t) class;
	timer->at_ms = now_ms + timers_duration_ms(class);
	TAILQ_INSERT_TAIL(&timers->queues[class], timer, link);
	timers->armed[class / 64] |= UINT64_C(1) << class % 64;
}

void timer_disarm(struct timers *timers, struct timer *timer)
{
	uint16_t class = timer->class;

	if (class == TIMER_CLASSES)
		return;
	TAILQ_REMOVE(&timers->queues[class], timer, link);
	if (TAILQ_EMPTY(&timers->queues[class]))
		timers->armed[class / 64] &= ~(UINT64_C(1) << class % 64);
	timer->class = TIMER_CLASSES;
}

/* The first timer of the next queue from *class on that is not empty; or NULL. Moves *class behind it. */
static struct timer *next_first(const struct timers *timers, int *class)
{
	while (*class < TIMER_CLASSES) {
		uint64_t rest = timers->armed[*class / 64] >> *class % 64;

		if (rest) {
			*class += __builtin_ctzll(rest) + 1;
			return TAILQ_FIRST(&timers->queues[*class - 1]);
		}
		*class = (*class / 64 + 1) * 64;
	}
	return NULL;
}

struct timer *timers_expired(struct timers *timers, int64_t now_ms)
{
	struct timer *first;

	for (int class = 0; (first = next_first(timers, &class)) != NULL;) {
		if (first->at_ms <= now_ms) {
			timer_disarm(timers, first);
			return first;
		}
	}
	return NULL;
}

int64_t timers_next_ms(const struct timers *timers)
{
	int64_t next_ms = INT64_MAX;
	const struct timer *first;

	for (int class = 0; (first = next_first(timers, &class)) != NULL;) {
		if (first->at_ms < next_ms)
			next_ms = first->at_ms;
	}
	return next_ms;
}
