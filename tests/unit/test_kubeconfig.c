/* Kubeconfigs: what they come to, and each mistake with its place. Files are a table: path and content. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "portald/kubeconfig.h"
#include "portald/mem.h"

/* PEM that is sound as far as it is looked at: an empty SEQUENCE with five bytes within. */
#define CERTIFICATE "-----BEGIN CERTIFICATE-----\nMAUAAAAAAA==\n-----END CERTIFICATE-----\n"
#define KEY "-----BEGIN EC PRIVATE KEY-----\nMAUAAAAAAA==\n-----END EC PRIVATE KEY-----\n"
#define CERTIFICATE_DATA                                                                                     \
	"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BVUFBQUFBQUE9PQotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS0tCg=="
#define SECRET "hunter2hunter2"

struct file {
	const char *path, *content;
};

#define MAX_FILES 6

struct disk {
	struct file files[MAX_FILES];
	char opened[1024]; /* "path;path;" */
};

static int open_on_disk(void *context, const char *path)
{
	struct disk *disk = context;
	size_t length = strlen(disk->opened);

	snprintf(disk->opened + length, sizeof(disk->opened) - length, "%s;", path);
	for (size_t i = 0; i < MAX_FILES && disk->files[i].path; i++) {
		const char *content = disk->files[i].content;
		int fd;

		if (strcmp(disk->files[i].path, path) != 0)
			continue;
		if (!content)
			return -EACCES;
		fd = memfd_create("file", MFD_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, content, strlen(content)), strlen(content));
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		return fd;
	}
	return -ENOENT;
}

/* All findings, one a line. */
struct findings {
	char text[4096];
};

static void note(void *context, const struct source_diag *diag)
{
	struct findings *findings = context;
	size_t length = strlen(findings->text);
	char *line = source_diag_format(diag);

	snprintf(findings->text + length, sizeof(findings->text) - length, "%s\n", line);
	free(line);
	/* No finding shows a secret. */
	assert_null(strstr(findings->text, "hunter2"));
}

static struct kubeconfig *load(
	struct disk *disk, const struct kubeconfig_request *request, struct findings *findings)
{
	const struct kubeconfig_opener opener = {.open = open_on_disk, .context = disk};
	struct kubeconfig *config = NULL;
	int rc;

	findings->text[0] = '\0';
	rc = kubeconfig_load(request, &opener, note, findings, &config);
	assert_int_equal(rc, config ? 0 : -EINVAL);
	/* An error is never silent, and no load fails without one. */
	assert_int_equal(!config, strstr(findings->text, "error: ") != NULL);
	return config;
}

/* A kubeconfig of one context; cluster and user are flow maps without the braces. */
static char *simple(const char *cluster, const char *user)
{
	return mem_printf("apiVersion: v1\nkind: Config\ncurrent-context: x\n"
			  "contexts:\n- {name: x, context: {cluster: c, user: u, namespace: ns}}\n"
			  "clusters:\n- name: c\n  cluster: {%s}\n"
			  "users:\n- name: u\n  user: {%s}\n",
		cluster, user);
}

#define SERVER "server: \"https://h:6443\""

static struct kubeconfig *load_simple(
	struct disk *disk, const char *cluster, const char *user, struct findings *findings)
{
	const struct kubeconfig_request request = {.kubeconfig = "/k/config"};
	char *text = simple(cluster, user);
	struct kubeconfig *config;

	disk->files[0] = (struct file){"/k/config", text};
	config = load(disk, &request, findings);
	disk->files[0] = (struct file){NULL, NULL};
	free(text);
	return config;
}

/* ---- what it comes to ---- */

static void a_context_gives_its_cluster_and_user(void **state)
{
	struct disk disk = {.files[1] = {"/k/pki/ca.crt", CERTIFICATE}, .files[2] = {"/abs/key", KEY}};
	struct findings findings;
	struct kubeconfig *config = load_simple(&disk,
		"server: \"https://[2001:db8::1]:6443/base/\", certificate-authority: pki/ca.crt, "
		"tls-server-name: kubernetes, proxy-url: \"http://p:3128\"",
		"client-certificate-data: " CERTIFICATE_DATA ", client-key: /abs/key", &findings);

	(void)state;
	assert_string_equal(findings.text, "");
	assert_string_equal(config->server, "https://[2001:db8::1]:6443/base");
	assert_string_equal(config->host, "2001:db8::1");
	assert_string_equal(config->path, "/base");
	assert_int_equal(config->port, 6443);
	assert_true(config->tls);
	assert_string_equal(config->tls_server_name, "kubernetes");
	assert_string_equal(config->proxy_url, "http://p:3128");
	assert_string_equal(config->ca.path, "/k/pki/ca.crt");
	assert_string_equal(config->ca.bytes, CERTIFICATE);
	assert_null(config->certificate.path);
	assert_string_equal(config->certificate.bytes, CERTIFICATE);
	assert_string_equal(config->key.bytes, KEY);
	assert_string_equal(config->context, "x");
	assert_string_equal(config->namespace, "ns");
	assert_string_equal(disk.opened, "/k/config;/k/pki/ca.crt;/abs/key;");
	kubeconfig_free(config);
}

static void a_server_without_scheme_has_tls_if_anything_says_so(void **state)
{
	struct disk disk = {.files[0] = {NULL, NULL}};
	struct findings findings;
	struct kubeconfig *config = load_simple(&disk, "server: \"h:8080\"", "", &findings);

	(void)state;
	assert_string_equal(config->server, "http://h:8080");
	kubeconfig_free(config);
	config = load_simple(&disk, "server: h, insecure-skip-tls-verify: true", "", &findings);
	assert_string_equal(config->server, "https://h:443");
	assert_true(config->insecure_skip_tls_verify);
	kubeconfig_free(config);
}

static void a_token_file_wins_over_the_token(void **state)
{
	struct disk disk = {.files[1] = {"/k/t", " from-file\n"}};
	struct findings findings;
	struct kubeconfig *config = load_simple(&disk, SERVER, "token: " SECRET ", tokenFile: t", &findings);

	(void)state;
	assert_string_equal(config->token, "from-file");
	assert_string_equal(config->token_file, "/k/t");
	kubeconfig_free(config);
}

static void impersonation_and_basic_authentication(void **state)
{
	struct disk disk = {.files[0] = {NULL, NULL}};
	struct findings findings;
	struct kubeconfig *config = load_simple(&disk, SERVER,
		"username: a, password: " SECRET ", as: b, as-uid: \"7\", as-groups: [g, h], "
		"as-user-extra: {s: [one, two], t: [three]}",
		&findings);

	(void)state;
	assert_string_equal(config->username, "a");
	assert_string_equal(config->password, SECRET);
	assert_string_equal(config->as.user, "b");
	assert_string_equal(config->as.uid, "7");
	assert_int_equal(config->as.group_count, 2);
	assert_string_equal(config->as.groups[1], "h");
	assert_int_equal(config->as.extra_count, 3);
	assert_string_equal(config->as.extra[1].name, "s");
	assert_string_equal(config->as.extra[1].value, "two");
	kubeconfig_free(config);
}

static void an_exec_plugin_is_told_about_the_cluster(void **state)
{
	struct disk disk = {.files[0] = {NULL, NULL}};
	struct findings findings;
	struct kubeconfig *config = load_simple(&disk,
		SERVER
		", certificate-authority-data: " CERTIFICATE_DATA
		", extensions: [{name: client.authentication.k8s.io/exec, extension: {a: [1, \"2\", null]}}]",
		"exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: bin/plugin, args: [a, b], "
		"env: [{name: NAME, value: v}], provideClusterInfo: true}",
		&findings);
	char *info;

	(void)state;
	assert_string_equal(config->exec->command, "/k/bin/plugin");
	assert_int_equal(config->exec->arg_count, 2);
	assert_string_equal(config->exec->env[0].value, "v");
	info = kubeconfig_exec_info(config);
	assert_string_equal(info, "{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s."
				  "io/v1beta1\",\"spec\":{"
				  "\"cluster\":{\"server\":\"https://"
				  "h:6443\",\"certificate-authority-data\":\"" CERTIFICATE_DATA
				  "\",\"config\":{\"a\":[1,\"2\",null]}},\"interactive\":false}}");
	free(info);
	kubeconfig_free(config);
}

static void of_several_files_the_first_wins(void **state)
{
	struct disk disk = {
		.files = {{"/a/one", "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
				     "users: [{name: u, user: {tokenFile: t}}]\n"},
			{"/b/two", "current-context: x\n"
				   "contexts: [{name: x, context: {cluster: other, user: other}}]\n"
				   "clusters: [{name: c, cluster: {server: \"http://two\"}}]\n"
				   "users: [{name: u, user: {username: whole, password: no}}]\n"},
			{"/a/t", "token"}}};
	const struct kubeconfig_request request = {.list = "/a/one::/not/there:/b/two:/a/one"};
	struct findings findings;
	struct kubeconfig *config = load(&disk, &request, &findings);

	(void)state;
	assert_string_equal(findings.text, "");
	assert_string_equal(config->server, "http://two:80");
	assert_string_equal(config->token_file, "/a/t");
	assert_null(config->username);
	kubeconfig_free(config);
}

static void master_replaces_the_server_and_its_name(void **state)
{
	char *text = simple(SERVER ", tls-server-name: kubernetes", "token: t");
	struct disk disk = {.files[0] = {"config", text}};
	struct kubeconfig_request request = {.kubeconfig = "config", .master = "https://m"};
	struct findings findings;
	struct kubeconfig *config = load(&disk, &request, &findings);

	(void)state;
	assert_string_equal(config->server, "https://m:443");
	assert_null(config->tls_server_name);
	assert_string_equal(config->token, "t");
	kubeconfig_free(config);
	request.kubeconfig = NULL;
	config = load(&disk, &request, &findings);
	assert_string_equal(config->server, "https://m:443");
	assert_null(config->token);
	kubeconfig_free(config);
	free(text);
}

static void in_a_cluster_the_service_account_is_used(void **state)
{
	struct disk disk = {.files = {{"/sa/token", "t\n"}, {"/sa/ca.crt", CERTIFICATE},
				    {"/sa/namespace", "kube-system"}}};
	const struct kubeconfig_request request = {
		.service_host = "fd00::1", .service_port = "443", .service_account_dir = "/sa"};
	struct findings findings;
	struct kubeconfig *config = load(&disk, &request, &findings);

	(void)state;
	assert_true(config->in_cluster);
	assert_string_equal(config->server, "https://[fd00::1]:443");
	assert_string_equal(config->token, "t");
	assert_string_equal(config->token_file, "/sa/token");
	assert_string_equal(config->ca.path, "/sa/ca.crt");
	assert_string_equal(config->namespace, "kube-system");
	kubeconfig_free(config);
}

static void append(void *context, const char *path)
{
	struct findings *files = context;
	size_t length = strlen(files->text);

	snprintf(files->text + length, sizeof(files->text) - length, "%s;", path);
}

static void the_files_to_be_opened_are_known_beforehand(void **state)
{
	struct disk disk = {.files[1] = {"/k/ca", CERTIFICATE}, .files[2] = {"/k/t", "token"}};
	struct kubeconfig_request request = {.list = "a:/b"};
	struct findings findings, files = {.text = ""};
	struct kubeconfig *config =
		load_simple(&disk, SERVER ", certificate-authority: ca", "tokenFile: t", &findings);

	(void)state;
	kubeconfig_files(config, append, &files);
	assert_string_equal(files.text, "/k/ca;/k/t;");
	kubeconfig_free(config);
	files.text[0] = '\0';
	kubeconfig_request_files(&request, append, &files);
	request.kubeconfig = "only";
	kubeconfig_request_files(&request, append, &files);
	request = (struct kubeconfig_request){.service_account_dir = "/sa"};
	kubeconfig_request_files(&request, append, &files);
	assert_string_equal(files.text, "a;/b;only;/sa/token;/sa/ca.crt;/sa/namespace;");
}

/* ---- mistakes ---- */

struct mistake {
	const char *cluster, *user, *finding;
};

/* The cluster stands in line 8, the user in line 11; both maps begin in column 12 and 9. */
static const struct mistake mistakes[] = {
	{"", "", "/k/config:8:12: error: cluster \"c\": server: missing\n"},
	{"server: 1", "",
		"/k/config:8:21: error: cluster \"c\": server: must be a string: put it in quotes\n"},
	{"server: [a]", "", ":8:21: error: cluster \"c\": server: must be a string\n"},
	{"server: \"ftp://h\"", "",
		":8:21: error: cluster \"c\": server: the scheme must be https or http\n"},
	{"server: \"https://\"", "", "server: not a URL with a host\n"},
	{"server: \"https://h:0\"", "", "server: the port must be 1 to 65535\n"},
	{"server: \"https://h:65536\"", "", "server: the port must be 1 to 65535\n"},
	{"server: \"https://h:\"", "", "server: the port must be 1 to 65535\n"},
	{"server: \"https://[::1\"", "", "server: ] is missing\n"},
	{"server: \"https://a:hunter2@h\"", "", "server: a URL may not hold a user\n"},
	{"server: \"https://h/?a\"", "", "server: a server's URL ends with its path\n"},
	{"server: \"https://h\\n\"", "", "server: not a URL\n"},
	{SERVER ", proxy-url: \"ftp://p\"", "", "proxy-url: the scheme must be http, https or socks5\n"},
	{SERVER ", proxy-url: \"http://\"", "", "proxy-url: not a URL with a host\n"},
	{SERVER ", tls-server-name: \"a/b\"", "", "tls-server-name: not a host's name\n"},
	{SERVER ", insecure-skip-tls-verify: 1", "", "insecure-skip-tls-verify: must be true or false\n"},
	{SERVER ", insecure-skip-tls-verify: true, certificate-authority: cert", "",
		"insecure-skip-tls-verify: certificate-authority is given too; only one may be\n"},
	{SERVER ", certificate-authority: cert, certificate-authority-data: x", "",
		"certificate-authority-data: certificate-authority is given too; only one may be\n"},
	{SERVER ", certificate-authority: none", "",
		"certificate-authority: cannot read /k/none: No such file or directory\n"},
	{SERVER ", certificate-authority: shut", "",
		"certificate-authority: cannot read /k/shut: Permission denied\n"},
	{SERVER ", certificate-authority: text", "", "certificate-authority: /k/text: not PEM\n"},
	{SERVER ", certificate-authority: key", "", "certificate-authority: /k/key: holds no certificate\n"},
	{SERVER ", certificate-authority: half", "", "/k/half: a PEM block has no end\n"},
	{SERVER ", certificate-authority-data: \"!\"", "", "certificate-authority-data: not base64\n"},
	{SERVER ", certificate-authority-data: abc", "", "certificate-authority-data: not base64\n"},
	{SERVER ", certificate-authority-data: aHVudGVyMg==", "", "certificate-authority-data: not PEM\n"},
	{SERVER ", server: again", "", ":8:39: error: cluster \"c\": server: stands twice\n"},
	{SERVER, "token: a, username: b, password: hunter2",
		":11:30: error: user \"u\": username: token is given too: more than one way to "
		"authenticate\n"},
	{SERVER, "tokenFile: token, exec: {}",
		"exec: tokenFile is given too: more than one way to authenticate\n"},
	{SERVER, "password: hunter2", "username: missing: password is given\n"},
	{SERVER, "username: \"a:b\"", "username: may not hold ':' or control characters\n"},
	{SERVER, "username: a, password: \"hunter2\\n\"", "password: holds control characters\n"},
	{SERVER, "token: \"hunter2\\nX: y\"", "token: holds control characters\n"},
	{SERVER, "token: 123", "token: must be a string: put it in quotes\n"},
	{SERVER, "tokenFile: none", "tokenFile: cannot read /k/none: No such file or directory\n"},
	{SERVER, "tokenFile: blank", "tokenFile: /k/blank: holds no token\n"},
	{SERVER, "client-certificate: cert", "client-key: missing: client-certificate is given\n"},
	{SERVER, "client-key: key", "client-certificate: missing: client-key is given\n"},
	{SERVER, "client-certificate: cert, client-key: cert", "client-key: /k/cert: holds no private key\n"},
	{SERVER, "client-certificate: cert, client-key: locked",
		"client-key: /k/locked: the private key needs a password, which nobody is there to give\n"},
	{SERVER, "auth-provider: {name: gcp}",
		"auth-provider: not supported, and gone from Kubernetes: use exec\n"},
	{SERVER, "as-uid: \"1\"",
		"as: missing: as-uid, as-groups and as-user-extra say more about whom to act as\n"},
	{SERVER, "as: a, as-groups: b", "as-groups: must be a sequence of strings\n"},
	{SERVER, "as: a, as-groups: [1]", "as-groups: must be a sequence of strings\n"},
	{SERVER, "as: a, as-user-extra: []", "as-user-extra: must be a map of sequences of strings\n"},
	{SERVER, "as: \"a\\rb\"", "as: holds control characters\n"},
	{SERVER, "exec: []", "exec: must be a map\n"},
	{SERVER, "exec: {apiVersion: client.authentication.k8s.io/v1beta1}", "exec: command is missing\n"},
	{SERVER, "exec: {command: x}", "exec: apiVersion is missing\n"},
	{SERVER, "exec: {command: x, apiVersion: client.authentication.k8s.io/v1alpha1}",
		"exec: apiVersion must be client.authentication.k8s.io/v1 or v1beta1\n"},
	{SERVER, "exec: {command: x, apiVersion: client.authentication.k8s.io/v1}",
		"exec: interactiveMode is missing, which client.authentication.k8s.io/v1 requires\n"},
	{SERVER, "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always}",
		"exec: interactiveMode is Always, but a daemon has no terminal\n"},
	{SERVER, "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Maybe}",
		"exec: interactiveMode must be Never or IfAvailable\n"},
	{SERVER, "exec: {command: x, apiVersion: client.authentication.k8s.io/v1beta1, env: [{value: v}]}",
		"exec: env has no usable name\n"},
};

static void each_mistake_has_its_own_error(void **state)
{
	const struct disk files = {.files = {{NULL, NULL}, {"/k/cert", CERTIFICATE}, {"/k/key", KEY},
					   {"/k/shut", NULL}, {"/k/text", "hunter2"}}};

	(void)state;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(*mistakes); i++) {
		const struct mistake *mistake = &mistakes[i];
		struct disk disk = files;
		struct findings findings;

		if (strstr(mistake->finding, "/k/half"))
			disk.files[5] = (struct file){"/k/half", "-----BEGIN CERTIFICATE-----\nMAUA"};
		if (strstr(mistake->finding, "/k/blank"))
			disk.files[5] = (struct file){"/k/blank", " \n"};
		if (strstr(mistake->finding, "/k/locked"))
			disk.files[5] = (struct file){"/k/locked",
				"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAUAAAAAAA==\n"
				"-----END ENCRYPTED PRIVATE KEY-----\n"};
		disk.files[0].path = "";
		assert_null(load_simple(&disk, mistake->cluster, mistake->user, &findings));
		if (!strstr(findings.text, mistake->finding))
			fail_msg("mistake %zu: expected %sfound %s", i, mistake->finding, findings.text);
	}
}

/* Mistakes of a whole file. */
struct broken {
	const char *text, *context, *finding;
};

static const struct broken broken[] = {
	{NULL, NULL, "/k/config: error: cannot read the kubeconfig: Permission denied\n"},
	{"a: [", NULL, "/k/config:2:1: error: "},
	{"[]", NULL, "/k/config:1:1: error: not a kubeconfig: not a map\n"},
	{"apiVersion: v2\n", NULL, "/k/config:1:13: error: apiVersion: must be v1\n"},
	{"kind: Pod\n", NULL, "/k/config:1:7: error: kind: must be Config\n"},
	{"a: b\n---\nc: d\n", NULL, ":3:1: error: a kubeconfig is one document; here begins another\n"},
	{"kind: Config\n", NULL, "/k/config: error: current-context: missing: no context is chosen\n"},
	{"current-context: x\n", NULL, "/k/config:1:18: error: current-context: there is no context \"x\"\n"},
	{"current-context: x\n", "y", "kubeconfig: error: there is no context \"y\"\n"},
	{"current-context: x\ncontexts: {}\n", NULL, ":2:11: error: contexts: must be a sequence\n"},
	{"current-context: x\ncontexts: [{name: x}]\n", NULL,
		":2:12: error: context \"x\": context: missing\n"},
	{"current-context: x\ncontexts: [{name: x, context: 1}]\n", NULL, "context: must be a map\n"},
	{"current-context: x\ncontexts: [{name: x, context: {user: u}}]\n", NULL,
		"context \"x\": cluster: missing\n"},
	{"current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\n", NULL,
		":2:41: error: context \"x\": cluster: there is no cluster \"c\"\n"},
	{"current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n", NULL,
		":2:50: error: context \"x\": user: there is no user \"u\"\n"},
	{"current-context: x\ncontexts: [{name: x, context: {}}, {name: x, context: {}}]\n", NULL,
		":2:43: error: contexts: a context of this name stands above\n"},
};

static void each_broken_file_has_its_own_error(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
		struct disk disk = {.files[0] = {"/k/config", broken[i].text}};
		const struct kubeconfig_request request = {
			.kubeconfig = "/k/config", .context = broken[i].context};
		struct findings findings;

		assert_null(load(&disk, &request, &findings));
		if (!strstr(findings.text, broken[i].finding))
			fail_msg("file %zu: expected %sfound %s", i, broken[i].finding, findings.text);
	}
}

static void nothing_to_load_says_what_to_give(void **state)
{
	struct disk disk = {.files[0] = {NULL, NULL}};
	struct kubeconfig_request request = {.kubeconfig = "/k/none"};
	struct findings findings;

	(void)state;
	assert_null(load(&disk, &request, &findings));
	assert_string_equal(
		findings.text, "/k/none: error: cannot read the kubeconfig: No such file or directory\n");
	request = (struct kubeconfig_request){.list = "/k/none"};
	assert_null(load(&disk, &request, &findings));
	assert_string_equal(findings.text, "kubeconfig: error: current-context: there is no kubeconfig\n");
	request = (struct kubeconfig_request){.list = ""};
	assert_null(load(&disk, &request, &findings));
	assert_non_null(strstr(findings.text, "give --kubeconfig or --master"));
	request = (struct kubeconfig_request){.master = "gopher://h"};
	assert_null(load(&disk, &request, &findings));
	assert_string_equal(findings.text, "kubeconfig: error: --master: the scheme must be https or http\n");
	request = (struct kubeconfig_request){.service_host = "h", .service_port = "1"};
	assert_null(load(&disk, &request, &findings));
	assert_non_null(strstr(findings.text,
		KUBECONFIG_SERVICE_ACCOUNT_DIR "/token: error: service account: cannot read "));
	assert_non_null(strstr(findings.text, "/ca.crt: No such file or directory\n"));
}

static void an_unknown_field_is_a_warning_without_its_name(void **state)
{
	struct disk disk = {.files[0] = {NULL, NULL}};
	struct findings findings;
	struct kubeconfig *config = load_simple(&disk, SERVER, "token: t, " SECRET ": x", &findings);

	(void)state;
	assert_string_equal(findings.text, "/k/config:11:20: warning: user \"u\": unknown field\n");
	kubeconfig_free(config);
}

/* ---- what a plugin prints ---- */

#define HEAD "{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\","

struct output {
	const char *text, *token, *problem;
	int64_t expires_s;
};

static const struct output outputs[] = {
	{HEAD "\"status\":{\"token\":\"t\"}}", "t", NULL, INT64_MAX},
	{HEAD "\"status\":{\"token\":\"t\",\"expirationTimestamp\":\"1970-01-02T00:00:01Z\"}}", "t", NULL,
		86401},
	{HEAD "\"status\":{\"token\":\"t\",\"expirationTimestamp\":\"1970-01-02T01:30:00.5+01:30\"}}", "t",
		NULL, 86400},
	{HEAD "\"status\":{\"token\":\"t\",\"expirationTimestamp\":\"1970-01-01T23:00:00-01:00\"}}", "t",
		NULL, 86400},
	{HEAD "\"status\":{\"token\":\"hunter2\",\"expirationTimestamp\":\"soon\"}}", NULL,
		"its expirationTimestamp is not a time", 0},
	{"", NULL, "it printed nothing", 0},
	{"hunter2", NULL, "its output is not JSON (line 1, column 1)", 0},
	{"{\"kind\":\"Pod\"}", NULL, "its output is no ExecCredential", 0},
	{"{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\"}", NULL,
		"its output has another apiVersion than it was asked for", 0},
	{HEAD "\"status\":null}", NULL, "its output has no status", 0},
	{HEAD "\"status\":{}}", NULL, "it gave neither a token nor a certificate and its key", 0},
	{HEAD "\"status\":{\"clientKeyData\":\"hunter2\"}}", NULL, "it gave a key without its certificate",
		0},
	{HEAD "\"status\":{\"clientCertificateData\":\"hunter2\"}}", NULL,
		"it gave a certificate without its key", 0},
	{HEAD "\"status\":{\"clientCertificateData\":\"hunter2\",\"clientKeyData\":\"hunter2\"}}", NULL,
		"its clientCertificateData is not a certificate in PEM", 0},
	{HEAD "\"status\":{\"token\":\"hunter2\\nX: y\"}}", NULL, "its token holds control characters", 0},
};

static void a_plugins_output_is_decoded_or_its_mistake_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(outputs) / sizeof(*outputs); i++) {
		const struct output *output = &outputs[i];
		struct kubeconfig_credential credential;
		char *problem = NULL;
		int rc = kubeconfig_credential_decode(output->text, strlen(output->text),
			"client.authentication.k8s.io/v1", &credential, &problem);

		assert_int_equal(rc, output->problem ? -EINVAL : 0);
		if (output->problem) {
			assert_string_equal(problem, output->problem);
		} else {
			assert_string_equal(credential.token, output->token);
			assert_int_equal(credential.expires_s, output->expires_s);
			kubeconfig_credential_fini(&credential);
		}
		free(problem);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_context_gives_its_cluster_and_user),
		cmocka_unit_test(a_server_without_scheme_has_tls_if_anything_says_so),
		cmocka_unit_test(a_token_file_wins_over_the_token),
		cmocka_unit_test(impersonation_and_basic_authentication),
		cmocka_unit_test(an_exec_plugin_is_told_about_the_cluster),
		cmocka_unit_test(of_several_files_the_first_wins),
		cmocka_unit_test(master_replaces_the_server_and_its_name),
		cmocka_unit_test(in_a_cluster_the_service_account_is_used),
		cmocka_unit_test(the_files_to_be_opened_are_known_beforehand),
		cmocka_unit_test(each_mistake_has_its_own_error),
		cmocka_unit_test(each_broken_file_has_its_own_error),
		cmocka_unit_test(nothing_to_load_says_what_to_give),
		cmocka_unit_test(an_unknown_field_is_a_warning_without_its_name),
		cmocka_unit_test(a_plugins_output_is_decoded_or_its_mistake_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
