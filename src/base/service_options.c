/* Owns the names and defaults of what a Service says about its connections. Pure; used everywhere. */
#include "portald/service_options.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const char *const scheduler_names[SCHEDULERS] = {
	[SCHEDULER_RR] = "rr",
	[SCHEDULER_LC] = "lc",
	[SCHEDULER_DH] = "dh",
	[SCHEDULER_SH] = "sh",
	[SCHEDULER_SED] = "sed",
	[SCHEDULER_NQ] = "nq",
};

/* IPVS has names of their own for the weighted ones; here weights always count. */
static const struct {
	const char *name;
	enum scheduler scheduler;
} scheduler_aliases[] = {
	{"wrr", SCHEDULER_RR},
	{"wlc", SCHEDULER_LC},
};

void service_options_init(struct service_options *options)
{
	*options = (struct service_options){
		.queue_length = SERVICE_QUEUE_LENGTH,
		.queue_timeout_ms = SERVICE_QUEUE_TIMEOUT_MS,
	};
}

bool service_options_equal(const struct service_options *a, const struct service_options *b)
{
	return a->scheduler == b->scheduler && a->scheduler_set == b->scheduler_set &&
	       a->affinity_timeout_s == b->affinity_timeout_s && a->proxy_protocol == b->proxy_protocol &&
	       a->connect_timeout_ms == b->connect_timeout_ms && a->idle_timeout_ms == b->idle_timeout_ms &&
	       a->max_connections == b->max_connections && a->queue_length == b->queue_length &&
	       a->queue_timeout_ms == b->queue_timeout_ms && a->removal == b->removal &&
	       a->drain_ms == b->drain_ms && a->udp_first_ms == b->udp_first_ms &&
	       a->udp_idle_ms == b->udp_idle_ms;
}

const char *scheduler_name(enum scheduler scheduler)
{
	return scheduler_names[scheduler];
}

int scheduler_parse(enum scheduler *out, const char *name)
{
	for (unsigned i = 0; i < SCHEDULERS; i++) {
		if (strcmp(name, scheduler_names[i]) == 0) {
			*out = (enum scheduler)i;
			return 0;
		}
	}
	for (size_t i = 0; i < sizeof(scheduler_aliases) / sizeof(scheduler_aliases[0]); i++) {
		if (strcmp(name, scheduler_aliases[i].name) == 0) {
			*out = scheduler_aliases[i].scheduler;
			return 0;
		}
	}
	return -EINVAL;
}
