/* When the next pass may begin: at most so often, later after failures. Pure: time is a parameter. */
#ifndef STEERING_PACE_H
#define STEERING_PACE_H

#include <stdint.h>

struct pace {
	int64_t period_ms;     /* between two passes in the long run; two in a row may begin at once */
	int64_t credit_ms;     /* when all that the passes so far have used up is there again */
	int64_t resume_ms;     /* after a failure: not before */
	int64_t next_pause_ms; /* after the next failure */
};

void pace_init(struct pace *pace, int64_t period_ms);

/* Another period; what was used up under the last one is forgotten. */
void pace_set_period(struct pace *pace, int64_t period_ms);

/* How long to wait from now on, in ms; 0: begin. */
int64_t pace_delay_ms(const struct pace *pace, int64_t now_ms);

/* A pass begins. */
void pace_begin(struct pace *pace, int64_t now_ms);

/* It has failed, or succeeded: the pause after a failure doubles from 1 s to 30 s. */
void pace_failed(struct pace *pace, int64_t now_ms);
/* It has waited for somebody else in vain: that was a pause already, and only a short one follows. */
void pace_was_kept_waiting(struct pace *pace, int64_t now_ms);
void pace_succeeded(struct pace *pace);

#endif
