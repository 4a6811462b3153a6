"""Network namespaces that can't be left behind, and processes inside them.

A namespace is held by a `cat` that waits on a pipe of ours: when this process ends, however it does, the pipe
closes, the cat ends and the namespace goes with it. Processes started here get a signal when we die.
"""

import ctypes
import os
import resource
import signal
import subprocess

PR_SET_PDEATHSIG = 1
OPEN_FILES = 16384
LIBC = ctypes.CDLL(None, use_errno=True)

CONGESTION_CONTROL = "cubic"

SYSCTLS = {
    # Connections by the ten thousand from one address: ports are used again after a second.
    "net.ipv4.ip_local_port_range": "1024 65535",
    "net.ipv4.ip_local_reserved_ports": "7000,9000",
    "net.ipv4.tcp_tw_reuse": "1",
    "net.core.somaxconn": "4096",
    "net.ipv4.tcp_max_syn_backlog": "8192",
    "net.ipv4.ip_forward": "1",
    "net.ipv4.tcp_slow_start_after_idle": "0",
}


def _before_exec():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Netns:
    def __init__(self):
        self.holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holder.stdout.readline()  # the namespace exists once something was said inside it
        self.prefix = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--"]
        self.run("ip", "link", "set", "lo", "up")
        for name, value in SYSCTLS.items():
            self.run("sysctl", "-q", "-w", f"{name}={value}")

    def run(self, *command, text=None):
        done = subprocess.run(self.prefix + list(command), input=text, text=True, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def start(self, command, **options):
        return subprocess.Popen(self.prefix + command, preexec_fn=_before_exec, **options)

    def address(self, device, *prefixes):
        for prefix in prefixes:
            self.run("ip", "address", "add", prefix, "dev", device)
        self.run("ip", "link", "set", device, "up")

    def fix_congestion_control(self):
        """By the routes, which every socket of the namespace heeds: the sysctl is refused in a namespace when
        the machine's list of allowed ones lacks the wanted one, and that list is the machine's alone."""
        for table in ("main", "local"):
            routes = self.run("ip", "-4", "route", "show", "table", table).splitlines()
            for route in routes:
                if not route.startswith("broadcast"):
                    words = route.replace(" linkdown", "").split()
                    self.run("ip", "route", "replace", *words, "table", table,
                             "congctl", CONGESTION_CONTROL)

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()
        self.holder.stdout.close()


def veth(one, one_name, other, other_name):
    one.run("ip", "link", "add", one_name, "type", "veth", "peer", "name", other_name,
            "netns", str(other.holder.pid))


def stop(process, seconds=5):
    """Ends a child by SIGTERM, or by SIGKILL if it doesn't listen."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


def _children():
    """pid -> children, of every process that can be seen."""
    tree = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        tree.setdefault(parent, []).append(int(pid))
    return tree


def _exec_seconds(pid):
    """What the scheduler has counted for a process: user and system time, in nanoseconds instead of ticks."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as stat:
                total += int(stat.read().split()[0])
    except OSError:
        pass
    return total / 1e9


def descendants(pid):
    """A process and all that come from it."""
    tree = _children()
    found = [pid]
    for one in found:
        found += tree.get(one, [])
    return found


def cpu_seconds(pid):
    """The CPU time of a process and all of its descendants."""
    return sum(_exec_seconds(one) for one in descendants(pid))
