/* Owns the confinement of every process of the daemon. Runs in each of them once, at its start. */
#include "config.h"

#include "proc/confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <pwd.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- user ---- */

#define PASSWD_BYTES 16384

static int lookup_name(const char *name, struct confine_user *out)
{
	struct passwd entry, *found = NULL;
	char *buf = malloc(PASSWD_BYTES);
	int error;

	if (!buf)
		return -ENOMEM;
	error = getpwnam_r(name, &entry, buf, PASSWD_BYTES, &found);
	if (found)
		*out = (struct confine_user){.uid = entry.pw_uid, .gid = entry.pw_gid};
	free(buf);
	if (found)
		return out->uid == 0 || out->gid == 0 ? -EINVAL : 0;
	/* Some name services report an unknown name as an error of their own. */
	return error == ENOMEM || error == EMFILE || error == ENFILE ? -error : -ENOENT;
}

int confine_user_lookup(const char *name, struct confine_user *out)
{
	int rc = lookup_name(name ? name : "portald", out);

	return !name && rc == -ENOENT ? lookup_name("nobody", out) : rc;
}

/* Leaves uid 0 for good. */
static int become_user(const struct confine_user *user)
{
	if (setgroups(0, NULL) < 0)
		return -errno;
	if (setresgid(user->gid, user->gid, user->gid) < 0)
		return -errno;
	return setresuid(user->uid, user->uid, user->uid) < 0 ? -errno : 0;
}

static int check_user(const struct confine_user *user)
{
	uid_t uids[3];
	gid_t gids[3];

	if (getresuid(&uids[0], &uids[1], &uids[2]) < 0 || getresgid(&gids[0], &gids[1], &gids[2]) < 0)
		return -errno;
	for (size_t i = 0; i < 3; i++) {
		if (uids[i] != user->uid || gids[i] != user->gid)
			return -EPERM;
	}
	return getgroups(0, NULL) == 0 ? 0 : -EPERM;
}

/* ---- capabilities ---- */

/* Beyond any number that a kernel has given out. */
#define CAPABILITIES 64

static bool listed(const unsigned *keep, size_t count, unsigned capability)
{
	for (size_t i = 0; i < count; i++) {
		if (keep[i] == capability)
			return true;
	}
	return false;
}

/* Fails if a set holds more than keep. The bounding set counts only where it could be lowered: without
 * CAP_SETPCAP it stays as it was, and gives nothing to a process that may not gain privileges. */
static int check_capabilities(const unsigned *keep, size_t count, bool bounded)
{
	if (capng_get_caps_process() < 0)
		return -EPERM;
	for (unsigned c = 0; c < CAPABILITIES; c++) {
		if (listed(keep, count, c))
			continue;
		if (capng_have_capability(CAPNG_EFFECTIVE, c) || capng_have_capability(CAPNG_PERMITTED, c) ||
			capng_have_capability(CAPNG_INHERITABLE, c) ||
			capng_have_capability(CAPNG_AMBIENT, c))
			return -EPERM;
		if (bounded && capng_have_capability(CAPNG_BOUNDING_SET, c))
			return -EPERM;
	}
	return 0;
}

/* Keeps those of keep that are held, and drops all others from every set. */
static int keep_capabilities(const unsigned *keep, size_t count)
{
	bool held[CAPABILITIES] = {false}, bounded;
	int rc = 0;

	if (capng_get_caps_process() < 0)
		return -EPERM;
	bounded = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	for (size_t i = 0; i < count; i++)
		held[keep[i]] = capng_have_capability(CAPNG_PERMITTED, keep[i]);
	capng_clear(CAPNG_SELECT_ALL);
	for (size_t i = 0; i < count; i++) {
		if (held[keep[i]])
			rc |= capng_update(
				CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, keep[i]);
	}
	/* First the bounding set, as long as there is the capability to lower it. */
	if (bounded)
		rc |= capng_apply(CAPNG_SELECT_BOUNDS);
	rc |= capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT);
	return rc ? -EPERM : check_capabilities(keep, count, bounded);
}

static int drop_bounding_set(void)
{
	if (capng_get_caps_process() < 0)
		return -EPERM;
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		return 0;
	capng_clear(CAPNG_SELECT_BOUNDS);
	return capng_apply(CAPNG_SELECT_BOUNDS) ? -EPERM : 0;
}

static int no_new_privileges(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : -EPERM;
}

/* ---- roles ---- */

static bool has_root_uid(void)
{
	uid_t real, effective, saved;

	return getresuid(&real, &effective, &saved) < 0 || real == 0 || effective == 0 || saved == 0;
}

/* The proof that there is no way back. */
static int check_no_return(void)
{
	return setresuid((uid_t)-1, 0, (uid_t)-1) < 0 && !has_root_uid() ? 0 : -EPERM;
}

int confine_child(const struct confine_user *user)
{
	bool privileged = has_root_uid();
	int rc = drop_bounding_set();

	if (rc == 0 && privileged)
		rc = become_user(user);
	if (rc == 0)
		rc = keep_capabilities(NULL, 0);
	if (rc == 0)
		rc = no_new_privileges();
	if (rc == 0 && !confine_is_relaxed && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		rc = -errno;
	if (rc == 0 && privileged)
		rc = check_user(user);
	return rc == 0 ? check_no_return() : rc;
}

int confine_supervisor(void)
{
	static const unsigned keep[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE};

	/* New privileges by exec are not forbidden here: where a security module has a domain of its own
	 * for the firewall tools, that would keep them out of it. The bounding set limits them. */
	return keep_capabilities(keep, COUNT(keep));
}

int confine_drained(void)
{
	return keep_capabilities(NULL, 0);
}

int confine_starter(void)
{
	static const unsigned keep[] = {CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_DAC_READ_SEARCH, CAP_KILL};
	int rc = keep_capabilities(keep, COUNT(keep));

	return rc == 0 ? no_new_privileges() : rc;
}

/* ---- system calls ---- */

/* What is not listed fails with EPERM rather than kill the relay. A libc of another version may make a call
 * that nobody has foreseen, and mostly gets along without it; ending the process would cut every client that
 * it serves. Whoever has taken the relay over gains nothing from being alive: the call is not made either
 * way. Only calls by another architecture's numbers, which no honest code makes, kill. */
#define DENY SCMP_ACT_ERRNO(EPERM)

/* Allowed whatever the arguments. */
static const char *const plain_calls[] = {
	/* bytes */
	"read",
	"readv",
	"write",
	"writev",
	"recvfrom",
	"recvmsg",
	"recvmmsg",
	"sendto",
	"sendmsg",
	"sendmmsg",
	"splice",
	"tee",
	"pipe2",
	"close",
	/* connections */
	"accept",
	"accept4",
	"connect",
	"bind",
	"shutdown",
	"setsockopt",
	"getsockopt",
	"getsockname",
	"getpeername",
	/* the loop */
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"epoll_pwait2",
	"poll",
	"ppoll",
	"eventfd2",
	"timerfd_create",
	"timerfd_settime",
	"timerfd_gettime",
	"restart_syscall",
	/* time, where the vDSO has no clock */
	"clock_gettime",
	"clock_gettime64",
	"gettimeofday",
	"time",
	/* memory; mmap and mprotect are below */
	"munmap",
	"mremap",
	"madvise",
	"brk",
	/* the libc's own: locks, random numbers, signals, abort(), the end */
	"futex",
	"futex_time64",
	"getrandom",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sigaltstack",
	"getpid",
	"gettid",
	"exit",
	"exit_group",
};

/* Allowed if an argument is, after masking, equal to a value. */
struct masked_call {
	const char *name;
	unsigned argument;
	uint64_t mask, value;
};

#define WHOLE UINT32_MAX

static const struct masked_call masked_calls[] = {
	/* No code is ever made. */
	{"mmap", 2, PROT_EXEC, 0},
	{"mmap2", 2, PROT_EXEC, 0},
	{"mprotect", 2, PROT_EXEC, 0},
	{"fcntl", 1, WHOLE, F_GETFL},
	{"fcntl", 1, WHOLE, F_SETFL},
	{"fcntl", 1, WHOLE, F_GETFD},
	{"fcntl", 1, WHOLE, F_SETFD},
	{"fcntl", 1, WHOLE, F_DUPFD_CLOEXEC},
	{"fcntl", 1, WHOLE, F_GETPIPE_SZ},
	{"fcntl", 1, WHOLE, F_SETPIPE_SZ},
	{"ioctl", 1, WHOLE, FIONREAD},
	{"ioctl", 1, WHOLE, SIOCOUTQ},
};

/* Allowed with these arguments: plain TCP and UDP, no UNIX, netlink or packet sockets, none of the rarer
 * protocols. */
struct socket_call {
	int domain, type, protocol;
};

static const struct socket_call socket_calls[] = {
	{AF_INET, SOCK_STREAM, 0},
	{AF_INET, SOCK_STREAM, IPPROTO_TCP},
	{AF_INET, SOCK_DGRAM, 0},
	{AF_INET, SOCK_DGRAM, IPPROTO_UDP},
	{AF_INET6, SOCK_STREAM, 0},
	{AF_INET6, SOCK_STREAM, IPPROTO_TCP},
	{AF_INET6, SOCK_DGRAM, 0},
	{AF_INET6, SOCK_DGRAM, IPPROTO_UDP},
};

/* What the sanitizers do by themselves, most of it in the leak check at exit, which stops the process from a
 * helper that it clones and reads its memory map. */
#ifdef PORTALD_SANITIZERS
const bool confine_is_relaxed = true;
static const char *const extra_calls[] = {"clone", "clone3", "ptrace", "wait4", "prctl", "sched_yield",
	"readlink", "readlinkat", "fstat", "newfstatat", "stat", "statx", "lseek", "getdents", "getdents64",
	"getppid", "kill", "tgkill", "process_vm_readv", "sched_getaffinity", "prlimit64", "getrlimit",
	"uname", "dup", "set_robust_list", "rseq", "getcwd", "clock_nanosleep"};
static const size_t extra_call_count = COUNT(extra_calls);
static const struct masked_call extra_masked_calls[] = {
	{"open", 1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY},
	{"openat", 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY},
};
static const size_t extra_masked_call_count = COUNT(extra_masked_calls);
#else
const bool confine_is_relaxed = false;
static const char *const *const extra_calls = NULL;
static const size_t extra_call_count = 0;
static const struct masked_call *const extra_masked_calls = NULL;
static const size_t extra_masked_call_count = 0;
#endif

/* Adds a rule. A call that this architecture or this libseccomp does not know needs none. */
static int allow(
	scmp_filter_ctx filter, const char *name, const struct scmp_arg_cmp *arguments, unsigned count)
{
	int call = seccomp_syscall_resolve_name(name);

	/* Negative numbers stand for calls of other architectures. */
	if (call < 0)
		return 0;
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, count, arguments);
}

static int allow_plain(scmp_filter_ctx filter, const char *const *names, size_t count)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = allow(filter, names[i], NULL, 0);
	return rc;
}

static int allow_masked(scmp_filter_ctx filter, const struct masked_call *calls, size_t count)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < count; i++) {
		const struct masked_call *c = &calls[i];
		struct scmp_arg_cmp argument = {c->argument, SCMP_CMP_MASKED_EQ, c->mask, c->value};

		rc = allow(filter, c->name, &argument, 1);
	}
	return rc;
}

static int allow_sockets(scmp_filter_ctx filter)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < COUNT(socket_calls); i++) {
		const struct socket_call *c = &socket_calls[i];
		struct scmp_arg_cmp arguments[] = {
			{0, SCMP_CMP_MASKED_EQ, WHOLE, (uint64_t)c->domain},
			{1, SCMP_CMP_MASKED_EQ, WHOLE & ~(uint32_t)(SOCK_NONBLOCK | SOCK_CLOEXEC),
				(uint64_t)c->type},
			{2, SCMP_CMP_MASKED_EQ, WHOLE, (uint64_t)c->protocol},
		};

		rc = allow(filter, "socket", arguments, COUNT(arguments));
	}
	return rc;
}

/* For abort(): a signal to itself. */
static int allow_own_signals(scmp_filter_ctx filter)
{
	struct scmp_arg_cmp self = {0, SCMP_CMP_MASKED_EQ, WHOLE, (uint64_t)getpid()};

	return confine_is_relaxed ? 0 : allow(filter, "tgkill", &self, 1);
}

int confine_relay_seccomp(void)
{
	scmp_filter_ctx filter = seccomp_init(DENY);
	int rc;

	if (!filter)
		return -ENOMEM;
	rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* A binary tree instead of a list: this runs at every system call of the data path. */
	if (rc == 0)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (rc == 0)
		rc = allow_plain(filter, plain_calls, COUNT(plain_calls));
	if (rc == 0)
		rc = allow_plain(filter, extra_calls, extra_call_count);
	if (rc == 0)
		rc = allow_masked(filter, masked_calls, COUNT(masked_calls));
	if (rc == 0)
		rc = allow_masked(filter, extra_masked_calls, extra_masked_call_count);
	if (rc == 0)
		rc = allow_sockets(filter);
	if (rc == 0)
		rc = allow_own_signals(filter);
	if (rc == 0)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	return rc;
}
