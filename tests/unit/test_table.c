/* The supervisor's table: real listening sockets, stable ports and slots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/mem.h"
#include "portald/stats.h"
#include "proc/records.h"
#include "proc/slots.h"
#include "proc/table.h"

struct fixture {
	int stats_fd;
	struct stats *stats;
	struct table *table;
};

static int setup(void **state)
{
	struct fixture *fixture = mem_calloc(1, sizeof(*fixture));
	struct table_setup table = {.bind_v4 = addr_loopback(ADDR_V4),
		.bind_v6 = addr_loopback(ADDR_V6),
		.relay_count = 2,
		.spread_sockets = 4};

	fixture->stats_fd = stats_create();
	fixture->stats = stats_map(fixture->stats_fd, 1);
	fixture->table = table_new(&table, fixture->stats);
	*state = fixture;
	return fixture->stats ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	table_free(fixture->table);
	stats_unmap(fixture->stats);
	close(fixture->stats_fd);
	free(fixture);
	return 0;
}

static struct addr_port at(uint32_t addr, uint16_t port)
{
	return (struct addr_port){.addr = addr_v4(addr), .port = port};
}

/* A record with one ClusterIP portal and count backends 10.0.0.1.. on port 80. */
static struct plan_listener *record(const char *key, uint16_t port, uint32_t first_backend, uint32_t count)
{
	struct plan_listener *listener = plan_listener_new(key, key, PROTO_TCP, ADDR_V4);
	struct addr_port portal = at(0x0a600001, port);

	assert_int_equal(plan_listener_add_portal(listener,
				 &(struct plan_portal){.kind = PLAN_PORTAL_CLUSTER_IP, .at = portal}),
		0);
	for (uint32_t i = 0; i < count; i++) {
		struct addr_port backend = at(0x0a000000 + first_backend + i, 80);

		assert_int_equal(plan_listener_add_backend(listener, &backend, 1, NULL), 0);
	}
	return listener;
}

static struct table_entry *put(struct table *table, struct plan_listener *listener, unsigned expected_change)
{
	unsigned change;
	struct table_entry *entry = table_put_take(table, listener, &change);

	assert_non_null(entry);
	assert_int_equal(change, expected_change);
	return entry;
}

static void ignore(void *context, struct table_entry *entry)
{
	(void)context;
	(void)entry;
}

static void a_new_listener_is_open_with_one_socket_a_relay(void **state)
{
	struct fixture *fixture = *state;
	struct table_entry *entry =
		put(fixture->table, record("default/a", 80, 1, 2), TABLE_FRONT | TABLE_BACKENDS);
	int accepting;
	socklen_t length = sizeof(accepting);

	assert_true(entry->open);
	assert_int_equal(entry->socket.relay_count, 2);
	assert_int_not_equal(entry->socket.at.port, 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(
			getsockopt(entry->socket.fds[i], SOL_SOCKET, SO_ACCEPTCONN, &accepting, &length), 0);
		assert_true(accepting);
	}
}

static void with_many_sockets_open_a_further_listener_has_one_only(void **state)
{
	struct fixture *fixture = *state;
	const struct table_entry *entries[4];

	for (size_t i = 0; i < 4; i++) {
		char key[] = {'d', '/', (char)('a' + i), '\0'};

		entries[i] = put(
			fixture->table, record(key, (uint16_t)(80 + i), 1, 1), TABLE_FRONT | TABLE_BACKENDS);
		assert_true(entries[i]->open);
		assert_int_equal(listen_socket_count(&entries[i]->socket), i < 2 ? 2 : 1);
	}
	/* One relay has the one, and the other one the other. */
	assert_true((entries[2]->socket.fds[0] < 0) == (entries[3]->socket.fds[0] >= 0));
	table_retire(fixture->table, table_find(fixture->table, "d/a"));
	table_drop_retired(fixture->table, ignore, NULL);
	assert_int_equal(
		listen_socket_count(
			&put(fixture->table, record("d/e", 90, 1, 1), TABLE_FRONT | TABLE_BACKENDS)->socket),
		1);
	table_retire(fixture->table, table_find(fixture->table, "d/b"));
	table_drop_retired(fixture->table, ignore, NULL);
	assert_int_equal(
		listen_socket_count(
			&put(fixture->table, record("d/f", 91, 1, 1), TABLE_FRONT | TABLE_BACKENDS)->socket),
		2);
}

static void the_same_record_again_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct table_entry *entry =
		put(fixture->table, record("default/a", 80, 1, 2), TABLE_FRONT | TABLE_BACKENDS);
	uint16_t port = entry->socket.at.port;
	uint32_t slot = entry->slot, backend = entry->backend_slots[1];

	entry = put(fixture->table, record("default/a", 80, 1, 2), TABLE_SAME);
	assert_int_equal(entry->socket.at.port, port);
	assert_int_equal(entry->slot, slot);
	assert_int_equal(entry->backend_slots[1], backend);
}

static void backends_that_stay_keep_their_slots(void **state)
{
	struct fixture *fixture = *state;
	struct table_entry *entry =
		put(fixture->table, record("default/a", 80, 1, 3), TABLE_FRONT | TABLE_BACKENDS);
	uint16_t port = entry->socket.at.port;
	uint32_t second = entry->backend_slots[1], third = entry->backend_slots[2];

	/* 1,2,3 becomes 2,3,4. */
	entry = put(fixture->table, record("default/a", 80, 2, 3), TABLE_BACKENDS);
	assert_int_equal(entry->socket.at.port, port);
	assert_int_equal(entry->backend_slots[0], second);
	assert_int_equal(entry->backend_slots[1], third);
	assert_int_not_equal(entry->backend_slots[2], second);
	assert_int_not_equal(entry->backend_slots[2], third);
}

static void another_portal_keeps_the_proxy_port(void **state)
{
	struct fixture *fixture = *state;
	struct table_entry *entry =
		put(fixture->table, record("default/a", 80, 1, 1), TABLE_FRONT | TABLE_BACKENDS);
	uint16_t port = entry->socket.at.port;

	entry = put(fixture->table, record("default/a", 81, 1, 1), TABLE_FRONT);
	assert_int_equal(entry->socket.at.port, port);
}

static int fcntl_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void a_full_sync_retires_what_was_not_put(void **state)
{
	struct fixture *fixture = *state;
	struct table_entry *gone =
		put(fixture->table, record("default/gone", 80, 1, 1), TABLE_FRONT | TABLE_BACKENDS);
	int fd = gone->socket.fds[0];

	put(fixture->table, record("default/stays", 81, 1, 1), TABLE_FRONT | TABLE_BACKENDS);
	table_unmark_all(fixture->table);
	put(fixture->table, record("default/stays", 81, 1, 1), TABLE_SAME);
	assert_int_equal(table_retire_unkept(fixture->table), 1);
	assert_null(table_find(fixture->table, "default/gone"));
	assert_non_null(table_find(fixture->table, "default/stays"));
	/* Its rules may still be there: it is open until it is dropped. */
	assert_int_equal(fcntl_is_open(fd), 1);
	table_drop_retired(fixture->table, ignore, NULL);
	assert_int_equal(fcntl_is_open(fd), 0);
}

static bool never_idle(void *context, uint32_t slot)
{
	(void)context;
	(void)slot;
	return false;
}

static bool always_idle(void *context, uint32_t slot)
{
	(void)context;
	(void)slot;
	return true;
}

static void a_slot_in_use_by_a_connection_is_not_given_out_again(void **state)
{
	struct slots slots;

	(void)state;
	slots_init(&slots, 3);
	assert_int_equal(slots_take(&slots, always_idle, NULL), 0);
	assert_int_equal(slots_take(&slots, always_idle, NULL), 1);
	slots_give_back(&slots, 0);
	slots_give_back(&slots, 1);
	assert_int_equal(slots_take(&slots, never_idle, NULL), 2);
	assert_int_equal(slots_take(&slots, never_idle, NULL), SLOTS_NONE);
	assert_int_equal(slots_take(&slots, always_idle, NULL), 0);
	assert_int_equal(slots_take(&slots, always_idle, NULL), 1);
	assert_int_equal(slots_take(&slots, always_idle, NULL), SLOTS_NONE);
	slots_fini(&slots);
}

static void records_out_of_bounds_are_refused(void **state)
{
	struct options options = {.source = {.node_port_first = 30000, .node_port_last = 32767}};
	const struct {
		enum plan_portal_kind kind;
		uint32_t addr;
		uint16_t port;
		int expected;
	} cases[] = {
		{PLAN_PORTAL_CLUSTER_IP, 0x0a600001, 80, 0},
		{PLAN_PORTAL_CLUSTER_IP, 0x00000000, 80, -1}, /* would take every connection to port 80 */
		{PLAN_PORTAL_CLUSTER_IP, 0x7f000001, 80, -1},
		{PLAN_PORTAL_CLUSTER_IP, 0xe0000001, 80, -1},
		{PLAN_PORTAL_CLUSTER_IP, 0xa9fea9fe, 80, -1}, /* a cloud's metadata service */
		{PLAN_PORTAL_NODE_PORT, 0, 30000, 0},
		{PLAN_PORTAL_NODE_PORT, 0, 22, -1},
		{PLAN_PORTAL_NODE_PORT, 0x0a600001, 30000, -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct plan_listener *listener =
			plan_listener_new("default/a", "default/a", PROTO_TCP, ADDR_V4);
		struct addr_port portal = at(cases[i].addr, cases[i].port);
		int rc;

		plan_listener_add_portal(
			listener, &(struct plan_portal){.kind = cases[i].kind, .at = portal});
		rc = records_check(listener, &options);
		if ((rc < 0) != (cases[i].expected < 0))
			fail_msg("case %zu: %d", i, rc);
		plan_listener_free(listener);
	}
}

static void rules_name_the_proxy_port_of_each_portal(void **state)
{
	struct fixture *fixture = *state;
	struct addr any = addr_any(ADDR_V4);
	struct table_entry *b =
		put(fixture->table, record("default/b", 81, 1, 1), TABLE_FRONT | TABLE_BACKENDS);
	struct table_entry *a =
		put(fixture->table, record("default/a", 80, 1, 1), TABLE_FRONT | TABLE_BACKENDS);
	struct steering_rules rules;

	records_rules(&rules, fixture->table, &any);
	assert_int_equal(rules.count, 2);
	assert_string_equal(rules.rules[0].key, "default/a");
	assert_int_equal(rules.rules[0].proxy_port, a->socket.at.port);
	assert_int_equal(rules.rules[1].proxy_port, b->socket.at.port);
	assert_int_equal(rules.rules[1].portal.at.port, 81);
	steering_rules_fini(&rules);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_new_listener_is_open_with_one_socket_a_relay),
		CASE(with_many_sockets_open_a_further_listener_has_one_only),
		CASE(the_same_record_again_changes_nothing),
		CASE(backends_that_stay_keep_their_slots),
		CASE(another_portal_keeps_the_proxy_port),
		CASE(a_full_sync_retires_what_was_not_put),
		CASE(rules_name_the_proxy_port_of_each_portal),
		cmocka_unit_test(a_slot_in_use_by_a_connection_is_not_given_out_again),
		cmocka_unit_test(records_out_of_bounds_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
