/* Decides where each Service's endpoints come from, and puts both into the snapshot. Runs in control, in
 * `portald plan` and in the fuzzers.
 *
 *     selector, and Pods in its namespace   -> from the Pods
 *     else, or if the selector meets no Pod
 *     that has an address                   -> its EndpointSlices, and its Endpoints unless a controller has
 *                                              put what they say into an EndpointSlice already
 */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/names.h"
#include "source/set.h"

/* Among so many Pods the one is looked for that a selector nearly meets. */
#define NEAREST_MAX_PODS 500

/* What is known while one Service is built. */
struct build {
	struct set *set;
	const struct source_options *options;
	struct model_builder *builder;
	struct set_pod **pods; /* of the Service's namespace */
	size_t pod_count, node_count;
	struct set_endpoints **endpoints; /* of the Service */
	size_t endpoints_count;
};

/* ---- sorting: each Service finds its part by bisection ---- */

static int pod_cmp(const void *a, const void *b)
{
	const struct set_pod *pa = *(struct set_pod *const *)a, *pb = *(struct set_pod *const *)b;
	int by_gone = (int)pa->object.gone - (int)pb->object.gone;
	int by_namespace = by_gone ? by_gone : strcmp(pa->namespace, pb->namespace);

	return by_namespace ? by_namespace : strcmp(pa->name, pb->name);
}

static int endpoints_cmp(const void *a, const void *b)
{
	const struct set_endpoints *ea = *(struct set_endpoints *const *)a;
	const struct set_endpoints *eb = *(struct set_endpoints *const *)b;
	int by_gone = (int)ea->object.gone - (int)eb->object.gone;
	int by_namespace = by_gone ? by_gone : strcmp(ea->namespace, eb->namespace);
	int by_service = by_namespace ? by_namespace : strcmp(ea->service_name, eb->service_name);

	return by_service ? by_service : strcmp(ea->object.title, eb->object.title);
}

/* EndpointSlices that belong to no Service are gone before sorting, so that the rest has a name. */
static void drop_unlabelled(struct set *set)
{
	for (size_t i = 0; i < set->endpoints_count; i++) {
		struct set_endpoints *endpoints = set->endpoints[i];

		if (endpoints->service_name)
			continue;
		if (!endpoints->object.gone)
			findings_add(set->findings, SOURCE_NOTE, endpoints->object.place,
				endpoints->object.title, "metadata.labels",
				"has no label kubernetes.io/service-name, so it belongs to no Service");
		endpoints->object.gone = true;
		endpoints->service_name = mem_strdup("");
	}
}

static int node_cmp(const void *a, const void *b)
{
	const struct set_node *na = *(struct set_node *const *)a, *nb = *(struct set_node *const *)b;
	int by_gone = (int)na->object.gone - (int)nb->object.gone;

	return by_gone ? by_gone : strcmp(na->model->name, nb->model->name);
}

static int pod_place_cmp(const struct set_pod *pod, const char *namespace)
{
	return pod->object.gone ? 1 : strcmp(pod->namespace, namespace);
}

static int endpoints_place_cmp(
	const struct set_endpoints *endpoints, const char *namespace, const char *service_name)
{
	int by_namespace = endpoints->object.gone ? 1 : strcmp(endpoints->namespace, namespace);

	return by_namespace ? by_namespace : strcmp(endpoints->service_name, service_name);
}

static void find_pods(struct build *build, const char *namespace)
{
	size_t low = 0, high = build->set->pod_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pod_place_cmp(build->set->pods[middle], namespace) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	build->pods = build->set->pods ? build->set->pods + low : NULL;
	build->pod_count = 0;
	while (low + build->pod_count < build->set->pod_count &&
		pod_place_cmp(build->pods[build->pod_count], namespace) == 0)
		build->pod_count++;
}

static void find_endpoints(struct build *build, const char *namespace, const char *service_name)
{
	size_t low = 0, high = build->set->endpoints_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (endpoints_place_cmp(build->set->endpoints[middle], namespace, service_name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	build->endpoints = build->set->endpoints ? build->set->endpoints + low : NULL;
	build->endpoints_count = 0;
	while (low + build->endpoints_count < build->set->endpoints_count &&
		endpoints_place_cmp(build->endpoints[build->endpoints_count], namespace, service_name) == 0)
		build->endpoints_count++;
}

/* ---- reasons ---- */

/* The Pod that meets most of the selector, if it meets any part of it or comes close. */
static const struct set_pod *nearest_pod(const struct build *build, const struct labels *selector)
{
	const struct set_pod *nearest = NULL;
	size_t best = 0;

	for (size_t i = 0; i < build->pod_count && i < NEAREST_MAX_PODS; i++) {
		size_t score = 0;

		for (size_t j = 0; j < selector->count; j++) {
			const struct label *wanted = &selector->list[j];
			const char *value = labels_get(&build->pods[i]->labels, wanted->key);

			if (value && strcmp(value, wanted->value) == 0)
				score += 4;
			else if (value)
				score += names_distance(value, wanted->value) <= 2 ? 2 : 1;
		}
		if (score > best) {
			best = score;
			nearest = build->pods[i];
		}
	}
	return nearest;
}

/* How many Pods of other namespaces the selector would meet. */
static size_t strangers(const struct set *set, const struct set_service *service, const char **namespace)
{
	size_t count = 0;

	for (size_t i = 0; i < set->pod_count; i++) {
		const struct set_pod *pod = set->pods[i];

		if (pod->object.gone || strcmp(pod->namespace, service->model->namespace) == 0 ||
			labels_matching(&service->selector, &pod->labels) < service->selector.count)
			continue;
		count++;
		*namespace = pod->namespace;
	}
	return count;
}

static char *no_match_reason(const struct build *build, const struct set_service *service)
{
	char *selector = labels_format(&service->selector), *reason, *hint = mem_strdup("");
	const struct set_pod *nearest = nearest_pod(build, &service->selector);
	const char *elsewhere = NULL;
	size_t count = strangers(build->set, service, &elsewhere);

	if (count > 0) {
		free(hint);
		hint = mem_printf("; it would meet %zu in other namespaces, such as %s", count, elsewhere);
	} else if (nearest) {
		char *labels = labels_format(&nearest->labels);

		free(hint);
		hint = mem_printf("; the closest is %s with %s", nearest->object.title, labels);
		free(labels);
	}
	reason = mem_printf("selector %s meets none of the %zu Pods in namespace %s%s", selector,
		build->pod_count, service->model->namespace, hint);
	free(hint);
	free(selector);
	return reason;
}

static char *no_endpoints_reason(
	const struct build *build, const struct set_service *service, const struct pods_outcome *outcome)
{
	char *selector, *reason;

	if (build->endpoints_count > 0 && outcome->with_address == 0)
		return mem_printf("its EndpointSlices and Endpoints are empty");
	if (service->selector.count == 0)
		return mem_printf("no selector, and no Endpoints or EndpointSlices for it in the manifests");
	if (build->set->pod_count > 0 && outcome->matched == 0)
		return no_match_reason(build, service);
	selector = labels_format(&service->selector);
	if (outcome->matched == 0)
		reason = mem_printf("selector %s, but there are no Pods in the manifests, nor Endpoints or "
				    "EndpointSlices for it",
			selector);
	else if (outcome->with_address == 0)
		reason = mem_printf("selector %s meets %zu Pods, but none of them runs and has a podIP",
			selector, outcome->matched);
	else
		reason = mem_printf("selector %s meets %zu Pods, but none of them has an address of the "
				    "Service's family and a port that targetPort names",
			selector, outcome->matched);
	free(selector);
	return reason;
}

/* ---- building ---- */

/* True if what this Endpoints object says is in an EndpointSlice already, or never will be. */
static bool is_superseded(const struct build *build, const struct set_endpoints *endpoints)
{
	if (!endpoints->from_endpoints)
		return false;
	for (size_t i = 0; i < build->endpoints_count; i++) {
		const struct set_endpoints *other = build->endpoints[i];

		if (!other->from_endpoints && (other->managed || endpoints->managed))
			return true;
	}
	return false;
}

/* ---- weights ---- */

static int pod_name_cmp(const void *name, const void *pod)
{
	return strcmp(name, (*(struct set_pod *const *)pod)->name);
}

/* The Pod that "Pod namespace/name" names, if it is in the Service's namespace; or NULL. */
static const struct set_pod *find_target(const struct build *build, const char *target)
{
	static const char kind[] = "Pod ";
	const char *name = target ? strchr(target, '/') : NULL;
	struct set_pod *const *found;
	const char *namespace;

	if (!name || build->pod_count == 0 || strncmp(target, kind, strlen(kind)) != 0)
		return NULL;
	target += strlen(kind);
	namespace = build->pods[0]->namespace;
	if (strncmp(target, namespace, (size_t)(name - target)) != 0 || namespace[name - target])
		return NULL;
	found = bsearch(name + 1, build->pods, build->pod_count, sizeof(struct set_pod *), pod_name_cmp);
	return found ? *found : NULL;
}

/* A Pod's weight counts for its endpoint wherever that comes from, before what the whole slice says. Nobody
 * else has seen the slice yet. */
static void weigh(const struct build *build, struct model_slice *slice)
{
	for (size_t i = 0; i < slice->endpoint_count; i++) {
		struct model_endpoint *endpoint = &slice->endpoints[i];
		const struct set_pod *pod = find_target(build, endpoint->target);

		if (pod && pod->has_weight)
			endpoint->weight = pod->weight;
	}
}

/* Returns how many endpoints there are. */
static size_t take_endpoints(struct build *build)
{
	size_t count = 0;

	for (size_t i = 0; i < build->endpoints_count; i++) {
		const struct set_endpoints *endpoints = build->endpoints[i];

		for (size_t j = 0; j < endpoints->slice_count && !is_superseded(build, endpoints); j++) {
			count += endpoints->slices[j]->endpoint_count;
			weigh(build, endpoints->slices[j]);
			model_builder_take_slice(build->builder, model_slice_ref(endpoints->slices[j]));
		}
	}
	return count;
}

static void build_service(struct build *build, struct set_service *service)
{
	struct model_service *model = service->model;
	struct pods_outcome outcome = {0};
	size_t count;

	model_builder_take_service(build->builder, model_service_ref(model));
	if (model->type == MODEL_EXTERNAL_NAME || model->out_of_scope)
		return;
	find_pods(build, model->namespace);
	find_endpoints(build, model->namespace, model->name);
	if (service->selector.count > 0)
		outcome = pods_derive(service,
			&(struct pods){build->pods, build->pod_count, build->set->nodes, build->node_count},
			build->options, build->builder);
	count = outcome.used;
	if (outcome.with_address == 0)
		count += take_endpoints(build);
	if (count > 0)
		return;
	model->no_endpoints_reason = no_endpoints_reason(build, service, &outcome);
	findings_add(build->set->findings, SOURCE_WARNING, service->selector_place, service->object.title,
		service->selector.count ? "spec.selector" : NULL, "no endpoints: %s",
		model->no_endpoints_reason);
}

static bool has_service(const struct set *set, const struct set_endpoints *endpoints)
{
	size_t low = 0, high = set->service_count;

	/* set_claim() has sorted them by namespace and name. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct model_service *model = set->services[middle]->model;
		int by_namespace = strcmp(model->namespace, endpoints->namespace);
		int by_name = by_namespace ? by_namespace : strcmp(model->name, endpoints->service_name);

		if (by_name == 0)
			return true;
		if (by_name < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static void report_orphans(struct set *set)
{
	for (size_t i = 0; i < set->endpoints_count; i++) {
		const struct set_endpoints *endpoints = set->endpoints[i];

		if (!endpoints->object.gone && !has_service(set, endpoints))
			findings_add(set->findings, SOURCE_NOTE, endpoints->object.place,
				endpoints->object.title, NULL,
				"there is no Service %s/%s for it in the manifests", endpoints->namespace,
				endpoints->service_name);
	}
}

static void build_nodes(struct build *build)
{
	struct set *set = build->set;

	if (set->node_count)
		qsort(set->nodes, set->node_count, sizeof(*set->nodes), node_cmp);
	for (size_t i = 0; i < set->node_count && !set->nodes[i]->object.gone; i++) {
		model_builder_take_node(build->builder, model_node_ref(set->nodes[i]->model));
		build->node_count++;
	}
}

void set_build(struct set *set, const struct source_options *options, struct model_builder *builder)
{
	struct build build = {.set = set, .options = options, .builder = builder};

	drop_unlabelled(set);
	if (set->pod_count)
		qsort(set->pods, set->pod_count, sizeof(*set->pods), pod_cmp);
	if (set->endpoints_count)
		qsort(set->endpoints, set->endpoints_count, sizeof(*set->endpoints), endpoints_cmp);
	report_orphans(set);
	build_nodes(&build);
	for (size_t i = 0; i < set->service_count; i++) {
		if (!set->services[i]->object.gone)
			build_service(&build, set->services[i]);
	}
}
