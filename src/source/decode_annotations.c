/* Decodes portald.io/ annotations. They are extensions that no API server checks, so what is wrong with one
 * is a warning, and the object is used as if it had none. Runs in control, in `portald plan` and in the
 * fuzzers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/decode.h"
#include "source/names.h"

#define PREFIX "portald.io/"
#define WEIGHT "weight"

#define DURATION_MAX_MS INT32_MAX
#define COUNT_MAX 1000000

/* How far a mistyped name may be from what is taken for the meant one. */
#define SUGGESTION_DISTANCE 2

/* ---- values: each parser returns 0 or -EINVAL ---- */

/* Milliseconds of a unit; of units below one, the part in 1/1,000,000. */
static const struct {
	const char *name;
	uint64_t nanoseconds;
} units[] = {
	{"ns", 1},
	{"us", 1000},
	{"\xc2\xb5s", 1000}, /* micro sign */
	{"ms", 1000000},
	{"s", 1000000000},
	{"m", 60000000000},
	{"h", 3600000000000},
};

/* The unit that text begins with, by its longest name; NULL if none. */
static uint64_t read_unit(const char **text)
{
	size_t length = strcspn(*text, "0123456789.");

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strlen(units[i].name) == length && memcmp(*text, units[i].name, length) == 0) {
			*text += length;
			return units[i].nanoseconds;
		}
	}
	return 0;
}

/* Digits as a number, saturating far above all that is used. */
static uint64_t read_digits(const char **text, size_t *count)
{
	uint64_t number = 0;

	for (*count = 0; **text >= '0' && **text <= '9'; (*text)++, (*count)++) {
		if (number < UINT32_MAX)
			number = number * 10 + (uint64_t)(**text - '0');
	}
	return number;
}

/* One number and unit, such as "1.5s", in nanoseconds; -EINVAL if it is none. */
static int read_part(const char **text, uint64_t *nanoseconds)
{
	size_t whole_count, fraction_count = 0;
	uint64_t whole = read_digits(text, &whole_count), fraction = 0, scale = 1, unit;

	if (**text == '.') {
		(*text)++;
		for (; **text >= '0' && **text <= '9'; (*text)++, fraction_count++) {
			/* More digits than nanoseconds of an hour have change nothing. */
			if (scale < 1000000) {
				fraction = fraction * 10 + (uint64_t)(**text - '0');
				scale *= 10;
			}
		}
	}
	unit = read_unit(text);
	if (whole_count + fraction_count == 0 || unit == 0)
		return -EINVAL;
	if (whole > (uint64_t)DURATION_MAX_MS * 1000000 / unit)
		return -ERANGE;
	*nanoseconds = whole * unit + fraction * unit / scale;
	return 0;
}

int decode_duration(const char *text, uint32_t *ms)
{
	uint64_t total = 0, part;

	do {
		if (read_part(&text, &part) < 0)
			return -EINVAL;
		total += part;
		if (total / 1000000 > DURATION_MAX_MS)
			return -EINVAL;
	} while (*text);
	if (total < 1000000)
		return -EINVAL;
	*ms = (uint32_t)(total / 1000000);
	return 0;
}

static int read_count(const char *text, uint32_t max, uint32_t *count)
{
	const char *end = text;
	size_t digits;
	uint64_t number = read_digits(&end, &digits);

	if (digits == 0 || *end || number > max)
		return -EINVAL;
	*count = (uint32_t)number;
	return 0;
}

static int set_scheduler(struct service_options *options, const char *text)
{
	if (scheduler_parse(&options->scheduler, text) < 0)
		return -EINVAL;
	options->scheduler_set = true;
	return 0;
}

static int set_proxy_protocol(struct service_options *options, const char *text)
{
	if (strcmp(text, "v1") != 0 && strcmp(text, "v2") != 0)
		return -EINVAL;
	options->proxy_protocol = text[1] == '1' ? 1 : 2;
	return 0;
}

static int set_connect_timeout(struct service_options *options, const char *text)
{
	return decode_duration(text, &options->connect_timeout_ms);
}

static int set_idle_timeout(struct service_options *options, const char *text)
{
	return decode_duration(text, &options->idle_timeout_ms);
}

static int set_max_connections(struct service_options *options, const char *text)
{
	uint32_t count;

	if (read_count(text, COUNT_MAX, &count) < 0 || count == 0)
		return -EINVAL;
	options->max_connections = count;
	return 0;
}

static int set_queue_length(struct service_options *options, const char *text)
{
	return read_count(text, COUNT_MAX, &options->queue_length);
}

static int set_queue_timeout(struct service_options *options, const char *text)
{
	return decode_duration(text, &options->queue_timeout_ms);
}

static int set_removal(struct service_options *options, const char *text)
{
	static const char drain[] = "drain:";
	uint32_t drain_ms;

	if (strcmp(text, "keep") == 0) {
		options->removal = SERVICE_REMOVAL_KEEP;
	} else if (strcmp(text, "reset") == 0) {
		options->removal = SERVICE_REMOVAL_RESET;
	} else if (strncmp(text, drain, strlen(drain)) == 0 &&
		   decode_duration(text + strlen(drain), &drain_ms) == 0) {
		options->removal = SERVICE_REMOVAL_DRAIN;
		options->drain_ms = drain_ms;
	} else {
		return -EINVAL;
	}
	return 0;
}

static int set_udp_timeout(struct service_options *options, const char *text)
{
	return decode_duration(text, &options->udp_idle_ms);
}

static int set_udp_first_timeout(struct service_options *options, const char *text)
{
	return decode_duration(text, &options->udp_first_ms);
}

/* ---- names ---- */

static const char duration_rule[] = "must be a duration such as 250ms, 30s or 1m30s, of at least 1ms";

static const struct annotation {
	const char *name; /* after the prefix */
	int (*set)(struct service_options *options, const char *text);
	const char *rule;
} annotations[] = {
	{"scheduler", set_scheduler, "must be rr, lc, dh, sh, sed or nq (also wrr, wlc)"},
	{"proxy-protocol", set_proxy_protocol, "must be v1 or v2"},
	{"connect-timeout", set_connect_timeout, duration_rule},
	{"idle-timeout", set_idle_timeout, duration_rule},
	{"max-connections", set_max_connections, "must be a number from 1 to 1000000"},
	{"queue-length", set_queue_length, "must be a number from 0 to 1000000"},
	{"queue-timeout", set_queue_timeout, duration_rule},
	{"on-endpoint-removal", set_removal,
		"must be keep, reset, or drain and a duration, such as drain:30s"},
	{"udp-timeout", set_udp_timeout, duration_rule},
	{"udp-first-timeout", set_udp_first_timeout, duration_rule},
};
#define ANNOTATION_COUNT (sizeof(annotations) / sizeof(annotations[0]))

static const struct annotation *find_annotation(const char *name)
{
	for (size_t i = 0; i < ANNOTATION_COUNT; i++) {
		if (strcmp(annotations[i].name, name) == 0)
			return &annotations[i];
	}
	return NULL;
}

static void warn_value(struct scope *scope, const struct doc_node *node, const char *rule)
{
	char *quoted = finding_quote(node->text);

	scope_report(scope, SOURCE_WARNING, node, "Invalid value: %s: %s; the default is used", quoted, rule);
	free(quoted);
}

static const char *nearest_name(const char *name)
{
	for (size_t i = 0; i < ANNOTATION_COUNT; i++) {
		if (names_distance(name, annotations[i].name) <= SUGGESTION_DISTANCE)
			return annotations[i].name;
	}
	return NULL;
}

static char *known_names(void)
{
	char *list = mem_strdup("");

	for (size_t i = 0; i < ANNOTATION_COUNT; i++) {
		char *longer = mem_printf("%s%s%s", list, i ? ", " : "", annotations[i].name);

		free(list);
		list = longer;
	}
	return list;
}

static void warn_service_name(struct scope *scope, const struct doc_pair *pair)
{
	struct place place = {scope->file, pair->line, pair->column};
	const char *name = pair->key + strlen(PREFIX), *nearest = nearest_name(name);
	char *known;

	if (strcmp(name, WEIGHT) == 0) {
		scope_report_at(scope, SOURCE_WARNING, place,
			"has no effect on a Service: it belongs on a Pod or an EndpointSlice");
	} else if (nearest) {
		scope_report_at(scope, SOURCE_WARNING, place,
			"unknown annotation, did you mean \"" PREFIX "%s\"?", nearest);
	} else {
		known = known_names();
		scope_report_at(scope, SOURCE_WARNING, place,
			"unknown annotation: those of a Service are " PREFIX " and one of %s", known);
		free(known);
	}
}

static void warn_endpoint_name(struct scope *scope, const struct doc_pair *pair)
{
	struct place place = {scope->file, pair->line, pair->column};

	if (find_annotation(pair->key + strlen(PREFIX)))
		scope_report_at(scope, SOURCE_WARNING, place, "has no effect here: it belongs on a Service");
	else
		scope_report_at(scope, SOURCE_WARNING, place,
			"unknown annotation: the only one here is " PREFIX WEIGHT);
}

/* ---- walking ---- */

static void read_service_pair(
	struct scope *scope, const struct doc_pair *pair, struct service_options *options)
{
	const struct annotation *annotation = find_annotation(pair->key + strlen(PREFIX));

	if (!annotation)
		warn_service_name(scope, pair);
	else if (pair->value->kind != DOC_STRING || annotation->set(options, pair->value->text) < 0)
		warn_value(scope, pair->value, annotation->rule);
}

/* What walk() reads: one of the two. */
struct wanted {
	struct service_options *options;
	uint16_t *weight;
	bool has_weight;
};

static void read_endpoint_pair(struct scope *scope, const struct doc_pair *pair, struct wanted *wanted)
{
	uint32_t number;

	if (strcmp(pair->key, PREFIX WEIGHT) != 0) {
		warn_endpoint_name(scope, pair);
	} else if (pair->value->kind != DOC_STRING ||
		   read_count(pair->value->text, SERVICE_WEIGHT_MAX, &number) < 0) {
		warn_value(scope, pair->value, "must be a number from 0 to 65535");
	} else {
		*wanted->weight = (uint16_t)number;
		wanted->has_weight = true;
	}
}

/* Calls one of the two above for each annotation of ours. */
static void walk(struct scope *scope, const struct doc_node *node, struct wanted *wanted)
{
	const struct doc_node *map = doc_get(doc_get(node, "metadata"), "annotations");
	size_t mark = scope_enter(scope, "metadata.annotations");

	for (size_t i = 0; map && map->kind == DOC_MAP && i < map->count; i++) {
		const struct doc_pair *pair = &map->pairs[i];
		size_t key_mark;

		if (strncmp(pair->key, PREFIX, strlen(PREFIX)) != 0)
			continue;
		key_mark = scope_enter_key(scope, pair->key);
		if (wanted->options)
			read_service_pair(scope, pair, wanted->options);
		else
			read_endpoint_pair(scope, pair, wanted);
		scope_leave(scope, key_mark);
	}
	scope_leave(scope, mark);
}

void decode_service_annotations(
	struct scope *scope, const struct doc_node *node, struct service_options *options)
{
	walk(scope, node, &(struct wanted){.options = options});
}

bool decode_weight(struct scope *scope, const struct doc_node *node, uint16_t *weight)
{
	struct wanted wanted = {.weight = weight};

	*weight = SERVICE_WEIGHT_DEFAULT;
	walk(scope, node, &wanted);
	return wanted.has_weight;
}
