/* Owns the relay's life: start, messages, end. Runs in every relay. */
#include "portald/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/ipc.h"
#include "portald/log.h"
#include "relay/core.h"

/* Descriptors kept free of connections: a message may bring a listener at any time, and clients are to be
 * refused when no more are served. */
#define FDS_HELD_BACK 64u

/* ---- messages ---- */

static int on_listener(struct relay *relay, const struct ipc_frame *frame)
{
	struct ipc_relay_listener message;
	struct ipc_storage storage;
	int rc = ipc_decode_relay_listener(frame, &message, &storage);

	if (rc < 0)
		return rc;
	rc = listener_put(relay, &message, frame->fds[0]);
	frame->fds[0] = -1;
	if (rc == -EPROTONOSUPPORT) {
		log_warning("protocol is not relayed", log_str("service", message.key));
		rc = 0;
	}
	ipc_storage_free(&storage);
	return rc;
}

static int on_backends(struct relay *relay, const struct ipc_frame *frame)
{
	struct ipc_relay_backends message;
	struct ipc_storage storage;
	int rc = ipc_decode_relay_backends(frame, &message, &storage);

	if (rc < 0)
		return rc;
	rc = listener_set_backends(relay, &message);
	ipc_storage_free(&storage);
	/* Those of a listener that was passed over. */
	return rc == -ENOENT ? 0 : rc;
}

static int on_close(struct relay *relay, const struct ipc_frame *frame)
{
	uint32_t name;
	int rc = ipc_decode_relay_close(frame, &name);

	if (rc < 0)
		return rc;
	listener_close(relay, name);
	return 0;
}

static int on_drain(struct relay *relay, const struct ipc_frame *frame)
{
	int rc = ipc_decode_relay_drain(frame);

	if (rc == 0)
		drain_begin(relay);
	return rc;
}

static int on_frame(struct relay *relay, const struct ipc_frame *frame)
{
	/* What concerns listeners concerns the successor. */
	if (relay->draining)
		return 0;
	switch (frame->type) {
	case IPC_RELAY_LISTENER:
		return on_listener(relay, frame);
	case IPC_RELAY_BACKENDS:
		return on_backends(relay, frame);
	case IPC_RELAY_CLOSE:
		return on_close(relay, frame);
	case IPC_RELAY_DRAIN:
		return on_drain(relay, frame);
	default:
		return -EPROTO;
	}
}

void relay_receive(struct relay *relay)
{
	struct ipc_frame frame;
	int rc;

	while ((rc = ipc_receive(relay->channel, &frame)) == 1) {
		rc = on_frame(relay, &frame);
		if (rc < 0)
			break;
	}
	if (rc == 0)
		return;
	relay->stopping = true;
	if (rc != -EPIPE) {
		log_error("channel to the supervisor failed", log_errno("error", -rc));
		relay->exit_code = EXIT_FAILURE;
	}
}

/* ---- start and end ---- */

/* Raises the soft limit to the hard one and divides it up. */
static void init_descriptors(struct relay *relay)
{
	struct rlimit limit = {.rlim_cur = 1024, .rlim_max = 1024};
	uint32_t held_back = FDS_HELD_BACK;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	relay->fd_limit = limit.rlim_cur < UINT32_MAX ? (uint32_t)limit.rlim_cur : UINT32_MAX;
	if (held_back > relay->fd_limit / 4)
		held_back = relay->fd_limit / 4;
	relay->spare_fd = fcntl(relay->epoll_fd, F_DUPFD_CLOEXEC, 0);
	/* The lowest free number tells how many are open. */
	relay->fds_elsewhere = (uint32_t)(relay->spare_fd + 1) + held_back;
	relay->fds_held_back = held_back;
}

static void introduce(const struct relay *relay)
{
	struct stats_process *process = stats_relay(relay->stats, relay->index);

	atomic_store(&process->turn_began_us, 0);
	atomic_store(&process->open_fds, accept_fds_in_use(relay));
	atomic_store(&process->max_fds, relay->fd_limit);
	atomic_store(&process->pid, (uint64_t)getpid());
}

static int relay_init(
	struct relay *relay, const struct relay_options *options, struct stats *stats, int channel_fd)
{
	int rc;

	*relay = (struct relay){
		.stats = stats,
		.index = options->index,
		.held_limit_bytes =
			options->held_limit_bytes ? options->held_limit_bytes : RELAY_HELD_LIMIT_BYTES,
		.channel = ipc_channel_new(channel_fd),
		.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
		.spare_fd = -1,
		.access_fd = options->access_log ? options->access_fd : -1,
		.drains = options->drains,
		.context = options->context,
		.now_ms = clock_now_ms(),
		.buffer = malloc(RELAY_BUFFER_BYTES),
		.exit_code = EXIT_SUCCESS,
	};
	relay->ready.last = &relay->ready.first;
	relay->accepting.last = &relay->accepting.first;
	timers_init(&relay->timers);
	slab_init(&relay->conns, sizeof(struct conn));
	slab_init(&relay->waits, sizeof(struct wait));
	if (relay->epoll_fd < 0)
		return -errno;
	if (!relay->buffer)
		return -ENOMEM;
	init_descriptors(relay);
	rc = udp_init(relay, options->udp_max_flows);
	if (rc < 0)
		return rc;
	introduce(relay);
	/* A splice into a socket that was reset raises it; the error says the same. */
	signal(SIGPIPE, SIG_IGN);
	/* The first log line would read the time zone's file, which confinement forbids. */
	tzset();
	return loop_watch_channel(relay);
}

static void relay_fini(struct relay *relay)
{
	conn_close_all(relay);
	listener_free_all(relay);
	udp_fini(relay);
	pipes_trim(&relay->pipes);
	slab_fini(&relay->conns);
	slab_fini(&relay->waits);
	free(relay->buffer);
	if (relay->spare_fd >= 0)
		close(relay->spare_fd);
	if (relay->epoll_fd >= 0)
		close(relay->epoll_fd);
	ipc_channel_free(relay->channel);
}

int relay_run(const struct relay_options *options, struct stats *stats, int channel_fd)
{
	struct relay relay;
	int rc = relay_init(&relay, options, stats, channel_fd);

	if (rc == 0 && options->confine)
		rc = options->confine();
	if (rc == 0) {
		loop_run(&relay);
	} else {
		log_error("relay cannot start", log_errno("error", -rc));
		relay.exit_code = EXIT_FAILURE;
	}
	relay_fini(&relay);
	return relay.exit_code;
}
