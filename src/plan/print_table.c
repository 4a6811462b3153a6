/* Owns the plan as a table for people. Runs in `portald plan`. */
#include <stdlib.h>
#include <string.h>

#include "plan/print_text.h"
#include "portald/mem.h"

enum column { COLUMN_KEY, COLUMN_PORTAL, COLUMN_ENDPOINT, COLUMN_TARGET, COLUMN_STATE, COLUMNS };

#define GAP 2

struct row {
	char *cells[COLUMNS]; /* NULL: empty */
};

struct table {
	struct row *rows;
	size_t count;
	const struct service_options *usual;
};

static struct row *table_row(struct table *table)
{
	return plan_array_append(&table->rows, &table->count, sizeof(struct row));
}

static void cell_set(struct table *table, size_t row, enum column column, char *text_take)
{
	while (table->count <= row)
		table_row(table);
	table->rows[row].cells[column] = text_take;
}

static char *portal_place(const struct plan_portal *portal)
{
	char text[ADDR_TEXT_BYTES];

	if (portal->kind == PLAN_PORTAL_NODE_PORT)
		return mem_printf("nodePort %u", portal->at.port);
	if (portal->kind == PLAN_PORTAL_CLUSTER_IP)
		return mem_strdup(addr_port_format(&portal->at, text));
	return mem_printf("%s %s", plan_portal_word(portal->kind), addr_port_format(&portal->at, text));
}

/* "10.96.0.10:53/UDP", "nodePort 30080", "externalIP 198.51.100.7:80 (arriving)" */
static char *portal_text(const struct plan_listener *listener, const struct plan_portal *portal)
{
	const char *scope = plan_scope_name(portal->scope);
	char *place = portal_place(portal), *text;

	text = mem_printf("%s%s%s%s%s%s%s", place, listener->proto == PROTO_UDP ? "/UDP" : "",
		scope || portal->check_source ? " (" : "", scope ? scope : "",
		scope && portal->check_source ? ", " : "", portal->check_source ? "sources checked" : "",
		scope || portal->check_source ? ")" : "");
	free(place);
	return text;
}

static char *endpoint_text(const struct addr_port *at)
{
	char text[ADDR_TEXT_BYTES];

	if (at->port == 0)
		return mem_strdup(addr_format(&at->addr, text));
	return mem_strdup(addr_port_format(at, text));
}

struct column_end {
	struct table *table;
	size_t row;
};

static void add_option(void *context, const char *name, const char *text, unsigned number)
{
	struct column_end *end = context;

	cell_set(end->table, end->row++, COLUMN_PORTAL,
		text ? mem_printf("%s %s", name, text) : mem_printf("%s %u", name, number));
}

/* What there is to say of the front: portals, source ranges, options. */
static void front_column(struct table *table, const struct plan_listener *listener, size_t top)
{
	struct column_end end = {table, top};
	char range[ADDR_TEXT_BYTES + 4];

	for (size_t i = 0; i < listener->portal_count; i++)
		cell_set(table, end.row++, COLUMN_PORTAL, portal_text(listener, &listener->portals[i]));
	for (size_t i = 0; i < listener->source_range_count; i++)
		cell_set(table, end.row++, COLUMN_PORTAL,
			mem_printf("source %s", plan_prefix_format(&listener->source_ranges[i], range)));
	plan_options_each(listener, table->usual, add_option, &end);
}

static char *note_text(const struct plan_listener *listener)
{
	static const char *const before[PLAN_ACTIONS] = {
		[PLAN_PROXY] = "", [PLAN_REJECT] = "refused: ", [PLAN_DROP] = "dropped: "};

	return mem_printf("%s%s", before[listener->action], listener->note);
}

static char *backend_text(const struct plan_backend *backend)
{
	if (backend->weight == SERVICE_WEIGHT_DEFAULT)
		return mem_strdup("used");
	return mem_printf("used, weight %u", backend->weight);
}

/* Portals run down one column, endpoints down another, side by side. */
static void table_listener(struct table *table, const struct plan_listener *listener)
{
	size_t top = table->count, row = top;

	cell_set(table, top, COLUMN_KEY, mem_strdup(listener->id));
	front_column(table, listener, top);
	if (listener->note) {
		cell_set(table, row, COLUMN_ENDPOINT, mem_strdup("-"));
		cell_set(table, row, COLUMN_TARGET, mem_strdup("-"));
		cell_set(table, row++, COLUMN_STATE, note_text(listener));
	}
	for (size_t i = 0; i < listener->backend_count; i++, row++) {
		const char *target = listener->backends[i].target;

		cell_set(table, row, COLUMN_ENDPOINT, endpoint_text(&listener->backends[i].at));
		cell_set(table, row, COLUMN_TARGET, mem_strdup(target ? target : "-"));
		cell_set(table, row, COLUMN_STATE, backend_text(&listener->backends[i]));
	}
	for (size_t i = 0; i < listener->left_out_count; i++, row++) {
		const struct plan_left_out *left_out = &listener->left_out[i];

		cell_set(table, row, COLUMN_ENDPOINT, endpoint_text(&left_out->at));
		cell_set(table, row, COLUMN_TARGET, mem_strdup(left_out->target ? left_out->target : "-"));
		cell_set(table, row, COLUMN_STATE, mem_printf("left out: %s", left_out->reason));
	}
}

static void table_widths(const struct table *table, size_t widths[COLUMNS])
{
	for (size_t i = 0; i < table->count; i++) {
		for (size_t column = 0; column < COLUMNS; column++) {
			const char *cell = table->rows[i].cells[column];

			if (cell && strlen(cell) > widths[column])
				widths[column] = strlen(cell);
		}
	}
}

/* Without blanks at the end of the line. */
static void row_print(const struct row *row, const size_t widths[COLUMNS], FILE *out)
{
	size_t gap = 0;

	for (size_t column = 0; column < COLUMNS; column++) {
		const char *cell = row->cells[column] ? row->cells[column] : "";

		if (cell[0]) {
			fprintf(out, "%*s%s", (int)gap, "", cell);
			gap = 0;
		}
		gap += widths[column] + GAP - strlen(cell);
	}
	fputc('\n', out);
}

static void table_print(struct table *table, FILE *out)
{
	size_t widths[COLUMNS] = {0};

	table_widths(table, widths);
	for (size_t i = 0; i < table->count; i++) {
		row_print(&table->rows[i], widths, out);
		for (size_t column = 0; column < COLUMNS; column++)
			free(table->rows[i].cells[column]);
	}
	free(table->rows);
}

static void print_listeners(const struct plan *plan, FILE *out)
{
	static const char *const titles[COLUMNS] = {"SERVICE PORT", "PORTAL", "ENDPOINT", "TARGET", "STATE"};
	struct table table = {.usual = &plan->usual};

	for (size_t column = 0; column < COLUMNS; column++)
		cell_set(&table, 0, column, mem_strdup(titles[column]));
	for (size_t i = 0; i < plan->listener_count; i++)
		table_listener(&table, plan->listeners[i]);
	table_print(&table, out);
}

static void print_skipped(const struct plan *plan, FILE *out)
{
	struct table table = {.count = 0};

	cell_set(&table, 0, COLUMN_KEY, mem_strdup("OPENS NOTHING"));
	cell_set(&table, 0, COLUMN_PORTAL, mem_strdup("BECAUSE"));
	for (size_t i = 0; i < plan->skipped_count; i++) {
		cell_set(&table, i + 1, COLUMN_KEY, mem_strdup(plan->skipped[i].key));
		cell_set(&table, i + 1, COLUMN_PORTAL, mem_strdup(plan->skipped[i].reason));
	}
	table_print(&table, out);
}

static void print_health_checks(const struct plan *plan, FILE *out)
{
	struct table table = {.count = 0};

	cell_set(&table, 0, COLUMN_KEY, mem_strdup("HEALTH CHECK"));
	cell_set(&table, 0, COLUMN_PORTAL, mem_strdup("ENDPOINTS ON THIS NODE"));
	for (size_t i = 0; i < plan->health_check_count; i++) {
		const struct plan_health_check *check = &plan->health_checks[i];

		cell_set(&table, i + 1, COLUMN_KEY,
			mem_printf("%s/%s, port %u", check->namespace, check->name, check->port));
		cell_set(&table, i + 1, COLUMN_PORTAL, mem_printf("%zu", check->local_endpoints));
	}
	table_print(&table, out);
}

int plan_print_table(const struct plan *plan, FILE *out)
{
	if (plan->listener_count > 0)
		print_listeners(plan, out);
	else
		fputs("No Service opens a port.\n", out);
	if (plan->health_check_count > 0) {
		fputc('\n', out);
		print_health_checks(plan, out);
	}
	if (plan->skipped_count > 0) {
		fputc('\n', out);
		print_skipped(plan, out);
	}
	return 0;
}
