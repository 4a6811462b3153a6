/* Owns what nft is asked while no daemon works with it: whether it would do, what an earlier run has left,
 * and to remove that. Runs in the supervisor, at the start and at the end, and in `portald cleanup`: it
 * waits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "steering/host.h"
#include "steering/nftables.h"
#include "steering/tool.h"

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

bool nftables_works(int tool_timeout_ms, char **why)
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

int nftables_cleanup(int tool_timeout_ms)
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

void nftables_look_for_left(const char *nft, int tool_timeout_ms, struct left *left)
{
	static const enum addr_family families[] = {ADDR_V4, ADDR_V6};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		const char *const argv[] = {
			nft, "-n", "list", "table", nftables_family(families[i]), NFTABLES_TABLE, NULL};
		struct reading reading = {.left = left, .family = families[i]};

		tool_run_wait(&(struct tool_job){
			.argv = argv,
			.timeout_ms = tool_timeout_ms,
			.done = on_left_listed,
			.context = &reading,
		});
	}
}
