/* Owns the metrics of the processes: control's own from /proc, the others' from what they tell in the shared
 * counters. Runs in control. */
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin_private.h"
#include "admin/text.h"
#include "portald/clock.h"
#include "portald/descriptors.h"
#include "portald/mem.h"
#include "portald/stats.h"

/* Fields of /proc/PID/stat, counted from the one behind the name, which may hold anything. */
enum stat_field { STAT_USER = 11, STAT_SYSTEM = 12, STAT_START = 19, STAT_VIRTUAL = 20, STAT_RESIDENT = 21 };
#define STAT_FIELDS (STAT_RESIDENT + 1)

/* Returns false if there is no such process, or it may not be seen. */
static bool read_stat(const char *path, uint64_t *fields)
{
	char text[1024], *at;
	FILE *file = fopen(path, "re");
	size_t got;

	if (!file)
		return false;
	got = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[got] = '\0';
	at = strrchr(text, ')');
	if (!at)
		return false;
	/* The first is a letter. */
	at += strlen(") R");
	for (size_t i = 1; i < STAT_FIELDS; i++)
		fields[i] = strtoull(at, &at, 10);
	return true;
}

static double ticks_seconds(uint64_t ticks)
{
	return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void print_one(
	struct evbuffer *out, const char *name, enum text_type type, const char *help, double value)
{
	text_family(out, name, type, help);
	text_sample(out, name, NULL, value);
}

static void print_own(const struct admin *admin, struct evbuffer *out)
{
	uint64_t fields[STAT_FIELDS] = {0};
	int64_t age_ms = admin->options.now_ms() - admin->health.started_ms;

	if (!read_stat("/proc/self/stat", fields))
		return;
	print_one(out, "process_cpu_seconds_total", TEXT_COUNTER,
		"CPU time of the process that answers: control",
		ticks_seconds(fields[STAT_USER] + fields[STAT_SYSTEM]));
	print_one(out, "process_open_fds", TEXT_GAUGE, "Descriptors that control has open",
		(double)descriptors_open());
	print_one(out, "process_max_fds", TEXT_GAUGE, "Descriptors that control may have open",
		(double)descriptors_limit());
	print_one(out, "process_resident_memory_bytes", TEXT_GAUGE, "Resident memory of control",
		(double)fields[STAT_RESIDENT] * (double)sysconf(_SC_PAGESIZE));
	print_one(out, "process_virtual_memory_bytes", TEXT_GAUGE, "Virtual memory of control",
		(double)fields[STAT_VIRTUAL]);
	print_one(out, "process_start_time_seconds", TEXT_GAUGE, "When control began",
		((double)admin->options.wall_us() / 1e3 - (double)age_ms) / 1e3);
}

/* ---- the others ---- */

struct row {
	char *labels;
	struct stats_process *process; /* NULL: control itself, which counts elsewhere */
	bool seen;                     /* fields are valid */
	uint64_t fields[STAT_FIELDS];
};

static void row_init(struct row *row, const char *role, int index, struct stats_process *process)
{
	char number[16], path[64] = "/proc/self/stat", *first = text_label(NULL, "process", role);

	snprintf(number, sizeof(number), "%d", index);
	row->labels = text_label(first, "index", number);
	row->process = process;
	if (process)
		snprintf(path, sizeof(path), "/proc/%llu/stat",
			(unsigned long long)atomic_load_explicit(&process->pid, memory_order_relaxed));
	row->seen = read_stat(path, row->fields);
	free(first);
}

static void print_cpu(const struct row *rows, size_t count, struct evbuffer *out)
{
	static const char name[] = "portald_process_cpu_seconds_total";

	text_family(out, name, TEXT_COUNTER, "CPU time, by process");
	for (size_t i = 0; i < count; i++) {
		if (rows[i].seen)
			text_sample(out, name, rows[i].labels,
				ticks_seconds(rows[i].fields[STAT_USER] + rows[i].fields[STAT_SYSTEM]));
	}
}

static void print_memory(const struct row *rows, size_t count, struct evbuffer *out)
{
	static const char name[] = "portald_process_resident_memory_bytes";

	text_family(out, name, TEXT_GAUGE, "Resident memory, by process; what they share counts for each");
	for (size_t i = 0; i < count; i++) {
		if (rows[i].seen)
			text_sample(out, name, rows[i].labels,
				(double)rows[i].fields[STAT_RESIDENT] * (double)sysconf(_SC_PAGESIZE));
	}
}

static void print_field(const struct row *rows, size_t count, struct evbuffer *out, const char *name,
	enum text_type type, const char *help, size_t offset)
{
	text_family(out, name, type, help);
	for (size_t i = 0; i < count; i++) {
		const char *process = (const char *)rows[i].process;

		if (process)
			text_sample(out, name, rows[i].labels,
				(double)atomic_load_explicit(
					(const _Atomic uint64_t *)(process + offset), memory_order_relaxed));
	}
}

#define FIELD(member) offsetof(struct stats_process, member)

/* ---- the relays' loops ---- */

static void print_turns(const struct row *relays, size_t count, struct evbuffer *out)
{
	static const char name[] = "portald_relay_turn_duration_seconds";
	double bounds[STATS_TURN_BOUNDS];
	uint64_t counts[STATS_TURN_BOUNDS + 1];

	for (size_t i = 0; i < STATS_TURN_BOUNDS; i++)
		bounds[i] = stats_turn_bounds_us[i] / 1e6;
	text_family(out, name, TEXT_HISTOGRAM,
		"How long the turns of a relay's loop take: what comes meanwhile waits");
	for (size_t i = 0; i < count; i++) {
		struct stats_process *process = relays[i].process;

		for (size_t b = 0; b <= STATS_TURN_BOUNDS; b++)
			counts[b] = atomic_load_explicit(&process->turns[b], memory_order_relaxed);
		text_histogram(out, name, relays[i].labels, bounds, STATS_TURN_BOUNDS, counts,
			(double)atomic_load_explicit(&process->busy_us, memory_order_relaxed) / 1e6);
	}
}

static void print_lag(const struct row *relays, size_t count, struct evbuffer *out)
{
	static const char name[] = "portald_relay_loop_lag_seconds";
	int64_t now_us = clock_now_us();

	text_family(
		out, name, TEXT_GAUGE, "How long a relay's present turn has taken so far; 0 while it sleeps");
	for (size_t i = 0; i < count; i++) {
		int64_t began_us = (int64_t)atomic_load_explicit(
			&relays[i].process->turn_began_us, memory_order_relaxed);
		bool busy = began_us > 0 && began_us < now_us;

		text_sample(out, name, relays[i].labels, busy ? (double)(now_us - began_us) / 1e6 : 0);
	}
}

static void print_shared(const struct admin *admin, struct evbuffer *out)
{
	struct stats *stats = admin->options.stats;
	size_t count = admin->options.relay_count + 2;
	struct row *rows = mem_calloc(count, sizeof(*rows)), *relays = rows + 2;

	row_init(&rows[0], "control", 0, NULL);
	row_init(&rows[1], "supervisor", 0, stats_supervisor(stats));
	for (uint32_t i = 0; i < admin->options.relay_count; i++)
		row_init(&relays[i], "relay", (int)i, stats_relay(stats, i));
	print_cpu(rows, count, out);
	print_memory(rows, count, out);
	print_field(rows, count, out, "portald_process_open_fds", TEXT_GAUGE, "Open descriptors, by process",
		FIELD(open_fds));
	print_field(rows, count, out, "portald_process_max_fds", TEXT_GAUGE,
		"Descriptors that may be open, by process", FIELD(max_fds));
	print_turns(relays, count - 2, out);
	print_lag(relays, count - 2, out);
	print_field(relays, count - 2, out, "portald_access_log_lines_total", TEXT_COUNTER,
		"Lines written to the access log", FIELD(log_lines));
	print_field(relays, count - 2, out, "portald_access_log_dropped_total", TEXT_COUNTER,
		"Lines of the access log that were lost because it did not take them", FIELD(log_dropped));
	for (size_t i = 0; i < count; i++)
		free(rows[i].labels);
	free(rows);
}

void metrics_print_processes(const struct admin *admin, struct evbuffer *out)
{
	print_own(admin, out);
	if (admin->options.stats)
		print_shared(admin, out);
}
