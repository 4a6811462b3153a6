/* Owns the flags about health, metrics and what else tells of the daemon. Runs in the first process, before
 * any other exists. */
#include "proc/flags.h"

#include <string.h>

#include "proc/value.h"

#define HEALTH_PORT 10256
#define METRICS_PORT 10249
#define MAX_SERIES 1000000

/* Parses "address", "address:port", "[address]:port" or "" as kube-proxy does. */
static const char *set_at(struct options_at *out, const char *value)
{
	static const char wrong[] = "must be an IP address with or without :port, or empty for none";
	const char *colon = strrchr(value, ':');
	bool bracket = *value == '[';
	size_t length;
	char address[ADDR_TEXT_BYTES];
	unsigned long port;

	*out = (struct options_at){.given = true, .on = *value != '\0', .port = -1};
	if (!out->on || addr_parse(&out->addr, value) == 0)
		return NULL;
	if (!colon || !value_number(colon + 1, UINT16_MAX, &port))
		return wrong;
	length = (size_t)(colon - value);
	if (length >= sizeof(address) || (bracket && (length < 2 || value[length - 1] != ']')))
		return wrong;
	snprintf(address, sizeof(address), "%.*s", (int)(bracket ? length - 2 : length), value + bracket);
	if (addr_parse(&out->addr, address) < 0 || (!bracket && addr_family(&out->addr) == ADDR_V6))
		return wrong;
	out->port = (int)port;
	return NULL;
}

static const char *set_port(int *out, const char *value)
{
	unsigned long port;

	if (!value_number(value, UINT16_MAX, &port))
		return "must be a port, or 0 for none";
	*out = (int)port;
	return NULL;
}

static const char *set_health(struct options *options, const char *value)
{
	return set_at(&options->health, value);
}

static const char *set_metrics(struct options *options, const char *value)
{
	return set_at(&options->metrics, value);
}

static const char *set_health_port(struct options *options, const char *value)
{
	return set_port(&options->health_port, value);
}

static const char *set_metrics_port(struct options *options, const char *value)
{
	return set_port(&options->metrics_port, value);
}

static const char *set_hard_fail(struct options *options, const char *value)
{
	return flag_switch(&options->bind_hard_fail, value);
}

static const char *set_max_series(struct options *options, const char *value)
{
	unsigned long number;

	if (!value_number(value, MAX_SERIES, &number))
		return "must be a number up to 1000000";
	options->max_series = number;
	return NULL;
}

static const char *set_status_socket(struct options *options, const char *value)
{
	options->status_socket = value;
	options->status_given = true;
	return NULL;
}

static const char *set_status_group(struct options *options, const char *value)
{
	options->status_group = *value ? value : NULL;
	return NULL;
}

static const char *set_access_log(struct options *options, const char *value)
{
	options->access_log = *value ? value : NULL;
	return NULL;
}

/* ---- what comes of them ---- */

/* Only a node's daemon serves what nobody has asked for: elsewhere somebody may be surprised to be reached.
 */
static struct admin_at at_of(const struct options *options, const struct options_at *given, int port_flag,
	const struct addr *usual, uint16_t usual_port)
{
	bool node = options->command == OPTIONS_DAEMON && options->steering != OPTIONS_STEERING_NONE;
	struct admin_at at = {.on = given->given ? given->on : node};
	int port = given->given && given->port >= 0 ? given->port : usual_port;

	at.at.addr = given->given && given->on ? given->addr : *usual;
	/* The deprecated flag goes first where the other one names no port of its own, and can always close.
	 */
	if (port_flag == 0 || (port_flag > 0 && (!given->given || given->port < 0)))
		port = port_flag;
	if (port_flag > 0 && !given->given)
		at.on = true;
	at.at.port = (uint16_t)port;
	at.on = at.on && port != 0;
	return at;
}

struct admin_at options_health_at(const struct options *options)
{
	struct addr usual = addr_any(ADDR_V4);

	return at_of(options, &options->health, options->health_port, &usual, HEALTH_PORT);
}

struct admin_at options_metrics_at(const struct options *options)
{
	struct addr usual = addr_loopback(ADDR_V4);

	return at_of(options, &options->metrics, options->metrics_port, &usual, METRICS_PORT);
}

static const struct flag admin_flags[] = {
	{"healthz-bind-address", 0, "ADDRESS", set_health,
		"where /healthz, /livez and /readyz are served; empty: nowhere (0.0.0.0:10256 on a node)"},
	{"metrics-bind-address", 0, "ADDRESS", set_metrics,
		"where /metrics, /proxyMode and /configz are served; empty: nowhere (127.0.0.1:10249 on a "
		"node)"},
	{"healthz-port", 0, "PORT", set_health_port,
		"deprecated: the port of --healthz-bind-address; 0: none"},
	{"metrics-port", 0, "PORT", set_metrics_port,
		"deprecated: the port of --metrics-bind-address; 0: none"},
	{"bind-address-hard-fail", 0, NULL, set_hard_fail,
		"end if an address of these can't be had, instead of trying again"},
	{"metrics-max-series", 0, "N", set_max_series,
		"series by Service and backend; beyond, detail is left out (20000)"},
	{"status-socket", 0, "PATH", set_status_socket,
		"where portald status and explain ask; empty: nowhere (/run/portald/portald.sock on a node)"},
	{"status-group", 0, "NAME", set_status_group,
		"the group that may ask there (portald, if there is one)"},
	{"access-log", 0, "PATH", set_access_log,
		"a file for a line of JSON for each connection; - for standard error (none)"},
	{.name = NULL},
};

const struct flag_group flags_admin = {"Health, metrics and status", admin_flags};
