#include "netns_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "portald/mem.h"

int rig_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ssize_t written = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return written == (ssize_t)strlen(text) ? 0 : -1;
}

int rig_enter_user_namespace(void)
{
	char *uid_map = mem_printf("0 %d 1", (int)geteuid()), *gid_map = mem_printf("0 %d 1", (int)getegid());
	int rc = unshare(CLONE_NEWUSER | CLONE_NEWNET);

	if (rc == 0)
		rc = rig_write_file("/proc/self/setgroups", "deny");
	if (rc == 0)
		rc = rig_write_file("/proc/self/uid_map", uid_map);
	if (rc == 0)
		rc = rig_write_file("/proc/self/gid_map", gid_map);
	free(uid_map);
	free(gid_map);
	return rc;
}

void rig_lo_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

/* Reads to the end of fd, at most count bytes. */
static void read_all(int fd, char *bytes, size_t count)
{
	ssize_t got;

	do {
		got = read(fd, bytes, count);
		if (got > 0) {
			bytes += got;
			count -= (size_t)got;
		}
	} while (got > 0 || (got < 0 && errno == EINTR));
}

char *shell(const char *format, ...)
{
	char *command = NULL, *out = mem_calloc(1, 65536);
	int ends[2], status = -1;
	va_list args;
	pid_t pid;

	va_start(args, format);
	assert_true(vasprintf(&command, format, args) > 0);
	va_end(args);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(ends[1]);
	read_all(ends[0], out, 65535);
	close(ends[0]);
	free(command);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return out;
	free(out);
	return NULL;
}

int rig_in_child(int (*tests)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		exit(tests());
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return EXIT_FAILURE;
	return WEXITSTATUS(status);
}

int rig_skipped(const char *why)
{
	fprintf(stderr, "skipped: %s\n", why);
	return RIG_SKIPPED;
}
