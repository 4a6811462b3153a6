/* What a Service says about how its connections are handled, beyond where they go: session affinity,
 * scheduler, limits. From spec fields and `portald.io/` annotations; decoded by source, carried by model,
 * plan and messages, obeyed by the relay. doc/ANNOTATIONS.md is the reader's version.
 */
#ifndef PORTALD_SERVICE_OPTIONS_H
#define PORTALD_SERVICE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* By the names of the kernel's IPVS; rr and lc honour weights, as wrr and wlc do. */
enum scheduler {
	SCHEDULER_RR,  /* round-robin */
	SCHEDULER_LC,  /* least connections */
	SCHEDULER_DH,  /* by a consistent hash of the destination (portal) address */
	SCHEDULER_SH,  /* by a consistent hash of the client's address */
	SCHEDULER_SED, /* shortest expected delay: (active + 1) / weight */
	SCHEDULER_NQ,  /* never queue: an idle backend first, else sed */
	SCHEDULERS
};

/* What happens to an endpoint's connections when the endpoint is removed. */
enum service_removal {
	SERVICE_REMOVAL_KEEP,  /* they finish */
	SERVICE_REMOVAL_DRAIN, /* they may finish for drain_ms, then they are reset */
	SERVICE_REMOVAL_RESET, /* they are reset */
	SERVICE_REMOVALS
};

/* Times in milliseconds unless named otherwise; 0 is "none" unless said otherwise. */
struct service_options {
	enum scheduler scheduler;
	bool scheduler_set;          /* false: the daemon's --scheduler applies (plan fills it in) */
	uint32_t affinity_timeout_s; /* sessionAffinity ClientIP: sliding; 0: no affinity */
	uint8_t proxy_protocol;      /* header to the backend: 0 none, 1 or 2: the version */
	uint32_t connect_timeout_ms; /* one limit for each attempt; 0: 250, 500, 1000, 2000 ms */
	uint32_t idle_timeout_ms;    /* a TCP connection without a byte either way is reset */
	uint32_t max_connections;    /* of the Service port on this node; further ones wait */
	uint32_t queue_length;       /* how many may wait; those beyond are reset */
	uint32_t queue_timeout_ms;   /* how long one may wait */
	enum service_removal removal;
	uint32_t drain_ms;
	uint32_t udp_first_ms; /* a UDP flow waits this long for its first answer; 0: the daemon's */
	uint32_t udp_idle_ms;  /* between datagrams after that; 0: the daemon's --udp-timeout */
};

/* Kubernetes' own default for sessionAffinityConfig.clientIP.timeoutSeconds, and its bounds. */
#define SERVICE_AFFINITY_DEFAULT_S 10800
#define SERVICE_AFFINITY_MAX_S 86400

#define SERVICE_QUEUE_LENGTH 128
#define SERVICE_QUEUE_TIMEOUT_MS 10000

/* The weight of an endpoint without an annotation, and the largest. 0 means: no new connections. */
#define SERVICE_WEIGHT_DEFAULT 1
#define SERVICE_WEIGHT_MAX 65535

/* All defaults: rr, no affinity, no limits, connections of removed endpoints finish. */
void service_options_init(struct service_options *options);

/* True if every field is the same. */
bool service_options_equal(const struct service_options *a, const struct service_options *b);

/* "rr", "lc", ...; and back (also "wrr", "wlc"): 0 or -EINVAL. */
const char *scheduler_name(enum scheduler scheduler);
int scheduler_parse(enum scheduler *out, const char *name);

#endif
