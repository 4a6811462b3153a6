/* Owns the step from a configuration file to settings, and back. The first process has root's power, so it
 * does not parse the file itself: it forks a reader, which opens the file, gives up all privilege, parses,
 * and sends the settings back as text. Their values are then read by the same code as the command line's. */
#include "proc/config_load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "portald/clock.h"
#include "portald/files.h"
#include "portald/log.h"
#include "portald/mem.h"
#include "proc/config_fields.h"
#include "proc/confine.h"
#include "proc/flags.h"

/* For the reader, which only reads one file. */
#define READER_TIMEOUT_MS 30000
/* What ends the settings that a reader sends. */
#define TEXT_END ".\n"

/* ---- parsing ---- */

struct parse {
	struct settings *settings;
	struct options scratch; /* takes every value, to see whether it is right */
	void (*print)(enum source_severity severity, const char *line);
};

static const char *on_value(void *context, const struct config_field *field, const char *text)
{
	struct parse *parse = context;
	const struct flag *flag = field->flag ? flag_find(field->flag, strlen(field->flag)) : NULL;
	const char *wrong;

	if (!flag)
		return NULL;
	if (strchr(text, '\n'))
		return "must be one line";
	wrong = flag->set(&parse->scratch, text);
	if (wrong)
		return wrong;
	if (!(field->marks & CONFIG_REPEATED))
		settings_remove(parse->settings, field->flag);
	settings_add(parse->settings, field->flag, text);
	return NULL;
}

static void on_finding(void *context, const struct source_diag *diag)
{
	struct parse *parse = context;
	char *line = source_diag_format(diag);

	parse->print(diag->severity, line);
	free(line);
}

size_t config_parse(struct settings *out, const struct source_text *text,
	void (*print)(enum source_severity severity, const char *line))
{
	struct parse parse = {.settings = out, .print = print};
	struct config_sink sink = {.value = on_value, .finding = on_finding, .context = &parse};
	size_t errors;

	*out = (struct settings){.count = 0};
	options_init(&parse.scratch);
	errors = config_file_read(text, config_kinds, &sink);
	options_fini(&parse.scratch);
	return errors;
}

/* ---- the reader ---- */

void config_log_finding(enum source_severity severity, const char *line)
{
	log_each(severity == SOURCE_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "configuration",
		log_str("finding", line));
}

static int open_file(const char *path)
{
	struct stat info;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
		return fd;
	close(fd);
	return -ENOTSUP;
}

/* Nothing of what the reader logs waits for the file's own log settings but the format: what is wrong must be
 * said before it is known whether they are right. */
static int reader_parse(const struct options *line, int fd, struct settings *settings)
{
	struct source_text text = {.name = line->config_path};
	char *bytes;
	int rc = files_read(fd, &bytes, &text.byte_count);

	if (rc < 0)
		return rc;
	text.bytes = bytes;
	rc = text.byte_count > CONFIG_MAX_BYTES ? -EFBIG : 0;
	if (rc == 0 && config_parse(settings, &text, config_log_finding) > 0)
		rc = -EINVAL;
	free(bytes);
	return rc;
}

static int write_all(int fd, const char *bytes, size_t count)
{
	while (count > 0) {
		ssize_t done = write(fd, bytes, count);

		if (done < 0 && errno != EINTR)
			return -errno;
		bytes += done > 0 ? done : 0;
		count -= done > 0 ? (size_t)done : 0;
	}
	return 0;
}

/* In the reader. Returns its exit code. */
static int reader_main(const struct options *line, int out_fd)
{
	struct settings settings = {.count = 0};
	struct confine_user user = {.uid = geteuid(), .gid = getegid()};
	int fd = open_file(line->config_path), rc = fd < 0 ? fd : 0;
	char *text;

	log_init("config", line->log_format, line->verbosity);
	if (rc == 0 && geteuid() == 0)
		rc = confine_user_lookup(line->user, &user);
	if (rc == 0)
		rc = confine_child(&user);
	if (rc == 0)
		rc = reader_parse(line, fd, &settings);
	if (rc < 0) {
		log_error("the configuration file cannot be used", log_str("path", line->config_path),
			log_str("error", rc == -EINVAL ? "it has errors" : files_error_text(rc)));
		return 1;
	}
	text = settings_to_text(&settings);
	rc = write_all(out_fd, text, strlen(text));
	if (rc == 0)
		rc = write_all(out_fd, TEXT_END, strlen(TEXT_END));
	free(text);
	settings_fini(&settings);
	close(fd);
	return rc < 0;
}

bool config_text_is_whole(char *text)
{
	size_t length = strlen(text), end = strlen(TEXT_END);

	if (length < end || strcmp(text + length - end, TEXT_END) != 0)
		return false;
	text[length - end] = '\0';
	return true;
}

/* Everything that comes until the end, into fresh memory. NULL if it takes too long or is too much. */
static char *receive_all(int fd)
{
	int64_t deadline_ms = clock_now_ms() + READER_TIMEOUT_MS;
	char *text = mem_calloc(1, SETTINGS_MAX_TEXT_BYTES + 1);
	size_t length = 0;
	ssize_t got = 1;

	while (got > 0) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		int64_t left_ms = deadline_ms - clock_now_ms();

		if (left_ms <= 0 || length == SETTINGS_MAX_TEXT_BYTES)
			break;
		if (poll(&readable, 1, (int)left_ms) <= 0)
			continue;
		got = read(fd, text + length, SETTINGS_MAX_TEXT_BYTES - length);
		length += got > 0 ? (size_t)got : 0;
	}
	if (got == 0 && strlen(text) == length)
		return text;
	free(text);
	return NULL;
}

static int wait_for_reader(pid_t pid, int fd, struct settings *out)
{
	char *text = receive_all(fd);
	int status, rc = -EINVAL;

	if (!text)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (text && config_text_is_whole(text))
		rc = settings_from_text(out, text);
	if (rc < 0 && (!WIFEXITED(status) || WEXITSTATUS(status) == 0))
		log_error("the configuration's reader failed");
	free(text);
	return rc;
}

int config_reader_start(
	const struct options *line, void (*in_child)(void *context), void *context, pid_t *pid)
{
	int pipes[2], error;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	*pid = fork();
	error = errno;
	if (*pid == 0) {
		close(pipes[0]);
		if (in_child)
			in_child(context);
		_exit(reader_main(line, pipes[1]));
	}
	close(pipes[1]);
	if (*pid > 0)
		return pipes[0];
	close(pipes[0]);
	return -error;
}

int config_load(const struct options *line, struct settings *out)
{
	pid_t pid = -1;
	int fd = config_reader_start(line, NULL, NULL, &pid), rc;

	if (fd < 0) {
		log_error("cannot read the configuration", log_errno("error", -fd));
		return fd;
	}
	rc = wait_for_reader(pid, fd, out);
	close(fd);
	return rc;
}

/* ---- what is in force ---- */

static const char *get_effective(void *context, const struct config_field *field, size_t index)
{
	const struct options *options = context;
	const struct settings *effective = &options->effective;

	if (!field->flag || !flag_find(field->flag, strlen(field->flag)))
		return NULL;
	for (size_t i = 0; i < effective->count; i++) {
		if (strcmp(effective->list[i].name, field->flag) == 0 && index-- == 0)
			return effective->list[i].value;
	}
	if (index > 0)
		return NULL;
	return field->marks & CONFIG_NODE_ONLY && !options_is_node(options) ? "" : field->standard;
}

void config_print(const struct options *options, FILE *out)
{
	config_file_write(out, &config_kinds[0], get_effective, (void *)options);
	fputs("---\n", out);
	config_file_write(out, &config_kinds[1], get_effective, (void *)options);
}

char *config_json(const struct options *options)
{
	return config_file_json("kubeproxy.config.k8s.io", &config_kinds[0], get_effective, (void *)options);
}

int config_write(const struct options *options)
{
	FILE *out = fopen(options->write_config_to, "we");
	int rc = out ? 0 : -errno;

	if (out) {
		config_print(options, out);
		if (fclose(out) != 0)
			rc = -errno;
	}
	if (rc < 0)
		log_error("cannot write the configuration", log_str("path", options->write_config_to),
			log_errno("error", -rc));
	return rc;
}

static bool is_ignored(const struct setting *setting)
{
	const struct config_field *field = config_field_of_flag(setting->name);
	const struct flag *flag = flags_ignored.flags;

	while (flag->name && strcmp(flag->name, setting->name) != 0)
		flag++;
	/* Files that were written out hold every default. */
	return flag->name && !(field && field->standard && strcmp(setting->value, field->standard) == 0);
}

void config_log_ignored(const struct options *options)
{
	const struct settings *effective = &options->effective;
	char *names = mem_strdup("");

	for (size_t i = 0; i < effective->count; i++) {
		char *longer;

		if (!is_ignored(&effective->list[i]))
			continue;
		longer = mem_printf("%s%s--%s", names, *names ? " " : "", effective->list[i].name);
		free(names);
		names = longer;
	}
	if (*names)
		log_info("of kube-proxy, without effect here", log_str("flags", names));
	free(names);
}
