/* Owns the status socket's name. Runs in the first process, before it gives up its privilege, and once more
 * at the end. */
#include <errno.h>
#include <grp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "portald/log.h"
#include "proc/status.h"

#define BACKLOG 16
#define MODE 0660
#define GROUP_BYTES 65536

/* Returns false if the path is too long for a socket. */
static bool address_of(struct sockaddr_un *out, const char *path)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(out->sun_path))
		return false;
	memcpy(out->sun_path, path, strlen(path) + 1);
	return true;
}

/* The group that may ask: 0 and *out; -ENOENT if there is no such group. Without a name it is "portald", if
 * there is one, and else (gid_t)-1: that of who starts it. */
static int find_group(const char *name, gid_t *out)
{
	struct group entry, *found = NULL;
	char *buf = malloc(GROUP_BYTES);

	*out = (gid_t)-1;
	if (!buf)
		return -ENOMEM;
	if (getgrnam_r(name ? name : "portald", &entry, buf, GROUP_BYTES, &found) == 0 && found)
		*out = found->gr_gid;
	free(buf);
	return found || !name ? 0 : -ENOENT;
}

/* A name that a daemon has left which is gone may be taken; that of one which runs may not. */
static int remove_stale(const struct sockaddr_un *at)
{
	struct stat info;
	int fd, rc;

	if (lstat(at->sun_path, &info) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(info.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 || errno != ECONNREFUSED ? -EADDRINUSE
												 : 0;
	close(fd);
	if (rc == 0 && unlink(at->sun_path) < 0)
		rc = -errno;
	return rc;
}

/* The usual place is a directory of portald's own, which may have to be made after each boot. */
static void make_directory(const struct options *options)
{
	char directory[] = OPTIONS_STATUS_SOCKET;

	if (strcmp(options->status_socket, OPTIONS_STATUS_SOCKET) != 0)
		return;
	*strrchr(directory, '/') = '\0';
	mkdir(directory, 0755);
}

/* Binds so that the name belongs to the group from its beginning. Who may become the group needs no right to
 * give files away, which a service manager hardly grants; who is a member of it without that right may. */
static int bind_for(int fd, const struct sockaddr_un *at, gid_t group)
{
	gid_t before = getegid();
	bool became = group != (gid_t)-1 && group != before && setegid(group) == 0;
	/* Nobody may connect before the mode is set. */
	mode_t mask = umask(0777);
	int rc = bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 ? -errno : 0;

	umask(mask);
	if (became && setegid(before) < 0)
		return -errno;
	if (rc == 0 && !became && group != (gid_t)-1 && group != before &&
		chown(at->sun_path, (uid_t)-1, group) < 0)
		rc = -errno;
	return rc;
}

static int listen_at(const struct sockaddr_un *at, gid_t group)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	if (fd < 0)
		return -errno;
	rc = bind_for(fd, at, group);
	if (rc == 0 && (chmod(at->sun_path, MODE) < 0 || listen(fd, BACKLOG) < 0))
		rc = -errno;
	if (rc == 0)
		return fd;
	/* A name that was there before is not ours. */
	if (rc != -EADDRINUSE)
		unlink(at->sun_path);
	close(fd);
	return rc;
}

static int open_at(const struct options *options)
{
	struct sockaddr_un at;
	gid_t group;
	int rc;

	if (!address_of(&at, options->status_socket))
		return -ENAMETOOLONG;
	rc = find_group(options->status_group, &group);
	if (rc < 0) {
		log_error("no such group", log_str("group", options->status_group));
		return rc;
	}
	make_directory(options);
	rc = remove_stale(&at);
	return rc < 0 ? rc : listen_at(&at, group);
}

int status_socket_open(const struct options *options, int *fd)
{
	bool node = options->command == OPTIONS_DAEMON && options->steering != OPTIONS_STEERING_NONE;
	int rc;

	*fd = -1;
	if (!*options->status_socket || (!options->status_given && !node))
		return 0;
	rc = open_at(options);
	if (rc >= 0) {
		*fd = rc;
		return 0;
	}
	if (options->status_given || options->status_group) {
		log_error("cannot make the status socket", log_str("path", options->status_socket),
			log_errno("error", -rc));
		return rc;
	}
	log_warning("no status socket: `portald status` will not work",
		log_str("path", options->status_socket), log_errno("error", -rc));
	return 0;
}

void status_socket_remove(const struct options *options, int fd)
{
	if (fd >= 0)
		unlink(options->status_socket);
}
