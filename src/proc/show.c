/* Owns `portald plan`: files to text, no privilege, no socket. Runs alone, in the first process. */
#include "proc/show.h"

#include <stdio.h>
#include <stdlib.h>

#include "portald/log.h"
#include "proc/addresses.h"
#include "proc/manifests.h"

/* Where the example proxy ports begin when no --proxy-port-range says it. */
#define EXAMPLE_FIRST_PORT 40000

static void print_finding(enum source_severity severity, const char *line)
{
	(void)severity;
	fprintf(stderr, "%s\n", line);
}

static int print_family(const struct steering_rules *rules, enum addr_family family, const char *tool)
{
	char *text = steering_iptables_render(rules, family, NULL);
	int rc = printf("# %s --noflush\n%s", tool, text) < 0 ? -1 : 0;

	free(text);
	return rc;
}

static int print_nftables(const struct steering_rules *rules)
{
	char *text = steering_nftables_render(rules, NULL);
	int rc = printf("# nft -f -\n%s", text) < 0 ? -1 : 0;

	free(text);
	return rc;
}

static int print_iptables(const struct steering_rules *rules)
{
	int rc = print_family(rules, ADDR_V4, "iptables-restore");

	if (rc == 0 && steering_rules_have(rules, ADDR_V6))
		rc = print_family(rules, ADDR_V6, "ip6tables-restore");
	return rc;
}

static int print_rules(const struct plan *plan, const struct options *options)
{
	uint16_t first = options->proxy_ports.first ? options->proxy_ports.first : EXAMPLE_FIRST_PORT;
	struct steering_rules rules;
	struct addresses addresses;
	int rc;

	addresses_load(&addresses, options);
	steering_rules_from_plan(&rules, plan, &options->bind_addr, first);
	addresses_describe(&addresses, &rules);
	rc = options->steering == OPTIONS_STEERING_NFTABLES ? print_nftables(&rules) : print_iptables(&rules);
	steering_rules_fini(&rules);
	addresses_free(&addresses);
	return rc;
}

static int print_snapshot(struct model_snapshot *snapshot, const struct options *options)
{
	struct plan_facts facts = options_facts(options);
	struct plan *plan = plan_build(snapshot, &facts);
	int rc = options->rules ? print_rules(plan, options) : plan_print(plan, options->output, stdout);

	plan_free(plan);
	return rc == 0 && fflush(stdout) == 0 ? 0 : -1;
}

int show_plan(const struct options *options)
{
	struct manifests manifests;
	struct model_snapshot *snapshot;
	size_t errors;
	int rc = 0;

	log_init("plan", options->log_format, options->verbosity);
	manifests_collect(&manifests, options);
	snapshot = manifests_decode(&manifests, options, NULL, print_finding, &errors);
	if ((errors && options->strict) || (manifests.count == 0 && manifests.unreadable > 0))
		rc = -1;
	if (rc == 0)
		rc = print_snapshot(snapshot, options);
	model_snapshot_unref(snapshot);
	manifests_free(&manifests);
	return rc < 0 ? 1 : 0;
}
