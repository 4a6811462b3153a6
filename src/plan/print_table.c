/* Owns the plan as a table for people. Runs in `portald plan`. */
#include <stdlib.h>
#include <string.h>

#include "plan/plan_private.h"
#include "portald/mem.h"

enum column { COLUMN_KEY, COLUMN_PORTAL, COLUMN_ENDPOINT, COLUMN_TARGET, COLUMN_STATE, COLUMNS };

#define GAP 2

struct row {
	char *cells[COLUMNS]; /* NULL: empty */
};

struct table {
	struct row *rows;
	size_t count;
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

static char *portal_text(const struct plan_portal *portal)
{
	char text[ADDR_TEXT_BYTES];

	if (portal->kind == PLAN_PORTAL_NODE_PORT)
		return mem_printf("nodePort %u", portal->at.port);
	return mem_strdup(addr_port_format(&portal->at, text));
}

static char *endpoint_text(const struct addr_port *at)
{
	char text[ADDR_TEXT_BYTES];

	if (at->port == 0)
		return mem_strdup(addr_format(&at->addr, text));
	return mem_strdup(addr_port_format(at, text));
}

/* Portals run down one column, endpoints down another, side by side. */
static void table_listener(struct table *table, const struct plan_listener *listener)
{
	size_t top = table->count, row = top;

	cell_set(table, top, COLUMN_KEY, mem_strdup(listener->key));
	for (size_t i = 0; i < listener->portal_count; i++)
		cell_set(table, top + i, COLUMN_PORTAL, portal_text(&listener->portals[i]));
	if (listener->note) {
		cell_set(table, row, COLUMN_ENDPOINT, mem_strdup("-"));
		cell_set(table, row, COLUMN_TARGET, mem_strdup("-"));
		cell_set(table, row++, COLUMN_STATE, mem_strdup(listener->note));
	}
	for (size_t i = 0; i < listener->backend_count; i++, row++) {
		const char *target = listener->backends[i].target;

		cell_set(table, row, COLUMN_ENDPOINT, endpoint_text(&listener->backends[i].at));
		cell_set(table, row, COLUMN_TARGET, mem_strdup(target ? target : "-"));
		cell_set(table, row, COLUMN_STATE, mem_strdup("used"));
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
	struct table table = {.count = 0};

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

int plan_print_table(const struct plan *plan, FILE *out)
{
	if (plan->listener_count > 0)
		print_listeners(plan, out);
	else
		fputs("No Service opens a port.\n", out);
	if (plan->skipped_count > 0) {
		fputc('\n', out);
		print_skipped(plan, out);
	}
	return 0;
}
