/* Parts of the UDP relay by themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "relay/udp.h"

static struct udp_key key_of(uint32_t client, uint32_t port)
{
	return (struct udp_key){.client = addr_v4(client), .local = addr_v4(0x7f000001), .port = port};
}

/* ---- table ---- */

static void test_a_flow_is_found_by_all_of_its_key(void **state)
{
	struct udp_table table;
	struct udp_flow flow = {.key = key_of(0x0a000001, 1000)};
	struct udp_key other = flow.key;

	(void)state;
	assert_int_equal(udp_table_init(&table, 100), 0);
	flow.hash = udp_table_hash(&table, &flow.key);
	udp_table_add(&table, &flow);
	assert_ptr_equal(udp_table_find(&table, &other, udp_table_hash(&table, &other)), &flow);
	other.listener = 1;
	assert_null(udp_table_find(&table, &other, udp_table_hash(&table, &other)));
	other = flow.key;
	other.local.bytes[15] = 2;
	assert_null(udp_table_find(&table, &other, udp_table_hash(&table, &other)));
	/* Not by the hash alone. */
	assert_null(udp_table_find(&table, &other, flow.hash));
	udp_table_remove(&table, &flow);
	assert_null(udp_table_find(&table, &flow.key, flow.hash));
	udp_table_fini(&table);
}

static void test_flows_of_one_bucket_are_told_apart(void **state)
{
	struct udp_table table;
	struct udp_flow flows[200];

	(void)state;
	assert_int_equal(udp_table_init(&table, 1), 0);
	for (uint32_t i = 0; i < 200; i++) {
		flows[i] = (struct udp_flow){.key = key_of(0x0a000001, 1000 + i)};
		flows[i].hash = udp_table_hash(&table, &flows[i].key);
		udp_table_add(&table, &flows[i]);
	}
	for (uint32_t i = 0; i < 200; i += 2)
		udp_table_remove(&table, &flows[i]);
	for (uint32_t i = 0; i < 200; i++)
		assert_ptr_equal(
			udp_table_find(&table, &flows[i].key, flows[i].hash), i % 2 ? &flows[i] : NULL);
	udp_table_fini(&table);
}

/* The published vectors are of another variant of the function; what matters here is that the secret does. */
static void test_the_hash_depends_on_the_secret(void **state)
{
	struct udp_table one = {.secret = {1, 2}}, other = {.secret = {1, 3}};
	struct udp_key key = key_of(0x0a000001, 1000), next = key_of(0x0a000001, 1001);

	(void)state;
	assert_true(udp_table_hash(&one, &key) == udp_table_hash(&one, &key));
	assert_true(udp_table_hash(&one, &key) != udp_table_hash(&other, &key));
	assert_true(udp_table_hash(&one, &key) != udp_table_hash(&one, &next));
}

/* 4,096 balls in 4,096 boxes: the fullest has about 7; one of 20 has a chance below 1 in 10^15. */
static void test_clients_with_like_addresses_are_spread(void **state)
{
	struct udp_table table;
	unsigned *boxes = calloc(4096, sizeof(*boxes));

	(void)state;
	assert_int_equal(udp_table_init(&table, 4096), 0);
	for (uint32_t i = 0; i < 4096; i++) {
		struct udp_key key = key_of(0x0a000000 + (i >> 6 << 8), 1024 + (i & 63) * 256);

		assert_true(++boxes[udp_table_hash(&table, &key) & table.mask] < 20);
	}
	free(boxes);
	udp_table_fini(&table);
}

/* ---- queues ---- */

struct queue_test {
	struct udp udp;
	struct udp_port port;
	struct listener listener;
};

static void setup_queues(struct queue_test *test, uint32_t first_ms, uint32_t idle_ms)
{
	*test = (struct queue_test){.listener = {.udp = &test->port}};
	for (enum udp_standing standing = 0; standing < UDP_STANDINGS; standing++) {
		test->port.queues[standing] =
			udp_queue_get(&test->udp, standing, standing == UDP_UNANSWERED ? first_ms : idle_ms);
		assert_non_null(test->port.queues[standing]);
	}
}

static void teardown_queues(struct queue_test *test)
{
	for (enum udp_standing standing = 0; standing < UDP_STANDINGS; standing++)
		udp_queue_put(&test->udp, test->port.queues[standing]);
	assert_null(test->udp.queues);
}

static void test_flows_expire_by_the_timeout_of_their_standing(void **state)
{
	struct queue_test test;
	struct udp_flow mute = {.listener = &test.listener};
	struct udp_flow answered = {.listener = &test.listener, .standing = UDP_ANSWERED};

	(void)state;
	setup_queues(&test, 1000, 100);
	assert_int_equal(udp_queue_next_ms(&test.udp), INT64_MAX);
	udp_queue_touch(&test.udp, &mute, 5000);
	udp_queue_touch(&test.udp, &answered, 5500);
	assert_int_equal(udp_queue_next_ms(&test.udp), 5600);
	assert_null(udp_queue_expired(&test.udp, 5599));
	assert_ptr_equal(udp_queue_expired(&test.udp, 5600), &answered);
	udp_queue_remove(&test.udp, &answered);
	assert_null(udp_queue_expired(&test.udp, 5999));
	assert_ptr_equal(udp_queue_expired(&test.udp, 6000), &mute);
	udp_queue_touch(&test.udp, &mute, 5999);
	assert_null(udp_queue_expired(&test.udp, 6000));
	udp_queue_remove(&test.udp, &mute);
	teardown_queues(&test);
}

static void test_the_idlest_of_the_least_standing_is_given_up_first(void **state)
{
	struct queue_test test;
	struct udp_flow flows[6];
	static const int order[] = {1, 2, 3, 0, 5, 4};

	(void)state;
	setup_queues(&test, 1000, 100);
	for (int i = 0; i < 6; i++)
		flows[i] = (struct udp_flow){.listener = &test.listener};
	flows[0].standing = flows[3].standing = UDP_ANSWERED;
	flows[4].standing = flows[5].standing = UDP_ESTABLISHED;
	for (int i = 0; i < 6; i++)
		udp_queue_touch(&test.udp, &flows[i], 1000 + i);
	udp_queue_touch(&test.udp, &flows[0], 2000);
	udp_queue_touch(&test.udp, &flows[4], 2000);
	for (int i = 0; i < 6; i++) {
		assert_ptr_equal(udp_queue_idlest(&test.udp), &flows[order[i]]);
		udp_queue_remove(&test.udp, &flows[order[i]]);
	}
	assert_null(udp_queue_idlest(&test.udp));
	teardown_queues(&test);
}

static void test_listeners_with_the_same_timeout_share_a_queue(void **state)
{
	struct udp udp = {0};
	struct udp_queue *one = udp_queue_get(&udp, UDP_ANSWERED, 250), *same, *other;

	(void)state;
	same = udp_queue_get(&udp, UDP_ANSWERED, 250);
	other = udp_queue_get(&udp, UDP_ESTABLISHED, 250);
	assert_ptr_equal(one, same);
	assert_ptr_not_equal(one, other);
	udp_queue_put(&udp, one);
	assert_ptr_equal(udp_queue_get(&udp, UDP_ANSWERED, 250), one);
	udp_queue_put(&udp, one);
	udp_queue_put(&udp, one);
	udp_queue_put(&udp, other);
	assert_null(udp.queues);
}

/* ---- messages ---- */

struct message {
	struct msghdr header;
	union udp_name name;
	union udp_control control;
};

static void from_v4(struct message *message, uint32_t addr, uint16_t port)
{
	*message = (struct message){
		.name.v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr)}};
	message->header = (struct msghdr){.msg_name = &message->name,
		.msg_namelen = sizeof(message->name.v4),
		.msg_control = &message->control};
}

static void test_without_a_destination_it_is_the_bound_address(void **state)
{
	struct addr bound = addr_v4(0x7f000001), client = addr_v4(0x0a000001);
	struct message message;
	struct udp_key key;

	(void)state;
	from_v4(&message, 0x0a000001, 53);
	assert_int_equal(udp_msg_parse(&message.header, &bound, &key), 0);
	assert_true(addr_equal(&key.local, &bound));
	assert_true(addr_equal(&key.client, &client));
	assert_int_equal(key.port, 53);
}

static void test_what_is_written_as_source_is_read_as_destination(void **state)
{
	struct udp_key key = key_of(0x0a000001, 53), got;
	struct addr any = addr_any(ADDR_V4);
	struct message message;

	(void)state;
	from_v4(&message, 0x0a000001, 53);
	message.header.msg_controllen = udp_msg_set_source(&message.control, &key);
	assert_int_equal(udp_msg_parse(&message.header, &any, &got), 0);
	assert_memory_equal(&got, &key, sizeof(key));
}

static void test_a_link_local_flow_knows_its_interface(void **state)
{
	struct udp_key key = {.local = {{0xfe, 0x80, [15] = 2}}, .scope = 7, .port = 53}, got;
	struct addr any = addr_any(ADDR_V6);
	struct message message;

	(void)state;
	key.client = key.local;
	key.client.bytes[15] = 1;
	from_v4(&message, 0, 0);
	message.name.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(53)};
	memcpy(&message.name.v6.sin6_addr, key.client.bytes, 16);
	message.header.msg_namelen = sizeof(message.name.v6);
	message.header.msg_controllen = udp_msg_set_source(&message.control, &key);
	assert_int_equal(udp_msg_parse(&message.header, &any, &got), 0);
	assert_memory_equal(&got, &key, sizeof(key));
}

static void test_a_sender_that_cannot_be_answered_is_refused(void **state)
{
	struct addr any = addr_any(ADDR_V4);
	struct message message;
	struct udp_key key;

	(void)state;
	from_v4(&message, 0x0a000001, 0);
	assert_int_equal(udp_msg_parse(&message.header, &any, &key), -EINVAL);
	from_v4(&message, 0x0a000001, 53);
	message.header.msg_namelen = 2;
	assert_int_equal(udp_msg_parse(&message.header, &any, &key), -EINVAL);
	from_v4(&message, 0x0a000001, 53);
	message.name.sa.sa_family = AF_UNIX;
	assert_int_equal(udp_msg_parse(&message.header, &any, &key), -EINVAL);
}

static void test_a_destination_that_is_cut_short_is_passed_over(void **state)
{
	struct udp_key key = key_of(0x0a000001, 53), got;
	struct addr bound = addr_v4(0x7f000009);
	struct message message;

	(void)state;
	from_v4(&message, 0x0a000001, 53);
	message.header.msg_controllen = udp_msg_set_source(&message.control, &key);
	message.control.header.cmsg_len = CMSG_LEN(4);
	assert_int_equal(udp_msg_parse(&message.header, &bound, &got), 0);
	assert_true(addr_equal(&got.local, &bound));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_flow_is_found_by_all_of_its_key),
		cmocka_unit_test(test_flows_of_one_bucket_are_told_apart),
		cmocka_unit_test(test_the_hash_depends_on_the_secret),
		cmocka_unit_test(test_clients_with_like_addresses_are_spread),
		cmocka_unit_test(test_flows_expire_by_the_timeout_of_their_standing),
		cmocka_unit_test(test_the_idlest_of_the_least_standing_is_given_up_first),
		cmocka_unit_test(test_listeners_with_the_same_timeout_share_a_queue),
		cmocka_unit_test(test_without_a_destination_it_is_the_bound_address),
		cmocka_unit_test(test_what_is_written_as_source_is_read_as_destination),
		cmocka_unit_test(test_a_link_local_flow_knows_its_interface),
		cmocka_unit_test(test_a_sender_that_cannot_be_answered_is_refused),
		cmocka_unit_test(test_a_destination_that_is_cut_short_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
