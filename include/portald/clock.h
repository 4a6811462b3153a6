/* The clocks. Functions that decide by time take now_ms as a parameter; only loops read it. */
#ifndef PORTALD_CLOCK_H
#define PORTALD_CLOCK_H

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC: the same in every process of the machine. */
int64_t clock_now_ms(void);

/* Microseconds of CLOCK_MONOTONIC. */
int64_t clock_now_us(void);

/* Microseconds since 1970: for people and other machines, never to measure by. */
int64_t clock_wall_us(void);

#endif
