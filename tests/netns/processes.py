"""What /proc tells about processes."""
import os
from collections import namedtuple
from pathlib import Path

# The start time tells a process from a later one with the same pid.
Process = namedtuple("Process", "pid parent session start")


def _read(pid):
    """Process, or None if there is none or a zombie only."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    if fields[0] in "ZX":
        return None
    return Process(int(pid), int(fields[1]), int(fields[3]), int(fields[19]))


def is_alive(process):
    found = _read(process.pid)
    return found is not None and found.start == process.start


def family(pid):
    """The processes of the session that pid leads, and whatever descends from them."""
    every = [process for process in map(_read, filter(str.isdigit, os.listdir("/proc"))) if process]
    members = {process.pid for process in every if process.session == pid}
    while True:
        more = {process.pid for process in every if process.parent in members} - members
        if not more:
            return [process for process in every if process.pid in members]
        members |= more


def signal(process, number):
    if is_alive(process):
        os.kill(process.pid, number)


def title(pid):
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()


def status(pid):
    """/proc/PID/status as a dictionary of strings."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def anonymous_bytes(pid):
    """Resident memory that is the process's own: heap and stack, neither program text nor counters."""
    return int(status(pid)["RssAnon"].split()[0]) * 1024


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def network_namespace(pid):
    """Its inode: two processes in one namespace have the same."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino
