/* Messages: every type there and back, its bounds, and payloads that break one rule each. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "portald/ipc.h"
#include "portald/plan.h"

struct fixture {
	struct ipc_channel *from, *to;
	struct ipc_frame frame;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->from = ipc_channel_new(pair[0]);
	f->to = ipc_channel_new(pair[1]);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ipc_channel_free(f->from);
	ipc_channel_free(f->to);
	free(f);
	return 0;
}

/* What was sent comes out at the other end as a frame of that type. */
static const struct ipc_frame *pass(struct fixture *f, int send_rc, enum ipc_type type)
{
	int rc;

	assert_int_equal(send_rc, 0);
	while ((rc = ipc_receive(f->to, &f->frame)) == 0)
		assert_int_equal(ipc_flush(f->from), 0);
	assert_int_equal(rc, 1);
	assert_int_equal(f->frame.type, type);
	return &f->frame;
}

static struct addr_port at_of(const char *text, uint16_t port)
{
	struct addr_port at = {.port = port};

	assert_int_equal(addr_parse(&at.addr, text), 0);
	return at;
}

/* ---- there and back ---- */

static void test_sync_round_trip(void **state)
{
	struct ipc_sync in = {.generation = UINT64_MAX - 1, .full = true}, out;
	const struct ipc_frame *frame;

	frame = pass(
		*state, ipc_send_sync(((struct fixture *)*state)->from, IPC_SYNC_BEGIN, &in), IPC_SYNC_BEGIN);
	assert_int_equal(ipc_decode_sync(frame, &out), 0);
	assert_true(out.generation == in.generation && out.full);
	in = (struct ipc_sync){.generation = 1, .full = false};
	frame = pass(
		*state, ipc_send_sync(((struct fixture *)*state)->from, IPC_SYNC_END, &in), IPC_SYNC_END);
	assert_int_equal(ipc_decode_sync(frame, &out), 0);
	assert_true(out.generation == 1 && !out.full);
	assert_int_equal(ipc_send_sync(((struct fixture *)*state)->from, IPC_RELAY_CLOSE, &in), -EINVAL);
}

static void test_sync_done_round_trip(void **state)
{
	struct fixture *f = *state;
	struct ipc_sync_done in = {.generation = 77, .failed = 3, .error = -EADDRINUSE}, out;

	assert_int_equal(
		ipc_decode_sync_done(pass(f, ipc_send_sync_done(f->from, &in), IPC_SYNC_DONE), &out), 0);
	assert_true(out.generation == 77 && out.failed == 3 && out.error == -EADDRINUSE);
}

static void test_listener_put_round_trip(void **state)
{
	struct fixture *f = *state;
	struct plan_listener *in = plan_listener_new(
				     "default/web:http", "default/web:http", PROTO_TCP, ADDR_V4),
			     *out;
	struct addr_port a = at_of("10.96.0.10", 80), b = at_of("0.0.0.0", 30080),
			 c = at_of("10.0.0.7", 8080);

	assert_int_equal(
		plan_listener_add_portal(in, &(struct plan_portal){.kind = PLAN_PORTAL_CLUSTER_IP, .at = a}),
		0);
	assert_int_equal(
		plan_listener_add_portal(in, &(struct plan_portal){.kind = PLAN_PORTAL_NODE_PORT, .at = b}),
		0);
	assert_int_equal(plan_listener_add_backend(in, &c, 1, "Pod default/web-1"), 0);
	assert_int_equal(
		ipc_decode_listener_put(pass(f, ipc_send_listener_put(f->from, in), IPC_LISTENER_PUT), &out),
		0);
	assert_string_equal(out->key, "default/web:http");
	assert_true(out->proto == PROTO_TCP && out->family == ADDR_V4);
	assert_int_equal(out->portal_count, 2);
	assert_int_equal(out->portals[1].kind, PLAN_PORTAL_NODE_PORT);
	assert_true(addr_port_equal(&out->portals[0].at, &a) && addr_port_equal(&out->portals[1].at, &b));
	assert_int_equal(out->backend_count, 1);
	assert_true(addr_port_equal(&out->backends[0].at, &c));
	assert_null(out->backends[0].target);
	plan_listener_free(in);
	plan_listener_free(out);
}

/* The largest listener there may be; far more than one socket buffer. */
static void test_largest_listener_passes(void **state)
{
	struct fixture *f = *state;
	struct plan_listener *in, *out;
	struct addr_port at = at_of("fd00::1", 443);
	char key[PLAN_MAX_KEY_BYTES];

	memset(key, 'k', sizeof(key));
	key[sizeof(key) - 1] = '\0';
	in = plan_listener_new(key, key, PROTO_UDP, ADDR_V6);
	for (size_t i = 0; i < PLAN_MAX_PORTALS; i++)
		assert_int_equal(plan_listener_add_portal(
					 in, &(struct plan_portal){.kind = PLAN_PORTAL_CLUSTER_IP, .at = at}),
			0);
	for (size_t i = 0; i < PLAN_MAX_BACKENDS; i++) {
		at.port = (uint16_t)i;
		assert_int_equal(plan_listener_add_backend(in, &at, 1, NULL), 0);
	}
	assert_int_equal(
		ipc_decode_listener_put(pass(f, ipc_send_listener_put(f->from, in), IPC_LISTENER_PUT), &out),
		0);
	assert_int_equal(out->portal_count, PLAN_MAX_PORTALS);
	assert_int_equal(out->backend_count, PLAN_MAX_BACKENDS);
	assert_int_equal(out->backends[PLAN_MAX_BACKENDS - 1].at.port, PLAN_MAX_BACKENDS - 1);
	assert_string_equal(out->key, key);
	plan_listener_free(in);
	plan_listener_free(out);
}

static void test_listener_del_round_trip(void **state)
{
	struct fixture *f = *state;
	struct ipc_storage storage;
	const char *key;

	assert_int_equal(ipc_decode_listener_del(
				 pass(f, ipc_send_listener_del(f->from, "default/web"), IPC_LISTENER_DEL),
				 &key, &storage),
		0);
	assert_string_equal(key, "default/web");
	ipc_storage_free(&storage);
}

static void test_relay_listener_round_trip(void **state)
{
	struct fixture *f = *state;
	struct ipc_relay_portal portals[] = {
		{.at = at_of("10.96.0.10", 53)}, {.at = at_of("0.0.0.0", 30053), .check_source = true}};
	struct addr_prefix range = {.addr = addr_v4(0x0a000000), .bits = 8};
	struct ipc_relay_listener out,
		in = {.name = 70000,
			.slot = 65535,
			.proto = PROTO_TCP,
			.check_destination = true,
			.direct = true,
			.key = "kube-system/dns",
			.portals = portals,
			.options = {.scheduler = SCHEDULER_NQ, .affinity_timeout_s = 5, .udp_idle_ms = 9},
			.portal_count = 2,
			.source_ranges = &range,
			.source_range_count = 1};
	struct ipc_storage storage;
	const struct ipc_frame *frame =
		pass(f, ipc_send_relay_listener(f->from, &in, STDIN_FILENO), IPC_RELAY_LISTENER);

	assert_int_equal(frame->fd_count, 1);
	assert_int_equal(ipc_decode_relay_listener(frame, &out, &storage), 0);
	assert_true(out.name == 70000 && out.slot == 65535 && out.proto == PROTO_TCP);
	assert_true(out.check_destination && out.direct);
	assert_string_equal(out.key, "kube-system/dns");
	assert_int_equal(out.portal_count, 2);
	assert_true(service_options_equal(&out.options, &in.options));
	assert_true(addr_port_equal(&out.portals[0].at, &portals[0].at) && !out.portals[0].check_source);
	assert_true(addr_port_equal(&out.portals[1].at, &portals[1].at) && out.portals[1].check_source);
	assert_int_equal(out.source_range_count, 1);
	assert_true(addr_equal(&out.source_ranges[0].addr, &range.addr) && out.source_ranges[0].bits == 8);
	ipc_storage_free(&storage);
}

static void test_relay_backends_round_trip(void **state)
{
	struct fixture *f = *state;
	struct ipc_relay_backend list[] = {
		{at_of("10.0.0.7", 1), 1, 1}, {at_of("fd00::7", 65535), 65535, UINT32_MAX}};
	struct ipc_relay_backends in = {.listener = 9, .backends = list, .backend_count = 2}, out;
	struct ipc_storage storage;

	assert_int_equal(
		ipc_decode_relay_backends(
			pass(f, ipc_send_relay_backends(f->from, &in), IPC_RELAY_BACKENDS), &out, &storage),
		0);
	assert_int_equal(out.listener, 9);
	assert_int_equal(out.backend_count, 2);
	assert_true(addr_port_equal(&out.backends[1].at, &list[1].at));
	assert_true(out.backends[0].slot == 1 && out.backends[1].slot == UINT32_MAX);
	assert_true(out.backends[0].weight == 1 && out.backends[1].weight == 65535);
	ipc_storage_free(&storage);
}

static void test_relay_backends_may_be_none(void **state)
{
	struct fixture *f = *state;
	struct ipc_relay_backends in = {.listener = 9}, out;
	struct ipc_storage storage;

	assert_int_equal(
		ipc_decode_relay_backends(
			pass(f, ipc_send_relay_backends(f->from, &in), IPC_RELAY_BACKENDS), &out, &storage),
		0);
	assert_int_equal(out.backend_count, 0);
	ipc_storage_free(&storage);
}

static void test_listener_state_round_trip(void **state)
{
	struct fixture *f = *state;
	struct ipc_unclaimed unclaimed = {at_of("0.0.0.0", 30080), -EADDRINUSE};
	struct ipc_backend_slot backends[] = {
		{at_of("10.0.0.7", 8080), 4}, {at_of("fd00::7", 1), UINT32_MAX}};
	struct ipc_listener_state in = {.id = "default/web:http#v6",
					  .slot = 9,
					  .error = -EMFILE,
					  .proxy = at_of("0.0.0.0", 41234),
					  .refusal = "exit code 2: \"no\"",
					  .unclaimed = &unclaimed,
					  .unclaimed_count = 1,
					  .backends = backends,
					  .backend_count = 2},
				  out;
	struct ipc_storage storage;

	assert_int_equal(
		ipc_decode_listener_state(
			pass(f, ipc_send_listener_state(f->from, &in), IPC_LISTENER_STATE), &out, &storage),
		0);
	assert_string_equal(out.id, in.id);
	assert_true(out.slot == 9 && out.error == -EMFILE && addr_port_equal(&out.proxy, &in.proxy));
	assert_string_equal(out.refusal, in.refusal);
	assert_int_equal(out.unclaimed_count, 1);
	assert_true(addr_port_equal(&out.unclaimed[0].at, &unclaimed.at));
	assert_int_equal(out.unclaimed[0].error, -EADDRINUSE);
	assert_int_equal(out.backend_count, 2);
	assert_true(addr_port_equal(&out.backends[1].at, &backends[1].at));
	assert_true(out.backends[0].slot == 4 && out.backends[1].slot == UINT32_MAX);
	ipc_storage_free(&storage);
}

static void test_relay_close_round_trip(void **state)
{
	struct fixture *f = *state;
	uint32_t slot;

	assert_int_equal(
		ipc_decode_relay_close(pass(f, ipc_send_relay_close(f->from, 12345), IPC_RELAY_CLOSE), &slot),
		0);
	assert_int_equal(slot, 12345);
}

static void test_spawn_round_trip(void **state)
{
	struct fixture *f = *state;
	struct ipc_spawn in = {.role = IPC_ROLE_RELAY, .index = 63}, out;
	int fds[IPC_MAX_FDS] = {0, 0, 0, 0};
	const struct ipc_frame *frame = pass(f, ipc_send_spawn(f->from, &in, fds, IPC_MAX_FDS), IPC_SPAWN);

	assert_int_equal(frame->fd_count, IPC_MAX_FDS);
	assert_int_equal(ipc_decode_spawn(frame, &out), 0);
	assert_true(out.role == IPC_ROLE_RELAY && out.index == 63);
}

static void test_exited_round_trip(void **state)
{
	struct fixture *f = *state;
	struct ipc_exited in = {.role = IPC_ROLE_CONTROL, .index = 0, .status = -2}, out;

	assert_int_equal(ipc_decode_exited(pass(f, ipc_send_exited(f->from, &in), IPC_EXITED), &out), 0);
	assert_true(out.role == IPC_ROLE_CONTROL && out.index == 0 && out.status == -2);
}

static void test_config_round_trip(void **state)
{
	struct fixture *f = *state;
	const struct ipc_frame *frame = pass(f, ipc_send_config(f->from, STDIN_FILENO), IPC_CONFIG);

	assert_int_equal(frame->fd_count, 1);
	assert_int_equal(ipc_decode_config(frame), 0);
}

static void test_settings_round_trip(void **state)
{
	struct fixture *f = *state;
	char *most = calloc(1, IPC_MAX_SETTINGS_BYTES + 2);
	struct ipc_storage storage;
	const char *text;

	memset(most, 'x', IPC_MAX_SETTINGS_BYTES);
	assert_int_equal(
		ipc_decode_settings(pass(f, ipc_send_settings(f->from, most), IPC_SETTINGS), &text, &storage),
		0);
	assert_string_equal(text, most);
	ipc_storage_free(&storage);
	most[IPC_MAX_SETTINGS_BYTES] = 'x';
	assert_int_equal(ipc_send_settings(f->from, most), -EINVAL);
	free(most);
}

static void test_files_get_round_trip(void **state)
{
	struct fixture *f = *state;
	uint32_t index;

	assert_int_equal(
		ipc_decode_files_get(pass(f, ipc_send_files_get(f->from, 3), IPC_FILES_GET), &index), 0);
	assert_int_equal(index, 3);
}

static void test_credential_get_round_trip(void **state)
{
	static const char *const paths[] = {"/etc/kubernetes/\xc3\xa4 b.conf", ""};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const struct ipc_frame *frame =
			pass(f, ipc_send_credential_get(f->from, paths[i]), IPC_CREDENTIAL_GET);
		struct ipc_storage storage;
		const char *path;

		assert_int_equal(ipc_decode_credential_get(frame, &path, &storage), 0);
		assert_string_equal(path, paths[i]);
		ipc_storage_free(&storage);
	}
}

static void test_file_round_trip(void **state)
{
	struct fixture *f = *state;
	struct ipc_file in = {.name = "dir/\xc3\xa4 b.yaml"}, out;
	struct ipc_storage storage;
	const struct ipc_frame *frame = pass(f, ipc_send_file(f->from, &in, STDIN_FILENO), IPC_FILE);

	assert_int_equal(frame->fd_count, 1);
	assert_int_equal(ipc_decode_file(frame, &out, &storage), 0);
	assert_string_equal(out.name, in.name);
	assert_int_equal(out.error, 0);
	ipc_storage_free(&storage);
	/* A file that can't be read, and the end of the list: no descriptor. */
	in = (struct ipc_file){.name = "b", .error = -EACCES};
	assert_int_equal(
		ipc_decode_file(pass(f, ipc_send_file(f->from, &in, -1), IPC_FILE), &out, &storage), 0);
	assert_int_equal(out.error, -EACCES);
	ipc_storage_free(&storage);
	in = (struct ipc_file){.name = ""};
	assert_int_equal(
		ipc_decode_file(pass(f, ipc_send_file(f->from, &in, -1), IPC_FILE), &out, &storage), 0);
	assert_string_equal(out.name, "");
	ipc_storage_free(&storage);
}

static void test_messages_of_an_upgrade_round_trip(void **state)
{
	struct fixture *f = *state;
	enum ipc_step step;
	uint32_t pid;

	assert_int_equal(ipc_decode_relay_drain(pass(f, ipc_send_relay_drain(f->from), IPC_RELAY_DRAIN)), 0);
	assert_int_equal(ipc_decode_succeed(pass(f, ipc_send_succeed(f->from, 0, 1), IPC_SUCCEED)), 0);
	assert_int_equal(
		ipc_decode_handover(pass(f, ipc_send_handover(f->from, IPC_STEP_READY), IPC_HANDOVER), &step),
		0);
	assert_int_equal(step, IPC_STEP_READY);
	assert_int_equal(
		ipc_decode_successor(pass(f, ipc_send_successor(f->from, 70000, 0), IPC_SUCCESSOR), &pid), 0);
	assert_int_equal(pid, 70000);
}

static void test_senders_refuse_what_exceeds_a_bound(void **state)
{
	struct fixture *f = *state;
	char *text = calloc(1, IPC_MAX_NAME_BYTES + 2);
	struct ipc_file file = {.name = text, .error = -ENOENT};
	struct ipc_relay_backends backends = {.backend_count = PLAN_MAX_BACKENDS + 1};
	struct ipc_relay_backend *list = calloc(backends.backend_count, sizeof(*list));

	memset(text, 'n', IPC_MAX_NAME_BYTES + 1);
	backends.backends = list;
	assert_int_equal(ipc_send_file(f->from, &file, -1), -EINVAL);
	assert_int_equal(ipc_send_listener_del(f->from, text), -EINVAL);
	assert_int_equal(ipc_send_relay_backends(f->from, &backends), -EINVAL);
	/* A descriptor with a failure, and none without one. */
	file = (struct ipc_file){.name = "a", .error = -ENOENT};
	assert_int_equal(ipc_send_file(f->from, &file, STDIN_FILENO), -EINVAL);
	file.error = 0;
	assert_int_equal(ipc_send_file(f->from, &file, -1), -EINVAL);
	free(list);
	free(text);
	/* The channel still works. */
	pass(f, ipc_send_relay_close(f->from, 1), IPC_RELAY_CLOSE);
}

/* ---- payloads that break a rule ---- */

/* Decodes as the frame's own type. Whatever a decoder returns is freed. */
static int decode(const struct ipc_frame *frame)
{
	struct ipc_storage storage = {.count = 0};
	struct plan_listener *listener = NULL;
	union {
		struct ipc_sync sync;
		struct ipc_sync_done done;
		struct ipc_relay_listener listener;
		struct ipc_relay_backends backends;
		struct ipc_spawn spawn;
		struct ipc_exited exited;
		struct ipc_file file;
		struct ipc_listener_state state;
		enum ipc_step step;
		uint32_t number;
		const char *key;
	} out;
	int rc = -ENOSYS;

	switch (frame->type) {
	case IPC_SYNC_BEGIN:
	case IPC_SYNC_END:
		rc = ipc_decode_sync(frame, &out.sync);
		break;
	case IPC_LISTENER_PUT:
		rc = ipc_decode_listener_put(frame, &listener);
		break;
	case IPC_LISTENER_DEL:
		rc = ipc_decode_listener_del(frame, &out.key, &storage);
		break;
	case IPC_SYNC_DONE:
		rc = ipc_decode_sync_done(frame, &out.done);
		break;
	case IPC_RELAY_LISTENER:
		rc = ipc_decode_relay_listener(frame, &out.listener, &storage);
		break;
	case IPC_RELAY_BACKENDS:
		rc = ipc_decode_relay_backends(frame, &out.backends, &storage);
		break;
	case IPC_RELAY_CLOSE:
		rc = ipc_decode_relay_close(frame, &out.number);
		break;
	case IPC_SPAWN:
		rc = ipc_decode_spawn(frame, &out.spawn);
		break;
	case IPC_EXITED:
		rc = ipc_decode_exited(frame, &out.exited);
		break;
	case IPC_CONFIG:
		rc = ipc_decode_config(frame);
		break;
	case IPC_SETTINGS:
		rc = ipc_decode_settings(frame, &out.key, &storage);
		break;
	case IPC_FILES_GET:
		rc = ipc_decode_files_get(frame, &out.number);
		break;
	case IPC_FILE:
		rc = ipc_decode_file(frame, &out.file, &storage);
		break;
	case IPC_LISTENER_STATE:
		rc = ipc_decode_listener_state(frame, &out.state, &storage);
		break;
	case IPC_CREDENTIAL_GET:
		rc = ipc_decode_credential_get(frame, &out.key, &storage);
		break;
	case IPC_RELAY_DRAIN:
		rc = ipc_decode_relay_drain(frame);
		break;
	case IPC_SUCCEED:
		rc = ipc_decode_succeed(frame);
		break;
	case IPC_HANDOVER:
		rc = ipc_decode_handover(frame, &out.step);
		break;
	case IPC_SUCCESSOR:
		rc = ipc_decode_successor(frame, &out.number);
		break;
	case IPC_TYPES:
		break;
	}
	if (rc < 0)
		assert_int_equal(storage.count, 0);
	ipc_storage_free(&storage);
	plan_listener_free(listener);
	return rc;
}

/* A valid payload of every type, written out by hand: the wire format itself, apart from the encoders. */
#define MAPPED(a, b, c, d) 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d
#define BYTES(...) .bytes = (const uint8_t[]){__VA_ARGS__}, .count = sizeof((const uint8_t[]){__VA_ARGS__})

struct sample {
	enum ipc_type type;
	size_t fd_count;
	const uint8_t *bytes;
	size_t count;
};

/* Options of a Service, all zero. */
#define ZEROS_10 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
#define OPTIONS ZEROS_10, ZEROS_10, ZEROS_10, ZEROS_10

/* clang-format off */
static const struct sample samples[] = {
	{IPC_SYNC_BEGIN, 0, BYTES(0, 0, 0, 0, 0, 0, 0, 1, 1)},
	{IPC_SYNC_END, 0, BYTES(0, 0, 0, 0, 0, 0, 0, 1, 0)},
	{IPC_SYNC_DONE, 0, BYTES(0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)},
	{IPC_LISTENER_PUT, 0, BYTES(0, 3, 'a', '/', 'b', 0, 3, 'a', '/', 'b', PROTO_TCP, 4, PLAN_PROXY, OPTIONS,
		0, 0, 0, 1, PLAN_PORTAL_CLUSTER_IP, PLAN_SCOPE_ALL, 0, MAPPED(10, 0, 0, 1), 0, 80,
		0, 0, 0, 1, MAPPED(10, 0, 0, 0), 24,
		0, 0, 0, 1, MAPPED(10, 0, 0, 2), 0x1f, 0x90, 0, 1)},
	{IPC_LISTENER_DEL, 0, BYTES(0, 3, 'a', '/', 'b')},
	{IPC_RELAY_LISTENER, 1, BYTES(0, 0, 0, 7, 0, 0, 0, 7, PROTO_TCP, 1, 0, 0, 3, 'a', '/', 'b', OPTIONS,
		0, 0, 0, 1, MAPPED(10, 0, 0, 1), 0, 80, 1,
		0, 0, 0, 1, MAPPED(10, 0, 0, 0), 24)},
	{IPC_RELAY_BACKENDS, 0, BYTES(0, 0, 0, 7,
		0, 0, 0, 1, MAPPED(10, 0, 0, 2), 0x1f, 0x90, 0, 0, 0, 3, 0, 1)},
	{IPC_RELAY_CLOSE, 0, BYTES(0, 0, 0, 7)},
	{IPC_SPAWN, 2, BYTES(IPC_ROLE_RELAY, 0, 0, 0, 1)},
	{IPC_EXITED, 0, BYTES(IPC_ROLE_RELAY, 0, 0, 0, 1, 0, 0, 0, 9)},
	{IPC_CONFIG, 1, (const uint8_t[]){0}, 0},
	{IPC_SETTINGS, 0, BYTES(0, 4, 'v', '=', '1', '\n')},
	{IPC_FILES_GET, 0, BYTES(0, 0, 0, 1)},
	{IPC_FILE, 1, BYTES(0, 1, 'a', 0, 0, 0, 0)},
	{IPC_LISTENER_STATE, 0, BYTES(0, 3, 'a', '/', 'b', 0, 0, 0, 7, 0, 0, 0, 0, MAPPED(0, 0, 0, 0), 0x9c, 0x40, 0, 2, 'n', 'o',
		0, 0, 0, 1, MAPPED(10, 0, 0, 1), 0, 80, 0xff, 0xff, 0xff, 0x9e,
		0, 0, 0, 1, MAPPED(10, 0, 0, 2), 0x1f, 0x90, 0, 0, 0, 3)},
	{IPC_CREDENTIAL_GET, 0, BYTES(0, 2, '/', 'a')},
	{IPC_RELAY_DRAIN, 0, (const uint8_t[]){0}, 0},
	{IPC_SUCCEED, 2, (const uint8_t[]){0}, 0},
	{IPC_HANDOVER, 0, BYTES(IPC_STEP_GO)},
	{IPC_SUCCESSOR, 1, BYTES(0, 0, 0x12, 0x67)},
};
/* clang-format on */
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

static int decode_bytes(enum ipc_type type, size_t fd_count, const uint8_t *bytes, size_t count)
{
	int fds[IPC_MAX_FDS + 1] = {-1, -1, -1, -1, -1};
	/* Exactly as large as the payload, so that a sanitizer sees a read past its end. */
	uint8_t *copy = malloc(count ? count : 1);
	struct ipc_frame frame = {
		.type = type, .payload = copy, .payload_bytes = count, .fds = fds, .fd_count = fd_count};
	int rc;

	memcpy(copy, bytes, count);
	rc = decode(&frame);
	free(copy);
	return rc;
}

/* The sample with one byte changed. */
static int decode_changed(size_t sample, size_t offset, uint8_t value)
{
	uint8_t bytes[256];

	memcpy(bytes, samples[sample].bytes, samples[sample].count);
	assert_true(offset < samples[sample].count && bytes[offset] != value);
	bytes[offset] = value;
	return decode_bytes(samples[sample].type, samples[sample].fd_count, bytes, samples[sample].count);
}

static size_t sample_of(enum ipc_type type)
{
	for (size_t i = 0; i < SAMPLES; i++) {
		if (samples[i].type == type)
			return i;
	}
	fail();
	return 0;
}

static void test_samples_decode(void **state)
{
	(void)state;
	assert_int_equal(SAMPLES, IPC_TYPES - 1);
	for (size_t i = 0; i < SAMPLES; i++) {
		const struct sample *s = &samples[i];

		assert_int_equal(decode_bytes(s->type, s->fd_count, s->bytes, s->count), 0);
	}
}

static void test_truncated_payloads_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		const struct sample *s = &samples[i];

		for (size_t count = 0; count < s->count; count++)
			assert_int_equal(decode_bytes(s->type, s->fd_count, s->bytes, count), -EPROTO);
	}
}

static void test_trailing_bytes_are_refused(void **state)
{
	uint8_t bytes[256] = {0};

	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		const struct sample *s = &samples[i];

		memcpy(bytes, s->bytes, s->count);
		bytes[s->count] = 0;
		assert_int_equal(decode_bytes(s->type, s->fd_count, bytes, s->count + 1), -EPROTO);
	}
}

static void test_wrong_descriptor_counts_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		const struct sample *s = &samples[i];

		assert_int_equal(decode_bytes(s->type, IPC_MAX_FDS + 1, s->bytes, s->count), -EPROTO);
		if (s->type != IPC_SPAWN)
			assert_int_equal(
				decode_bytes(s->type, s->fd_count ? 0 : 1, s->bytes, s->count), -EPROTO);
	}
	assert_int_equal(decode_bytes(IPC_SPAWN, 0, (const uint8_t[]){0, 0, 0, 0, 0}, 5), -EPROTO);
}

static void test_values_outside_an_enumeration_are_refused(void **state)
{
	(void)state;
	assert_int_equal(decode_changed(sample_of(IPC_SYNC_BEGIN), 8, 2), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_SPAWN), 0, 2), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_EXITED), 0, 2), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_RELAY_LISTENER), 8, 3), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_RELAY_LISTENER), 9, 2), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_RELAY_LISTENER), 10, 2), -EPROTO);
	/* Protocol, family, action, scheduler, PROXY protocol version, removal; a portal's kind and scope. */
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 10, 3), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 11, 5), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 12, PLAN_ACTIONS), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 13, SCHEDULERS), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 15, 3), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 16, SERVICE_REMOVALS), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 57, PLAN_PORTAL_KINDS), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 58, PLAN_SCOPES), -EPROTO);
}

static void test_errors_must_be_errnos(void **state)
{
	(void)state;
	/* A positive number, and one no errno is as small as. */
	assert_int_equal(decode_changed(sample_of(IPC_SYNC_DONE), 12, 0x7f), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_SYNC_DONE), 12, 0x80), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_FILE), 6, 1), -EPROTO);
}

static void test_counts_beyond_a_bound_are_refused(void **state)
{
	size_t count = 8 + (size_t)(PLAN_MAX_BACKENDS + 1) * 24;
	uint8_t *bytes = calloc(1, count);

	(void)state;
	/* One more than allowed, and every one of them there. */
	bytes[6] = 0x80;
	bytes[7] = 0x01;
	assert_int_equal(decode_bytes(IPC_RELAY_BACKENDS, 0, bytes, count), -EPROTO);
	bytes[7] = 0x00;
	assert_int_equal(decode_bytes(IPC_RELAY_BACKENDS, 0, bytes, count - 24), 0);
	free(bytes);
	/* A count that the bytes cannot hold. */
	assert_int_equal(decode_changed(sample_of(IPC_RELAY_BACKENDS), 4, 0xff), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_RELAY_BACKENDS), 7, 2), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 53, 0xff), -EPROTO);
}

static void test_addresses_of_the_other_family_are_refused(void **state)
{
	(void)state;
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 11, 6), -EPROTO);
	/* The portal's, the source range's, the backend's. */
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 60, 0xfd), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 82, 0xfd), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 103, 0xfd), -EPROTO);
}

static void test_keys_must_be_printable(void **state)
{
	static const uint8_t bad[] = {0, '\n', ' ', '"', '\'', '\\', 0x7f, 0x80, 0xff};

	(void)state;
	for (size_t i = 0; i < sizeof(bad); i++) {
		assert_int_equal(decode_changed(sample_of(IPC_LISTENER_DEL), 3, bad[i]), -EPROTO);
		assert_int_equal(decode_changed(sample_of(IPC_LISTENER_PUT), 3, bad[i]), -EPROTO);
		assert_int_equal(decode_changed(sample_of(IPC_RELAY_LISTENER), 14, bad[i]), -EPROTO);
	}
	assert_int_equal(decode_changed(sample_of(IPC_LISTENER_DEL), 3, ':'), 0);
	assert_int_equal(decode_bytes(IPC_LISTENER_DEL, 0, (const uint8_t[]){0, 0}, 2), -EPROTO);
}

static void test_long_texts_are_refused(void **state)
{
	uint8_t *bytes = malloc(2 + IPC_MAX_NAME_BYTES + 1 + 4);
	size_t length = PLAN_MAX_KEY_BYTES;

	(void)state;
	memset(bytes, 'a', 2 + IPC_MAX_NAME_BYTES + 1 + 4);
	bytes[0] = (uint8_t)(length >> 8);
	bytes[1] = (uint8_t)length;
	assert_int_equal(decode_bytes(IPC_LISTENER_DEL, 0, bytes, 2 + length), -EPROTO);
	bytes[0] = 0;
	bytes[1] = 255;
	assert_int_equal(decode_bytes(IPC_LISTENER_DEL, 0, bytes, 2 + 255), 0);
	length = IPC_MAX_NAME_BYTES + 1;
	bytes[0] = (uint8_t)(length >> 8);
	bytes[1] = (uint8_t)length;
	memset(bytes + 2 + length, 0, 4);
	assert_int_equal(decode_bytes(IPC_FILE, 1, bytes, 2 + length + 4), -EPROTO);
	free(bytes);
}

static void test_file_names_hold_no_nul(void **state)
{
	(void)state;
	assert_int_equal(decode_changed(sample_of(IPC_FILE), 2, 0), -EPROTO);
	assert_int_equal(decode_changed(sample_of(IPC_FILE), 2, 0xff), 0);
}

static void test_decoders_refuse_other_types(void **state)
{
	struct ipc_frame frame = {.type = IPC_RELAY_CLOSE, .payload = samples[0].bytes, .payload_bytes = 4};
	struct ipc_storage storage;
	struct ipc_file file;
	struct ipc_sync sync;
	uint32_t number;

	(void)state;
	assert_int_equal(ipc_decode_relay_close(&frame, &number), 0);
	assert_int_equal(ipc_decode_files_get(&frame, &number), -EPROTO);
	assert_int_equal(ipc_decode_sync(&frame, &sync), -EPROTO);
	assert_int_equal(ipc_decode_file(&frame, &file, &storage), -EPROTO);
	ipc_storage_free(&storage);
}

#define CHANNEL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CHANNEL_TEST(test_sync_round_trip),
		CHANNEL_TEST(test_sync_done_round_trip),
		CHANNEL_TEST(test_listener_put_round_trip),
		CHANNEL_TEST(test_largest_listener_passes),
		CHANNEL_TEST(test_listener_del_round_trip),
		CHANNEL_TEST(test_relay_listener_round_trip),
		CHANNEL_TEST(test_relay_backends_round_trip),
		CHANNEL_TEST(test_relay_backends_may_be_none),
		CHANNEL_TEST(test_listener_state_round_trip),
		CHANNEL_TEST(test_relay_close_round_trip),
		CHANNEL_TEST(test_spawn_round_trip),
		CHANNEL_TEST(test_exited_round_trip),
		CHANNEL_TEST(test_config_round_trip),
		CHANNEL_TEST(test_settings_round_trip),
		CHANNEL_TEST(test_files_get_round_trip),
		CHANNEL_TEST(test_credential_get_round_trip),
		CHANNEL_TEST(test_file_round_trip),
		CHANNEL_TEST(test_messages_of_an_upgrade_round_trip),
		CHANNEL_TEST(test_senders_refuse_what_exceeds_a_bound),
		cmocka_unit_test(test_samples_decode),
		cmocka_unit_test(test_truncated_payloads_are_refused),
		cmocka_unit_test(test_trailing_bytes_are_refused),
		cmocka_unit_test(test_wrong_descriptor_counts_are_refused),
		cmocka_unit_test(test_values_outside_an_enumeration_are_refused),
		cmocka_unit_test(test_errors_must_be_errnos),
		cmocka_unit_test(test_counts_beyond_a_bound_are_refused),
		cmocka_unit_test(test_addresses_of_the_other_family_are_refused),
		cmocka_unit_test(test_keys_must_be_printable),
		cmocka_unit_test(test_long_texts_are_refused),
		cmocka_unit_test(test_file_names_hold_no_nul),
		cmocka_unit_test(test_decoders_refuse_other_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
