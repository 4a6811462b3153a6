/* The credentials in use, and their renewal. */
#ifndef API_CREDENTIALS_H
#define API_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>

#include "api/plugin.h"
#include "portald/kubeconfig.h"

struct credentials {
	const struct kubeconfig *config;
	const struct kubeconfig_opener *opener;
	int64_t refresh_ms;

	/* What to show now; NULL where there is nothing to show. */
	char *token, *certificate, *key, *ca;
	uint64_t generation; /* changes whenever one of them does */

	bool fetched;       /* an exec plugin has answered */
	bool stale;         /* what it answered was refused */
	int64_t fetched_ms; /* when it answered */
	int64_t expires_s;  /* when that expires, in seconds since 1970 */
	int64_t checked_ms; /* when files were read last */
	struct plugin plugin;
	/* A run of the plugin has ended; problem is NULL if there are credentials now. */
	void (*done)(void *context, const char *problem);
	void *context;
};

void credentials_init(struct credentials *credentials, struct event_base *base,
	const struct kubeconfig *config, const struct kubeconfig_opener *opener, int64_t now_ms);
void credentials_fini(struct credentials *credentials);

/* True if they can be used now: files are read anew if it is time. False: the plugin runs, and done will be
 * called (perhaps from within). now_s is in seconds since 1970. */
bool credentials_ready(struct credentials *credentials, int64_t now_ms, int64_t now_s);

/* True if a server's refusal can be answered by others than those in use. */
bool credentials_renewable(const struct credentials *credentials);

/* The server refused those of this generation: they are to be renewed, if that has not happened since. */
void credentials_refused(struct credentials *credentials, uint64_t generation);

#endif
