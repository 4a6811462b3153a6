/* UDP clients and backends for tests of a relay in a process of its own. */
#ifndef UDP_RIG_H
#define UDP_RIG_H

#include "relay_rig.h"

/* The biggest datagram over IPv4. */
#define UDP_MOST_BYTES 65507

/* Starts relays with a UDP listener. options->proto need not be set. */
void udp_rig_start(struct rig *rig, struct rig_options options);

/* Where the relays listen, as clients on this host reach it. */
struct addr_port udp_rig_at(const struct rig *rig);

struct addr_port at_v4(uint32_t addr, uint16_t port);

/* A bound socket with big buffers and a time limit; *at (port 0: any) is where. */
int udp_socket(struct addr_port *at);

/* A client's socket, connected to an address (of the relay). */
int udp_connect(const struct addr_port *at);
int udp_client(const struct rig *rig);

/* A backend on a free loopback port. */
int udp_backend(struct addr_port *at);

/* A loopback port without a socket. */
struct addr_port udp_refusing(void);

void udp_send(int fd, const void *bytes, size_t count);
void udp_send_text(int fd, const char *text);

/* Receives one datagram and compares it. from (may be NULL) is its sender. */
void udp_expect(int fd, const char *text, struct addr_port *from);

/* Receives a datagram and sends it back, to whoever sent it. */
void udp_echo_once(int fd);

/* True if nothing comes for a while. */
bool udp_silent(int fd, int ms);
/* True if something comes within ms. */
bool udp_comes(int fd, int ms);

void udp_answer(int fd, const struct addr_port *to, const void *bytes, size_t count);

/* A backend in a process of its own that sends everything back until it is stopped. */
struct udp_echo {
	struct addr_port at;
	pid_t pid;
};
void udp_echo_start(struct udp_echo *echo);
void udp_echo_stop(struct udp_echo *echo);

/* Open descriptors of the first relay. */
size_t udp_relay_fds(const struct rig *rig);

/* Waits for that; false after RIG_TIMEOUT_S. */
bool udp_wait_fds(const struct rig *rig, size_t count);

/* Sums over the relays. */
uint64_t udp_flows_begun(struct rig *rig);

#endif
