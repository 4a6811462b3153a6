/* The host's connection tracking, set once at start. */
#ifndef PROC_CONNTRACK_SYSCTLS_H
#define PROC_CONNTRACK_SYSCTLS_H

#include <stdbool.h>
#include <stdint.h>

/* Under /proc/sys/net/netfilter. 0 leaves a setting as it is. */
struct conntrack_sysctls {
	uint32_t max_per_core; /* 0: the limit stays, whatever min is */
	uint32_t min;
	uint32_t tcp_established_s;
	uint32_t tcp_close_wait_s;
	uint32_t udp_s;        /* until there was an answer */
	uint32_t udp_stream_s; /* after one */
	bool tcp_be_liberal;
};

/* kube-proxy's defaults. */
void conntrack_sysctls_init(struct conntrack_sysctls *sysctls);

/* Sets what differs. The limit is max(min, max_per_core * cpus), and is only ever raised; with it, the hash
 * table grows to a quarter. Directories end in a slash: "/proc/sys/net/netfilter/" and
 * "/sys/module/nf_conntrack/parameters/". Whatever cannot be set is a warning in the log. */
void conntrack_sysctls_apply(const struct conntrack_sysctls *sysctls, uint32_t cpus,
	const char *sysctl_directory, const char *module_directory);

#endif
