/* Confinement, proved by trying. Each case runs in a child, as nobody gets out of it again; a case is a
 * function that returns 0 or the line of what did not hold. As root there is more to lose, and more is
 * tried; everything passes as an ordinary user too. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proc/confine.h"

#define CHECK(holds)                                                                                         \
	do {                                                                                                 \
		if (!(holds))                                                                                \
			return __LINE__;                                                                     \
	} while (0)

#define BIT(capability) (UINT64_C(1) << (capability))

static bool is_root(void)
{
	return geteuid() == 0;
}

/* Who a confined process is: the unprivileged user, or whoever runs the test. */
static struct confine_user test_user(void)
{
	struct confine_user user = {.uid = getuid(), .gid = getgid()};

	if (is_root())
		assert_int_equal(confine_user_lookup(NULL, &user), 0);
	return user;
}

/* Runs the case in a child. */
static void run_case(int (*run)(const struct confine_user *user))
{
	struct confine_user user = test_user();
	int result[2], line = -1, status;
	pid_t child;

	assert_int_equal(pipe2(result, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		line = run(&user);
		_exit(write(result[1], &line, sizeof(line)) == sizeof(line) ? 0 : 1);
	}
	close(result[1]);
	if (read(result[0], &line, sizeof(line)) != sizeof(line))
		line = -1;
	close(result[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (line == -1)
		fail_msg("the child ended early, status %#x", (unsigned)status);
	if (line != 0)
		fail_msg("the check at line %d did not hold", line);
}

/* ---- /proc/self/status ---- */

struct status {
	char text[8192];
};

/* Reads from a descriptor of it that may have been opened before the confinement. */
static bool status_read(struct status *status, int fd)
{
	ssize_t got = read(fd, status->text, sizeof(status->text) - 1);

	if (got <= 0)
		return false;
	status->text[got] = '\0';
	return true;
}

static const char *status_value(const struct status *status, const char *name)
{
	const char *at = strstr(status->text, name);

	return at ? at + strlen(name) : "";
}

static uint64_t status_hex(const struct status *status, const char *name)
{
	return strtoull(status_value(status, name), NULL, 16);
}

/* The four ids of a process (real, effective, saved, of files) are all this one. */
static bool status_ids_are(const struct status *status, const char *name, unsigned long id)
{
	const char *at = status_value(status, name);

	for (int i = 0; i < 4; i++) {
		char *end;

		if (strtoul(at, &end, 10) != id || end == at)
			return false;
		at = end;
	}
	return true;
}

static int status_open(void)
{
	return open("/proc/self/status", O_RDONLY | O_CLOEXEC);
}

/* ---- the user ---- */

static void test_lookup_finds_an_unprivileged_user(void **state)
{
	struct confine_user user, nobody;

	(void)state;
	assert_int_equal(confine_user_lookup(NULL, &user), 0);
	assert_true(user.uid != 0 && user.gid != 0);
	assert_int_equal(confine_user_lookup("nobody", &nobody), 0);
	assert_true(nobody.uid != 0);
	assert_int_equal(confine_user_lookup("no-such-user-here", &user), -ENOENT);
	assert_int_equal(confine_user_lookup("root", &user), -EINVAL);
}

/* ---- control and relays ---- */

static int check_child_status(const struct confine_user *user, bool root, const struct status *status)
{
	CHECK(strstr(status->text, "CapInh:"));
	CHECK(status_hex(status, "CapInh:") == 0);
	CHECK(status_hex(status, "CapPrm:") == 0);
	CHECK(status_hex(status, "CapEff:") == 0);
	CHECK(status_hex(status, "CapAmb:") == 0);
	CHECK(status_hex(status, "NoNewPrivs:") == 1);
	CHECK(user->uid != 0);
	CHECK(status_ids_are(status, "Uid:", user->uid));
	CHECK(status_ids_are(status, "Gid:", user->gid));
	if (!root)
		return 0;
	CHECK(status_hex(status, "CapBnd:") == 0);
	/* "Groups:", blanks, end of line. */
	CHECK(*(status_value(status, "Groups:") + strspn(status_value(status, "Groups:"), "\t ")) == '\n');
	return 0;
}

static int child_case(const struct confine_user *user)
{
	bool root = is_root();
	struct status status;
	int line;

	CHECK(confine_child(user) == 0);
	CHECK(status_read(&status, status_open()));
	line = check_child_status(user, root, &status);
	CHECK(line == 0 || (fprintf(stderr, "line %d\n", line), false));
	CHECK(setuid(0) < 0);
	CHECK(setresuid((uid_t)-1, 0, 0) < 0);
	CHECK(setgroups(0, NULL) < 0);
	CHECK(prctl(PR_GET_DUMPABLE) == (confine_is_relaxed ? prctl(PR_GET_DUMPABLE) : 0));
	CHECK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0);
	/* It is no relay: it may still open what its user may. */
	CHECK(open("/proc/self/status", O_RDONLY | O_CLOEXEC) >= 0);
	/* Twice does no harm. */
	CHECK(confine_child(user) == 0);
	return 0;
}

static void test_child_has_nothing_left(void **state)
{
	(void)state;
	run_case(child_case);
}

static int child_groups_case(const struct confine_user *user)
{
	gid_t groups[] = {0, 1, 2};

	CHECK(setgroups(3, groups) == 0);
	CHECK(confine_child(user) == 0);
	CHECK(getgroups(0, NULL) == 0);
	return 0;
}

static void test_child_loses_its_groups(void **state)
{
	(void)state;
	if (!is_root())
		skip();
	run_case(child_groups_case);
}

/* A capability that survives the change of uid must not survive the rest. */
static int child_keepcaps_case(const struct confine_user *user)
{
	struct status status;

	CHECK(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
	CHECK(confine_child(user) == 0);
	CHECK(status_read(&status, status_open()));
	CHECK(status_hex(&status, "CapPrm:") == 0);
	return 0;
}

static void test_child_keeps_no_capability_over_the_change_of_user(void **state)
{
	(void)state;
	run_case(child_keepcaps_case);
}

/* ---- supervisor and starter ---- */

/* The status of a program started by this process, as the firewall tools are. */
static bool status_of_program(struct status *status)
{
	int out[2], wait_status;
	pid_t child;
	bool ok;

	if (pipe2(out, O_CLOEXEC) < 0)
		return false;
	child = fork();
	if (child == 0) {
		dup2(out[1], STDOUT_FILENO);
		execl("/bin/cat", "cat", "/proc/self/status", NULL);
		_exit(127);
	}
	close(out[1]);
	waitpid(child, &wait_status, 0);
	ok = status_read(status, out[0]);
	close(out[0]);
	return ok;
}

static int supervisor_case(const struct confine_user *user)
{
	const uint64_t allowed = BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW) | BIT(CAP_NET_BIND_SERVICE);
	struct status before, after, program;

	(void)user;
	CHECK(status_read(&before, status_open()));
	CHECK(confine_supervisor() == 0);
	CHECK(status_read(&after, status_open()));
	CHECK(status_hex(&after, "CapEff:") == (status_hex(&before, "CapPrm:") & allowed));
	CHECK(status_hex(&after, "CapPrm:") == status_hex(&after, "CapEff:"));
	CHECK(status_hex(&after, "CapInh:") == 0);
	CHECK(status_hex(&after, "CapAmb:") == 0);
	CHECK(status_of_program(&program));
	CHECK((status_hex(&program, "CapEff:") & ~allowed) == 0);
	if (!(status_hex(&before, "CapEff:") & BIT(CAP_SETPCAP)))
		return 0;
	CHECK(status_hex(&after, "CapBnd:") == status_hex(&after, "CapEff:"));
	CHECK(status_hex(&program, "CapEff:") == status_hex(&after, "CapEff:"));
	CHECK(setgroups(0, NULL) < 0);
	return 0;
}

static void test_supervisor_keeps_the_network_only(void **state)
{
	(void)state;
	run_case(supervisor_case);
}

static int starter_case(const struct confine_user *user)
{
	const uint64_t allowed = BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_SETPCAP) |
				 BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_KILL);
	struct status before, after;
	int line;

	CHECK(status_read(&before, status_open()));
	CHECK(confine_starter() == 0);
	CHECK(status_read(&after, status_open()));
	CHECK(status_hex(&after, "CapEff:") == (status_hex(&before, "CapPrm:") & allowed));
	CHECK(status_hex(&after, "CapInh:") == 0);
	CHECK(status_hex(&after, "NoNewPrivs:") == 1);
	if (status_hex(&before, "CapEff:") & BIT(CAP_SETPCAP))
		CHECK(status_hex(&after, "CapBnd:") == status_hex(&after, "CapEff:"));
	/* And what it starts can be confined. */
	line = child_case(user);
	CHECK(line == 0 || (fprintf(stderr, "line %d\n", line), false));
	return 0;
}

static void test_starter_can_confine_its_children(void **state)
{
	(void)state;
	run_case(starter_case);
}

static int starter_files_case(const struct confine_user *user)
{
	char path[] = "/tmp/portald-confine-XXXXXX";
	int fd = mkstemp(path), read_fd, write_fd;

	CHECK(fd >= 0);
	CHECK(fchmod(fd, 0) == 0 && fchown(fd, user->uid, user->gid) == 0);
	CHECK(confine_starter() == 0);
	read_fd = open(path, O_RDONLY | O_CLOEXEC);
	write_fd = open(path, O_WRONLY | O_CLOEXEC);
	/* The directory is sticky and root's own. */
	CHECK(unlink(path) == 0);
	CHECK(read_fd >= 0);
	CHECK(write_fd < 0);
	return 0;
}

static void test_starter_reads_any_file_and_writes_none(void **state)
{
	(void)state;
	if (!is_root())
		skip();
	run_case(starter_files_case);
}

/* ---- system calls of a relay ---- */

/* Everything that a relay is, on the way to its first client. */
#define CONFINE_RELAY(user)                                                                                  \
	do {                                                                                                 \
		CHECK(confine_child(user) == 0);                                                             \
		CHECK(confine_relay_seccomp() == 0);                                                         \
	} while (0)

#define DENIED(call) (errno = 0, (call) == -1 && errno == EPERM)

static int denied_files_case(const struct confine_user *user)
{
	char *const arguments[] = {"true", NULL}, *const environment[] = {NULL};

	CONFINE_RELAY(user);
	CHECK(DENIED(open("/tmp/portald-denied", O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
	CHECK(DENIED(open("/proc/self/mem", O_RDWR | O_CLOEXEC)));
	CHECK(confine_is_relaxed || DENIED(open("/etc/passwd", O_RDONLY | O_CLOEXEC)));
	CHECK(confine_is_relaxed || DENIED(open("/dev/null", O_RDONLY | O_CLOEXEC)));
	CHECK(DENIED(unlink("/tmp/portald-denied")));
	CHECK(DENIED(mkdir("/tmp/portald-denied", 0700)));
	CHECK(DENIED(chdir("/")));
	CHECK(DENIED(execve("/bin/true", arguments, environment)));
	CHECK(DENIED(memfd_create("x", MFD_CLOEXEC)));
	return 0;
}

static void test_relay_has_no_files(void **state)
{
	(void)state;
	run_case(denied_files_case);
}

static int denied_processes_case(const struct confine_user *user)
{
	CONFINE_RELAY(user);
	CHECK(confine_is_relaxed || DENIED(fork()));
	CHECK(DENIED(setuid(0)));
	CHECK(DENIED(setsid()));
	CHECK(confine_is_relaxed || DENIED(ptrace(PTRACE_TRACEME, 0, NULL, NULL)));
	CHECK(confine_is_relaxed || DENIED(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL)));
	CHECK(confine_is_relaxed || DENIED(kill(1, 0)));
	CHECK(confine_is_relaxed || DENIED(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)));
	return 0;
}

static void test_relay_has_no_other_processes(void **state)
{
	(void)state;
	run_case(denied_processes_case);
}

static int denied_code_case(const struct confine_user *user)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(page != MAP_FAILED);
	CONFINE_RELAY(user);
	CHECK(DENIED((intptr_t)mmap(
		NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
	CHECK(DENIED(mprotect(page, 4096, PROT_READ | PROT_EXEC)));
	CHECK(mprotect(page, 4096, PROT_READ) == 0);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	return 0;
}

static void test_relay_makes_no_code(void **state)
{
	(void)state;
	run_case(denied_code_case);
}

static int denied_sockets_case(const struct confine_user *user)
{
	int pair[2];

	CONFINE_RELAY(user);
	CHECK(DENIED(socket(AF_UNIX, SOCK_STREAM, 0)));
	CHECK(DENIED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)));
	CHECK(DENIED(socket(AF_NETLINK, SOCK_RAW, 0)));
	CHECK(DENIED(socket(AF_PACKET, SOCK_RAW, 0)));
	CHECK(DENIED(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)));
	CHECK(DENIED(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)));
	CHECK(DENIED(socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)));
	CHECK(DENIED(listen(0, 1)));
	CHECK(DENIED(ioctl(0, SIOCGIFCONF, NULL)));
	CHECK(DENIED(fcntl(0, F_SETLEASE, F_WRLCK)));
	return 0;
}

static void test_relay_has_no_other_sockets(void **state)
{
	(void)state;
	run_case(denied_sockets_case);
}

/* What a relay does for a living, on loopback: accept, dial, splice, send. */
static int work_tcp(int listener, const struct sockaddr_in *at, int *pipe_fds)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	int epoll = epoll_create1(EPOLL_CLOEXEC), accepted, queued;
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char bytes[8];

	CHECK(epoll >= 0 && client >= 0);
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) == 0);
	CHECK(connect(client, (const struct sockaddr *)at, sizeof(*at)) == 0);
	CHECK(epoll_wait(epoll, &event, 1, 5000) == 1);
	accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	CHECK(accepted >= 0);
	CHECK(setsockopt(accepted, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int)) == 0);
	CHECK(send(client, "request", 7, MSG_NOSIGNAL) == 7);
	CHECK(poll(&(struct pollfd){.fd = accepted, .events = POLLIN}, 1, 5000) == 1);
	CHECK(ioctl(accepted, FIONREAD, &queued) == 0 && queued == 7);
	CHECK(splice(accepted, NULL, pipe_fds[1], NULL, 4096, SPLICE_F_NONBLOCK) == 7);
	CHECK(splice(pipe_fds[0], NULL, accepted, NULL, 7, SPLICE_F_NONBLOCK) == 7);
	CHECK(recv(client, bytes, sizeof(bytes), 0) == 7 && memcmp(bytes, "request", 7) == 0);
	CHECK(ioctl(accepted, SIOCOUTQ, &queued) == 0);
	CHECK(shutdown(accepted, SHUT_WR) == 0);
	CHECK(recv(client, bytes, sizeof(bytes), 0) == 0);
	CHECK(close(client) == 0 && close(accepted) == 0 && close(epoll) == 0);
	return 0;
}

static int work_udp(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	char bytes[8];

	CHECK(fd >= 0);
	CHECK(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&at, &length) == 0);
	CHECK(sendto(fd, "x", 1, 0, (struct sockaddr *)&at, sizeof(at)) == 1);
	CHECK(recvfrom(fd, bytes, sizeof(bytes), 0, NULL, NULL) == 1);
	return close(fd) == 0 ? 0 : __LINE__;
}

static int work_case(const struct confine_user *user)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(at);
	int pipe_fds[2], line;
	void *memory;

	CHECK(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listener, 8) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&at, &length) == 0);
	CONFINE_RELAY(user);
	CHECK(pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) == 0);
	CHECK(fcntl(pipe_fds[1], F_SETPIPE_SZ, 65536) == 65536);
	CHECK(fcntl(pipe_fds[1], F_GETPIPE_SZ) == 65536);
	CHECK(fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, 10) >= 10);
	line = work_tcp(listener, &at, pipe_fds);
	CHECK(line == 0 || (fprintf(stderr, "line %d\n", line), false));
	line = work_udp();
	CHECK(line == 0 || (fprintf(stderr, "line %d\n", line), false));
	/* Large and small, from the heap's end and from maps. */
	memory = malloc((size_t)64 * 1024 * 1024);
	CHECK(memory);
	free(memory);
	return 0;
}

static void test_relay_can_do_its_work(void **state)
{
	(void)state;
	run_case(work_case);
}

static int status_case(const struct confine_user *user)
{
	bool root = is_root();
	struct status status;
	int fd = status_open(), line;

	CHECK(fd >= 0);
	CONFINE_RELAY(user);
	CHECK(status_read(&status, fd));
	line = check_child_status(user, root, &status);
	CHECK(line == 0 || (fprintf(stderr, "line %d\n", line), false));
	/* 2: by a filter. */
	CHECK(status_hex(&status, "Seccomp:") == 2);
	return 0;
}

static void test_relay_status_shows_its_confinement(void **state)
{
	(void)state;
	run_case(status_case);
}

/* A relay that finds itself broken must still be able to end. */
static void test_relay_can_abort(void **state)
{
	struct confine_user user = test_user();
	int status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		if (confine_child(&user) < 0 || confine_relay_seccomp() < 0)
			_exit(1);
		abort();
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* Root of a user namespace that knows no other user cannot become one, and there is nothing to test. */
static bool can_change_user(void)
{
	struct confine_user user;
	int status = 1;
	pid_t child = fork();

	if (child == 0)
		_exit(is_root() && (confine_user_lookup(NULL, &user) < 0 || setgroups(0, NULL) < 0 ||
					   setresuid(user.uid, user.uid, user.uid) < 0));
	return waitpid(child, &status, 0) == child && status == 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup_finds_an_unprivileged_user),
		cmocka_unit_test(test_child_has_nothing_left),
		cmocka_unit_test(test_child_loses_its_groups),
		cmocka_unit_test(test_child_keeps_no_capability_over_the_change_of_user),
		cmocka_unit_test(test_supervisor_keeps_the_network_only),
		cmocka_unit_test(test_starter_can_confine_its_children),
		cmocka_unit_test(test_starter_reads_any_file_and_writes_none),
		cmocka_unit_test(test_relay_has_no_files),
		cmocka_unit_test(test_relay_has_no_other_processes),
		cmocka_unit_test(test_relay_makes_no_code),
		cmocka_unit_test(test_relay_has_no_other_sockets),
		cmocka_unit_test(test_relay_can_do_its_work),
		cmocka_unit_test(test_relay_status_shows_its_confinement),
		cmocka_unit_test(test_relay_can_abort),
	};

	if (!can_change_user())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
