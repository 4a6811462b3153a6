/* For tests in network namespaces of their own, as root or as root of a user namespace. */
#ifndef NETNS_RIG_H
#define NETNS_RIG_H

/* What automake takes for a skipped test. */
#define RIG_SKIPPED 77

/* Creates or overwrites an executable file. Returns 0 or -1. */
int rig_write_file(const char *path, const char *text);

/* Makes the process root of a user namespace of its own, which may then make network namespaces. */
int rig_enter_user_namespace(void);

void rig_lo_up(void);

/* What a shell command prints, which the caller frees; NULL if it fails. */
char *shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs tests in a child, which can leave its namespaces by ending. Returns its exit code. */
int rig_in_child(int (*tests)(void));

/* Says why, and returns RIG_SKIPPED. */
int rig_skipped(const char *why);

#endif
