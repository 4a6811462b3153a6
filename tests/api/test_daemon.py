#!/usr/bin/env python3
"""The real daemon against the fake API server: from a change in the cluster to bytes through a listener."""
import os
import shutil
import signal
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "tools")]

try:
    import pytest
except ImportError:
    # It may belong to another Python than the one that `make check` found.
    if shutil.which("pytest-3"):
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.execvp("pytest-3", ["pytest-3", "-q", "-p", "no:cacheprovider", __file__, *sys.argv[1:]])
    print("skipped: needs pytest (Debian: python3-pytest)")
    sys.exit(77)

from api_daemon import Daemon, Pod, answers, ask, endpoints, seen, service, token_file, wait_for  # noqa: E402
from fake_apiserver import FakeApiServer  # noqa: E402

WEB = "default/web:http"


@pytest.fixture(name="pods")
def two_pods():
    both = Pod("one", "127.0.0.11"), Pod("two", "127.0.0.12")
    yield both
    for pod in both:
        pod.close()


@pytest.fixture(name="fake")
def fake_with_web(tmp_path, pods):
    server = FakeApiServer(str(tmp_path), tokens=["token-1"])
    server.put(service("web", 10))
    server.put(endpoints("web", pods[0]))
    server.start()
    yield server
    server.stop()


@pytest.fixture(name="plain")
def plain_with_web(tmp_path, pods):
    """Without TLS, so that another server may follow it at the same address."""
    server = FakeApiServer(str(tmp_path), tls=False, tokens=["token-1"])
    server.put(service("web", 10))
    server.put(endpoints("web", pods[0]))
    server.start()
    yield server
    server.stop()


def take_away(server):
    """Nobody listens any more, and what was connected is cut."""
    server.stop()
    server.cut()


def follow_up(plain, tmp_path):
    """A server that has what the other one had, at its address."""
    server = FakeApiServer(str(tmp_path), tls=False, tokens=["token-1"], port=plain.port)
    for objects in plain.store.objects.values():
        for item in list(objects.values()):
            server.put(item)
    return server


def test_a_change_in_the_cluster_reaches_the_listener(fake, tmp_path, pods):
    with Daemon(tmp_path, "--kubeconfig", fake.kubeconfig()) as daemon:
        at = daemon.address(WEB)
        answers(at, "one")
        assert {request["user"] for request in fake.requests} == {"system:kube-proxy"}
        fake.put(endpoints("web", pods[1]))
        answers(at, "two")
        fake.put(service("late", 11))
        daemon.address("default/late:http")
        fake.delete("services", "default", "web")
        wait_for(lambda: ask(at) is None, "the deleted Service is closed")
        # What stayed was not opened anew.
        assert daemon.log().count("default/late:http proxy=") == 1


def test_a_token_rotates(fake, tmp_path, pods):
    path = token_file(tmp_path, "token-1")
    config = fake.kubeconfig("rotating", user={"tokenFile": path})
    with Daemon(tmp_path, "--kubeconfig", config) as daemon:
        at = daemon.address(WEB)
        token_file(tmp_path, "token-2")
        fake.set(tokens=["token-2"])
        fake.hang_up()
        fake.put(endpoints("web", pods[1]))
        answers(at, "two")
        assert "token-" not in daemon.log()


def test_a_file_that_the_configuration_did_not_name_is_not_opened(fake, tmp_path):
    with Daemon(tmp_path, "--kubeconfig", fake.kubeconfig()) as daemon:
        daemon.address(WEB)
        # The kubeconfig that a restarted control reads names another key, which nobody asked for at start.
        shutil.copy(tmp_path / "pki" / "client.key", tmp_path / "pki" / "other.key")
        fake.kubeconfig(user={"client-certificate": "pki/client.crt", "client-key": "pki/other.key"})
        daemon.kill_control()
        daemon.wait_log("no such file was named at start")
        assert daemon.process.poll() is None
        answers(daemon.address(WEB), "one")
        fake.kubeconfig()
        since = len(daemon.log())
        daemon.wait_log("listed 1 services", since)


@pytest.mark.parametrize("resource", ["services", "endpointslices"])
def test_nothing_is_opened_before_both_lists(fake, tmp_path, resource):
    fake.set(forbidden=[f"list {resource}"])
    with Daemon(tmp_path, "--kubeconfig", fake.kubeconfig()) as daemon:
        other = "endpointslices" if resource == "services" else "services"
        daemon.wait_log(f"listed 1 {other}")
        daemon.wait_log(f"cannot list {resource}")
        # It says which verb is missing, goes on asking, and opens nothing meanwhile.
        wait_for(lambda: seen(fake, f"/{resource}?") >= 2, "it asks again")
        assert "forbidden" in daemon.log() and daemon.services() == {}
        assert "msg=ready" not in daemon.log()
        fake.set(forbidden=[])
        answers(daemon.address(WEB), "one")


def test_a_server_that_was_away_is_listed_anew(plain, tmp_path, pods):
    plain.put(service("old", 12))
    with Daemon(tmp_path, "--kubeconfig", plain.kubeconfig()) as daemon:
        web, old = daemon.address(WEB), daemon.address("default/old:http")
        take_away(plain)
        plain.delete("services", "default", "old")
        plain.put(endpoints("web", pods[1]))
        after = follow_up(plain, tmp_path)
        after.start()
        try:
            answers(web, "two")
            wait_for(lambda: "default/old:http" not in daemon.services(), "the deletion is noticed")
            wait_for(lambda: ask(old) is None, "its listener is closed")
        finally:
            after.stop()


def test_traffic_flows_while_the_server_is_away_and_control_dies(plain, tmp_path, pods):
    with Daemon(tmp_path, "--kubeconfig", plain.kubeconfig()) as daemon:
        at = daemon.address(WEB)
        with socket.create_connection(at, timeout=20) as long:
            assert long.recv(16) == b"one"
            take_away(plain)
            daemon.wait_log("no answer")
            answers(at, "one")
            since = len(daemon.log())
            daemon.kill_control()
            daemon.wait_log("no answer", since)
            # The new control has nothing to say yet, and what its predecessor said stays.
            answers(at, "one")
            assert daemon.services() != {} and "in force" not in daemon.log()[since:]
            long.sendall(b"still")
            assert long.recv(16) == b"still"
            plain.put(endpoints("web", pods[1]))
            after = follow_up(plain, tmp_path)
            after.start()
            try:
                answers(at, "two")
                long.sendall(b"here")
                assert long.recv(16) == b"here"
            finally:
                after.stop()


def test_an_upgrade_goes_on_with_the_cluster_and_its_connections(fake, tmp_path, pods):
    with Daemon(tmp_path, "--kubeconfig", fake.kubeconfig()) as daemon:
        at = daemon.address(WEB)
        with socket.create_connection(at, timeout=20) as long:
            assert long.recv(16) == b"one"
            # As at a start, the kubeconfig may name what it did not name before.
            shutil.copy(tmp_path / "pki" / "client.key", tmp_path / "pki" / "other.key")
            fake.kubeconfig(user={"client-certificate": "pki/client.crt", "client-key": "pki/other.key"})
            since = len(daemon.log())
            daemon.process.send_signal(signal.SIGUSR2)
            daemon.wait_log("upgraded: another process serves", since)
            fake.put(endpoints("web", pods[1]))
            answers(at, "two")
            assert daemon.address(WEB) == at
            long.sendall(b"still")
            assert long.recv(16) == b"still"


def test_environment_and_address_say_where_the_server_is(plain, tmp_path):
    other = plain.kubeconfig("other", cluster={"server": "http://127.0.0.1:1"})
    with Daemon(tmp_path, f"--master={plain.url}", env={"KUBECONFIG": other}) as daemon:
        answers(daemon.address(WEB), "one")


@pytest.mark.parametrize("text, problem", [("contexts: [", "kubeconfig"), (None, "kubeconfig")])
def test_a_kubeconfig_that_cannot_be_used_ends_the_start(tmp_path, text, problem):
    path = tmp_path / "broken"
    if text:
        path.write_text(text)
    with Daemon(tmp_path, f"--kubeconfig={path}") as daemon:
        assert daemon.process.wait(40) == 1
        assert problem in daemon.log() and str(path) in daemon.log()


if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", __file__, *sys.argv[1:]]))
