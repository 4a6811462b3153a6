/* Owns one pass over the firewall of one family. Runs in the supervisor.
 *
 *     state        event           next
 *     CHANGE       tool succeeded  DONE: done(0)
 *     SAVE_NAT     tool succeeded  SAVE_FILTER
 *     SAVE_FILTER  tool succeeded  RESTORE
 *     RESTORE      tool succeeded  DONE: done(0); SAVE_NAT if rules that were left aside are to be tried
 *     RESTORE      tool failed     SAVE_NAT, to try again with fewer rules, if that may help (attempt.h);
 * where it names no rule it is first asked whether it takes anything at all any          tool failed DONE:
 * done(error, what it said)
 *
 * With `was` it begins with CHANGE, which is the difference to that; without, with SAVE_NAT. A tool isn't run
 * if it would have nothing to do. */
#include "steering/sync.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "steering/attempt.h"
#include "steering/host.h"
#include "steering/lines.h"
#include "steering/tool.h"

/* How long a legacy tool waits for the lock of another one: a pass is tried again, a removal is the last
 * thing that is done. */
#define LOCK_WAIT_SECONDS "5"
#define LOCK_WAIT_SECONDS_AT_THE_END "15"

/* How the tools say that they have waited in vain. */
#define LOCK_WORDS "xtables lock"

/* A text that changes nothing: a tool that refuses even this has more against it than one rule. */
#define PROBE "*nat\nCOMMIT\n"

enum state { SAVE_NAT, SAVE_FILTER, RESTORE, CHANGE, DONE };

struct sync {
	struct sync_job job;
	enum state state;
	struct tool_run *run;
	char *saved[2]; /* by SAVE_NAT and SAVE_FILTER */
	char *text;     /* what goes to iptables-restore */
	struct event *step_event;
	bool restored; /* the kernel was given something */
	bool trying;   /* rules were refused; attempt is valid */
	bool probing;  /* the tool is asked whether it takes anything at all */
	bool probed;   /* it does */
	struct attempt attempt;
};

static void step(struct sync *sync);

/* ---- failures ---- */

/* The number after the first "line" (or "line:") in what the tool said; 0 if there is none. */
static unsigned long named_line(const char *said)
{
	const char *word = strstr(said, "line");

	if (!word)
		return 0;
	word += strlen("line");
	word += strspn(word, ": ");
	return strtoul(word, NULL, 10);
}

/* What the tool said, as one line. The caller frees it. */
static char *one_line(const char *said)
{
	size_t length = strlen(said);
	char *line = mem_strdup(said);

	while (length > 0 && line[length - 1] == '\n')
		line[--length] = '\0';
	for (char *c = line; *c; c++) {
		if (*c == '\n')
			*c = ' ';
	}
	return line;
}

static const struct host_pair *tools_of(const struct sync *sync)
{
	return host_pair(sync->job.tools, sync->job.family);
}

static bool gives_text(const struct sync *sync)
{
	return sync->state == RESTORE || sync->state == CHANGE;
}

/* The line of what iptables-restore was given that it has named; an empty one if none. */
static struct span given_line(const struct sync *sync, const struct tool_result *result)
{
	return span_nth_line(sync->text, gives_text(sync) ? named_line(result->err) : 0);
}

/* The caller frees it. */
static char *failure_text(const struct sync *sync, const struct tool_result *result)
{
	const char *path = gives_text(sync) ? tools_of(sync)->restore : tools_of(sync)->save;
	char *said = one_line(result->err), *text;
	struct span line = given_line(sync, result);

	if (result->error == -ETIMEDOUT)
		text = mem_printf(
			"%s: killed after %d ms%s%s", path, sync->job.timeout_ms, said[0] ? ": " : "", said);
	else if (result->error != -EIO)
		text = mem_printf("%s: %s", path, strerrordesc_np(-result->error));
	else if (line.length > 0)
		text = mem_printf("%s: exit code %d: %s (that line is: %.*s)", path, result->exit_code, said,
			(int)line.length, line.start);
	else
		text = mem_printf("%s: exit code %d: %s", path, result->exit_code, said);
	free(said);
	return text;
}

static bool lock_is_held(const struct tool_result *result)
{
	return result->error == -EIO && strstr(result->err, LOCK_WORDS) != NULL;
}

static void fail(struct sync *sync, const struct tool_result *result)
{
	char *detail = failure_text(sync, result);
	/* Every kernel with iptables has IPv4's tables, but not every one has IPv6's. */
	bool lacks_tables = sync->job.family == ADDR_V6 && !gives_text(sync) && result->error == -EIO;
	bool busy = lock_is_held(result) && !sync->restored;

	sync->state = DONE;
	sync->job.done(sync->job.context,
		lacks_tables ? -EOPNOTSUPP
		: busy       ? -EBUSY
			     : result->error,
		detail, false);
	free(detail);
}

/* A lock, a time limit or a tool that can't be run are no rule's fault. Returns true if it can go on without
 * some. */
static bool leave_out(struct sync *sync, const struct tool_result *result)
{
	const struct steering_saved saved = {sync->saved[SAVE_NAT], sync->saved[SAVE_FILTER]};
	const struct steering_rule *refused = NULL;
	struct span line = given_line(sync, result);
	char *detail;
	bool helps;

	if (sync->state != RESTORE || sync->probing || !sync->job.refused || result->error != -EIO ||
		lock_is_held(result))
		return false;
	if (!sync->trying)
		attempt_init_family(&sync->attempt, sync->job.rules, sync->job.family, &saved);
	helps = attempt_failed(&sync->attempt, &line, &refused) == 0;
	sync->probing = !sync->trying && !refused;
	sync->trying = true;
	if (refused) {
		detail = failure_text(sync, result);
		sync->job.refused(sync->job.context, refused, detail);
		free(detail);
	}
	return helps;
}

/* ---- steps ---- */

/* In a user namespace the kernel doesn't tell whether it has the legacy tables, so cleaning up has to try; a
 * kernel without them holds nothing of ours either. */
static bool means_nothing_there(const struct sync *sync, const struct tool_result *result)
{
	return result->error == -EIO && !sync->job.rules && !gives_text(sync) &&
	       (sync->job.tools->kind == STEERING_TOOL_LEGACY || sync->job.family == ADDR_V6);
}

static void look_again(struct sync *sync)
{
	sync->state = SAVE_NAT;
	step(sync);
}

static void finish(struct sync *sync)
{
	bool corrected = sync->restored && sync->state != CHANGE;

	sync->state = DONE;
	sync->job.done(sync->job.context, 0, NULL, corrected);
}

static void text_was_taken(struct sync *sync)
{
	if (sync->probing) {
		sync->probing = false;
		sync->probed = true;
		step(sync);
		return;
	}
	sync->restored = true;
	if (sync->trying) {
		attempt_succeeded(&sync->attempt);
		look_again(sync);
		return;
	}
	finish(sync);
}

static void on_tool_done(void *context, const struct tool_result *result)
{
	struct sync *sync = context;

	tool_run_free(sync->run);
	sync->run = NULL;
	if (result->error < 0 && !means_nothing_there(sync, result)) {
		if (leave_out(sync, result))
			look_again(sync);
		else
			fail(sync, result);
	} else if (gives_text(sync)) {
		text_was_taken(sync);
	} else {
		free(sync->saved[sync->state]);
		sync->saved[sync->state] = result->error == 0 ? mem_strdup(result->out) : NULL;
		sync->state++;
		step(sync);
	}
}

static void run_tool(struct sync *sync, const char *const argv[], const char *input)
{
	const struct tool_job job = {
		.argv = argv,
		.input = input,
		.lock_fd = sync->job.tools->lock_fd,
		.timeout_ms = sync->job.timeout_ms,
		.done = on_tool_done,
		.context = sync,
	};
	struct tool_result failed = {.out = "", .err = ""};

	failed.error = tool_run_start(&sync->run, sync->job.base, &job);
	if (failed.error < 0)
		fail(sync, &failed);
	else if (sync->job.started)
		sync->job.started(sync->job.context, tool_run_pid(sync->run));
}

/* True if there is nothing in the table to be removed, and looking would load it. */
static bool table_is_unused(const struct sync *sync, const char *table)
{
	return !sync->job.rules && sync->job.tools->kind == STEERING_TOOL_LEGACY &&
	       !host_legacy_table_loaded(sync->job.family, table);
}

static void step_save(struct sync *sync, const char *table)
{
	const char *const argv[] = {tools_of(sync)->save, "-t", table, NULL};

	if (!table_is_unused(sync, table)) {
		run_tool(sync, argv, NULL);
		return;
	}
	sync->state++;
	step(sync);
}

static void give_text(struct sync *sync)
{
	const char *wait = sync->job.rules ? LOCK_WAIT_SECONDS : LOCK_WAIT_SECONDS_AT_THE_END;
	const char *const argv[] = {tools_of(sync)->restore, "--noflush", "-w", wait, NULL};

	run_tool(sync, argv, sync->text);
}

static void step_change(struct sync *sync)
{
	if (sync->text[0])
		give_text(sync);
	else
		finish(sync);
}

/* NULL: there is nothing more to be tried. */
static char *render(struct sync *sync)
{
	const struct steering_saved saved = {sync->saved[SAVE_NAT], sync->saved[SAVE_FILTER]};
	const struct steering_rules *rules = sync->job.rules;

	if (!rules)
		return steering_iptables_render_cleanup(&saved);
	if (sync->trying)
		rules = attempt_next(&sync->attempt);
	return rules ? steering_iptables_render(rules, sync->job.family, &saved) : NULL;
}

/* What to give now; NULL: nothing more. */
static void choose_text(struct sync *sync)
{
	do {
		free(sync->text);
		sync->text = sync->probing ? mem_strdup(PROBE) : render(sync);
		if (sync->trying && sync->text && !sync->text[0])
			attempt_succeeded(&sync->attempt);
	} while (sync->trying && sync->text && !sync->text[0]);
	/* If every rule was refused and nothing else was given, it may be the tool that takes nothing. */
	if (sync->trying && !sync->text && !sync->restored && !sync->probed) {
		sync->probing = true;
		sync->text = mem_strdup(PROBE);
	}
}

static void step_restore(struct sync *sync)
{
	choose_text(sync);
	if (sync->text && sync->text[0])
		give_text(sync);
	else
		finish(sync);
}

static void step(struct sync *sync)
{
	switch (sync->state) {
	case SAVE_NAT:
		step_save(sync, "nat");
		break;
	case SAVE_FILTER:
		step_save(sync, "filter");
		break;
	case RESTORE:
		step_restore(sync);
		break;
	case CHANGE:
		step_change(sync);
		break;
	case DONE:
		break;
	}
}

static void on_start(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	step(context);
}

struct sync *sync_start(const struct sync_job *job)
{
	struct sync *sync = mem_calloc(1, sizeof(*sync));

	sync->job = *job;
	sync->text = job->was ? steering_iptables_render_change(job->was, job->rules, job->family) : NULL;
	sync->state = sync->text ? CHANGE : SAVE_NAT;
	/* From the loop, so that done is never called before the caller has the sync. */
	sync->step_event = evtimer_new(job->base, on_start, sync);
	if (!sync->step_event || evtimer_add(sync->step_event, &(struct timeval){0}) < 0) {
		sync_free(sync);
		return NULL;
	}
	return sync;
}

void sync_free(struct sync *sync)
{
	if (!sync)
		return;
	tool_run_free(sync->run);
	if (sync->step_event)
		event_free(sync->step_event);
	free(sync->saved[SAVE_NAT]);
	free(sync->saved[SAVE_FILTER]);
	free(sync->text);
	attempt_fini(&sync->attempt);
	free(sync);
}

bool sync_is_harmless(const struct sync *sync)
{
	return !sync->restored && !gives_text(sync);
}
