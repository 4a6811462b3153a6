/* The command line: parsed once, then only read, by every role. */
#ifndef PROC_OPTIONS_H
#define PROC_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "portald/addr.h"
#include "portald/admin.h"
#include "portald/kubeconfig.h"
#include "portald/listen.h"
#include "portald/log.h"
#include "portald/plan.h"
#include "portald/source.h"
#include "portald/steering.h"
#include "proc/conntrack_sysctls.h"
#include "proc/settings.h"

enum options_command {
	OPTIONS_DAEMON,
	OPTIONS_RUN,
	OPTIONS_PLAN,
	OPTIONS_CLEANUP,
	OPTIONS_HELP,
	OPTIONS_VERSION,
	OPTIONS_STATUS,
	OPTIONS_EXPLAIN,
};

enum options_steering {
	OPTIONS_STEERING_IPTABLES,
	OPTIONS_STEERING_NFTABLES,
	OPTIONS_STEERING_LOCAL,
	OPTIONS_STEERING_AUTO,
	OPTIONS_STEERING_NONE,
};

/* The most CIDR blocks in --nodeport-addresses. */
#define OPTIONS_MAX_NODE_PORT_RANGES 32

/* Where the status socket is on a node. */
#define OPTIONS_STATUS_SOCKET "/run/portald/portald.sock"

/* An address that may be given without a port, or as "" for none. */
struct options_at {
	bool given, on;
	struct addr addr;
	int port; /* -1: not given */
};

struct options {
	enum options_command command;
	enum options_command given_command; /* by its word, before any flag */

	/* What was given: on the command line, in the configuration file; and what of it is in force. */
	struct settings line, file, effective;
	bool configured; /* file is what a configuration file says */

	/* flags_config.c */
	const char *config_path;     /* NULL: none */
	const char *write_config_to; /* NULL: nowhere */
	bool init_only;
	int oom_score_adj;

	/* flags_conntrack.c */
	struct conntrack_sysctls conntrack;

	/* flags_source.c */
	const char **manifests; /* paths, "-" for standard input; strings borrowed from argv */
	size_t manifest_count;
	bool strict;
	const char *kubeconfig; /* --kubeconfig, --master: borrowed from argv; NULL: not given */
	const char *master;
	struct source_options source;
	char *node_name;
	const char *zone; /* NULL: unknown */

	/* flags_service.c */
	struct service_options defaults; /* for what a Service leaves open */
	bool source_ranges_on_node_ports;
	uint32_t udp_max_flows; /* of each relay; 0: the relay's own default */

	/* flags_steering.c */
	enum options_steering steering;
	enum steering_tool iptables_variant;
	bool keep_rules;
	uint32_t sync_period_ms;
	uint32_t min_sync_period_ms; /* 0: no bound */
	struct listen_range proxy_ports;
	/* --nodeport-addresses; a family without a range has NodePorts everywhere. */
	struct addr_prefix node_port_ranges[OPTIONS_MAX_NODE_PORT_RANGES];
	size_t node_port_range_count;
	bool node_port_primary; /* instead of ranges */
	/* --cluster-cidr: at most one a family; they count unless --detect-local-mode says otherwise. */
	struct addr_prefix pods[ADDR_FAMILIES];
	size_t pod_range_count;
	bool pods_told_otherwise; /* see options_pod_ranges() */
	struct addr bind_addr;    /* for its own family; see options_bind_addr() */

	/* flags_admin.c; see options_health_at() */
	struct options_at health, metrics;
	int health_port, metrics_port; /* deprecated; -1: not given */
	bool bind_hard_fail;
	const char *status_socket; /* "": none */
	bool status_given;         /* by a flag */
	const char *status_group;  /* NULL: the default one */
	const char *access_log;    /* a path, "-" for standard error; NULL: none */
	const char *explain;       /* the Service that `portald explain` is about */
	size_t max_series;

	/* flags_process.c */
	uint32_t relay_count;
	uint32_t upgrade_drain_ms; /* 0: no limit */
	const char *user;          /* NULL: the default one */
	enum log_format log_format;
	int verbosity;
	enum plan_output output;
	bool rules;
	bool raw_version;
	char **run_command; /* NULL-terminated, borrowed from argv; NULL: the user's shell */
};

/* Parses argv. On success fills *out and returns 0; the caller frees it with options_fini(). On a usage
 * error prints it to err and returns -EINVAL with nothing to free. With --config, what is missing is not
 * noticed yet: options_configure() follows. */
int options_parse(struct options *out, int argc, char **argv, FILE *err);

/* Makes options out of the command line that base was made of and what its configuration file says. Returns
 * as options_parse() does; base stays as it is, and must outlive *out only as far as argv does. */
int options_configure(
	struct options *out, const struct options *base, const struct settings *file, FILE *err);

void options_fini(struct options *options);

/* The defaults, before anything is given. The caller frees them with options_fini(). */
void options_init(struct options *options);

/* True for a daemon with rules: only that changes the host, and serves what nobody has asked for. */
bool options_is_node(const struct options *options);

/* Where the listeners of a family bind: --bind-address if it is of that family; else loopback with
 * --steering=none, and "any" without. */
struct addr options_bind_addr(const struct options *options, enum addr_family family);

/* How many of options->pods count. */
size_t options_pod_ranges(const struct options *options);

/* Where health and metrics are served, if at all. */
struct admin_at options_health_at(const struct options *options);
struct admin_at options_metrics_at(const struct options *options);
/* Where the API server's address and the credentials for it are to be found: by the flags, and by the
 * environment where these say nothing. Strings are borrowed from options and the environment. */
struct kubeconfig_request options_kubeconfig_request(const struct options *options);

/* What the plan is told of the node; strings are borrowed from options. */
struct plan_facts options_facts(const struct options *options);

/* Prints the help text: every command and flag, by group, with defaults. */
void options_print_help(FILE *out);

#endif
