/* UDP in the relay: a flow for each client of a listener, with its own connected socket to a backend. What
 * the udp files do for each other and for the loop. */
#ifndef RELAY_UDP_H
#define RELAY_UDP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "portald/addr.h"
#include "relay/core.h"
#include "relay/slab.h"

/* Flows a relay keeps unless told otherwise. */
#define UDP_MAX_FLOWS 8192u

/* Timeouts where neither the Service nor the daemon says: until the first answer, and after that. */
#define UDP_FIRST_MS 10000u
#define UDP_IDLE_MS 250u

/* Datagrams that one system call takes in or sends. */
#define UDP_BATCH 32

/* The longest datagram (65,507 bytes over IPv4, 65,527 over IPv6) fits. */
#define UDP_BUFFER_BYTES ((size_t)64 * 1024)

/* Last unanswered datagrams of all flows may take this much in sum. */
#define UDP_KEPT_LIMIT_BYTES ((size_t)16 * 1024 * 1024)

/* ---- where a datagram came from and where it arrived ---- */

/* Identifies a flow. No padding: compared and hashed as bytes. */
struct udp_key {
	struct addr client, local;
	uint32_t scope;    /* the interface, if an address is link-local; else 0 */
	uint32_t listener; /* its name */
	uint32_t port;     /* of the client */
	uint32_t zero;
};

/* Room for one IP_PKTINFO or IPV6_PKTINFO. */
union udp_control {
	struct cmsghdr header;
	uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* A client's socket address. */
union udp_name {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Reads sender and destination of a received message into all of key but the slot; bound is the address of
 * the socket, used where the kernel gives no destination. Returns 0, or -EINVAL for a sender that cannot
 * be answered. */
int udp_msg_parse(const struct msghdr *msg, const struct addr *bound, struct udp_key *key);

/* Writes what makes a datagram leave from the address where the flow's came to. Returns its length. */
size_t udp_msg_set_source(union udp_control *control, const struct udp_key *key);

/* ---- flows ---- */

/* How much a flow is worth keeping, least first. A client whose address is forged may be answered, but never
 * hears it and so never goes on. */
enum udp_standing {
	UDP_UNANSWERED,  /* the backend has not answered yet */
	UDP_ANSWERED,    /* it has */
	UDP_ESTABLISHED, /* and the client has gone on after that */
	UDP_STANDINGS
};

/* The last datagram that a client has sent, until an answer comes. */
struct udp_kept {
	uint32_t capacity;
	uint32_t bytes; /* 0: none */
	uint8_t data[];
};

struct udp_flow {
	struct udp_key key;
	struct udp_flow *next_in_bucket;
	uint64_t hash;
	TAILQ_ENTRY(udp_flow) by_age;      /* in queue */
	TAILQ_ENTRY(udp_flow) by_listener; /* in listener->udp->flows */
	STAILQ_ENTRY(udp_flow) link;       /* ready to be read, or in the graveyard */
	struct udp_queue *queue;
	struct listener *listener;
	struct backends *backends; /* those of the listener when the backend was picked or last looked up */
	struct tried *tried;       /* NULL until a backend has failed */
	struct udp_kept *kept;     /* NULL: nothing sent yet, or no memory */
	int64_t active_ms;
	int64_t dialed_ms;
	struct picked picked;
	union udp_name client;
	socklen_t client_bytes;
	int fd; /* -1: closed, or none yet */
	uint32_t read_turn;
	uint8_t streak; /* turns in a row with something to read */
	uint8_t standing;
	bool ready;  /* stands in the ready list */
	bool closed; /* stands in the graveyard */
};

TAILQ_HEAD(udp_flows, udp_flow);
STAILQ_HEAD(udp_flow_list, udp_flow);

/* Flows of one standing and one timeout, the idlest first. Listeners share them. */
struct udp_queue {
	struct udp_queue *next;
	struct udp_flows flows;
	uint32_t refs; /* listeners */
	uint32_t timeout_ms;
	enum udp_standing standing;
};

/* What a UDP listener has beyond a TCP one. */
struct udp_port {
	TAILQ_ENTRY(udp_port) link; /* in udp->readable */
	struct listener *listener;
	struct udp_flows flows;
	struct udp_queue *queues[UDP_STANDINGS];
	struct addr bound;
	bool readable;     /* stands in the list */
	bool check_source; /* clients must be within the source ranges */
};

TAILQ_HEAD(udp_ports, udp_port);

struct udp_table {
	struct udp_flow **buckets;
	uint64_t mask;
	uint64_t secret[2];
};

/* One system call's datagrams, and their addresses. */
struct udp_batch {
	struct mmsghdr messages[UDP_BATCH];
	struct iovec pieces[UDP_BATCH];
	union udp_name names[UDP_BATCH];
	union udp_control controls[UDP_BATCH];
};

struct udp {
	struct udp_table table;
	struct slab flows;
	uint32_t flow_count, max_flows;
	uint32_t turn; /* of the loop */
	struct udp_queue *queues;
	struct udp_ports readable;
	struct udp_flow_list ready, graveyard;
	size_t kept_bytes;
	uint8_t *buffers;              /* shared by both directions, which never use them at the same time */
	struct udp_batch in;           /* from clients */
	struct udp_batch out;          /* answers that wait for their call, all of one listener */
	struct listener *out_listener; /* its */
	unsigned out_count;
};

/* udp_table.c */
int udp_table_init(struct udp_table *table, uint32_t capacity);
void udp_table_fini(struct udp_table *table);
uint64_t udp_table_hash(const struct udp_table *table, const struct udp_key *key);
struct udp_flow *udp_table_find(const struct udp_table *table, const struct udp_key *key, uint64_t hash);
void udp_table_add(struct udp_table *table, struct udp_flow *flow); /* by flow->hash */
void udp_table_remove(struct udp_table *table, struct udp_flow *flow);

/* udp_queue.c */
/* The queue for a standing and timeout, with one more reference; NULL when out of memory. */
struct udp_queue *udp_queue_get(struct udp *udp, enum udp_standing standing, uint32_t timeout_ms);
void udp_queue_put(struct udp *udp, struct udp_queue *queue); /* NULL is fine */
/* The flow was active now: it goes to the end of its listener's queue for its standing. */
void udp_queue_touch(struct udp *udp, struct udp_flow *flow, int64_t now_ms);
void udp_queue_remove(struct udp *udp, struct udp_flow *flow);
/* The one to give up first; NULL if there is no flow. */
struct udp_flow *udp_queue_idlest(const struct udp *udp);
/* One whose time is over, or NULL. */
struct udp_flow *udp_queue_expired(const struct udp *udp, int64_t now_ms);
int64_t udp_queue_next_ms(const struct udp *udp);

/* udp_flow.c */
/* A flow for a new client, connected to a backend; NULL if there can be none, which was counted. */
struct udp_flow *udp_flow_new(struct relay *relay, struct listener *listener, const struct udp_key *key,
	uint64_t hash, const struct msghdr *from);
/* Sends a client's datagram on; moves the flow if its backend is no longer there. */
struct stats_backend_counters *udp_flow_counters(struct relay *relay, const struct udp_flow *flow);
void udp_flow_forward(struct relay *relay, struct udp_flow *flow, const uint8_t *data, size_t bytes);
/* The backend has answered. */
void udp_flow_answered(struct relay *relay, struct udp_flow *flow);
/* The backend's socket has failed: another one gets the last datagram. False if the flow was closed. */
bool udp_flow_failed(struct relay *relay, struct udp_flow *flow, int error);
void udp_flow_close(struct relay *relay, struct udp_flow *flow);

#endif
