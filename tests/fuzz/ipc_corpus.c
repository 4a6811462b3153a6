/* Writes the seeds of fuzz_ipc: each message as the encoders make it, one file each, and a stream of
 * several.  usage: ipc_corpus DIRECTORY */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/ipc.h"
#include "portald/plan.h"

#define MAX_SEED_BYTES 65536

static const struct addr_port some_v4 = {
	.addr = {{[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 96, [15] = 10}}, .port = 53};
static const struct addr_port some_v6 = {.addr = {{0xfd, [15] = 7}}, .port = 6379};

static int send_sync_begin(struct ipc_channel *channel)
{
	return ipc_send_sync(channel, IPC_SYNC_BEGIN, &(struct ipc_sync){.generation = 1, .full = true});
}

static int send_sync_end(struct ipc_channel *channel)
{
	return ipc_send_sync(channel, IPC_SYNC_END, &(struct ipc_sync){.generation = 1});
}

static int send_sync_done(struct ipc_channel *channel)
{
	return ipc_send_sync_done(
		channel, &(struct ipc_sync_done){.generation = 1, .failed = 2, .error = -98});
}

static int send_listener(struct ipc_channel *channel, enum addr_family family, const struct addr_port *at)
{
	struct plan_listener *listener =
		plan_listener_new("default/web:http", "default/web:http", PROTO_TCP, family);
	int rc = plan_listener_add_portal(
		listener, &(struct plan_portal){.kind = PLAN_PORTAL_CLUSTER_IP, .at = *at});

	if (rc == 0)
		rc = plan_listener_add_portal(
			listener, &(struct plan_portal){.kind = PLAN_PORTAL_NODE_PORT,
					  .at = {.addr = addr_any(family), .port = 30080}});
	for (int i = 0; i < 3 && rc == 0; i++)
		rc = plan_listener_add_backend(listener, at, 1, NULL);
	if (rc == 0)
		rc = ipc_send_listener_put(channel, listener);
	plan_listener_free(listener);
	return rc;
}

static int send_listener_v4(struct ipc_channel *channel)
{
	return send_listener(channel, ADDR_V4, &some_v4);
}

static int send_listener_v6(struct ipc_channel *channel)
{
	return send_listener(channel, ADDR_V6, &some_v6);
}

static int send_listener_del(struct ipc_channel *channel)
{
	return ipc_send_listener_del(channel, "kube-system/dns:dns-tcp");
}

static int send_relay_listener(struct ipc_channel *channel)
{
	struct ipc_relay_portal portals[] = {
		{.at = some_v4}, {.at = {.addr = addr_any(ADDR_V4), .port = 30053}, .check_source = true}};
	struct addr_prefix range = {.addr = addr_v4(0x0a000000), .bits = 8};
	struct ipc_relay_listener listener = {.slot = 5,
		.proto = PROTO_TCP,
		.check_destination = true,
		.key = "kube-system/dns:dns-tcp",
		.portals = portals,
		.portal_count = 2,
		.source_ranges = &range,
		.source_range_count = 1};

	return ipc_send_relay_listener(channel, &listener, STDIN_FILENO);
}

static int send_relay_backends(struct ipc_channel *channel)
{
	struct ipc_relay_backend backends[] = {{some_v4, 1, 7}, {some_v6, 2, 8}};

	return ipc_send_relay_backends(channel,
		&(struct ipc_relay_backends){.listener = 5, .backends = backends, .backend_count = 2});
}

static int send_relay_close(struct ipc_channel *channel)
{
	return ipc_send_relay_close(channel, 5);
}

static int send_spawn(struct ipc_channel *channel)
{
	int fds[] = {STDIN_FILENO, STDIN_FILENO};

	return ipc_send_spawn(channel, &(struct ipc_spawn){.role = IPC_ROLE_RELAY, .index = 1}, fds, 2);
}

static int send_exited(struct ipc_channel *channel)
{
	return ipc_send_exited(
		channel, &(struct ipc_exited){.role = IPC_ROLE_CONTROL, .index = 0, .status = 9});
}

static int send_files_get(struct ipc_channel *channel)
{
	return ipc_send_files_get(channel, 1);
}

static int send_file(struct ipc_channel *channel)
{
	return ipc_send_file(channel, &(struct ipc_file){.name = "web.yaml"}, STDIN_FILENO);
}

static int send_file_end(struct ipc_channel *channel)
{
	return ipc_send_file(channel, &(struct ipc_file){.name = "", .error = -2}, -1);
}

static int send_listener_state(struct ipc_channel *channel)
{
	struct ipc_unclaimed unclaimed = {some_v4, -98};
	struct ipc_backend_slot backend = {some_v6, 3};

	return ipc_send_listener_state(
		channel, &(struct ipc_listener_state){.id = "default/web:http#external",
				 .slot = 5,
				 .proxy = some_v4,
				 .refusal = "exit code 2",
				 .unclaimed = &unclaimed,
				 .unclaimed_count = 1,
				 .backends = &backend,
				 .backend_count = 1});
}

static int send_credential_get(struct ipc_channel *channel)
{
	return ipc_send_credential_get(channel, "/etc/kubernetes/kubelet.conf");
}

static int send_config(struct ipc_channel *channel)
{
	return ipc_send_config(channel, STDIN_FILENO);
}

static int send_settings(struct ipc_channel *channel)
{
	return ipc_send_settings(channel, "scheduler=lc\nzone=a=b\n");
}

static int send_succeed(struct ipc_channel *channel)
{
	return ipc_send_succeed(channel, STDIN_FILENO, STDIN_FILENO);
}

static int send_handover(struct ipc_channel *channel)
{
	return ipc_send_handover(channel, IPC_STEP_READY);
}

static int send_successor(struct ipc_channel *channel)
{
	return ipc_send_successor(channel, 4711, STDIN_FILENO);
}

struct seed {
	const char *name;
	int (*send)(struct ipc_channel *channel);
};

static const struct seed seeds[] = {
	{"sync-begin", send_sync_begin},
	{"sync-end", send_sync_end},
	{"sync-done", send_sync_done},
	{"listener-put-v4", send_listener_v4},
	{"listener-put-v6", send_listener_v6},
	{"listener-del", send_listener_del},
	{"relay-listener", send_relay_listener},
	{"relay-backends", send_relay_backends},
	{"relay-close", send_relay_close},
	{"spawn", send_spawn},
	{"exited", send_exited},
	{"files-get", send_files_get},
	{"file", send_file},
	{"file-end", send_file_end},
	{"listener-state", send_listener_state},
	{"credential-get", send_credential_get},
	{"config", send_config},
	{"settings", send_settings},
	{"relay-drain", ipc_send_relay_drain},
	{"succeed", send_succeed},
	{"handover", send_handover},
	{"successor", send_successor},
};
#define SEEDS (sizeof(seeds) / sizeof(seeds[0]))

/* Writes what waits in the socket, after the byte that says how it is to be sent. */
static int write_seed(const char *directory, const char *name, uint8_t how, int fd)
{
	static uint8_t bytes[MAX_SEED_BYTES];
	ssize_t got = recv(fd, bytes + 1, sizeof(bytes) - 1, MSG_DONTWAIT);
	char path[4096];
	FILE *file;
	int rc;

	if (got <= 0)
		return -1;
	bytes[0] = how;
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "we");
	if (!file)
		return -1;
	rc = fwrite(bytes, 1, (size_t)got + 1, file) == (size_t)got + 1 ? 0 : -1;
	return fclose(file) == 0 ? rc : -1;
}

/* A recv() ends at a message with descriptors, so the stream is of those that have none. */
static int write_stream(const char *directory, struct ipc_channel *channel, int fd)
{
	int rc = send_sync_begin(channel);

	if (rc == 0)
		rc = send_listener_v4(channel);
	if (rc == 0)
		rc = send_listener_v6(channel);
	if (rc == 0)
		rc = send_listener_del(channel);
	if (rc == 0)
		rc = send_sync_end(channel);
	return rc == 0 ? write_seed(directory, "stream", 7, fd) : rc;
}

int main(int argc, char **argv)
{
	struct ipc_channel *channel;
	int pair[2], rc = 0;

	if (argc != 2 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return EXIT_FAILURE;
	channel = ipc_channel_new(pair[0]);
	for (size_t i = 0; i < SEEDS && rc == 0; i++) {
		rc = seeds[i].send(channel);
		if (rc == 0)
			rc = write_seed(argv[1], seeds[i].name, 0, pair[1]);
	}
	if (rc == 0)
		rc = write_stream(argv[1], channel, pair[1]);
	ipc_channel_free(channel);
	close(pair[1]);
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
