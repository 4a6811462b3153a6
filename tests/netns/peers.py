"""Backends and clients: threads of the test process on sockets of a namespace."""
import hashlib
import os
import socket
import struct
import threading

CHUNK = 1 << 20


class Server(threading.Thread):
    """Accepts at `at` and runs handler(connection) in a thread for each connection."""

    def __init__(self, namespace, at, handler):
        super().__init__(daemon=True)
        self.handler = handler
        self.accepted = 0
        self.listener = namespace.listen(at, timeout=None)
        self.start()

    def run(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            self.accepted += 1
            connection.settimeout(60)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                self.handler(connection)
            except OSError:
                pass  # what a broken connection means is for the client's side to assert

    def close(self):
        """From here on connections are refused; those that exist go on."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.join()
        self.listener.close()


# ---- handlers ----

def identity(name):
    """Answers with its name and closes, without being asked."""
    def handle(connection):
        connection.sendall(name.encode())
    return handle


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def hold(connection):
    """Says one byte, then is idle until the client goes."""
    connection.sendall(b"!")
    connection.recv(1)


def identity_and_hold(name):
    """Answers with its name, then echoes until the client goes."""
    def handle(connection):
        connection.sendall(name.encode())
        echo(connection)
    return handle


def headers(into):
    """Appends the bytes that come before the client's `ping` to the list, and answers."""
    def handle(connection):
        data = b""
        while not data.endswith(b"ping"):
            more = connection.recv(4096)
            if not more:
                return
            data += more
        into.append(data.removesuffix(b"ping"))
        connection.sendall(b"pong")
    return handle


# ---- clients ----

def read_all(connection):
    """Everything up to the end of the stream."""
    parts = []
    while data := connection.recv(CHUNK):
        parts.append(data)
    return b"".join(parts)


def read_exactly(connection, count):
    data, have = bytearray(count), 0
    while have < count:
        got = connection.recv_into(memoryview(data)[have:])
        assert got, f"the stream ended after {have} of {count} bytes"
        have += got
    return bytes(data)


def fetch(namespace, at, timeout=10, source=None):
    """Connects and returns what the peer says until it closes: the name, for an identity server."""
    with namespace.connect(at, timeout, source) as connection:
        return read_all(connection).decode()


def hold_open(namespace, at, timeout=10, source=None):
    """A connection to an identity_and_hold server, and the name of the server."""
    connection = namespace.connect(at, timeout, source)
    return connection, connection.recv(100).decode()


def ping(connection, text=b"ping"):
    """One round over an echo connection."""
    connection.sendall(text)
    assert read_exactly(connection, len(text)) == text


def ping_pong(one, other):
    """A byte each way over a connection of which the test holds both ends."""
    for sender, receiver in ((one, other), (other, one)):
        sender.sendall(b"!")
        assert receiver.recv(1) == b"!"


def outcome(namespace, at, timeout=10):
    """What becomes of a connection that says nothing: "refused", "reset", "closed", "answered", "hangs"."""
    try:
        with namespace.connect(at, timeout) as connection:
            return "answered" if connection.recv(1) else "closed"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "hangs"


def says(connection):
    """True if bytes have come, which stay unread."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def becomes_of(connection, timeout):
    """What becomes of a connection at rest: "reset", "closed", "answered", or "open" after the timeout."""
    connection.settimeout(timeout)
    try:
        return "answered" if connection.recv(1) else "closed"
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "open"


def reset(connection):
    """Closes with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# ---- bulk ----

_NOISE = os.urandom(4 * CHUNK)


def send_bulk(connection, count):
    """Sends count bytes, no two chunks alike, then FIN; returns their hash."""
    digest, place = hashlib.sha1(), 0
    while count > 0:
        place = (place + 104729) % (3 * CHUNK)
        chunk = memoryview(_NOISE)[place:place + min(CHUNK, count)]
        connection.sendall(chunk)
        digest.update(chunk)
        count -= len(chunk)
    connection.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def receive_bulk(connection):
    """Reads up to FIN; returns (bytes, hash)."""
    digest, count, buffer = hashlib.sha1(), 0, bytearray(CHUNK)
    while got := connection.recv_into(buffer):
        digest.update(memoryview(buffer)[:got])
        count += got
    return count, digest.hexdigest()


def in_thread(function, *arguments):
    """Starts it; the function returned waits and gives the result, or raises what it raised."""
    result = {}

    def work():
        try:
            result["value"] = function(*arguments)
        except BaseException as error:  # handed to whoever waits
            result["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def finish(timeout=60):
        thread.join(timeout)
        assert not thread.is_alive(), f"{function.__name__} hangs"
        if "error" in result:
            raise result["error"]
        return result["value"]

    return finish
