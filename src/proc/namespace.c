/* Owns the way into a namespace of one's own. Runs once, in the supervisor of `portald run`, after the
 * starter was forked: the starter and what it starts stay in the host's namespaces. */
#include "proc/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portald/log.h"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written;

	if (fd < 0)
		return -errno;
	written = write(fd, text, strlen(text));
	close(fd);
	return written < 0 ? -errno : 0;
}

/* The number in a /proc/sys file, or fallback where there is no such file. */
static long read_setting(const char *path, long fallback)
{
	FILE *file = fopen(path, "re");
	long value = fallback;

	if (!file)
		return fallback;
	if (fscanf(file, "%ld", &value) != 1)
		value = fallback;
	fclose(file);
	return value;
}

/* Which setting forbids user namespaces, as far as it can be seen. */
static const char *forbidding_setting(void)
{
	if (read_setting("/proc/sys/user/max_user_namespaces", 1) == 0)
		return "sysctl user.max_user_namespaces is 0";
	if (read_setting("/proc/sys/user/max_net_namespaces", 1) == 0)
		return "sysctl user.max_net_namespaces is 0";
	if (read_setting("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0)
		return "sysctl kernel.unprivileged_userns_clone is 0";
	if (read_setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1)
		return "sysctl kernel.apparmor_restrict_unprivileged_userns is 1";
	return "the system (a container's seccomp profile, or sysctl user.max_user_namespaces)";
}

static int refuse(const char *step, int error)
{
	log_error("cannot make a user and network namespace: set that right, or use --steering=none, which "
		  "needs none",
		log_str("forbidden_by", forbidding_setting()), log_str("step", step),
		log_errno("error", error));
	return -error;
}

/* Becomes the new namespace's root. A process without privilege may map its own user and group only. */
static int map_self(uid_t uid, gid_t gid)
{
	char map[64];
	int rc;

	snprintf(map, sizeof(map), "0 %u 1", (unsigned)uid);
	rc = write_file("/proc/self/uid_map", map);
	if (rc == 0)
		rc = write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)gid);
	if (rc == 0)
		rc = write_file("/proc/self/gid_map", map);
	return rc;
}

static int loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? 0 : -errno;

	if (fd >= 0)
		close(fd);
	return rc;
}

int namespace_enter(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int rc;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return refuse("unshare", errno);
	rc = map_self(uid, gid);
	if (rc < 0)
		return refuse("map the user", -rc);
	rc = loopback_up();
	if (rc < 0)
		return refuse("bring up the loopback device", -rc);
	return 0;
}
