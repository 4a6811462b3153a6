/* What each process may still do once it has started: user, capabilities, system calls. One call a role;
 * each checks what it has reached and fails rather than leave more behind than it says. */
#ifndef PROC_CONFINE_H
#define PROC_CONFINE_H

#include <stdbool.h>
#include <sys/types.h>

struct confine_user {
	uid_t uid;
	gid_t gid;
};

/* The unprivileged user that control and relays run as. name NULL: "portald" if there is one, or else
 * "nobody". Returns 0, -ENOENT if there is no such user, -EINVAL if it is uid 0, or another negative
 * errno. */
int confine_user_lookup(const char *name, struct confine_user *out);

/* Control and relays: no capability in any set, no supplementary group, uid and gid of user (as uid 0
 * only: whoever starts portald as an ordinary user stays that), no new privileges by exec, no core dump,
 * no ptrace by others. Returns 0 or a negative errno; then the process must not go on. */
int confine_child(const struct confine_user *user);

/* Supervisor: what the firewall tools and the listeners need, as far as it is held, for itself and
 * whatever it starts. CAP_NET_ADMIN: rules, routes. CAP_NET_RAW: iptables-legacy speaks to the kernel
 * through a raw socket. CAP_NET_BIND_SERVICE: listeners below port 1024. No file capability: the lock of
 * iptables-legacy, /run/xtables.lock, belongs to uid 0. CAP_SYS_MODULE is dropped too, so ip_tables must
 * be loaded before where only the legacy tools are used. Returns 0 or a negative errno. */
int confine_supervisor(void);

/* Supervisor that has been succeeded: no capability is left. Returns 0 or a negative errno. */
int confine_drained(void);

/* Starter: CAP_SETUID, CAP_SETGID and CAP_SETPCAP for confine_child() in what it starts,
 * CAP_DAC_READ_SEARCH to open manifest files wherever they are, CAP_KILL to end its children, which have
 * another uid. No new privileges by exec. Returns 0 or a negative errno. */
int confine_starter(void);

/* Relay, after everything it needs for its life is open: only the system calls of its work are left.
 * Whatever else fails with EPERM. Returns 0 or a negative errno. */
int confine_relay_seccomp(void);

/* Built with sanitizers, whose leak check at exit needs more system calls than a relay has, among them
 * opening files for reading. */
extern const bool confine_is_relaxed;

#endif
