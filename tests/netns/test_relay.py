"""What a TCP connection through the Service looks like from both ends."""
import hashlib
import os
import socket
import time

import daemon as daemon_module
import manifests as objects
import peers
import processes
import pytest
import rules
import wait

SERVICE = "10.96.0.10:80"
LISTENER = "10.1.0.11:8080"  # the one backend of the tests that play both ends


@pytest.fixture
def ends(lab, manifests, portald):
    """ends() is (client, server): the two ends of a connection through the Service."""
    listener = lab.pods[0].listen(LISTENER)
    manifests.web(["10.1.0.11"])
    running = portald()
    opened = []

    def connect():
        client = lab.client.connect(SERVICE)
        server = listener.accept()[0]
        server.settimeout(30)
        opened.extend((client, server))
        return client, server

    connect.daemon = running
    yield connect
    for connection in (*opened, listener):
        connection.close()


# ---- the end of a stream ----

def test_client_that_shuts_down_still_gets_the_whole_answer(ends):
    client, server = ends()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert peers.read_all(server) == b"question"
    answer = os.urandom(300_000)
    finish = peers.in_thread(peers.read_all, client)
    server.sendall(answer)
    server.close()
    assert finish() == answer


def test_server_that_shuts_down_still_gets_the_whole_question(ends):
    client, server = ends()
    server.sendall(b"hello")
    server.shutdown(socket.SHUT_WR)
    assert peers.read_all(client) == b"hello"
    question = os.urandom(300_000)
    finish = peers.in_thread(peers.read_all, server)
    client.sendall(question)
    client.close()
    assert finish() == question


def test_fin_without_any_byte_passes_on(ends):
    client, server = ends()
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    server.sendall(b"late")
    server.shutdown(socket.SHUT_WR)
    assert peers.read_all(client) == b"late"


@pytest.mark.parametrize("bytes_before", [0, 10, 1_000_000])
def test_end_right_after_the_last_bytes_is_seen(ends, bytes_before):
    """A short read may be taken for the last one, but then the end must not be missed."""
    client, server = ends()
    data = os.urandom(bytes_before)
    finish = peers.in_thread(peers.read_all, server)
    client.sendall(data)
    client.close()
    assert finish(timeout=10) == data


def test_reset_by_the_client_reaches_the_server(ends):
    client, server = ends()
    peers.ping_pong(client, server)
    peers.reset(client)
    with pytest.raises(ConnectionResetError):
        server.recv(1)


def test_reset_by_the_server_reaches_the_client(ends):
    client, server = ends()
    peers.ping_pong(client, server)
    peers.reset(server)
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_closed_connections_leave_no_descriptor(ends):
    def descriptors():
        return {role: len(os.listdir(f"/proc/{pid}/fd")) for role, pid in ends.daemon.relays().items()}

    peers.ping_pong(*ends())
    first = ends()
    for end in first:
        end.close()
    before = wait.until_still(descriptors)
    for close_first in (0, 1) * 20:
        pair = ends()
        peers.ping_pong(*pair)
        pair[close_first].close()
        pair[1 - close_first].close()
    wait.until(lambda: descriptors() == before, 5, lambda: f"{descriptors()} to be {before} again")


# ---- bytes ----

def test_early_bytes_are_neither_lost_nor_doubled_while_backends_fail(lab, serve, manifests, portald):
    black_hole(lab.pods[1])
    serve(lab.pods[0], "10.1.0.11:8080", peers.echo)
    manifests.web(["10.1.0.11", "10.1.0.12", "10.1.0.13"])  # pod2 drops, pod3 refuses
    portald()
    for _ in range(6):
        data = os.urandom(100_000)
        with lab.client.connect(SERVICE) as connection:
            finish = peers.in_thread(peers.read_all, connection)
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert finish() == data


@pytest.mark.slow
def test_two_hundred_megabytes_both_ways_arrive_unchanged(ends):
    size = 200 << 20
    client, server = ends()
    finish = [peers.in_thread(peers.receive_bulk, end) for end in (server, client)]
    sent = [peers.in_thread(peers.send_bulk, end, size) for end in (client, server)]
    assert [done() for done in finish] == [(size, done()) for done in sent]


def test_bulk_and_small_messages_may_alternate(ends):
    client, server = ends()
    for size in (1, 500_000, 3, 20_000, 1, 2_000_000, 7):
        data = os.urandom(size)
        finish = peers.in_thread(peers.read_exactly, server, size)
        client.sendall(data)
        assert finish() == data
        peers.ping_pong(server, client)


@pytest.mark.slow
def test_stalled_readers_hold_back_the_sender_and_nobody_else(lab, ends):
    size = 64 << 20
    stalled = [ends() for _ in range(8)]
    memory = sum(map(processes.anonymous_bytes, ends.daemon.relays().values()))
    progress = [0] * len(stalled)

    def send(index):
        chunk = b"x" * 65536
        while progress[index] < size:
            progress[index] += stalled[index][1].send(chunk[:size - progress[index]])

    senders = [peers.in_thread(send, index) for index in range(len(stalled))]
    at_rest = wait.until_still(lambda: list(progress))
    assert all(0 < sent < size for sent in at_rest), f"not held back: {at_rest}"
    client, server = ends()
    peers.ping_pong(client, server)
    grown = sum(map(processes.anonymous_bytes, ends.daemon.relays().values())) - memory
    assert daemon_module.is_sanitized() or grown < 4 << 20, f"relays grew by {grown} bytes"
    assert len(peers.read_exactly(stalled[0][0], size)) == size
    senders[0]()
    for pair in stalled[1:]:
        peers.reset(pair[0])
    for finish in senders[1:]:
        with pytest.raises(ConnectionError):
            finish()


@pytest.mark.slow
def test_slow_reader_gets_everything(ends):
    size = 8 << 20
    client, server = ends()
    sent = peers.in_thread(peers.send_bulk, server, size)
    digest, count = hashlib.sha1(), 0
    while data := client.recv(32768):
        digest.update(data)
        count += len(data)
        time.sleep(0.002)  # the slowness is the subject
    assert (count, digest.hexdigest()) == (size, sent())


# ---- backends that fail ----

def black_hole(pod, port=8080):
    """Lets the pod swallow connection requests."""
    pod.run("iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", str(port), "--syn", "-j", "DROP")


def timed_fetch(lab, results):
    begin = time.monotonic()
    name = peers.fetch(lab.client, SERVICE, timeout=20)
    results.append((begin, time.monotonic() - begin, name))


@pytest.mark.slow
def test_refusing_and_black_holed_backends_cost_no_request(lab, serve, manifests, portald, capsys):
    black_hole(lab.pods[1])
    serve(lab.pods[0], "10.1.0.11:8080", peers.identity("pod1"))
    manifests.web(["10.1.0.11", "10.1.0.12", "10.1.0.13"])
    portald()
    results, finish, start = [], [], time.monotonic()
    for n in range(1000):  # 200 a second
        time.sleep(max(0.0, start + n / 200 - time.monotonic()))
        finish.append(peers.in_thread(timed_fetch, lab, results))
    for done in finish:
        done()
    assert [name for _, _, name in results] == ["pod1"] * 1000
    later = sorted(took for begin, took, _ in results if begin > start + 1)
    with capsys.disabled():
        print(f"\n    after the first second: p50 {later[len(later) // 2] * 1e3:.2f} ms,"
              f" p99 {later[len(later) * 99 // 100] * 1e3:.2f} ms, most {later[-1] * 1e3:.2f} ms")
    slow = sum(took > 0.2 for took in later)
    assert slow <= len(later) * 0.02, f"{slow} of {len(later)} took more than 200 ms"


def test_backend_that_dies_costs_no_request(lab, web, portald):
    portald()
    web[1].close()
    assert [peers.fetch(lab.client, SERVICE) for _ in range(30)].count("pod2") == 0


@pytest.mark.slow
def test_backend_that_comes_back_is_used_again(lab, serve, web, portald):
    portald()
    web[1].close()
    for _ in range(6):
        peers.fetch(lab.client, SERVICE)
    serve(lab.pods[1], "10.1.0.12:8080", peers.identity("pod2"))
    wait.until(lambda: peers.fetch(lab.client, SERVICE) == "pod2", 10, "pod2 to be tried again")


def test_all_endpoints_refusing_resets_the_client_at_once(lab, manifests, portald):
    manifests.web(["10.1.0.11", "10.1.0.12"])
    running = portald()
    begin = time.monotonic()
    for _ in range(3):
        assert peers.outcome(lab.client, SERVICE) == "reset"
    assert time.monotonic() - begin < 2
    running.wait_log(r"default/web:http")


@pytest.mark.slow
def test_all_endpoints_black_holed_resets_the_client_in_the_end(lab, manifests, portald):
    for pod in lab.pods:
        black_hole(pod)
    manifests.web(["10.1.0.11", "10.1.0.12"])
    portald()
    begin = time.monotonic()
    assert peers.outcome(lab.client, SERVICE, timeout=20) == "reset"
    assert time.monotonic() - begin < 8  # 250 ms + 500 ms + 1 s + 2 s, and room


def test_service_without_endpoints_answers_at_once(lab, manifests, portald):
    manifests.web([])
    portald()
    begin = time.monotonic()
    assert peers.outcome(lab.client, SERVICE) in ("refused", "reset")
    assert time.monotonic() - begin < 2


def test_endpoints_on_differing_ports_are_all_used(lab, serve, manifests, portald):
    places = [f"10.1.0.11:{port}" for port in (8080, 8081, 9000)]
    for at in places:
        serve(lab.pods[0], at, peers.identity(at))
    manifests.write("web.yaml", objects.service("web", "10.96.0.10"), objects.endpoints_at("web", places))
    portald()
    assert {peers.fetch(lab.client, SERVICE) for _ in range(3)} == set(places)


# ---- limits ----

@pytest.mark.needs("proxy ports")
def test_direct_connection_to_the_proxy_port_is_refused(lab, web, portald):
    portald()
    port = rules.proxy_port(lab.node, "default/web:http")
    assert peers.fetch(lab.client, SERVICE)
    before = sum(server.accepted for server in web)
    for namespace, address in ((lab.node, "127.0.0.1"), (lab.node, "10.1.0.1"), (lab.client, "10.1.0.1"),
                               (lab.outside, "10.2.0.1")):
        assert peers.outcome(namespace, f"{address}:{port}") in ("reset", "refused"), namespace.name
    assert sum(server.accepted for server in web) == before, "a backend saw one of them"


@pytest.mark.slow
def test_out_of_descriptors_existing_connections_live_and_new_ones_come_later(lab, serve, manifests, portald):
    serve(lab.pods[0], LISTENER, peers.echo)
    manifests.web(["10.1.0.11"])
    running = portald("--relays=1", wrapper=["prlimit", "--nofile=128:128"])
    early = [lab.client.connect(SERVICE) for _ in range(10)]
    for connection in early:
        peers.ping(connection)
    late = [connection for connection in (arrive(lab) for _ in range(150)) if connection]
    relay = running.roles()["relay 0"]
    used = processes.cpu_seconds(relay)
    begin = time.monotonic()
    while time.monotonic() - begin < 1:
        for connection in early:
            peers.ping(connection)
        time.sleep(0.02)
    used = processes.cpu_seconds(relay) - used
    assert daemon_module.is_sanitized() or used < 0.5, f"busy while out of descriptors: {used} s of 1 s"
    for connection in late:
        connection.close()
    wait.until(lambda: served(lab), 10, "a new connection to be served")
    for connection in early:
        peers.ping(connection)
        connection.close()
    assert running.roles()["relay 0"] == relay


def arrive(lab):
    """A connection that may have to wait; None if it was reset while connect() still looked on."""
    try:
        return lab.client.connect(SERVICE)
    except ConnectionResetError:
        return None


def served(lab):
    """True if an echo through the Service works now."""
    try:
        with lab.client.connect(SERVICE, timeout=2) as connection:
            connection.sendall(b"?")
            return connection.recv(1) == b"?"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(daemon_module.is_sanitized(), reason="memory means little under sanitizers")
def test_idle_connections_take_little_memory(lab, serve, manifests, portald):
    serve(lab.pods[0], LISTENER, peers.hold)
    manifests.web(["10.1.0.11"])
    relay = portald("--relays=1").roles()["relay 0"]
    connections = []

    def add(count):
        for _ in range(count):
            connections.append(lab.client.connect(SERVICE))
            assert connections[-1].recv(1) == b"!"

    add(100)
    before = processes.anonymous_bytes(relay)
    add(2000)
    each = (processes.anonymous_bytes(relay) - before) / 2000
    descriptors = len(os.listdir(f"/proc/{relay}/fd"))
    for connection in connections:
        connection.close()
    assert each < 1024, f"{each} bytes for an idle connection"
    assert descriptors < 2 * 2100 + 100, f"{descriptors} descriptors for 2100 connections"
