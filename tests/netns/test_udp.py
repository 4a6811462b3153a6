"""The UDP relay: datagrams whole, flows that live and end as they should, clients that are told the truth."""
import os
import time

import lab as lab_module
import processes
import pytest
import udp
import wait

PODS = {"pod1", "pod2", "pod3"}


@pytest.fixture
def echoing(udp_app, serve_udp):
    """The Service in front of pod1 alone, which echoes; the server."""
    server = serve_udp(udp_app.lab.pods[0], udp_app.family.at(udp_app.lab.pods[0], 8080), udp.echo)
    udp_app.use(1)
    udp_app.write()
    return server


# ---- datagrams ----

def test_datagrams_are_echoed_from_pod_node_and_outside(udp_app, echoing, portald):
    portald()
    for namespace in udp_app.standpoints():
        with namespace.udp(udp_app.at()) as client:
            for text in (b"one", b"", b"three", os.urandom(1400)):
                client.send(text)
                assert client.recv(1 << 16) == text, namespace.name


def test_largest_datagram_arrives_whole(udp_app, echoing, portald):
    """Over the pods' links it goes in fragments; from the node itself, over loopback, in one piece."""
    portald()
    for namespace in udp_app.standpoints():
        for size in (4096, 4097, 9000, 65000, udp.LARGEST):
            text = os.urandom(size)
            with namespace.udp(udp_app.at()) as client:
                client.send(text)
                assert client.recv(1 << 17) == text, f"{size} bytes from {namespace.name}"
    assert {len(datagram.data) for datagram in echoing.received} == {4096, 4097, 9000, 65000, udp.LARGEST}


def test_datagrams_keep_their_bounds_and_order(udp_app, echoing, portald):
    portald("--relays=1")
    texts = [bytes([65 + number]) * (number * 7 + 1) for number in range(40)]
    with udp_app.lab.client.udp(udp_app.at()) as client:
        for text in texts:
            client.send(text)
        assert [client.recv(1 << 16) for _ in texts] == texts


def test_a_burst_does_not_stop_reading(udp_app, echoing, portald):
    """Of a burst some may be lost to full socket buffers, but what comes after it is served."""
    portald()
    with udp_app.lab.client.udp(udp_app.at()) as bursting, udp_app.lab.client.udp(udp_app.at()) as after:
        for _ in range(3000):
            bursting.send(b"x" * 1000)
        wait.until(lambda: answers(after, b"after"), 5, "an answer after the burst")
        wait.until_still(lambda: len(echoing.received))
        assert answers(after, b"again")


def answers(client, text):
    """True if it is echoed within half a second."""
    client.settimeout(0.5)
    try:
        return udp.ask(client, text) == text.decode()
    except TimeoutError:
        return False


@pytest.mark.every_backend
def test_answers_come_from_the_address_that_was_asked(udp_app, serve_udp, portald):
    """On a node with several addresses on one interface too: a client that isn't connected sees it."""
    family, lab = udp_app.family, udp_app.lab
    more = "10.2.0.77" if family.name == "v4" else "fd00:2::77"
    lab.node.ip(f"addr add {more}/{24 if family.name == 'v4' else 64} dev eth0")
    udp_app.serve(serve_udp)
    udp_app.node_port()
    udp_app.write()
    portald()
    asked = [udp_app.at(), *(udp_app.node_at(address) for address in (*family.node_addresses(), more))]
    for namespace in udp_app.standpoints():
        for at in asked:
            name, source = udp.fetch_with_source(namespace, at)
            assert name in PODS and source == lab_module.parse_address(at), f"from {namespace.name} to {at}"


# ---- flows ----

@pytest.mark.every_backend
def test_flows_take_turns_and_a_flow_stays_with_its_pod(udp_app, serve_udp, portald):
    udp_app.serve(serve_udp)
    udp_app.write()
    portald("--relays=2")
    clients = [udp_app.lab.client.udp(udp_app.at()) for _ in range(30)]
    first = [udp.ask(client) for client in clients]
    assert {name: first.count(name) for name in PODS} == dict.fromkeys(PODS, 10)
    assert [udp.ask(client) for client in clients] == first
    udp.close_all(clients)


@pytest.mark.slow
def test_a_slow_first_answer_arrives(udp_app, serve_udp, portald):
    udp_app.serve(serve_udp, lambda name: udp.late(3, name))
    udp_app.write()
    portald()
    begin = time.monotonic()
    assert udp_app.fetch(udp_app.lab.client, timeout=6) in PODS
    assert time.monotonic() - begin >= 2.9


@pytest.mark.slow
def test_udp_timeout_ends_a_flow_that_is_idle_so_long(udp_app, echoing, portald):
    portald("--udp-timeout=1s")
    with udp_app.lab.client.udp(udp_app.at()) as client:
        for _ in range(3):  # longer than the timeout in all, but never idle so long
            udp.ask(client)
            time.sleep(0.5)
        assert len(set(echoing.sources())) == 1, "the flow has not lived on"
        time.sleep(1.8)
        udp.ask(client)
    assert len(set(echoing.sources())) == 2, "the flow is still there after more than the timeout"


@pytest.mark.slow
def test_annotations_set_both_timeouts_of_a_flow(udp_app, serve_udp, portald):
    udp_app.serve(serve_udp, lambda name: udp.late(1, name))
    udp_app.annotations = {"portald.io/udp-first-timeout": "300ms", "portald.io/udp-timeout": "5s"}
    udp_app.write()
    running = portald("--udp-timeout=1s")
    assert udp_app.outcome(udp_app.lab.client, timeout=1.6) == "hangs"
    udp_app.annotations = {"portald.io/udp-first-timeout": "5s", "portald.io/udp-timeout": "300ms"}
    running.change(udp_app.write)
    assert udp_app.fetch(udp_app.lab.client) in PODS
    server = serve_udp(udp_app.lab.pods[0], udp_app.family.at(udp_app.lab.pods[0], 8081), udp.echo)
    udp_app.ports[0]["targetPort"] = 8081
    udp_app.use(1)
    running.change(udp_app.write)
    with udp_app.lab.client.udp(udp_app.at()) as client:
        udp.ask(client)
        time.sleep(1.2)
        udp.ask(client)
    assert len(set(server.sources())) == 2, "portald.io/udp-timeout has no effect"


def relay_descriptors(running):
    return max(len(os.listdir(f"/proc/{pid}/fd")) for pid in running.relays().values())


def flood_past(udp_app, echoing, running, count):
    """Ten flows are kept in use while so many others come; returns the most descriptors a relay had."""
    established = [udp_app.lab.client.udp(udp_app.at()) for _ in range(10)]
    names = [f"established {number}".encode() for number in range(10)]
    flooding, most = [], 0
    for _ in range(count // 25):
        flooding += udp.flood(udp_app.lab.client, udp_app.at(), 25, pause=0.0004)
        for client, name in zip(established, names):
            assert udp.ask(client, name) == name.decode()
        most = max(most, relay_descriptors(running))
    for name in names:
        sources = {datagram.source for datagram in echoing.received if datagram.data == name}
        assert len(sources) == 1, f"{name}: the flow was given up {len(sources) - 1} times"
    udp.close_all(established + flooding)
    return most


def test_flows_beyond_the_cap_displace_the_idlest_and_no_other(udp_app, echoing, portald):
    running = portald("--relays=1", "--udp-max-flows=100")
    before = relay_descriptors(running)
    most = flood_past(udp_app, echoing, running, 1000)
    assert most <= before + 100 + 10, f"{most} descriptors, {before} without any flow"


def test_a_flood_of_new_clients_does_not_exhaust_descriptors(udp_app, echoing, portald):
    """Without any cap that was asked for; TCP is served all the while, from the same relay."""
    running = portald("--relays=1", wrapper=["prlimit", "--nofile=256:256"])
    flood_past(udp_app, echoing, running, 1000)
    assert udp_app.outcome(udp_app.lab.client) == "answered"


# ---- backends ----

def test_flows_of_a_removed_endpoint_move_at_the_next_datagram(udp_app, serve_udp, portald):
    udp_app.serve(serve_udp)
    udp_app.use(1)
    udp_app.write()
    running = portald()
    clients = [namespace.udp(udp_app.at()) for namespace in udp_app.standpoints()]
    assert {udp.ask(client) for client in clients} == {"pod1"}
    udp_app.use(2)
    running.change(udp_app.write)
    assert [udp.ask(client) for client in clients] == ["pod2"] * 3
    udp.close_all(clients)


def test_flows_of_other_endpoints_stay_when_one_is_removed(udp_app, serve_udp, portald):
    servers = udp_app.serve(serve_udp)
    udp_app.write()
    running = portald()
    clients = [udp_app.lab.client.udp(udp_app.at()) for _ in range(6)]
    first = [udp.ask(client) for client in clients]
    sources = [set(server.sources()) for server in servers]
    udp_app.use(2, 3)
    running.change(udp_app.write)
    for client, name in zip(clients, first):
        assert udp.ask(client) == name or name == "pod1"
    assert sources[1] <= set(servers[1].sources()) and sources[2] <= set(servers[2].sources())
    assert len(set(servers[1].sources()) | set(servers[2].sources())) <= 6
    udp.close_all(clients)


def test_a_datagram_refused_by_one_backend_is_answered_by_another(udp_app, serve_udp, portald):
    pod = udp_app.lab.pods[1]
    serve_udp(pod, udp_app.family.at(pod, 8080), udp.identity("pod2"))
    udp_app.write()  # pod1 and pod3 answer by ICMP port unreachable
    portald("--relays=1")
    assert [udp_app.fetch(udp_app.lab.client) for _ in range(6)] == ["pod2"] * 6


def test_a_flow_moves_when_its_backend_dies(udp_app, serve_udp, portald):
    servers = dict(zip(("pod1", "pod2", "pod3"), udp_app.serve(serve_udp)))
    udp_app.write()
    portald()
    with udp_app.lab.client.udp(udp_app.at()) as client:
        first = udp.ask(client)
        servers[first].close()
        second = udp.ask(client)
        assert second in PODS - {first}
        assert udp.ask(client) == second


def test_all_backends_refusing_hurts_nobody_and_ends_when_one_is_back(udp_app, serve_udp, portald):
    """The client may be told only what ICMP can tell; portald goes on, and serves once a pod is back."""
    udp_app.write()
    running = portald("--relays=1")
    relay = running.relays()["relay 0"]
    for _ in range(3):
        assert udp_app.outcome(udp_app.lab.client, timeout=0.3) in ("refused", "hangs")
    udp_app.serve(serve_udp)
    wait.until(lambda: udp_app.outcome(udp_app.lab.client, timeout=0.5) == "answered", 15, "an answer")
    assert running.relays()["relay 0"] == relay


def test_an_idle_udp_relay_uses_no_cpu_after_refusals(udp_app, portald):
    udp_app.write()
    running = portald("--relays=1")
    for _ in range(5):
        udp_app.outcome(udp_app.lab.client, timeout=0.1)
    relay = running.relays()["relay 0"]
    used = processes.cpu_seconds(relay)
    time.sleep(0.5)  # the span that is measured
    assert processes.cpu_seconds(relay) - used < 0.1


# ---- relays ----

def test_flows_start_again_after_the_relay_was_killed(udp_app, serve_udp, portald):
    udp_app.serve(serve_udp)
    udp_app.write()
    running = portald("--relays=1")
    with udp_app.lab.client.udp(udp_app.at()) as client:
        assert udp.ask(client) in PODS
        running.kill_role("relay 0")
        wait.until(lambda: answers_at_all(client), 10, "an answer by the new relay")


def answers_at_all(client):
    client.settimeout(0.5)
    try:
        return udp.ask(client) in PODS
    except (TimeoutError, ConnectionRefusedError):
        return False
