/* Owns the back end that steers by nftables. Runs in the supervisor.
 *
 *     state      event                                     next
 *     IDLE       start(), an audit of what was sent        LISTING
 *     IDLE       start()                                   SENDING, or done(0) if nothing has to change
 *     LISTING    it is what was sent                       IDLE: done(0)
 *     LISTING    it is not                                 SENDING all
 *     LISTING    abandon()                                 IDLE
 *     SENDING    the difference, or no table, is in force  IDLE: done(0)
 *     SENDING    all is in force                           LEARNING
 *     LEARNING   how nft lists it is known                 IDLE: done(0)
 *     any        nft has failed                            IDLE: done(error)
 *
 * All of a pass is one transaction. Whoever wants to know whether it is still in force must know what nft
 * says of it; what it says of elements is known before, the rest is learnt from the first answer. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "steering/backend.h"
#include "steering/host.h"
#include "steering/monitor.h"
#include "steering/nftables.h"
#include "steering/text.h"
#include "steering/tool.h"

enum state { IDLE, LISTING, SENDING, LEARNING };

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
	bool corrected;
	struct text listing; /* what nft has listed so far */
	size_t list_place;   /* the family that comes next */
	void (*list_done)(void *context, const struct tool_result *result);
	char *sent;   /* the frames that are in force; NULL: unknown */
	char *listed; /* and how nft lists them; NULL: that can't be compared */
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

static void run_send(struct backend *backend, const char *text,
	void (*done)(void *context, const struct tool_result *result))
{
	const char *const argv[] = {backend->nft, "-f", "-", NULL};

	run_tool(backend, argv, text, done);
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

		if (steering_rules_have(backend->now, family)) {
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

static void finish(struct backend *backend, int error, const char *detail)
{
	tool_run_free(backend->run);
	backend->run = NULL;
	backend->state = IDLE;
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
	struct nftables_digest wanted = nftables_digest_rules(backend->now);
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
	if (listing_is(backend, result->out, NULL)) {
		there = nftables_digest_listing(result->out);
		backend->listed = mem_strdup(there.frame);
		nftables_digest_fini(&there);
	} else {
		log_v(1, "what nft lists is not what it was sent: audits can't compare");
	}
	finish(backend, 0, NULL);
}

static void on_sent(void *context, const struct tool_result *result)
{
	struct backend *backend = context;
	char *frames;

	if (result->error < 0) {
		fail(backend, result);
		return;
	}
	frames = nftables_frames(backend->now);
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
	if (text[0])
		run_send(backend, text, on_sent);
	else
		finish(backend, 0, NULL);
	free(text);
}

static void on_listed(void *context, const struct tool_result *result)
{
	struct backend *backend = context;

	/* nft also fails where there is no table. */
	if (result->error < 0 && result->error != -EIO) {
		fail(backend, result);
		return;
	}
	if (result->error == 0 && listing_is(backend, result->out, backend->listed)) {
		finish(backend, 0, NULL);
		return;
	}
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

	(void)fd;
	(void)what;
	if (backend->was || !can_compare(backend))
		send_rules(backend);
	else
		run_list(backend, on_listed);
}

static void nftables_start(
	struct backend *backend, const struct steering_rules *was, const struct steering_rules *now)
{
	backend->was = was;
	backend->now = now;
	backend->corrected = false;
	backend->state = LISTING;
	evtimer_add(backend->step_event, &(struct timeval){0});
}

static bool nftables_abandon(struct backend *backend)
{
	if (backend->state != LISTING)
		return false;
	event_del(backend->step_event);
	tool_run_free(backend->run);
	backend->run = NULL;
	backend->state = IDLE;
	return true;
}

/* ---- others ---- */

static bool concerns(const struct monitor_place *place)
{
	return strcmp(place->table, NFTABLES_TABLE) == 0;
}

static void on_disturbed(void *context)
{
	struct backend *backend = context;

	backend->events->disturbed(backend->events->context);
}

/* ---- life ---- */

static void nftables_close(struct backend *backend)
{
	if (!backend)
		return;
	monitor_free(backend->monitor);
	tool_run_free(backend->run);
	if (backend->step_event)
		event_free(backend->step_event);
	forget(backend);
	free(text_take(&backend->listing));
	free(backend->nft);
	free(backend);
}

/* What a tool that was waited for has said. */
struct answer {
	int error;
	char *said;
};

static void on_answer(void *context, const struct tool_result *result)
{
	struct answer *answer = context;

	answer->error = result->error;
	answer->said = mem_strdup(result->err);
}

/* only_check: the kernel says whether it would, and changes nothing. The caller frees what is said. */
static struct answer ask_nft(const char *nft, bool only_check, const char *input, int timeout_ms)
{
	const char *const argv[] = {nft, only_check ? "-cf" : "-f", "-", NULL};
	struct answer answer = {.error = -ENOMEM};

	tool_run_wait(&(struct tool_job){
		.argv = argv,
		.input = input,
		.timeout_ms = timeout_ms,
		.done = on_answer,
		.context = &answer,
	});
	return answer;
}

/* A table with an element in it, of the kind that a run would make, for a kernel to judge. */
static char *sample_text(void)
{
	struct steering_rule rule = {
		.key = "sample", .portal = {.at = {.addr = addr_any(ADDR_V4), .port = 1}}, .proxy_port = 1};
	struct steering_rules rules = {.rules = &rule, .count = 1, .bind_addr = addr_any(ADDR_V4)};

	return steering_nftables_render(&rules, NULL);
}

static bool nftables_works(int tool_timeout_ms, char **why)
{
	char *nft = host_find_tool("nft"), *text;
	struct answer answer;

	if (!nft) {
		*why = mem_strdup("nft is not installed");
		return false;
	}
	text = sample_text();
	answer = ask_nft(nft, true, text, tool_timeout_ms);
	*why = answer.error == 0 ? mem_strdup("nft and the kernel take our tables")
				 : mem_printf("%s: %.*s", nft, (int)strcspn(answer.said, "\n"), answer.said);
	free(answer.said);
	free(text);
	free(nft);
	return answer.error == 0;
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

static int nftables_cleanup(int tool_timeout_ms)
{
	char *nft = host_find_tool("nft"), *text;
	struct answer asked, removed = {.error = 0};

	if (!nft)
		return 0;
	/* Where the kernel has no nftables there is nothing of ours either. */
	asked = ask_nft(nft, false, "list tables\n", tool_timeout_ms);
	text = steering_nftables_render_cleanup();
	if (asked.error == 0)
		removed = ask_nft(nft, false, text, tool_timeout_ms);
	if (removed.error < 0)
		log_error("cannot remove rules", log_str("variant", "nftables"),
			log_errno("error", -removed.error), log_str("detail", removed.said));
	free(asked.said);
	free(removed.said);
	free(text);
	free(nft);
	return removed.error;
}

struct reading {
	struct left *left;
	enum addr_family family;
};

/* nft fails where there is no table. */
static void on_left_listed(void *context, const struct tool_result *result)
{
	const struct reading *reading = context;

	if (result->error == 0)
		nftables_collect_left(reading->left, result->out, reading->family);
}

static void nftables_look_for_left(struct backend *backend, struct left *left)
{
	static const enum addr_family families[] = {ADDR_V4, ADDR_V6};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		const char *const argv[] = {backend->nft, "-n", "list", "table", nftables_family(families[i]),
			NFTABLES_TABLE, NULL};
		struct reading reading = {.left = left, .family = families[i]};

		tool_run_wait(&(struct tool_job){
			.argv = argv,
			.timeout_ms = backend->options->tool_timeout_ms,
			.done = on_left_listed,
			.context = &reading,
		});
	}
}

const struct backend_ops backend_nftables = {
	.name = "nftables",
	.wants_routes = true,
	.wants_conntrack = true,
	.open = nftables_open,
	.close = nftables_close,
	.start = nftables_start,
	.abandon = nftables_abandon,
	.look_for_left = nftables_look_for_left,
	.works = nftables_works,
	.cleanup = nftables_cleanup,
};
