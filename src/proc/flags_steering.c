/* Owns the flags that say how traffic gets to the proxy ports. Runs in the first process, before any other
 * exists. */
#include "proc/flags.h"

#include <string.h>

#include "proc/value.h"

static const char *set_steering(struct options *options, const char *value)
{
	static const char *const names[] = {"iptables", "nftables", "local", "auto", "none", NULL};
	int found = value_choice(value, names);

	if (found < 0)
		return "must be iptables, nftables, local, auto or none";
	options->steering = (enum options_steering)found;
	return NULL;
}

static const char *set_variant(struct options *options, const char *value)
{
	static const char *const names[] = {"auto", "nft", "legacy", NULL};
	int found = value_choice(value, names);

	if (found < 0)
		return "must be auto, nft or legacy";
	options->iptables_variant = (enum steering_tool)found;
	return NULL;
}

static const char *set_bind_address(struct options *options, const char *value)
{
	if (addr_parse(&options->bind_addr, value) < 0)
		return "must be an IP address";
	if (addr_is_multicast(&options->bind_addr))
		return "must not be a multicast address";
	return NULL;
}

static const char *set_proxy_ports(struct options *options, const char *value)
{
	if (!value_port_range(value, &options->proxy_ports.first, &options->proxy_ports.last))
		return "must be a port range such as 36000-36999 (0: any free port)";
	return NULL;
}

static bool add_node_port_range(struct options *options, const char **value)
{
	return options->node_port_range_count < OPTIONS_MAX_NODE_PORT_RANGES &&
	       value_next_prefix(value, &options->node_port_ranges[options->node_port_range_count++]);
}

static const char *set_nodeport_addresses(struct options *options, const char *value)
{
	options->node_port_range_count = 0;
	options->node_port_primary = strcmp(value, "primary") == 0;
	while (!options->node_port_primary && *value) {
		if (!add_node_port_range(options, &value))
			return "must be \"primary\" or at most 32 CIDR blocks such as "
			       "192.0.2.0/24,2001:db8::/64";
	}
	return NULL;
}

static bool add_pods(struct options *options, const char **value)
{
	struct addr_prefix range;

	if (options->pod_range_count == ADDR_FAMILIES || !value_next_prefix(value, &range) ||
		(options->pod_range_count > 0 &&
			addr_family(&options->pods[0].addr) == addr_family(&range.addr)))
		return false;
	options->pods[options->pod_range_count++] = range;
	return true;
}

static const char *set_cluster_cidr(struct options *options, const char *value)
{
	options->pod_range_count = 0;
	while (*value) {
		if (!add_pods(options, &value))
			return "must be a CIDR block such as 10.244.0.0/16, or one of each family such as "
			       "10.244.0.0/16,fd00:10:244::/56";
	}
	return NULL;
}

static const char *set_local_mode(struct options *options, const char *value)
{
	static const char *const names[] = {
		"", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", NULL};
	int mode = value_choice(value, names);

	options->pods_told_otherwise = mode > 1;
	return mode >= 0 ? NULL : "must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix";
}

static const char *set_sync_period(struct options *options, const char *value)
{
	return flag_duration(&options->sync_period_ms, value);
}

static const char *set_min_sync_period(struct options *options, const char *value)
{
	if (!value_duration_ms(value, &options->min_sync_period_ms))
		return "must be a duration such as 250ms or 1m30s, up to 24h (0: no bound)";
	return NULL;
}

static const char *set_keep_rules(struct options *options, const char *value)
{
	return flag_switch(&options->keep_rules, value);
}

static const char *set_cleanup(struct options *options, const char *value)
{
	bool cleanup = false;
	const char *wrong = flag_switch(&cleanup, value);

	if (cleanup)
		options->command = OPTIONS_CLEANUP;
	return wrong;
}

static const struct flag steering_flags[] = {
	{"steering", 0, "HOW", set_steering,
		"iptables, nftables, local: no netfilter, auto: what works, none: loopback only (iptables)"},
	{"iptables-variant", 0, "WHICH", set_variant,
		"auto, nft or legacy: auto takes what the host uses already (auto)"},
	{"iptables-sync-period", 0, "TIME", set_sync_period,
		"how often the rules in force are compared with what they should be (30s)"},
	{"iptables-min-sync-period", 0, "TIME", set_min_sync_period,
		"rules change no more often, but for two changes in a row; 0: no bound (1s)"},
	{"bind-address", 0, "ADDRESS", set_bind_address,
		"the address that proxy ports of its family listen on (all; loopback with --steering=none)"},
	{"proxy-port-range", 0, "FIRST-LAST", set_proxy_ports,
		"the ports used as proxy ports (any free ones)"},
	{"nodeport-addresses", 0, "CIDRS", set_nodeport_addresses,
		"where nodePorts are: CIDR blocks of local addresses, or primary (all)"},
	{"cluster-cidr", 0, "CIDRS", set_cluster_cidr,
		"the pods' addresses: externalTrafficPolicy doesn't count for them ()"},
	{"detect-local-mode", 0, "MODE", set_local_mode,
		"how pods are known: with another one than ClusterCIDR they are not ()"},
	{"keep-rules", 0, NULL, set_keep_rules, "leave the rules in force at exit"},
	{"cleanup", 0, NULL, set_cleanup, "the same as the command cleanup"},
	{.name = NULL},
};

const struct flag_group flags_steering = {"How traffic gets here", steering_flags};
