/* Owns the flags that say what Services leave open. Runs in the first process, before any other exists. */
#include "proc/flags.h"

#include "proc/value.h"

#define MAX_UDP_FLOWS 1048576

static const char *set_scheduler(struct options *options, const char *value)
{
	if (scheduler_parse(&options->defaults.scheduler, value) < 0)
		return "must be rr, lc, dh, sh, sed or nq";
	return NULL;
}

static const char *set_udp_timeout(struct options *options, const char *value)
{
	return flag_duration(&options->defaults.udp_idle_ms, value);
}

static const char *set_udp_first_timeout(struct options *options, const char *value)
{
	return flag_duration(&options->defaults.udp_first_ms, value);
}

static const char *set_udp_max_flows(struct options *options, const char *value)
{
	unsigned long number;

	if (!value_number(value, MAX_UDP_FLOWS, &number) || number == 0)
		return "must be a number from 1 to 1048576";
	options->udp_max_flows = (uint32_t)number;
	return NULL;
}

static const char *set_source_ranges_on_nodeports(struct options *options, const char *value)
{
	return flag_switch(&options->source_ranges_on_node_ports, value);
}

static const struct flag service_flags[] = {
	{"scheduler", 0, "NAME", set_scheduler,
		"who gets a connection: rr, lc, dh, sh, sed or nq, as in IPVS (rr)"},
	{"udp-timeout", 0, "TIME", set_udp_timeout,
		"how long a UDP client's flow waits between datagrams (250ms)"},
	{"udp-first-timeout", 0, "TIME", set_udp_first_timeout,
		"how long a UDP client's flow waits for its first answer (10s)"},
	{"udp-max-flows", 0, "N", set_udp_max_flows, "UDP clients that a relay serves at a time (8192)"},
	{"source-ranges-on-nodeports", 0, NULL, set_source_ranges_on_nodeports,
		"loadBalancerSourceRanges hold for nodePorts too"},
	{.name = NULL},
};

const struct flag_group flags_service = {"What Services leave open", service_flags};
