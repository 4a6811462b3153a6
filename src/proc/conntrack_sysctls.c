/* Owns the settings of connection tracking. Runs in the supervisor before it gives up privilege: every
 * relayed connection takes entries of the table, and the kernel's defaults are made for less. */
#include "proc/conntrack_sysctls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portald/log.h"
#include "portald/mem.h"

/* Entries for each bucket of the hash table, as kube-proxy has it. */
#define ENTRIES_PER_BUCKET 4
#define NUMBER_BYTES 24

void conntrack_sysctls_init(struct conntrack_sysctls *sysctls)
{
	*sysctls = (struct conntrack_sysctls){
		.max_per_core = 32768,
		.min = 131072,
		.tcp_established_s = 24 * 3600,
		/* An hour, as long as typical servers keep a half-closed connection. */
		.tcp_close_wait_s = 3600,
	};
}

/* Reads a number. Returns 0 or a negative errno. */
static int read_number(const char *path, uint64_t *out)
{
	char text[NUMBER_BYTES], *end;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -errno;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got < 0)
		return -EIO;
	text[got] = '\0';
	*out = strtoull(text, &end, 10);
	return end == text ? -EINVAL : 0;
}

static int write_number(const char *path, uint64_t number)
{
	char text[NUMBER_BYTES];
	int length = snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = write(fd, text, (size_t)length) == length ? 0 : -errno;
	close(fd);
	return rc;
}

/* Sets a number that differs, or, with raise_only, one that is less. */
static void set_number(const char *directory, const char *name, uint64_t wanted, bool raise_only)
{
	char *path = mem_printf("%s%s", directory, name);
	uint64_t found = 0;
	int rc = read_number(path, &found);

	if (rc == 0 && (found == wanted || (raise_only && found > wanted))) {
		free(path);
		return;
	}
	if (rc == 0)
		rc = write_number(path, wanted);
	if (rc == 0)
		log_info("connection tracking set", log_str("sysctl", name), log_int("was", (int64_t)found),
			log_int("value", (int64_t)wanted));
	else
		log_each(LOG_LEVEL_WARNING, "cannot set connection tracking", log_str("path", path),
			log_int("value", (int64_t)wanted), log_errno("error", -rc));
	free(path);
}

static void set_if_given(const char *directory, const char *name, uint32_t wanted)
{
	if (wanted > 0)
		set_number(directory, name, wanted, false);
}

void conntrack_sysctls_apply(const struct conntrack_sysctls *sysctls, uint32_t cpus,
	const char *sysctl_directory, const char *module_directory)
{
	uint64_t most = (uint64_t)sysctls->max_per_core * cpus;

	if (most > 0) {
		most = most > sysctls->min ? most : sysctls->min;
		set_number(sysctl_directory, "nf_conntrack_max", most, true);
		set_number(module_directory, "hashsize", most / ENTRIES_PER_BUCKET, true);
	}
	set_if_given(sysctl_directory, "nf_conntrack_tcp_timeout_established", sysctls->tcp_established_s);
	set_if_given(sysctl_directory, "nf_conntrack_tcp_timeout_close_wait", sysctls->tcp_close_wait_s);
	set_if_given(sysctl_directory, "nf_conntrack_udp_timeout", sysctls->udp_s);
	set_if_given(sysctl_directory, "nf_conntrack_udp_timeout_stream", sysctls->udp_stream_s);
	set_if_given(sysctl_directory, "nf_conntrack_tcp_be_liberal", sysctls->tcp_be_liberal);
}
