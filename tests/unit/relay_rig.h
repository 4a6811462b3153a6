/* A real relay in a process of its own, between clients and backends that a test plays. */
#ifndef RELAY_RIG_H
#define RELAY_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "portald/addr.h"
#include "portald/ipc.h"
#include "portald/listen.h"
#include "portald/relay.h"
#include "portald/stats.h"

#define RIG_MAX_RELAYS 4

/* The listener that rig_start() opens. */
#define RIG_SLOT 7

/* Backends get stats slots from here on. */
#define RIG_BACKEND_SLOT 100

/* No blocking call of a test takes longer. */
#define RIG_TIMEOUT_S 10

struct rig {
	size_t relay_count;
	pid_t pids[RIG_MAX_RELAYS];
	struct ipc_channel *channels[RIG_MAX_RELAYS];
	struct stats *stats;
	int stats_fd;
	struct listen_socket listener;
};

struct rig_options {
	size_t relay_count; /* 0: one */
	size_t held_limit_bytes;
	uint32_t fd_limit; /* 0: as it is */
	bool check_destination;
	const struct addr_port *portals;
	size_t portal_count;
	enum proto proto;
	const struct addr *bind; /* NULL: 127.0.0.1 */
	uint32_t udp_first_ms, udp_idle_ms, udp_max_flows;
	bool affinity;
	uint32_t max_connections;
	const struct addr_prefix *source_range; /* for all portals */
	const struct service_options *service;  /* not NULL: instead of the ones above */
};

/* Kills a relay and starts another in its place, which is told the same. */
void rig_restart_relay(struct rig *rig, const struct rig_options *options, uint32_t index,
	const struct ipc_relay_backend *list, size_t count);

/* Starts the relays and gives them one listener, without backends. */
void rig_start(struct rig *rig, const struct rig_options *options);

/* False under valgrind, which does not let a process lower its hard limit. */
bool rig_can_limit_fds(void);

/* Closes the channels and waits; asserts that every relay exits with 0. */
void rig_stop(struct rig *rig);
/* The same for relays that end otherwise. */
void rig_stop_expecting(struct rig *rig, int exit_code);

/* Sends the listener again, with other portals. */
void rig_listener(struct rig *rig, const struct rig_options *options);
void rig_backends(struct rig *rig, const struct addr_port *backends, size_t count);
/* The same with stats slots from a later one on. */
void rig_backends_from(struct rig *rig, const struct addr_port *backends, size_t count, uint32_t first);
/* The same with slots and weights. */
void rig_backend_list(struct rig *rig, const struct ipc_relay_backend *list, size_t count);
void rig_close_listener(struct rig *rig);

/* Sums over the relays. */
uint64_t rig_failures(struct rig *rig, enum stats_failure why);
uint64_t rig_active(struct rig *rig);
uint64_t rig_backend_connections(struct rig *rig, size_t backend);

/* Waits until *counter function gives the value; false after RIG_TIMEOUT_S. */
bool rig_wait_active(struct rig *rig, uint64_t value);
bool rig_wait_failures(struct rig *rig, enum stats_failure why, uint64_t value);

/* A blocking connection to the proxy port, with timeouts. */
int rig_connect(const struct rig *rig);
int connect_to(const struct addr_port *at);
/* The same from 127.0.0.NUMBER. */
int rig_connect_from(const struct rig *rig, uint8_t number);

/* Listens on a free loopback port. */
int backend_listen(struct addr_port *at, int backlog);
/* Listens on an address that was free a moment ago. */
int backend_listen_at(const struct addr_port *at, int backlog);
int backend_accept(int listener);

/* A loopback port that nobody listens on, and one that answers nothing (its queue is full). */
struct addr_port refusing_port(void);
struct black_hole {
	int fds[8];
	struct addr_port at;
};
void black_hole_open(struct black_hole *hole);
void black_hole_close(struct black_hole *hole);

/* One relayed connection, both ends. */
struct pair {
	int client, backend;
};
struct pair pair_open(const struct rig *rig, int backend_listener);
void pair_close(struct pair *pair);

void send_all(int fd, const void *bytes, size_t count);
void send_text(int fd, const char *text);

/* Reads exactly strlen(text) bytes and compares them. */
void expect_text(int fd, const char *text);
void expect_end(int fd);
void expect_reset(int fd);
void reset(int fd);

int64_t now_ms(void);
void sleep_ms(int ms);

#endif
