/* Channels: frames and descriptors over real socket pairs, with peers that keep to the rules and peers
 * that do not. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/types.h"
#include "portald/clock.h"
#include "portald/ipc.h"

#define HEADER_BYTES 8

/* A channel, and the other end as a channel (well-behaved) or bare (a peer that may send anything). */
struct fixture {
	struct ipc_channel *channel;
	struct ipc_channel *peer;
	int raw;
};

static int setup_pair(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->channel = ipc_channel_new(pair[0]);
	f->peer = ipc_channel_new(pair[1]);
	f->raw = -1;
	*state = f;
	return 0;
}

static int setup_raw(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->channel = ipc_channel_new(pair[0]);
	f->raw = pair[1];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ipc_channel_free(f->channel);
	ipc_channel_free(f->peer);
	if (f->raw >= 0)
		close(f->raw);
	free(f);
	return 0;
}

static ino_t inode_of(int fd)
{
	struct stat info;

	assert_int_equal(fstat(fd, &info), 0);
	return info.st_ino;
}

static size_t open_fd_count(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void send_raw(int fd, const void *bytes, size_t count, const int *fds, size_t fd_count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 8)];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	struct iovec iov = {(void *)bytes, count};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd_count > 0) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * fd_count);
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
	}
	assert_int_equal(sendmsg(fd, &message, MSG_NOSIGNAL), count);
}

/* ---- peers that keep to the rules ---- */

static void test_frame_arrives_as_it_was_sent(void **state)
{
	struct fixture *f = *state;
	struct ipc_frame frame;

	assert_int_equal(ipc_receive(f->channel, &frame), 0);
	assert_int_equal(ipc_send(f->peer, IPC_RELAY_CLOSE, "abcd", 4, NULL, 0), 0);
	assert_false(ipc_wants_write(f->peer));
	assert_int_equal(ipc_receive(f->channel, &frame), 1);
	assert_int_equal(frame.type, IPC_RELAY_CLOSE);
	assert_int_equal(frame.payload_bytes, 4);
	assert_memory_equal(frame.payload, "abcd", 4);
	assert_int_equal(frame.fd_count, 0);
	assert_int_equal(ipc_receive(f->channel, &frame), 0);
}

static void test_empty_payload_arrives(void **state)
{
	struct fixture *f = *state;
	struct ipc_frame frame;

	assert_int_equal(ipc_send(f->peer, IPC_FILES_GET, NULL, 0, NULL, 0), 0);
	assert_int_equal(ipc_receive(f->channel, &frame), 1);
	assert_int_equal(frame.payload_bytes, 0);
}

/* Frames with and without descriptors, all in the socket before the first is read: each must come out
 * with its own. */
static void test_descriptors_stay_with_their_frames(void **state)
{
	struct fixture *f = *state;
	static const size_t counts[] = {1, 0, 0, 4, 2, 0, 1, 1};
	ino_t inodes[8][IPC_MAX_FDS];
	struct ipc_frame frame;

	for (size_t i = 0; i < 8; i++) {
		enum ipc_type type = counts[i] ? IPC_SPAWN : IPC_FILES_GET;
		int fds[IPC_MAX_FDS];

		for (size_t j = 0; j < counts[i]; j++) {
			fds[j] = socket(AF_UNIX, SOCK_STREAM, 0);
			inodes[i][j] = inode_of(fds[j]);
		}
		assert_int_equal(ipc_send(f->peer, type, &(uint8_t){(uint8_t)i}, 1, fds, counts[i]), 0);
		for (size_t j = 0; j < counts[i]; j++)
			close(fds[j]);
	}
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(ipc_receive(f->channel, &frame), 1);
		assert_int_equal(frame.payload[0], i);
		assert_int_equal(frame.fd_count, counts[i]);
		for (size_t j = 0; j < counts[i]; j++) {
			assert_int_equal(inode_of(frame.fds[j]), inodes[i][j]);
			assert_true(fcntl(frame.fds[j], F_GETFD) & FD_CLOEXEC);
		}
	}
}

static void test_descriptors_not_taken_are_closed(void **state)
{
	struct fixture *f = *state;
	size_t before = open_fd_count();
	int fds[2] = {STDIN_FILENO, STDOUT_FILENO};
	struct ipc_frame frame;
	int taken;

	assert_int_equal(ipc_send(f->peer, IPC_SPAWN, "", 1, fds, 2), 0);
	assert_int_equal(ipc_receive(f->channel, &frame), 1);
	assert_int_equal(open_fd_count(), before + 2);
	taken = frame.fds[1];
	frame.fds[1] = -1;
	assert_int_equal(ipc_receive(f->channel, &frame), 0);
	assert_int_equal(open_fd_count(), before + 1);
	assert_true(fcntl(taken, F_GETFD) >= 0);
	close(taken);
}

static void test_closing_closes_what_was_not_taken(void **state)
{
	struct fixture *f = *state;
	size_t before = open_fd_count();
	int fd = STDIN_FILENO;
	struct ipc_frame frame;

	assert_int_equal(ipc_send(f->peer, IPC_SPAWN, "", 1, &fd, 1), 0);
	assert_int_equal(ipc_receive(f->channel, &frame), 1);
	ipc_channel_free(f->channel);
	f->channel = NULL;
	/* The channel's own descriptor is gone too. */
	assert_int_equal(open_fd_count(), before - 1);
}

/* More than a socket holds: the queue takes it without blocking and gives it out in order. */
static void test_queue_keeps_order_and_descriptors(void **state)
{
	struct fixture *f = *state;
	static uint8_t payload[64 * 1024];
	size_t before = open_fd_count();
	struct ipc_frame frame;
	uint32_t sent = 0;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ino_t inode = inode_of(fd);

	while (sent < 40) {
		payload[0] = (uint8_t)sent++;
		assert_int_equal(ipc_send(f->peer, IPC_RELAY_BACKENDS, payload, sizeof(payload), NULL, 0), 0);
		assert_int_equal(ipc_send(f->peer, IPC_FILE, payload, 1, &fd, 1), 0);
	}
	close(fd);
	assert_true(ipc_wants_write(f->peer));
	for (uint32_t i = 0; i < 40; i++) {
		while (ipc_receive(f->channel, &frame) == 0)
			assert_int_equal(ipc_flush(f->peer), 0);
		assert_int_equal(frame.type, IPC_RELAY_BACKENDS);
		assert_int_equal(frame.payload_bytes, sizeof(payload));
		assert_int_equal(frame.payload[0], i);
		while (ipc_receive(f->channel, &frame) == 0)
			assert_int_equal(ipc_flush(f->peer), 0);
		assert_int_equal(frame.fd_count, 1);
		assert_int_equal(inode_of(frame.fds[0]), inode);
	}
	assert_false(ipc_wants_write(f->peer));
	assert_int_equal(ipc_receive(f->channel, &frame), 0);
	assert_int_equal(open_fd_count(), before);
}

static void test_freeing_a_full_queue_closes_its_descriptors(void **state)
{
	struct fixture *f = *state;
	static uint8_t payload[64 * 1024];
	size_t before = open_fd_count();
	int fd = STDIN_FILENO;

	while (!ipc_wants_write(f->peer))
		assert_int_equal(ipc_send(f->peer, IPC_RELAY_BACKENDS, payload, sizeof(payload), NULL, 0), 0);
	assert_int_equal(ipc_send(f->peer, IPC_FILE, payload, 1, &fd, 1), 0);
	assert_int_equal(open_fd_count(), before + 1);
	ipc_channel_free(f->peer);
	f->peer = NULL;
	assert_int_equal(open_fd_count(), before - 1);
}

static void test_queue_is_bounded(void **state)
{
	struct fixture *f = *state;
	size_t bytes = (size_t)32768 * 22;
	uint8_t *payload = calloc(1, bytes);
	size_t sent = 0;
	int rc = 0;

	while (rc == 0 && sent < 2 * IPC_MAX_QUEUED_BYTES) {
		rc = ipc_send(f->peer, IPC_RELAY_BACKENDS, payload, bytes, NULL, 0);
		sent += bytes;
	}
	free(payload);
	assert_int_equal(rc, -ENOBUFS);
	assert_true(sent <= IPC_MAX_QUEUED_BYTES + 4 * bytes);
	/* Unusable from now on. */
	assert_int_equal(ipc_send(f->peer, IPC_RELAY_CLOSE, "abcd", 4, NULL, 0), -ENOBUFS);
	assert_int_equal(ipc_flush(f->peer), -ENOBUFS);
}

static void test_closed_peer_is_told_after_its_last_frame(void **state)
{
	struct fixture *f = *state;
	struct ipc_frame frame;

	assert_int_equal(ipc_send(f->peer, IPC_RELAY_CLOSE, "abcd", 4, NULL, 0), 0);
	/* Something that the peer never reads, which turns its closing into a reset. */
	assert_int_equal(ipc_send(f->channel, IPC_RELAY_CLOSE, "abcd", 4, NULL, 0), 0);
	ipc_channel_free(f->peer);
	f->peer = NULL;
	assert_int_equal(ipc_receive(f->channel, &frame), 1);
	assert_int_equal(ipc_receive(f->channel, &frame), -EPIPE);
	assert_int_equal(ipc_receive(f->channel, &frame), -EPIPE);
	assert_int_equal(ipc_send(f->channel, IPC_RELAY_CLOSE, "abcd", 4, NULL, 0), -EPIPE);
}

static void test_sending_to_a_closed_peer_fails_without_a_signal(void **state)
{
	struct fixture *f = *state;

	ipc_channel_free(f->peer);
	f->peer = NULL;
	assert_int_equal(ipc_send(f->channel, IPC_RELAY_CLOSE, "abcd", 4, NULL, 0), -EPIPE);
	assert_false(ipc_wants_write(f->channel));
}

static void test_send_refuses_what_the_table_forbids(void **state)
{
	struct fixture *f = *state;
	int fds[IPC_MAX_FDS + 1] = {0};
	static uint8_t payload[16];
	struct ipc_frame frame;

	assert_int_equal(ipc_send(f->peer, 0, NULL, 0, NULL, 0), -EINVAL);
	assert_int_equal(ipc_send(f->peer, IPC_TYPES, NULL, 0, NULL, 0), -EINVAL);
	assert_int_equal(ipc_send(f->peer, IPC_RELAY_CLOSE, payload, 5, NULL, 0), -EINVAL);
	assert_int_equal(ipc_send(f->peer, IPC_RELAY_CLOSE, payload, 4, fds, 1), -EINVAL);
	assert_int_equal(ipc_send(f->peer, IPC_SPAWN, payload, 5, fds, 0), -EINVAL);
	assert_int_equal(ipc_send(f->peer, IPC_SPAWN, payload, 5, fds, IPC_MAX_FDS + 1), -EINVAL);
	/* Nothing of it went, and the channel still works. */
	assert_int_equal(ipc_receive(f->channel, &frame), 0);
	assert_int_equal(ipc_send(f->peer, IPC_RELAY_CLOSE, payload, 4, NULL, 0), 0);
	assert_int_equal(ipc_receive(f->channel, &frame), 1);
}

static void test_waiting_ends_at_the_timeout(void **state)
{
	struct fixture *f = *state;
	struct ipc_frame frame;
	int64_t start_ms = clock_now_ms();

	assert_int_equal(ipc_receive_wait(f->channel, &frame, 30), -ETIMEDOUT);
	assert_true(clock_now_ms() - start_ms >= 29);
	/* No error of the channel. */
	assert_int_equal(ipc_send(f->peer, IPC_RELAY_CLOSE, "abcd", 4, NULL, 0), 0);
	assert_int_equal(ipc_receive_wait(f->channel, &frame, 1000), 1);
	ipc_channel_free(f->peer);
	f->peer = NULL;
	assert_int_equal(ipc_receive_wait(f->channel, &frame, -1), -EPIPE);
}

/* ---- peers that do not ---- */

static const uint8_t close_frame[] = {0, 0, 0, 4, 0, IPC_RELAY_CLOSE, 0, 0, 'a', 'b', 'c', 'd'};

static void test_partial_delivery_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	static const uint8_t file_frame[] = {0, 0, 0, 7, 0, IPC_FILE, 1, 0, 0, 1, 'a', 0, 0, 0, 0};
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ino_t inode = inode_of(fd);
	struct ipc_frame frame;

	for (size_t i = 0; i < sizeof(file_frame); i++) {
		assert_int_equal(ipc_receive(f->channel, &frame), 0);
		send_raw(f->raw, file_frame + i, 1, &fd, i == 0 ? 1 : 0);
	}
	close(fd);
	assert_int_equal(ipc_receive(f->channel, &frame), 1);
	assert_int_equal(frame.payload_bytes, 7);
	assert_memory_equal(frame.payload, file_frame + HEADER_BYTES, 7);
	assert_int_equal(frame.fd_count, 1);
	assert_int_equal(inode_of(frame.fds[0]), inode);
}

static void test_peer_that_closes_within_a_frame(void **state)
{
	struct fixture *f = *state;
	size_t before = open_fd_count();
	static const uint8_t part[] = {0, 0, 0, 7, 0, IPC_FILE, 1, 0, 0, 1};
	int fd = STDIN_FILENO;
	struct ipc_frame frame;

	send_raw(f->raw, part, sizeof(part), &fd, 1);
	assert_int_equal(ipc_receive(f->channel, &frame), 0);
	assert_int_equal(open_fd_count(), before + 1);
	close(f->raw);
	f->raw = -1;
	assert_int_equal(ipc_receive(f->channel, &frame), -EPIPE);
	assert_int_equal(open_fd_count(), before - 1);
}

static void expect_broken(
	struct fixture *f, const uint8_t *bytes, size_t count, const int *fds, size_t fd_count)
{
	struct ipc_frame frame;
	size_t before = open_fd_count();
	int rc;

	send_raw(f->raw, bytes, count, fds, fd_count);
	rc = ipc_receive(f->channel, &frame);
	assert_int_equal(rc, -EPROTO);
	assert_int_equal(open_fd_count(), before);
	/* For good: the good frame that follows is not read. */
	send_raw(f->raw, close_frame, sizeof(close_frame), NULL, 0);
	assert_int_equal(ipc_receive(f->channel, &frame), -EPROTO);
}

static void test_unknown_type_breaks_the_channel(void **state)
{
	expect_broken(*state, (const uint8_t[]){0, 0, 0, 0, 0, IPC_TYPES, 0, 0}, 8, NULL, 0);
}

static void test_type_zero_breaks_the_channel(void **state)
{
	expect_broken(*state, (const uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0}, 8, NULL, 0);
}

static void test_oversize_breaks_the_channel_at_the_header(void **state)
{
	/* One byte more than the type may have; nothing of the payload needs to come. */
	expect_broken(*state, (const uint8_t[]){0, 0, 0, 5, 0, IPC_RELAY_CLOSE, 0, 0}, 8, NULL, 0);
}

static void test_huge_length_breaks_the_channel(void **state)
{
	expect_broken(
		*state, (const uint8_t[]){0xff, 0xff, 0xff, 0xff, 0, IPC_LISTENER_PUT, 0, 0}, 8, NULL, 0);
}

static void test_reserved_byte_breaks_the_channel(void **state)
{
	expect_broken(*state, (const uint8_t[]){0, 0, 0, 4, 0, IPC_RELAY_CLOSE, 0, 1}, 8, NULL, 0);
}

static void test_missing_descriptor_breaks_the_channel(void **state)
{
	expect_broken(*state, (const uint8_t[]){0, 0, 0, 5, 0, IPC_SPAWN, 1, 0}, 8, NULL, 0);
}

static void test_unannounced_descriptor_breaks_the_channel(void **state)
{
	expect_broken(*state, close_frame, sizeof(close_frame), &(int){STDIN_FILENO}, 1);
}

static void test_unwanted_descriptor_breaks_the_channel(void **state)
{
	expect_broken(
		*state, (const uint8_t[]){0, 0, 0, 4, 0, IPC_RELAY_CLOSE, 1, 0}, 8, &(int){STDIN_FILENO}, 1);
}

static void test_too_many_descriptors_break_the_channel(void **state)
{
	int fds[6] = {0};

	expect_broken(*state, (const uint8_t[]){0, 0, 0, 5, 0, IPC_SPAWN, 6, 0}, 8, fds, 6);
}

static void test_descriptor_in_the_payload_breaks_the_channel(void **state)
{
	struct fixture *f = *state;
	struct ipc_frame frame;

	send_raw(f->raw, close_frame, HEADER_BYTES, NULL, 0);
	assert_int_equal(ipc_receive(f->channel, &frame), 0);
	expect_broken(f, close_frame + HEADER_BYTES, 4, &(int){STDIN_FILENO}, 1);
}

static void test_descriptors_over_several_header_bytes_add_up(void **state)
{
	struct fixture *f = *state;
	size_t before = open_fd_count();
	static const uint8_t header[] = {0, 0, 0, 5, 0, IPC_SPAWN, 2, 0};
	int fds[6] = {0};
	struct ipc_frame frame;

	send_raw(f->raw, header, 1, fds, 3);
	assert_int_equal(ipc_receive(f->channel, &frame), 0);
	assert_int_equal(open_fd_count(), before + 3);
	send_raw(f->raw, header + 1, 7, fds, 3);
	assert_int_equal(ipc_receive(f->channel, &frame), -EPROTO);
	assert_int_equal(open_fd_count(), before);
}

/* A full descriptor table of our own is not the peer's fault, but the frame is lost all the same. */
static void test_full_descriptor_table_is_told(void **state)
{
	struct fixture *f = *state;
	static const uint8_t header[] = {0, 0, 0, 5, 0, IPC_SPAWN, 2, 0};
	struct rlimit old, low;
	int fds[2] = {0};
	struct ipc_frame frame;
	int free_fd = dup(0), rc;

	close(free_fd);
	send_raw(f->raw, header, sizeof(header), fds, 2);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){.rlim_cur = (rlim_t)free_fd + 1, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	rc = ipc_receive(f->channel, &frame);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(rc, -EMFILE);
	assert_int_equal(fcntl(free_fd, F_GETFD), -1);
}

static void test_type_table_is_complete(void **state)
{
	(void)state;
	assert_null(ipc_type_info(0));
	assert_null(ipc_type_info(IPC_TYPES));
	assert_string_equal(ipc_type_name(1234567), "unknown");
	for (unsigned type = 1; type < IPC_TYPES; type++) {
		const struct ipc_type_info *info = ipc_type_info(type);

		assert_non_null(info);
		/* A message may be nothing but its descriptors, and one is nothing but an order. */
		assert_true(info->payload_max > 0 || info->fd_min > 0 || type == IPC_RELAY_DRAIN);
		assert_true(info->payload_max <= IPC_MAX_PAYLOAD_BYTES);
		assert_true(info->fd_min <= info->fd_max && info->fd_max <= IPC_MAX_FDS);
		assert_string_not_equal(ipc_type_name(type), "unknown");
	}
}

#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, setup_pair, teardown)
#define RAW_TEST(name) cmocka_unit_test_setup_teardown(name, setup_raw, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAIR_TEST(test_frame_arrives_as_it_was_sent),
		PAIR_TEST(test_empty_payload_arrives),
		PAIR_TEST(test_descriptors_stay_with_their_frames),
		PAIR_TEST(test_descriptors_not_taken_are_closed),
		PAIR_TEST(test_closing_closes_what_was_not_taken),
		PAIR_TEST(test_queue_keeps_order_and_descriptors),
		PAIR_TEST(test_freeing_a_full_queue_closes_its_descriptors),
		PAIR_TEST(test_queue_is_bounded),
		PAIR_TEST(test_closed_peer_is_told_after_its_last_frame),
		PAIR_TEST(test_sending_to_a_closed_peer_fails_without_a_signal),
		PAIR_TEST(test_send_refuses_what_the_table_forbids),
		PAIR_TEST(test_waiting_ends_at_the_timeout),
		RAW_TEST(test_partial_delivery_byte_by_byte),
		RAW_TEST(test_peer_that_closes_within_a_frame),
		RAW_TEST(test_unknown_type_breaks_the_channel),
		RAW_TEST(test_type_zero_breaks_the_channel),
		RAW_TEST(test_oversize_breaks_the_channel_at_the_header),
		RAW_TEST(test_huge_length_breaks_the_channel),
		RAW_TEST(test_reserved_byte_breaks_the_channel),
		RAW_TEST(test_missing_descriptor_breaks_the_channel),
		RAW_TEST(test_unannounced_descriptor_breaks_the_channel),
		RAW_TEST(test_unwanted_descriptor_breaks_the_channel),
		RAW_TEST(test_too_many_descriptors_break_the_channel),
		RAW_TEST(test_descriptor_in_the_payload_breaks_the_channel),
		RAW_TEST(test_descriptors_over_several_header_bytes_add_up),
		RAW_TEST(test_full_descriptor_table_is_told),
		cmocka_unit_test(test_type_table_is_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
