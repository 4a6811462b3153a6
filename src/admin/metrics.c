/* Owns the metrics of rule programming and of health, and the order of all. Runs in control. */
#include <event2/buffer.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "admin/admin_private.h"
#include "admin/text.h"
#include "portald/mem.h"

static void print_one(
	struct evbuffer *out, const char *name, enum text_type type, const char *help, double value)
{
	text_family(out, name, type, help);
	text_sample(out, name, NULL, value);
}

static void print_histogram(
	struct evbuffer *out, const char *name, const char *help, const struct histogram *histogram)
{
	text_family(out, name, TEXT_HISTOGRAM, help);
	text_histogram(out, name, NULL, histogram->bounds, histogram->bound_count, histogram->counts,
		histogram->sum);
}

static void print_sync(const struct counts *counts, struct evbuffer *out)
{
	print_histogram(out, "kubeproxy_sync_proxy_rules_duration_seconds",
		"Time from a plan being sent to its rules being in force", &counts->sync);
	print_histogram(out, "kubeproxy_network_programming_duration_seconds",
		"Time from a change of endpoints in the cluster to its being in force on this node",
		&counts->programming);
	print_one(out, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", TEXT_GAUGE,
		"When rules have last come into force", (double)counts->synced_wall_us / 1e6);
	print_one(out, "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", TEXT_GAUGE,
		"When a plan was last sent", (double)counts->queued_wall_us / 1e6);
	print_one(out, "kubeproxy_sync_proxy_rules_iptables_restore_failures_total", TEXT_COUNTER,
		"Failed attempts to put rules in force", (double)counts->restore_failures);
}

static void print_rules(const struct admin *admin, struct evbuffer *out)
{
	static const char name[] = "kubeproxy_sync_proxy_rules_iptables_total";
	struct admin_rules rules = {.nat = 0};

	if (admin->options.count_rules)
		rules = admin->options.count_rules(admin->options.context);
	text_family(out, name, TEXT_GAUGE, "Rules that the plan in force takes, by table");
	text_sample(out, name, "table=\"nat\"", (double)rules.nat);
	text_sample(out, name, "table=\"filter\"", (double)rules.filter);
}

static void print_closed(const struct admin *admin, struct evbuffer *out)
{
	static const char name[] = "portald_portals_closed";
	struct admin_closed closed = {.listener = 0};

	if (admin->options.count_closed)
		closed = admin->options.count_closed(admin->options.context);
	text_family(out, name, TEXT_GAUGE, "Portals at which a Service can't be reached, by reason");
	text_sample(out, name, "reason=\"listener\"", (double)closed.listener);
	text_sample(out, name, "reason=\"port\"", (double)closed.port);
	text_sample(out, name, "reason=\"rule\"", (double)closed.rule);
}

static void print_changes(const struct counts *counts, struct evbuffer *out)
{
	print_one(out, "kubeproxy_sync_proxy_rules_endpoint_changes_total", TEXT_COUNTER,
		"EndpointSlices that have changed", (double)counts->slice_changes);
	print_one(out, "kubeproxy_sync_proxy_rules_endpoint_changes_pending", TEXT_GAUGE,
		"EndpointSlices whose change is not in force yet", (double)counts->slices_pending);
	print_one(out, "kubeproxy_sync_proxy_rules_service_changes_total", TEXT_COUNTER,
		"Services that have changed", (double)counts->service_changes);
	print_one(out, "kubeproxy_sync_proxy_rules_service_changes_pending", TEXT_GAUGE,
		"Services whose change is not in force yet", (double)counts->services_pending);
}

static void print_answers(
	struct evbuffer *out, const char *name, const char *help, const struct answers *answers)
{
	text_family(out, name, TEXT_COUNTER, help);
	text_sample(out, name, "code=\"200\"", (double)answers->ok);
	text_sample(out, name, "code=\"503\"", (double)answers->unavailable);
}

static void print_requests(const struct counts *counts, struct evbuffer *out)
{
	static const char name[] = "rest_client_requests_total";

	text_family(out, name, TEXT_COUNTER,
		"Requests to the API server, by the status of the answer (<error> without one), method and "
		"host");
	for (const struct request_count *request = counts->requests; request; request = request->next) {
		char *code = request->status ? mem_printf("%u", request->status) : mem_strdup("<error>");
		char *first = text_label(NULL, "code", code);
		char *second = text_label(first, "method", request->method);
		char *labels = text_label(second, "host", request->host);

		text_sample(out, name, labels, (double)request->count);
		free(labels);
		free(second);
		free(first);
		free(code);
	}
}

static void print_build(const struct admin *admin, struct evbuffer *out)
{
	static const char name[] = "kubernetes_build_info";
	char *version = mem_printf("portald %s", admin->options.version);
	struct utsname host;
	char *platform =
		uname(&host) == 0 ? mem_printf("linux/%s", host.machine) : mem_strdup("linux/unknown");
	char *first = text_label(NULL, "git_version", version);
	char *second = text_label(first, "compiler", __VERSION__);
	char *labels = text_label(second, "platform", platform);

	text_family(out, name, TEXT_GAUGE, "What is running, in its labels; always 1");
	text_sample(out, name, labels, 1);
	free(labels);
	free(second);
	free(first);
	free(platform);
	free(version);
}

void metrics_print(const struct admin *admin, struct evbuffer *out)
{
	const struct counts *counts = &admin->counts;

	print_build(admin, out);
	print_sync(counts, out);
	print_rules(admin, out);
	print_closed(admin, out);
	print_changes(counts, out);
	print_answers(
		out, "kubeproxy_proxy_healthz_total", "Answers to /healthz, by status", &counts->healthz);
	print_answers(out, "kubeproxy_proxy_livez_total", "Answers to /livez, by status", &counts->livez);
	print_requests(counts, out);
	metrics_print_processes(admin, out);
	metrics_print_services(admin, out);
}
