/* How to reach an API server and as whom: kubeconfig files, the service account inside a cluster, and what an
 * exec plugin prints.
 *
 * Loading is done by control, which is unprivileged: every file is opened through a kubeconfig_opener.
 * Nothing here reads the environment but kubeconfig_request_from_environment(). No message holds a secret.
 */
#ifndef PORTALD_KUBECONFIG_H
#define PORTALD_KUBECONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "portald/source.h"

#define KUBECONFIG_SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

/* The largest kubeconfig, certificate bundle, key or token that is read. */
#define KUBECONFIG_MAX_FILE_BYTES ((size_t)4 * 1024 * 1024)

/* ---- opening files ---- */

/* Opens path for reading. Returns a descriptor that the caller closes, or a negative errno. The path is as
 * the kubeconfig gives it, joined to the directory of the kubeconfig where it is relative. */
struct kubeconfig_opener {
	int (*open)(void *context, const char *path);
	void *context;
};

/* An opener's open() that opens the file in this process; only regular files. context is not used. */
int kubeconfig_open_plain(void *context, const char *path);

/* Reads a whole file into fresh memory, ended by a NUL that does not count. Returns 0 or a negative errno
 * (-EFBIG beyond KUBECONFIG_MAX_FILE_BYTES). The caller frees *bytes. */
int kubeconfig_read_file(
	const struct kubeconfig_opener *opener, const char *path, char **bytes, size_t *count);

/* ---- a configuration ---- */

/* Certificates or a key in PEM: what was read at load, and the file it came from (NULL if it stood in the
 * kubeconfig itself), which is worth reading again. bytes is NULL if there is none. */
struct kubeconfig_pem {
	char *path;
	char *bytes; /* ends in a NUL that does not count */
	size_t count;
};

struct kubeconfig_pair {
	char *name, *value;
};

/* A program that prints credentials (client.authentication.k8s.io). */
struct kubeconfig_exec {
	char *api_version; /* "client.authentication.k8s.io/v1" or ".../v1beta1" */
	char *command;     /* looked for in PATH if it has no slash */
	char **args;
	size_t arg_count;
	struct kubeconfig_pair *env; /* added to the environment */
	size_t env_count;
	bool provide_cluster_info;
	char *install_hint; /* or NULL */
};

struct kubeconfig_impersonation {
	char *user; /* NULL: as oneself */
	char *uid;
	char **groups;
	size_t group_count;
	struct kubeconfig_pair *extra; /* one for each value */
	size_t extra_count;
};

/* What a context comes to. Strings are NULL where nothing was said; none is empty. */
struct kubeconfig {
	/* The server: "https://host:6443/prefix" without a slash at the end, and its parts. host is without
	 * brackets, path is "" or begins with a slash. */
	char *server, *host, *path;
	uint16_t port;
	bool tls;
	bool insecure_skip_tls_verify;
	char *tls_server_name;    /* the name in the server's certificate, instead of host */
	char *proxy_url;          /* http, https or socks5; may hold a password */
	struct kubeconfig_pem ca; /* none: the system's */

	/* Who we are. At most one of token (token_file), username (with password) and exec. */
	struct kubeconfig_pem certificate, key;
	char *token;      /* with token_file: what it held at load */
	char *token_file; /* to be read again */
	char *username, *password;
	struct kubeconfig_exec *exec;
	char *exec_cluster_config; /* JSON of the cluster's extension for exec plugins */
	struct kubeconfig_impersonation as;

	char *context; /* its name, NULL without one */
	char *namespace;
	bool in_cluster;
};

/* Where to look. All strings may be NULL or empty and are borrowed for the call. */
struct kubeconfig_request {
	const char *kubeconfig; /* --kubeconfig: this file only, and it must exist */
	const char *list;       /* KUBECONFIG: files, ':' between; those that do not exist are passed over */
	const char *master;     /* --master: replaces the cluster's server (and its tls-server-name) */
	const char *context;    /* replaces current-context */
	const char *service_host, *service_port; /* KUBERNETES_SERVICE_HOST, _PORT */
	const char *service_account_dir;         /* NULL: KUBECONFIG_SERVICE_ACCOUNT_DIR */
};

/* Fills list, service_host and service_port, which point into the environment; clears the rest. */
void kubeconfig_request_from_environment(struct kubeconfig_request *request);

/* Loads, as client-go's clientcmd does: --kubeconfig, else KUBECONFIG, else --master alone (nobody's
 * credentials), else the service account of the Pod. Of several files the first that says something wins: the
 * first with a current-context, and of clusters, contexts and users of the same name the first file's, whole.
 * Only the context in use, its cluster and its user are looked into, and the files that they name are read.
 * Findings go to diag, each with its file and, where it has one, its place. Returns 0 with *config, which the
 * caller frees, or -EINVAL after at least one error. */
int kubeconfig_load(const struct kubeconfig_request *request, const struct kubeconfig_opener *opener,
	source_diag_fn *diag, void *context, struct kubeconfig **config);

/* NULL is fine. */
void kubeconfig_free(struct kubeconfig *config);

/* Calls fn for each kubeconfig file that a load of this request would open, or, in a cluster, for the files
 * of the service account: what whoever opens files for control must know beforehand. */
void kubeconfig_request_files(
	const struct kubeconfig_request *request, void (*fn)(void *context, const char *path), void *context);

/* Calls fn for each file that the configuration names and that is read again while it is in use. */
void kubeconfig_files(
	const struct kubeconfig *config, void (*fn)(void *context, const char *path), void *context);

/* ---- parts, for those who read the same things again ---- */

enum kubeconfig_pem_kind { KUBECONFIG_CERTIFICATES, KUBECONFIG_KEY };

/* Whether text is PEM with at least one certificate, or one private key that needs no password. Returns NULL,
 * or what is wrong, for a person. */
const char *kubeconfig_pem_check(const char *text, size_t count, enum kubeconfig_pem_kind kind);

/* Cuts white space off both ends of a token, in place. Returns NULL, or what is wrong with it. */
const char *kubeconfig_token_trim(char *token);

/* What an exec plugin printed: an ExecCredential. */
struct kubeconfig_credential {
	char *token;
	char *certificate, *key; /* PEM; both or none */
	int64_t expires_s;       /* seconds since 1970, INT64_MAX if it does not say */
};

/* Decodes it. Returns 0, or -EINVAL with *problem, for a person and without a secret, which the caller frees.
 * api_version is what the plugin was told to answer in. */
int kubeconfig_credential_decode(const char *bytes, size_t count, const char *api_version,
	struct kubeconfig_credential *credential, char **problem);
void kubeconfig_credential_fini(struct kubeconfig_credential *credential);

/* The JSON text for the plugin's KUBERNETES_EXEC_INFO, in fresh memory. */
char *kubeconfig_exec_info(const struct kubeconfig *config);

#endif
