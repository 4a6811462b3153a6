/* Owns the flags that say where Services come from. Runs in the first process, before any other exists. */
#include "proc/flags.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "proc/value.h"

static const char *set_manifests(struct options *options, const char *value)
{
	const char **grown = reallocarray(options->manifests, options->manifest_count + 1, sizeof(char *));

	if (!grown)
		return "out of memory";
	options->manifests = grown;
	options->manifests[options->manifest_count++] = value;
	return NULL;
}

static const char *set_kubeconfig(struct options *options, const char *value)
{
	options->kubeconfig = *value ? value : NULL;
	return NULL;
}

static const char *set_master(struct options *options, const char *value)
{
	options->master = *value ? value : NULL;
	return NULL;
}

static const char *set_strict(struct options *options, const char *value)
{
	return flag_switch(&options->strict, value);
}

static const char *set_cluster_ip_range(struct options *options, const char *value)
{
	if (source_options_set_ranges(&options->source, value) < 0)
		return "must be a CIDR block such as 10.96.0.0/12, or two of different families";
	return NULL;
}

static const char *set_node_ports(struct options *options, const char *value)
{
	uint16_t first, last;

	if (!value_port_range(value, &first, &last) || first == 0)
		return "must be a port range such as 30000-32767";
	options->source.node_port_first = first;
	options->source.node_port_last = last;
	return NULL;
}

static const char *set_hostname(struct options *options, const char *value)
{
	if (!*value)
		return "must not be empty";
	free(options->node_name);
	options->node_name = mem_strdup(value);
	/* Names of nodes are in lower case; kube-proxy takes others for these. */
	for (char *at = options->node_name; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	return NULL;
}

static const char *set_zone(struct options *options, const char *value)
{
	if (!*value)
		return "must not be empty";
	options->zone = value;
	return NULL;
}

static const struct flag source_flags[] = {
	{"manifests", 'f', "PATH", set_manifests,
		"YAML or JSON manifests: a file, a directory, or - for standard input (repeatable)"},
	{"kubeconfig", 0, "PATH", set_kubeconfig,
		"how to reach the API server and as whom (KUBECONFIG, or the Pod's service account)"},
	{"master", 0, "URL", set_master, "the API server's address, instead of the kubeconfig's"},
	{"strict", 0, NULL, set_strict, "a bad object in the manifests is fatal at start"},
	{"service-cluster-ip-range", 0, "CIDR[,CIDR]", set_cluster_ip_range,
		"where Services without a clusterIP get theirs (10.96.0.0/12,fd00:10:96::/112)"},
	{"service-node-port-range", 0, "FIRST-LAST", set_node_ports,
		"where NodePort Services get their nodePorts (30000-32767)"},
	{"hostname-override", 0, "NAME", set_hostname, "this node's name (the host's name)"},
	{"zone", 0, "NAME", set_zone,
		"this node's zone, for endpoints that are hinted to zones (as its Node says)"},
	{.name = NULL},
};

const struct flag_group flags_source = {"Where Services come from", source_flags};
