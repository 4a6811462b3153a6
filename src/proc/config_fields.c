/* Owns the table of configuration fields. To add one: a row here, in the order of paths, and an item in
 * doc/portald.yaml.5; `make check` compares. Runs in every process but the relays. */
#include "proc/config_fields.h"

#include <string.h>

#define LIVE CONFIG_LIVE
#define LINE CONFIG_LINE_WINS
#define ZERO CONFIG_ZERO_IS_DEFAULT

/* Paths as in kubeproxy.config.k8s.io/v1alpha1 of all releases; defaults as in its defaults.go. Sections
 * stand together. */
static const struct config_field kube_proxy_fields[] = {
	{"bindAddress", CONFIG_TEXT, "bind-address", "0.0.0.0", 0, NULL},
	{"bindAddressHardFail", CONFIG_BOOL, "bind-address-hard-fail", "false", 0, NULL},
	{"clientConnection.acceptContentTypes", CONFIG_TEXT, NULL, NULL, 0, NULL},
	{"clientConnection.burst", CONFIG_INT, "kube-api-burst", "10", ZERO, NULL},
	{"clientConnection.contentType", CONFIG_TEXT, "kube-api-content-type",
		"application/vnd.kubernetes.protobuf", 0, NULL},
	{"clientConnection.kubeconfig", CONFIG_TEXT, "kubeconfig", "", 0, NULL},
	{"clientConnection.qps", CONFIG_NUMBER, "kube-api-qps", "5", ZERO, NULL},
	{"clusterCIDR", CONFIG_TEXT, "cluster-cidr", "", LIVE, NULL},
	{"configSyncPeriod", CONFIG_DURATION, "config-sync-period", "15m0s", ZERO, NULL},
	{"conntrack.max", CONFIG_INT, NULL, NULL, 0, NULL},
	{"conntrack.maxPerCore", CONFIG_INT, "conntrack-max-per-core", "32768", 0, NULL},
	{"conntrack.min", CONFIG_INT, "conntrack-min", "131072", 0, NULL},
	{"conntrack.tcpBeLiberal", CONFIG_BOOL, "conntrack-tcp-be-liberal", "false", 0, NULL},
	{"conntrack.tcpCloseWaitTimeout", CONFIG_DURATION, "conntrack-tcp-timeout-close-wait", "1h0m0s", 0,
		NULL},
	{"conntrack.tcpEstablishedTimeout", CONFIG_DURATION, "conntrack-tcp-timeout-established", "24h0m0s",
		0, NULL},
	{"conntrack.udpStreamTimeout", CONFIG_DURATION, "conntrack-udp-timeout-stream", "0s", 0, NULL},
	{"conntrack.udpTimeout", CONFIG_DURATION, "conntrack-udp-timeout", "0s", 0, NULL},
	{"detectLocal.bridgeInterface", CONFIG_TEXT, "pod-bridge-interface", "", 0, NULL},
	{"detectLocal.interfaceNamePrefix", CONFIG_TEXT, "pod-interface-name-prefix", "", 0, NULL},
	{"detectLocalMode", CONFIG_TEXT, "detect-local-mode", "", LIVE, NULL},
	{"enableProfiling", CONFIG_BOOL, "profiling", "false", 0, NULL},
	{"featureGates", CONFIG_BOOLS, "feature-gates", "", 0, NULL},
	{"healthzBindAddress", CONFIG_TEXT, "healthz-bind-address", "0.0.0.0:10256", LIVE | CONFIG_NODE_ONLY,
		NULL},
	{"hostnameOverride", CONFIG_TEXT, "hostname-override", NULL, LIVE | LINE, NULL},
	{"iptables.localhostNodePorts", CONFIG_BOOL, "iptables-localhost-nodeports", "true", 0, NULL},
	{"iptables.masqueradeAll", CONFIG_BOOL, "masquerade-all", "false", 0, NULL},
	{"iptables.masqueradeBit", CONFIG_INT, "iptables-masquerade-bit", "14", 0, NULL},
	{"iptables.minSyncPeriod", CONFIG_DURATION, "iptables-min-sync-period", "1s", LIVE | ZERO, NULL},
	{"iptables.snatNodeInternalIP", CONFIG_BOOL, NULL, NULL, 0, NULL},
	{"iptables.syncPeriod", CONFIG_DURATION, "iptables-sync-period", "30s", LIVE | ZERO, NULL},
	{"ipvs.excludeCIDRs", CONFIG_TEXTS, "ipvs-exclude-cidrs", "", 0, NULL},
	{"ipvs.ipSet", CONFIG_ANY, NULL, NULL, 0, NULL},
	{"ipvs.minSyncPeriod", CONFIG_DURATION, "ipvs-min-sync-period", "0s", 0, NULL},
	{"ipvs.scheduler", CONFIG_TEXT, "ipvs-scheduler", "", 0, NULL},
	{"ipvs.strictARP", CONFIG_BOOL, "ipvs-strict-arp", "false", 0, NULL},
	{"ipvs.syncPeriod", CONFIG_DURATION, "ipvs-sync-period", "30s", ZERO, NULL},
	{"ipvs.tcpFinTimeout", CONFIG_DURATION, "ipvs-tcpfin-timeout", "0s", 0, NULL},
	{"ipvs.tcpTimeout", CONFIG_DURATION, "ipvs-tcp-timeout", "0s", 0, NULL},
	{"ipvs.udpTimeout", CONFIG_DURATION, "ipvs-udp-timeout", "0s", 0, NULL},
	{"logging.flushFrequency", CONFIG_DURATION, "log-flush-frequency", "5s",
		LINE | CONFIG_NANOSECONDS | ZERO, NULL},
	{"logging.format", CONFIG_TEXT, "log-format", "text", LIVE | LINE, "logging-format"},
	{"logging.options", CONFIG_ANY, NULL, NULL, 0, NULL},
	{"logging.verbosity", CONFIG_INT, "v", "0", LIVE | LINE, NULL},
	{"logging.vmodule", CONFIG_ANY, NULL, NULL, 0, NULL},
	{"metricsBindAddress", CONFIG_TEXT, "metrics-bind-address", "127.0.0.1:10249",
		LIVE | CONFIG_NODE_ONLY, NULL},
	{"mode", CONFIG_TEXT, "proxy-mode", "userspace", 0, NULL},
	{"nftables.masqueradeAll", CONFIG_BOOL, NULL, NULL, 0, NULL},
	{"nftables.masqueradeBit", CONFIG_INT, NULL, NULL, 0, NULL},
	{"nftables.minSyncPeriod", CONFIG_DURATION, NULL, NULL, 0, NULL},
	{"nftables.syncPeriod", CONFIG_DURATION, NULL, NULL, 0, NULL},
	{"nodePortAddresses", CONFIG_TEXTS, "nodeport-addresses", "", LIVE, NULL},
	{"oomScoreAdj", CONFIG_INT, "oom-score-adj", "-999", 0, NULL},
	{"portRange", CONFIG_TEXT, "proxy-port-range", "", 0, NULL},
	{"resourceContainer", CONFIG_TEXT, NULL, NULL, 0, NULL},
	{"showHiddenMetricsForVersion", CONFIG_TEXT, "show-hidden-metrics-for-version", "", 0, NULL},
	{"udpIdleTimeout", CONFIG_DURATION, "udp-timeout", "250ms", LIVE | ZERO, NULL},
	{"windowsRunAsService", CONFIG_BOOL, NULL, NULL, 0, NULL},
	{"winkernel", CONFIG_ANY, NULL, NULL, 0, NULL},
	{.path = NULL},
};

static const struct config_field portald_fields[] = {
	{"accessLog", CONFIG_TEXT, "access-log", "", 0, NULL},
	{"iptablesVariant", CONFIG_TEXT, "iptables-variant", "auto", 0, NULL},
	{"keepRules", CONFIG_BOOL, "keep-rules", "false", LIVE, NULL},
	{"manifests", CONFIG_TEXTS, "manifests", NULL, CONFIG_REPEATED, NULL},
	{"metricsMaxSeries", CONFIG_INT, "metrics-max-series", "20000", LIVE, NULL},
	{"relays", CONFIG_INT, "relays", NULL, 0, NULL},
	{"scheduler", CONFIG_TEXT, "scheduler", "rr", LIVE, NULL},
	{"serviceClusterIPRange", CONFIG_TEXT, "service-cluster-ip-range", "10.96.0.0/12,fd00:10:96::/112",
		LIVE, NULL},
	{"serviceNodePortRange", CONFIG_TEXT, "service-node-port-range", "30000-32767", 0, NULL},
	{"sourceRangesOnNodePorts", CONFIG_BOOL, "source-ranges-on-nodeports", "false", LIVE, NULL},
	{"statusGroup", CONFIG_TEXT, "status-group", NULL, 0, NULL},
	{"statusSocket", CONFIG_TEXT, "status-socket", NULL, 0, NULL},
	{"steering", CONFIG_TEXT, "steering", "iptables", 0, NULL},
	{"strict", CONFIG_BOOL, "strict", "false", LIVE, NULL},
	{"udpFirstTimeout", CONFIG_DURATION, "udp-first-timeout", "10s", LIVE | ZERO, NULL},
	{"udpMaxFlows", CONFIG_INT, "udp-max-flows", "8192", ZERO, NULL},
	{"upgradeDrain", CONFIG_DURATION, "upgrade-drain", NULL, LIVE, NULL},
	{"user", CONFIG_TEXT, "user", NULL, 0, NULL},
	{"zone", CONFIG_TEXT, "zone", NULL, LIVE, NULL},
	{.path = NULL},
};

const struct config_kind config_kinds[] = {
	{"kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration", kube_proxy_fields},
	{"portald.io/v1alpha1", "PortaldConfiguration", portald_fields},
	{.kind = NULL},
};

const char *const config_line_only[] = {"cleanup", "config", "foreground", "healthz-port", "help",
	"init-only", "master", "metrics-port", "output", "rules", "version", "write-config-to", NULL};

const struct config_field *config_field_of_flag(const char *flag)
{
	for (const struct config_kind *kind = config_kinds; kind->kind; kind++) {
		for (const struct config_field *field = kind->fields; field->path; field++) {
			if (field->flag && strcmp(field->flag, flag) == 0)
				return field;
		}
	}
	return NULL;
}

bool config_field_is_kube_proxys(const struct config_field *field)
{
	return field >= kube_proxy_fields &&
	       field < kube_proxy_fields + sizeof(kube_proxy_fields) / sizeof(kube_proxy_fields[0]);
}

const char *config_flag_name(const char *flag)
{
	for (const struct config_field *field = kube_proxy_fields; field->path; field++) {
		if (field->alias && strcmp(field->alias, flag) == 0)
			return field->flag;
	}
	return flag;
}
