/* Owns typed access to a kubeconfig's fields, and to the files that they name, with the errors of both. Runs
 * in control, in tools and in a fuzzer. No message repeats a value: most are secret or stand beside one. */
#include "source/kubeconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "portald/files.h"
#include "portald/mem.h"

/* ---- fields ---- */

/* A place below the entry's node has no path of its own in messages: the field's name is enough. */
static void field_error(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *value,
	const char *field, const char *message)
{
	kc_report(loader, SOURCE_ERROR, entry->file, value, entry->object, field, "%s", message);
}

char *kc_string(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *field)
{
	const struct doc_node *value = doc_get(node, field);

	if (!value)
		return NULL;
	if (value->kind != DOC_STRING) {
		field_error(loader, entry, value, field,
			value->kind == DOC_MAP || value->kind == DOC_SEQUENCE
				? "must be a string"
				: "must be a string: put it in quotes");
		return NULL;
	}
	return *value->text ? mem_strdup(value->text) : NULL;
}

bool kc_bool(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *field)
{
	const struct doc_node *value = doc_get(node, field);

	if (value && value->kind != DOC_BOOL)
		field_error(loader, entry, value, field, "must be true or false");
	return value && value->kind == DOC_BOOL && value->number != 0;
}

size_t kc_strings(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *field, char ***list)
{
	const struct doc_node *value = doc_get(node, field);

	*list = NULL;
	if (!value)
		return 0;
	if (value->kind != DOC_SEQUENCE) {
		field_error(loader, entry, value, field, "must be a sequence of strings");
		return 0;
	}
	*list = mem_calloc(value->count, sizeof(char *));
	for (size_t i = 0; i < value->count; i++) {
		if (value->items[i]->kind != DOC_STRING)
			field_error(loader, entry, value->items[i], field, "must be a sequence of strings");
		(*list)[i] = mem_strdup(value->items[i]->text ? value->items[i]->text : "");
		if (value->items[i]->kind != DOC_STRING)
			(*list)[i][0] = '\0';
	}
	return value->count;
}

static bool is_one_of(const char *key, const char *const *known)
{
	for (; *known; known++) {
		if (strcmp(key, *known) == 0)
			return true;
	}
	return false;
}

void kc_known_fields(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *const *known)
{
	for (size_t i = 0; i < node->count; i++) {
		const struct doc_pair *pair = &node->pairs[i];
		const struct doc_node place = {.line = pair->line, .column = pair->column};

		/* An unknown name is not shown: where the indentation is wrong it may be a value. */
		if (!is_one_of(pair->key, known))
			kc_report(loader, SOURCE_WARNING, entry->file, &place, entry->object, NULL,
				"unknown field");
		else if (pair->duplicate)
			kc_report(loader, SOURCE_ERROR, entry->file, &place, entry->object, pair->key,
				"stands twice");
	}
}

bool kc_has_controls(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	}
	return false;
}

/* ---- files ---- */

int kubeconfig_open_plain(void *context, const char *path)
{
	struct stat status;
	/* Without O_NONBLOCK a FIFO would hold up the caller before it can be refused. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int error = fd < 0 ? -errno : 0;

	(void)context;
	if (fd >= 0 && fstat(fd, &status) < 0)
		error = -errno;
	else if (fd >= 0 && !S_ISREG(status.st_mode))
		error = -ENOTSUP;
	if (fd >= 0 && error < 0)
		close(fd);
	return error < 0 ? error : fd;
}

int kubeconfig_read_file(
	const struct kubeconfig_opener *opener, const char *path, char **bytes, size_t *count)
{
	int fd = opener->open(opener->context, path), rc;

	*bytes = NULL;
	*count = 0;
	if (fd < 0)
		return fd;
	rc = files_read(fd, bytes, count);
	close(fd);
	if (rc == 0 && *count > KUBECONFIG_MAX_FILE_BYTES) {
		free(*bytes);
		*bytes = NULL;
		rc = -EFBIG;
	}
	return rc;
}

char *kc_resolve_path_take(const struct kc_file *file, char *path)
{
	const char *slash = strrchr(file->path, '/');
	char *joined;

	if (path[0] == '/' || !slash)
		return path;
	joined = mem_printf("%.*s/%s", (int)(slash - file->path), file->path,
		path + (strncmp(path, "./", 2) == 0 ? 2 : 0));
	free(path);
	return joined;
}

int kc_pem_file_take(const struct kubeconfig_opener *opener, char *path, enum kubeconfig_pem_kind kind,
	struct kubeconfig_pem *out, char **problem)
{
	const char *why;
	int rc;

	out->path = path;
	rc = kubeconfig_read_file(opener, path, &out->bytes, &out->count);
	if (rc < 0) {
		*problem = mem_printf("cannot read %s: %s", path, files_error_text(rc));
		return -EINVAL;
	}
	why = kubeconfig_pem_check(out->bytes, out->count, kind);
	if (!why)
		return 0;
	*problem = mem_printf("%s: %s", path, why);
	return -EINVAL;
}

int kc_token_file(const struct kubeconfig_opener *opener, struct kubeconfig *config, char **problem)
{
	const char *why;
	size_t count;
	int rc;

	free(config->token);
	rc = kubeconfig_read_file(opener, config->token_file, &config->token, &count);
	if (rc < 0) {
		*problem = mem_printf("cannot read %s: %s", config->token_file, files_error_text(rc));
		return -EINVAL;
	}
	why = strlen(config->token) != count ? "holds a NUL" : kubeconfig_token_trim(config->token);
	if (!why && *config->token)
		return 0;
	*problem = mem_printf("%s: %s", config->token_file, why ? why : "holds no token");
	return -EINVAL;
}

/* ---- PEM ---- */

static void pem_data_take(struct kc_loader *loader, const struct kc_entry *entry, const char *field,
	char *data, enum kubeconfig_pem_kind kind, struct kubeconfig_pem *out)
{
	const char *why;

	out->bytes = kc_base64_decode(data, strlen(data), &out->count);
	free(data);
	why = out->bytes ? kubeconfig_pem_check(out->bytes, out->count, kind) : "not base64";
	if (why)
		kc_error(loader, entry, field, "%s", why);
}

void kc_pem(struct kc_loader *loader, const struct kc_entry *entry, const char *field,
	enum kubeconfig_pem_kind kind, struct kubeconfig_pem *out)
{
	char *data_field = mem_printf("%s-data", field);
	char *path = kc_string(loader, entry, entry->node, field);
	char *data = kc_string(loader, entry, entry->node, data_field);
	char *problem = NULL;

	if (path && data) {
		kc_error(loader, entry, data_field, "%s is given too; only one may be", field);
		free(path);
		free(data);
	} else if (path) {
		path = kc_resolve_path_take(entry->file, path);
		if (kc_pem_file_take(loader->opener, path, kind, out, &problem) < 0)
			kc_error(loader, entry, field, "%s", problem);
		free(problem);
	} else if (data) {
		pem_data_take(loader, entry, data_field, data, kind, out);
	}
	free(data_field);
}
