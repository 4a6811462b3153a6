/* Owns what is set on the host. Runs in the first process, before any other exists and before it gives up
 * privilege. */
#include "proc/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "portald/log.h"

#define OOM_PATH "/proc/self/oom_score_adj"
#define SYSCTL_DIRECTORY "/proc/sys/net/netfilter/"
#define MODULE_DIRECTORY "/sys/module/nf_conntrack/parameters/"

static void set_oom_score_adj(int score)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", score);
	int fd = open(OOM_PATH, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, (size_t)length) != length)
		log_warning("cannot set the OOM score", log_str("path", OOM_PATH), log_int("value", score),
			log_errno("error", errno));
	if (fd >= 0)
		close(fd);
}

void host_prepare(const struct options *options)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (!options_is_node(options))
		return;
	set_oom_score_adj(options->oom_score_adj);
	conntrack_sysctls_apply(
		&options->conntrack, cpus > 0 ? (uint32_t)cpus : 1, SYSCTL_DIRECTORY, MODULE_DIRECTORY);
}
