/* The command line: parsed once, then only read, by every role. */
#ifndef PROC_OPTIONS_H
#define PROC_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "portald/addr.h"
#include "portald/listen.h"
#include "portald/log.h"
#include "portald/plan.h"
#include "portald/source.h"
#include "portald/steering.h"

enum options_command {
	OPTIONS_DAEMON,
	OPTIONS_RUN,
	OPTIONS_PLAN,
	OPTIONS_CLEANUP,
	OPTIONS_HELP,
	OPTIONS_VERSION,
};

enum options_steering { OPTIONS_STEERING_IPTABLES, OPTIONS_STEERING_NONE };

/* The most CIDR blocks in --nodeport-addresses. */
#define OPTIONS_MAX_NODE_PORT_RANGES 32

struct options {
	enum options_command command;

	/* flags_source.c */
	const char **manifests; /* paths, "-" for standard input; strings borrowed from argv */
	size_t manifest_count;
	bool strict;
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
	struct addr bind_addr;  /* for its own family; see options_bind_addr() */

	/* flags_process.c */
	uint32_t relay_count;
	const char *user; /* NULL: the default one */
	enum log_format log_format;
	int verbosity;
	enum plan_output output;
	bool rules;
	char **run_command; /* NULL-terminated, borrowed from argv; NULL: the user's shell */
};

/* Parses argv. On success fills *out and returns 0; the caller frees it with options_fini(). On a usage
 * error prints it to err and returns -EINVAL with nothing to free. */
int options_parse(struct options *out, int argc, char **argv, FILE *err);
void options_fini(struct options *options);

/* Where the listeners of a family bind: --bind-address if it is of that family; else loopback with
 * --steering=none, and "any" without. */
struct addr options_bind_addr(const struct options *options, enum addr_family family);

/* What the plan is told of the node; strings are borrowed from options. */
struct plan_facts options_facts(const struct options *options);

/* Prints the help text: every command and flag, by group, with defaults. */
void options_print_help(FILE *out);

#endif
