/* The first process: reads the command line and either answers at once (plan, cleanup, help) or sets up
 * what all processes share, forks the starter and becomes the supervisor. */
#include "portald/proc.h"

#include <errno.h>
#include <fcntl.h>
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
#include "portald/log.h"
#include "portald/stats.h"
#include "proc/config_load.h"
#include "proc/confine.h"
#include "proc/host.h"
#include "proc/instance.h"
#include "proc/namespace.h"
#include "proc/notify.h"
#include "proc/options.h"
#include "proc/show.h"
#include "proc/starter.h"
#include "proc/status.h"
#include "proc/supervisor.h"
#include "proc/title.h"

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

static int become_supervisor(const struct options *options, const struct title *title,
	const struct notify_target *notify, int starter_fd)
{
	struct supervisor_setup setup = {
		.options = options,
		.starter_fd = starter_fd,
		.stats_fd = -1,
		.notify = notify,
	};
	int exit_code = 1;

	title_set(title, "supervisor");
	signal(SIGPIPE, SIG_IGN);
	if (prepare_supervisor(options, &setup) == 0)
		exit_code = supervisor_run(&setup);
	else
		close(starter_fd);
	if (setup.stats_fd >= 0)
		close(setup.stats_fd);
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

static int proc_daemon(const struct options *options, const struct title *title, struct config_stamp config)
{
	struct starter_setup setup = {
		.options = options,
		.title = title,
		.access_log = {.read_fd = -1, .write_fd = -1},
		.inotify_fd = -1,
		.status_fd = -1,
		.config = config,
		.stdin_fd = -1,
	};
	struct notify_target notify;
	pid_t starter = -1;
	int starter_fd, instance_fd = -1, exit_code;

	log_init("supervisor", options->log_format, options->verbosity);
	if (notify_target_take(&notify) < 0)
		log_warning(
			"NOTIFY_SOCKET or WATCHDOG_USEC makes no sense: the service manager is told nothing");
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
	starter_fd = fork_starter(&setup, instance_fd, &starter);
	close_starter_files(&setup);
	if (starter_fd < 0) {
		log_error("cannot fork", log_errno("error", -starter_fd));
		return 1;
	}
	exit_code = become_supervisor(options, title, &notify, starter_fd);
	/* The closed channel ends the starter, after its children. */
	while (waitpid(starter, NULL, 0) < 0 && errno == EINTR)
		;
	status_socket_remove(options, setup.status_fd);
	return exit_code;
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

static int run_command(const struct options *options, const struct title *title, struct config_stamp config)
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
		return proc_daemon(options, title, config);
	}
}

/* Takes in what the configuration file says, for the commands that it is for. Returns 0 or an exit code. */
static int read_config(struct options *options)
{
	struct settings file;
	struct options whole;
	int rc;

	if (!options->config_path || options->command > OPTIONS_PLAN)
		return 0;
	if (config_load(options, &file) < 0)
		return 1;
	rc = options_configure(&whole, options, &file, stderr);
	settings_fini(&file);
	if (rc < 0)
		return 2;
	options_fini(options);
	*options = whole;
	return 0;
}

int proc_main(int argc, char **argv)
{
	struct config_stamp config;
	struct options options;
	struct title title;
	int exit_code;

	if (title_init(&title, argc, argv) < 0)
		return 1;
	if (options_parse(&options, argc, argv, stderr) < 0)
		return 2;
	/* Before the file is read: what is written later is noticed. */
	config = config_stamp_of(options.config_path);
	exit_code = read_config(&options);
	if (exit_code == 0)
		exit_code = run_command(&options, &title, config);
	options_fini(&options);
	return exit_code;
}
