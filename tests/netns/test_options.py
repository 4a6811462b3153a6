"""What annotations say of a Service's connections: PROXY protocol, time limits, numbers, ends."""
import ipaddress
import re
import struct
import time

import lab as lab_module
import peers
import pytest
import wait

V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def annotate(app, **what):
    """portald.io/ annotations, with _ for - in the names."""
    app.annotations = {f"portald.io/{name.replace('_', '-')}": value for name, value in what.items()}


def black_hole(app, pod, port=8080):
    """Lets the pod swallow connection requests."""
    tool = {"v4": "iptables-nft", "v6": "ip6tables-nft"}[app.family.name]
    pod.run(tool, "-A", "INPUT", "-p", "tcp", "--dport", str(port), "--syn", "-j", "DROP")


def timed(function, *arguments):
    begin = time.monotonic()
    return function(*arguments), time.monotonic() - begin


# ---- PROXY protocol ----

def header_seen(app, namespace, at, into):
    """What the backend gets before the client's first byte, and the client's own address and port."""
    with namespace.connect(at) as connection:
        connection.sendall(b"ping")
        assert peers.read_exactly(connection, 4) == b"pong"
        own = connection.getsockname()[:2]
    return into.pop(), own


def parse_v1(header):
    assert header.endswith(b"\r\n") and len(header) <= 107
    word, kind, source, destination, source_port, destination_port = header.decode().split(" ")
    assert word == "PROXY" and kind in ("TCP4", "TCP6")
    return kind[-1], (source, int(source_port)), (destination, int(destination_port))


def parse_v2(header):
    assert header.startswith(V2_SIGNATURE)
    version, kind, length = struct.unpack("!BBH", header[12:16])
    assert version == 0x21 and kind in (0x11, 0x21) and len(header) >= 16 + length
    size = 4 if kind == 0x11 else 16
    addresses = [str(ipaddress.ip_address(header[16 + n * size:16 + (n + 1) * size])) for n in (0, 1)]
    ports = struct.unpack("!HH", header[16 + 2 * size:20 + 2 * size])
    return "4" if kind == 0x11 else "6", *zip(addresses, ports)


@pytest.mark.parametrize("version, parse", [("v1", parse_v1), ("v2", parse_v2)])
def test_proxy_protocol_tells_the_backend_who_the_client_is(app, serve, portald, version, parse):
    seen = []
    serve(app.lab.pods[0], app.family.at(app.lab.pods[0], 8080), peers.headers(seen))
    app.use(1)
    app.node_port()
    annotate(app, proxy_protocol=version)
    app.write()
    portald()
    for namespace, at in ((app.lab.client, app.at()), (app.lab.node, app.at()), (app.lab.outside, app.at()),
                          (app.lab.outside, app.node_at())):
        header, own = header_seen(app, namespace, at, seen)
        kind, source, destination = parse(header)
        assert kind == app.family.name[-1]
        assert source == own, f"from {namespace.name} to {at}"
        assert destination == lab_module.parse_address(at), f"from {namespace.name} to {at}"


def test_proxy_protocol_is_sent_once_to_the_backend_that_answers(app, serve, portald):
    """Also when another one was tried before, and when the client says nothing first."""
    greeted = []

    def greet(connection):
        greeted.append(connection.recv(200))
        connection.sendall(b"hello")

    serve(app.lab.pods[0], app.family.at(app.lab.pods[0], 8080), greet)
    app.use(2, 1)  # pod2 refuses
    annotate(app, proxy_protocol="v1")
    app.write()
    portald()
    for _ in range(4):
        assert app.fetch(app.lab.client) == "hello"
    assert [header.count(b"PROXY ") for header in greeted] == [1] * 4
    assert all(header.endswith(b"\r\n") for header in greeted)


def test_without_the_annotation_there_is_no_header(app, serve, portald):
    seen = []
    serve(app.lab.pods[0], app.family.at(app.lab.pods[0], 8080), peers.headers(seen))
    app.use(1)
    app.write()
    running = portald()
    assert header_seen(app, app.lab.client, app.at(), seen)[0] == b""
    annotate(app, proxy_protocol="v1")
    running.change(app.write)
    assert header_seen(app, app.lab.client, app.at(), seen)[0].startswith(b"PROXY ")
    app.annotations = {}
    running.change(app.write)
    assert header_seen(app, app.lab.client, app.at(), seen)[0] == b""


# ---- time limits ----

def test_connect_timeout_is_the_limit_of_each_attempt(app, serve, portald):
    """Three attempts are 300 ms with it, and 1750 ms with the daemon's own limits: 250, 500, 1000."""
    for pod in app.lab.pods:
        black_hole(app, pod)
    annotate(app, connect_timeout="100ms")
    app.write()
    portald()
    what, took = timed(app.outcome, app.lab.client)
    assert what == "reset" and 0.25 <= took < 1.2, f"{what} after {took} s"


@pytest.mark.slow
def test_a_long_connect_timeout_waits_so_long_for_a_slow_backend(app, serve, portald):
    black_hole(app, app.lab.pods[0])
    app.serve(serve)
    app.use(1, 2)
    annotate(app, connect_timeout="1s")
    app.write()
    portald()
    results = [timed(app.fetch, app.lab.client) for _ in range(2)]
    assert [name for name, _ in results] == ["pod2"] * 2
    assert 0.9 <= max(took for _, took in results) < 2


@pytest.mark.slow
def test_idle_timeout_ends_a_connection_at_rest_and_no_other(app, serve, portald):
    app.serve(serve, peers.identity_and_hold)
    annotate(app, idle_timeout="800ms")
    app.write()
    portald()
    idle, _ = peers.hold_open(app.lab.client, app.at())
    busy, _ = peers.hold_open(app.lab.client, app.at())
    with idle, busy:
        begin = time.monotonic()
        finish = peers.in_thread(peers.becomes_of, idle, 4)
        while time.monotonic() - begin < 2:
            peers.ping(busy)
            time.sleep(0.2)
        assert finish() in ("reset", "closed")


# ---- numbers ----

@pytest.fixture
def limited(app, serve):
    """Pods that say their names and then echo; two connections at a time."""
    app.serve(serve, peers.identity_and_hold)
    return app


def waiting(app):
    """A connection that has got no answer so far."""
    connection = app.lab.client.connect(app.at())
    connection.settimeout(0.3)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(5)
    return connection


def test_connections_beyond_the_maximum_wait_for_their_turn(limited, portald):
    annotate(limited, max_connections="2")
    limited.write()
    portald("--relays=2")
    first = [peers.hold_open(limited.lab.client, limited.at())[0] for _ in range(2)]
    late = waiting(limited)
    late.sendall(b"early bytes")
    first[0].close()
    assert late.recv(4) in (b"pod1", b"pod2", b"pod3")
    assert peers.read_exactly(late, 11) == b"early bytes"
    peers.ping(first[1])
    first[1].close()
    late.close()
    for _ in range(4):
        connection, _ = peers.hold_open(limited.lab.client, limited.at())
        connection.close()


def test_connections_beyond_the_queue_are_reset_at_once(limited, portald):
    annotate(limited, max_connections="2", queue_length="1")
    limited.write()
    portald("--relays=1")
    held = [peers.hold_open(limited.lab.client, limited.at())[0] for _ in range(2)]
    held.append(waiting(limited))
    what, took = timed(peers.outcome, limited.lab.client, limited.at())
    assert what == "reset" and took < 1
    for connection in held:
        connection.close()


def test_a_queued_connection_waits_no_longer_than_the_queue_timeout(limited, portald):
    annotate(limited, max_connections="1", queue_timeout="500ms")
    limited.write()
    portald("--relays=2")
    held, _ = peers.hold_open(limited.lab.client, limited.at())
    what, took = timed(peers.outcome, limited.lab.client, limited.at())
    assert what == "reset" and 0.4 <= took < 2
    peers.ping(held)
    held.close()


def test_a_raised_maximum_lets_those_in_who_wait(limited, portald):
    annotate(limited, max_connections="1")
    limited.write()
    running = portald("--relays=1")
    held, _ = peers.hold_open(limited.lab.client, limited.at())
    late = waiting(limited)
    annotate(limited, max_connections="2")
    running.change(limited.write)
    assert late.recv(3) == b"pod"
    for connection in (held, late):
        connection.close()


def test_the_maximum_holds_across_relays_and_not_for_other_services(limited, portald):
    annotate(limited, max_connections="3")
    limited.write()
    running = portald("--relays=2")
    other = type(limited)(limited.lab, limited.family, limited.directory, name="other", number=11)
    running.change(other.write)
    held = [limited.lab.client.connect(limited.at()) for _ in range(12)]

    def answered():
        return len([connection for connection in held if peers.says(connection)])

    wait.until(lambda: answered() == 3, what="three to be served")
    assert wait.until_still(answered, still=0.2) == 3, "more than three are served at a time"
    others = [peers.hold_open(other.lab.client, other.at())[0] for _ in range(5)]
    for connection in held + others:
        connection.close()


# ---- endpoints that are removed ----

@pytest.fixture
def removal(app, serve, portald):
    """removal(annotation) opens connections to pod1 and then leaves only pod2, or does what change() does."""
    app.serve(serve, peers.identity_and_hold)
    app.running = None

    def leave_pod2(app):
        app.use(2)
        app.write()

    def start(what, change=leave_pod2, at=None, options=()):
        if what:
            annotate(app, on_endpoint_removal=what)
        if change == leave_pod2:
            app.use(1)
        app.write()
        app.running = portald("--relays=2", *options)
        connections = [peers.hold_open(namespace, at or app.at())[0] for namespace in app.standpoints()]
        for connection in connections:
            peers.ping(connection)
        app.running.change(change, app)
        return connections

    return start


@pytest.mark.parametrize("what", [None, "keep"])
def test_connections_to_a_removed_endpoint_are_kept(app, removal, what):
    for connection in removal(what):
        peers.ping(connection)
        assert peers.becomes_of(connection, 0.2) == "open"
        connection.close()


def test_connections_to_a_removed_endpoint_are_reset_where_asked(app, removal):
    for connection in removal("reset"):
        assert peers.becomes_of(connection, 2) == "reset"
        connection.close()
    other, name = peers.hold_open(app.lab.client, app.at())
    assert name == "pod2"
    app.annotations["portald.io/idle-timeout"] = "1h"
    app.running.change(app.write)
    peers.ping(other)
    other.close()


@pytest.mark.every_backend
@pytest.mark.parametrize("what, outcome", [(None, "open"), ("reset", "reset")])
def test_connections_of_a_removed_service_end_as_its_endpoints_do(app, removal, what, outcome):
    connections = removal(what, change=lambda app: app.directory.remove(f"{app.name}.yaml"))
    for connection in connections:
        assert peers.becomes_of(connection, 0.2 if outcome == "open" else 4) == outcome
        if outcome == "open":
            peers.ping(connection)
        connection.close()


def test_a_change_of_policy_removes_no_endpoint(app, removal):
    """The portals move to another listener; the connections' endpoint is still the Service's."""
    app.node_port()
    app.spec["internalTrafficPolicy"] = "Local"
    app.endpoints = [app.endpoint(pod, node="here") for pod in app.lab.pods]

    def change(app):
        del app.spec["internalTrafficPolicy"]
        app.write()

    connections = removal("reset", change=change, at=app.node_at(), options=["--hostname-override=here"])
    for connection in connections:
        assert peers.becomes_of(connection, 0.3) == "open"
        connection.close()


@pytest.mark.slow
def test_connections_to_a_removed_endpoint_are_drained(app, removal):
    begin = time.monotonic()
    connections = removal("drain:1s")
    for connection in connections:
        peers.ping(connection)
    for connection in connections:
        assert peers.becomes_of(connection, 4) == "reset"
        connection.close()
    assert 0.8 <= time.monotonic() - begin < 3.5


@pytest.mark.slow
# ---- what is wrong with annotations ----

def test_bad_annotations_are_reported_and_the_service_works(app, serve, portald):
    app.serve(serve)
    annotate(app, proxy_protocol="v3", connect_timeout="soon", max_connections="-1",
             on_endpoint_removal="explode", no_such_thing="1")
    app.write()
    running = portald()
    for name in app.annotations:
        running.wait_log(rf"web\.yaml:\d+:\d+: .*{re.escape(name)}")
    assert app.names(app.lab.client, count=3) == {"pod1", "pod2", "pod3"}
