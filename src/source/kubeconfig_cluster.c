/* Owns a kubeconfig's cluster: where the server is and how it is known. Runs in control, in tools and in a
 * fuzzer. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "portald/mem.h"
#include "source/kubeconfig.h"

#define MAX_URL_BYTES 2048

/* ---- the server's URL ---- */

/* The port behind host's end: "" or ":N". Returns false if it is neither. */
static bool parse_port(const char *text, size_t length, uint16_t fallback, uint16_t *port)
{
	char *end = NULL;
	unsigned long number;

	*port = fallback;
	if (length == 0)
		return true;
	if (text[0] != ':' || length < 2 || length > 6 || text[1] < '0' || text[1] > '9')
		return false;
	number = strtoul(text + 1, &end, 10);
	*port = (uint16_t)number;
	return end == text + length && number > 0 && number <= UINT16_MAX;
}

static bool is_host(const char *host)
{
	return *host && strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%") ==
				strlen(host);
}

/* authority is "host", "host:port" or "[address]:port". */
static const char *parse_authority(struct kubeconfig *config, const char *authority, size_t length)
{
	bool bracket = authority[0] == '[';
	const char *end = bracket ? memchr(authority, ']', length) : memchr(authority, ':', length);
	size_t host_length = end ? (size_t)(end - authority) : length, after;

	if (memchr(authority, '@', length))
		return "a URL may not hold a user";
	if (bracket && !end)
		return "] is missing";
	after = host_length + bracket;
	config->host = mem_printf("%.*s", (int)(host_length - bracket), authority + bracket);
	if (!is_host(config->host) || (!bracket && strchr(config->host, ':')))
		return "not a URL with a host";
	if (!parse_port(authority + after, length - after, config->tls ? 443 : 80, &config->port))
		return "the port must be 1 to 65535";
	return NULL;
}

static const char *parse_url(struct kubeconfig *config, const char *url)
{
	const char *authority = strstr(url, "://"), *why;
	size_t length;

	/* Without a scheme, https wherever there is anything to make TLS from: as client-go. */
	config->tls =
		authority ? strncasecmp(url, "https:", 6) == 0
			  : config->ca.bytes || config->certificate.bytes || config->insecure_skip_tls_verify;
	if (authority && !config->tls && strncasecmp(url, "http:", 5) != 0)
		return "the scheme must be https or http";
	authority = authority ? authority + 3 : url;
	length = strcspn(authority, "/?#");
	if (authority[length] == '?' || authority[length] == '#' || strpbrk(authority, "?# "))
		return "a server's URL ends with its path";
	why = parse_authority(config, authority, length);
	if (why)
		return why;
	config->path = mem_strdup(authority + length);
	for (size_t end = strlen(config->path); end > 0 && config->path[end - 1] == '/'; end--)
		config->path[end - 1] = '\0';
	return NULL;
}

const char *kc_server(struct kubeconfig *config, const char *url)
{
	const char *why;
	bool bracket;

	free(config->server);
	free(config->host);
	free(config->path);
	config->server = config->host = config->path = NULL;
	if (strlen(url) > MAX_URL_BYTES || kc_has_controls(url))
		return "not a URL";
	why = parse_url(config, url);
	if (why)
		return why;
	bracket = strchr(config->host, ':') != NULL;
	config->server = mem_printf("%s://%s%s%s:%u%s", config->tls ? "https" : "http", bracket ? "[" : "",
		config->host, bracket ? "]" : "", config->port, config->path);
	return NULL;
}

/* ---- the cluster ---- */

static const char *check_proxy(const char *url)
{
	static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
		size_t length = strlen(schemes[i]);

		if (strncasecmp(url, schemes[i], length) == 0)
			return url[length] && !kc_has_controls(url) ? NULL : "not a URL with a host";
	}
	return "the scheme must be http, https or socks5";
}

static void check_names(struct kc_loader *loader, const struct kc_entry *entry)
{
	struct kubeconfig *out = loader->out;
	const char *why = out->proxy_url ? check_proxy(out->proxy_url) : NULL;

	if (why)
		kc_error(loader, entry, "proxy-url", "%s", why);
	if (out->tls_server_name && !is_host(out->tls_server_name))
		kc_error(loader, entry, "tls-server-name", "not a host's name");
	if (out->insecure_skip_tls_verify && out->ca.bytes)
		kc_error(loader, entry, "insecure-skip-tls-verify",
			"certificate-authority is given too; only one may be");
}

void kc_cluster(struct kc_loader *loader, const struct kc_entry *entry, bool has_master)
{
	static const char *const known[] = {"server", "tls-server-name", "insecure-skip-tls-verify",
		"certificate-authority", "certificate-authority-data", "proxy-url", "disable-compression",
		"extensions", NULL};
	struct kubeconfig *out = loader->out;
	char *server = kc_string(loader, entry, entry->node, "server");
	const char *why = server ? NULL : "missing";

	kc_known_fields(loader, entry, entry->node, known);
	out->insecure_skip_tls_verify = kc_bool(loader, entry, entry->node, "insecure-skip-tls-verify");
	out->proxy_url = kc_string(loader, entry, entry->node, "proxy-url");
	/* Whoever names another server does not mean the name of this one. */
	if (!has_master)
		out->tls_server_name = kc_string(loader, entry, entry->node, "tls-server-name");
	kc_pem(loader, entry, "certificate-authority", KUBECONFIG_CERTIFICATES, &out->ca);
	check_names(loader, entry);
	if (server)
		why = kc_server(out, server);
	if (why && !has_master)
		kc_error(loader, entry, "server", "%s", why);
	out->exec_cluster_config = kc_exec_extension(entry->node);
	free(server);
}
