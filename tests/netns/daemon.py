"""The portald under test: starting it, watching its log and processes, and what it must leave behind."""
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import processes
import rules
import wait

SANITIZER_REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|UndefinedBehavior")
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def binary_path():
    return os.path.abspath(os.environ.get("PORTALD", "./portald"))


def is_sanitized():
    """Built with sanitizers: memory and time mean little then."""
    return b"__asan_init" in Path(binary_path()).read_bytes()


class Portald:
    """One run of the daemon. `wrapper` is a command that executes portald in turn (prlimit, setpriv)."""

    def __init__(self, binary, namespace, log_path, wrapper=(), stdin=None):
        self.binary, self.namespace = str(binary), namespace
        self.wrapper, self.stdin = list(wrapper), stdin
        self.log_path = Path(log_path)
        self.output_path = self.log_path.with_suffix(".out")
        self.process = None
        self.before = rules.state(namespace)
        self.leaves_rules = False  # --keep-rules, or it gets killed

    # ---- life ----

    def spawn(self, *flags):
        # The usual place is the machine's, and a daemon may run there.
        if not any(flag.startswith("--status-socket") for flag in flags):
            flags = ("--status-socket=", *flags)
        with open(self.log_path, "wb") as log, open(self.output_path, "wb") as output:
            self.process = self.namespace.popen(
                [*self.wrapper, self.binary, *flags], start_new_session=True, cwd="/",
                stdin=self.stdin or subprocess.DEVNULL, stdout=output, stderr=log)

    def start(self, *flags):
        self.leaves_rules = "--keep-rules" in flags
        self.spawn(*flags)
        self.wait_log(r'\bmsg"?[=:] ?"?ready\b')

    def exit_code(self, timeout=15):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s; log:\n{self.log_tail()}") from None

    def terminate(self):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.exit_code()

    def kill_all(self):
        """SIGKILL for every process at once: nothing gets to clean up."""
        self.leaves_rules = True
        family = self.family()
        for process in family:
            processes.signal(process, signal.SIGSTOP)
        for process in family:
            processes.signal(process, signal.SIGKILL)
        self.process.wait()

    def finish(self):
        """Stops it if the test didn't, and checks that nothing is left."""
        family = self.family()
        running = self.process.poll() is None
        try:
            if running:
                code = self.terminate()
                assert code == 0, f"exit code {code} after SIGTERM; log:\n{self.log_tail()}"
            self._expect_nothing_left(family)
        finally:
            for process in self.family() + family:
                processes.signal(process, signal.SIGKILL)
            self.process.wait()

    def _expect_nothing_left(self, family):
        wait.until(lambda: not any(processes.is_alive(process) for process in family + self.family()), 5,
                   lambda: f"processes to end: {[processes.title(process.pid) for process in family]}")
        report = SANITIZER_REPORT.search(self.log())
        assert not report, f"sanitizer report:\n{self.log()[report.start():][:8000]}"
        if not self.leaves_rules:
            after = rules.state(self.namespace)
            assert after == self.before, f"rules or routes differ: {rules.difference(self.before, after)}"

    # ---- log ----

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_tail(self):
        """As much of it as a person reads in a failure's message."""
        return self.log()[-4000:]

    def output(self):
        return self.output_path.read_text(encoding="utf-8", errors="replace")

    def wait_log(self, pattern, since=0, timeout=15):
        """The first match of the pattern in what was logged after `since` characters."""
        def match():
            found = re.compile(pattern, re.MULTILINE).search(self.log(), since)
            if not found and self.process.poll() is not None:
                raise AssertionError(f"exited with {self.process.returncode} instead of logging {pattern}:\n"
                                     f"{self.log_tail()}")
            return found
        return wait.until(match, timeout, lambda: f"{pattern} in the log:\n{self.log_tail()}")

    def change(self, function, *arguments):
        """Calls the function, which changes manifests, and waits until the new plan is in force, or the
        old one is found to be as good."""
        since = len(self.log())
        function(*arguments)
        self.wait_log(r'msg="(plan in force|nothing to change)"', since)

    # ---- processes ----

    def family(self):
        """All of its processes that live, its COMMAND's too."""
        return processes.family(self.process.pid)

    def roles(self):
        """{"supervisor": pid, "starter": pid, "control": pid, "relay 0": pid, ...} of those that live."""
        titles = {process.pid: processes.title(process.pid) for process in self.family()}
        return {text.removeprefix("portald: "): pid for pid, text in titles.items()
                if text.startswith("portald: ")}

    def relays(self):
        return {role: pid for role, pid in self.roles().items() if role.startswith("relay")}

    def kill_role(self, role):
        """SIGKILL; returns when another process has taken the place, with the seconds that took."""
        pid = self.roles()[role]
        begin = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait.until(lambda: self.roles().get(role, pid) != pid, 20,
                   lambda: f"a new {role}; processes: {self.roles()}; log:\n{self.log_tail()}")
        return time.monotonic() - begin


def finish_all(daemons):
    """Finishes each, whatever becomes of the others; then reports the first failure."""
    failures = []
    for daemon in reversed(daemons):
        try:
            if daemon.process:
                daemon.finish()
        except AssertionError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
