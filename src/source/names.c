/* Kubernetes' rules for names. Pure. */
#include "source/names.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define LABEL_MAX_BYTES 63
#define SUBDOMAIN_MAX_BYTES 253
#define DISTANCE_MAX_BYTES 64

/* The C locale's letters, whatever the process's locale is. */
static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower_alnum(char c)
{
	return is_lower(c) || is_digit(c);
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool is_label(const char *text, size_t length)
{
	if (length == 0 || length > LABEL_MAX_BYTES)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!is_lower_alnum(text[i]) && (text[i] != '-' || i == 0 || i == length - 1))
			return false;
	}
	return true;
}

const char *names_dns1123_label(const char *text)
{
	if (is_label(text, strlen(text)))
		return NULL;
	return "must be a DNS-1123 label: lower case letters, digits and '-', beginning and ending with a "
	       "letter or digit, at most 63 characters";
}

const char *names_dns1035_label(const char *text)
{
	if (is_label(text, strlen(text)) && is_lower(text[0]))
		return NULL;
	return "must be a DNS-1035 label: lower case letters, digits and '-', beginning with a letter, "
	       "ending "
	       "with a letter or digit, at most 63 characters";
}

const char *names_dns1123_subdomain(const char *text)
{
	size_t length = strlen(text);
	bool ok = length > 0 && length <= SUBDOMAIN_MAX_BYTES;

	for (size_t i = 0; ok && i < length; i++) {
		bool inner = i > 0 && i < length - 1;
		/* Beside a dot nothing but a letter or digit may stand. */
		bool beside_dot = inner && (text[i - 1] == '.' || text[i + 1] == '.');

		ok = is_lower_alnum(text[i]) || (inner && (text[i] == '-' || text[i] == '.') && !beside_dot);
	}
	if (ok)
		return NULL;
	return "must be a DNS-1123 subdomain: lower case letters, digits, '-' and '.', beginning and ending "
	       "with a letter or digit, at most 253 characters";
}

const char *names_iana_service(const char *text)
{
	size_t length = strlen(text);
	bool ok = length > 0 && length <= 15, has_letter = false;

	for (size_t i = 0; ok && i < length; i++) {
		has_letter = has_letter || is_lower(text[i]);
		ok = is_lower_alnum(text[i]) ||
		     (text[i] == '-' && i > 0 && i < length - 1 && text[i - 1] != '-');
	}
	if (ok && has_letter)
		return NULL;
	return "a port's name must have at most 15 lower case letters, digits and single inner '-', and at "
	       "least one letter";
}

/* ([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9] */
static bool is_qualified_part(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length > LABEL_MAX_BYTES || !is_alnum(text[0]) || !is_alnum(text[length - 1]))
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!is_alnum(text[i]) && !strchr("-_.", text[i]))
			return false;
	}
	return true;
}

const char *names_label_key(const char *text)
{
	const char *slash = strchr(text, '/');
	char prefix[SUBDOMAIN_MAX_BYTES + 1];
	bool ok = is_qualified_part(slash ? slash + 1 : text);

	if (ok && slash) {
		size_t length = (size_t)(slash - text);

		ok = length > 0 && length <= SUBDOMAIN_MAX_BYTES;
		if (ok) {
			memcpy(prefix, text, length);
			prefix[length] = '\0';
			ok = names_dns1123_subdomain(prefix) == NULL;
		}
	}
	if (ok)
		return NULL;
	return "must be a qualified name: letters, digits, '-', '_' and '.', beginning and ending with a "
	       "letter "
	       "or digit, at most 63 characters, after an optional DNS subdomain and '/'";
}

const char *names_label_value(const char *text)
{
	if (!*text || is_qualified_part(text))
		return NULL;
	return "a label's value must be empty or letters, digits, '-', '_' and '.', beginning and ending "
	       "with a "
	       "letter or digit, at most 63 characters";
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

size_t names_distance(const char *a, const char *b)
{
	size_t row[DISTANCE_MAX_BYTES], length = strnlen(b, DISTANCE_MAX_BYTES);

	if (length >= DISTANCE_MAX_BYTES || strnlen(a, DISTANCE_MAX_BYTES) >= DISTANCE_MAX_BYTES)
		return DISTANCE_MAX_BYTES;
	for (size_t j = 0; j <= length; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < length; j++) {
			bool same = tolower((unsigned char)a[i]) == tolower((unsigned char)b[j]);
			size_t above = row[j + 1];

			row[j + 1] = min3(diagonal + !same, above + 1, row[j] + 1);
			diagonal = above;
		}
	}
	return row[length];
}
