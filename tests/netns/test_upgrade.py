"""Upgrades: SIGUSR2 executes the program anew, and no connection notices."""
import os
import re
import shutil
import signal
import socket
import threading
import time

import daemon as daemon_module
import manifests as objects
import peers
import processes
import pytest
import rules
import scrape
import udp
import wait

CLUSTER_IP = "10.96.0.10:80"


class Load:
    """Clients that connect one after the other, say something and hear it back, until they are stopped."""

    def __init__(self, namespace, at, threads=2):
        self.namespace, self.at = namespace, at
        self.rounds, self.failures, self.over = 0, [], threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.over.is_set() and not self.failures:
            try:
                with self.namespace.connect(self.at, 20) as connection:
                    peers.ping(connection)
                self.rounds += 1
            except (OSError, AssertionError) as failure:
                self.failures.append(repr(failure))
            time.sleep(0.002)

    def wait_rounds(self, more):
        goal = self.rounds + more
        wait.until(lambda: self.rounds >= goal or self.failures, 30, "connections to go through")

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, f"after {self.rounds} connections: {self.failures}"


@pytest.fixture(name="binary")
def own_binary(binary, workdir):
    """A copy of the program, so that a test may replace it."""
    path = workdir / "bin" / "portald"
    path.parent.mkdir(mode=0o755)
    shutil.copy(binary, path)
    return path


def replace(path, content):
    """By a file of the same name, as packages do it."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.replace(path)


def counted(lab, name):
    """0 also while the new process does not serve metrics yet."""
    try:
        return scrape.metrics(lab.node).sum(name) or 0
    except ConnectionRefusedError:
        return 0


def upgrade(running, pid=None):
    """Asks for one and waits until the new process serves."""
    since = len(running.log())
    os.kill(pid or running.process.pid, signal.SIGUSR2)
    wait_upgraded(running, since)


def wait_upgraded(running, since):
    # The first process may end.
    wait.until(lambda: re.search(r'(?s)msg="upgraded: another process.*msg=ready', running.log()[since:]), 30,
               lambda: f"the upgrade; log:\n{running.log_tail()}")


@pytest.fixture
def echoing(lab, serve, manifests):
    for pod in lab.pods:
        serve(pod, f"{pod.address}:8080", peers.echo)
    manifests.web(pod.address for pod in lab.pods)


@pytest.mark.every_backend
def test_three_upgrades_under_load_cut_and_refuse_nothing(lab, echoing, manifests, portald):
    running = portald()
    load = Load(lab.client, CLUSTER_IP)
    held = []
    for turn in range(3):
        held.append(lab.client.connect(CLUSTER_IP, 20))
        peers.ping(held[-1])
        load.wait_rounds(20)
        before = running.roles()["supervisor"]
        upgrade(running)
        assert running.roles()["supervisor"] != before
        load.wait_rounds(20)
        for connection in held:
            peers.ping(connection, f"turn {turn}".encode())
    load.stop()
    # What changes after that comes into force by the newest process.
    running.change(manifests.write, "more.yaml", objects.service("more", "10.96.0.11"),
                   objects.endpoints("more", [lab.pods[0].address]))
    with lab.client.connect("10.96.0.11:80") as connection:
        peers.ping(connection)
    for connection in held:
        peers.ping(connection)
        connection.close()
    # Each generation ends with its last connection.
    wait.until(lambda: not any("draining" in role for role in running.roles()), 20,
               lambda: f"the old relays to end: {running.roles()}")
    assert sorted(running.roles()) == sorted(["keeper", "supervisor", "starter", "control",
                                              *running.relays()])


def test_sockets_and_rules_stay_the_same(lab, echoing, portald):
    running = portald("--iptables-variant=nft")
    in_force = rules.save(lab.node, "nft")
    upgrade(running)
    assert rules.save(lab.node, "nft") == in_force


@pytest.mark.parametrize("content", [b"no program\0", b"#!/bin/false\n"], ids=["unexecutable", "failing"])
def test_a_broken_program_leaves_the_old_one_in_service(lab, echoing, portald, binary, content):
    good = binary.read_bytes()
    running = portald()
    load = Load(lab.client, CLUSTER_IP)
    roles = running.roles()
    replace(binary, content)
    since = len(running.log())
    os.kill(running.process.pid, signal.SIGUSR2)
    running.wait_log(r"the upgrade has failed: this process goes on.*ended before it was ready", since, 30)
    load.wait_rounds(20)
    wait.until(lambda: running.roles() == roles, 10, lambda: f"{roles}; is {running.roles()}")
    # And the next one goes well, once the program is.
    replace(binary, good)
    upgrade(running)
    load.wait_rounds(20)
    load.stop()


def test_options_that_no_longer_hold_leave_the_old_one_in_service(lab, echoing, manifests, workdir, portald):
    config = workdir / "config.yaml"
    text = "apiVersion: portald.io/v1alpha1\nkind: PortaldConfiguration\nrelays: {}\n"
    config.write_text(text.format(1), encoding="ascii")
    running = portald(f"--config={config}")
    config.write_text(text.format(2), encoding="ascii")
    since = len(running.log())
    os.kill(running.process.pid, signal.SIGUSR2)
    running.wait_log(r"takes a stop and a start, not an upgrade.*--relays", since, 30)
    running.wait_log(r"the upgrade has failed: this process goes on", since, 30)
    with lab.client.connect(CLUSTER_IP) as connection:
        peers.ping(connection)


def test_after_a_late_failure_the_old_process_steers_again(lab, echoing, manifests, workdir, portald):
    """The new process is killed when the rules are its own already, while nft is at work for it."""
    tools, hang = workdir / "tools", workdir / "hang"
    tools.mkdir()
    (tools / "nft").write_text(f'#!/bin/sh\n[ "$1" = -f ] && [ -e {hang} ] && exec sleep 100\n'
                               'exec /usr/sbin/nft "$@"\n', encoding="ascii")
    (tools / "nft").chmod(0o755)
    running = portald("--steering=nftables", wrapper=["env", f"PATH={tools}:/usr/sbin:/usr/bin:/sbin:/bin"])
    load = Load(lab.client, CLUSTER_IP)
    roles = running.roles()
    hang.touch()
    since = len(running.log())
    os.kill(running.process.pid, signal.SIGUSR2)
    tool = wait.until(lambda: next((process for process in running.family()
                                    if processes.title(process.pid) == "sleep 100"), None), 30, "nft's run")
    hang.unlink()
    os.kill(tool.parent, signal.SIGKILL)
    os.kill(tool.pid, signal.SIGKILL)
    running.wait_log(r"the upgrade has failed: this process goes on", since, 30)
    running.change(manifests.write, "more.yaml", objects.service("more", "10.96.0.11"),
                   objects.endpoints("more", [lab.pods[0].address]))
    with lab.client.connect("10.96.0.11:80") as connection:
        peers.ping(connection)
    wait.until(lambda: running.roles() == roles, 20, lambda: f"{roles}; is {running.roles()}")
    load.stop()


def test_a_second_request_meanwhile_is_refused(lab, echoing, portald):
    running = portald()
    since = len(running.log())
    os.kill(running.process.pid, signal.SIGUSR2)
    running.wait_log("msg=upgrading", since)
    os.kill(running.process.pid, signal.SIGUSR2)
    running.wait_log(r"no upgrade.*under way|upgraded: another process serves", since, 30)
    running.wait_log(r"upgraded: another process serves", since, 30)
    with lab.client.connect(CLUSTER_IP) as connection:
        peers.ping(connection)


def test_the_signal_to_all_processes_is_a_request_too(lab, echoing, portald):
    running = portald()
    for _ in range(2):
        held = lab.client.connect(CLUSTER_IP, 20)
        peers.ping(held)
        since = len(running.log())
        for process in running.family():
            processes.signal(process, signal.SIGUSR2)
        wait_upgraded(running, since)
        peers.ping(held)
        held.close()


def test_connections_end_with_the_drain_limit(lab, echoing, portald):
    running = portald("--upgrade-drain=300ms")
    held = lab.client.connect(CLUSTER_IP, 20)
    peers.ping(held)
    upgrade(running)
    assert peers.becomes_of(held, 20) == "reset"
    wait.until(lambda: not any("draining" in role for role in running.roles()), 20, "the old relays to end")


def test_the_daemon_ends_with_its_first_process_and_leaves_nothing(lab, echoing, portald):
    running = portald()
    held = lab.client.connect(CLUSTER_IP, 20)
    for _ in range(2):
        upgrade(running)
        # One relay of each generation has a connection.
        more = lab.client.connect(CLUSTER_IP, 20)
        peers.ping(more)
    assert running.terminate() == 0
    wait.until(lambda: not running.family(), 20, lambda: f"the end of all: {running.roles()}")
    held.close()
    more.close()


def test_the_daemon_ends_also_with_a_first_process_that_is_killed(lab, echoing, portald):
    running = portald()
    upgrade(running)
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    # What the test's end checks: no process and no rule is left.
    wait.until(lambda: not running.family(), 20, lambda: f"the end of all: {running.roles()}")


def test_when_the_serving_process_is_killed_the_first_one_says_so(lab, echoing, portald):
    running = portald()
    upgrade(running)
    running.leaves_rules = True
    os.kill(running.roles()["supervisor"], signal.SIGKILL)
    assert running.exit_code() == 128 + signal.SIGKILL


def test_standard_input_and_the_access_log_go_over(lab, echoing, manifests, workdir, start_portald):
    log = workdir / "access.log"
    with open(manifests.path / "web.yaml", "rb") as stdin:
        running = start_portald(lab.node, "-", f"--access-log={log}", stdin=stdin)
        for lines in (1, 2):
            with lab.client.connect(CLUSTER_IP) as connection:
                peers.ping(connection)
            wait.until(lambda: log.exists() and log.read_text(encoding="utf-8").count("\n") == lines, 20,
                       "a line of the log")
            upgrade(running)


def test_datagrams_are_answered_across_upgrades(lab, udp_app, serve_udp, portald):
    """What was asked before is answered by the old relay, what comes after goes to the new one."""
    udp_app.serve(serve_udp, lambda name: udp.late(0.7, name))
    udp_app.write()
    running = portald()
    with lab.client.udp(udp_app.at(), 20) as client:
        client.send(b"?")
        wait.until(lambda: counted(lab, "portald_received_datagrams_total") > 0, 20, "the datagram")
        upgrade(running)
        assert client.recv(100)
        assert udp.ask(client)


def test_health_metrics_and_status_go_over_to_the_new_process(lab, echoing, workdir, binary, portald):
    socket_path = workdir / "status.socket"
    running = portald(f"--status-socket={socket_path}")
    for _ in range(2):
        upgrade(running)

        def is_healthy():
            try:
                return scrape.get(lab.node, "127.0.0.1:10256", "/healthz")[0] == 200
            except ConnectionRefusedError:
                return False

        wait.until(is_healthy, 20, "the health address")
        with lab.client.connect(CLUSTER_IP) as connection:
            peers.ping(connection)
        assert counted(lab, "portald_connections_total") == 1
        assert "default/web:http" in lab.node.run(str(binary), "status", f"--status-socket={socket_path}")
    assert running.terminate() == 0
    assert not socket_path.exists()


def test_without_root_and_rules(host, serve, manifests, start_portald):
    serve(host, "127.0.0.1:8080", peers.echo)
    manifests.web(["127.0.0.1"])
    running = start_portald(host, manifests.path, "--steering=none", wrapper=daemon_module.NOBODY)
    at = running.output().split()[-1]
    held = host.connect(at, 20)
    peers.ping(held)
    upgrade(running)
    with host.connect(at) as connection:
        peers.ping(connection)
    peers.ping(held)
    held.close()


def test_a_service_manager_is_told_of_the_new_main_process(lab, echoing, workdir, portald):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(workdir / "notify.socket"))
    os.chmod(workdir / "notify.socket", 0o777)
    manager.settimeout(20)
    running = portald(wrapper=["env", f"NOTIFY_SOCKET={workdir}/notify.socket"])
    for _ in range(2):
        main = running.roles()["supervisor"]
        upgrade(running, main)
        said = ""
        while "MAINPID=" not in said:
            said = manager.recv(4096).decode()
        fresh = int(said.split("MAINPID=")[1].split()[0])
        assert fresh == running.roles()["supervisor"] != main
        while "READY=1" not in said:
            said = manager.recv(4096).decode()
        wait.until(lambda: main not in [process.pid for process in running.family()], 20, "the old one's end")
    os.kill(fresh, signal.SIGTERM)
    wait.until(lambda: not running.roles(), 20, lambda: f"the end: {running.roles()}")
    manager.close()


def test_portald_run_says_that_it_cannot(host, serve, manifests, binary, workdir):
    manifests.web(["127.0.0.1"])
    running = daemon_module.Portald(binary, host, workdir / "log")
    running.spawn("run", "-f", str(manifests.path), "--", "sleep", "60")
    running.wait_log(r"msg=ready")
    os.kill(running.process.pid, signal.SIGUSR2)
    running.wait_log(r"no upgrade.*portald run")
    running.process.send_signal(signal.SIGTERM)
    running.exit_code()
