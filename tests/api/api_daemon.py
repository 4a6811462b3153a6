"""The real daemon, fed by an API server, with listeners on loopback instead of rules: what the tests share."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

PORTALD = os.path.join(os.environ.get("top_builddir", "."), "portald")
LIMIT_S = 40
ROW = re.compile(r"^(\S+)\s+(\d+)/(TCP|UDP)\s+(127\.0\.0\.1:\d+)$", re.M)


def wait_for(condition, what, limit_s=LIMIT_S):
    """Waits until the condition holds, and returns what it returned."""
    end = time.monotonic() + limit_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"still not: {what() if callable(what) else what}"
        time.sleep(0.02)


class Daemon:
    """portald on loopback. Use as a context."""

    def __init__(self, directory, *options, env=None):
        self.paths = [os.path.join(directory, f"portald.{name}") for name in ("out", "err")]
        clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("KUBE")}
        with open(self.paths[0], "wb") as out, open(self.paths[1], "wb") as err:
            self.process = subprocess.Popen(
                [PORTALD, "--steering=none", "--relays=1", "--hostname-override=node-1", "--v=2",
                 "--healthz-bind-address=", "--metrics-bind-address=", *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**clean, **(env or {})})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(LIMIT_S)
        finally:
            self.process.kill()

    def read(self, which):
        with open(self.paths[which], encoding="utf-8", errors="replace") as file:
            return file.read()

    def log(self):
        return self.read(1)

    def wait_log(self, text, since=0):
        wait_for(lambda: text in self.log()[since:], lambda: f"{text!r} in\n{self.log()[since:][-3000:]}")

    def services(self):
        """Key to local address, as the last table on standard output says."""
        tables = self.read(0).split("SERVICE ")
        return {row[0]: row[3] for row in ROW.findall(tables[-1])}

    def address(self, key):
        host, _, port = wait_for(lambda: self.services().get(key),
                                 lambda: f"{key} in {self.services()}\n{self.log()[-3000:]}").rpartition(":")
        return host, int(port)

    def control(self):
        """Control's process id. It is a grandchild, named by its title."""
        starters = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        for starter in starters.stdout.split():
            found = subprocess.run(["pgrep", "-f", "-P", starter, "control"], capture_output=True, text=True,
                                   check=False).stdout.split()
            if found:
                return int(found[0])
        return None

    def kill_control(self):
        old = wait_for(self.control, "a control process")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: self.control() not in (None, old), "another control process")


def ask(address):
    """What the Service answers; None if it does not."""
    with contextlib.suppress(OSError):
        with socket.create_connection(address, timeout=10) as connection:
            connection.settimeout(10)
            return connection.recv(64).decode() or None
    return None


def answers(address, text):
    wait_for(lambda: ask(address) == text, lambda: f"{address} says {text}, but {ask(address)}")


class Pod:
    """A server that says its name to who connects, and then what it is sent."""

    def __init__(self, name, address):
        self.name = name
        self.listener = socket.create_server((address, 0), backlog=64)
        self.address, self.port = self.listener.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.sendall(self.name.encode())
            while data := connection.recv(4096):
                connection.sendall(data)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def service(name, number):
    return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default"},
            "spec": {"type": "ClusterIP", "clusterIP": f"10.96.0.{number}", "clusterIPs": [f"10.96.0.{number}"],
                     "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]}}


def endpoints(name, *pods):
    return {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
            "metadata": {"name": f"{name}-1", "namespace": "default",
                         "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http", "port": pods[0].port if pods else 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [pod.address], "conditions": {"ready": True}, "nodeName": "node-1"}
                          for pod in pods]}


def token_file(directory, token):
    """Written anew beside and moved, as a mounted token is."""
    path = os.path.join(directory, "token.txt")
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(token + "\n")
    os.chmod(path + ".new", 0o600)
    os.rename(path + ".new", path)
    return path


def seen(fake, part):
    """How many requests had that in their path."""
    return sum(part in json.dumps(request) for request in list(fake.requests))
