/* Owns the flags about the host's connection tracking: kube-proxy's, by its names and with its defaults. Runs
 * in the first process, before any other exists. */
#include "proc/flags.h"

#include "proc/value.h"

static const char *set_entries(uint32_t *out, const char *value)
{
	unsigned long number;

	if (!value_number(value, INT32_MAX, &number))
		return "must be a number from 0 to 2147483647";
	*out = (uint32_t)number;
	return NULL;
}

static const char *set_seconds(uint32_t *out, const char *value)
{
	return value_duration_s(value, out) ? NULL : "must be a duration such as 30s or 24h, or 0";
}

static const char *set_max_per_core(struct options *options, const char *value)
{
	return set_entries(&options->conntrack.max_per_core, value);
}

static const char *set_min(struct options *options, const char *value)
{
	return set_entries(&options->conntrack.min, value);
}

static const char *set_tcp_established(struct options *options, const char *value)
{
	return set_seconds(&options->conntrack.tcp_established_s, value);
}

static const char *set_tcp_close_wait(struct options *options, const char *value)
{
	return set_seconds(&options->conntrack.tcp_close_wait_s, value);
}

static const char *set_tcp_be_liberal(struct options *options, const char *value)
{
	return flag_switch(&options->conntrack.tcp_be_liberal, value);
}

static const char *set_udp(struct options *options, const char *value)
{
	return set_seconds(&options->conntrack.udp_s, value);
}

static const char *set_udp_stream(struct options *options, const char *value)
{
	return set_seconds(&options->conntrack.udp_stream_s, value);
}

static const struct flag conntrack_flags[] = {
	{"conntrack-max-per-core", 0, "N", set_max_per_core,
		"entries of the table for each CPU; 0: the limit stays as it is (32768)"},
	{"conntrack-min", 0, "N", set_min, "entries of the table at least (131072)"},
	{"conntrack-tcp-timeout-established", 0, "TIME", set_tcp_established,
		"how long an idle TCP connection is known; 0: as it is (24h)"},
	{"conntrack-tcp-timeout-close-wait", 0, "TIME", set_tcp_close_wait,
		"how long one whose server has not closed yet is known; 0: as it is (1h)"},
	{"conntrack-tcp-be-liberal", 0, NULL, set_tcp_be_liberal,
		"TCP packets outside the window are not taken for invalid"},
	{"conntrack-udp-timeout", 0, "TIME", set_udp,
		"how long UDP without an answer is known; 0: as it is (0)"},
	{"conntrack-udp-timeout-stream", 0, "TIME", set_udp_stream,
		"how long UDP with answers is known; 0: as it is (0)"},
	{.name = NULL},
};

const struct flag_group flags_conntrack = {"The host's connection tracking, set at start", conntrack_flags};
