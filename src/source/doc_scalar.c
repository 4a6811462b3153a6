/* What a plain YAML scalar means: YAML 1.1's core types in the forms that kubectl's reader knows. Pure. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "source/doc.h"

/* Longer ones are no numbers that fit 64 bits. */
#define NUMBER_MAX_BYTES 72

/* Asked of every scalar, and nearly always the first letter tells. */
static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++) {
		if (**words == *text && strcmp(text, *words) == 0)
			return true;
	}
	return false;
}

static const char *const null_words[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const true_words[] = {
	"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", NULL};
static const char *const false_words[] = {
	"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", NULL};
static const char *const float_words[] = {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf",
	"-.INF", ".nan", ".NaN", ".NAN", NULL};

/* Copies text without its underscores, which YAML 1.1 allows between digits. */
static bool copy_digits(const char *text, char *digits)
{
	size_t length = 0;

	for (; *text; text++) {
		if (*text == '_')
			continue;
		if (length + 1 >= NUMBER_MAX_BYTES)
			return false;
		digits[length++] = *text;
	}
	digits[length] = '\0';
	return length > 0;
}

static int digits_base(const char **digits)
{
	const char *text = *digits;

	if (text[0] != '0' || text[1] == '\0')
		return 10;
	*digits += 2;
	switch (text[1]) {
	case 'x':
	case 'X':
		return 16;
	case 'o':
	case 'O':
		return 8;
	case 'b':
	case 'B':
		return 2;
	default:
		*digits -= 1;
		return 8;
	}
}

static bool parse_int(const char *text, int64_t *number)
{
	const char *digits = text + (*text == '+' || *text == '-');
	int base = digits_base(&digits);
	unsigned long long magnitude;
	char *end;

	/* strtoull takes spaces and a second sign, which are no part of a number here. */
	if (!strchr("0123456789abcdefABCDEF", *digits) || !*digits)
		return false;
	errno = 0;
	magnitude = strtoull(digits, &end, base);
	/* In base 16 a second "0x" passes, too. */
	if (errno || *end || strpbrk(digits, "xX") || magnitude > INT64_MAX)
		return false;
	*number = *text == '-' ? -(int64_t)magnitude : (int64_t)magnitude;
	return true;
}

/* [-+]?[0-9]*\.?[0-9]*([eE][-+]?[0-9]+)? with at least one digit in front of the exponent. */
static bool is_float(const char *text)
{
	size_t whole, fraction = 0;

	text += *text == '+' || *text == '-';
	whole = strspn(text, "0123456789");
	text += whole;
	if (*text == '.') {
		fraction = strspn(++text, "0123456789");
		text += fraction;
	}
	if (whole + fraction == 0)
		return false;
	if (*text == 'e' || *text == 'E') {
		text++;
		text += *text == '+' || *text == '-';
		if (!*text || text[strspn(text, "0123456789")] != '\0')
			return false;
		return true;
	}
	return *text == '\0';
}

enum doc_kind doc_resolve_plain(const char *text, int64_t *number)
{
	char digits[NUMBER_MAX_BYTES];
	double value;

	*number = 0;
	if (is_one_of(text, null_words))
		return DOC_NULL;
	if (is_one_of(text, true_words) || is_one_of(text, false_words)) {
		*number = is_one_of(text, true_words);
		return DOC_BOOL;
	}
	if (is_one_of(text, float_words))
		return DOC_FLOAT;
	if (!strchr("+-.0123456789", *text) || !copy_digits(text, digits))
		return DOC_STRING;
	if (parse_int(digits, number))
		return DOC_INT;
	if (!is_float(digits))
		return DOC_STRING;
	/* kubectl turns YAML into JSON on the way, where 80.0 becomes 80. */
	value = strtod(digits, NULL);
	if (!(value > -9e15 && value < 9e15) || value != (double)(int64_t)value)
		return DOC_FLOAT;
	*number = (int64_t)value;
	return DOC_INT;
}
