/* The real engine with the real iptables, in network namespaces of the test's own. Each test gets a fresh
 * one, with nothing but lo. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netfilter_ipv4.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns_rig.h"
#include "portald/clock.h"
#include "portald/mem.h"
#include "portald/steering.h"

#define TOOL_TIMEOUT_MS 20000
#define NOBODY 65534

static void run_tool(const char *variant, const char *arguments)
{
	char *out = shell("PATH=$PATH:/usr/sbin:/sbin XTABLES_LOCKFILE=/dev/null iptables-%s -w %s", variant,
		arguments);

	assert_non_null(out);
	free(out);
}

/* All rules and chains of a table, without what changes by itself. The caller frees it. */
static char *saved_table(const char *variant, const char *table)
{
	char *out = shell("PATH=$PATH:/usr/sbin:/sbin iptables-%s-save -t %s | "
			  "sed '/^#/d; s/ \\[[0-9:]*\\]$//'",
		variant, table);

	assert_non_null(out);
	return out;
}

/* Both tables, or all of nftables. The caller frees it. */
static char *saved(const char *variant)
{
	char *nat, *filter, *both;

	if (strcmp(variant, "nftables") == 0)
		return shell("PATH=$PATH:/usr/sbin:/sbin nft -n list ruleset");
	nat = saved_table(variant, "nat");
	filter = saved_table(variant, "filter");
	both = mem_printf("%s%s", nat, filter);
	free(nat);
	free(filter);
	return both;
}

/* ---- the engine under test ---- */

struct fixture {
	const char *variant; /* of iptables, or "nftables" */
	enum steering_kind kind;
	enum steering_tool tool;
	struct event_base *base;
	struct steering *steering;
	int syncs;
	int failures;
	int error;      /* of the last sync */
	bool corrected; /* by the last audit */
	char *detail;   /* of the last failure */
	int stop_after;
	int timeout_ms;
	char *fakes; /* a directory in front of PATH */
	char *path;
};

static void on_synced(void *context, int error, const char *detail)
{
	struct fixture *fixture = context;

	fixture->syncs++;
	fixture->failures += error < 0;
	fixture->error = error;
	if (detail) {
		free(fixture->detail);
		fixture->detail = mem_strdup(detail);
	}
	if (--fixture->stop_after <= 0)
		event_base_loopbreak(fixture->base);
}

static void on_audited(void *context, int error, bool corrected)
{
	((struct fixture *)context)->corrected = corrected;
	on_synced(context, error, NULL);
}

static void engine_start(struct fixture *fixture)
{
	const struct steering_options options = {
		.kind = fixture->kind,
		.tool = fixture->tool,
		.tool_timeout_ms = fixture->timeout_ms,
		.synced = on_synced,
		.audited = on_audited,
		.context = fixture,
	};

	fixture->base = event_base_new();
	fixture->steering = steering_new(fixture->base, &options);
	assert_non_null(fixture->steering);
}

static void wait_for_syncs(struct fixture *fixture, int count)
{
	struct timeval limit = {.tv_sec = 30};
	int before = fixture->syncs;

	fixture->stop_after = count;
	event_base_loopexit(fixture->base, &limit);
	event_base_dispatch(fixture->base);
	assert_int_equal(fixture->syncs - before, count);
}

static int set_up(void **state)
{
	struct fixture *fixture = mem_calloc(1, sizeof(*fixture));
	char directory[] = "/tmp/portald-test-XXXXXX";

	fixture->variant = *state;
	fixture->kind = strcmp(*state, "nftables") == 0 ? STEERING_NFTABLES : STEERING_IPTABLES;
	fixture->tool = strcmp(*state, "nft") == 0 ? STEERING_TOOL_NFT : STEERING_TOOL_LEGACY;
	fixture->timeout_ms = TOOL_TIMEOUT_MS;
	fixture->fakes = mem_strdup(mkdtemp(directory));
	fixture->path = mem_strdup(getenv("PATH"));
	if (!fixture->fakes || unshare(CLONE_NEWNET) < 0)
		return -1;
	rig_lo_up();
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	steering_free(fixture->steering);
	if (fixture->base)
		event_base_free(fixture->base);
	setenv("PATH", fixture->path, 1);
	unsetenv("XTABLES_LOCKFILE");
	free(shell("rm -rf %s", fixture->fakes));
	free(fixture->detail);
	free(fixture->fakes);
	free(fixture->path);
	free(fixture);
	return 0;
}

/* A ClusterIP 10.96.0.<n>:80 and a NodePort 30000+n, both to port 40000+n. */
static void add_service(struct steering_rules *rules, uint16_t n)
{
	struct plan_portal portals[] = {
		{.kind = PLAN_PORTAL_CLUSTER_IP, .at = {addr_v4(0x0a600000u + n), 80}},
		{.kind = PLAN_PORTAL_NODE_PORT, .at = {addr_any(ADDR_V4), (uint16_t)(30000 + n)}},
	};
	struct plan_listener listener = {.key = "default/web:http", .portals = portals, .portal_count = 2};

	steering_rules_add(rules, &listener, (uint16_t)(40000 + n));
}

static void apply(struct fixture *fixture, uint16_t first, uint16_t last)
{
	struct addr any = addr_any(ADDR_V4);
	struct steering_rules rules;

	steering_rules_init(&rules, &any);
	for (uint16_t n = first; n <= last; n++)
		add_service(&rules, n);
	steering_apply(fixture->steering, &rules);
	steering_rules_fini(&rules);
}

static void apply_and_wait(struct fixture *fixture, uint16_t first, uint16_t last)
{
	apply(fixture, first, last);
	wait_for_syncs(fixture, 1);
	if (fixture->error < 0)
		fail_msg("%s", fixture->detail);
}

static void audit_and_wait(struct fixture *fixture)
{
	steering_audit(fixture->steering);
	wait_for_syncs(fixture, 1);
	assert_int_equal(fixture->error, 0);
}

/* ---- rules ---- */

static void rules_come_into_force_and_a_repetition_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct steering_rules none = {.bind_addr = addr_any(ADDR_V4)};
	char *first, *second, *nat, *filter, *text;

	engine_start(fixture);
	apply_and_wait(fixture, 1, 3);
	first = saved(fixture->variant);
	assert_non_null(
		strstr(first, "-A KUBE-PORTALS-CONTAINER -d 10.96.0.3/32 -p tcp -m comment --comment "
			      "\"default/web:http\" -m tcp --dport 80 -j REDIRECT --to-ports 40003\n"));
	assert_non_null(
		strstr(first, "-A KUBE-NODEPORT-NON-LOCAL -p tcp -m comment --comment "
			      "\"default/web:http\" -m tcp --dport 40003 -m state --state NEW -j ACCEPT\n"));
	apply_and_wait(fixture, 1, 3);
	second = saved(fixture->variant);
	assert_string_equal(first, second);
	nat = saved_table(fixture->variant, "nat");
	filter = saved_table(fixture->variant, "filter");
	text = steering_iptables_render(
		&none, ADDR_V4, &(struct steering_saved){.nat = nat, .filter = filter});
	assert_null(strstr(text, "-D"));
	assert_null(strstr(text, "-I"));
	free(first);
	free(second);
	free(nat);
	free(filter);
	free(text);
}

static void foreign_rules_are_kept_to_the_letter(void **state)
{
	struct fixture *fixture = *state;
	char *before, *after;

	run_tool(fixture->variant, "-t nat -N MINE");
	run_tool(fixture->variant, "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -m comment --comment "
				   "'a \"quoted\" -j KUBE-PORTALS-HOST' -j MINE");
	run_tool(fixture->variant, "-t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE");
	run_tool(fixture->variant, "-t nat -A OUTPUT -p tcp --dport 9 -j MINE");
	run_tool(fixture->variant, "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT");
	run_tool(fixture->variant, "-P FORWARD DROP");
	before = saved(fixture->variant);
	engine_start(fixture);
	apply_and_wait(fixture, 1, 3);
	apply_and_wait(fixture, 2, 2);
	after = saved(fixture->variant);
	assert_string_not_equal(before, after);
	free(after);
	assert_int_equal(steering_cleanup(TOOL_TIMEOUT_MS), 0);
	after = saved(fixture->variant);
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void disturbed_jumps_are_put_right(void **state)
{
	struct fixture *fixture = *state;
	char *right, *now;

	run_tool(fixture->variant, "-t nat -A PREROUTING -p tcp --dport 9 -j ACCEPT");
	engine_start(fixture);
	apply_and_wait(fixture, 1, 2);
	right = saved(fixture->variant);
	/* Doubled, altered, removed and no longer last. */
	run_tool(fixture->variant, "-t nat -I PREROUTING -j KUBE-PORTALS-CONTAINER");
	run_tool(fixture->variant, "-t nat -D OUTPUT 1");
	run_tool(fixture->variant, "-D INPUT 1");
	run_tool(fixture->variant, "-t nat -D PREROUTING -p tcp --dport 9 -j ACCEPT");
	run_tool(fixture->variant, "-t nat -A PREROUTING -p tcp --dport 9 -j ACCEPT");
	audit_and_wait(fixture);
	now = saved(fixture->variant);
	assert_string_equal(right, now);
	free(right);
	free(now);
}

static void a_foreign_firewall_that_takes_over_is_survived(void **state)
{
	struct fixture *fixture = *state;
	char *right, *now;

	engine_start(fixture);
	apply_and_wait(fixture, 1, 2);
	right = saved(fixture->variant);
	run_tool(fixture->variant, "-t nat -F");
	run_tool(fixture->variant, "-t nat -X");
	run_tool(fixture->variant, "-F");
	run_tool(fixture->variant, "-X");
	audit_and_wait(fixture);
	now = saved(fixture->variant);
	assert_string_equal(right, now);
	free(right);
	free(now);
}

static void the_newest_rules_win(void **state)
{
	struct fixture *fixture = *state;
	char *now;

	engine_start(fixture);
	apply(fixture, 1, 1);
	event_base_loop(fixture->base, EVLOOP_ONCE);
	apply(fixture, 2, 2);
	apply(fixture, 3, 3);
	wait_for_syncs(fixture, 2);
	now = saved(fixture->variant);
	assert_null(strstr(now, "10.96.0.2/32"));
	assert_non_null(strstr(now, "10.96.0.3/32"));
	event_base_loop(fixture->base, EVLOOP_NONBLOCK);
	assert_int_equal(fixture->syncs, 2);
	free(now);
}

static void cleanup_needs_no_engine_and_can_be_repeated(void **state)
{
	struct fixture *fixture = *state;
	char *before = saved(fixture->variant), *after;

	engine_start(fixture);
	apply_and_wait(fixture, 1, 3);
	steering_free(fixture->steering);
	fixture->steering = NULL;
	assert_int_equal(steering_cleanup(TOOL_TIMEOUT_MS), 0);
	assert_int_equal(steering_cleanup(TOOL_TIMEOUT_MS), 0);
	after = saved(fixture->variant);
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void cleanup_loads_no_legacy_table(void **state)
{
	char *names;

	(void)state;
	assert_int_equal(steering_cleanup(TOOL_TIMEOUT_MS), 0);
	names = shell("cat /proc/net/ip_tables_names");
	if (!names)
		skip();
	assert_string_equal(names, "");
	free(names);
}

static void auto_takes_the_variant_that_holds_rules(void **state)
{
	struct fixture *fixture = *state;
	char *now;

	run_tool(fixture->variant, "-t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE");
	if (fixture->tool == STEERING_TOOL_LEGACY && access("/proc/net/ip_tables_names", R_OK) < 0)
		skip();
	fixture->tool = STEERING_TOOL_AUTO;
	engine_start(fixture);
	apply_and_wait(fixture, 1, 1);
	now = saved(fixture->variant);
	assert_non_null(strstr(now, "10.96.0.1/32"));
	free(now);
}

/* ---- reaching a ClusterIP ---- */

static int listen_on(uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* Returns 0 or the errno of connect(). */
static int try_connect(const char *ip, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval limit = {.tv_sec = 2};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	inet_pton(AF_INET, ip, &to.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	rc = connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ? errno : 0;
	close(fd);
	return rc;
}

static void assert_reaches(int listener, const char *ip, uint16_t port)
{
	struct sockaddr_in original;
	socklen_t length = sizeof(original);
	char text[32];
	int fd;

	assert_int_equal(try_connect(ip, port), 0);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &original, &length), 0);
	assert_string_equal(inet_ntop(AF_INET, &original.sin_addr, text, sizeof(text)), ip);
	assert_int_equal(ntohs(original.sin_port), port);
	close(fd);
}

static void assert_routes(const char *expected)
{
	char *routes = shell("ip -o route show proto 112 | cut -d' ' -f1 | sort | tr '\\n' ' '");

	assert_string_equal(routes, expected);
	free(routes);
}

static void cluster_ip_is_reached_from_a_host_with_nothing_but_lo(void **state)
{
	struct fixture *fixture = *state;
	int listener = listen_on(40001);

	assert_int_equal(try_connect("10.96.0.1", 80), ENETUNREACH);
	engine_start(fixture);
	apply_and_wait(fixture, 1, 2);
	assert_reaches(listener, "10.96.0.1", 80);
	assert_reaches(listener, "127.0.0.1", 30001);
	assert_routes("10.96.0.1 10.96.0.2 ");
	apply_and_wait(fixture, 2, 3);
	assert_int_equal(try_connect("10.96.0.1", 80), ENETUNREACH);
	assert_routes("10.96.0.2 10.96.0.3 ");
	assert_int_equal(steering_cleanup(TOOL_TIMEOUT_MS), 0);
	assert_routes("");
	close(listener);
}

static void cluster_ip_is_reached_from_a_host_without_default_route(void **state)
{
	struct fixture *fixture = *state;
	int listener = listen_on(40001);

	free(shell("ip link add v0 type veth peer name v1 && ip addr add 192.0.2.1/24 dev v0 && "
		   "ip link set v0 up && ip link set v1 up"));
	engine_start(fixture);
	apply_and_wait(fixture, 1, 1);
	assert_routes("10.96.0.1 ");
	assert_reaches(listener, "10.96.0.1", 80);
	assert_reaches(listener, "192.0.2.1", 30001);
	close(listener);
}

static void a_host_with_a_route_gets_no_other(void **state)
{
	struct fixture *fixture = *state;
	int listener = listen_on(40001);

	free(shell("ip link add v0 type veth peer name v1 && ip addr add 192.0.2.1/24 dev v0 && "
		   "ip link set v0 up && ip link set v1 up && ip route add default via 192.0.2.2"));
	engine_start(fixture);
	apply_and_wait(fixture, 1, 1);
	assert_routes("");
	assert_reaches(listener, "10.96.0.1", 80);
	close(listener);
}

static void an_audit_gives_routes_to_a_host_that_has_lost_its_own(void **state)
{
	struct fixture *fixture = *state;

	free(shell("ip link add v0 type veth peer name v1 && ip addr add 192.0.2.1/24 dev v0 && "
		   "ip link set v0 up && ip link set v1 up && ip route add default via 192.0.2.2"));
	engine_start(fixture);
	apply_and_wait(fixture, 1, 2);
	assert_routes("");
	free(shell("ip route del default"));
	audit_and_wait(fixture);
	assert_routes("10.96.0.1 10.96.0.2 ");
	free(shell("ip route flush proto 112"));
	audit_and_wait(fixture);
	assert_routes("10.96.0.1 10.96.0.2 ");
}

/* ---- trouble ---- */

/* verb: "save" or "restore", which nft is both. */
static void fake(struct fixture *fixture, const char *verb, const char *script)
{
	char *file = fixture->kind == STEERING_NFTABLES
			     ? mem_printf("%s/nft", fixture->fakes)
			     : mem_printf("%s/iptables-%s-%s", fixture->fakes, fixture->variant, verb);
	char *path = mem_printf("%s:%s", fixture->fakes, fixture->path);

	assert_int_equal(rig_write_file(file, script), 0);
	setenv("PATH", path, 1);
	free(file);
	free(path);
}

/* From now on what the host's tool is given in the file $in goes through the commands before. The process
 * stays the one that the engine knows. */
static void fake_given(struct fixture *fixture, const char *commands)
{
	char *tool = fixture->kind == STEERING_NFTABLES ? mem_strdup("nft")
							: mem_printf("iptables-%s-restore", fixture->variant);
	char *script = mem_printf("#!/bin/sh\n"
				  "PATH=%s:/usr/sbin:/sbin\n"
				  "test \"$2\" = list && exec %s \"$@\"\n"
				  "in=%s/given\ncat >$in\n%s\nexec %s \"$@\" <$in\n",
		fixture->path, tool, fixture->fakes, commands, tool);

	fake(fixture, "restore", script);
	free(script);
	free(tool);
}

static void a_failing_tool_is_quoted_and_tried_again(void **state)
{
	struct fixture *fixture = *state;
	int64_t start_ms;
	char *real;

	fake(fixture, "restore", "#!/bin/sh\necho 'restore: line 2 failed' >&2\nexit 3\n");
	engine_start(fixture);
	apply(fixture, 1, 1);
	wait_for_syncs(fixture, 1);
	start_ms = clock_now_ms();
	assert_int_equal(fixture->error, -EIO);
	assert_non_null(strstr(fixture->detail, "exit code 3: restore: line 2 failed"));
	assert_non_null(strstr(fixture->detail, "(that line is: :KUBE-PORTALS-CONTAINER - [0:0])"));
	real = mem_printf("#!/bin/sh\nPATH=%s:/usr/sbin:/sbin exec iptables-%s-restore \"$@\"\n",
		fixture->path, fixture->variant);
	fake(fixture, "restore", real);
	free(real);
	wait_for_syncs(fixture, 1);
	assert_int_equal(fixture->error, 0);
	assert_in_range(clock_now_ms() - start_ms, 900, 5000);
}

/* ClusterIPs of the set that the host has rules for, as digits. The caller frees it. */
static char *there(const struct fixture *fixture)
{
	char *rules = saved(fixture->variant), *found = mem_calloc(10, 1), ip[32];

	for (int n = 1; n <= 8; n++) {
		snprintf(ip, sizeof(ip), fixture->kind == STEERING_NFTABLES ? "10.96.0.%d " : "10.96.0.%d/",
			n);
		if (strstr(rules, ip))
			found[strlen(found)] = (char)('0' + n);
	}
	free(rules);
	return found;
}

static void assert_there(const struct fixture *fixture, const char *expected)
{
	char *found = there(fixture);

	assert_string_equal(found, expected);
	free(found);
}

static void assert_refused(const struct fixture *fixture, size_t count, const char *quoted)
{
	const char *detail;

	assert_int_equal(steering_refused(fixture->steering, &detail), count);
	if (count > 0 && !strstr(detail, quoted))
		fail_msg("%s is not in: %s", quoted, detail);
}

static void a_rule_that_is_refused_is_quoted_and_the_rest_comes_into_force(void **state)
{
	struct fixture *fixture = *state;

	engine_start(fixture);
	apply_and_wait(fixture, 1, 2);
	fake_given(fixture, "sed -i '/10\\.96\\.0\\.[36][ /]/s/ 80 / nonsense /' $in");
	steering_free(fixture->steering);
	event_base_free(fixture->base);
	engine_start(fixture);
	apply_and_wait(fixture, 1, 7);
	assert_there(fixture, "12457");
	assert_refused(fixture, 2,
		fixture->kind == STEERING_NFTABLES ? "10.96.0.6 . 6 . nonsense"
						   : "(that line is: -A KUBE-PORTALS-");
	/* What comes later is not held up by it; an audit finds nobody's change. */
	apply_and_wait(fixture, 1, 8);
	assert_there(fixture, "124578");
	audit_and_wait(fixture);
	assert_false(fixture->corrected);
	assert_refused(fixture, 2, "nonsense");
	fake_given(fixture, "");
	audit_and_wait(fixture);
	assert_there(fixture, "12345678");
	assert_refused(fixture, 0, "");
}

static void a_rule_that_is_refused_without_a_word_is_found(void **state)
{
	struct fixture *fixture = *state;

	fake_given(fixture, "grep -q '10\\.96\\.0\\.5[ /]' $in && exit 2");
	engine_start(fixture);
	apply_and_wait(fixture, 1, 8);
	assert_there(fixture, "1234678");
	assert_refused(fixture, 1, "exit code 2");
}

static void a_tool_that_takes_nothing_is_no_rules_fault(void **state)
{
	struct fixture *fixture = *state;

	fake_given(fixture, "");
	engine_start(fixture);
	apply_and_wait(fixture, 1, 2);
	fake_given(fixture, "echo out of order >&2; exit 4");
	apply(fixture, 1, 3);
	wait_for_syncs(fixture, 1);
	assert_int_equal(fixture->error, -EIO);
	assert_non_null(strstr(fixture->detail, "exit code 4: out of order"));
	assert_there(fixture, "12");
	assert_refused(fixture, 0, "");
	fake_given(fixture, "");
	wait_for_syncs(fixture, 1);
	assert_int_equal(fixture->error, 0);
	assert_there(fixture, "123");
	assert_refused(fixture, 0, "");
}

static void an_audit_that_only_looks_gives_way_to_a_change(void **state)
{
	struct fixture *fixture = *state;

	fake_given(fixture, "sed -i '/10\\.96\\.0\\.1[ /]/s/ 80 / nonsense /' $in");
	engine_start(fixture);
	apply_and_wait(fixture, 1, 2);
	assert_there(fixture, "2");
	/* An audit would hang now, and what is refused spoil the change. */
	if (fixture->kind == STEERING_NFTABLES)
		fake(fixture, "save",
			"#!/bin/sh\ntest $2 = list && exec sleep 60\nPATH=/usr/sbin:/sbin:/usr/bin exec nft "
			"\"$@\"\n");
	else
		fake(fixture, "save", "#!/bin/sh\nexec sleep 60\n");
	steering_audit(fixture->steering);
	event_base_loop(fixture->base, EVLOOP_ONCE);
	event_base_loop(fixture->base, EVLOOP_ONCE);
	setenv("PATH", fixture->path, 1);
	apply_and_wait(fixture, 1, 3);
	assert_int_equal(fixture->failures, 0);
	assert_there(fixture, "23");
	assert_refused(fixture, 1, "nonsense");
}

/* What nft lists after the table was sent is what audits go by. */
static void what_somebody_changes_while_it_is_learnt_is_not_taken_for_right(void **state)
{
	struct fixture *fixture = *state;
	char *script = mem_printf("#!/bin/sh\nPATH=%s:/usr/sbin:/sbin\n"
				  "test \"$2\" = list && mkdir %s/once && nft flush chain ip portald host\n"
				  "exec nft \"$@\"\n",
		fixture->path, fixture->fakes);
	char *chain;

	fake(fixture, "save", script);
	engine_start(fixture);
	apply_and_wait(fixture, 1, 2);
	wait_for_syncs(fixture, 1);
	assert_true(fixture->corrected);
	chain = shell("PATH=$PATH:/usr/sbin:/sbin nft list chain ip portald host");
	assert_non_null(strstr(chain, "@portals"));
	free(chain);
	free(script);
}

static void count_ticks(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(*(int *)context)++;
}

static void a_hanging_tool_is_killed_and_the_loop_goes_on(void **state)
{
	struct fixture *fixture = *state;
	char *script = mem_printf("#!/bin/sh\nsleep 60 &\necho $! > %s/pid\nwait\n", fixture->fakes);
	struct timeval tick = {.tv_usec = 20000};
	struct event *ticker;
	int ticks = 0;
	char *gone;

	fake(fixture, "save", script);
	fixture->timeout_ms = 500;
	engine_start(fixture);
	ticker = event_new(fixture->base, -1, EV_PERSIST, count_ticks, &ticks);
	evtimer_add(ticker, &tick);
	apply(fixture, 1, 1);
	wait_for_syncs(fixture, 1);
	assert_int_equal(fixture->error, -ETIMEDOUT);
	assert_non_null(strstr(fixture->detail, "killed after 500 ms"));
	assert_in_range(ticks, 5, 100);
	/* What it started dies too, as soon as the kernel gets to it (init need not have reaped it). */
	gone = shell("for try in $(seq 100); do ps -o stat= -p $(cat %s/pid) | grep -qv Z || exit 0; "
		     "sleep 0.05; done; exit 1",
		fixture->fakes);
	assert_non_null(gone);
	free(gone);
	event_free(ticker);
	free(script);
}

static void freeing_the_engine_kills_a_tool_in_flight(void **state)
{
	struct fixture *fixture = *state;
	int64_t start_ms = clock_now_ms();

	fake(fixture, "save", "#!/bin/sh\nexec sleep 60\n");
	engine_start(fixture);
	apply(fixture, 1, 1);
	event_base_loop(fixture->base, EVLOOP_ONCE);
	event_base_loop(fixture->base, EVLOOP_ONCE);
	steering_free(fixture->steering);
	fixture->steering = NULL;
	assert_true(clock_now_ms() - start_ms < 5000);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void release_lock(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	flock(*(int *)context, LOCK_UN);
}

static void a_tool_waits_for_the_lock_of_another(void **state)
{
	struct fixture *fixture = *state;
	char *file = mem_printf("%s/lock", fixture->fakes);
	int lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct timeval delay = {.tv_usec = 300000};
	int64_t start_ms = clock_now_ms();

	assert_int_equal(flock(lock, LOCK_EX), 0);
	setenv("XTABLES_LOCKFILE", file, 1);
	engine_start(fixture);
	event_base_once(fixture->base, -1, EV_TIMEOUT, release_lock, &lock, &delay);
	apply_and_wait(fixture, 1, 1);
	if (fixture->tool == STEERING_TOOL_LEGACY)
		assert_true(clock_now_ms() - start_ms >= 300);
	close(lock);
	free(file);
}

/* ---- running ---- */

#define BOTH(test)                                                                                           \
	cmocka_unit_test_prestate_setup_teardown(test, set_up, tear_down, (void *)"nft"),                    \
		cmocka_unit_test_prestate_setup_teardown(test, set_up, tear_down, (void *)"legacy")

#define ALL(test)                                                                                            \
	BOTH(test), cmocka_unit_test_prestate_setup_teardown(test, set_up, tear_down, (void *)"nftables")

static int run_all(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(rules_come_into_force_and_a_repetition_changes_nothing),
		BOTH(foreign_rules_are_kept_to_the_letter),
		BOTH(disturbed_jumps_are_put_right),
		BOTH(a_foreign_firewall_that_takes_over_is_survived),
		BOTH(the_newest_rules_win),
		BOTH(cleanup_needs_no_engine_and_can_be_repeated),
		BOTH(cleanup_loads_no_legacy_table),
		BOTH(auto_takes_the_variant_that_holds_rules),
		BOTH(cluster_ip_is_reached_from_a_host_with_nothing_but_lo),
		BOTH(cluster_ip_is_reached_from_a_host_without_default_route),
		BOTH(a_host_with_a_route_gets_no_other),
		BOTH(an_audit_gives_routes_to_a_host_that_has_lost_its_own),
		BOTH(a_failing_tool_is_quoted_and_tried_again),
		ALL(a_rule_that_is_refused_is_quoted_and_the_rest_comes_into_force),
		ALL(a_rule_that_is_refused_without_a_word_is_found),
		ALL(a_tool_that_takes_nothing_is_no_rules_fault),
		cmocka_unit_test_prestate_setup_teardown(
			what_somebody_changes_while_it_is_learnt_is_not_taken_for_right, set_up, tear_down,
			(void *)"nftables"),
		ALL(an_audit_that_only_looks_gives_way_to_a_change),
		ALL(a_hanging_tool_is_killed_and_the_loop_goes_on),
		ALL(freeing_the_engine_kills_a_tool_in_flight),
		BOTH(a_tool_waits_for_the_lock_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Nobody can open the common lock file: the case of a laptop's user. */
static int run_as_nobody(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(rules_come_into_force_and_a_repetition_changes_nothing),
		BOTH(cleanup_needs_no_engine_and_can_be_repeated),
		BOTH(foreign_rules_are_kept_to_the_letter),
		BOTH(cleanup_loads_no_legacy_table),
	};

	/* A change of user makes /proc/self root's, unless the process says that it may be looked at. */
	if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0 ||
		prctl(PR_SET_DUMPABLE, 1) < 0 || rig_enter_user_namespace() < 0)
		return RIG_SKIPPED;
	return cmocka_run_group_tests_name("as nobody", tests, NULL, NULL);
}

int main(void)
{
	int as_nobody = 0;
	char *tools;

	if (geteuid() == 0)
		as_nobody = rig_in_child(run_as_nobody);
	if (rig_enter_user_namespace() < 0)
		return rig_skipped("this user can make no user and network namespace");
	tools = shell("export PATH=$PATH:/usr/sbin:/sbin; command -v ip && iptables-nft -t nat -S && "
		      "XTABLES_LOCKFILE=/dev/null iptables-legacy -t nat -S");
	if (!tools)
		return rig_skipped("ip, iptables-nft or iptables-legacy is missing or doesn't work here");
	free(tools);
	if (as_nobody != 0 && as_nobody != RIG_SKIPPED) {
		run_all();
		return EXIT_FAILURE;
	}
	return run_all();
}
