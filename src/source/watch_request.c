/* What a watch asks for: the versions of the API that have its resource, and the query. Pure. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/watch_private.h"

/* As kube-proxy selects: what another proxy serves, and headless Services, are none of its business. */
#define SELECTOR "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"

/* The page size of client-go. */
#define LIST_LIMIT 500

static const struct watch_api services[] = {
	{"v1", "", "services", "/api/v1/services", API_SERVICE},
};
static const struct watch_api endpoints[] = {
	{"discovery.k8s.io/v1", "discovery.k8s.io", "endpointslices",
		"/apis/discovery.k8s.io/v1/endpointslices", API_ENDPOINT_SLICE_V1},
	{"discovery.k8s.io/v1beta1", "discovery.k8s.io", "endpointslices",
		"/apis/discovery.k8s.io/v1beta1/endpointslices", API_ENDPOINT_SLICE_V1BETA1},
	{"v1", "", "endpoints", "/api/v1/endpoints", API_ENDPOINTS},
};
static const struct watch_api nodes[] = {
	{"v1", "", "nodes", "/api/v1/nodes", API_NODE},
};

size_t watch_apis(enum watch_resource resource, const struct watch_api **apis)
{
	static const struct {
		const struct watch_api *apis;
		size_t count;
	} table[] = {
		[WATCH_SERVICES] = {services, sizeof(services) / sizeof(*services)},
		[WATCH_ENDPOINTS] = {endpoints, sizeof(endpoints) / sizeof(*endpoints)},
		[WATCH_NODE] = {nodes, sizeof(nodes) / sizeof(*nodes)},
	};

	*apis = table[resource].apis;
	return table[resource].count;
}

const struct watch_api *watch_api(const struct watch *watch)
{
	const struct watch_api *apis;

	watch_apis(watch->config.resource, &apis);
	return &apis[watch->api];
}

/* Text as a query's value: all but unreserved characters as %XX (RFC 3986). Fresh memory. */
static char *query_escape(const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	static const char digits[] = "0123456789ABCDEF";
	char *escaped = mem_calloc(strlen(text) * 3 + 1, 1), *out = escaped;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (strchr(plain, *text)) {
			*out++ = *text;
			continue;
		}
		*out++ = '%';
		*out++ = digits[c >> 4];
		*out++ = digits[c & 15];
	}
	return escaped;
}

/* "KEY=VALUE" appended to the target, escaped. */
static void add_parameter(char **target, const char *key, const char *value)
{
	char *escaped = query_escape(value);
	char *longer = mem_printf("%s%c%s=%s", *target, strchr(*target, '?') ? '&' : '?', key, escaped);

	free(escaped);
	free(*target);
	*target = longer;
}

static void add_selector(char **target, const struct watch *watch)
{
	char *selector;

	if (watch->config.resource != WATCH_NODE) {
		add_parameter(target, "labelSelector", SELECTOR);
		return;
	}
	selector = mem_printf("metadata.name=%s", watch->config.node_name ? watch->config.node_name : "");
	add_parameter(target, "fieldSelector", selector);
	free(selector);
}

static void add_number(char **target, const char *key, unsigned number)
{
	char *text = mem_printf("%u", number);

	add_parameter(target, key, text);
	free(text);
}

/* What client-go asks for. "0" is whatever the server has at hand; a version means at least that, which the
 * server can answer from memory only if no limit is set; none means what etcd has now. */
static void add_list(char **target, const struct watch *watch)
{
	bool first = !watch->resource_version;
	bool latest = watch->latest || (!first && watch->version_api != watch_api(watch));

	if (!watch->whole && (first || latest || watch->continue_token))
		add_number(target, "limit", LIST_LIMIT);
	if (watch->continue_token)
		add_parameter(target, "continue", watch->continue_token);
	else if (!latest)
		add_parameter(target, "resourceVersion", first ? "0" : watch->resource_version);
}

char *watch_target(const struct watch *watch, unsigned timeout_s)
{
	char *target = mem_strdup(watch_api(watch)->path);

	add_selector(&target, watch);
	if (watch->step == WATCH_STEP_LIST) {
		add_list(&target, watch);
		return target;
	}
	add_parameter(&target, "watch", "true");
	add_parameter(&target, "allowWatchBookmarks", "true");
	add_parameter(&target, "resourceVersion", watch->resource_version);
	add_number(&target, "timeoutSeconds", timeout_s);
	return target;
}
