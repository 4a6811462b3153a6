/* Owns the frequency of passes. Runs in the supervisor. */
#include "steering/pace.h"

#define FIRST_PAUSE_MS 1000
#define LONGEST_PAUSE_MS 30000

void pace_init(struct pace *pace, int64_t period_ms)
{
	*pace = (struct pace){.period_ms = period_ms, .next_pause_ms = FIRST_PAUSE_MS};
}

void pace_set_period(struct pace *pace, int64_t period_ms)
{
	pace->period_ms = period_ms;
	pace->credit_ms = 0;
}

int64_t pace_delay_ms(const struct pace *pace, int64_t now_ms)
{
	/* One pass may begin ahead of its time: whoever writes the manifests of a Service one after the other
	 * need not wait for the second. */
	int64_t from_ms = pace->credit_ms - pace->period_ms;

	if (from_ms < pace->resume_ms)
		from_ms = pace->resume_ms;
	return from_ms > now_ms ? from_ms - now_ms : 0;
}

void pace_begin(struct pace *pace, int64_t now_ms)
{
	if (pace->credit_ms < now_ms)
		pace->credit_ms = now_ms;
	pace->credit_ms += pace->period_ms;
}

void pace_failed(struct pace *pace, int64_t now_ms)
{
	pace->resume_ms = now_ms + pace->next_pause_ms;
	pace->next_pause_ms *= 2;
	if (pace->next_pause_ms > LONGEST_PAUSE_MS)
		pace->next_pause_ms = LONGEST_PAUSE_MS;
}

void pace_was_kept_waiting(struct pace *pace, int64_t now_ms)
{
	pace->resume_ms = now_ms + FIRST_PAUSE_MS;
}

void pace_succeeded(struct pace *pace)
{
	pace->resume_ms = 0;
	pace->next_pause_ms = FIRST_PAUSE_MS;
}
