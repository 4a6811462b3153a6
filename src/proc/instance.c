/* Owns the name that a daemon has in its network namespace. Runs in the first process, which becomes the
 * supervisor, and in `portald cleanup`.
 *
 * It is an abstract UNIX address: it belongs to the network namespace, as the rules do, and ends with the
 * process that has it, however that ends. Any user could take such a name first, so who has it is asked for:
 * a claim of somebody who could not have started a daemon counts for nothing. */
#include "proc/instance.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "portald/log.h"

#define NAME "portald/steering"

static socklen_t make_address(struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	/* The first byte of an abstract name is zero. */
	memcpy(address->sun_path + 1, NAME, strlen(NAME));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(NAME));
}

/* The process that has the name. Returns 0, or a negative errno: -ECONNREFUSED if there is none that listens.
 */
static int find_holder(struct ucred *holder)
{
	struct sockaddr_un address;
	socklen_t address_length = make_address(&address), length = sizeof(*holder);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, address_length) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, holder, &length) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

bool instance_is_running(void)
{
	struct ucred holder = {.pid = 0};

	if (find_holder(&holder) < 0 || (holder.uid != 0 && holder.uid != geteuid()))
		return false;
	log_error("another portald steers this network namespace: stop it first", log_int("pid", holder.pid));
	return true;
}

static int take_name(int fd)
{
	struct sockaddr_un address;
	socklen_t length = make_address(&address);

	if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return 0;
}

int instance_claim(const struct options *options, int *fd)
{
	int rc;

	*fd = -1;
	if (options->command != OPTIONS_DAEMON || options->steering == OPTIONS_STEERING_NONE)
		return 0;
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = *fd < 0 ? -errno : take_name(*fd);
	if (rc == 0)
		return 0;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	if (rc == -EADDRINUSE && instance_is_running())
		return rc;
	/* Nobody else's name may keep this node from having Services. */
	log_warning("cannot keep a second daemon away", log_errno("error", -rc));
	return 0;
}

void instance_adopt(int fd)
{
	/* Who connects is told the process that has listened last. */
	if (fd >= 0)
		listen(fd, SOMAXCONN);
}
