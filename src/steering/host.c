/* Owns the knowledge of the host's iptables. Runs in the supervisor, at start-up and at the end: it waits for
 * the tools it asks. */
#include "steering/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "steering/tool.h"

#define LEGACY_TABLES_FILE "/proc/net/ip_tables_names"
#define LEGACY_TABLES_FILE_V6 "/proc/net/ip6_tables_names"
#define COMMON_LOCK_FILE "/run/xtables.lock"

/* Where the tools are when PATH doesn't say, as in an ordinary user's shell. */
#define SYSTEM_PATH "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"

/* ---- finding ---- */

static char *find_in(const char *path, const char *name)
{
	while (path && *path) {
		size_t length = strcspn(path, ":");
		char *file = mem_printf("%.*s/%s", (int)length, path, name);
		struct stat st;

		/* A relative entry would let the working directory choose what root runs. */
		if (path[0] == '/' && stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(file, X_OK) == 0)
			return file;
		free(file);
		path += length + (path[length] == ':');
	}
	return NULL;
}

char *host_find_tool(const char *name)
{
	char *file = find_in(getenv("PATH"), name);

	return file ? file : find_in(SYSTEM_PATH, name);
}

static char *find_tool(const char *program, const char *variant, const char *verb)
{
	char *name = mem_printf("%s%s-%s", program, variant, verb);
	char *file = host_find_tool(name);

	free(name);
	return file;
}

static void pair_fini(struct host_pair *pair)
{
	free(pair->save);
	free(pair->restore);
	*pair = (struct host_pair){.save = NULL};
}

static bool find_program(struct host_pair *pair, const char *program, const char *variant)
{
	pair->save = find_tool(program, variant, "save");
	pair->restore = find_tool(program, variant, "restore");
	if (pair->save && pair->restore)
		return true;
	pair_fini(pair);
	return false;
}

/* Returns true and fills tools if both tools of the variant are there; those for IPv6 may be missing. */
static bool find_pair(struct host_tools *tools, enum steering_tool kind)
{
	static const char *const variants[] = {
		[STEERING_TOOL_AUTO] = "",
		[STEERING_TOOL_NFT] = "-nft",
		[STEERING_TOOL_LEGACY] = "-legacy",
	};

	*tools = (struct host_tools){.kind = kind};
	if (!find_program(&tools->v4, "iptables", variants[kind]))
		return false;
	find_program(&tools->v6, "ip6tables", variants[kind]);
	return true;
}

void host_tools_fini(struct host_tools *tools)
{
	pair_fini(&tools->v4);
	pair_fini(&tools->v6);
	if (tools->lock_fd > 0)
		close(tools->lock_fd);
	*tools = (struct host_tools){.kind = tools->kind};
}

/* ---- the lock ----
 *
 * The legacy tools take a lock on /run/xtables.lock and give up if they can't open it, which is so for
 * whoever is root in a user namespace only: the file belongs to the real root. (Tried with iptables 1.8.9
 * under `unshare -Urn` as an ordinary user: iptables-legacy-restore ends with "Fatal: can't open lock file
 * /run/xtables.lock: Permission denied", exit code 4. iptables-nft takes no lock and works, and so do both
 * variants' -save.) The lock guards one network namespace's tables against other writers, and such a
 * supervisor has a network namespace of its own, so it gives its tools a lock of their own: a memfd,
 * which leaves no file behind. */

static void find_lock(struct host_tools *tools)
{
	int fd;

	if (getenv("XTABLES_LOCKFILE"))
		return;
	fd = open(COMMON_LOCK_FILE, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0) {
		close(fd);
		return;
	}
	fd = tool_memfd("xtables-lock", NULL);
	if (fd > 0)
		tools->lock_fd = fd;
}

/* ---- asking ---- */

bool host_legacy_table_loaded(enum addr_family family, const char *table)
{
	FILE *file = fopen(family == ADDR_V6 ? LEGACY_TABLES_FILE_V6 : LEGACY_TABLES_FILE, "re");
	char line[64];
	bool found = false;

	/* In a user namespace the file may not be read. */
	if (!file)
		return errno == EACCES && table;
	while (!found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		found = !table || strcmp(line, table) == 0;
	}
	fclose(file);
	return found;
}

static void count_rules(void *context, const struct tool_result *result)
{
	long *count = context;

	*count = result->error;
	if (result->error < 0)
		return;
	for (const char *line = result->out; line; line = strchr(line, '\n')) {
		line += line[0] == '\n';
		if (strncmp(line, "-A", 2) == 0)
			(*count)++;
	}
}

/* How many rules the variant's tables hold, or a negative errno if it can't say. */
static long rule_count(const struct host_tools *tools, int timeout_ms)
{
	const char *const argv[] = {tools->v4.save, NULL};
	long count = 0;

	tool_run_wait(&(struct tool_job){
		.argv = argv,
		.timeout_ms = timeout_ms,
		.done = count_rules,
		.context = &count,
	});
	return count;
}

static void check_version(void *context, const struct tool_result *result)
{
	bool *nft = context;

	*nft = strstr(result->out, "nf_tables") != NULL;
}

/* What a plain iptables-save is: releases before 1.8 name no variant, and are legacy. */
static enum steering_tool plain_kind(const struct host_tools *tools, int timeout_ms)
{
	const char *const argv[] = {tools->v4.save, "--version", NULL};
	bool nft = false;

	tool_run_wait(&(struct tool_job){
		.argv = argv,
		.timeout_ms = timeout_ms,
		.done = check_version,
		.context = &nft,
	});
	return nft ? STEERING_TOOL_NFT : STEERING_TOOL_LEGACY;
}

/* ---- choosing ---- */

/* The one of two variants that holds more rules, since rules of one are unseen by who looks at the other;
 * where there are none at all, what the host calls iptables. */
static enum steering_tool variant_in_use(bool has_plain, int timeout_ms)
{
	struct host_tools nft, legacy;
	bool has_nft = find_pair(&nft, STEERING_TOOL_NFT);
	bool has_legacy = find_pair(&legacy, STEERING_TOOL_LEGACY);
	long nft_rules = has_nft ? rule_count(&nft, timeout_ms) : -ENOENT;
	/* Asking the legacy tool would load its tables. */
	bool ask_legacy = has_legacy && host_legacy_table_loaded(ADDR_V4, NULL);
	long legacy_rules = ask_legacy ? rule_count(&legacy, timeout_ms) : 0;

	host_tools_fini(&nft);
	host_tools_fini(&legacy);
	if (has_legacy && (legacy_rules > nft_rules && (legacy_rules > 0 || has_nft)))
		return STEERING_TOOL_LEGACY;
	if (nft_rules > 0)
		return STEERING_TOOL_NFT;
	if (has_plain)
		return STEERING_TOOL_AUTO;
	return has_nft ? STEERING_TOOL_NFT : STEERING_TOOL_LEGACY;
}

static int tools_missing(enum steering_tool wanted)
{
	log_error("no iptables found",
		log_str("wanted", wanted == STEERING_TOOL_NFT      ? "nft"
				  : wanted == STEERING_TOOL_LEGACY ? "legacy"
								   : "any"),
		log_str("hint", "install the package iptables, or use --steering=none"));
	return -ENOENT;
}

int host_tools_find(struct host_tools *tools, enum steering_tool wanted, int timeout_ms)
{
	struct host_tools plain;
	bool has_plain = find_pair(&plain, STEERING_TOOL_AUTO);
	enum steering_tool kind = wanted;
	bool found;

	if (wanted == STEERING_TOOL_AUTO)
		kind = variant_in_use(has_plain, timeout_ms);
	found = kind != STEERING_TOOL_AUTO && find_pair(tools, kind);
	if (!found && has_plain && (kind == STEERING_TOOL_AUTO || plain_kind(&plain, timeout_ms) == kind)) {
		*tools = plain;
		has_plain = false;
		found = true;
	}
	if (has_plain)
		host_tools_fini(&plain);
	if (!found)
		return tools_missing(wanted);
	find_lock(tools);
	return 0;
}

int host_tools_find_all(struct host_tools tools[2])
{
	int count = 0;

	if (find_pair(&tools[count], STEERING_TOOL_NFT))
		count++;
	if (find_pair(&tools[count], STEERING_TOOL_LEGACY))
		count++;
	if (count == 0 && find_pair(&tools[count], STEERING_TOOL_AUTO))
		count++;
	for (int i = 0; i < count; i++)
		find_lock(&tools[i]);
	return count;
}
