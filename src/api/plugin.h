/* Running an exec plugin. */
#ifndef API_PLUGIN_H
#define API_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "portald/kubeconfig.h"

struct event;
struct event_base;

/* What comes out of a pipe, up to a limit. */
struct plugin_pipe {
	int fd;
	struct event *readable;
	char *bytes; /* ends in a NUL */
	size_t count, limit;
};

/* problem is NULL if it went well, else for a person and without a secret; credential is the callee's then.
 */
typedef void plugin_done_fn(void *context, struct kubeconfig_credential *credential, const char *problem);

struct plugin {
	struct event_base *base;
	const struct kubeconfig *config;
	int64_t timeout_ms;
	plugin_done_fn *done;
	void *context;

	pid_t pid; /* 0: none runs */
	int64_t deadline_ms;
	bool timed_out;
	struct plugin_pipe out, err;
	struct event *tick;
};

void plugin_init(struct plugin *plugin, struct event_base *base, const struct kubeconfig *config,
	int64_t timeout_ms, plugin_done_fn *done, void *context);

/* Starts it, unless it runs already. done is called later, or, if it can't be started, now. */
void plugin_start(struct plugin *plugin, int64_t now_ms);

/* Kills it if it runs. */
void plugin_fini(struct plugin *plugin);

#endif
