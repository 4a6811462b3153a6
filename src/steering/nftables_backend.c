/* Owns the back end that steers by nftables. Runs in the supervisor.
 *
 *     state      event                                     next
 *     IDLE       start(), an audit of what was sent        LISTING
 *     IDLE       start()                                   SENDING, or done(0) if nothing has to change
 *     LISTING    it is what was sent                       IDLE: done(0)
 *     LISTING    it is not                                 SENDING all
 *     SENDING    the difference, or no table, is in force  IDLE: done(0)
 *     SENDING    all is in force                           LEARNING
 *     SENDING    all is refused, for a rule that is named  CHECKING the rest
 *     SENDING    all is refused, for no rule by name       PROBING the tables without any element
 *     PROBING    nft would take them                       CHECKING a half
 *     CHECKING   nft would take it, or refuses it          CHECKING the next part (attempt.h)
 *     CHECKING   there is nothing more to check            SENDING what it would take, if that is not there
 *     LEARNING   how nft lists it is known                 IDLE: done(0)
 *     looking    abandon()                                 IDLE
 *     any        nft has failed                            IDLE: done(error)
 *
 * All of a pass is one transaction: what nft would refuse is found by asking it, so that what is in force
 * stays until all is known. LISTING, PROBING and CHECKING only look. Whoever wants to know whether it is
 * still in force must know what nft says of it; what it says of elements is known before, the rest is learnt
 * from the first answer. */
#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "portald/clock.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "steering/attempt.h"
#include "steering/backend.h"
#include "steering/host.h"
#include "steering/lines.h"
#include "steering/monitor.h"
#include "steering/nftables.h"
#include "steering/text.h"
#include "steering/tool.h"

/* A change that is told so soon after may have come before: events take a turn of the loop. */
#define DOUBT_MS 1000

enum state { IDLE, LISTING, PROBING, CHECKING, SENDING, LEARNING };

struct backend {
	struct event_base *base;
	const struct steering_options *options;
	const struct backend_events *events;
	struct monitor *monitor; /* NULL: the kernel doesn't tell */
	struct monitor_handlers monitor_handlers;
	char *nft; /* its path */
	enum state state;
	struct event *step_event;
	struct tool_run *run;
	const struct steering_rules *was; /* of the pass in flight */
	const struct steering_rules *now;
	const struct steering_rules *taken; /* now, or what nft takes of it */
	char *given;                        /* what it was given last */
	struct attempt attempt;
	bool trying; /* rules were refused; attempt is valid */
	bool looked; /* listing is what was there before */
	bool corrected;
	struct text listing; /* what nft has listed so far */
	size_t list_place;   /* the family that comes next */
	void (*list_done)(void *context, const struct tool_result *result);
	char *sent;        /* the frames that are in force; NULL: unknown */
	char *listed;      /* and how nft lists them; NULL: that can't be compared */
	int64_t learnt_ms; /* when that was learnt */
	bool doubted;      /* somebody may have changed the tables before it was */
};

/* ---- nft ---- */

/* What nft said first, and the line that it quotes. The caller frees it. */
static char *failure_text(const struct backend *backend, const struct tool_result *result)
{
	size_t first = strcspn(result->err, "\n");
	const char *second = result->err + first + (result->err[first] != '\0');

	if (result->error == -ETIMEDOUT)
		return mem_printf("%s: killed after %d ms", backend->nft, backend->options->tool_timeout_ms);
	if (result->error != -EIO)
		return mem_printf("%s: %s", backend->nft, strerrordesc_np(-result->error));
	return mem_printf("%s: exit code %d: %.*s: %.*s", backend->nft, result->exit_code, (int)first,
		result->err, (int)strcspn(second, "\n"), second);
}

static void run_tool(struct backend *backend, const char *const argv[], const char *input,
	void (*done)(void *context, const struct tool_result *result))
{
	const struct tool_job job = {
		.argv = argv,
		.input = input,
		.timeout_ms = backend->options->tool_timeout_ms,
		.done = done,
		.context = backend,
	};
	struct tool_result failed = {.out = "", .err = ""};

	tool_run_free(backend->run);
	backend->run = NULL;
	failed.error = tool_run_start(&backend->run, backend->base, &job);
	if (failed.error < 0)
		done(backend, &failed);
	else
		monitor_own(backend->monitor, tool_run_pid(backend->run));
}

/* only_check: the kernel says whether it would, and changes nothing. text is taken. */
static void run_text_take(struct backend *backend, bool only_check, char *text,
	void (*done)(void *context, const struct tool_result *result))
{
	const char *const argv[] = {backend->nft, only_check ? "-cf" : "-f", "-", NULL};

	free(backend->given);
	backend->given = text;
	run_tool(backend, argv, text, done);
}

/* The line that nft names first ("/dev/stdin:3:1-40: Error: ..."), an empty one if none; without the comma
 * that stands between elements. */
static struct span named_line(const struct backend *backend, const struct tool_result *result)
{
	const char *colon = strchr(result->err, ':');
	struct span line = span_nth_line(backend->given, colon ? strtoul(colon + 1, NULL, 10) : 0);

	if (line.length > 0 && line.start[line.length - 1] == ',')
		line.length--;
	return line;
}

/* ---- listing: one family after the other, since nft 1.0.6 finds only one table that it is asked for at a
 * time ---- */

static void on_family_listed(void *context, const struct tool_result *result);

static void list_next(struct backend *backend)
{
	static const enum addr_family order[] = {ADDR_V4, ADDR_V6};
	const struct tool_result all = {
		.out = backend->listing.bytes ? backend->listing.bytes : "", .err = ""};

	while (backend->list_place < sizeof(order) / sizeof(order[0])) {
		enum addr_family family = order[backend->list_place++];
		/* Numbers for protocols, ports and priorities: names depend on the host's files. */
		const char *const argv[] = {
			backend->nft, "-n", "list", "table", nftables_family(family), NFTABLES_TABLE, NULL};

		if (steering_rules_have(backend->taken, family)) {
			run_tool(backend, argv, NULL, on_family_listed);
			return;
		}
	}
	backend->list_done(backend, &all);
}

static void on_family_listed(void *context, const struct tool_result *result)
{
	struct backend *backend = context;

	if (result->error < 0) {
		backend->list_done(backend, result);
		return;
	}
	text_add(&backend->listing, result->out, strlen(result->out));
	list_next(backend);
}

/* Lists the tables of the families that are wanted. done gets the first failure, or all that was listed. */
static void run_list(struct backend *backend, void (*done)(void *context, const struct tool_result *result))
{
	free(text_take(&backend->listing));
	backend->list_place = 0;
	backend->list_done = done;
	list_next(backend);
}

/* ---- one pass ---- */

static void forget(struct backend *backend)
{
	free(backend->sent);
	free(backend->listed);
	backend->sent = backend->listed = NULL;
}

static void stop(struct backend *backend)
{
	tool_run_free(backend->run);
	backend->run = NULL;
	if (backend->trying)
		attempt_fini(&backend->attempt);
	backend->trying = false;
	backend->state = IDLE;
}

static void finish(struct backend *backend, int error, const char *detail)
{
	stop(backend);
	backend->events->done(backend->events->context, error, detail, backend->corrected);
}

static void fail(struct backend *backend, const struct tool_result *result)
{
	char *detail = failure_text(backend, result);

	forget(backend);
	finish(backend, result->error, detail);
	free(detail);
}

static bool listing_is(struct backend *backend, const char *listing, const char *frame)
{
	struct nftables_digest there = nftables_digest_listing(listing);
	struct nftables_digest wanted = nftables_digest_rules(backend->taken);
	bool same = there.elements == wanted.elements && there.count == wanted.count &&
		    (!frame || strcmp(there.frame, frame) == 0);

	nftables_digest_fini(&wanted);
	nftables_digest_fini(&there);
	return same;
}

static void on_learnt(void *context, const struct tool_result *result)
{
	struct backend *backend = context;
	struct nftables_digest there;

	if (result->error < 0) {
		fail(backend, result);
		return;
	}
	/* Another nft may have other words for elements. Then an audit replaces what is there. */
	if (backend->doubted) {
		forget(backend);
	} else if (listing_is(backend, result->out, NULL)) {
		there = nftables_digest_listing(result->out);
		backend->listed = mem_strdup(there.frame);
		backend->learnt_ms = clock_now_ms();
		nftables_digest_fini(&there);
	} else {
		log_v(1, "what nft lists is not what it was sent: audits can't compare");
	}
	finish(backend, 0, NULL);
}

/* ---- rules that nft refuses ---- */

/* Every element has a comment; the commands around elements name none of them; all else is the tables' own.
 */
static bool may_blame(const struct span *line)
{
	static const char mark[] = " comment \"", command[] = "add element ";

	return line->length == 0 || span_is(line, "}") ||
	       memmem(line->start, line->length, mark, strlen(mark)) != NULL ||
	       strncmp(line->start, command, strlen(command)) == 0;
}

static const struct attempt_text attempt_text = {.of_one = nftables_element_lines, .may_blame = may_blame};

static void on_sent(void *context, const struct tool_result *result);
static void on_checked(void *context, const struct tool_result *result);
static void on_probed(void *context, const struct tool_result *result);

static void try_next(struct backend *backend)
{
	backend->taken = attempt_next(&backend->attempt);
	if (!backend->attempt.bare) {
		backend->state = CHECKING;
		run_text_take(backend, true, steering_nftables_render(backend->taken, NULL), on_checked);
		return;
	}
	backend->state = SENDING;
	/* An audit has missed nothing but what nft refuses. */
	if (backend->looked && backend->listed &&
		listing_is(backend, backend->listing.bytes, backend->listed)) {
		backend->corrected = false;
		finish(backend, 0, NULL);
		return;
	}
	run_text_take(backend, false, steering_nftables_render(backend->taken, NULL), on_sent);
}

/* What is wrong may be none of the rules. */
static void probe(struct backend *backend)
{
	char *removal = steering_nftables_render_cleanup(), *frames = nftables_frames(backend->now);

	backend->state = PROBING;
	run_text_take(backend, true, mem_printf("%s%s", removal, frames), on_probed);
	free(removal);
	free(frames);
}

/* Goes on without a rule that nft has refused, if it is one that is in the way. False: it is not. */
static bool leave_out(struct backend *backend, const struct tool_result *result)
{
	const struct span line = named_line(backend, result);
	const struct steering_rule *refused;
	bool first = !backend->trying;
	char *detail;

	if (result->error != -EIO || backend->was)
		return false;
	if (first)
		attempt_init(&backend->attempt, backend->now, &attempt_text);
	backend->trying = true;
	if (attempt_failed(&backend->attempt, &line, &refused) < 0)
		return false;
	if (refused) {
		detail = failure_text(backend, result);
		backend->events->refused(backend->events->context, refused, detail);
		free(detail);
	}
	if (first && !refused)
		probe(backend);
	else
		try_next(backend);
	return true;
}

static void on_checked(void *context, const struct tool_result *result)
{
	struct backend *backend = context;

	if (result->error == 0) {
		attempt_succeeded(&backend->attempt);
		try_next(backend);
	} else if (!leave_out(backend, result)) {
		fail(backend, result);
	}
}

static void on_probed(void *context, const struct tool_result *result)
{
	struct backend *backend = context;

	if (result->error == 0)
		try_next(backend);
	else
		fail(backend, result);
}

/* ---- sending ---- */

static void on_sent(void *context, const struct tool_result *result)
{
	struct backend *backend = context;
	char *frames;

	if (result->error < 0) {
		if (!leave_out(backend, result))
			fail(backend, result);
		return;
	}
	frames = nftables_frames(backend->taken);
	if (backend->was && backend->sent && strcmp(backend->sent, frames) == 0) {
		free(frames);
		finish(backend, 0, NULL);
		return;
	}
	forget(backend);
	backend->sent = frames;
	backend->state = LEARNING;
	run_list(backend, on_learnt);
}

static void send_rules(struct backend *backend)
{
	char *text = steering_nftables_render(backend->now, backend->was);

	backend->state = SENDING;
	if (text[0]) {
		run_text_take(backend, false, text, on_sent);
	} else {
		free(text);
		finish(backend, 0, NULL);
	}
}

static void on_listed(void *context, const struct tool_result *result)
{
	struct backend *backend = context;

	/* nft also fails where there is no table. */
	if (result->error < 0 && result->error != -EIO) {
		fail(backend, result);
		return;
	}
	if (result->error == 0 && backend->listed && listing_is(backend, result->out, backend->listed)) {
		finish(backend, 0, NULL);
		return;
	}
	backend->looked = result->error == 0;
	backend->corrected = true;
	send_rules(backend);
}

/* True if what was sent last is what is wanted, and what nft says of it can be compared. */
static bool can_compare(const struct backend *backend)
{
	char *frames = nftables_frames(backend->now);
	bool same = backend->listed && strcmp(backend->sent, frames) == 0;

	free(frames);
	return same;
}

static void on_step(evutil_socket_t fd, short what, void *context)
{
	struct backend *backend = context;
	bool doubted;

	(void)fd;
	(void)what;
	if (backend->was) {
		send_rules(backend);
		return;
	}
	doubted = backend->doubted;
	backend->doubted = false;
	if (can_compare(backend)) {
		run_list(backend, on_listed);
		return;
	}
	backend->corrected = doubted;
	send_rules(backend);
}

static void nftables_start(
	struct backend *backend, const struct steering_rules *was, const struct steering_rules *now)
{
	backend->was = was;
	backend->now = backend->taken = now;
	backend->looked = backend->corrected = false;
	backend->state = LISTING;
	evtimer_add(backend->step_event, &(struct timeval){0});
}

static bool nftables_abandon(struct backend *backend)
{
	if (backend->state != LISTING && backend->state != PROBING && backend->state != CHECKING)
		return false;
	event_del(backend->step_event);
	stop(backend);
	return true;
}

/* ---- others ---- */

static bool concerns(const struct monitor_place *place)
{
	return strcmp(place->table, NFTABLES_TABLE) == 0;
}

/* What nft lists is learnt from what is there: that must be ours alone. */
static void on_disturbed(void *context)
{
	struct backend *backend = context;
	bool fresh = backend->listed && clock_now_ms() - backend->learnt_ms < DOUBT_MS;

	if (fresh)
		forget(backend);
	backend->doubted |= fresh || backend->state == SENDING || backend->state == LEARNING;
	backend->events->disturbed(backend->events->context);
}

/* ---- life ---- */

static void nftables_close(struct backend *backend)
{
	if (!backend)
		return;
	monitor_free(backend->monitor);
	stop(backend);
	if (backend->step_event)
		event_free(backend->step_event);
	forget(backend);
	free(text_take(&backend->listing));
	free(backend->given);
	free(backend->nft);
	free(backend);
}

static struct backend *nftables_open(
	struct event_base *base, const struct steering_options *options, const struct backend_events *events)
{
	struct backend *backend = mem_calloc(1, sizeof(*backend));

	*backend = (struct backend){
		.base = base, .options = options, .events = events, .nft = host_find_tool("nft")};
	backend->step_event = evtimer_new(base, on_step, backend);
	if (backend->nft && backend->step_event) {
		backend->monitor_handlers = (struct monitor_handlers){
			.concerns = concerns, .disturbed = on_disturbed, .context = backend};
		backend->monitor = monitor_new(base, &backend->monitor_handlers);
		log_v(1, "steering by nftables", log_str("tool", backend->nft));
		return backend;
	}
	log_error("no nft found", log_str("hint", "install the package nftables, or use another --steering"));
	nftables_close(backend);
	return NULL;
}

static void look_for_left(struct backend *backend, struct left *left)
{
	nftables_look_for_left(backend->nft, backend->options->tool_timeout_ms, left);
}

const struct backend_ops backend_nftables = {
	.name = "nftables",
	.wants_routes = true,
	.wants_conntrack = true,
	.open = nftables_open,
	.close = nftables_close,
	.start = nftables_start,
	.abandon = nftables_abandon,
	.look_for_left = look_for_left,
	.works = nftables_works,
	.cleanup = nftables_cleanup,
};
