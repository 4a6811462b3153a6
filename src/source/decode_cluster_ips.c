/* Decodes which addresses and families a Service has. Runs in control, in `portald plan` and in the
 * fuzzers. */
#include <string.h>

#include "source/decode_service.h"

static void check_families(struct checked *checked)
{
	static const char *const families[] = {"IPv4", "IPv6", NULL};
	const struct doc_node *list = doc_get(checked->spec, "ipFamilies");
	struct set_service *service = checked->service;
	size_t mark = scope_enter(checked->scope, "ipFamilies");

	for (size_t i = 0; i < doc_get_count(checked->spec, "ipFamilies"); i++) {
		const char *text = list->items[i]->text;
		enum addr_family family = strcmp(text, "IPv6") == 0 ? ADDR_V6 : ADDR_V4;
		size_t index_mark = scope_enter_index(checked->scope, i);

		if (strcmp(text, "IPv4") != 0 && family == ADDR_V4)
			scope_unsupported(checked->scope, NULL, list->items[i], text, families);
		else if (i >= 2 || (i == 1 && service->family_count == 1 && service->families[0] == family))
			scope_duplicate(checked->scope, NULL, list->items[i], text);
		else
			service->families[service->family_count++] = family;
		scope_leave(checked->scope, index_mark);
	}
	scope_leave(checked->scope, mark);
}

/* One address of spec.clusterIPs, or spec.clusterIP if there is no list. */
static void check_cluster_ip(struct checked *checked, const char *field, const struct doc_node *node)
{
	struct model_service *model = checked->model;
	size_t index = model->cluster_ip_count;
	struct addr addr;

	if (!decode_endpoint_address(checked->scope, field, node, &addr))
		return;
	if (addr_is_loopback(&addr) || addr_is_link_local(&addr))
		scope_invalid(checked->scope, field, node, node->text,
			"may not be a loopback or link-local address");
	else if (index > 0 && addr_family(&addr) == addr_family(&model->cluster_ips[0]))
		scope_invalid(
			checked->scope, field, node, node->text, "may only hold one address of each family");
	else if (index < checked->service->family_count &&
		 addr_family(&addr) != checked->service->families[index])
		scope_invalid(checked->scope, field, node, node->text,
			"is not of the family that ipFamilies names");
	else
		model->cluster_ips[model->cluster_ip_count++] = addr;
}

static void check_cluster_ip_list(struct checked *checked)
{
	const struct doc_node *list = doc_get(checked->spec, "clusterIPs");
	const char *primary = doc_get_text(checked->spec, "clusterIP");
	size_t count = doc_get_count(checked->spec, "clusterIPs");
	size_t mark = scope_enter(checked->scope, "clusterIPs");

	if (!primary)
		scope_report(checked->scope, SOURCE_ERROR, list,
			"Forbidden: must be empty when `clusterIP` is not specified");
	else if (strcmp(primary, list->items[0]->text) != 0)
		scope_invalid(checked->scope, NULL, list->items[0], list->items[0]->text,
			"the first must be the same as `clusterIP`");
	else if (count > 2)
		scope_report(checked->scope, SOURCE_ERROR, list, "Too many: %zu: must have at most 2 items",
			count);
	else if (count > 1 && checked->model->headless)
		scope_report(checked->scope, SOURCE_ERROR, list, "may hold nothing else beside 'None'");
	for (size_t i = 0; i < count && i < 2 && !checked->model->headless; i++) {
		size_t index_mark = scope_enter_index(checked->scope, i);

		check_cluster_ip(checked, NULL, list->items[i]);
		scope_leave(checked->scope, index_mark);
	}
	scope_leave(checked->scope, mark);
}

/* Without a policy, naming two families or addresses asks for both. */
static void check_family_policy(struct checked *checked)
{
	static const char *const policies[] = {"PreferDualStack", "RequireDualStack", "SingleStack", NULL};
	static const enum family_policy meanings[] = {PREFER_DUAL_STACK, REQUIRE_DUAL_STACK, SINGLE_STACK};
	const struct doc_node *node = doc_get(checked->spec, "ipFamilyPolicy");
	bool two = checked->service->family_count == 2 || checked->model->cluster_ip_count == 2;
	size_t chosen = decode_choice(checked, "ipFamilyPolicy", policies, two ? 1 : 2);

	checked->service->family_policy = meanings[chosen];
	checked->service->family_policy_place = scope_place(checked->scope, node ? node : checked->spec);
	if (node && two && meanings[chosen] == SINGLE_STACK && doc_get_text(checked->spec, "ipFamilyPolicy"))
		scope_invalid(checked->scope, "ipFamilyPolicy", node, node->text,
			"must be 'RequireDualStack' or 'PreferDualStack' when multiple clusterIPs or "
			"ipFamilies are specified");
}

void decode_cluster_ips(struct checked *checked)
{
	const char *text = doc_get_text(checked->spec, "clusterIP");
	const struct doc_node *node = decode_at(checked->spec, "clusterIP");

	checked->service->cluster_ip_place = scope_place(checked->scope, node);
	if (checked->model->type == MODEL_EXTERNAL_NAME)
		return;
	checked->model->headless = text && strcmp(text, "None") == 0;
	if (checked->model->headless && checked->model->type != MODEL_CLUSTER_IP)
		scope_invalid(checked->scope, "clusterIP", node, text,
			"may not be set to 'None' for NodePort and LoadBalancer services");
	check_families(checked);
	if (doc_get_count(checked->spec, "clusterIPs") > 0)
		check_cluster_ip_list(checked);
	else if (text && !checked->model->headless)
		check_cluster_ip(checked, "clusterIP", node);
	check_family_policy(checked);
	checked->service->wants_cluster_ip = !checked->model->headless;
}
