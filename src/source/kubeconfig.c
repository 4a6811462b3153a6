/* Owns the loading of kubeconfigs: which files, which context, and what it comes to. Runs in control, in
 * tools and in a fuzzer.
 *
 * Files are not merged into one: a name is looked up in each file in order, and the first that has it gives
 * the whole entry. That is what client-go promises of the merged files. */
#include "source/kubeconfig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portald/files.h"
#include "portald/mem.h"
#include "source/finding.h"

/* ---- reporting ---- */

static void report(struct kc_loader *loader, struct source_diag *diag, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

static void report(struct kc_loader *loader, struct source_diag *diag, const char *format, va_list args)
{
	char *message = NULL;

	diag->message = vasprintf(&message, format, args) < 0 ? "out of memory" : message;
	if (diag->severity == SOURCE_ERROR)
		loader->error_count++;
	loader->diag(loader->context, diag);
	free(message);
}

void kc_report(struct kc_loader *loader, enum source_severity severity, const struct kc_file *file,
	const struct doc_node *node, const char *object, const char *field, const char *format, ...)
{
	struct source_diag diag = {.severity = severity, .object = object, .field = field};
	va_list args;

	diag.file = file ? file->path : "kubeconfig";
	diag.line = node ? node->line : 0;
	diag.column = node ? node->column : 0;
	va_start(args, format);
	report(loader, &diag, format, args);
	va_end(args);
}

void kc_error(
	struct kc_loader *loader, const struct kc_entry *entry, const char *field, const char *format, ...)
{
	const struct doc_node *value = field ? doc_get(entry->node, field) : NULL;
	const struct doc_node *node = value ? value : entry->node;
	struct source_diag diag = {.file = entry->file->path, .object = entry->object, .field = field};
	va_list args;

	diag.line = node ? node->line : 0;
	diag.column = node ? node->column : 0;
	va_start(args, format);
	report(loader, &diag, format, args);
	va_end(args);
}

/* ---- files ---- */

struct sink_state {
	struct kc_loader *loader;
	struct kc_file *file;
};

static void on_document(void *context, struct doc *doc)
{
	struct sink_state *state = context;

	if (doc->root->kind == DOC_NULL) {
		doc_free(doc);
		return;
	}
	if (state->file->doc) {
		kc_report(state->loader, SOURCE_ERROR, state->file, doc->root, NULL, NULL,
			"a kubeconfig is one document; here begins another");
		doc_free(doc);
		return;
	}
	state->file->doc = doc;
}

static void on_problem(void *context, unsigned line, unsigned column, const char *message)
{
	struct sink_state *state = context;
	const struct doc_node place = {.line = line, .column = column};

	kc_report(state->loader, SOURCE_ERROR, state->file, &place, NULL, NULL, "%s", message);
}

static void check_header(struct kc_loader *loader, const struct kc_file *file)
{
	static const char *const known[] = {"apiVersion", "kind", "preferences", "clusters", "users",
		"contexts", "current-context", "extensions", NULL};
	const struct kc_entry whole = {.file = file, .node = file->doc->root};
	char *version, *kind;

	if (file->doc->root->kind != DOC_MAP) {
		kc_report(loader, SOURCE_ERROR, file, file->doc->root, NULL, NULL,
			"not a kubeconfig: not a map");
		return;
	}
	kc_known_fields(loader, &whole, whole.node, known);
	version = kc_string(loader, &whole, whole.node, "apiVersion");
	kind = kc_string(loader, &whole, whole.node, "kind");
	/* Both may be missing, as for client-go. */
	if (version && strcmp(version, "v1") != 0)
		kc_error(loader, &whole, "apiVersion", "must be v1");
	if (kind && strcmp(kind, "Config") != 0)
		kc_error(loader, &whole, "kind", "must be Config");
	free(version);
	free(kind);
}

static bool has_file(const struct kc_loader *loader, const char *path)
{
	for (size_t i = 0; i < loader->file_count; i++) {
		if (strcmp(loader->files[i].path, path) == 0)
			return true;
	}
	return false;
}

static void load_file(struct kc_loader *loader, const char *path, bool must_exist)
{
	struct kc_file file = {.path = mem_strdup(path)};
	struct sink_state state = {.loader = loader, .file = &file};
	const struct doc_sink sink = {.document = on_document, .problem = on_problem, .context = &state};
	char *bytes = NULL;
	size_t count;
	int rc = has_file(loader, path) ? 0 : kubeconfig_read_file(loader->opener, path, &bytes, &count);

	if (rc < 0 && (must_exist || rc != -ENOENT))
		kc_report(loader, SOURCE_ERROR, &file, NULL, NULL, NULL, "cannot read the kubeconfig: %s",
			files_error_text(rc));
	if (!bytes) {
		free(file.path);
		return;
	}
	doc_read(bytes, count, &sink);
	free(bytes);
	if (file.doc)
		check_header(loader, &file);
	loader->files =
		mem_grow(loader->files, loader->file_count, &loader->file_capacity, sizeof(*loader->files));
	loader->files[loader->file_count++] = file;
}

struct file_list {
	struct kc_loader *loader;
	bool must_exist;
};

static void load_listed(void *context, const char *path)
{
	struct file_list *list = context;

	load_file(list->loader, path, list->must_exist);
}

static bool is_set(const char *text)
{
	return text && *text;
}

static const char *account_dir(const struct kubeconfig_request *request)
{
	return request->service_account_dir ? request->service_account_dir : KUBECONFIG_SERVICE_ACCOUNT_DIR;
}

/* Calls fn for the kubeconfig files of a request. */
static void each_kubeconfig(
	const struct kubeconfig_request *request, void (*fn)(void *context, const char *path), void *context)
{
	const char *at = request->list;

	if (is_set(request->kubeconfig)) {
		fn(context, request->kubeconfig);
		return;
	}
	while (is_set(at)) {
		size_t length = strcspn(at, ":");
		char *path = mem_printf("%.*s", (int)length, at);

		if (length > 0)
			fn(context, path);
		free(path);
		at += length + (at[length] == ':');
	}
}

/* ---- in a cluster ---- */

static bool in_cluster(const struct kubeconfig_request *request)
{
	return !is_set(request->kubeconfig) && !is_set(request->list) && !is_set(request->master);
}

void kubeconfig_request_files(
	const struct kubeconfig_request *request, void (*fn)(void *context, const char *path), void *context)
{
	static const char *const names[] = {"token", "ca.crt", "namespace"};

	for (size_t i = 0; in_cluster(request) && i < sizeof(names) / sizeof(*names); i++) {
		char *path = mem_printf("%s/%s", account_dir(request), names[i]);

		fn(context, path);
		free(path);
	}
	each_kubeconfig(request, fn, context);
}

static void account_problem(struct kc_loader *loader, const char *path, char *problem)
{
	const struct kc_file file = {.path = (char *)path};

	kc_report(loader, SOURCE_ERROR, &file, NULL, "service account", NULL, "%s", problem);
	free(problem);
}

static void load_namespace(struct kc_loader *loader, const char *directory)
{
	char *path = mem_printf("%s/namespace", directory);
	size_t count;

	/* Nothing depends on it. */
	if (kubeconfig_read_file(loader->opener, path, &loader->out->namespace, &count) == 0 &&
		(kubeconfig_token_trim(loader->out->namespace) || !*loader->out->namespace)) {
		free(loader->out->namespace);
		loader->out->namespace = NULL;
	}
	free(path);
}

static void load_account(struct kc_loader *loader, const struct kubeconfig_request *request)
{
	const char *why, *directory = account_dir(request);
	struct kubeconfig *out = loader->out;
	char *url, *problem = NULL;

	url = strchr(request->service_host, ':')
		      ? mem_printf("https://[%s]:%s", request->service_host, request->service_port)
		      : mem_printf("https://%s:%s", request->service_host, request->service_port);
	why = kc_server(out, url);
	if (why)
		kc_report(loader, SOURCE_ERROR, NULL, NULL, NULL, NULL,
			"KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT make no URL: %s", why);
	free(url);
	out->in_cluster = true;
	out->token_file = mem_printf("%s/token", directory);
	if (kc_token_file(loader->opener, out, &problem) < 0)
		account_problem(loader, out->token_file, problem);
	if (kc_pem_file_take(loader->opener, mem_printf("%s/ca.crt", directory), KUBECONFIG_CERTIFICATES,
		    &out->ca, &problem) < 0)
		account_problem(loader, out->ca.path, problem);
	load_namespace(loader, directory);
}

static void load_in_cluster(struct kc_loader *loader, const struct kubeconfig_request *request)
{
	if (!is_set(request->service_host) || !is_set(request->service_port)) {
		kc_report(loader, SOURCE_ERROR, NULL, NULL, NULL, NULL,
			"no API server: give --kubeconfig or --master, or set KUBECONFIG; this is no Pod of "
			"a "
			"cluster either (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set)");
		return;
	}
	load_account(loader, request);
}

/* ---- the context ---- */

static const struct doc_node *entry_name(const struct doc_node *item)
{
	const struct doc_node *name = doc_get(item, "name");

	return name && name->kind == DOC_STRING ? name : NULL;
}

/* The entry of that name in one file, NULL without one. */
static const struct doc_node *find_in_file(struct kc_loader *loader, const struct kc_file *file,
	const char *list, const char *kind, const char *name)
{
	const struct doc_node *items = file->doc ? doc_get(file->doc->root, list) : NULL, *found = NULL;

	if (items && items->kind != DOC_SEQUENCE) {
		kc_report(loader, SOURCE_ERROR, file, items, NULL, list, "must be a sequence");
		return NULL;
	}
	for (size_t i = 0; items && i < items->count; i++) {
		const struct doc_node *own = entry_name(items->items[i]);

		if (!own || strcmp(own->text, name) != 0)
			continue;
		if (found)
			kc_report(loader, SOURCE_ERROR, file, own, NULL, list,
				"a %s of this name stands above", kind);
		else
			found = items->items[i];
	}
	return found;
}

/* Fills entry, whose object the caller frees, for the first file that has it. Reports it if none does. */
static bool find_entry(struct kc_loader *loader, const char *list, const char *kind, const char *name,
	struct kc_entry *entry)
{
	char *quoted = finding_quote(name);

	*entry = (struct kc_entry){.object = mem_printf("%s %s", kind, quoted)};
	free(quoted);
	for (size_t i = 0; i < loader->file_count; i++) {
		const struct doc_node *item = find_in_file(loader, &loader->files[i], list, kind, name);

		if (!item)
			continue;
		entry->file = &loader->files[i];
		entry->node = doc_get(item, kind);
		if (entry->node && entry->node->kind == DOC_MAP)
			return true;
		kc_report(loader, SOURCE_ERROR, entry->file, entry->node ? entry->node : item, entry->object,
			kind, entry->node ? "must be a map" : "missing");
		return false;
	}
	return false;
}

/* The name of the context to use, in fresh memory, with the file and place that name it. */
static char *context_name(struct kc_loader *loader, const struct kubeconfig_request *request,
	const struct kc_file **file, const struct doc_node **place)
{
	if (is_set(request->context))
		return mem_strdup(request->context);
	for (size_t i = 0; i < loader->file_count; i++) {
		const struct kc_entry whole = {.file = &loader->files[i],
			.node = loader->files[i].doc ? loader->files[i].doc->root : NULL};
		char *name = kc_string(loader, &whole, whole.node, "current-context");

		if (!name)
			continue;
		*file = whole.file;
		*place = doc_get(whole.node, "current-context");
		return name;
	}
	return NULL;
}

/* Looks up what the context's field names, and has it read. */
static bool context_part(struct kc_loader *loader, const struct kc_entry *context, const char *field,
	const char *list, struct kc_entry *part)
{
	char *name = kc_string(loader, context, context->node, field), *quoted;
	size_t errors = loader->error_count;
	bool found = false;

	*part = (struct kc_entry){0};
	if (name) {
		found = find_entry(loader, list, field, name, part);
		quoted = finding_quote(name);
		if (!found && loader->error_count == errors)
			kc_error(loader, context, field, "there is no %s %s", field, quoted);
		free(quoted);
	}
	free(name);
	return found;
}

static void read_context(struct kc_loader *loader, const struct kc_entry *context, bool has_master)
{
	static const char *const known[] = {"cluster", "user", "namespace", "extensions", NULL};
	struct kc_entry cluster, user;

	kc_known_fields(loader, context, context->node, known);
	loader->out->namespace = kc_string(loader, context, context->node, "namespace");
	if (!doc_get(context->node, "cluster") && !has_master)
		kc_error(loader, context, "cluster", "missing");
	if (context_part(loader, context, "cluster", "clusters", &cluster))
		kc_cluster(loader, &cluster, has_master);
	if (context_part(loader, context, "user", "users", &user))
		kc_user(loader, &user);
	free(cluster.object);
	free(user.object);
}

static void load_context(struct kc_loader *loader, const struct kubeconfig_request *request)
{
	const struct kc_file *file = loader->file_count ? &loader->files[0] : NULL;
	const struct doc_node *place = NULL;
	bool has_master = is_set(request->master);
	char *name = context_name(loader, request, &file, &place), *quoted;
	size_t errors = loader->error_count;
	struct kc_entry context;

	if (!name) {
		if (!has_master)
			kc_report(loader, SOURCE_ERROR, file, NULL, NULL, "current-context",
				file ? "missing: no context is chosen" : "there is no kubeconfig");
		return;
	}
	if (find_entry(loader, "contexts", "context", name, &context)) {
		read_context(loader, &context, has_master);
	} else if (loader->error_count == errors) {
		quoted = finding_quote(name);
		kc_report(loader, SOURCE_ERROR, place ? file : NULL, place, NULL,
			place ? "current-context" : NULL, "there is no context %s", quoted);
		free(quoted);
	}
	free(context.object);
	loader->out->context = name;
}

/* ---- loading ---- */

static void load_kubeconfigs(struct kc_loader *loader, const struct kubeconfig_request *request)
{
	struct file_list list = {.loader = loader, .must_exist = is_set(request->kubeconfig)};
	const char *why;

	each_kubeconfig(request, load_listed, &list);
	/* What is missing in a file that can't be read is not missing. */
	if (loader->error_count > 0)
		return;
	load_context(loader, request);
	if (!is_set(request->master))
		return;
	why = kc_server(loader->out, request->master);
	if (why)
		kc_report(loader, SOURCE_ERROR, NULL, NULL, NULL, "--master", "%s", why);
}

static void loader_fini(struct kc_loader *loader)
{
	for (size_t i = 0; i < loader->file_count; i++) {
		free(loader->files[i].path);
		doc_free(loader->files[i].doc);
	}
	free(loader->files);
}

int kubeconfig_load(const struct kubeconfig_request *request, const struct kubeconfig_opener *opener,
	source_diag_fn *diag, void *context, struct kubeconfig **config)
{
	struct kc_loader loader = {.opener = opener, .diag = diag, .context = context};

	loader.out = mem_calloc(1, sizeof(*loader.out));
	if (in_cluster(request))
		load_in_cluster(&loader, request);
	else
		load_kubeconfigs(&loader, request);
	loader_fini(&loader);
	if (loader.error_count > 0) {
		kubeconfig_free(loader.out);
		*config = NULL;
		return -EINVAL;
	}
	*config = loader.out;
	return 0;
}

void kubeconfig_request_from_environment(struct kubeconfig_request *request)
{
	*request = (struct kubeconfig_request){
		.list = getenv("KUBECONFIG"),
		.service_host = getenv("KUBERNETES_SERVICE_HOST"),
		.service_port = getenv("KUBERNETES_SERVICE_PORT"),
	};
}

void kubeconfig_files(
	const struct kubeconfig *config, void (*fn)(void *context, const char *path), void *context)
{
	const char *const paths[] = {
		config->ca.path, config->certificate.path, config->key.path, config->token_file};

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (paths[i])
			fn(context, paths[i]);
	}
}

static void pairs_free(struct kubeconfig_pair *pairs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(pairs[i].name);
		free(pairs[i].value);
	}
	free(pairs);
}

static void strings_free(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

void kc_exec_free(struct kubeconfig_exec *exec)
{
	if (!exec)
		return;
	strings_free(exec->args, exec->arg_count);
	pairs_free(exec->env, exec->env_count);
	free(exec->api_version);
	free(exec->command);
	free(exec->install_hint);
	free(exec);
}

void kubeconfig_free(struct kubeconfig *config)
{
	struct kubeconfig_impersonation *as = config ? &config->as : NULL;

	if (!config)
		return;
	strings_free(as->groups, as->group_count);
	pairs_free(as->extra, as->extra_count);
	kc_exec_free(config->exec);
	char *const strings[] = {config->server, config->host, config->path, config->tls_server_name,
		config->proxy_url, config->ca.path, config->ca.bytes, config->certificate.path,
		config->certificate.bytes, config->key.path, config->key.bytes, config->token,
		config->token_file, config->username, config->password, as->user, as->uid, config->context,
		config->namespace, config->exec_cluster_config};
	for (size_t i = 0; i < sizeof(strings) / sizeof(*strings); i++)
		free(strings[i]);
	free(config);
}
