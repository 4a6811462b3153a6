/* What is kept of the API server's answers, as tables. All else (managedFields, status, selectors, unread
 * labels and annotations, fields of later versions) is passed over by the stream. Constant. */
#include "source/api_object.h"

#define KEEP(key)                                                                                            \
	{                                                                                                    \
		(key), NULL, false                                                                           \
	}
#define WITH(key, table)                                                                                     \
	{                                                                                                    \
		(key), (table), false                                                                        \
	}
#define END                                                                                                  \
	{                                                                                                    \
		NULL, NULL, false                                                                            \
	}

/* What an ERROR event's Status has where other events have an object. */
#define STATUS_FIELDS                                                                                        \
	KEEP("kind"), KEEP("message"), KEEP("reason"), KEEP("code"), WITH("details", details_fields)

static const struct api_filter cause_fields[] = {KEEP("reason"), KEEP("message"), END};
static const struct api_filter details_fields[] = {
	KEEP("retryAfterSeconds"), WITH("causes", cause_fields), END};
static const struct api_filter status_fields[] = {STATUS_FIELDS, END};

static const struct api_filter label_fields[] = {
	KEEP("kubernetes.io/service-name"),
	KEEP("endpointslice.kubernetes.io/*"),
	KEEP("service.kubernetes.io/*"),
	END,
};
static const struct api_filter annotation_fields[] = {
	KEEP("portald.io/*"),
	KEEP("endpoints.kubernetes.io/last-change-trigger-time"),
	KEEP("service.beta.kubernetes.io/load-balancer-source-ranges"),
	END,
};
static const struct api_filter meta_fields[] = {
	KEEP("name"),
	KEEP("namespace"),
	KEEP("uid"),
	KEEP("resourceVersion"),
	KEEP("deletionTimestamp"),
	WITH("labels", label_fields),
	WITH("annotations", annotation_fields),
	END,
};

/* ---- Service ---- */

static const struct api_filter service_port_fields[] = {
	KEEP("name"), KEEP("protocol"), KEEP("port"), KEEP("nodePort"), END};
static const struct api_filter service_spec_fields[] = {
	WITH("ports", service_port_fields),
	KEEP("clusterIP"),
	KEEP("clusterIPs"),
	KEEP("type"),
	KEEP("externalIPs"),
	KEEP("externalName"),
	KEEP("sessionAffinity"),
	KEEP("sessionAffinityConfig"),
	KEEP("loadBalancerSourceRanges"),
	KEEP("externalTrafficPolicy"),
	KEEP("internalTrafficPolicy"),
	KEEP("trafficDistribution"),
	KEEP("healthCheckNodePort"),
	KEEP("publishNotReadyAddresses"),
	END,
};
static const struct api_filter load_balancer_fields[] = {KEEP("loadBalancer"), END};
static const struct api_filter service_fields[] = {
	STATUS_FIELDS,
	WITH("metadata", meta_fields),
	WITH("spec", service_spec_fields),
	WITH("status", load_balancer_fields),
	END,
};

/* ---- EndpointSlice and Endpoints ---- */

static const struct api_filter target_fields[] = {KEEP("kind"), KEEP("namespace"), KEEP("name"), END};
static const struct api_filter port_fields[] = {KEEP("name"), KEEP("protocol"), KEEP("port"), END};
static const struct api_filter topology_fields[] = {
	KEEP("kubernetes.io/hostname"),
	KEEP("topology.kubernetes.io/zone"),
	END,
};
static const struct api_filter endpoint_fields[] = {
	KEEP("addresses"),
	KEEP("conditions"),
	KEEP("nodeName"),
	KEEP("zone"),
	KEEP("hints"),
	WITH("topology", topology_fields),
	WITH("targetRef", target_fields),
	END,
};
static const struct api_filter slice_fields[] = {
	STATUS_FIELDS,
	KEEP("addressType"),
	WITH("metadata", meta_fields),
	WITH("endpoints", endpoint_fields),
	WITH("ports", port_fields),
	END,
};

static const struct api_filter address_fields[] = {
	KEEP("ip"), KEEP("nodeName"), WITH("targetRef", target_fields), END};
static const struct api_filter subset_fields[] = {
	WITH("addresses", address_fields),
	WITH("notReadyAddresses", address_fields),
	WITH("ports", port_fields),
	END,
};
static const struct api_filter endpoints_fields[] = {
	STATUS_FIELDS,
	WITH("metadata", meta_fields),
	WITH("subsets", subset_fields),
	END,
};

/* ---- Node ---- */

static const struct api_filter node_label_fields[] = {
	KEEP("topology.kubernetes.io/zone"),
	KEEP("failure-domain.beta.kubernetes.io/zone"),
	END,
};
static const struct api_filter node_meta_fields[] = {
	KEEP("name"),
	KEEP("resourceVersion"),
	KEEP("deletionTimestamp"),
	WITH("labels", node_label_fields),
	END,
};
static const struct api_filter taint_fields[] = {KEEP("key"), END};
static const struct api_filter node_spec_fields[] = {WITH("taints", taint_fields), END};
static const struct api_filter node_address_fields[] = {KEEP("type"), KEEP("address"), END};
static const struct api_filter node_status_fields[] = {WITH("addresses", node_address_fields), END};
static const struct api_filter node_fields[] = {
	STATUS_FIELDS,
	WITH("metadata", node_meta_fields),
	WITH("spec", node_spec_fields),
	WITH("status", node_status_fields),
	END,
};

/* ---- what they come in ---- */

static const struct api_filter list_meta_fields[] = {KEEP("resourceVersion"), KEEP("continue"), END};

#define LIST_OF(fields)                                                                                      \
	{                                                                                                    \
		KEEP("kind"), WITH("metadata", list_meta_fields), {"items", (fields), true}, END             \
	}
#define EVENT_OF(fields)                                                                                     \
	{                                                                                                    \
		KEEP("type"), WITH("object", fields), END                                                    \
	}

static const struct api_filter service_list[] = LIST_OF(service_fields);
static const struct api_filter slice_list[] = LIST_OF(slice_fields);
static const struct api_filter endpoints_list[] = LIST_OF(endpoints_fields);
static const struct api_filter node_list[] = LIST_OF(node_fields);
static const struct api_filter service_event[] = EVENT_OF(service_fields);
static const struct api_filter slice_event[] = EVENT_OF(slice_fields);
static const struct api_filter endpoints_event[] = EVENT_OF(endpoints_fields);
static const struct api_filter node_event[] = EVENT_OF(node_fields);

const struct api_filter *api_filter_list(enum api_kind kind)
{
	static const struct api_filter *const lists[] = {
		[API_SERVICE] = service_list,
		[API_ENDPOINT_SLICE_V1] = slice_list,
		[API_ENDPOINT_SLICE_V1BETA1] = slice_list,
		[API_ENDPOINTS] = endpoints_list,
		[API_NODE] = node_list,
	};

	return lists[kind];
}

const struct api_filter *api_filter_event(enum api_kind kind)
{
	static const struct api_filter *const events[] = {
		[API_SERVICE] = service_event,
		[API_ENDPOINT_SLICE_V1] = slice_event,
		[API_ENDPOINT_SLICE_V1BETA1] = slice_event,
		[API_ENDPOINTS] = endpoints_event,
		[API_NODE] = node_event,
	};

	return events[kind];
}

const struct api_filter *api_filter_status(void)
{
	return status_fields;
}

const char *api_kind_name(enum api_kind kind)
{
	static const char *const names[] = {
		[API_SERVICE] = "Service",
		[API_ENDPOINT_SLICE_V1] = "EndpointSlice",
		[API_ENDPOINT_SLICE_V1BETA1] = "EndpointSlice",
		[API_ENDPOINTS] = "Endpoints",
		[API_NODE] = "Node",
	};

	return names[kind];
}
