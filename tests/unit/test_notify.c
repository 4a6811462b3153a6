/* What the service manager is told: a real datagram socket takes its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "proc/notify.h"

#define DEADLINE_MS 10000

struct fixture {
	struct event_base *base;
	int manager; /* the service manager's socket */
	char name[64];
	struct notify *notify;
	bool well;
};

static bool is_well(void *context)
{
	return ((struct fixture *)context)->well;
}

/* A socket in the abstract namespace: nothing is left of it. */
static int setup(void **state)
{
	struct fixture *fixture = mem_calloc(1, sizeof(*fixture));
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int length = snprintf(fixture->name, sizeof(fixture->name), "@portald-test-%d", (int)getpid());

	memcpy(at.sun_path + 1, fixture->name + 1, (size_t)length - 1);
	fixture->base = event_base_new();
	fixture->well = true;
	fixture->manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	*state = fixture;
	return bind(fixture->manager, (struct sockaddr *)&at,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length));
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	notify_free(fixture->notify);
	event_base_free(fixture->base);
	if (fixture->manager >= 0)
		close(fixture->manager);
	free(fixture);
	return 0;
}

static void begin(struct fixture *fixture, const char *watchdog_us)
{
	struct notify_target target;

	setenv("NOTIFY_SOCKET", fixture->name, 1);
	if (watchdog_us)
		setenv("WATCHDOG_USEC", watchdog_us, 1);
	assert_int_equal(notify_target_take(&target), 0);
	fixture->notify = notify_new(fixture->base, &target, is_well, fixture);
}

/* The next message, or "" if there is none. */
static const char *message(struct fixture *fixture)
{
	static char text[1024];
	ssize_t got = recv(fixture->manager, text, sizeof(text) - 1, 0);

	text[got > 0 ? got : 0] = '\0';
	return text;
}

static void assert_told(struct fixture *fixture, const char *expected)
{
	assert_string_equal(message(fixture), expected);
}

/* Runs the loop until there is a message. */
static const char *await_message(struct fixture *fixture)
{
	struct pollfd wait = {.fd = fixture->manager, .events = POLLIN};

	for (int i = 0; i < DEADLINE_MS && poll(&wait, 1, 1) == 0; i++)
		event_base_loop(fixture->base, EVLOOP_NONBLOCK);
	return message(fixture);
}

/* ---- the environment ---- */

static int take(const char *name, const char *period, const char *pid, struct notify_target *target)
{
	name ? setenv("NOTIFY_SOCKET", name, 1) : unsetenv("NOTIFY_SOCKET");
	period ? setenv("WATCHDOG_USEC", period, 1) : unsetenv("WATCHDOG_USEC");
	pid ? setenv("WATCHDOG_PID", pid, 1) : unsetenv("WATCHDOG_PID");
	return notify_target_take(target);
}

static void test_environment_is_taken_so_that_no_child_inherits_it(void **state)
{
	struct notify_target target;
	char pid[16];

	(void)state;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_int_equal(take("/run/notify", "30000000", pid, &target), 0);
	assert_string_equal(target.socket.sun_path, "/run/notify");
	assert_int_equal(target.watchdog_us, 30000000);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	assert_null(getenv("WATCHDOG_PID"));
}

static void test_no_service_manager_is_no_error(void **state)
{
	struct notify_target target;

	(void)state;
	assert_int_equal(take(NULL, NULL, NULL, &target), 0);
	assert_int_equal(target.socket_bytes, 0);
	assert_int_equal(take("", "1000000", NULL, &target), 0);
	assert_int_equal(target.socket_bytes, 0);
	assert_int_equal(target.watchdog_us, 0);
}

static void test_watchdog_of_another_process_is_not_ours(void **state)
{
	struct notify_target target;

	(void)state;
	assert_int_equal(take("/run/notify", "30000000", "1", &target), 0);
	assert_int_equal(target.watchdog_us, 0);
	assert_true(target.socket_bytes > 0);
}

static void test_nonsense_is_refused(void **state)
{
	static const char *const cases[][3] = {
		{"run/notify", NULL, NULL},
		{"/", NULL, NULL},
		{"@", NULL, NULL},
		{"vsock:2:1234", NULL, NULL},
		{"/run/notify", "0", NULL},
		{"/run/notify", "-1", NULL},
		{"/run/notify", "soon", NULL},
		{"/run/notify", "10s", NULL},
		{"/run/notify", "99999999999999999999999", NULL},
		{"/run/notify", "1000000", "me"},
	};
	struct notify_target target;
	char long_name[200];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(take(cases[i][0], cases[i][1], cases[i][2], &target), -EINVAL);
		assert_int_equal(target.socket_bytes, 0);
		assert_int_equal(target.watchdog_us, 0);
		assert_null(getenv("NOTIFY_SOCKET"));
	}
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[0] = '/';
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(take(long_name, NULL, NULL, &target), -EINVAL);
}

/* ---- messages ---- */

static void test_ready_is_said_when_it_is_and_not_before(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, NULL);
	assert_told(fixture, "STATUS=Starting\n");
	notify_status(fixture->notify, "Waiting");
	assert_told(fixture, "STATUS=Waiting\n");
	notify_ready(fixture->notify, "Serving");
	assert_told(fixture, "READY=1\nSTATUS=Serving\n");
	notify_status(fixture->notify, "Behind");
	assert_told(fixture, "READY=1\nSTATUS=Behind\n");
}

static void test_a_status_cannot_smuggle_in_a_message(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, NULL);
	message(fixture);
	notify_status(fixture->notify, "one\nREADY=1");
	assert_told(fixture, "STATUS=one\n");
}

static void test_stopping_is_the_last_word(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, "20000");
	notify_ready(fixture->notify, "Serving");
	message(fixture);
	message(fixture);
	notify_stopping(fixture->notify);
	notify_stopping(fixture->notify);
	notify_ready(fixture->notify, "Serving");
	assert_told(fixture, "STOPPING=1\nSTATUS=Stopping\n");
	usleep(50000);
	event_base_loop(fixture->base, EVLOOP_NONBLOCK);
	assert_told(fixture, "");
}

static void test_signs_of_life_go_on_while_all_is_well(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, "20000");
	notify_ready(fixture->notify, "Serving");
	message(fixture);
	message(fixture);
	for (int i = 0; i < 3; i++)
		assert_string_equal(await_message(fixture), "READY=1\nWATCHDOG=1\nSTATUS=Serving\n");
}

static void test_no_sign_of_life_while_something_is_wrong(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, "20000");
	message(fixture);
	fixture->well = false;
	for (int i = 0; i < 5; i++) {
		usleep(11000);
		event_base_loop(fixture->base, EVLOOP_NONBLOCK);
	}
	assert_told(fixture, "");
	fixture->well = true;
	assert_string_equal(await_message(fixture), "WATCHDOG=1\nSTATUS=Starting\n");
}

/* The queue of a datagram socket is short; a manager that is busy must not be taken for one that knows. */
static void test_what_a_full_socket_did_not_take_is_said_again(void **state)
{
	struct fixture *fixture = *state;
	int left = 5000;

	begin(fixture, NULL);
	for (int i = 0; i < left; i++)
		notify_status(fixture->notify, "Waiting");
	notify_ready(fixture->notify, "Serving");
	while (*message(fixture) && left-- > 0)
		;
	assert_string_equal(await_message(fixture), "READY=1\nSTATUS=Serving\n");
}

static void test_without_a_service_manager_nothing_is_sent(void **state)
{
	struct fixture *fixture = *state;
	struct notify_target target;

	take(NULL, NULL, NULL, &target);
	fixture->notify = notify_new(fixture->base, &target, is_well, fixture);
	notify_ready(fixture->notify, "Serving");
	notify_stopping(fixture->notify);
	assert_told(fixture, "");
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_environment_is_taken_so_that_no_child_inherits_it),
		cmocka_unit_test(test_no_service_manager_is_no_error),
		cmocka_unit_test(test_watchdog_of_another_process_is_not_ours),
		cmocka_unit_test(test_nonsense_is_refused),
		WITH(test_ready_is_said_when_it_is_and_not_before),
		WITH(test_a_status_cannot_smuggle_in_a_message),
		WITH(test_stopping_is_the_last_word),
		WITH(test_signs_of_life_go_on_while_all_is_well),
		WITH(test_no_sign_of_life_while_something_is_wrong),
		WITH(test_what_a_full_socket_did_not_take_is_said_again),
		WITH(test_without_a_service_manager_nothing_is_sent),
	};

	log_init("test", LOG_TEXT, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
