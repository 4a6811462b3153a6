/* Decodes points in time. Runs in control, in `portald plan` and in the fuzzers. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "source/decode.h"

#define TRIGGER_TIME "endpoints.kubernetes.io/last-change-trigger-time"

/* ".123456789" in milliseconds. */
static int64_t read_fraction(const char **text)
{
	int64_t ms = 0, unit = 100;

	if (**text != '.')
		return 0;
	for ((*text)++; **text >= '0' && **text <= '9'; (*text)++, unit /= 10)
		ms += unit * (**text - '0');
	return ms;
}

/* "Z" or "+01:30" in minutes east. Returns false if it is neither. */
static bool read_zone(const char *text, int64_t *minutes)
{
	struct tm zone = {.tm_hour = 0};
	const char *end;

	*minutes = 0;
	if (strcmp(text, "Z") == 0)
		return true;
	if (*text != '+' && *text != '-')
		return false;
	end = strptime(text + 1, "%H:%M", &zone);
	if (!end || *end)
		return false;
	*minutes = (zone.tm_hour * 60 + zone.tm_min) * (*text == '-' ? -1 : 1);
	return true;
}

int64_t decode_time_ms(const char *text)
{
	struct tm utc = {.tm_year = 0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
	int64_t ms, minutes;

	if (!rest)
		return 0;
	ms = (int64_t)timegm(&utc) * 1000 + read_fraction(&rest);
	return read_zone(rest, &minutes) && ms > 0 ? ms - minutes * 60000 : 0;
}

int64_t decode_trigger_ms(const struct doc_node *node)
{
	const char *text = decode_annotation(node, TRIGGER_TIME);

	return text ? decode_time_ms(text) : 0;
}
