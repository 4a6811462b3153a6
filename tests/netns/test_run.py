"""portald run: a laptop's user without any privilege, the backends on the laptop's own loopback."""
import os
import signal
import subprocess
import sys

import daemon as daemon_module
import lab as lab_module
import manifests as objects
import peers
import processes
import pytest
import wait

FETCH = """
import socket, sys
for at in sys.argv[1:]:
    host, port = at.rsplit(":", 1)
    with socket.create_connection((host.strip("[]"), int(port)), 10) as connection:
        print(connection.recv(100).decode(), flush=True)
"""
# Does what FETCH does again for each line of standard input.
FETCH_ON_DEMAND = """
import os, socket, sys
print(os.stat("/proc/self/ns/net").st_ino, flush=True)
for line in sys.stdin:
    with socket.create_connection(("10.96.0.10", 80), 10) as connection:
        print(connection.recv(100).decode(), flush=True)
"""
SERVICE = "10.96.0.10:80"
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


class Laptop:
    """Runs `portald run` as a user, or as root."""

    def __init__(self, binary, namespace, manifests, wrapper):
        self.namespace, self.wrapper = namespace, list(wrapper)
        self.argv = [str(binary), "run", "-f", str(manifests)]
        self.started = []

    def popen(self, *command, argv=None):
        child = self.namespace.popen(
            [*self.wrapper, *(argv or self.argv), *(("--", *command) if command else ())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
            start_new_session=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/",
                                           "SHELL": "/bin/sh"})
        self.started.append(child)
        return child

    def run(self, *command, argv=None, timeout=30):
        """(exit code, standard output, standard error)."""
        child = self.popen(*command, argv=argv)
        try:
            output, log = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise AssertionError(f"{command} hangs: {child.communicate()}") from None
        assert not daemon_module.SANITIZER_REPORT.search(log), log
        return child.returncode, output, log

    def finish(self):
        """Nothing stays behind: no process of any run, and with it none of their namespaces."""
        for child in self.started:
            try:
                wait.until(lambda: not processes.family(child.pid), 5, "all processes of the run to end")
            finally:
                for process in processes.family(child.pid):
                    processes.signal(process, signal.SIGKILL)
                child.wait()


def laptop_of(binary, host, manifests, serve, wrapper):
    serve(host, "127.0.0.1:8080", peers.identity("laptop"))
    manifests.web(["127.0.0.1"])
    return Laptop(binary, host, manifests.path, wrapper)


@pytest.fixture(params=["user", "root"])
def anyone(request, binary, host, manifests, serve):
    made = laptop_of(binary, host, manifests, serve, daemon_module.NOBODY if request.param == "user" else ())
    yield made
    made.finish()


@pytest.fixture
def user(binary, host, manifests, serve):
    made = laptop_of(binary, host, manifests, serve, daemon_module.NOBODY)
    yield made
    made.finish()


def test_cluster_ip_and_node_port_reach_a_backend_on_the_hosts_loopback(anyone):
    code, output, log = anyone.run(PYTHON, "-c", FETCH, SERVICE, "127.0.0.1:30080", SERVICE)
    assert (code, output.split()) == (0, ["laptop"] * 3), log


@pytest.mark.parametrize("steering", ["iptables", "nftables", "local", "auto"])
def test_every_way_of_steering_works_inside_in_both_families(user, host, serve, manifests, family, steering):
    serve(host, lab_module.join(family.loopback, 8088), peers.identity("laptop too"))
    port = objects.service_port(target=8088)
    manifests.write("more.yaml", objects.service_of("more", [family.cluster_ip(11)], [port], family.api),
                    objects.slice_of("more", family.api, [objects.endpoint(family.loopback)],
                                     [objects.slice_port(port)]))
    code, output, log = user.run(PYTHON, "-c", FETCH, SERVICE, lab_module.join(family.cluster_ip(11), 80),
                                 argv=[*user.argv, f"--steering={steering}"])
    assert (code, output.splitlines()) == (0, ["laptop", "laptop too"]), log


def test_real_iptables_rules_are_inside_and_none_outside(anyone, host):
    code, output, log = anyone.run("sh", "-c", "iptables -t nat -S || iptables-nft -t nat -S")
    assert code == 0, log
    assert "KUBE-PORTALS-HOST" in output and '--comment "default/web:http"' in output
    for variant in ("nft", "legacy"):
        assert "KUBE-" not in host.run(f"iptables-{variant}-save")


def test_exit_code_is_the_commands(anyone):
    assert anyone.run("sh", "-c", "exit 7")[0] == 7
    assert anyone.run("true")[0] == 0


def test_command_killed_by_a_signal_gives_128_and_the_signal(user):
    assert user.run("sh", "-c", "kill -TERM $$")[0] == 128 + signal.SIGTERM
    assert user.run("sh", "-c", "kill -KILL $$")[0] == 128 + signal.SIGKILL


def test_command_that_does_not_exist_is_127(user):
    code, _, log = user.run("/no/such/command")
    assert code == 127 and "/no/such/command" in log


def test_command_has_the_users_terminal_input_and_environment(user):
    child = user.popen("sh", "-c", 'read line; echo "$line $HOME"')
    assert child.communicate("hello\n", timeout=20)[0] == "hello /\n"


def test_shell_is_the_default_command(user):
    child = user.popen()
    output = child.communicate("echo I am $((6 * 7)); exit 3\n", timeout=20)[0]
    assert "I am 42" in output and child.returncode == 3


def test_nothing_stays_behind(user, host):
    child = user.popen(PYTHON, "-c", FETCH_ON_DEMAND)
    inside = int(child.stdout.readline())
    assert inside != host.inode
    child.stdin.write("go\n")
    child.stdin.flush()
    assert child.stdout.readline() == "laptop\n"
    family = processes.family(child.pid)
    assert {processes.network_namespace(process.pid) for process in family} >= {inside, host.inode}
    child.stdin.close()
    assert child.wait(20) == 0
    wait.until(lambda: not any(map(processes.is_alive, family)), 5, "all processes to end")
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        assert f"net:[{inside}]" not in mounts.read()


def test_terminated_run_ends_the_command_too(user):
    child = user.popen(PYTHON, "-c", FETCH_ON_DEMAND)
    child.stdout.readline()
    family = processes.family(child.pid)
    child.send_signal(signal.SIGTERM)
    child.wait(20)
    wait.until(lambda: not any(map(processes.is_alive, family)), 5, "all processes to end")


def test_killed_relay_comes_back_on_the_hosts_side(user, host):
    child = user.popen(PYTHON, "-c", FETCH_ON_DEMAND)
    child.stdout.readline()

    def relays():
        titles = {process.pid: processes.title(process.pid) for process in processes.family(child.pid)}
        return {pid for pid, title in titles.items() if title.startswith("portald: relay")}

    killed = wait.until(relays)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    fresh = wait.until(lambda: len(relays() - killed) == len(killed) and relays(), 20, "new relays")
    for _ in range(4):
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "laptop\n"
    assert {processes.network_namespace(pid) for pid in fresh} == {host.inode}
    child.stdin.close()
    assert child.wait(20) == 0


def test_changed_manifests_take_effect_inside(user, manifests, serve, host):
    serve(host, "127.0.0.2:8080", peers.identity("other"))
    child = user.popen(PYTHON, "-c", FETCH_ON_DEMAND)
    child.stdout.readline()

    def ask():
        child.stdin.write("go\n")
        child.stdin.flush()
        return child.stdout.readline()

    assert ask() == "laptop\n"
    manifests.web(["127.0.0.2"])
    wait.until(lambda: ask() == "other\n", 10, "the new backend")
    child.stdin.close()
    assert child.wait(20) == 0


def test_what_is_no_service_is_not_reached_on_the_hosts_loopback(user, host, serve):
    """COMMAND's loopback is its own."""
    serve(host, "127.0.0.1:9999", peers.identity("private"))
    assert user.run(PYTHON, "-c", FETCH, "127.0.0.1:9999")[0] != 0


@pytest.mark.parametrize("arguments, exit_code", [(("run", "--", "true"), 2),
                                                  (("run", "-f", "/no/such/path", "--", "true"), 1)])
def test_missing_or_bad_manifests_are_a_clear_error(user, arguments, exit_code):
    code, _, log = user.run(argv=[user.argv[0], *arguments])
    assert code == exit_code, log
    assert ("manifests" if exit_code == 2 else "/no/such/path") in log


@pytest.fixture
def without_user_namespaces():
    """A wrapper that runs a command as a user who must not make user namespaces: the limit is a property
    of a user namespace, so the machine's own stays as it is."""
    holder = subprocess.Popen(["unshare", "--user", "sleep", "60"])
    wait.until(lambda: os.stat(f"/proc/{holder.pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino)
    for kind in ("uid", "gid"):
        with open(f"/proc/{holder.pid}/{kind}_map", "w", encoding="ascii") as file:
            file.write("0 0 65536")
    yield ["nsenter", f"--user=/proc/{holder.pid}/ns/user", "--setuid=0", "--setgid=0", "sh", "-c",
           'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh", *daemon_module.NOBODY]
    holder.kill()
    holder.wait()


def test_forbidden_user_namespaces_are_explained(user, without_user_namespaces):
    user.wrapper = without_user_namespaces
    code, _, log = user.run("true")
    assert code == 1, log
    assert "user.max_user_namespaces" in log and "--steering=none" in log, log
