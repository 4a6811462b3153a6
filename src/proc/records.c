/* Owns what the supervisor reads out of plan records. The supervisor renders every rule itself from these
 * checked values; it never accepts rule text. */
#include "proc/records.h"

#include <errno.h>
#include <string.h>

static bool unicast(const struct addr_port *at)
{
	return at->port != 0 && !addr_is_any(&at->addr) && !addr_is_loopback(&at->addr) &&
	       !addr_is_multicast(&at->addr);
}

static bool node_port_ok(const struct addr_port *at, const struct options *options)
{
	return addr_is_any(&at->addr) && at->port >= options->source.node_port_first &&
	       at->port <= options->source.node_port_last;
}

static bool portal_ok(
	const struct plan_portal *portal, enum addr_family family, const struct options *options)
{
	if (addr_family(&portal->at.addr) != family)
		return false;
	switch (portal->kind) {
	case PLAN_PORTAL_CLUSTER_IP:
		return unicast(&portal->at) && !addr_is_link_local(&portal->at.addr);
	case PLAN_PORTAL_NODE_PORT:
		return node_port_ok(&portal->at, options);
	case PLAN_PORTAL_EXTERNAL_IP:
	case PLAN_PORTAL_LOAD_BALANCER:
		return unicast(&portal->at);
	default:
		return false;
	}
}

/* Loopback is allowed: manifests on a laptop have backends there. */
static bool backend_ok(const struct addr_port *at)
{
	return at->port != 0 && !addr_is_any(&at->addr) && !addr_is_multicast(&at->addr);
}

int records_check(const struct plan_listener *record, const struct options *options)
{
	if (record->portal_count == 0)
		return -EPROTO;
	for (size_t i = 0; i < record->portal_count; i++) {
		if (!portal_ok(&record->portals[i], record->family, options))
			return -EPROTO;
	}
	for (size_t i = 0; i < record->backend_count; i++) {
		if (!backend_ok(&record->backends[i].at))
			return -EPROTO;
	}
	return 0;
}

void records_rules(struct steering_rules *rules, struct table *table, const struct addr *bind_addr)
{
	steering_rules_init(rules, bind_addr);
	for (struct table_entry *entry = table_first(table); entry; entry = entry->hh.next) {
		const struct plan_listener *record = entry->record;

		for (size_t i = 0; entry->open && i < record->portal_count; i++) {
			if (entry->claim_errors[i] == 0)
				steering_rules_add_portal(
					rules, record, &record->portals[i], entry->socket.at.port);
		}
	}
}

void records_print_table(struct table *table, FILE *out)
{
	int width = (int)strlen("SERVICE");

	for (struct table_entry *entry = table_first(table); entry; entry = entry->hh.next) {
		if ((int)strlen(entry->record->key) > width)
			width = (int)strlen(entry->record->key);
	}
	fprintf(out, "%-*s  %-9s  %s\n", width, "SERVICE", "PORT", "LOCAL ADDRESS");
	for (struct table_entry *entry = table_first(table); entry; entry = entry->hh.next) {
		char local[ADDR_TEXT_BYTES], port[16];

		snprintf(port, sizeof(port), "%u/%s", entry->record->portals[0].at.port,
			proto_name(entry->record->proto));
		fprintf(out, "%-*s  %-9s  %s\n", width, entry->record->key, port,
			entry->open ? addr_port_format(&entry->socket.at, local) : "not open");
	}
	fflush(out);
}
