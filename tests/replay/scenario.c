#include "scenario.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "portald/mem.h"
#include "portald/watch.h"

#define MAX_LETS 64

struct let {
	char *name, *text;
};

struct scenario {
	const char *path, *recorded;
	unsigned line;
	struct watch_store *store;
	struct watch *watches[WATCH_RESOURCES], *watch;
	int64_t now_ms;
	uint32_t random;
	size_t chunk;
	char *report;
	struct let lets[MAX_LETS];
	size_t let_count;
};

/* fail_msg() does not return, which the analyser does not know. */
#define FAIL(scenario, format, ...)                                                                          \
	do {                                                                                                 \
		fail_msg("%s:%u: " format, (scenario)->path, (scenario)->line, ##__VA_ARGS__);               \
		abort();                                                                                     \
	} while (0)

static void expect_text(const struct scenario *scenario, const char *is, const char *wanted)
{
	if (!is || strcmp(is, wanted) != 0)
		FAIL(scenario, "is \"%s\", expected \"%s\"", is ? is : "(nothing)", wanted);
}

static void expect_part(const struct scenario *scenario, const char *is, const char *wanted)
{
	if (!is || !strstr(is, wanted))
		FAIL(scenario, "is \"%s\", expected \"%s\" in it", is ? is : "(nothing)", wanted);
}

static int64_t number(const struct scenario *scenario, const char *text)
{
	char *end;
	long long value = strtoll(text, &end, 0);

	if (end == text || *end)
		FAIL(scenario, "not a number: %s", text);
	return value;
}

/* Appends to a list of words in *text. */
static void append(char **text, const char *word)
{
	char *longer = mem_printf("%s%s%s", *text, **text ? " " : "", word);

	free(*text);
	*text = longer;
}

static void expect_words(const struct scenario *scenario, char *words, const char *wanted)
{
	expect_text(scenario, *words ? words : "none", wanted);
	free(words);
}

static uint32_t give_random(void *context)
{
	return ((struct scenario *)context)->random;
}

static void take_report(void *context, enum watch_level level, const char *text)
{
	struct scenario *scenario = context;

	(void)level;
	free(scenario->report);
	scenario->report = mem_strdup(text);
}

/* ---- the clock and the watch ---- */

static void do_watch(struct scenario *scenario, const char *text)
{
	static const char *const names[] = {"services", "endpoints", "node"};
	size_t resource = 0;

	while (resource < WATCH_RESOURCES && strcmp(names[resource], text) != 0)
		resource++;
	if (resource == WATCH_RESOURCES)
		FAIL(scenario, "no such resource: %s", text);
	if (!scenario->watches[resource]) {
		struct watch_config config = {
			.resource = (enum watch_resource)resource,
			.node_name = "node-1",
			.random = give_random,
			.report = take_report,
			.context = scenario,
		};

		scenario->watches[resource] = watch_new(&config, scenario->store);
	}
	scenario->watch = scenario->watches[resource];
}

static void do_random(struct scenario *scenario, const char *text)
{
	scenario->random = (uint32_t)number(scenario, text);
}

static void do_at(struct scenario *scenario, const char *text)
{
	scenario->now_ms = number(scenario, text);
}

static void do_after(struct scenario *scenario, const char *text)
{
	scenario->now_ms += number(scenario, text);
}

static void do_start(struct scenario *scenario, const char *text)
{
	(void)text;
	watch_start(scenario->watch, scenario->now_ms);
}

static void expect_request(struct scenario *scenario, const char *text, bool renew)
{
	struct watch_request request;

	if (!watch_next(scenario->watch, scenario->now_ms, &request))
		FAIL(scenario, "no request is due before %" PRId64, watch_due_ms(scenario->watch));
	expect_text(scenario, request.target, text);
	if (request.renew != renew)
		FAIL(scenario, "credentials are %sto be renewed", request.renew ? "" : "not ");
	if (request.stream != (strstr(text, "&watch=true") != NULL))
		FAIL(scenario, "stream is %d", request.stream);
}

static void do_request(struct scenario *scenario, const char *text)
{
	expect_request(scenario, text, false);
}

static void do_request_renew(struct scenario *scenario, const char *text)
{
	expect_request(scenario, text, true);
}

static void do_due(struct scenario *scenario, const char *text)
{
	int64_t due = watch_due_ms(scenario->watch);
	int64_t wanted = strcmp(text, "never") == 0 ? INT64_MAX : number(scenario, text);

	if (due != wanted)
		FAIL(scenario, "due is %" PRId64, due);
}

static void do_idle(struct scenario *scenario, const char *text)
{
	struct watch_request request;

	(void)text;
	if (watch_next(scenario->watch, scenario->now_ms, &request))
		FAIL(scenario, "a request is due: %s", request.target);
}

static void do_timer(struct scenario *scenario, const char *text)
{
	int rc = watch_timer(scenario->watch, scenario->now_ms);

	expect_text(scenario, rc == -ETIMEDOUT ? "dropped" : rc == 0 ? "kept" : "?", text);
}

/* ---- responses ---- */

static void do_chunk(struct scenario *scenario, const char *text)
{
	scenario->chunk = (size_t)number(scenario, text);
}

static void do_response(struct scenario *scenario, const char *text)
{
	int status = 0;
	long long retry_after = -1;

	if (sscanf(text, "%d %lld", &status, &retry_after) < 1)
		FAIL(scenario, "no status");
	watch_response(scenario->watch, scenario->now_ms, status, retry_after);
}

/* Each piece in memory of exactly its size, so that a sanitizer sees a read past its end. */
static int feed(struct scenario *scenario, const char *bytes, size_t count)
{
	int rc = 0;

	while (count > 0 && rc == 0) {
		size_t piece = scenario->chunk && scenario->chunk < count ? scenario->chunk : count;
		char *copy = mem_calloc(piece, 1);

		memcpy(copy, bytes, piece);
		rc = watch_body(scenario->watch, scenario->now_ms, copy, piece);
		free(copy);
		bytes += piece;
		count -= piece;
	}
	return rc;
}

static void do_body(struct scenario *scenario, const char *text)
{
	if (feed(scenario, text, strlen(text)) < 0 || feed(scenario, "\n", 1) < 0)
		FAIL(scenario, "the body was refused");
}

static void do_bytes(struct scenario *scenario, const char *text)
{
	if (feed(scenario, text, strlen(text)) < 0)
		FAIL(scenario, "the body was refused");
}

static void do_dropped(struct scenario *scenario, const char *text)
{
	if (feed(scenario, text, strlen(text)) == 0)
		FAIL(scenario, "the body was taken");
}

static char *read_file(const struct scenario *scenario, const char *path, size_t *count)
{
	FILE *file = fopen(path, "re");
	size_t capacity = 1 << 20;
	char *bytes;

	if (!file)
		FAIL(scenario, "cannot open %s", path);
	bytes = mem_calloc(capacity, 1);
	*count = fread(bytes, 1, capacity - 1, file);
	fclose(file);
	return bytes;
}

static const char *find_body(const struct scenario *scenario, const char *answer)
{
	const char *body = strstr(answer, "\r\n\r\n");

	if (body)
		return body + 4;
	body = strstr(answer, "\n\n");
	if (!body)
		FAIL(scenario, "no empty line behind the head");
	return body + 2;
}

static void do_recorded(struct scenario *scenario, const char *text)
{
	char *path = mem_printf("%s/%s.http", scenario->recorded, text), *answer;
	const char *body, *retry_after;
	size_t count;

	answer = read_file(scenario, path, &count);
	body = find_body(scenario, answer);
	retry_after = strstr(answer, "Retry-After: ");
	if (retry_after && retry_after > body)
		retry_after = NULL;
	watch_response(scenario->watch, scenario->now_ms, (int)strtol(answer + strlen("HTTP/1.1 "), NULL, 10),
		retry_after ? strtoll(retry_after + strlen("Retry-After: "), NULL, 10) : -1);
	feed(scenario, body, count - (size_t)(body - answer));
	free(answer);
	free(path);
}

static void do_end(struct scenario *scenario, const char *text)
{
	int error = strcmp(text, "ok") == 0 ? 0 : strcmp(text, "cut") == 0 ? -ECONNRESET : -ECONNREFUSED;

	watch_ended(scenario->watch, scenario->now_ms, error, NULL);
}

/* ---- what the store says ---- */

static void do_synced(struct scenario *scenario, const char *text)
{
	expect_text(scenario, watch_store_synced(scenario->store) ? "yes" : "no", text);
}

static void do_services(struct scenario *scenario, const char *text)
{
	struct model_snapshot *snapshot = watch_store_snapshot(scenario->store);
	char *words = mem_strdup("");

	for (size_t i = 0; i < snapshot->service_count; i++) {
		char *key =
			mem_printf("%s/%s", snapshot->services[i]->namespace, snapshot->services[i]->name);

		append(&words, key);
		free(key);
	}
	model_snapshot_unref(snapshot);
	expect_words(scenario, words, text);
}

/* Cuts "NAMESPACE/NAME REST" into its parts, in place. */
static char *cut_key(const struct scenario *scenario, char *text, char **name, char **rest)
{
	*name = strchr(text, '/');
	*rest = strchr(text, ' ');
	if (!*name || !*rest)
		FAIL(scenario, "expected NAMESPACE/NAME TEXT");
	*(*name)++ = '\0';
	*(*rest)++ = '\0';
	return text;
}

static void append_at(char **words, const struct addr *addr, uint16_t port, const char *mark)
{
	struct addr_port at = {*addr, port};
	char buf[ADDR_TEXT_BYTES];
	char *word = mem_printf("%s%s", addr_port_format(&at, buf), mark);

	append(words, word);
	free(word);
}

static void do_service(struct scenario *scenario, const char *text)
{
	char *copy = mem_strdup(text), *name, *rest, *words = mem_strdup("");
	const char *namespace = cut_key(scenario, copy, &name, &rest);
	const struct model_service *service = watch_store_service(scenario->store, namespace, name);

	for (size_t i = 0; service && i < service->port_count; i++)
		append_at(&words, &service->cluster_ips[0], service->ports[i].port, "");
	expect_words(scenario, words, rest);
	free(copy);
}

static void do_endpoints(struct scenario *scenario, const char *text)
{
	char *copy = mem_strdup(text), *name, *rest, *words = mem_strdup("");
	const char *namespace = cut_key(scenario, copy, &name, &rest);
	struct model_slice *const *slices;
	size_t count = watch_store_slices(scenario->store, namespace, name, &slices);

	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < slices[i]->endpoint_count; j++)
			append_at(&words, &slices[i]->endpoints[j].addr,
				slices[i]->port_count ? slices[i]->ports[0].port : 0,
				slices[i]->endpoints[j].ready ? "" : "!");
	}
	expect_words(scenario, words, rest);
	free(copy);
}

static void do_node(struct scenario *scenario, const char *text)
{
	const struct watch_node *node = watch_store_node(scenario->store);
	char *words = mem_strdup(""), buf[ADDR_TEXT_BYTES];

	if (node) {
		append(&words, node->model->name);
		append(&words, node->model->zone ? node->model->zone : "-");
		for (size_t i = 0; i < node->address_count; i++)
			append(&words, addr_format(&node->addresses[i], buf));
		if (node->deleting)
			append(&words, "!");
	}
	expect_words(scenario, words, text);
}

static int text_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void do_changed(struct scenario *scenario, const char *text)
{
	const struct watch_change *change = watch_store_changes(scenario->store);
	char *words = mem_strdup(""), *list[64];
	size_t count = 0;

	for (; change && count < 64; change = change->next)
		list[count++] = mem_printf("%s/%s", change->namespace, change->name);
	if (count > 0)
		qsort(list, count, sizeof(*list), text_cmp);
	for (size_t i = 0; i < count; i++) {
		append(&words, list[i]);
		free(list[i]);
	}
	if (watch_store_node_changed(scenario->store))
		append(&words, "node");
	watch_store_changes_clear(scenario->store);
	expect_words(scenario, words, text);
}

static void do_version(struct scenario *scenario, const char *text)
{
	expect_text(scenario, watch_status(scenario->watch).resource_version, text);
}

static void do_api(struct scenario *scenario, const char *text)
{
	expect_text(scenario, watch_status(scenario->watch).api, text);
}

static void do_report(struct scenario *scenario, const char *text)
{
	expect_part(scenario, scenario->report, text);
}

static void do_problem(struct scenario *scenario, const char *text)
{
	const char *problem = watch_status(scenario->watch).problem;

	expect_part(scenario, problem ? problem : "none", text);
}

/* ---- lines ---- */

static void do_let(struct scenario *scenario, const char *text)
{
	const char *space = strchr(text, ' ');

	if (!space || scenario->let_count == MAX_LETS)
		FAIL(scenario, "expected NAME TEXT, and not too often");
	scenario->lets[scenario->let_count++] = (struct let){
		.name = mem_printf("%.*s", (int)(space - text), text), .text = mem_strdup(space + 1)};
}

static const struct let *find_let(const struct scenario *scenario, const char *name)
{
	const struct let *best = NULL;

	for (size_t i = 0; i < scenario->let_count; i++) {
		const struct let *let = &scenario->lets[i];
		size_t length = strlen(let->name);

		if (strncmp(name, let->name, length) == 0 && (!best || length >= strlen(best->name)))
			best = let;
	}
	return best;
}

/* The line with each $NAME replaced, in fresh memory. */
static char *expand(const struct scenario *scenario, const char *line)
{
	char *text = mem_strdup(line), *dollar = text;

	while ((dollar = strchr(dollar, '$'))) {
		const struct let *let = find_let(scenario, dollar + 1);
		size_t offset = (size_t)(dollar - text);
		char *longer;

		if (!let)
			FAIL(scenario, "no such name: %s", dollar);
		longer = mem_printf("%.*s%s%s", (int)offset, text, let->text, dollar + 1 + strlen(let->name));
		free(text);
		text = longer;
		dollar = text + offset;
	}
	return text;
}

static const struct {
	const char *word;
	void (*run)(struct scenario *, const char *);
} directives[] = {
	{"after", do_after},
	{"api", do_api},
	{"at", do_at},
	{"body", do_body},
	{"bytes", do_bytes},
	{"changed", do_changed},
	{"chunk", do_chunk},
	{"dropped", do_dropped},
	{"due", do_due},
	{"end", do_end},
	{"endpoints", do_endpoints},
	{"idle", do_idle},
	{"let", do_let},
	{"node", do_node},
	{"problem", do_problem},
	{"random", do_random},
	{"recorded", do_recorded},
	{"report", do_report},
	{"request", do_request},
	{"request+renew", do_request_renew},
	{"response", do_response},
	{"service", do_service},
	{"services", do_services},
	{"start", do_start},
	{"synced", do_synced},
	{"timer", do_timer},
	{"version", do_version},
	{"watch", do_watch},
};

static void run_line(struct scenario *scenario, const char *line)
{
	size_t length = strcspn(line, " ");
	char *text;

	if (length == 0 || *line == '#')
		return;
	text = expand(scenario, line + length + (line[length] == ' '));
	for (size_t i = 0; i < sizeof(directives) / sizeof(*directives); i++) {
		if (strlen(directives[i].word) == length && memcmp(directives[i].word, line, length) == 0) {
			directives[i].run(scenario, text);
			free(text);
			return;
		}
	}
	FAIL(scenario, "no such directive");
}

static void scenario_fini(struct scenario *scenario)
{
	for (size_t i = 0; i < WATCH_RESOURCES; i++)
		watch_free(scenario->watches[i]);
	watch_store_free(scenario->store);
	for (size_t i = 0; i < scenario->let_count; i++) {
		free(scenario->lets[i].name);
		free(scenario->lets[i].text);
	}
	free(scenario->report);
}

void scenario_run(const char *path, const char *recorded_directory)
{
	struct scenario scenario = {.path = path, .recorded = recorded_directory, .store = watch_store_new()};
	size_t count;
	char *text = read_file(&scenario, path, &count), *line, *next = text;

	while ((line = strsep(&next, "\n"))) {
		scenario.line++;
		run_line(&scenario, line);
	}
	free(text);
	scenario_fini(&scenario);
}
