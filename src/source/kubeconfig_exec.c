/* Owns what concerns exec plugins: their part of a kubeconfig, what they are told, and what they print
 * (client.authentication.k8s.io). Running them is another module's. Runs in control, in tools and in a
 * fuzzer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <yajl/yajl_gen.h>

#include "portald/mem.h"
#include "source/kubeconfig.h"

#define GROUP "client.authentication.k8s.io/"
#define EXTENSION "client.authentication.k8s.io/exec"

/* ---- in the kubeconfig ---- */

static void read_env(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	struct kubeconfig_exec *exec)
{
	const struct doc_node *env = doc_get(node, "env");

	if (!env)
		return;
	if (env->kind != DOC_SEQUENCE) {
		kc_error(loader, entry, "exec", "env must be a sequence of name and value");
		return;
	}
	exec->env = mem_calloc(env->count, sizeof(*exec->env));
	for (size_t i = 0; i < env->count; i++) {
		struct kubeconfig_pair pair = {.name = kc_string(loader, entry, env->items[i], "name"),
			.value = kc_string(loader, entry, env->items[i], "value")};

		if (!pair.name || strchr(pair.name, '='))
			kc_report(loader, SOURCE_ERROR, entry->file, env->items[i], entry->object, "exec",
				"env has no usable name");
		if (!pair.value)
			pair.value = mem_strdup("");
		exec->env[exec->env_count++] = pair;
	}
}

static void check_version(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *version)
{
	const struct doc_node *place = doc_get(node, "apiVersion");

	if (!version)
		kc_report(loader, SOURCE_ERROR, entry->file, place ? place : node, entry->object, "exec",
			"apiVersion is missing");
	else if (strcmp(version, GROUP "v1") != 0 && strcmp(version, GROUP "v1beta1") != 0)
		kc_report(loader, SOURCE_ERROR, entry->file, place, entry->object, "exec",
			"apiVersion must be " GROUP "v1 or v1beta1");
}

/* Nobody sits at a daemon: a plugin that can do without is run so, one that can't is refused here. */
static void check_mode(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *version)
{
	const struct doc_node *place = doc_get(node, "interactiveMode");
	char *mode = kc_string(loader, entry, node, "interactiveMode");
	const char *why = NULL;

	if (!mode && version && strcmp(version, GROUP "v1") == 0)
		why = "interactiveMode is missing, which " GROUP "v1 requires";
	else if (mode && strcmp(mode, "Always") == 0)
		why = "interactiveMode is Always, but a daemon has no terminal";
	else if (mode && strcmp(mode, "Never") != 0 && strcmp(mode, "IfAvailable") != 0)
		why = "interactiveMode must be Never or IfAvailable";
	if (why)
		kc_report(loader, SOURCE_ERROR, entry->file, place ? place : node, entry->object, "exec",
			"%s", why);
	free(mode);
}

void kc_exec(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node)
{
	static const char *const known[] = {"apiVersion", "command", "args", "env", "installHint",
		"provideClusterInfo", "interactiveMode", NULL};
	struct kubeconfig_exec *exec;

	if (node->kind != DOC_MAP) {
		kc_error(loader, entry, "exec", "must be a map");
		return;
	}
	exec = mem_calloc(1, sizeof(*exec));
	loader->out->exec = exec;
	kc_known_fields(loader, entry, node, known);
	exec->api_version = kc_string(loader, entry, node, "apiVersion");
	exec->command = kc_string(loader, entry, node, "command");
	exec->install_hint = kc_string(loader, entry, node, "installHint");
	exec->provide_cluster_info = kc_bool(loader, entry, node, "provideClusterInfo");
	exec->arg_count = kc_strings(loader, entry, node, "args", &exec->args);
	read_env(loader, entry, node, exec);
	check_version(loader, entry, node, exec->api_version);
	check_mode(loader, entry, node, exec->api_version);
	if (!exec->command)
		kc_report(
			loader, SOURCE_ERROR, entry->file, node, entry->object, "exec", "command is missing");
	else if (strchr(exec->command, '/'))
		exec->command = kc_resolve_path_take(entry->file, exec->command);
}

/* ---- JSON ---- */

static void gen_text(yajl_gen gen, const char *text)
{
	yajl_gen_string(gen, (const unsigned char *)text, strlen(text));
}

static void gen_pair(yajl_gen gen, const char *name, const char *value)
{
	if (!value)
		return;
	gen_text(gen, name);
	gen_text(gen, value);
}

static void gen_bool(yajl_gen gen, const char *name, bool value)
{
	gen_text(gen, name);
	yajl_gen_bool(gen, value);
}

static void gen_scalar(yajl_gen gen, const struct doc_node *node)
{
	if (node->kind == DOC_NULL)
		yajl_gen_null(gen);
	else if (node->kind == DOC_BOOL)
		yajl_gen_bool(gen, node->number != 0);
	else if (node->kind == DOC_INT)
		yajl_gen_integer(gen, node->number);
	else if (node->kind == DOC_FLOAT)
		yajl_gen_double(gen, strtod(node->text, NULL));
	else
		gen_text(gen, node->text);
}

/* The depth is bounded by DOC_MAX_DEPTH, and yajl refuses more than its own bound. */
static void gen_node(yajl_gen gen, const struct doc_node *node)
{
	if (node->kind == DOC_MAP) {
		yajl_gen_map_open(gen);
		for (size_t i = 0; i < node->count; i++) {
			gen_text(gen, node->pairs[i].key);
			gen_node(gen, node->pairs[i].value);
		}
		yajl_gen_map_close(gen);
	} else if (node->kind == DOC_SEQUENCE) {
		yajl_gen_array_open(gen);
		for (size_t i = 0; i < node->count; i++)
			gen_node(gen, node->items[i]);
		yajl_gen_array_close(gen);
	} else {
		gen_scalar(gen, node);
	}
}

/* Takes the generator. Returns its text in fresh memory. */
static char *gen_take(yajl_gen gen)
{
	const unsigned char *text = NULL;
	size_t length = 0;
	char *copy;

	yajl_gen_get_buf(gen, &text, &length);
	copy = mem_calloc(1, length + 1);
	if (length > 0)
		memcpy(copy, text, length);
	yajl_gen_free(gen);
	return copy;
}

/* Aliases could make a small file's extension huge. */
#define EXTENSION_MAX_WEIGHT 10000

char *kc_exec_extension(const struct doc_node *cluster)
{
	const struct doc_node *list = doc_get(cluster, "extensions");
	yajl_gen gen;

	if (!list || list->kind != DOC_SEQUENCE)
		return NULL;
	for (size_t i = 0; i < list->count; i++) {
		const char *name = doc_get_text(list->items[i], "name");
		const struct doc_node *extension = doc_get(list->items[i], "extension");

		if (!name || strcmp(name, EXTENSION) != 0 || !extension ||
			extension->weight > EXTENSION_MAX_WEIGHT)
			continue;
		gen = yajl_gen_alloc(NULL);
		gen_node(gen, extension);
		return gen_take(gen);
	}
	return NULL;
}

static void gen_cluster(yajl_gen gen, const struct kubeconfig *config)
{
	char *ca = config->ca.bytes ? kc_base64_encode(config->ca.bytes, config->ca.count) : NULL;
	const char *extension = config->exec_cluster_config;

	gen_text(gen, "cluster");
	yajl_gen_map_open(gen);
	gen_pair(gen, "server", config->server);
	gen_pair(gen, "tls-server-name", config->tls_server_name);
	if (config->insecure_skip_tls_verify)
		gen_bool(gen, "insecure-skip-tls-verify", true);
	gen_pair(gen, "certificate-authority-data", ca);
	gen_pair(gen, "proxy-url", config->proxy_url);
	if (extension) {
		gen_text(gen, "config");
		/* Numbers are copied as they are: the text is JSON already. */
		yajl_gen_number(gen, extension, strlen(extension));
	}
	yajl_gen_map_close(gen);
	free(ca);
}

char *kubeconfig_exec_info(const struct kubeconfig *config)
{
	yajl_gen gen = yajl_gen_alloc(NULL);

	yajl_gen_map_open(gen);
	gen_pair(gen, "kind", "ExecCredential");
	gen_pair(gen, "apiVersion", config->exec->api_version);
	gen_text(gen, "spec");
	yajl_gen_map_open(gen);
	if (config->exec->provide_cluster_info)
		gen_cluster(gen, config);
	gen_bool(gen, "interactive", false);
	yajl_gen_map_close(gen);
	yajl_gen_map_close(gen);
	return gen_take(gen);
}

/* ---- what the plugin prints ---- */

struct answer {
	struct doc *doc;
	char *problem;
};

static void on_document(void *context, struct doc *doc)
{
	struct answer *answer = context;

	/* Of several the first counts, as for a decoder that stops when it has what it wants. */
	if (answer->doc)
		doc_free(doc);
	else
		answer->doc = doc;
}

static void on_problem(void *context, unsigned line, unsigned column, const char *message)
{
	struct answer *answer = context;

	(void)message; /* it may quote what it stumbled over */
	if (!answer->problem)
		answer->problem = mem_printf("its output is not JSON (line %u, column %u)", line, column);
}

/* "2026-11-20T10:47:40Z", with a fraction or an offset perhaps (RFC 3339). Returns false if it is none. */
static bool parse_time(const char *text, int64_t *seconds)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	bool east;

	if (!end)
		return false;
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	*seconds = timegm(&tm);
	if (strcmp(end, "Z") == 0 || strcmp(end, "z") == 0)
		return true;
	east = *end == '+';
	tm = (struct tm){0};
	if ((!east && *end != '-') || !(end = strptime(end + 1, "%H:%M", &tm)) || *end)
		return false;
	*seconds += (east ? -60 : 60) * (tm.tm_hour * 60 + tm.tm_min);
	return true;
}

static const char *decode_status(const struct doc_node *status, struct kubeconfig_credential *out)
{
	const char *expires = doc_get_text(status, "expirationTimestamp"), *why;

	out->token = mem_strdup(doc_get_text(status, "token"));
	out->certificate = mem_strdup(doc_get_text(status, "clientCertificateData"));
	out->key = mem_strdup(doc_get_text(status, "clientKeyData"));
	if (!out->token && !out->certificate && !out->key)
		return "it gave neither a token nor a certificate and its key";
	if (!out->certificate != !out->key)
		return out->key ? "it gave a key without its certificate"
				: "it gave a certificate without its key";
	why = out->token ? kubeconfig_token_trim(out->token) : NULL;
	if (why)
		return "its token holds control characters";
	if (out->certificate &&
		kubeconfig_pem_check(out->certificate, strlen(out->certificate), KUBECONFIG_CERTIFICATES))
		return "its clientCertificateData is not a certificate in PEM";
	if (out->key && kubeconfig_pem_check(out->key, strlen(out->key), KUBECONFIG_KEY))
		return "its clientKeyData is not a private key in PEM";
	if (expires && !parse_time(expires, &out->expires_s))
		return "its expirationTimestamp is not a time";
	return NULL;
}

static const char *decode_answer(
	const struct doc_node *root, const char *api_version, struct kubeconfig_credential *out)
{
	const char *kind = doc_get_text(root, "kind"), *version = doc_get_text(root, "apiVersion");
	const struct doc_node *status = doc_get(root, "status");

	if (!kind || strcmp(kind, "ExecCredential") != 0)
		return "its output is no ExecCredential";
	if (!version || strcmp(version, api_version) != 0)
		return "its output has another apiVersion than it was asked for";
	if (!status || status->kind != DOC_MAP)
		return "its output has no status";
	return decode_status(status, out);
}

static bool is_blank(const char *bytes, size_t count)
{
	while (count > 0 && strchr(" \t\r\n", bytes[count - 1]) && bytes[count - 1])
		count--;
	return count == 0;
}

int kubeconfig_credential_decode(const char *bytes, size_t count, const char *api_version,
	struct kubeconfig_credential *credential, char **problem)
{
	struct answer answer = {0};
	const struct doc_sink sink = {.document = on_document, .problem = on_problem, .context = &answer};
	const char *why = NULL;

	*credential = (struct kubeconfig_credential){.expires_s = INT64_MAX};
	if (!is_blank(bytes, count))
		doc_read_json(bytes, count, &sink);
	if (!answer.problem)
		why = answer.doc ? decode_answer(answer.doc->root, api_version, credential)
				 : "it printed nothing";
	doc_free(answer.doc);
	*problem = why ? mem_strdup(why) : answer.problem;
	if (!*problem)
		return 0;
	kubeconfig_credential_fini(credential);
	return -EINVAL;
}

void kubeconfig_credential_fini(struct kubeconfig_credential *credential)
{
	free(credential->token);
	free(credential->certificate);
	free(credential->key);
	*credential = (struct kubeconfig_credential){.expires_s = INT64_MAX};
}
