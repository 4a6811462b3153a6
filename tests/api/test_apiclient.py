#!/usr/bin/env python3
"""portald's API client (by tests/tools/apiget) against the fake API server, over real TLS."""
import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))

try:
    import pytest
except ImportError:
    # It may belong to another Python than the one that `make check` found.
    if shutil.which("pytest-3"):
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.execvp("pytest-3", ["pytest-3", "-q", "-p", "no:cacheprovider", __file__, *sys.argv[1:]])
    print("skipped: needs pytest (Debian: python3-pytest)")
    sys.exit(77)

from fake_apiserver import FakeApiServer  # noqa: E402
from fake_pki import Pki  # noqa: E402

APIGET = os.path.join(os.environ.get("top_builddir", "."), "tests", "tools", "apiget")
SECRET = "hunter2-hunter2"


class Answer:
    def __init__(self, head, message, body):
        fields = dict(f.split("=", 1) for f in head.split()[1:])
        self.status, self.retry_ms = int(fields["status"]), int(fields["retry_ms"])
        self.error, self.type = fields["error"], fields["type"]
        self.message, self.body = message, body


def read_answer(stream):
    head = stream.readline().decode().rstrip("\n")
    assert head.startswith("result "), head
    message = stream.readline().decode(errors="replace").rstrip("\n")
    count = int(dict(f.split("=", 1) for f in head.split()[1:])["bytes"])
    body = stream.read(count + 1)[:-1]
    return Answer(head, message, body)


def environment(**more):
    env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("KUBE")}
    return {**env, **more}


class Get:
    """A running apiget that takes one path after another."""

    def __init__(self, *options, env=None):
        self.process = subprocess.Popen([APIGET, *options, "--v", "9", "-"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env or environment())
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        code = self.process.wait(20)
        self.reader.join(5)
        self.process.stdout.close()
        log = b"".join(self.log).decode()
        # Of nothing that any test does may a secret come to light.
        assert SECRET not in log and "PRIVATE" not in log and SECRET[::-1] not in log, log
        assert base64.b64encode(SECRET.encode()).decode()[:12] not in log
        assert code == 0, log

    def __call__(self, path):
        self.process.stdin.write(path.encode() + b"\n")
        self.process.stdin.flush()
        answer = read_answer(self.process.stdout)
        assert SECRET not in answer.message
        return answer


@pytest.fixture
def fake(tmp_path):
    server = FakeApiServer(str(tmp_path), tokens=[SECRET]).start()
    yield server
    server.stop()


def get_once(*options, path="/version", **env):
    with Get(*options, env=environment(**env)) as get:
        return get(path)


def token_user(fake, **more):
    return fake.kubeconfig("token", user={"token": SECRET, **more})


# ---- TLS ----

def test_client_certificate_and_headers(fake):
    answer = get_once("--kubeconfig", fake.kubeconfig())
    assert (answer.status, answer.error, answer.type) == (200, "0", "application/json")
    assert json.loads(answer.body)["gitVersion"] == "v1.20.0-fake"
    seen = fake.requests[-1]
    assert seen["user"] == "system:kube-proxy"
    assert seen["tls"] in ("TLSv1.2", "TLSv1.3")
    assert seen["headers"]["Accept"] == "application/json"
    assert seen["headers"]["User-Agent"].startswith("portald/")
    assert seen["headers"]["User-Agent"].endswith(" kubernetes/unknown")
    assert "Authorization" not in seen["headers"]


def test_certificate_and_key_within_the_kubeconfig(fake):
    def data(path):
        with open(path, "rb") as file:
            return base64.b64encode(file.read()).decode()
    path = fake.kubeconfig(user={"client-certificate-data": data(fake.client_certificate),
                                 "client-key-data": data(fake.client_key)},
                           cluster={"certificate-authority": None, "certificate-authority-data": data(fake.pki.ca)})
    assert get_once("--kubeconfig", path).status == 200
    assert fake.requests[-1]["user"] == "system:kube-proxy"


def test_an_unknown_authority_is_named(fake, tmp_path):
    other = Pki(str(tmp_path / "other"), "other")
    answer = get_once("--kubeconfig", fake.kubeconfig(cluster={"certificate-authority": other.ca}))
    assert (answer.status, answer.error) == (0, "EKEYREJECTED")
    assert answer.message.startswith(fake.url + ": TLS: SSL certificate problem:")
    assert not fake.requests


def test_a_missing_authority_means_the_systems(fake):
    answer = get_once("--kubeconfig", fake.kubeconfig(cluster={"certificate-authority": None}))
    assert answer.error == "EKEYREJECTED"


def test_the_server_may_go_unverified(fake, tmp_path):
    path = fake.kubeconfig(cluster={"certificate-authority": None, "insecure-skip-tls-verify": True})
    assert get_once("--kubeconfig", path).status == 200


def test_another_name_in_the_certificate(tmp_path):
    fake = FakeApiServer(str(tmp_path), hosts=["kubernetes.default.svc"]).start()
    try:
        answer = get_once("--kubeconfig", fake.kubeconfig())
        assert answer.error == "EKEYREJECTED"
        assert "127.0.0.1" in answer.message
        path = fake.kubeconfig(cluster={"tls-server-name": "kubernetes.default.svc"})
        assert get_once("--kubeconfig", path).status == 200
        assert fake.requests[-1]["sni"] == "kubernetes.default.svc"
        assert fake.requests[-1]["headers"]["Host"] == f"127.0.0.1:{fake.port}"
        wrong = fake.kubeconfig(cluster={"tls-server-name": "kubernetes.other"})
        assert get_once("--kubeconfig", wrong).error == "EKEYREJECTED"
        # --master drops the name.
        assert get_once("--kubeconfig", path, "--master", fake.url).error == "EKEYREJECTED"
    finally:
        fake.stop()


def test_a_client_certificate_that_is_required(tmp_path):
    fake = FakeApiServer(str(tmp_path), client_certificates="required").start()
    try:
        assert get_once("--kubeconfig", fake.kubeconfig()).status == 200
        answer = get_once("--kubeconfig", token_user(fake))
        assert answer.status == 0 and answer.error in ("EPROTO", "EKEYREJECTED")
        assert answer.message.startswith(fake.url)
    finally:
        fake.stop()


def test_a_key_of_another_certificate_is_named(fake):
    _, key = fake.pki.client("second")
    answer = get_once("--kubeconfig", fake.kubeconfig(
        user={"client-certificate": fake.client_certificate, "client-key": key}))
    assert answer.error == "EKEYREJECTED" and "TLS" in answer.message


def test_a_rotated_client_certificate_is_taken_up(fake, tmp_path):
    for kind, path in (("crt", fake.client_certificate), ("key", fake.client_key)):
        shutil.copy(path, tmp_path / f"mine.{kind}")
    path = fake.kubeconfig(user={"client-certificate": "mine.crt", "client-key": "mine.key"})
    with Get("--kubeconfig", path, "--refresh-ms", "1") as get:
        assert get("/version").status == 200
        certificate, key = fake.pki.client("next", user="rotated")
        # Half a change is none: the old pair stays until both are there.
        (tmp_path / "mine.key").write_text("")
        assert get("/version").status == 200
        shutil.copy(certificate, tmp_path / "mine.crt")
        shutil.copy(key, tmp_path / "mine.key")
        assert get("/version").status == 200
    assert [r["user"] for r in fake.requests] == ["system:kube-proxy"] * 2 + ["rotated"]


# ---- who we are ----

def test_bearer_token(fake):
    assert get_once("--kubeconfig", token_user(fake)).status == 200
    assert fake.requests[-1]["headers"]["Authorization"] == "Bearer " + SECRET


def test_user_and_password(fake):
    fake.set(passwords=["me:" + SECRET])
    path = fake.kubeconfig(user={"username": "me", "password": SECRET})
    assert get_once("--kubeconfig", path).status == 200


def test_impersonation(fake):
    path = token_user(fake, **{"as": "jane", "as-uid": "7", "as-groups": ["a", "b"],
                               "as-user-extra": {"scope/x": ["one"]}})
    assert get_once("--kubeconfig", path).status == 200
    headers = fake.requests[-1]["headers"]
    assert (headers["Impersonate-User"], headers["Impersonate-Uid"]) == ("jane", "7")
    assert headers["Impersonate-Extra-scope%2Fx"] == "one"
    assert fake.requests[-1]["groups"] == ["a", "b"]


def test_a_wrong_token_is_401_with_its_body(fake):
    answer = get_once("--kubeconfig", fake.kubeconfig(user={"token": "wrong"}))
    assert (answer.status, answer.error) == (401, "0")
    assert json.loads(answer.body)["reason"] == "Unauthorized"
    assert len(fake.requests) == 1


def test_a_rotated_token_is_read_at_once_on_401(fake, tmp_path):
    (tmp_path / "tok").write_text(SECRET + "\n")
    with Get("--kubeconfig", fake.kubeconfig(user={"tokenFile": "tok"})) as get:
        assert get("/version").status == 200
        (tmp_path / "tok").write_text(SECRET + "-2")
        # Within the minute the old one is used, until the server refuses it.
        assert get("/version").status == 200
        assert fake.requests[-1]["headers"]["Authorization"] == "Bearer " + SECRET
        fake.set(tokens=[SECRET + "-2"])
        assert get("/version").status == 200
        assert [r["user"] for r in fake.requests[-2:]] == [None, "token"]
        # Without another one the refusal stands, after one try.
        fake.set(tokens=["none"])
        count = len(fake.requests)
        answer = get("/version")
        assert answer.status == 401 and json.loads(answer.body)["code"] == 401
        assert len(fake.requests) == count + 1
        # A file that is gone leaves the last token in use.
        os.unlink(tmp_path / "tok")
        assert get("/version").status == 401


def test_a_rotated_token_is_read_when_it_is_time(fake, tmp_path):
    (tmp_path / "tok").write_text(SECRET)
    fake.set(tokens=[SECRET, "next"])
    with Get("--kubeconfig", fake.kubeconfig(user={"tokenFile": "tok"}), "--refresh-ms", "50") as get:
        assert get("/version").status == 200
        (tmp_path / "tok").write_text("next")
        time.sleep(0.1)
        assert get("/version").status == 200
    assert fake.requests[-1]["headers"]["Authorization"] == "Bearer next"


def test_in_a_cluster(fake, tmp_path):
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text(SECRET)
    shutil.copy(fake.pki.ca, account / "ca.crt")
    answer = get_once("--service-account-dir", str(account), KUBERNETES_SERVICE_HOST="127.0.0.1",
                      KUBERNETES_SERVICE_PORT=str(fake.port))
    assert answer.status == 200
    assert fake.requests[-1]["user"] == "token"


# ---- exec plugins ----

PLUGIN = """#!/bin/sh
echo run >> "$RUNS"
printf '%s' "$KUBERNETES_EXEC_INFO" > "$RUNS.info"
ls -l /proc/self/fd | awk '{print $9, $11}' > "$RUNS.fds"
cat "$(dirname "$0")/output"
"""


class Plugin:
    def __init__(self, directory, fake, version="v1", script=PLUGIN, **more):
        self.runs, self.output, self.version = directory / "runs", directory / "output", version
        script_path = directory / "plugin"
        script_path.write_text(script)
        script_path.chmod(0o755)
        self.path = fake.kubeconfig("exec", user={"exec": {
            "apiVersion": "client.authentication.k8s.io/" + version, "command": "./plugin", "args": ["a b", "c"],
            "env": [{"name": "RUNS", "value": str(self.runs)}], "interactiveMode": "Never", **more}})

    def say(self, token=None, expires_in=None, **status):
        if token:
            status["token"] = token
        if expires_in is not None:
            status["expirationTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + expires_in))
        self.output.write_text(json.dumps({"kind": "ExecCredential", "status": status,
                                           "apiVersion": "client.authentication.k8s.io/" + self.version}))

    def count(self):
        return len(self.runs.read_text().split()) if self.runs.exists() else 0


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_plugins_token_is_kept_until_it_expires(fake, tmp_path, version):
    plugin = Plugin(tmp_path, fake, version, provideClusterInfo=True)
    plugin.say(SECRET, expires_in=3600)
    with Get("--kubeconfig", plugin.path) as get:
        assert get("/version").status == 200
        assert get("/version").status == 200
    assert plugin.count() == 1
    info = json.loads((tmp_path / "runs.info").read_text())
    assert info["apiVersion"] == "client.authentication.k8s.io/" + version
    assert info["spec"]["interactive"] is False
    assert info["spec"]["cluster"]["server"] == fake.url
    # Its own three, and what ls opened; no socket or epoll of ours.
    fds = [line.split() for line in (tmp_path / "runs.fds").read_text().split("\n") if line.split()]
    assert {f[0] for f in fds} <= {"0", "1", "2", "3"}
    assert not any("socket" in f[-1] or "eventpoll" in f[-1] for f in fds)


def test_an_expired_token_has_the_plugin_run_again(fake, tmp_path):
    plugin = Plugin(tmp_path, fake)
    plugin.say(SECRET, expires_in=-5)
    with Get("--kubeconfig", plugin.path) as get:
        # Over when it comes: the server decides, and the plugin isn't run again and again.
        assert get("/version").status == 200
        assert get("/version").status == 200
        assert plugin.count() == 1
        time.sleep(1.1)
        plugin.say(SECRET, expires_in=3600)
        assert get("/version").status == 200
        assert get("/version").status == 200
        assert plugin.count() == 2


def test_a_refused_token_has_the_plugin_run_again(fake, tmp_path):
    plugin = Plugin(tmp_path, fake)
    plugin.say("old", expires_in=3600)
    fake.set(tokens=["old"])
    with Get("--kubeconfig", plugin.path) as get:
        assert get("/version").status == 200
        fake.set(tokens=[SECRET])
        plugin.say(SECRET)
        assert get("/version").status == 200
        assert plugin.count() == 2
        # The same token again: the refusal stands.
        fake.set(tokens=["none"])
        assert get("/version").status == 401
        assert plugin.count() == 3


def test_a_plugins_certificate_is_used(fake, tmp_path):
    plugin = Plugin(tmp_path, fake)
    with open(fake.client_certificate, encoding="ascii") as cert, open(fake.client_key, encoding="ascii") as key:
        plugin.say(clientCertificateData=cert.read(), clientKeyData=key.read())
    assert get_once("--kubeconfig", plugin.path).status == 200
    assert fake.requests[-1]["user"] == "system:kube-proxy"


@pytest.mark.parametrize("script,problem", [
    ("#!/bin/sh\necho no luck >&2\nexit 3\n", "exec plugin {0}/plugin: exit code 3: no luck"),
    ("#!/bin/sh\nkill -9 $$\n", "exec plugin {0}/plugin: it ended by signal 9"),
    ("#!/bin/sh\nexit 0\n", "exec plugin {0}/plugin: it printed nothing"),
    (f"#!/bin/sh\necho '{SECRET}'\n", "exec plugin {0}/plugin: its output is not JSON (line 1, column 1)"),
    ("#!/bin/sh\nsleep 60 & wait\n", "exec plugin {0}/plugin: it was killed after 300 ms"),
    ("#!/nowhere\n", "exec plugin {0}/plugin: cannot be run: No such file or directory: install it"),
    ("#!/bin/sh\nyes | head -c 3000000\n", "exec plugin {0}/plugin: it printed too much"),
])
def test_a_plugin_that_fails(fake, tmp_path, script, problem):
    plugin = Plugin(tmp_path, fake, script=script, installHint="install it")
    begun = time.monotonic()
    answer = get_once("--kubeconfig", plugin.path, "--exec-timeout-ms", "300")
    assert (answer.status, answer.error) == (0, "EACCES")
    assert answer.message == f"{fake.url}: " + problem.format(tmp_path)
    assert time.monotonic() - begun < 5
    assert not fake.requests


def test_requests_under_way_go_on_while_the_plugin_runs(fake, tmp_path):
    """Several at once share one run."""
    plugin = Plugin(tmp_path, fake, script=PLUGIN + "sleep 0.2\n")
    plugin.say(SECRET)
    done = subprocess.run([APIGET, "--kubeconfig", plugin.path, "/version", "/version", "/version"],
                          env=environment(), capture_output=True, check=True, timeout=20)
    assert done.stdout.count(b"status=200") == 3
    assert plugin.count() == 1


# ---- answers ----

def test_retry_after_is_passed_on(fake):
    fake.fault("status", status=429, retry_after=7, count=1)
    with Get("--kubeconfig", token_user(fake)) as get:
        answer = get("/version")
        assert (answer.status, answer.retry_ms) == (429, 7000)
        assert get("/version").retry_ms == -1


@pytest.mark.parametrize("code", [403, 404, 410, 500, 503])
def test_a_status_is_no_error(fake, code):
    fake.fault("status", status=code)
    answer = get_once("--kubeconfig", token_user(fake))
    assert (answer.status, answer.error) == (code, "0")
    assert json.loads(answer.body)["code"] == code


def test_a_large_list_comes_zipped_and_whole(fake):
    for number in range(1000):
        fake.put({"kind": "Service", "metadata": {"name": f"s{number}", "labels": {"pad": "x" * 60}}, "spec": {}})
    answer = get_once("--kubeconfig", token_user(fake), path="/api/v1/services")
    assert len(json.loads(answer.body)["items"]) == 1000
    assert "gzip" in fake.requests[-1]["headers"]["Accept-Encoding"]


def test_a_truncated_answer_is_an_error(fake):
    fake.fault("truncate", after=20, count=1)
    with Get("--kubeconfig", token_user(fake)) as get:
        answer = get("/version")
        assert (answer.status, answer.error, len(answer.body)) == (200, "EPROTO", 20)
        assert get("/version").status == 200


def test_a_stalled_server_hits_the_deadline(fake):
    fake.fault("stall", count=1)
    fake.fault("stall", after=10, count=1)
    with Get("--kubeconfig", token_user(fake), "--deadline-ms", "300") as get:
        begun = time.monotonic()
        answer = get("/version")
        assert 0.2 < time.monotonic() - begun < 3
        assert (answer.status, answer.error) == (0, "ETIMEDOUT")
        assert answer.message == f"{fake.url}: no answer after 300 ms"
        answer = get("/version")
        assert (answer.status, answer.error, len(answer.body)) == (200, "ETIMEDOUT", 10)
        assert answer.message == f"{fake.url}: the answer was not complete after 300 ms"
        # A new connection: the old one may be dead.
        assert get("/version").status == 200
    ports = [r["client_port"] for r in fake.requests]
    assert len(set(ports)) == 3


def test_a_connection_is_used_again(fake):
    with Get("--kubeconfig", token_user(fake)) as get:
        assert [get("/version").status for _ in range(3)] == [200] * 3
    assert len({r["client_port"] for r in fake.requests}) == 1


def test_a_watch_streams(fake):
    process = subprocess.Popen([APIGET, "--kubeconfig", token_user(fake), "--stream", "--deadline-ms", "0",
                                "--quit-ms", "5000", "/api/v1/services?watch=true&resourceVersion=1"],
                               stdout=subprocess.PIPE, env=environment())
    for number in range(3):
        fake.put({"kind": "Service", "metadata": {"name": f"s{number}"}, "spec": {}})
        event = json.loads(process.stdout.readline())
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", f"s{number}")
    fake.hang_up()
    assert process.stdout.readline().startswith(b"result status=200 retry_ms=-1 error=0")
    process.stdout.close()
    assert process.wait(10) == 0


def test_leaving_in_the_midst_of_it(fake):
    fake.fault("stall", match="version")
    done = subprocess.run([APIGET, "--kubeconfig", token_user(fake), "--quit-ms", "300", "/version", "/version",
                           "/api/v1/services?watch=true"], env=environment(), capture_output=True, check=True,
                          timeout=20)
    assert done.stdout == b""


def test_a_path_before_the_servers(tmp_path):
    fake = FakeApiServer(str(tmp_path), tls=False, prefix="/k8s/clusters/c-1", tokens=[SECRET]).start()
    try:
        assert get_once("--kubeconfig", token_user(fake)).status == 200
        assert fake.requests[-1]["path"] == "/k8s/clusters/c-1/version"
    finally:
        fake.stop()


# ---- the way there ----

def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_nobody_listens(fake):
    url = f"https://127.0.0.1:{closed_port()}"
    answer = get_once("--kubeconfig", token_user(fake), "--master", url)
    assert answer.error == "EHOSTUNREACH"
    assert answer.message.startswith(url + ": ") and "refused" in answer.message.lower()


def test_a_name_that_is_none(fake):
    answer = get_once("--kubeconfig", token_user(fake), "--master", "https://no.such.host.invalid")
    assert answer.error == "EHOSTUNREACH"
    assert "no.such.host.invalid" in answer.message


def test_tls_that_nobody_speaks_is_given_up(fake):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        answer = get_once("--kubeconfig", token_user(fake), "--master",
                          f"https://127.0.0.1:{silent.getsockname()[1]}", "--connect-timeout-ms", "300")
    assert answer.error == "ETIMEDOUT"


class Proxy(threading.Thread):
    """A proxy that knows CONNECT, for one connection."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.head = b""
        self.start()

    def run(self):
        client, _ = self.listener.accept()
        while b"\r\n\r\n" not in self.head:
            self.head += client.recv(4096)
        host, _, port = self.head.split()[1].decode().rpartition(":")
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 OK\r\nX-Proxy: yes\r\n\r\n")
        threading.Thread(target=self.copy, args=(client, server), daemon=True).start()
        self.copy(server, client)

    @staticmethod
    def copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        target.close()


def test_a_proxy_gets_no_credentials(fake):
    proxy = Proxy()
    url = f"http://127.0.0.1:{proxy.listener.getsockname()[1]}"
    path = fake.kubeconfig("token", user={"token": SECRET}, cluster={"proxy-url": url})
    # NO_PROXY is for proxies of the environment.
    answer = get_once("--kubeconfig", path, NO_PROXY="127.0.0.1")
    assert answer.status == 200
    assert proxy.head.startswith(b"CONNECT 127.0.0.1:%d " % fake.port)
    assert SECRET.encode() not in proxy.head


def test_the_loop_back_needs_no_proxy(fake):
    answer = get_once("--kubeconfig", token_user(fake), HTTPS_PROXY=f"http://127.0.0.1:{closed_port()}")
    assert answer.status == 200


def test_a_mistake_in_the_kubeconfig_ends_it(fake):
    done = subprocess.run([APIGET, "--kubeconfig", fake.kubeconfig(user={"token": SECRET, "username": "x"}), "/"],
                          env=environment(), capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert "more than one way to authenticate" in done.stderr and SECRET not in done.stderr


if __name__ == "__main__":
    if not os.path.exists(APIGET):
        sys.exit(f"{APIGET} is not built")
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", __file__, *sys.argv[1:]]))
