/* What one supervisor leaves to the next: real sockets, in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/mem.h"
#include "portald/stats.h"
#include "proc/inherit.h"
#include "proc/table.h"

static const struct listen_range any_port = {0, 0};

static struct plan_listener *record(const char *key, enum proto proto)
{
	struct plan_listener *listener = plan_listener_new(key, key, proto, ADDR_V4);
	const struct plan_portal portal = {
		.kind = PLAN_PORTAL_CLUSTER_IP, .at = {.addr = addr_v4(0x0a600001), .port = 80}};

	assert_int_equal(plan_listener_add_portal(listener, &portal), 0);
	return listener;
}

struct old {
	int stats_fd;
	struct stats *stats;
	struct table *table;
	struct listen_claims *claims;
	uint16_t port; /* of the listener default/web */
	struct addr_port claimed;
};

static void old_open(struct old *old)
{
	struct table_setup setup = {.bind_v4 = addr_loopback(ADDR_V4),
		.bind_v6 = addr_loopback(ADDR_V6),
		.relay_count = 2,
		.spread_sockets = 64};
	unsigned change;

	old->stats_fd = stats_create();
	old->stats = stats_map(old->stats_fd, 1);
	assert_non_null(old->stats);
	old->table = table_new(&setup, old->stats);
	old->port = table_put_take(old->table, record("default/web", PROTO_TCP), &change)->socket.at.port;
	assert_non_null(table_put_take(old->table, record("default/dns", PROTO_UDP), &change));
	old->claims = listen_claims_new();
	old->claimed = (struct addr_port){.addr = addr_loopback(ADDR_V4)};
	/* A port that was free a moment ago. */
	for (uint16_t port = 29000; port < 29100 && old->claimed.port == 0; port++) {
		const struct addr_port at = {.addr = old->claimed.addr, .port = port};

		if (listen_claims_hold(old->claims, PROTO_TCP, &at) == 0)
			old->claimed = at;
	}
	assert_int_not_equal(old->claimed.port, 0);
}

static void old_close(struct old *old)
{
	table_free(old->table);
	listen_claims_free(old->claims);
	stats_unmap(old->stats);
	close(old->stats_fd);
}

/* The list as the successor gets it, but that its descriptors are copies: both are one process here. */
static int list_of_copies(struct old *old)
{
	const struct inherit_facts facts = {
		.kind = STEERING_NFTABLES, .tool = STEERING_TOOL_NFT, .relay_count = 2};
	struct inherit_fds fds = {.list = NULL};
	int fd = inherit_save(old->table, old->claims, &facts, &fds), out;
	char text[4096] = "", *word, *rest = text;

	assert_true(fd >= 0);
	assert_int_equal(fds.count, 5);
	free(fds.list);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	out = memfd_create("copies", MFD_CLOEXEC);
	/* The head goes as it is; of the other lines the words from the fifth on are descriptors. */
	word = strsep(&rest, "\n");
	dprintf(out, "%s\n", word);
	while (rest && *rest) {
		char *line = strsep(&rest, "\n");

		for (size_t place = 0; (word = strsep(&line, " ")) != NULL; place++) {
			if (place < 4)
				dprintf(out, "%s%s", place ? " " : "", word);
			else
				dprintf(out, " %d", dup(atoi(word)));
		}
		dprintf(out, "\n");
	}
	lseek(out, 0, SEEK_SET);
	return out;
}

static struct inherit *load(struct old *old)
{
	int fd = list_of_copies(old);
	struct inherit *inherit = inherit_load(fd);

	close(fd);
	assert_non_null(inherit);
	return inherit;
}

static struct inherit *load_text(const char *text)
{
	int fd = memfd_create("text", MFD_CLOEXEC);
	struct inherit *inherit;

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	lseek(fd, 0, SEEK_SET);
	inherit = inherit_load(fd);
	close(fd);
	return inherit;
}

static void the_facts_go_over(void **state)
{
	struct inherit *inherit;
	struct old old;

	(void)state;
	old_open(&old);
	inherit = load(&old);
	assert_int_equal(inherit_facts(inherit)->kind, STEERING_NFTABLES);
	assert_int_equal(inherit_facts(inherit)->tool, STEERING_TOOL_NFT);
	assert_int_equal(inherit_facts(inherit)->relay_count, 2);
	inherit_free(inherit);
	old_close(&old);
}

static void a_listener_is_found_by_its_id_once(void **state)
{
	const struct addr loopback = addr_loopback(ADDR_V4);
	struct listen_socket socket;
	struct inherit *inherit;
	struct old old;
	int type;
	socklen_t length = sizeof(type);

	(void)state;
	old_open(&old);
	inherit = load(&old);
	assert_true(inherit_take_listener(inherit, "default/web", PROTO_TCP, &loopback, &any_port, &socket));
	assert_int_equal(socket.relay_count, 2);
	assert_int_equal(socket.at.port, old.port);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(getsockopt(socket.fds[i], SOL_SOCKET, SO_TYPE, &type, &length), 0);
		assert_int_equal(type, SOCK_STREAM);
		assert_int_equal(fcntl(socket.fds[i], F_GETFD), FD_CLOEXEC);
	}
	assert_false(inherit_take_listener(inherit, "default/web", PROTO_TCP, &loopback, &any_port, &socket));
	listen_close(&socket);
	inherit_free(inherit);
	old_close(&old);
}

static void a_listener_that_is_to_be_another_one_is_not_taken(void **state)
{
	const struct addr loopback = addr_loopback(ADDR_V4), any = addr_any(ADDR_V4);
	struct listen_range elsewhere = {.first = 1, .last = 2};
	struct listen_socket socket;
	struct inherit *inherit;
	struct old old;

	(void)state;
	old_open(&old);
	inherit = load(&old);
	assert_false(
		inherit_take_listener(inherit, "default/other", PROTO_TCP, &loopback, &any_port, &socket));
	assert_false(inherit_take_listener(inherit, "default/web", PROTO_UDP, &loopback, &any_port, &socket));
	assert_false(inherit_take_listener(inherit, "default/web", PROTO_TCP, &any, &any_port, &socket));
	assert_false(
		inherit_take_listener(inherit, "default/web", PROTO_TCP, &loopback, &elsewhere, &socket));
	assert_true(inherit_take_listener(inherit, "default/dns", PROTO_UDP, &loopback, &any_port, &socket));
	listen_close(&socket);
	inherit_free(inherit);
	old_close(&old);
}

static void a_claim_is_kept_without_a_gap(void **state)
{
	struct listen_claims *claims = listen_claims_new();
	struct listen_claims *others = listen_claims_new();
	struct inherit *inherit;
	struct old old;

	(void)state;
	old_open(&old);
	inherit = load(&old);
	inherit_take_claims(inherit, claims);
	inherit_free(inherit);
	old_close(&old);
	assert_int_equal(listen_claims_count(claims), 1);
	assert_true(listen_claims_hold(others, PROTO_TCP, &old.claimed) < 0);
	listen_claims_begin(claims);
	assert_int_equal(listen_claims_hold(claims, PROTO_TCP, &old.claimed), 0);
	listen_claims_end(claims);
	assert_int_equal(listen_claims_count(claims), 1);
	/* Not wanted any more. */
	listen_claims_begin(claims);
	listen_claims_end(claims);
	assert_int_equal(listen_claims_hold(others, PROTO_TCP, &old.claimed), 0);
	listen_claims_free(claims);
	listen_claims_free(others);
}

static void a_list_that_makes_no_sense_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"\n",
		"portald-sockets 2 1 0 2\n",
		"portald-sockets 1 1 0\n",
		"portald-sockets 1 9 0 2\n",
		"portald-sockets 1 1 0 65\n",
		"portald-sockets 1 1 0 0\n",
		"portald-sockets 1 1 0 2\nlistener default/web TCP 0 0\n",
		"portald-sockets 1 1 0 1\nlistener default/web TCP 0 0\n",
		"portald-sockets 1 1 0 1\nlistener default/web TCP 0 -1\n",
		"portald-sockets 1 1 0 1\nlistener default/web TCP 0 9999999\n",
		"portald-sockets 1 1 0 1\nlistener default/web TCP 0 x\n",
		"portald-sockets 1 1 0 1\nlistener default/web QUIC 0 0\n",
		"portald-sockets 1 1 0 1\nlistener\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_null(load_text(texts[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_facts_go_over),
		cmocka_unit_test(a_listener_is_found_by_its_id_once),
		cmocka_unit_test(a_listener_that_is_to_be_another_one_is_not_taken),
		cmocka_unit_test(a_claim_is_kept_without_a_gap),
		cmocka_unit_test(a_list_that_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
