/* Owns the flags about the configuration as a whole. Runs in the first process, before any other exists. */
#include "proc/flags.h"

#include <string.h>

#include "proc/value.h"

static const char *set_config(struct options *options, const char *value)
{
	options->config_path = *value ? value : NULL;
	return NULL;
}

static const char *set_write_config_to(struct options *options, const char *value)
{
	options->write_config_to = *value ? value : NULL;
	return NULL;
}

static const char *set_proxy_mode(struct options *options, const char *value)
{
	static const char *const others[] = {"iptables", "ipvs", "nftables", "kernelspace", NULL};

	(void)options;
	if (!*value || strcmp(value, "userspace") == 0)
		return NULL;
	if (value_choice(value, others) >= 0)
		return "portald has the mode userspace only: in this one the kernel forwards, and "
		       "kube-proxy sets it up (--steering says how traffic gets here)";
	return "must be userspace";
}

static const char *set_init_only(struct options *options, const char *value)
{
	return flag_switch(&options->init_only, value);
}

static const char *set_oom_score_adj(struct options *options, const char *value)
{
	long number;

	if (!value_integer(value, -1000, 1000, &number))
		return "must be a number from -1000 to 1000";
	options->oom_score_adj = (int)number;
	return NULL;
}

static const struct flag config_flags[] = {
	{"config", 0, "FILE", set_config,
		"a configuration file, kube-proxy's or with more: see portald.yaml(5) (none)"},
	{"write-config-to", 0, "FILE", set_write_config_to,
		"write the configuration that is in force to FILE, and end"},
	{"proxy-mode", 0, "MODE", set_proxy_mode,
		"userspace; kube-proxy's other modes are refused (userspace)"},
	{"init-only", 0, NULL, set_init_only, "set up what only root may, then end"},
	{"oom-score-adj", 0, "N", set_oom_score_adj,
		"which processes the kernel ends last when memory is short, -1000 to 1000 (-999)"},
	{.name = NULL},
};

const struct flag_group flags_config = {"Configuration", config_flags};
