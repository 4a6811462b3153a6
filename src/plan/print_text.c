/* Owns the words for what a plan holds. Runs in `portald plan`. */
#include "plan/print_text.h"

#define PREFIX_TEXT_BYTES (ADDR_TEXT_BYTES + 4)

const char *plan_kind_name(enum plan_portal_kind kind)
{
	static const char *const names[PLAN_PORTAL_KINDS] = {
		[PLAN_PORTAL_CLUSTER_IP] = "ClusterIP",
		[PLAN_PORTAL_NODE_PORT] = "NodePort",
		[PLAN_PORTAL_EXTERNAL_IP] = "ExternalIP",
		[PLAN_PORTAL_LOAD_BALANCER] = "LoadBalancer",
	};

	return names[kind];
}

const char *plan_scope_name(enum plan_scope scope)
{
	static const char *const names[PLAN_SCOPES] = {
		[PLAN_SCOPE_ARRIVING] = "arriving",
		[PLAN_SCOPE_HOST] = "host",
	};

	return names[scope];
}

const char *plan_action_name(enum plan_action action)
{
	static const char *const names[PLAN_ACTIONS] = {
		[PLAN_PROXY] = "proxy",
		[PLAN_REJECT] = "reject",
		[PLAN_DROP] = "drop",
	};

	return names[action];
}

const char *plan_prefix_format(const struct addr_prefix *prefix, char *buf)
{
	char text[ADDR_TEXT_BYTES];

	snprintf(buf, PREFIX_TEXT_BYTES, "%s/%u", addr_format(&prefix->addr, text), prefix->bits);
	return buf;
}

static const char *removal_name(enum service_removal removal)
{
	static const char *const names[SERVICE_REMOVALS] = {
		[SERVICE_REMOVAL_KEEP] = "keep",
		[SERVICE_REMOVAL_DRAIN] = "drain",
		[SERVICE_REMOVAL_RESET] = "reset",
	};

	return names[removal];
}

size_t plan_options_each(const struct plan_listener *listener, const struct service_options *usual,
	plan_option_fn *each, void *context)
{
	const struct service_options *options = &listener->options;
	bool udp = listener->proto == PROTO_UDP;
	size_t count = 0;

	const struct option_row {
		const char *name;
		const char *text;
		uint32_t value, usual;
	} rows[] = {
		{"scheduler", scheduler_name(options->scheduler), options->scheduler, usual->scheduler},
		{"affinitySeconds", NULL, options->affinity_timeout_s, usual->affinity_timeout_s},
		{"proxyProtocol", NULL, options->proxy_protocol, usual->proxy_protocol},
		{"connectTimeoutMs", NULL, options->connect_timeout_ms, usual->connect_timeout_ms},
		{"idleTimeoutMs", NULL, options->idle_timeout_ms, usual->idle_timeout_ms},
		{"maxConnections", NULL, options->max_connections, usual->max_connections},
		{"queueLength", NULL, options->queue_length, usual->queue_length},
		{"queueTimeoutMs", NULL, options->queue_timeout_ms, usual->queue_timeout_ms},
		{"onEndpointRemoval", removal_name(options->removal), options->removal, usual->removal},
		{"drainMs", NULL, options->drain_ms, usual->drain_ms},
		{"udpFirstTimeoutMs", NULL, options->udp_first_ms, udp ? usual->udp_first_ms : 0},
		{"udpTimeoutMs", NULL, options->udp_idle_ms, udp ? usual->udp_idle_ms : 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].value == rows[i].usual)
			continue;
		if (each)
			each(context, rows[i].name, rows[i].text, rows[i].value);
		count++;
	}
	return count;
}
