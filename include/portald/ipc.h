/* Messages between the processes of the daemon: framing, descriptor passing, typed encoding.
 *
 * A channel is a connected SOCK_STREAM UNIX socket. A frame is a fixed header (payload length, type,
 * descriptor count; network byte order) and a payload of typed fields with exact lengths; nothing that
 * lies in memory goes over as it lies. A frame that breaks a rule breaks the channel (-EPROTO): the
 * reader closes it and, for a peer that is its child, has it restarted. doc/IPC.md lists who sends what.
 */
#ifndef PORTALD_IPC_H
#define PORTALD_IPC_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/addr.h"
#include "portald/proto.h"
#include "portald/service_options.h"

struct plan_listener;

#define IPC_MAX_PAYLOAD_BYTES ((size_t)4 * 1024 * 1024)
#define IPC_MAX_FDS 4
#define IPC_MAX_NAME_BYTES 4096
#define IPC_MAX_SETTINGS_BYTES 60000

enum ipc_type {
	/* control -> supervisor */
	IPC_SYNC_BEGIN = 1, /* struct ipc_sync: a plan, or a change of one, follows */
	IPC_LISTENER_PUT,   /* struct plan_listener: open or change by id */
	IPC_LISTENER_DEL,   /* id */
	IPC_SYNC_END,       /* struct ipc_sync: what came since SYNC_BEGIN takes effect */
	/* supervisor -> control */
	IPC_SYNC_DONE, /* struct ipc_sync_done: listeners and rules of that generation are in force */
	/* supervisor -> relay */
	IPC_RELAY_LISTENER, /* struct ipc_relay_listener and one descriptor */
	IPC_RELAY_BACKENDS, /* struct ipc_relay_backends */
	IPC_RELAY_CLOSE,    /* the listener's name */
	/* supervisor <-> starter */
	IPC_SPAWN,  /* struct ipc_spawn and the child's descriptors */
	IPC_EXITED, /* struct ipc_exited */
	/* control <-> starter */
	IPC_FILES_GET, /* index of a --manifests path */
	IPC_FILE,      /* struct ipc_file, and one descriptor unless it ends the list */
	/* supervisor -> control */
	IPC_LISTENER_STATE, /* struct ipc_listener_state: after each put, and whenever it changes */
	/* control -> starter */
	IPC_CREDENTIAL_GET, /* path of a kubeconfig or of a file that it names; "" closes the list of them */
	/* starter -> supervisor: the configuration file has changed; its settings come out of a descriptor */
	IPC_CONFIG,
	/* supervisor -> starter: the settings that children are started with from now on */
	IPC_SETTINGS,
	/* supervisor -> relay: accept no more, end with the last connection */
	IPC_RELAY_DRAIN,
	/* supervisor -> starter: execute the program anew as a starter, which gets the two descriptors */
	IPC_SUCCEED,
	/* supervisor <-> its successor: enum ipc_step */
	IPC_HANDOVER,
	/* supervisor -> the first one: the successor's process number, and the channel to it */
	IPC_SUCCESSOR,
	IPC_TYPES
};

/* SYNC_BEGIN and SYNC_END. */
struct ipc_sync {
	uint64_t generation; /* counts up from 1 with every sync of one control process */
	bool full;           /* ids that are not put until SYNC_END are removed */
};

struct ipc_sync_done {
	uint64_t generation;
	uint32_t failed; /* listeners that could not be opened */
	int32_t error;   /* steering: 0 or a negative errno */
};

/* A portal as the relay sees it: the original destination that a steered connection must have. */
struct ipc_relay_portal {
	struct addr_port at; /* "any" address: the port on every address of the family */
	bool check_source;   /* only clients within the listener's source ranges */
};

/* The most listeners of a relay, which are named by numbers below. */
#define IPC_MAX_RELAY_LISTENERS (1u << 20)

struct ipc_relay_listener {
	uint32_t name; /* for later messages */
	uint32_t slot; /* stats index; listeners that share it are several sockets of one */
	enum proto proto;
	bool check_destination; /* refuse connections to what is none of the portals, or closed to the client
				 */
	bool direct;            /* the destination is the socket's own address: nothing was redirected */
	const char *key;        /* for log lines */
	struct service_options options;
	const struct ipc_relay_portal *portals;
	size_t portal_count;
	const struct addr_prefix *source_ranges;
	size_t source_range_count;
};

struct ipc_relay_backend {
	struct addr_port at;
	uint16_t weight; /* 0: no new connections */
	uint32_t slot;   /* stats index */
};

struct ipc_relay_backends {
	uint32_t listener; /* its name */
	const struct ipc_relay_backend *backends;
	size_t backend_count;
};

/* The steps of an upgrade, in their order. */
enum ipc_step {
	IPC_STEP_PLANNED,  /* from the successor: the plan is known, the relays run; let go of the rules */
	IPC_STEP_RELEASED, /* to it: the rules are its own */
	IPC_STEP_READY,    /* from it: they are in force; give way */
	IPC_STEP_GO, /* to it: serve. Who sent this stays until the successor ends, and tells it signals */
	IPC_STEP_GO_ALONE, /* the same, but that it ends: a service manager looks after the successor */
	IPC_STEPS
};

enum ipc_role { IPC_ROLE_CONTROL, IPC_ROLE_RELAY };

struct ipc_spawn {
	enum ipc_role role;
	uint32_t index; /* of the relay; 0 for control */
};

struct ipc_exited {
	enum ipc_role role;
	uint32_t index;
	int32_t status; /* as waitpid() gives it */
};

struct ipc_file {
	const char *name; /* as it shall appear in messages; "" ends the list */
	int32_t error;    /* 0, or a negative errno: the file (or, at the end, the path) can't be read */
};

/* The error of a portal whose rule was refused. */
#define IPC_REFUSED (-EREMOTEIO)
/* Of what was said of it, so much is told. */
#define IPC_REFUSAL_BYTES 512

/* A portal that is closed because its port can't be had, or its rule was refused. */
struct ipc_unclaimed {
	struct addr_port at;
	int32_t error; /* a negative errno */
};

struct ipc_backend_slot {
	struct addr_port at;
	uint32_t slot; /* stats index */
};

/* What became of a listener. */
struct ipc_listener_state {
	const char *id;
	uint32_t slot;          /* stats index */
	int32_t error;          /* 0: open; or a negative errno: why it can't be opened */
	struct addr_port proxy; /* where it listens; port 0 if it does not */
	const char *refusal;    /* what was said of a rule that was refused; "" if none was */
	const struct ipc_unclaimed *unclaimed;
	size_t unclaimed_count;
	const struct ipc_backend_slot *backends;
	size_t backend_count;
};

/* ---- channels ---- */

struct ipc_channel;

/* A received frame. fds lie in the channel: they are the receiver's to take (set the entry to -1) or else
 * closed by the channel at the next receive. payload is valid until then. */
struct ipc_frame {
	enum ipc_type type;
	const uint8_t *payload;
	size_t payload_bytes;
	int *fds;
	size_t fd_count;
};

/* Takes fd and makes it non-blocking. */
struct ipc_channel *ipc_channel_new(int fd);
void ipc_channel_free(struct ipc_channel *channel); /* closes; NULL is fine */
int ipc_channel_fd(const struct ipc_channel *channel);

/* The next whole frame: 1 and *frame; 0 when more bytes are needed (-EAGAIN of the socket);
 * -EPIPE when the peer has closed; -EPROTO and other negative errno: the channel is unusable. */
int ipc_receive(struct ipc_channel *channel, struct ipc_frame *frame);

/* Queues a frame (payload copied, fds duplicated) and writes what the socket takes. Never blocks; the
 * queue is bounded by IPC_MAX_QUEUED_BYTES. Returns 0; -EINVAL if no such frame may be (nothing was sent;
 * the typed functions below return it for what exceeds a bound); another negative errno: the channel is
 * unusable. */
#define IPC_MAX_QUEUED_BYTES ((size_t)256 * 1024 * 1024)
int ipc_send(struct ipc_channel *channel, enum ipc_type type, const void *payload, size_t payload_bytes,
	const int *fds, size_t fd_count);

/* Writes more of the queue. Returns 0 or a negative errno. */
int ipc_flush(struct ipc_channel *channel);

/* True while the queue holds something: the caller then waits for writability and calls ipc_flush. */
bool ipc_wants_write(const struct ipc_channel *channel);

/* Waits until a frame comes or timeout_ms is over: for the simple loops of starter and the file
 * requests of control. Returns as ipc_receive(), -ETIMEDOUT instead of 0. */
int ipc_receive_wait(struct ipc_channel *channel, struct ipc_frame *frame, int timeout_ms);

/* ---- typed send (encode and ipc_send) ---- */

int ipc_send_sync(struct ipc_channel *channel, enum ipc_type type, const struct ipc_sync *sync);
int ipc_send_sync_done(struct ipc_channel *channel, const struct ipc_sync_done *done);
int ipc_send_listener_put(struct ipc_channel *channel, const struct plan_listener *listener);
int ipc_send_listener_del(struct ipc_channel *channel, const char *id);
int ipc_send_relay_listener(struct ipc_channel *channel, const struct ipc_relay_listener *listener, int fd);
int ipc_send_relay_backends(struct ipc_channel *channel, const struct ipc_relay_backends *backends);
int ipc_send_relay_close(struct ipc_channel *channel, uint32_t listener);
int ipc_send_spawn(
	struct ipc_channel *channel, const struct ipc_spawn *spawn, const int *fds, size_t fd_count);
int ipc_send_exited(struct ipc_channel *channel, const struct ipc_exited *exited);
int ipc_send_config(struct ipc_channel *channel, int fd);
/* text: lines of name=value, which this module does not look into. */
int ipc_send_settings(struct ipc_channel *channel, const char *text);
int ipc_send_relay_drain(struct ipc_channel *channel);
/* channel_fd: the end of a channel to the successor's supervisor; life_fd: held open until all has ended. */
int ipc_send_succeed(struct ipc_channel *channel, int channel_fd, int life_fd);
int ipc_send_handover(struct ipc_channel *channel, enum ipc_step step);
int ipc_send_successor(struct ipc_channel *channel, uint32_t pid, int channel_fd);
int ipc_send_files_get(struct ipc_channel *channel, uint32_t index);
int ipc_send_file(struct ipc_channel *channel, const struct ipc_file *file, int fd); /* fd -1: none */
int ipc_send_listener_state(struct ipc_channel *channel, const struct ipc_listener_state *state);
int ipc_send_credential_get(struct ipc_channel *channel, const char *path);

/* ---- typed decode: 0, or -EPROTO if the payload is not exactly one valid message ---- */

/* Strings and arrays that a decoder returns live in storage, which the decoder initializes and the caller
 * frees with ipc_storage_free() after use. After a failure it is empty. */
struct ipc_storage {
	void *blocks[4];
	size_t count;
};
void ipc_storage_free(struct ipc_storage *storage);

int ipc_decode_sync(const struct ipc_frame *frame, struct ipc_sync *out);
int ipc_decode_sync_done(const struct ipc_frame *frame, struct ipc_sync_done *out);
/* A fresh listener, to be freed with plan_listener_free(). Checks bounds (plan.h), that id and key are
 * printable ASCII without blanks, quotes and backslashes, and that every address is of the listener's
 * family; nothing more. */
int ipc_decode_listener_put(const struct ipc_frame *frame, struct plan_listener **out);
int ipc_decode_listener_del(const struct ipc_frame *frame, const char **id, struct ipc_storage *storage);
int ipc_decode_relay_listener(
	const struct ipc_frame *frame, struct ipc_relay_listener *out, struct ipc_storage *storage);
int ipc_decode_relay_backends(
	const struct ipc_frame *frame, struct ipc_relay_backends *out, struct ipc_storage *storage);
int ipc_decode_relay_close(const struct ipc_frame *frame, uint32_t *listener);
int ipc_decode_spawn(const struct ipc_frame *frame, struct ipc_spawn *out);
int ipc_decode_exited(const struct ipc_frame *frame, struct ipc_exited *out);
int ipc_decode_config(const struct ipc_frame *frame);
int ipc_decode_settings(const struct ipc_frame *frame, const char **text, struct ipc_storage *storage);
int ipc_decode_relay_drain(const struct ipc_frame *frame);
int ipc_decode_succeed(const struct ipc_frame *frame);
int ipc_decode_handover(const struct ipc_frame *frame, enum ipc_step *step);
int ipc_decode_successor(const struct ipc_frame *frame, uint32_t *pid);
int ipc_decode_files_get(const struct ipc_frame *frame, uint32_t *index);
int ipc_decode_file(const struct ipc_frame *frame, struct ipc_file *out, struct ipc_storage *storage);
int ipc_decode_listener_state(
	const struct ipc_frame *frame, struct ipc_listener_state *out, struct ipc_storage *storage);
int ipc_decode_credential_get(const struct ipc_frame *frame, const char **path, struct ipc_storage *storage);

#endif
