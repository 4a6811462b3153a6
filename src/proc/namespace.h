/* A user and network namespace of one's own, without privilege, for `portald run`. */
#ifndef PROC_NAMESPACE_H
#define PROC_NAMESPACE_H

/* Moves this process into a new user namespace, as its root, and a new network namespace whose loopback
 * device is up. Logs why it can't be done, naming the setting in the way. Returns 0 or a negative errno. */
int namespace_enter(void);

#endif
