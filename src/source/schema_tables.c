/* The API's types as tables: core/v1 and discovery.k8s.io of Kubernetes 1.9 to 1.34. Fields that earlier
 * versions had are kept, so that what an old cluster prints loads as well. */
#include "source/schema.h"

#define END                                                                                                  \
	{                                                                                                    \
		NULL, FIELD_ANY, NULL                                                                        \
	}

/* ---- metadata ---- */

static const struct field meta_fields[] = {
	{"name", FIELD_TEXT, NULL},
	{"generateName", FIELD_TEXT, NULL},
	{"namespace", FIELD_TEXT, NULL},
	{"selfLink", FIELD_ANY, NULL},
	{"uid", FIELD_TEXT, NULL},
	{"resourceVersion", FIELD_ANY, NULL},
	{"generation", FIELD_ANY, NULL},
	{"creationTimestamp", FIELD_ANY, NULL},
	{"deletionTimestamp", FIELD_ANY, NULL},
	{"deletionGracePeriodSeconds", FIELD_ANY, NULL},
	{"labels", FIELD_TEXT_MAP, NULL},
	{"annotations", FIELD_TEXT_MAP, NULL},
	{"ownerReferences", FIELD_ANY, NULL},
	{"finalizers", FIELD_ANY, NULL},
	{"managedFields", FIELD_ANY, NULL},
	{"clusterName", FIELD_ANY, NULL},
	{"initializers", FIELD_ANY, NULL},
	END,
};
static const struct schema meta = {meta_fields};

static const struct field reference_fields[] = {
	{"apiVersion", FIELD_TEXT, NULL},
	{"kind", FIELD_TEXT, NULL},
	{"namespace", FIELD_TEXT, NULL},
	{"name", FIELD_TEXT, NULL},
	{"uid", FIELD_TEXT, NULL},
	{"resourceVersion", FIELD_TEXT, NULL},
	{"fieldPath", FIELD_TEXT, NULL},
	END,
};
static const struct schema reference = {reference_fields};

/* ---- Service ---- */

static const struct field service_port_fields[] = {
	{"name", FIELD_TEXT, NULL},
	{"protocol", FIELD_TEXT, NULL},
	{"appProtocol", FIELD_TEXT, NULL},
	{"port", FIELD_INT, NULL},
	{"targetPort", FIELD_INT_OR_TEXT, NULL},
	{"nodePort", FIELD_INT, NULL},
	END,
};
static const struct schema service_port = {service_port_fields};

static const struct field client_ip_fields[] = {
	{"timeoutSeconds", FIELD_INT, NULL},
	END,
};
static const struct schema client_ip = {client_ip_fields};

static const struct field affinity_fields[] = {
	{"clientIP", FIELD_OBJECT, &client_ip},
	END,
};
static const struct schema affinity = {affinity_fields};

static const struct field service_spec_fields[] = {
	{"ports", FIELD_OBJECT_LIST, &service_port},
	{"selector", FIELD_TEXT_MAP, NULL},
	{"clusterIP", FIELD_TEXT, NULL},
	{"clusterIPs", FIELD_TEXT_LIST, NULL},
	{"type", FIELD_TEXT, NULL},
	{"externalIPs", FIELD_TEXT_LIST, NULL},
	{"sessionAffinity", FIELD_TEXT, NULL},
	{"sessionAffinityConfig", FIELD_OBJECT, &affinity},
	{"loadBalancerIP", FIELD_TEXT, NULL},
	{"loadBalancerSourceRanges", FIELD_TEXT_LIST, NULL},
	{"loadBalancerClass", FIELD_TEXT, NULL},
	{"allocateLoadBalancerNodePorts", FIELD_BOOL, NULL},
	{"externalName", FIELD_TEXT, NULL},
	{"externalTrafficPolicy", FIELD_TEXT, NULL},
	{"internalTrafficPolicy", FIELD_TEXT, NULL},
	{"trafficDistribution", FIELD_TEXT, NULL},
	{"healthCheckNodePort", FIELD_INT, NULL},
	{"publishNotReadyAddresses", FIELD_BOOL, NULL},
	{"ipFamilies", FIELD_TEXT_LIST, NULL},
	{"ipFamilyPolicy", FIELD_TEXT, NULL},
	{"ipFamily", FIELD_ANY, NULL},     /* before 1.20 */
	{"topologyKeys", FIELD_ANY, NULL}, /* before 1.22 */
	END,
};
static const struct schema service_spec = {service_spec_fields};

static const struct field ingress_fields[] = {
	{"ip", FIELD_TEXT, NULL},
	{"hostname", FIELD_TEXT, NULL},
	{"ipMode", FIELD_TEXT, NULL},
	{"ports", FIELD_ANY, NULL},
	END,
};
static const struct schema ingress = {ingress_fields};

static const struct field load_balancer_fields[] = {
	{"ingress", FIELD_OBJECT_LIST, &ingress},
	END,
};
static const struct schema load_balancer = {load_balancer_fields};

static const struct field service_status_fields[] = {
	{"loadBalancer", FIELD_OBJECT, &load_balancer},
	{"conditions", FIELD_ANY, NULL},
	END,
};
static const struct schema service_status = {service_status_fields};

static const struct field service_fields[] = {
	{"apiVersion", FIELD_TEXT, NULL},
	{"kind", FIELD_TEXT, NULL},
	{"metadata", FIELD_OBJECT, &meta},
	{"spec", FIELD_OBJECT, &service_spec},
	{"status", FIELD_OBJECT, &service_status},
	END,
};
const struct schema schema_service = {service_fields};

/* ---- Endpoints ---- */

static const struct field endpoint_address_fields[] = {
	{"ip", FIELD_TEXT, NULL},
	{"hostname", FIELD_TEXT, NULL},
	{"nodeName", FIELD_TEXT, NULL},
	{"targetRef", FIELD_OBJECT, &reference},
	END,
};
static const struct schema endpoint_address = {endpoint_address_fields};

static const struct field endpoint_port_fields[] = {
	{"name", FIELD_TEXT, NULL},
	{"port", FIELD_INT, NULL},
	{"protocol", FIELD_TEXT, NULL},
	{"appProtocol", FIELD_TEXT, NULL},
	END,
};
static const struct schema endpoint_port = {endpoint_port_fields};

static const struct field subset_fields[] = {
	{"addresses", FIELD_OBJECT_LIST, &endpoint_address},
	{"notReadyAddresses", FIELD_OBJECT_LIST, &endpoint_address},
	{"ports", FIELD_OBJECT_LIST, &endpoint_port},
	END,
};
static const struct schema subset = {subset_fields};

static const struct field endpoints_fields[] = {
	{"apiVersion", FIELD_TEXT, NULL},
	{"kind", FIELD_TEXT, NULL},
	{"metadata", FIELD_OBJECT, &meta},
	{"subsets", FIELD_OBJECT_LIST, &subset},
	END,
};
const struct schema schema_endpoints = {endpoints_fields};

/* ---- EndpointSlice ---- */

static const struct field conditions_fields[] = {
	{"ready", FIELD_BOOL, NULL},
	{"serving", FIELD_BOOL, NULL},
	{"terminating", FIELD_BOOL, NULL},
	END,
};
static const struct schema conditions = {conditions_fields};

static const struct field hint_fields[] = {
	{"name", FIELD_TEXT, NULL},
	END,
};
static const struct schema hint = {hint_fields};

static const struct field hints_fields[] = {
	{"forZones", FIELD_OBJECT_LIST, &hint},
	{"forNodes", FIELD_OBJECT_LIST, &hint},
	END,
};
static const struct schema hints = {hints_fields};

static const struct field endpoint_v1_fields[] = {
	{"addresses", FIELD_TEXT_LIST, NULL},
	{"conditions", FIELD_OBJECT, &conditions},
	{"hostname", FIELD_TEXT, NULL},
	{"targetRef", FIELD_OBJECT, &reference},
	{"deprecatedTopology", FIELD_TEXT_MAP, NULL},
	{"nodeName", FIELD_TEXT, NULL},
	{"zone", FIELD_TEXT, NULL},
	{"hints", FIELD_OBJECT, &hints},
	END,
};
static const struct schema endpoint_v1 = {endpoint_v1_fields};

static const struct field endpoint_v1beta1_fields[] = {
	{"addresses", FIELD_TEXT_LIST, NULL},
	{"conditions", FIELD_OBJECT, &conditions},
	{"hostname", FIELD_TEXT, NULL},
	{"targetRef", FIELD_OBJECT, &reference},
	{"topology", FIELD_TEXT_MAP, NULL},
	{"nodeName", FIELD_TEXT, NULL},
	{"hints", FIELD_OBJECT, &hints},
	END,
};
static const struct schema endpoint_v1beta1 = {endpoint_v1beta1_fields};

static const struct field slice_v1_fields[] = {
	{"apiVersion", FIELD_TEXT, NULL},
	{"kind", FIELD_TEXT, NULL},
	{"metadata", FIELD_OBJECT, &meta},
	{"addressType", FIELD_TEXT, NULL},
	{"endpoints", FIELD_OBJECT_LIST, &endpoint_v1},
	{"ports", FIELD_OBJECT_LIST, &endpoint_port},
	END,
};
const struct schema schema_endpoint_slice_v1 = {slice_v1_fields};

static const struct field slice_v1beta1_fields[] = {
	{"apiVersion", FIELD_TEXT, NULL},
	{"kind", FIELD_TEXT, NULL},
	{"metadata", FIELD_OBJECT, &meta},
	{"addressType", FIELD_TEXT, NULL},
	{"endpoints", FIELD_OBJECT_LIST, &endpoint_v1beta1},
	{"ports", FIELD_OBJECT_LIST, &endpoint_port},
	END,
};
const struct schema schema_endpoint_slice_v1beta1 = {slice_v1beta1_fields};

/* ---- Node: only its name and labels ---- */

static const struct field node_fields[] = {
	{"metadata", FIELD_OBJECT, &meta},
	END,
};
const struct schema schema_node = {node_fields};

/* ---- Pod: only what makes an endpoint ---- */

static const struct field container_port_fields[] = {
	{"name", FIELD_TEXT, NULL},
	{"containerPort", FIELD_INT, NULL},
	{"protocol", FIELD_TEXT, NULL},
	END,
};
static const struct schema container_port = {container_port_fields};

static const struct field container_fields[] = {
	{"ports", FIELD_OBJECT_LIST, &container_port},
	{"restartPolicy", FIELD_TEXT, NULL},
	END,
};
static const struct schema container = {container_fields};

static const struct field pod_spec_fields[] = {
	{"containers", FIELD_OBJECT_LIST, &container},
	{"initContainers", FIELD_OBJECT_LIST, &container},
	{"nodeName", FIELD_TEXT, NULL},
	END,
};
static const struct schema pod_spec = {pod_spec_fields};

static const struct field pod_ip_fields[] = {
	{"ip", FIELD_TEXT, NULL},
	END,
};
static const struct schema pod_ip = {pod_ip_fields};

static const struct field pod_condition_fields[] = {
	{"type", FIELD_TEXT, NULL},
	{"status", FIELD_TEXT, NULL},
	END,
};
static const struct schema pod_condition = {pod_condition_fields};

static const struct field pod_status_fields[] = {
	{"phase", FIELD_TEXT, NULL},
	{"podIP", FIELD_TEXT, NULL},
	{"podIPs", FIELD_OBJECT_LIST, &pod_ip},
	{"conditions", FIELD_OBJECT_LIST, &pod_condition},
	END,
};
static const struct schema pod_status = {pod_status_fields};

static const struct field pod_fields[] = {
	{"metadata", FIELD_OBJECT, &meta},
	{"spec", FIELD_OBJECT, &pod_spec},
	{"status", FIELD_OBJECT, &pod_status},
	END,
};
const struct schema schema_pod = {pod_fields};
