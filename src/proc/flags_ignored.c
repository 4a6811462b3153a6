/* Owns the flags of kube-proxy that have no effect here: those of its other modes, of its log files and of
 * its API client. They are accepted, so that its command lines work, their values are checked, and the log
 * says once which were given. Runs in the first process, before any other exists. */
#include "proc/flags.h"

#include <stdlib.h>
#include <string.h>

#include "proc/value.h"

static const char *check_text(struct options *options, const char *value)
{
	(void)options;
	(void)value;
	return NULL;
}

static const char *check_switch(struct options *options, const char *value)
{
	bool given;

	(void)options;
	return flag_switch(&given, value);
}

static const char *check_integer(struct options *options, const char *value)
{
	long number;

	(void)options;
	return value_integer(value, INT32_MIN, INT32_MAX, &number) ? NULL : "must be a number";
}

static const char *check_bit(struct options *options, const char *value)
{
	long number;

	(void)options;
	return value_integer(value, 0, 31, &number) ? NULL : "must be a number from 0 to 31";
}

static const char *check_fraction(struct options *options, const char *value)
{
	char *end;

	(void)options;
	strtod(value, &end);
	return *value && *end == '\0' ? NULL : "must be a number";
}

static const char *check_duration(struct options *options, const char *value)
{
	uint32_t seconds;

	(void)options;
	return value_duration_s(value, &seconds) ? NULL : "must be a duration such as 30s or 1m30s";
}

static const char *check_blocks(struct options *options, const char *value)
{
	struct addr_prefix prefix;

	(void)options;
	while (*value) {
		if (!value_next_prefix(&value, &prefix))
			return "must be CIDR blocks such as 10.244.0.0/16,fd00:10:244::/56";
	}
	return NULL;
}

static bool is_gate(const char *text, size_t length)
{
	const char *equals = memchr(text, '=', length);
	char value[8];
	bool on;

	length = equals ? length - (size_t)(equals + 1 - text) : 0;
	if (!equals || equals == text || length >= sizeof(value))
		return false;
	memcpy(value, equals + 1, length);
	value[length] = '\0';
	return value_switch(value, &on);
}

static const char *check_gates(struct options *options, const char *value)
{
	(void)options;
	while (*value) {
		size_t length = strcspn(value, ",");

		if (!is_gate(value, length))
			return "must be NAME=true or NAME=false, separated by commas";
		value += length + (value[length] == ',');
	}
	return NULL;
}

/* By kube-proxy's names; the values in parentheses are its defaults. */
static const struct flag ignored_flags[] = {
	{"config-sync-period", 0, "TIME", check_duration, "how often all is read again (15m)"},
	{"feature-gates", 0, "NAME=BOOL,...", check_gates, "features of kube-proxy ()"},
	{"pod-bridge-interface", 0, "NAME", check_text, "the bridge of local pods ()"},
	{"pod-interface-name-prefix", 0, "PREFIX", check_text, "the interfaces of local pods ()"},
	{"iptables-localhost-nodeports", 0, NULL, check_switch, "nodePorts on loopback (true)"},
	{"iptables-masquerade-bit", 0, "N", check_bit, "the mark of what is masqueraded (14)"},
	{"masquerade-all", 0, NULL, check_switch, "masquerade all; a proxy's connections are its own"},
	{"cleanup-ipvs", 0, NULL, check_switch, "with --cleanup: IPVS's rules too (true)"},
	{"ipvs-exclude-cidrs", 0, "CIDRS", check_blocks, "what IPVS leaves alone ()"},
	{"ipvs-min-sync-period", 0, "TIME", check_duration, "between syncs of IPVS, at least (0)"},
	{"ipvs-scheduler", 0, "NAME", check_text, "the scheduler of IPVS; --scheduler is portald's ()"},
	{"ipvs-strict-arp", 0, NULL, check_switch, "strict ARP for IPVS"},
	{"ipvs-sync-period", 0, "TIME", check_duration, "between syncs of IPVS, at most (30s)"},
	{"ipvs-tcp-timeout", 0, "TIME", check_duration, "for idle TCP connections in IPVS (0)"},
	{"ipvs-tcpfin-timeout", 0, "TIME", check_duration, "for closing TCP connections in IPVS (0)"},
	{"ipvs-udp-timeout", 0, "TIME", check_duration, "for UDP in IPVS (0)"},
	{"kube-api-burst", 0, "N", check_integer, "requests to the API server at once (10)"},
	{"kube-api-content-type", 0, "TYPE", check_text,
		"what the API server shall answer in; portald reads JSON "
		"(application/vnd.kubernetes.protobuf)"},
	{"kube-api-qps", 0, "N", check_fraction, "requests to the API server in a second (5)"},
	{"add-dir-header", 0, NULL, check_switch, "directories in lines of the log"},
	{"alsologtostderr", 0, NULL, check_switch, "log to files and standard error"},
	{"log-backtrace-at", 0, "FILE:LINE", check_text, "backtraces in the log (:0)"},
	{"log-dir", 0, "DIRECTORY", check_text, "the directory of log files ()"},
	{"log-file", 0, "FILE", check_text, "the log file ()"},
	{"log-file-max-size", 0, "MEGABYTES", check_integer, "the size of a log file, at most (1800)"},
	{"log-flush-frequency", 0, "TIME", check_duration, "between flushes of the log, at most (5s)"},
	{"log-json-info-buffer-size", 0, "SIZE", check_text, "buffer of the log in JSON (0)"},
	{"log-json-split-stream", 0, NULL, check_switch, "the log in JSON to two streams"},
	{"log-text-info-buffer-size", 0, "SIZE", check_text, "buffer of the log in text (0)"},
	{"log-text-split-stream", 0, NULL, check_switch, "the log in text to two streams"},
	{"logtostderr", 0, NULL, check_switch, "log to standard error; there is no other way (true)"},
	{"one-output", 0, NULL, check_switch, "each severity to its own log file only"},
	{"skip-headers", 0, NULL, check_switch, "no headers in lines of the log"},
	{"skip-log-headers", 0, NULL, check_switch, "no headers in log files"},
	{"stderrthreshold", 0, "SEVERITY", check_text, "what goes to standard error too (2)"},
	{"vmodule", 0, "PATTERN=N,...", check_text, "detail of the log by source file ()"},
	{"profiling", 0, NULL, check_switch, "profiles of kube-proxy's program"},
	{"show-hidden-metrics-for-version", 0, "VERSION", check_text,
		"metrics that kube-proxy has hidden ()"},
	{"boot-id-file", 0, "FILES", check_text,
		"where the boot's name is (/proc/sys/kernel/random/boot_id)"},
	{"machine-id-file", 0, "FILES", check_text,
		"where the machine's name is (/etc/machine-id,/var/lib/dbus/machine-id)"},
	{.name = NULL},
};

const struct flag_group flags_ignored = {"Of kube-proxy, without effect here", ignored_flags};
