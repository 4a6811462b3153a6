/* Portals in real namespaces: a node, and a peer whose route to everything leads through it. For each
 * variant of iptables and each family, from the node itself and from the peer. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns_rig.h"
#include "portald/mem.h"
#include "portald/steering.h"

#define TOOL_TIMEOUT_MS 20000
#define PROXY_PORT 40001
#define OTHER_PROXY_PORT 40002
/* Long enough for an answer on a busy machine, short enough to wait for none. */
#define SILENCE_MS 400
/* What does come may take its time on a busy machine. */
#define ARRIVAL_MS 20000

struct kind {
	const char *variant;
	enum addr_family family;
};

struct fixture {
	const struct kind *kind;
	struct event_base *base;
	struct steering *steering;
	pid_t peer;
	int home;      /* the node's namespace */
	int elsewhere; /* the peer's */
	int syncs, error;
	char *detail;
	struct steering_rules rules;
};

static struct addr parse(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(&addr, text), 0);
	return addr;
}

/* The address of this family: one for each thing that a test names. */
static struct addr pick(const struct fixture *fixture, const char *v4, const char *v6)
{
	return parse(fixture->kind->family == ADDR_V6 ? v6 : v4);
}

static struct addr cluster_ip(const struct fixture *fixture)
{
	return pick(fixture, "10.96.0.1", "fd00:96::1");
}

static struct addr external_ip(const struct fixture *fixture)
{
	return pick(fixture, "198.51.100.7", "2001:db8:7::7");
}

static struct addr node_ip(const struct fixture *fixture)
{
	return pick(fixture, "192.0.2.1", "2001:db8::1");
}

/* ---- namespaces ---- */

static int open_namespace(pid_t pid)
{
	char *path = pid ? mem_printf("/proc/%d/ns/net", (int)pid) : mem_strdup("/proc/thread-self/ns/net");
	FILE *file = fopen(path, "re");
	int fd = file ? dup(fileno(file)) : -1;

	if (file)
		fclose(file);
	free(path);
	return fd;
}

static void start_peer(struct fixture *fixture)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	fixture->peer = fork();
	if (fixture->peer == 0) {
		if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	fixture->elsewhere = open_namespace(fixture->peer);
}

static void must(char *out)
{
	assert_non_null(out);
	free(out);
}

/* The kernel takes up a link and its IPv6 address a moment after it was told to, and drops what comes before.
 */
static void wait_for_device(const char *inside, const char *device, const char *address)
{
	must(shell("for i in $(seq 1000); do "
		   "%sip -o link show %s | grep -q 'state UP' && "
		   "%sip -6 route show table local | grep -q 'local %s ' && exit 0; "
		   "sleep 0.02; done; exit 1",
		inside, device, inside, address));
}

/* No redirects: the node sends the peer's packets back to it, and its redirects count against what it may
 * send of port-unreachable. */
static void connect_namespaces(const struct fixture *fixture)
{
	char *peer;

	must(shell("ip link add v0 type veth peer name v1 netns %d && ip addr add 192.0.2.1/24 dev v0 && "
		   "ip addr add 2001:db8::1/64 dev v0 nodad && ip link set v0 up && "
		   "cd /proc/sys/net && echo 1 > ipv4/ip_forward && echo 1 > ipv6/conf/all/forwarding && "
		   "echo 0 > ipv4/conf/all/send_redirects && echo 0 > ipv4/conf/v0/send_redirects && "
		   "ip route add default via 192.0.2.2 && ip -6 route add default via 2001:db8::2",
		(int)fixture->peer));
	must(shell("nsenter -t %d -n sh -c 'ip link set lo up && ip addr add 192.0.2.2/24 dev v1 && "
		   "ip addr add 2001:db8::2/64 dev v1 nodad && ip link set v1 up && "
		   "ip route add default via 192.0.2.1 && ip -6 route add default via 2001:db8::1'",
		(int)fixture->peer));
	wait_for_device("", "v0", "2001:db8::1");
	peer = mem_printf("nsenter -t %d -n ", (int)fixture->peer);
	wait_for_device(peer, "v1", "2001:db8::2");
	free(peer);
}

static void on_synced(void *context, int error, const char *detail)
{
	struct fixture *fixture = context;

	fixture->syncs++;
	fixture->error = error;
	free(fixture->detail);
	fixture->detail = detail ? mem_strdup(detail) : NULL;
	event_base_loopbreak(fixture->base);
}

static int set_up(void **state)
{
	struct fixture *fixture = mem_calloc(1, sizeof(*fixture));
	struct addr any = addr_any(ADDR_V4);
	struct steering_options options = {
		.tool_timeout_ms = TOOL_TIMEOUT_MS, .synced = on_synced, .context = fixture};

	fixture->kind = *state;
	options.tool = strcmp(fixture->kind->variant, "nft") == 0 ? STEERING_TOOL_NFT : STEERING_TOOL_LEGACY;
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	rig_lo_up();
	fixture->home = open_namespace(0);
	start_peer(fixture);
	connect_namespaces(fixture);
	fixture->base = event_base_new();
	fixture->steering = steering_new(fixture->base, &options);
	steering_rules_init(&fixture->rules, &any);
	*state = fixture;
	return fixture->steering ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	kill(fixture->peer, SIGKILL);
	waitpid(fixture->peer, NULL, 0);
	close(fixture->home);
	close(fixture->elsewhere);
	steering_rules_fini(&fixture->rules);
	steering_free(fixture->steering);
	event_base_free(fixture->base);
	free(fixture->detail);
	free(fixture);
	return 0;
}

/* ---- rules ---- */

static void add(struct fixture *fixture, enum proto proto, enum plan_action action,
	enum plan_portal_kind kind, struct addr addr, uint16_t port, enum plan_scope scope,
	uint16_t proxy_port)
{
	struct plan_portal portal = {.kind = kind, .scope = scope, .at = {addr, port}};
	struct plan_listener listener = {.key = "default/web", .proto = proto, .action = action};

	steering_rules_add_portal(&fixture->rules, &listener, &portal, proxy_port);
}

static void apply(struct fixture *fixture)
{
	struct timeval limit = {.tv_sec = 30};
	int before = fixture->syncs;

	steering_apply(fixture->steering, &fixture->rules);
	event_base_loopexit(fixture->base, &limit);
	event_base_dispatch(fixture->base);
	assert_int_equal(fixture->syncs, before + 1);
	if (fixture->error < 0)
		fail_msg("%s", fixture->detail);
	fixture->rules.count = 0;
}

/* ---- traffic ---- */

enum place { NODE, PEER };

static int make_socket(const struct fixture *fixture, enum place place, int type)
{
	int family = fixture->kind->family == ADDR_V6 ? AF_INET6 : AF_INET, fd;

	assert_int_equal(setns(place == PEER ? fixture->elsewhere : fixture->home, CLONE_NEWNET), 0);
	fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(setns(fixture->home, CLONE_NEWNET), 0);
	assert_true(fd >= 0);
	return fd;
}

static int proxy(const struct fixture *fixture, int type, uint16_t port)
{
	struct addr_port at = {addr_any(fixture->kind->family), port};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int fd = make_socket(fixture, NODE, type);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int send_first(int fd, int type, const struct addr *to, uint16_t port)
{
	struct addr_port at = {*to, port};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&at, &sa);
	int rc = connect(fd, (struct sockaddr *)&sa, length) < 0 && errno != EINPROGRESS ? errno : 0;

	/* On a TCP socket it would take the error of the connect() that it is about. */
	if (rc == 0 && type == SOCK_DGRAM)
		send(fd, "hello", 5, 0);
	return rc;
}

/* Returns 0 if something comes (or the connection stands), the error, or EAGAIN for silence. */
static int await(int fd, int type, int limit_ms)
{
	struct pollfd wait = {.fd = fd, .events = type == SOCK_STREAM ? POLLOUT : POLLIN};
	int error = 0;
	socklen_t length = sizeof(error);

	if (poll(&wait, 1, limit_ms) <= 0)
		return EAGAIN;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	return error;
}

static int outcome_within(const struct fixture *fixture, enum place place, int type, const struct addr *to,
	uint16_t port, int limit_ms)
{
	int fd = make_socket(fixture, place, type);
	int rc = send_first(fd, type, to, port);

	if (rc == 0)
		rc = await(fd, type, limit_ms);
	close(fd);
	return rc;
}

/* What a client meets: 0 if a proxy gets it. */
static int outcome(const struct fixture *fixture, enum place place, int type, struct addr to, uint16_t port)
{
	return outcome_within(fixture, place, type, &to, port, ARRIVAL_MS);
}

static bool is_dropped(const struct fixture *fixture, enum place place, struct addr to, uint16_t port)
{
	return outcome_within(fixture, place, SOCK_STREAM, &to, port, SILENCE_MS) == EAGAIN;
}

/* Whether a datagram comes to the proxy; takes it. */
static bool gets_datagram(int proxy_fd, int limit_ms)
{
	struct pollfd wait = {.fd = proxy_fd, .events = POLLIN};
	char bytes[16];

	return poll(&wait, 1, limit_ms) == 1 && recv(proxy_fd, bytes, sizeof(bytes), 0) == 5;
}

static bool datagram_reaches(
	const struct fixture *fixture, enum place place, struct addr to, uint16_t port, int proxy_fd)
{
	int fd = make_socket(fixture, place, SOCK_DGRAM);
	bool reached = send_first(fd, SOCK_DGRAM, &to, port) == 0 && gets_datagram(proxy_fd, ARRIVAL_MS);

	close(fd);
	return reached;
}

/* ---- behaviours ---- */

static void every_kind_of_portal_is_reached_from_everywhere(void **state)
{
	struct fixture *fixture = *state;
	struct addr any = addr_any(fixture->kind->family);
	int tcp = proxy(fixture, SOCK_STREAM, PROXY_PORT), udp = proxy(fixture, SOCK_DGRAM, PROXY_PORT);

	for (enum proto proto = PROTO_TCP; proto <= PROTO_UDP; proto++) {
		add(fixture, proto, PLAN_PROXY, PLAN_PORTAL_CLUSTER_IP, cluster_ip(fixture), 80,
			PLAN_SCOPE_ALL, PROXY_PORT);
		add(fixture, proto, PLAN_PROXY, PLAN_PORTAL_NODE_PORT, any, 30080, PLAN_SCOPE_ALL,
			PROXY_PORT);
		add(fixture, proto, PLAN_PROXY, PLAN_PORTAL_EXTERNAL_IP, external_ip(fixture), 80,
			PLAN_SCOPE_ALL, PROXY_PORT);
	}
	apply(fixture);
	for (enum place place = NODE; place <= PEER; place++) {
		assert_int_equal(outcome(fixture, place, SOCK_STREAM, cluster_ip(fixture), 80), 0);
		assert_int_equal(outcome(fixture, place, SOCK_STREAM, external_ip(fixture), 80), 0);
		assert_int_equal(outcome(fixture, place, SOCK_STREAM, node_ip(fixture), 30080), 0);
		assert_true(datagram_reaches(fixture, place, cluster_ip(fixture), 80, udp));
		assert_true(datagram_reaches(fixture, place, external_ip(fixture), 80, udp));
		assert_true(datagram_reaches(fixture, place, node_ip(fixture), 30080, udp));
	}
	assert_int_equal(outcome(fixture, NODE, SOCK_STREAM, addr_loopback(fixture->kind->family), 30080), 0);
	assert_true(datagram_reaches(fixture, NODE, addr_loopback(fixture->kind->family), 30080, udp));
	close(tcp);
	close(udp);
}

static void a_portal_without_endpoints_is_refused_at_once(void **state)
{
	struct fixture *fixture = *state;
	struct addr any = addr_any(fixture->kind->family);

	for (enum proto proto = PROTO_TCP; proto <= PROTO_UDP; proto++) {
		add(fixture, proto, PLAN_REJECT, PLAN_PORTAL_CLUSTER_IP, cluster_ip(fixture), 80,
			PLAN_SCOPE_ALL, PROXY_PORT);
		add(fixture, proto, PLAN_REJECT, PLAN_PORTAL_NODE_PORT, any, 30080, PLAN_SCOPE_ALL,
			PROXY_PORT);
		add(fixture, proto, PLAN_REJECT, PLAN_PORTAL_LOAD_BALANCER, external_ip(fixture), 80,
			PLAN_SCOPE_ALL, PROXY_PORT);
	}
	apply(fixture);
	for (enum place place = NODE; place <= PEER; place++) {
		for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
			assert_int_equal(
				outcome(fixture, place, type, cluster_ip(fixture), 80), ECONNREFUSED);
			assert_int_equal(
				outcome(fixture, place, type, node_ip(fixture), 30080), ECONNREFUSED);
			assert_int_equal(
				outcome(fixture, place, type, external_ip(fixture), 80), ECONNREFUSED);
		}
	}
}

static void what_arrives_can_be_dropped_while_the_node_is_served(void **state)
{
	struct fixture *fixture = *state;
	struct addr any = addr_any(fixture->kind->family);
	int tcp = proxy(fixture, SOCK_STREAM, PROXY_PORT);

	add(fixture, PROTO_TCP, PLAN_PROXY, PLAN_PORTAL_NODE_PORT, any, 30080, PLAN_SCOPE_HOST, PROXY_PORT);
	add(fixture, PROTO_TCP, PLAN_PROXY, PLAN_PORTAL_EXTERNAL_IP, external_ip(fixture), 80,
		PLAN_SCOPE_HOST, PROXY_PORT);
	add(fixture, PROTO_TCP, PLAN_DROP, PLAN_PORTAL_NODE_PORT, any, 30080, PLAN_SCOPE_ARRIVING,
		OTHER_PROXY_PORT);
	add(fixture, PROTO_TCP, PLAN_DROP, PLAN_PORTAL_EXTERNAL_IP, external_ip(fixture), 80,
		PLAN_SCOPE_ARRIVING, OTHER_PROXY_PORT);
	apply(fixture);
	assert_int_equal(outcome(fixture, NODE, SOCK_STREAM, node_ip(fixture), 30080), 0);
	assert_int_equal(outcome(fixture, NODE, SOCK_STREAM, external_ip(fixture), 80), 0);
	assert_true(is_dropped(fixture, PEER, node_ip(fixture), 30080));
	assert_true(is_dropped(fixture, PEER, external_ip(fixture), 80));
	close(tcp);
}

static void scopes_lead_to_listeners_of_their_own(void **state)
{
	struct fixture *fixture = *state;
	struct addr any = addr_any(fixture->kind->family);
	int inside = proxy(fixture, SOCK_DGRAM, PROXY_PORT),
	    outside = proxy(fixture, SOCK_DGRAM, OTHER_PROXY_PORT);

	add(fixture, PROTO_UDP, PLAN_PROXY, PLAN_PORTAL_NODE_PORT, any, 30080, PLAN_SCOPE_HOST, PROXY_PORT);
	add(fixture, PROTO_UDP, PLAN_PROXY, PLAN_PORTAL_NODE_PORT, any, 30080, PLAN_SCOPE_ARRIVING,
		OTHER_PROXY_PORT);
	apply(fixture);
	assert_true(datagram_reaches(fixture, NODE, node_ip(fixture), 30080, inside));
	assert_true(datagram_reaches(fixture, PEER, node_ip(fixture), 30080, outside));
	assert_false(gets_datagram(inside, SILENCE_MS));
	close(inside);
	close(outside);
}

static void a_udp_proxy_port_is_closed_to_who_was_not_redirected(void **state)
{
	struct fixture *fixture = *state;
	int udp = proxy(fixture, SOCK_DGRAM, PROXY_PORT);

	assert_true(datagram_reaches(fixture, PEER, node_ip(fixture), PROXY_PORT, udp));
	add(fixture, PROTO_UDP, PLAN_PROXY, PLAN_PORTAL_CLUSTER_IP, cluster_ip(fixture), 53, PLAN_SCOPE_ALL,
		PROXY_PORT);
	apply(fixture);
	for (enum place place = NODE; place <= PEER; place++) {
		assert_int_equal(
			outcome(fixture, place, SOCK_DGRAM, node_ip(fixture), PROXY_PORT), ECONNREFUSED);
		assert_false(gets_datagram(udp, SILENCE_MS));
		assert_true(datagram_reaches(fixture, place, cluster_ip(fixture), 53, udp));
	}
	close(udp);
}

static void node_ports_are_only_where_they_may_be(void **state)
{
	struct fixture *fixture = *state;
	struct addr any = addr_any(fixture->kind->family), here = node_ip(fixture);
	struct addr other = pick(fixture, "192.0.2.9", "2001:db8::9");
	struct addr_prefix allowed = addr_whole(&here);
	int tcp = proxy(fixture, SOCK_STREAM, PROXY_PORT);

	must(shell("ip addr add 192.0.2.9/24 dev v0 && ip addr add 2001:db8::9/64 dev v0 nodad"));
	fixture->rules.node_port_ranges = &allowed;
	fixture->rules.node_port_range_count = 1;
	add(fixture, PROTO_TCP, PLAN_PROXY, PLAN_PORTAL_NODE_PORT, any, 30080, PLAN_SCOPE_ALL, PROXY_PORT);
	apply(fixture);
	for (enum place place = NODE; place <= PEER; place++) {
		assert_int_equal(outcome(fixture, place, SOCK_STREAM, here, 30080), 0);
		assert_int_equal(outcome(fixture, place, SOCK_STREAM, other, 30080), ECONNREFUSED);
	}
	close(tcp);
}

static void a_portal_is_reached_on_a_host_with_nothing_but_lo(void **state)
{
	struct fixture *fixture = *state;
	int tcp = proxy(fixture, SOCK_STREAM, PROXY_PORT);

	must(shell("ip link del v0"));
	assert_int_equal(outcome(fixture, NODE, SOCK_STREAM, cluster_ip(fixture), 80), ENETUNREACH);
	add(fixture, PROTO_TCP, PLAN_PROXY, PLAN_PORTAL_CLUSTER_IP, cluster_ip(fixture), 80, PLAN_SCOPE_ALL,
		PROXY_PORT);
	add(fixture, PROTO_TCP, PLAN_REJECT, PLAN_PORTAL_CLUSTER_IP, cluster_ip(fixture), 81, PLAN_SCOPE_ALL,
		OTHER_PROXY_PORT);
	apply(fixture);
	assert_int_equal(outcome(fixture, NODE, SOCK_STREAM, cluster_ip(fixture), 80), 0);
	assert_int_equal(outcome(fixture, NODE, SOCK_STREAM, cluster_ip(fixture), 81), ECONNREFUSED);
	apply(fixture);
	assert_int_equal(outcome(fixture, NODE, SOCK_STREAM, cluster_ip(fixture), 80), ENETUNREACH);
	close(tcp);
}

/* Whether the datagrams of a client that keeps to one socket come to the proxy. */
static bool keeps_reaching(struct fixture *fixture, int client, int proxy_fd)
{
	struct timeval pause = {.tv_usec = 20000};
	bool reached = false;

	for (int i = 0; i < 500 && !reached; i++) {
		struct pollfd wait = {.fd = proxy_fd, .events = POLLIN};

		event_base_loopexit(fixture->base, &pause);
		event_base_dispatch(fixture->base);
		send(client, "hello", 5, 0);
		reached = poll(&wait, 1, 20) == 1 && gets_datagram(proxy_fd, 0);
	}
	return reached;
}

static void a_udp_client_that_never_stops_follows_the_rules(void **state)
{
	struct fixture *fixture = *state;
	struct addr to = cluster_ip(fixture);
	int first = proxy(fixture, SOCK_DGRAM, PROXY_PORT),
	    second = proxy(fixture, SOCK_DGRAM, OTHER_PROXY_PORT);

	for (enum place place = NODE; place <= PEER; place++) {
		int client = make_socket(fixture, place, SOCK_DGRAM);

		/* Entries are made only where somebody asks for them: the rules of another Service. */
		add(fixture, PROTO_UDP, PLAN_PROXY, PLAN_PORTAL_CLUSTER_IP, external_ip(fixture), 53,
			PLAN_SCOPE_ALL, PROXY_PORT);
		apply(fixture);
		assert_int_equal(send_first(client, SOCK_DGRAM, &to, 53), 0);
		assert_false(gets_datagram(first, SILENCE_MS));
		add(fixture, PROTO_UDP, PLAN_PROXY, PLAN_PORTAL_CLUSTER_IP, to, 53, PLAN_SCOPE_ALL,
			PROXY_PORT);
		apply(fixture);
		assert_true(keeps_reaching(fixture, client, first));
		add(fixture, PROTO_UDP, PLAN_PROXY, PLAN_PORTAL_CLUSTER_IP, to, 53, PLAN_SCOPE_ALL,
			OTHER_PROXY_PORT);
		apply(fixture);
		assert_true(keeps_reaching(fixture, client, second));
		close(client);
	}
	close(first);
	close(second);
}

static char *saved(const struct fixture *fixture, const char *program)
{
	char *out =
		shell("for table in nat filter; do PATH=$PATH:/usr/sbin:/sbin %s-%s-save -t $table; done | "
		      "sed '/^#/d; s/ \\[[0-9:]*\\]$//'",
			program, fixture->kind->variant);

	assert_non_null(out);
	return out;
}

static void each_family_gets_its_own_rules_and_loses_them_again(void **state)
{
	struct fixture *fixture = *state;
	bool v6 = fixture->kind->family == ADDR_V6;
	char *before[2] = {saved(fixture, "iptables"), saved(fixture, "ip6tables")}, *after[2];

	add(fixture, PROTO_TCP, PLAN_PROXY, PLAN_PORTAL_CLUSTER_IP, cluster_ip(fixture), 80, PLAN_SCOPE_ALL,
		PROXY_PORT);
	add(fixture, PROTO_TCP, PLAN_REJECT, PLAN_PORTAL_CLUSTER_IP, cluster_ip(fixture), 81, PLAN_SCOPE_ALL,
		PROXY_PORT);
	apply(fixture);
	after[0] = saved(fixture, "iptables");
	after[1] = saved(fixture, "ip6tables");
	assert_string_not_equal(before[v6], after[v6]);
	if (!v6)
		assert_string_equal(before[1], after[1]);
	free(after[0]);
	free(after[1]);
	/* Without IPv6 Services no rule is left in ip6tables, but for the frame that keeps the kernel's
	 * connection tracking. */
	apply(fixture);
	after[1] = saved(fixture, "ip6tables");
	assert_null(strstr(after[1], "-A KUBE-"));
	free(after[1]);
	assert_int_equal(steering_cleanup(TOOL_TIMEOUT_MS), 0);
	after[0] = saved(fixture, "iptables");
	after[1] = saved(fixture, "ip6tables");
	assert_string_equal(before[0], after[0]);
	assert_string_equal(before[1], after[1]);
	free(after[1]);
	free(before[0]);
	free(before[1]);
	free(after[0]);
}

/* ---- running ---- */

static const struct kind kinds[] = {
	{"nft", ADDR_V4}, {"nft", ADDR_V6}, {"legacy", ADDR_V4}, {"legacy", ADDR_V6}};

#define ONE(test, kind)                                                                                      \
	cmocka_unit_test_prestate_setup_teardown(test, set_up, tear_down, (void *)&kinds[kind])
#define ALL(test) ONE(test, 0), ONE(test, 1), ONE(test, 2), ONE(test, 3)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(every_kind_of_portal_is_reached_from_everywhere),
		ALL(a_portal_without_endpoints_is_refused_at_once),
		ALL(what_arrives_can_be_dropped_while_the_node_is_served),
		ALL(scopes_lead_to_listeners_of_their_own),
		ALL(a_udp_proxy_port_is_closed_to_who_was_not_redirected),
		ALL(node_ports_are_only_where_they_may_be),
		ALL(a_portal_is_reached_on_a_host_with_nothing_but_lo),
		ALL(a_udp_client_that_never_stops_follows_the_rules),
		ALL(each_family_gets_its_own_rules_and_loses_them_again),
	};
	char *tools;

	if (rig_enter_user_namespace() < 0)
		return rig_skipped("this user can make no user and network namespace");
	setenv("XTABLES_LOCKFILE", "/dev/null", 1);
	tools = shell("export PATH=$PATH:/usr/sbin:/sbin; command -v ip && command -v nsenter && "
		      "for family in ip ip6; do for variant in nft legacy; do "
		      "${family}tables-$variant -t nat -S || exit 1; done; done");
	if (!tools)
		return rig_skipped("ip, nsenter or a variant of iptables and ip6tables is missing");
	free(tools);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
