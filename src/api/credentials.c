/* Owns the credentials that requests are sent with: from the kubeconfig, from files that rotate, from an exec
 * plugin. Runs in control. A file that can't be read, or that is being written, leaves what was read before
 * in use. */
#include "api/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "portald/clock.h"
#include "portald/files.h"
#include "portald/log.h"
#include "portald/mem.h"

#define NEVER_MS INT64_MIN

/* An exec plugin runs no more often than this unless what it gives is refused. */
#define TRIED_MS 1000

static void wipe(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

/* Replaces *current by fresh, which it takes. Returns true if they differ. */
static bool replace_take(char **current, char *fresh)
{
	bool same = *current && fresh ? strcmp(*current, fresh) == 0 : *current == fresh;

	wipe(same ? &fresh : current);
	if (same)
		return false;
	*current = fresh;
	return true;
}

/* ---- files ---- */

static void warn(const char *path, const char *why)
{
	log_warning("cannot renew credentials", log_str("path", path), log_str("error", why));
}

/* A file's text in fresh memory, NULL if it can't be read (logged). */
static char *read_text(const struct credentials *credentials, const char *path)
{
	char *bytes = NULL;
	size_t count;
	int rc = kubeconfig_read_file(credentials->opener, path, &bytes, &count);

	if (rc < 0)
		warn(path, files_error_text(rc));
	return bytes;
}

static char *read_token(const struct credentials *credentials, const char *path)
{
	char *text = read_text(credentials, path);
	const char *why = text ? kubeconfig_token_trim(text) : NULL;

	if (text && !why && *text)
		return text;
	if (text)
		warn(path, why ? why : "holds no token");
	wipe(&text);
	return NULL;
}

static char *read_pem(const struct credentials *credentials, const char *path, enum kubeconfig_pem_kind kind)
{
	size_t count = 0;
	char *text = NULL;
	int rc = kubeconfig_read_file(credentials->opener, path, &text, &count);
	const char *why = rc < 0 ? files_error_text(rc) : kubeconfig_pem_check(text, count, kind);

	if (!why)
		return text;
	warn(path, why);
	wipe(&text);
	return NULL;
}

static bool renew_pem(const struct credentials *credentials, const char *path, enum kubeconfig_pem_kind kind,
	char **current)
{
	char *fresh = path ? read_pem(credentials, path, kind) : NULL;

	return fresh && replace_take(current, fresh);
}

/* A certificate and its key belong together: both are taken or none. */
static bool renew_pair(struct credentials *credentials)
{
	const struct kubeconfig *config = credentials->config;
	char *certificate, *key;
	bool changed;

	if (!config->certificate.path && !config->key.path)
		return false;
	certificate = config->certificate.path
			      ? read_pem(credentials, config->certificate.path, KUBECONFIG_CERTIFICATES)
			      : mem_strdup(config->certificate.bytes);
	key = config->key.path ? read_pem(credentials, config->key.path, KUBECONFIG_KEY)
			       : mem_strdup(config->key.bytes);
	if (!certificate || !key) {
		free(certificate);
		wipe(&key);
		return false;
	}
	changed = replace_take(&credentials->certificate, certificate);
	return replace_take(&credentials->key, key) || changed;
}

static void renew_files(struct credentials *credentials, int64_t now_ms)
{
	const struct kubeconfig *config = credentials->config;
	char *token = config->token_file ? read_token(credentials, config->token_file) : NULL;
	bool changed = token && replace_take(&credentials->token, token);

	changed =
		renew_pem(credentials, config->ca.path, KUBECONFIG_CERTIFICATES, &credentials->ca) || changed;
	/* What a plugin gave wins over the kubeconfig's own. */
	if (!config->exec || !credentials->fetched)
		changed = renew_pair(credentials) || changed;
	credentials->checked_ms = now_ms;
	if (!changed)
		return;
	credentials->generation++;
	log_v(2, "credentials have changed", log_str("server", config->server));
}

static bool has_files(const struct kubeconfig *config)
{
	return config->token_file || config->ca.path || config->certificate.path || config->key.path;
}

/* ---- the plugin ---- */

static void on_plugin(void *context, struct kubeconfig_credential *credential, const char *problem)
{
	struct credentials *credentials = context;
	bool changed;

	if (!problem) {
		changed = replace_take(&credentials->token, mem_strdup(credential->token));
		if (credential->certificate) {
			changed = replace_take(
					  &credentials->certificate, mem_strdup(credential->certificate)) ||
				  changed;
			changed = replace_take(&credentials->key, mem_strdup(credential->key)) || changed;
		}
		credentials->generation += changed;
		credentials->expires_s = credential->expires_s;
		credentials->fetched_ms = clock_now_ms();
		credentials->fetched = true;
		credentials->stale = false;
		wipe(&credential->token);
		wipe(&credential->key);
		kubeconfig_credential_fini(credential);
	}
	credentials->done(credentials->context, problem);
}

/* What is over as soon as it comes, perhaps by our clock only, is tried all the same: the server knows. */
static bool has_valid(const struct credentials *credentials, int64_t now_ms, int64_t now_s)
{
	return credentials->fetched && !credentials->stale &&
	       (now_s < credentials->expires_s || now_ms - credentials->fetched_ms < TRIED_MS);
}

/* ---- use ---- */

bool credentials_ready(struct credentials *credentials, int64_t now_ms, int64_t now_s)
{
	const struct kubeconfig *config = credentials->config;

	if (has_files(config) && (credentials->checked_ms == NEVER_MS ||
					 now_ms - credentials->checked_ms >= credentials->refresh_ms))
		renew_files(credentials, now_ms);
	if (!config->exec || has_valid(credentials, now_ms, now_s))
		return true;
	plugin_start(&credentials->plugin, now_ms);
	return false;
}

bool credentials_renewable(const struct credentials *credentials)
{
	const struct kubeconfig *config = credentials->config;

	return config->exec || config->token_file || config->certificate.path;
}

void credentials_refused(struct credentials *credentials, uint64_t generation)
{
	if (generation != credentials->generation)
		return;
	credentials->checked_ms = NEVER_MS;
	credentials->stale = true;
}

void credentials_init(struct credentials *credentials, struct event_base *base,
	const struct kubeconfig *config, const struct kubeconfig_opener *opener, int64_t now_ms)
{
	credentials->config = config;
	credentials->opener = opener;
	credentials->token = mem_strdup(config->token);
	credentials->ca = mem_strdup(config->ca.bytes);
	credentials->certificate = mem_strdup(config->certificate.bytes);
	credentials->key = mem_strdup(config->key.bytes);
	credentials->generation = 1;
	credentials->checked_ms = now_ms;
	if (config->exec)
		plugin_init(&credentials->plugin, base, config, credentials->plugin.timeout_ms, on_plugin,
			credentials);
}

void credentials_fini(struct credentials *credentials)
{
	if (credentials->config->exec)
		plugin_fini(&credentials->plugin);
	wipe(&credentials->token);
	wipe(&credentials->key);
	wipe(&credentials->certificate);
	wipe(&credentials->ca);
}
