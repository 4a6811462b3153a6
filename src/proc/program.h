/* The program itself, executed anew for an upgrade, and how the new processes learn what they are. */
#ifndef PROC_PROGRAM_H
#define PROC_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What is executed: the file is looked up by its name each time, so that it may have been replaced. */
struct program {
	char *path;
	char **argv; /* borrowed */
};

/* argv is main's, after title_init(). A path in argv[0] is taken as it is; a bare name is the file that this
 * process was started from. Returns 0 or a negative errno. */
int program_init(struct program *program, char **argv);
void program_fini(struct program *program);

enum successor_role {
	SUCCESSOR_NONE, /* started by somebody else: all is to be made */
	SUCCESSOR_SUPERVISOR,
	SUCCESSOR_STARTER,
};

/* What a process was started as, by the process before, and its descriptors, -1 where there is none. */
struct successor {
	enum successor_role role;
	int channel_fd; /* supervisor: to the one before. Taken by whoever uses it, as all of these */
	int starter_fd; /* the channel between the new supervisor and the new starter */
	int life_fd;    /* of a pipe: the starter holds an end until all its children have ended */
	int keeper_fd;  /* supervisor: of a pipe whose other end the keeper holds as long as it lives */
	int sockets_fd; /* supervisor: for inherit_load() */
	int instance_fd;
	int status_fd; /* supervisor: only tells that there is one */
	int stdin_fd;  /* starter: what came by standard input */
};

/* Reads it from the environment, and takes it out there. Returns 0, or -EINVAL if it makes no sense. */
int successor_take(struct successor *successor);

/* What the new process gets beside that. */
struct program_extra {
	const int *fds;
	size_t fd_count;
	bool orphaned;                   /* it is not to be this process's child, but its reaper's */
	void (*in_child)(void *context); /* called in it before the program is executed */
	void *context;
};

/* Executes the program as successor, in a new process. All its descriptors are numbered as they are here.
 * Returns the process's number or a negative errno; that the program cannot be executed is logged by the new
 * process, which ends. */
pid_t program_succeed(
	const struct program *program, const struct successor *successor, const struct program_extra *extra);

#endif
