"""`portald status` and `portald explain`: what people learn of the running daemon, and who may ask it."""
import grp
import json
import os
import stat
import subprocess

import daemon
import manifests as objects
import peers
import pytest
import rules
import scrape
import wait

# Any group there is, of which nobody here is a member otherwise.
GROUP = grp.getgrnam("games")
MEMBER = ["setpriv", "--reuid=65534", "--regid=65534", f"--groups={GROUP.gr_gid}"]


class Asker:
    """Asks the daemon at a socket."""

    def __init__(self, binary, path):
        self.binary, self.path = str(binary), path

    def run(self, *words, wrapper=()):
        return subprocess.run([*wrapper, self.binary, *words, f"--status-socket={self.path}"], timeout=30,
                              text=True, capture_output=True, check=False)

    def tells(self, *words, wrapper=()):
        done = self.run(*words, wrapper=wrapper)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout

    def json(self, *words):
        return json.loads(self.tells(*words, "-o", "json"))

    def refuses(self, *words, wrapper=()):
        done = self.run(*words, wrapper=wrapper)
        assert done.returncode == 1 and not done.stdout
        return done.stderr


@pytest.fixture
def ask(binary, workdir):
    return Asker(binary, workdir / "status.sock")


@pytest.fixture
def running(ask, web, portald):
    return portald(f"--status-socket={ask.path}", f"--status-group={GROUP.gr_name}")


def line_with(text, *parts):
    """The line that has all the parts."""
    found = [line for line in text.splitlines() if all(part in line for part in parts)]
    assert len(found) == 1, text
    return found[0]


def test_status_tells_what_is_open_and_how_much_it_is_used(lab, ask, running):
    for _ in range(3):
        peers.fetch(lab.client, "10.96.0.10:80")
    # A connection's end reaches the relay a moment after its client.
    expected = ["default/web:http", "TCP", "10.96.0.10:80", "3/3", "0", "3", "open"]
    wait.until(lambda: line_with(ask.tells("status"), "default/web:http").split() == expected)
    assert ": ready, healthy" in ask.tells("status").splitlines()[0]


def test_explain_tells_portals_and_backends(lab, ask, running):
    text = ask.tells("explain", "web")
    port = rules.proxy_port(lab.node, "default/web:http")
    assert (f"proxy    0.0.0.0:{port}" if port else "proxy    10.96.0.10:80") in text
    assert line_with(text, "10.96.0.10:80", "ClusterIP").endswith(": open")
    assert line_with(text, "0.0.0.0:30080", "NodePort").endswith(": open")
    for pod in lab.pods:
        assert "used; 0 active, 0 connections" in line_with(text, f"backend  {pod.address}:8080")


def test_a_service_may_be_named_in_short(ask, running):
    for name in ("web", "web:http", "web:80", "web:30080", "default/web", "default/web:http"):
        found = ask.json("explain", name)["listeners"]
        assert [listener["key"] for listener in found] == ["default/web:http"], name


def test_a_name_that_is_not_there_or_cannot_be_is_said_to_be_so(ask, running):
    for name in ("we", "webb", "web:htt", "web:81", "other/web"):
        assert "no Service" in ask.refuses("explain", name), name
    for name in ("", "/web", "default/", "web:"):
        assert "[NAMESPACE/]NAME[:PORT]" in ask.refuses("explain", name), name


def test_explain_tells_why_an_endpoint_is_left_out(lab, ask, serve, manifests, portald):
    serve(lab.pods[0], f"{lab.pods[0].address}:8080", peers.identity("pod1"))
    port = objects.service_port()
    manifests.write("web.yaml", objects.service_of("web", ["10.96.0.10"], [port]), objects.slice_of(
        "web", "IPv4", [objects.endpoint(lab.pods[0].address),
                        objects.endpoint(lab.pods[1].address, ready=False, target="web-2")],
        [objects.slice_port(port)]))
    portald(f"--status-socket={ask.path}")
    left = line_with(ask.tells("explain", "web"), "left out", f"{lab.pods[1].address}:8080")
    assert "web-2" in left and "not ready" in left
    assert line_with(ask.tells("status"), "default/web:http").split()[3] == "1/2"


def test_explain_tells_of_a_backend_that_is_set_aside(lab, ask, serve, manifests, portald):
    serve(lab.pods[0], f"{lab.pods[0].address}:8080", peers.identity("pod1"))
    manifests.web(pod.address for pod in lab.pods[:2])
    portald(f"--status-socket={ask.path}")
    for _ in range(4):
        peers.fetch(lab.client, "10.96.0.10:80")
    listener = ask.json("explain", "web")["listeners"][0]
    backends = {backend["address"]: backend for backend in listener["backends"]}
    good, dead = (backends[f"{pod.address}:8080"] for pod in lab.pods[:2])
    assert not good["setAside"] and good["connections"] == 4
    assert dead["setAside"] and dead["setAsideMilliseconds"] > 0 and dead["failures"] >= 1
    assert "set aside after" in line_with(ask.tells("explain", "web"), f"{lab.pods[1].address}:8080")


def test_explain_tells_of_a_port_that_another_process_has(lab, ask, web, portald):
    with lab.node.listen("0.0.0.0:30080"):
        portald(f"--status-socket={ask.path}")
        assert "closed: Address already in use" in line_with(ask.tells("explain", "web"), "NodePort")
        assert "1 of 2 portals closed" in line_with(ask.tells("status"), "default/web:http")
        assert scrape.metrics(lab.node).sum("portald_portals_closed", reason="port") == 1
    wait.until(lambda: line_with(ask.tells("explain", "web"), "NodePort").endswith(": open"), 15,
               "the portal to open")


def test_explain_tells_why_a_service_opens_nothing(ask, web, manifests, portald):
    manifests.write("more.yaml", objects.service_of("far", None, [objects.service_port()],
                                                    type="ExternalName", externalName="example.org"))
    portald(f"--status-socket={ask.path}")
    assert "opens nothing: " in ask.tells("explain", "far")
    assert ask.json("explain", "far")["skipped"][0]["reason"]


def test_a_change_is_told_once_it_is_in_force(lab, ask, running, manifests):
    running.change(manifests.web, [lab.pods[0].address])
    assert len(ask.json("explain", "web")["listeners"][0]["backends"]) == 1
    running.change(manifests.remove, "web.yaml")
    assert "no Service" in ask.refuses("explain", "web")


def test_a_new_control_tells_the_same(lab, ask, running):
    peers.fetch(lab.client, "10.96.0.10:80")
    wait.until(lambda: "1 active" not in ask.tells("explain", "web"), 15, "the connection to end")
    before = ask.tells("explain", "web")
    running.kill_role("control")

    def told():
        done = ask.run("explain", "web")
        return done.stdout == before

    wait.until(told, 20, "the same explanation")


# ---- who may ask ----

def test_members_of_the_group_may_ask_and_others_may_not(ask, running):
    assert stat.S_IMODE(os.stat(ask.path).st_mode) == 0o660
    assert os.stat(ask.path).st_gid == GROUP.gr_gid
    assert "default/web:http" in ask.tells("status", wrapper=MEMBER)
    assert "no permission" in ask.refuses("status", wrapper=daemon.NOBODY)


def test_the_group_may_ask_though_the_daemon_may_not_give_files_away(ask, web, portald):
    """As a service manager runs it, with only the capabilities that it uses."""
    portald(f"--status-socket={ask.path}", f"--status-group={GROUP.gr_name}",
            wrapper=["setpriv", "--bounding-set=-chown,-fowner,-dac_override", "--inh-caps=-all"])
    assert os.stat(ask.path).st_gid == GROUP.gr_gid
    assert "default/web:http" in ask.tells("status", wrapper=MEMBER)


def test_a_socket_without_a_daemon_is_said_to_be_so(ask, running):
    assert running.terminate() == 0
    assert not ask.path.exists(), "the name goes with the daemon"
    assert "no daemon answers" in ask.refuses("status")


def test_a_stale_socket_is_taken_and_a_live_one_is_not(lab, ask, running, binary, workdir, web, start_portald,
                                                        manifests):
    second = daemon.Portald(binary, lab.node, workdir / "second")
    second.spawn("-f", str(manifests.path), "--steering=none", f"--status-socket={ask.path}")
    assert second.exit_code() == 1 and "cannot make the status socket" in second.log()
    second.finish()
    running.kill_all()
    assert ask.path.exists()
    start_portald(lab.node, manifests.path, f"--status-socket={ask.path}").leaves_rules = True
    assert "default/web:http" in ask.tells("status")


def test_a_file_is_not_taken_for_a_socket(lab, ask, binary, workdir, web, manifests):
    ask.path.write_text("precious", encoding="ascii")
    running = daemon.Portald(binary, lab.node, workdir / "log")
    running.spawn("-f", str(manifests.path), f"--status-socket={ask.path}")
    assert running.exit_code() == 1
    assert ask.path.read_text(encoding="ascii") == "precious"
    running.finish()


def test_without_a_flag_a_node_has_it_in_its_usual_place(lab, web, manifests, binary, workdir):
    """In a file system of its own: the machine's may have a daemon."""
    running = daemon.Portald(binary, lab.node, workdir / "log", wrapper=[
        "unshare", "-m", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"])
    with open(running.log_path, "wb") as log:
        running.process = lab.node.popen([*running.wrapper, running.binary, "-f", str(manifests.path),
                                          "--healthz-port=0"], start_new_session=True, cwd="/",
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        running.wait_log("msg=ready")
        inside = ["nsenter", "-m", f"--target={running.process.pid}"]
        done = subprocess.run([*inside, str(binary), "status"], text=True, capture_output=True, timeout=30,
                              check=False)
        assert done.returncode == 0 and "default/web:http" in done.stdout, done.stderr
    finally:
        running.finish()


def test_run_has_one_if_asked(host, ask, serve, manifests, binary):
    serve(host, "127.0.0.1:8080", peers.identity("laptop"))
    manifests.web(["127.0.0.1"])
    with host.entered():
        done = subprocess.run([*daemon.NOBODY, str(binary), "run", "-f", str(manifests.path),
                               f"--status-socket=/tmp/portald-test-{os.getpid()}.sock", "--", str(binary),
                               f"--status-socket=/tmp/portald-test-{os.getpid()}.sock", "status"],
                              timeout=60, text=True, capture_output=True, check=False, cwd="/")
    assert done.returncode == 0 and "default/web:http" in done.stdout, done.stderr
