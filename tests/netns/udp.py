"""UDP backends and clients: threads of the test process on sockets of a namespace."""
import select
import socket
import threading
import time
from collections import namedtuple

LARGEST = 65507  # the payload of the largest datagram that IPv4 can carry

Datagram = namedtuple("Datagram", "data source")


class Server(threading.Thread):
    """Answers each datagram at `at` by handler(server, data, source); keeps what came in `received`."""

    def __init__(self, namespace, at, handler):
        super().__init__(daemon=True)
        self.handler = handler
        self.received = []
        self.socket = namespace.bind(at, socket.SOCK_DGRAM, timeout=None)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._wake, self._woken = socket.socketpair()
        self.start()

    def run(self):
        poll = select.poll()  # not select(), which knows no descriptor beyond 1023
        for waited in (self.socket, self._woken):
            poll.register(waited, select.POLLIN)
        while self._woken.fileno() not in (fd for fd, _ in poll.poll()):
            try:
                data, source = self.socket.recvfrom(1 << 16)
            except OSError:
                continue  # an ICMP error for an earlier answer
            self.received.append(Datagram(data, source[:2]))
            self.handler(self, data, source)

    def answer(self, data, destination):
        try:
            self.socket.sendto(data, destination)
        except OSError:
            pass  # what a missing answer means is for the client's side to assert

    def sources(self):
        """The addresses from which datagrams came: the proxy's, one a flow."""
        return [datagram.source for datagram in self.received]

    def close(self):
        """From here on datagrams are answered by ICMP port unreachable."""
        if self.socket.fileno() < 0:
            return
        self._wake.close()
        self.join()
        self._woken.close()
        self.socket.close()


# ---- handlers ----

def identity(name):
    def handle(server, _, source):
        server.answer(name.encode(), source)
    return handle


def echo(server, data, source):
    server.answer(data, source)


def silent(_, __, ___):
    """Takes datagrams and never answers."""


def late(seconds, name="late"):
    """Answers with its name after so long."""
    def handle(server, _, source):
        threading.Timer(seconds, server.answer, (name.encode(), source)).start()
    return handle


# ---- clients ----

def ask(client, text=b"?"):
    """Sends a datagram on a connected socket; the answer as text. An ICMP error is an exception."""
    client.send(text)
    return client.recv(1 << 16).decode()


def fetch(namespace, at, timeout=5, source=None):
    """The answer to one datagram of a new client: the name, for an identity server."""
    with namespace.udp(at, timeout, source) as client:
        return ask(client)


def fetch_with_source(namespace, at, timeout=5):
    """Also the address from which the answer comes."""
    with namespace.udp(at, timeout, connected=False) as client:
        host, port = at.rsplit(":", 1)
        client.sendto(b"?", (host.strip("[]"), int(port)))
        data, source = client.recvfrom(1 << 16)
        return data.decode(), source[:2]


def outcome(namespace, at, timeout=5):
    """What becomes of a datagram: "answered", "refused" (port unreachable), "hangs"."""
    try:
        with namespace.udp(at, timeout) as client:
            try:
                client.send(b"?")
            except PermissionError:
                pass  # a rule took it on its way out of this host; the ICMP error comes as well
            client.recv(1 << 16)
            return "answered"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "hangs"


def flood(namespace, at, count, pause=0.0):
    """So many clients send one datagram each and stay, unread; their sockets, to be closed."""
    clients = []
    for _ in range(count):
        clients.append(namespace.udp(at))
        try:
            clients[-1].send(b"flood")
        except OSError:
            pass  # an ICMP error that came before is no reason to stop
        time.sleep(pause)
    return clients


def close_all(clients):
    for client in clients:
        client.close()
