/* Owns the run of an exec plugin: a child with three descriptors (nothing to read, two pipes to us), in a
 * process group of its own, under a deadline. Runs in control; nothing waits for the child but a timer.
 *
 *     idle     plugin_start: spawn                          -> running, or done(problem)
 *     running  a pipe is readable: keep what it says        -> running
 *     running  tick: the child has ended                    -> idle, done()
 *     running  tick: the deadline has passed: kill          -> running, until the child has ended
 */
#include "api/plugin.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/log.h"
#include "portald/mem.h"

/* Room for a certificate chain and its key many times over. */
#define OUT_MAX_BYTES ((size_t)1024 * 1024)
#define ERR_MAX_BYTES ((size_t)16 * 1024)

/* More of what it says than this helps nobody. */
#define ERR_SHOWN_BYTES 300

#define TICK_MS 10

#define INFO_NAME "KUBERNETES_EXEC_INFO"

/* ---- pipes ---- */

static void pipe_close(struct plugin_pipe *pipe)
{
	if (pipe->readable)
		event_free(pipe->readable);
	if (pipe->fd >= 0)
		close(pipe->fd);
	pipe->readable = NULL;
	pipe->fd = -1;
}

static void pipe_fini(struct plugin_pipe *pipe)
{
	pipe_close(pipe);
	free(pipe->bytes);
	pipe->bytes = NULL;
	pipe->count = 0;
}

/* Takes what is there. What is beyond the limit is read and dropped, so that the child doesn't hang. */
static void pipe_read(struct plugin_pipe *pipe)
{
	char buf[4096];
	ssize_t got;

	while (pipe->fd >= 0 && (got = read(pipe->fd, buf, sizeof(buf))) != 0) {
		size_t room = pipe->limit - pipe->count;
		size_t taken = got > 0 && (size_t)got > room ? room : (size_t)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return;
		memcpy(pipe->bytes + pipe->count, buf, taken);
		pipe->count += taken;
		pipe->bytes[pipe->count] = '\0';
	}
	pipe_close(pipe);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	pipe_read(context);
}

/* Takes fd, our end. */
static void pipe_open_take(struct plugin_pipe *pipe, struct event_base *base, int fd, size_t limit)
{
	*pipe = (struct plugin_pipe){.fd = fd, .limit = limit, .bytes = mem_calloc(1, limit + 1)};
	fcntl(fd, F_SETFL, O_NONBLOCK);
	pipe->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, pipe);
	event_add(pipe->readable, NULL);
}

/* ---- the environment ---- */

static bool is_named(const char *entry, const char *name)
{
	size_t length = strlen(name);

	return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

static bool is_replaced(const struct kubeconfig_exec *exec, const char *entry)
{
	bool found = is_named(entry, INFO_NAME);

	for (size_t i = 0; i < exec->env_count; i++)
		found = found || is_named(entry, exec->env[i].name);
	return found;
}

/* Our own environment with what the kubeconfig adds, in fresh memory. */
static char **make_environment(const struct kubeconfig *config)
{
	const struct kubeconfig_exec *exec = config->exec;
	size_t count = 0, capacity = 0;
	char **list = NULL, *info = kubeconfig_exec_info(config);

	for (char **entry = environ; *entry; entry++) {
		if (is_replaced(exec, *entry))
			continue;
		list = mem_grow(list, count, &capacity, sizeof(*list));
		list[count++] = mem_strdup(*entry);
	}
	for (size_t i = 0; i < exec->env_count; i++) {
		list = mem_grow(list, count, &capacity, sizeof(*list));
		list[count++] = mem_printf("%s=%s", exec->env[i].name, exec->env[i].value);
	}
	list = mem_grow(list, count, &capacity, sizeof(*list));
	list[count++] = mem_printf(INFO_NAME "=%s", info);
	list = mem_grow(list, count, &capacity, sizeof(*list));
	list[count] = NULL;
	free(info);
	return list;
}

static void free_environment(char **list)
{
	for (size_t i = 0; list[i]; i++)
		free(list[i]);
	free(list);
}

/* ---- spawning ---- */

static int add_actions(posix_spawn_file_actions_t *actions, int out, int err)
{
	int error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

	error = error ? error : posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO);
	error = error ? error : posix_spawn_file_actions_adddup2(actions, err, STDERR_FILENO);
	/* Whatever else is open, marked or not, and whoever opened it. */
	return error ? error : posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
}

/* A group of its own, to be killed with its children; signals as in a new session. */
static int set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	int error;

	sigemptyset(&none);
	sigfillset(&all);
	error = posix_spawnattr_setsigmask(attributes, &none);
	error = error ? error : posix_spawnattr_setsigdefault(attributes, &all);
	error = error ? error : posix_spawnattr_setpgroup(attributes, 0);
	return error ? error
		     : posix_spawnattr_setflags(attributes,
			       POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

/* Returns 0 or a negative errno. out and err are the child's ends. */
static int spawn(struct plugin *plugin, int out, int err)
{
	const struct kubeconfig_exec *exec = plugin->config->exec;
	char **environment = make_environment(plugin->config);
	char **args = mem_calloc(exec->arg_count + 2, sizeof(*args));
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int error;

	args[0] = exec->command;
	for (size_t i = 0; i < exec->arg_count; i++)
		args[i + 1] = exec->args[i];
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	error = add_actions(&actions, out, err);
	error = error ? error : set_attributes(&attributes);
	if (error == 0)
		error = posix_spawnp(&plugin->pid, exec->command, &actions, &attributes, args, environment);
	if (error != 0)
		plugin->pid = 0;
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	free(args);
	free_environment(environment);
	return -error;
}

/* Opens the pipes and starts the child. Returns 0 or a negative errno. */
static int start(struct plugin *plugin)
{
	int out[2], err[2], rc;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(err, O_CLOEXEC) < 0) {
		rc = -errno;
		close(out[0]);
		close(out[1]);
		return rc;
	}
	rc = spawn(plugin, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	if (rc < 0) {
		close(out[0]);
		close(err[0]);
		return rc;
	}
	pipe_open_take(&plugin->out, plugin->base, out[0], OUT_MAX_BYTES);
	pipe_open_take(&plugin->err, plugin->base, err[0], ERR_MAX_BYTES);
	return 0;
}

/* ---- its end ---- */

/* The last line that says something, cut and made fit to be shown; "" without one. Points into text. */
static const char *last_line(char *text)
{
	size_t length = strlen(text);
	char *line;

	while (length > 0 && (unsigned char)text[length - 1] <= ' ')
		text[--length] = '\0';
	line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	if (strlen(line) > ERR_SHOWN_BYTES)
		line[ERR_SHOWN_BYTES] = '\0';
	return line;
}

/* What to say of the end, in fresh memory; NULL if it went well. */
static char *judge(struct plugin *plugin, int status)
{
	const char *said = last_line(plugin->err.bytes);
	const char *colon = *said ? ": " : "";

	if (plugin->timed_out)
		return mem_printf(
			"it was killed after %lld ms%s%s", (long long)plugin->timeout_ms, colon, said);
	if (WIFSIGNALED(status))
		return mem_printf("it ended by signal %d%s%s", WTERMSIG(status), colon, said);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return mem_printf("exit code %d%s%s", WEXITSTATUS(status), colon, said);
	if (plugin->out.count == plugin->out.limit)
		return mem_strdup("it printed too much");
	return NULL;
}

static void report(struct plugin *plugin, struct kubeconfig_credential *credential, const char *problem)
{
	const struct kubeconfig_exec *exec = plugin->config->exec;
	char *message;

	if (!problem) {
		plugin->done(plugin->context, credential, NULL);
		return;
	}
	message = mem_printf("exec plugin %s: %s", exec->command, problem);
	plugin->done(plugin->context, NULL, message);
	free(message);
}

static void finish(struct plugin *plugin, int status)
{
	struct kubeconfig_credential credential;
	char *problem;

	plugin->pid = 0;
	event_del(plugin->tick);
	pipe_read(&plugin->out);
	pipe_read(&plugin->err);
	problem = judge(plugin, status);
	if (!problem)
		kubeconfig_credential_decode(plugin->out.bytes, plugin->out.count,
			plugin->config->exec->api_version, &credential, &problem);
	explicit_bzero(plugin->out.bytes, plugin->out.count);
	log_v(4, "exec plugin has run", log_str("command", plugin->config->exec->command),
		log_str("problem", problem));
	report(plugin, &credential, problem);
	free(problem);
	pipe_fini(&plugin->out);
	pipe_fini(&plugin->err);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
	struct plugin *plugin = context;
	int status = 0;
	pid_t pid = waitpid(plugin->pid, &status, WNOHANG);

	(void)fd;
	(void)what;
	if (pid == plugin->pid || (pid < 0 && errno != EINTR)) {
		/* A status that somebody else has taken is as good as a failure. */
		finish(plugin, pid < 0 ? 1 << 8 : status);
		return;
	}
	if (clock_now_ms() < plugin->deadline_ms || plugin->timed_out)
		return;
	plugin->timed_out = true;
	kill(-plugin->pid, SIGKILL);
}

void plugin_start(struct plugin *plugin, int64_t now_ms)
{
	const struct timeval interval = {.tv_usec = TICK_MS * 1000};
	const char *hint = plugin->config->exec->install_hint;
	char *problem;
	int rc;

	if (plugin->pid > 0)
		return;
	rc = start(plugin);
	if (rc < 0) {
		problem = mem_printf(
			"cannot be run: %s%s%s", strerrordesc_np(-rc), hint ? ": " : "", hint ? hint : "");
		report(plugin, NULL, problem);
		free(problem);
		return;
	}
	plugin->timed_out = false;
	plugin->deadline_ms = now_ms + plugin->timeout_ms;
	event_add(plugin->tick, &interval);
}

void plugin_init(struct plugin *plugin, struct event_base *base, const struct kubeconfig *config,
	int64_t timeout_ms, plugin_done_fn *done, void *context)
{
	*plugin = (struct plugin){.base = base,
		.config = config,
		.timeout_ms = timeout_ms,
		.done = done,
		.context = context,
		.out.fd = -1,
		.err.fd = -1};
	plugin->tick = event_new(base, -1, EV_PERSIST, on_tick, plugin);
}

void plugin_fini(struct plugin *plugin)
{
	if (plugin->pid > 0) {
		kill(-plugin->pid, SIGKILL);
		waitpid(plugin->pid, NULL, 0);
	}
	pipe_fini(&plugin->out);
	pipe_fini(&plugin->err);
	if (plugin->tick)
		event_free(plugin->tick);
}
