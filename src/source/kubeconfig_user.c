/* Owns a kubeconfig's user: who we are, and whom we speak for. Runs in control, in tools and in a fuzzer. */
#include <stdlib.h>
#include <string.h>

#include "portald/mem.h"
#include "source/kubeconfig.h"

/* ---- impersonation ---- */

static void add_extra(
	struct kubeconfig_impersonation *as, size_t *capacity, const char *name, const char *value)
{
	as->extra = mem_grow(as->extra, as->extra_count, capacity, sizeof(*as->extra));
	as->extra[as->extra_count++] =
		(struct kubeconfig_pair){.name = mem_strdup(name), .value = mem_strdup(value)};
}

static void read_extra(struct kc_loader *loader, const struct kc_entry *entry)
{
	const struct doc_node *extra = doc_get(entry->node, "as-user-extra");
	size_t capacity = 0;

	if (!extra)
		return;
	if (extra->kind != DOC_MAP) {
		kc_error(loader, entry, "as-user-extra", "must be a map of sequences of strings");
		return;
	}
	for (size_t i = 0; i < extra->count; i++) {
		char **values;
		size_t count = kc_strings(loader, entry, extra, extra->pairs[i].key, &values);

		for (size_t k = 0; k < count; k++) {
			add_extra(&loader->out->as, &capacity, extra->pairs[i].key, values[k]);
			free(values[k]);
		}
		free(values);
	}
}

static bool as_has_controls(const struct kubeconfig_impersonation *as)
{
	bool found = (as->user && kc_has_controls(as->user)) || (as->uid && kc_has_controls(as->uid));

	for (size_t i = 0; i < as->group_count; i++)
		found = found || kc_has_controls(as->groups[i]);
	for (size_t i = 0; i < as->extra_count; i++)
		found = found || kc_has_controls(as->extra[i].name) || kc_has_controls(as->extra[i].value);
	return found;
}

static void read_impersonation(struct kc_loader *loader, const struct kc_entry *entry)
{
	struct kubeconfig_impersonation *as = &loader->out->as;

	as->user = kc_string(loader, entry, entry->node, "as");
	as->uid = kc_string(loader, entry, entry->node, "as-uid");
	as->group_count = kc_strings(loader, entry, entry->node, "as-groups", &as->groups);
	read_extra(loader, entry);
	if (!as->user && (as->uid || as->group_count || as->extra_count))
		kc_error(loader, entry, "as",
			"missing: as-uid, as-groups and as-user-extra say more about whom to act as");
	if (as_has_controls(as))
		kc_error(loader, entry, "as", "holds control characters");
}

/* ---- methods ---- */

static void read_token(struct kc_loader *loader, const struct kc_entry *entry)
{
	struct kubeconfig *out = loader->out;
	const char *why;
	char *problem = NULL;

	out->token = kc_string(loader, entry, entry->node, "token");
	out->token_file = kc_string(loader, entry, entry->node, "tokenFile");
	why = out->token ? kubeconfig_token_trim(out->token) : NULL;
	if (why)
		kc_error(loader, entry, "token", "%s", why);
	if (!out->token_file)
		return;
	/* The file wins over the token: both are one method. */
	out->token_file = kc_resolve_path_take(entry->file, out->token_file);
	if (kc_token_file(loader->opener, out, &problem) < 0)
		kc_error(loader, entry, "tokenFile", "%s", problem);
	free(problem);
}

static void read_certificate(struct kc_loader *loader, const struct kc_entry *entry)
{
	struct kubeconfig *out = loader->out;
	size_t errors = loader->error_count;

	kc_pem(loader, entry, "client-certificate", KUBECONFIG_CERTIFICATES, &out->certificate);
	kc_pem(loader, entry, "client-key", KUBECONFIG_KEY, &out->key);
	if (loader->error_count > errors)
		return;
	if (out->certificate.bytes && !out->key.bytes)
		kc_error(loader, entry, "client-key", "missing: client-certificate is given");
	if (out->key.bytes && !out->certificate.bytes)
		kc_error(loader, entry, "client-certificate", "missing: client-key is given");
}

static void read_basic(struct kc_loader *loader, const struct kc_entry *entry)
{
	struct kubeconfig *out = loader->out;

	out->username = kc_string(loader, entry, entry->node, "username");
	out->password = kc_string(loader, entry, entry->node, "password");
	if (out->password && !out->username)
		kc_error(loader, entry, "username", "missing: password is given");
	if (out->username && (strchr(out->username, ':') || kc_has_controls(out->username)))
		kc_error(loader, entry, "username", "may not hold ':' or control characters");
	if (out->password && kc_has_controls(out->password))
		kc_error(loader, entry, "password", "holds control characters");
}

/* A client certificate may stand beside another method: it is shown to whoever ends TLS. */
static void check_methods(struct kc_loader *loader, const struct kc_entry *entry)
{
	const struct doc_node *node = entry->node;
	const struct {
		bool given;
		const char *field;
	} methods[] = {
		{doc_get(node, "token") || doc_get(node, "tokenFile"),
			doc_get(node, "token") ? "token" : "tokenFile"},
		{doc_get(node, "username") || doc_get(node, "password"),
			doc_get(node, "username") ? "username" : "password"},
		{doc_get(node, "exec") != NULL, "exec"},
	};
	const char *first = NULL;

	if (doc_get(node, "auth-provider"))
		kc_error(loader, entry, "auth-provider", "not supported, and gone from Kubernetes: use exec");
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		if (methods[i].given && first)
			kc_error(loader, entry, methods[i].field,
				"%s is given too: more than one way to authenticate", first);
		else if (methods[i].given)
			first = methods[i].field;
	}
}

void kc_user(struct kc_loader *loader, const struct kc_entry *entry)
{
	static const char *const known[] = {"client-certificate", "client-certificate-data", "client-key",
		"client-key-data", "token", "tokenFile", "username", "password", "as", "as-uid", "as-groups",
		"as-user-extra", "auth-provider", "exec", "extensions", NULL};
	const struct doc_node *exec = doc_get(entry->node, "exec");

	kc_known_fields(loader, entry, entry->node, known);
	check_methods(loader, entry);
	read_token(loader, entry);
	read_certificate(loader, entry);
	read_basic(loader, entry);
	read_impersonation(loader, entry);
	if (exec)
		kc_exec(loader, entry, exec);
}
