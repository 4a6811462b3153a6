/* Owns the reading of values on the command line. Runs in the first process. */
#include "proc/value.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DURATION_MS (24 * 3600 * 1000.0)

int value_choice(const char *value, const char *const *names)
{
	for (int i = 0; names[i]; i++) {
		if (strcmp(value, names[i]) == 0)
			return i;
	}
	return -1;
}

bool value_number(const char *value, unsigned long most, unsigned long *out)
{
	char *end;

	if (*value < '0' || *value > '9')
		return false;
	*out = strtoul(value, &end, 10);
	return *end == '\0' && *out <= most;
}

bool value_next_prefix(const char **value, struct addr_prefix *out)
{
	size_t length = strcspn(*value, ",");
	char block[ADDR_TEXT_BYTES];

	if (length >= sizeof(block))
		return false;
	memcpy(block, *value, length);
	block[length] = '\0';
	*value += length + ((*value)[length] == ',');
	return addr_parse_prefix(out, block) == 0;
}

bool value_port_range(const char *value, uint16_t *first, uint16_t *last)
{
	unsigned long from, to;
	char *end;

	if (*value < '0' || *value > '9')
		return false;
	from = to = strtoul(value, &end, 10);
	if ((*end == '-' || *end == '+') && end[1] >= '0' && end[1] <= '9') {
		bool relative = *end == '+';

		to = strtoul(end + 1, &end, 10);
		to = relative ? from + to : to;
	}
	if (*end != '\0' || from > to || to > 65535 || (from == 0 && to != 0))
		return false;
	*first = (uint16_t)from;
	*last = (uint16_t)to;
	return true;
}

struct unit {
	const char *name;
	double ms;
};

/* "ms" comes before "m", which it begins with. */
static const struct unit units[] = {
	{"ns", 1e-6}, {"us", 1e-3}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};

/* The unit at the beginning of text, which is moved behind it; 0 if there is none. */
static double take_unit(const char **text)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t length = strlen(units[i].name);

		if (strncmp(*text, units[i].name, length) == 0) {
			*text += length;
			return units[i].ms;
		}
	}
	return 0;
}

/* The sum of a duration's parts; negative if it is none. */
static double read_duration_ms(const char *value)
{
	double sum_ms = 0;

	if (strcmp(value, "0") == 0)
		value = "0s";
	if (!*value)
		return -1;
	while (*value) {
		size_t length = strspn(value, "0123456789.");
		double unit_ms, number;
		char *end;

		number = strtod(value, &end);
		/* strtod also takes signs, blanks, names, powers and other bases. */
		if (length == 0 || end != value + length)
			return -1;
		value = end;
		unit_ms = take_unit(&value);
		if (unit_ms <= 0)
			return -1;
		sum_ms += number * unit_ms;
	}
	return sum_ms;
}

bool value_duration_ms(const char *value, uint32_t *out_ms)
{
	double sum_ms = read_duration_ms(value);

	if (sum_ms < 0 || sum_ms > MAX_DURATION_MS)
		return false;
	*out_ms = (uint32_t)sum_ms + (sum_ms > (uint32_t)sum_ms);
	return true;
}

bool value_duration_s(const char *value, uint32_t *out_s)
{
	double sum_ms = read_duration_ms(value);

	if (sum_ms < 0 || sum_ms > INT32_MAX * 1000.0)
		return false;
	*out_s = (uint32_t)(sum_ms / 1000);
	return true;
}

bool value_switch(const char *value, bool *out)
{
	static const char *const yes[] = {"true", "1", "t", "T", "True", "TRUE", NULL};
	static const char *const no[] = {"false", "0", "f", "F", "False", "FALSE", NULL};

	*out = value_choice(value, yes) >= 0;
	return *out || value_choice(value, no) >= 0;
}

bool value_integer(const char *value, long least, long most, long *out)
{
	char *end;

	if (value[*value == '-'] < '0' || value[*value == '-'] > '9')
		return false;
	*out = strtol(value, &end, 10);
	return *end == '\0' && *out >= least && *out <= most;
}
