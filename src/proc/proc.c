/* The first process: reads the command line and either answers at once (plan, cleanup, help) or sets up
 * what all processes share, forks the starter and becomes the supervisor. */
#include "portald/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "portald/ipc.h"
#include "portald/log.h"
#include "portald/stats.h"
#include "proc/config_load.h"
#include "proc/confine.h"
#include "proc/host.h"
#include "proc/instance.h"
#include "proc/namespace.h"
#include "proc/notify.h"
#include "proc/options.h"
#include "proc/program.h"
#include "proc/show.h"
#include "proc/starter.h"
#include "proc/status.h"
#include "proc/supervisor.h"
#include "proc/title.h"

/* How long a new starter may take to read the configuration. */
#define STARTER_TIMEOUT_MS 40000
/* How long a starter that is no child may take to end. */
#define LIFE_TIMEOUT_MS 5000

/* For one run of a firewall tool in `portald cleanup`. */
#define CLEANUP_TIMEOUT_MS 20000

/* Copies standard input into memory: it can be read once only, but control may be started again. Returns a
 * descriptor or a negative errno. */
static int spool_stdin(void)
{
	int fd = memfd_create("portald-stdin", MFD_CLOEXEC);
	char buffer[65536];
	size_t total = 0;
	ssize_t got;

	if (fd < 0)
		return -errno;
	while ((got = read(STDIN_FILENO, buffer, sizeof(buffer))) > 0) {
		total += (size_t)got;
		if (total > SOURCE_MAX_FILE_BYTES || write(fd, buffer, (size_t)got) != got) {
			close(fd);
			return -EFBIG;
		}
	}
	if (got == 0)
		return fd;
	close(fd);
	return -errno;
}

/* Checks every manifest path, and spools standard input where one of them is "-". */
static int open_manifests(const struct options *options, struct starter_setup *setup)
{
	struct stat info;

	for (size_t i = 0; i < options->manifest_count; i++) {
		const char *path = options->manifests[i];

		if (strcmp(path, "-") == 0) {
			/* The process before has read it. */
			if (setup->stdin_fd >= 0)
				continue;
			setup->stdin_fd = spool_stdin();
			if (setup->stdin_fd >= 0)
				continue;
			errno = -setup->stdin_fd;
		} else if (stat(path, &info) == 0 && access(path, R_OK) == 0) {
			continue;
		}
		log_error("cannot read manifests", log_str("path", path), log_errno("error", errno));
		return -ENOENT;
	}
	setup->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (setup->inotify_fd < 0)
		log_warning("cannot watch for changes: files are compared every second instead",
			log_errno("error", errno));
	return 0;
}

/* Descriptors are what a proxy runs out of first. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Forks the starter. Returns the supervisor's end of the channel or a negative errno. */
static int fork_starter(const struct starter_setup *setup, int instance_fd, pid_t *pid)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	*pid = fork();
	if (*pid < 0) {
		close(pair[0]);
		close(pair[1]);
		return -errno;
	}
	if (*pid == 0) {
		close(pair[0]);
		/* The claim ends with the supervisor. */
		if (instance_fd >= 0)
			close(instance_fd);
		_exit(starter_run(setup, pair[1]));
	}
	close(pair[1]);
	return pair[0];
}

/* What only the starter needs is not kept in the supervisor. */
static void close_starter_files(struct starter_setup *setup)
{
	access_log_close(&setup->access_log);
	if (setup->stdin_fd >= 0)
		close(setup->stdin_fd);
	if (setup->inotify_fd >= 0)
		close(setup->inotify_fd);
	/* Its number still tells that it was made. */
	if (setup->status_fd >= 0)
		close(setup->status_fd);
}

/* Everything a supervisor needs before it may begin. Returns 0 or a negative errno (logged). */
static int prepare_supervisor(const struct options *options, struct supervisor_setup *setup)
{
	int rc = options->command == OPTIONS_RUN ? namespace_enter() : 0;

	if (rc < 0)
		return rc;
	setup->stats_fd = stats_create();
	if (setup->stats_fd < 0) {
		log_error("cannot make the shared counters", log_errno("error", -setup->stats_fd));
		return setup->stats_fd;
	}
	rc = confine_supervisor();
	if (rc < 0)
		log_error("cannot give up privilege", log_errno("error", -rc));
	return rc;
}

static int become_supervisor(struct supervisor_setup *setup)
{
	bool in_charge = false;
	int exit_code = 1;

	title_set(setup->title, "supervisor");
	signal(SIGPIPE, SIG_IGN);
	if (prepare_supervisor(setup->options, setup) == 0)
		exit_code = supervisor_run(setup, &in_charge);
	else
		close(setup->starter_fd);
	if (setup->stats_fd >= 0)
		close(setup->stats_fd);
	if (in_charge)
		status_socket_remove(setup->options, setup->status_fd);
	return exit_code;
}

static int check_privilege(const struct options *options)
{
	if (options->command != OPTIONS_DAEMON || options->steering == OPTIONS_STEERING_NONE ||
		geteuid() == 0)
		return 0;
	log_error("rules need root: use `portald run`, or --steering=none");
	return -EPERM;
}

static int find_user(const struct options *options, struct confine_user *user)
{
	int rc = confine_user_lookup(options->user, user);

	if (rc < 0)
		log_error("no such user", log_str("user", options->user ? options->user : "nobody"),
			log_errno("error", -rc));
	return rc;
}

/* What main found out. */
struct start {
	struct title title;
	struct program program;
	struct successor successor;
	struct config_stamp config;
	struct notify_target notify;
	bool notify_failed; /* what the environment says makes no sense */
};

static struct starter_setup starter_setup_of(const struct options *options, const struct start *start)
{
	return (struct starter_setup){
		.options = options,
		.title = &start->title,
		.access_log = {.read_fd = -1, .write_fd = -1},
		.inotify_fd = -1,
		.status_fd = -1,
		.config = start->config,
		.stdin_fd = -1,
		.program = &start->program,
		.life_fd = -1,
	};
}

static struct supervisor_setup supervisor_setup_of(const struct options *options, const struct start *start)
{
	return (struct supervisor_setup){
		.options = options,
		.stats_fd = -1,
		.notify = &start->notify,
		.title = &start->title,
		.program = &start->program,
		.successor = &start->successor,
		.instance_fd = -1,
		.status_fd = -1,
	};
}

static void check_notify_target(const struct start *start)
{
	if (start->notify_failed)
		log_warning(
			"NOTIFY_SOCKET or WATCHDOG_USEC makes no sense: the service manager is told nothing");
}

static int proc_daemon(const struct options *options, const struct start *start)
{
	struct starter_setup setup = starter_setup_of(options, start);
	struct supervisor_setup supervisor;
	pid_t starter = -1;
	int instance_fd = -1, exit_code;

	log_init("supervisor", options->log_format, options->verbosity);
	check_notify_target(start);
	if (check_privilege(options) < 0 || find_user(options, &setup.user) < 0)
		return 1;
	if (!options->init_only && instance_claim(options, &instance_fd) < 0)
		return 1;
	config_log_ignored(options);
	host_prepare(options);
	if (options->init_only)
		return 0;
	if (open_manifests(options, &setup) < 0 || access_log_open(&setup.access_log, options) < 0 ||
		status_socket_open(options, &setup.status_fd) < 0)
		return 1;
	raise_descriptor_limit();
	supervisor = supervisor_setup_of(options, start);
	supervisor.instance_fd = instance_fd;
	supervisor.status_fd = setup.status_fd;
	supervisor.starter_fd = fork_starter(&setup, instance_fd, &starter);
	close_starter_files(&setup);
	if (supervisor.starter_fd < 0) {
		log_error("cannot fork", log_errno("error", -supervisor.starter_fd));
		return 1;
	}
	exit_code = become_supervisor(&supervisor);
	/* The closed channel ends the starter, after its children. */
	while (waitpid(starter, NULL, 0) < 0 && errno == EINTR)
		;
	return exit_code;
}

/* ---- the program, executed anew ---- */

/* What the host has for the daemon was made by the process before, which still serves. */
static int succeed_as_supervisor(const struct options *options, const struct start *start)
{
	const struct successor *successor = &start->successor;
	struct supervisor_setup setup;
	struct pollfd life = {.fd = successor->life_fd};
	int exit_code;

	check_notify_target(start);
	/* A ^C reaches this process and the keeper, which passes it on: the second is to do nothing, while
	 * the first is obeyed. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (check_privilege(options) < 0)
		return 1;
	config_log_ignored(options);
	raise_descriptor_limit();
	setup = supervisor_setup_of(options, start);
	setup.starter_fd = successor->starter_fd;
	setup.instance_fd = successor->instance_fd;
	setup.status_fd = successor->status_fd;
	exit_code = become_supervisor(&setup);
	/* The starter is no child of this process. Its end of the pipe closes when all of its children have
	 * ended. */
	poll(&life, 1, LIFE_TIMEOUT_MS);
	return exit_code;
}

static int succeed_as_starter(const struct options *options, const struct start *start)
{
	const struct successor *successor = &start->successor;
	struct starter_setup setup = starter_setup_of(options, start);

	alarm(0);
	setup.succeeds = true;
	setup.status_fd = successor->status_fd;
	setup.stdin_fd = successor->stdin_fd;
	setup.life_fd = successor->life_fd;
	if (find_user(options, &setup.user) < 0 || open_manifests(options, &setup) < 0 ||
		access_log_open(&setup.access_log, options) < 0)
		return 1;
	return starter_run(&setup, successor->starter_fd);
}

static int proc_cleanup(const struct options *options)
{
	log_init("cleanup", options->log_format, options->verbosity);
	/* It would put back what was taken from it. */
	if (instance_is_running())
		return 1;
	return steering_cleanup(CLEANUP_TIMEOUT_MS) < 0 ? 1 : 0;
}

static int proc_write_config(const struct options *options)
{
	log_init("config", options->log_format, options->verbosity);
	return config_write(options) < 0 ? 1 : 0;
}

static int run_command(const struct options *options, const struct start *start)
{
	if (options->command <= OPTIONS_PLAN && options->write_config_to)
		return proc_write_config(options);
	switch (options->command) {
	case OPTIONS_HELP:
		options_print_help(stdout);
		return 0;
	case OPTIONS_VERSION:
		puts(options->raw_version ? "{\"name\": \"portald\", \"version\": \"" PACKAGE_VERSION "\"}"
					  : "portald " PACKAGE_VERSION);
		return 0;
	case OPTIONS_PLAN:
		return show_plan(options);
	case OPTIONS_STATUS:
	case OPTIONS_EXPLAIN:
		return status_ask(options);
	case OPTIONS_CLEANUP:
		return proc_cleanup(options);
	default:
		break;
	}
	/* It is for the supervisor, when that is ready. Who sends it to all by their name means no harm. */
	signal(SIGUSR2, SIG_IGN);
	switch (start->successor.role) {
	case SUCCESSOR_SUPERVISOR:
		return succeed_as_supervisor(options, start);
	case SUCCESSOR_STARTER:
		return succeed_as_starter(options, start);
	default:
		return proc_daemon(options, start);
	}
}

/* The new starter says what the file says: it has the right to read it, and to leave that to somebody without
 * rights. It says so without a file too, so that it is known to be there. Returns 0 or a negative errno. */
static int ask_starter(int fd, struct settings *file)
{
	struct ipc_channel *channel;
	struct ipc_storage storage;
	struct ipc_frame frame;
	const char *text;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), rc;

	if (copy < 0)
		return -errno;
	channel = ipc_channel_new(copy);
	rc = ipc_receive_wait(channel, &frame, STARTER_TIMEOUT_MS);
	if (rc > 0 && ipc_decode_settings(&frame, &text, &storage) == 0) {
		rc = settings_from_text(file, text);
		ipc_storage_free(&storage);
	} else if (rc >= 0) {
		rc = -EPROTO;
	}
	ipc_channel_free(channel);
	if (rc < 0)
		log_error("there is no new starter", log_errno("error", -rc));
	return rc;
}

/* Takes in what the configuration file says, for the commands that it is for. Returns 0 or an exit code. */
static int read_config(struct options *options, const struct successor *successor)
{
	struct settings file = {.count = 0};
	struct options whole;
	int rc;

	if (options->command > OPTIONS_PLAN)
		return 0;
	if (successor->role == SUCCESSOR_SUPERVISOR && ask_starter(successor->starter_fd, &file) < 0)
		return 1;
	if (!options->config_path) {
		settings_fini(&file);
		return 0;
	}
	if (successor->role != SUCCESSOR_SUPERVISOR && config_load(options, &file) < 0)
		return 1;
	rc = options_configure(&whole, options, &file, stderr);
	settings_fini(&file);
	if (rc < 0)
		return 2;
	options_fini(options);
	*options = whole;
	return 0;
}

/* Returns the exit code. */
static int parse_and_run(struct start *start, int argc, char **argv)
{
	struct options options;
	int exit_code;

	start->notify_failed = notify_target_take(&start->notify) < 0;
	if (successor_take(&start->successor) < 0) {
		fputs("portald: PORTALD_SUCCESSOR is for portald itself\n", stderr);
		return 2;
	}
	if (options_parse(&options, argc, argv, stderr) < 0)
		return 2;
	if (start->successor.role != SUCCESSOR_NONE)
		log_init(start->successor.role == SUCCESSOR_STARTER ? "starter" : "supervisor",
			options.log_format, options.verbosity);
	/* Before the file is read: what is written later is noticed. */
	start->config = config_stamp_of(options.config_path);
	exit_code = read_config(&options, &start->successor);
	if (exit_code == 0)
		exit_code = run_command(&options, start);
	options_fini(&options);
	return exit_code;
}

int proc_main(int argc, char **argv)
{
	struct start start;
	int exit_code = 1;

	if (title_init(&start.title, argc, argv) < 0)
		return 1;
	if (program_init(&start.program, argv) == 0) {
		exit_code = parse_and_run(&start, argc, argv);
		program_fini(&start.program);
	}
	title_fini(&start.title);
	return exit_code;
}
