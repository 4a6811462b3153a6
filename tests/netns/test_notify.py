"""What a service manager is told, by the daemon's real processes over a real socket."""
import os
import socket

import peers
import pytest
import tools as tools_module
import wait


class Manager:
    """A service manager: a socket that takes notifications."""

    def __init__(self, directory):
        self.path = str(directory / "notify.socket")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.setblocking(False)
        self.said = []

    def wrapper(self, **more):
        variables = {"NOTIFY_SOCKET": self.path, **more}
        return ["env", *(f"{name}={value}" for name, value in variables.items())]

    def lines(self):
        """All that was said so far."""
        try:
            while True:
                self.said.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return [line for text in self.said for line in text.splitlines()]

    def wait_line(self, line, timeout=15):
        wait.until(lambda: line in self.lines(), timeout, lambda: f"{line}; said: {self.said}")


@pytest.fixture
def manager(workdir):
    made = Manager(workdir)
    yield made
    made.socket.close()


@pytest.fixture
def echoing(lab, serve, manifests):
    serve(lab.pods[0], "10.1.0.11:8080", peers.echo)
    manifests.web(["10.1.0.11"])


def test_ready_comes_with_the_rules_and_stopping_before_the_end(lab, echoing, manager, portald):
    running = portald(wrapper=manager.wrapper())
    manager.wait_line("READY=1")
    with lab.client.connect("10.96.0.10:80") as connection:
        peers.ping(connection)
    said = manager.lines()
    assert said.index("STATUS=Starting") < said.index("READY=1") < said.index("STATUS=Serving")
    assert "STOPPING=1" not in said
    assert running.terminate() == 0
    assert manager.lines()[-2:] == ["STOPPING=1", "STATUS=Stopping"]


def test_no_process_of_the_daemon_is_left_with_the_managers_address(echoing, manager, portald):
    running = portald(wrapper=manager.wrapper(WATCHDOG_USEC="30000000"))
    for role, pid in running.roles().items():
        with open(f"/proc/{pid}/environ", "rb") as environment:
            assert b"NOTIFY_SOCKET" not in environment.read(), role
        held = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
        assert manager.path not in held, role


@pytest.mark.needs("tools")
def test_the_firewall_tools_get_no_address_of_the_manager(lab, echoing, manager, workdir, portald):
    """A tool that is started sees what the supervisor's environment has become."""
    tools, seen = tools_module.Tools(workdir / "tools"), workdir / "seen"
    tools.trouble(f"env >>{seen}")
    portald(wrapper=manager.wrapper() + tools.wrapper)
    manager.wait_line("READY=1")
    assert "PATH=" in seen.read_text(encoding="utf-8")
    assert "NOTIFY_SOCKET" not in seen.read_text(encoding="utf-8")


def test_signs_of_life_go_on_through_the_death_of_a_relay(lab, echoing, manager, portald):
    running = portald("--relays=1", wrapper=manager.wrapper(WATCHDOG_USEC="200000"))
    manager.wait_line("WATCHDOG=1")
    running.kill_role("relay 0")
    before = manager.lines().count("WATCHDOG=1")
    wait.until(lambda: manager.lines().count("WATCHDOG=1") > before + 3, 15, "more signs of life")


def test_an_address_that_makes_no_sense_is_reported_and_stops_nothing(lab, echoing, portald):
    running = portald(wrapper=["env", "NOTIFY_SOCKET=nonsense"])
    assert "NOTIFY_SOCKET or WATCHDOG_USEC makes no sense" in running.log()
    with lab.client.connect("10.96.0.10:80") as connection:
        peers.ping(connection)
