"""The access log: a line for each connection, and none of them holds anybody up."""
import json
import os
import signal
import stat

import daemon
import manifests as objects
import peers
import pytest
import rules
import scrape
import wait


class Log:
    def __init__(self, path):
        self.path = path
        self.flag = f"--access-log={path}"

    def lines(self, path=None):
        path = path or self.path
        if not path.exists():
            return []
        text = path.read_text(encoding="ascii")
        return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]

    def wait_lines(self, count, path=None):
        wait.until(lambda: len(self.lines(path)) >= count, 15, lambda: f"{count} lines: {self.lines(path)}")
        found = self.lines(path)
        assert len(found) == count
        return found


@pytest.fixture
def log(workdir):
    return Log(workdir / "access.log")


def test_a_connection_is_a_line(lab, web, portald, log):
    portald(log.flag)
    with lab.client.connect("10.96.0.10:80") as connection:
        own = "%s:%d" % connection.getsockname()
        name = peers.read_all(connection).decode()
    line, = log.wait_lines(1)
    pod = next(pod for pod in lab.pods if pod.name == name)
    assert line["service"] == "default/web:http" and line["protocol"] == "TCP"
    assert line["client"] == own and line["portal"] == "10.96.0.10:80"
    assert line["backend"] == f"{pod.address}:8080" and line["tries"] == 1
    assert line["received_bytes"] == 0 and line["sent_bytes"] == len(name)
    assert 0 < line["connect_ms"] <= line["total_ms"]
    assert line["how"] == "closed"


def test_ipv6_is_logged_like_ipv4(app, serve, portald, log):
    app.serve(serve)
    app.write()
    portald(log.flag)
    names = app.names(app.lab.client)
    wait.until(lambda: len(log.lines()) >= len(names), 15, "lines")
    for line in log.lines():
        assert line["how"] == "closed" and line["client"].startswith("[") == (app.family.name == "v6")


def test_a_retry_is_told(lab, serve, manifests, portald, log):
    serve(lab.pods[0], f"{lab.pods[0].address}:8080", peers.identity("pod1"))
    manifests.web(pod.address for pod in lab.pods[:2])
    portald(log.flag)
    for _ in range(3):
        peers.fetch(lab.client, "10.96.0.10:80")
    assert [line["tries"] for line in log.wait_lines(3)].count(2) == 1


def test_how_it_ended_is_told(lab, serve, manifests, portald, log, have):
    serve(lab.pods[0], f"{lab.pods[0].address}:8080", peers.echo)
    manifests.web([lab.pods[0].address])
    manifests.write("dead.yaml", objects.service("dead", "10.96.0.11"),
                    objects.endpoints("dead", [lab.pods[1].address]))
    portald(log.flag, "--relays=1")
    with lab.client.connect("10.96.0.10:80") as connection:
        peers.ping(connection)
        peers.reset(connection)
    log.wait_lines(1)
    assert peers.outcome(lab.client, "10.96.0.11:80") == "reset"
    client_reset, dead = log.wait_lines(2)
    assert client_reset["how"] == "client_reset" and client_reset["received_bytes"] == len("ping")
    assert dead["how"] == "all_backends" and dead["backend"] is None and dead["connect_ms"] is None
    assert dead["tries"] == 1 and dead["service"] == "default/dead:http"
    if have("proxy ports"):
        port = rules.proxy_port(lab.node, "default/web:http")
        assert peers.outcome(lab.client, f"10.1.0.1:{port}") == "reset"
        direct = log.wait_lines(3)[2]
        assert direct["how"] == "not_steered" and direct["tries"] == 0


def test_a_renamed_file_is_followed_by_a_new_one_and_no_line_is_lost(lab, web, portald, log):
    portald(log.flag)
    peers.fetch(lab.client, "10.96.0.10:80")
    log.wait_lines(1)
    old = log.path.with_suffix(".1")
    log.path.rename(old)
    for _ in range(20):
        peers.fetch(lab.client, "10.96.0.10:80")
    wait.until(log.path.exists, 15, "the new file")
    peers.fetch(lab.client, "10.96.0.10:80")
    wait.until(lambda: len(log.lines(old)) + len(log.lines()) == 22, 15,
               lambda: f"all lines: {len(log.lines(old))} and {len(log.lines())}")
    assert stat.S_IMODE(os.stat(log.path).st_mode) == 0o640


def test_the_file_is_appended_to(lab, web, portald, log):
    log.path.write_text('{"earlier": true}\n', encoding="ascii")
    portald(log.flag)
    peers.fetch(lab.client, "10.96.0.10:80")
    assert log.wait_lines(2)[0] == {"earlier": True}


def test_a_log_that_stands_still_holds_up_nobody_and_what_is_lost_is_counted(lab, web, portald, log):
    os.mkfifo(log.path)
    reader = os.open(log.path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        running = portald(log.flag, "--relays=1")
        os.kill(running.roles()["access log"], signal.SIGSTOP)

        def lost():  # 1 MiB of lines, or as much as the system lets the pipe hold
            for _ in range(200):
                assert peers.fetch(lab.client, "10.96.0.10:80").startswith("pod")
            return scrape.metrics(lab.node).sum("portald_access_log_dropped_total") > 0
        wait.until(lost, 60, "lost lines")
    finally:
        os.close(reader)


def test_the_last_lines_are_written_at_the_end(lab, serve, manifests, portald, log):
    serve(lab.pods[0], f"{lab.pods[0].address}:8080", peers.echo)
    manifests.web([lab.pods[0].address])
    running = portald(log.flag)
    with lab.client.connect("10.96.0.10:80") as connection:
        peers.ping(connection)
        assert running.terminate() == 0
    assert [line["how"] for line in log.lines()] == ["relay_ended"]


def test_a_dash_is_standard_error(lab, web, portald):
    running = portald("--access-log=-")
    peers.fetch(lab.client, "10.96.0.10:80")
    running.wait_log(r'^\{"time":.*"how":"closed"\}$')


def test_a_file_that_cannot_be_opened_is_said_at_once(lab, web, manifests, binary, workdir):
    running = daemon.Portald(binary, lab.node, workdir / "log")
    running.spawn("-f", str(manifests.path), "--access-log=/nonexistent/access.log")
    assert running.exit_code() == 1 and "cannot open the access log" in running.log()
    running.finish()


def test_the_writer_has_no_privilege(lab, web, portald, log):
    running = portald(log.flag)
    pid = running.roles()["access log"]
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        text = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    assert text["Uid"].split()[0] != "0" and int(text["CapEff"], 16) == 0 and int(text["CapBnd"], 16) == 0
    assert text["NoNewPrivs"] == "1"
