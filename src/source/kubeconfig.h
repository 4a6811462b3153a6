/* The reading of kubeconfigs, between the files of it. */
#ifndef SOURCE_KUBECONFIG_H
#define SOURCE_KUBECONFIG_H

#include "portald/kubeconfig.h"
#include "source/doc.h"

struct kc_file {
	char *path;
	struct doc *doc; /* NULL if it is not YAML */
};

struct kc_loader {
	const struct kubeconfig_opener *opener;
	source_diag_fn *diag;
	void *context;
	size_t error_count;
	struct kc_file *files; /* in order of precedence */
	size_t file_count, file_capacity;
	struct kubeconfig *out;
};

/* A named cluster, context or user. */
struct kc_entry {
	const struct kc_file *file;
	char *object;                /* "user "admin"" */
	const struct doc_node *node; /* the map below "user" */
};

/* node gives the place, and may be NULL; so may entry's object and field. */
void kc_report(struct kc_loader *loader, enum source_severity severity, const struct kc_file *file,
	const struct doc_node *node, const char *object, const char *field, const char *format, ...)
	__attribute__((format(printf, 7, 8)));

/* An error about a field of the entry: its place is the field's if it is there, else the entry's. */
void kc_error(struct kc_loader *loader, const struct kc_entry *entry, const char *field, const char *format,
	...) __attribute__((format(printf, 4, 5)));

/* ---- kubeconfig_fields.c: typed access, with errors ---- */

/* The value of a string field in fresh memory, NULL if absent or empty. node is the entry's or one below. */
char *kc_string(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *field);
bool kc_bool(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *field);
/* A sequence of strings; returns the count. */
size_t kc_strings(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *field, char ***list);
/* Warns of fields that are not in known, which ends in NULL, and reports those that appear twice. */
void kc_known_fields(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node,
	const char *const *known);

/* path in fresh memory, relative to the file's directory unless absolute. Takes path. */
char *kc_resolve_path_take(const struct kc_file *file, char *path);

/* field (a path) or field-data (base64 of PEM) into out, read and checked. */
void kc_pem(struct kc_loader *loader, const struct kc_entry *entry, const char *field,
	enum kubeconfig_pem_kind kind, struct kubeconfig_pem *out);

/* The file as PEM into out. Returns 0, or -EINVAL with *problem in fresh memory. Takes path. */
int kc_pem_file_take(const struct kubeconfig_opener *opener, char *path, enum kubeconfig_pem_kind kind,
	struct kubeconfig_pem *out, char **problem);

/* Reads token_file into token. Returns 0, or -EINVAL with *problem in fresh memory. */
int kc_token_file(const struct kubeconfig_opener *opener, struct kubeconfig *config, char **problem);

/* True if text has a byte that no header and no log line should have. */
bool kc_has_controls(const char *text);

/* ---- the parts ---- */

/* kubeconfig_cluster.c */
void kc_cluster(struct kc_loader *loader, const struct kc_entry *entry, bool has_master);
/* Takes a server's URL apart into the configuration. Returns NULL, or what is wrong with it. */
const char *kc_server(struct kubeconfig *config, const char *url);

/* kubeconfig_user.c */
void kc_user(struct kc_loader *loader, const struct kc_entry *entry);

/* kubeconfig_exec.c */
void kc_exec(struct kc_loader *loader, const struct kc_entry *entry, const struct doc_node *node);
/* The cluster's extension for exec plugins as JSON in fresh memory, or NULL. */
char *kc_exec_extension(const struct doc_node *cluster);
void kc_exec_free(struct kubeconfig_exec *exec);

/* kubeconfig_pem.c: base64 with padding, white space ignored. Returns fresh memory, NULL if it is none. */
char *kc_base64_decode(const char *text, size_t length, size_t *count);
char *kc_base64_encode(const char *bytes, size_t count);

#endif
