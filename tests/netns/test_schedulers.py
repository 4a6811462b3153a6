"""Which endpoint is next: IPVS's schedulers, by their names, exact across relays where they can be."""
import socket
import time
from collections import Counter

import app as app_module
import manifests as objects
import peers
import pytest
import udp

PODS = {"pod1", "pod2", "pod3"}
SCHEDULER = "portald.io/scheduler"
WEIGHT = "portald.io/weight"


@pytest.fixture
def any_app(lab, family, protocol, manifests):
    return app_module.App(lab, family, manifests, protocol)


@pytest.fixture
def serve_any(serve, serve_udp, protocol):
    return serve if protocol == "tcp" else serve_udp


@pytest.fixture
def held():
    """The connections that a test holds open; closed at its end."""
    connections = []
    yield connections
    for connection in connections:
        connection.close()


def weigh(app, weights):
    """Each pod gets a slice of its own, with its weight (None: no annotation)."""
    app.slices = lambda: [
        objects.slice_of(app.name, app.family.api, [app.endpoint(pod)], [objects.slice_port(app.ports[0])],
                         number, {WEIGHT: str(weight)} if weight is not None else None)
        for number, (pod, weight) in enumerate(zip(app.lab.pods, weights))]


def open_many(app, held, count):
    """Opens so many connections that stay; Counter of the pods they got."""
    names = Counter()
    for _ in range(count):
        connection, name = peers.hold_open(app.lab.client, app.at())
        held.append(connection)
        names[name] += 1
    return names


# ---- rr ----

def test_rr_takes_exact_turns_by_weight(any_app, serve_any, portald):
    any_app.serve(serve_any)
    weigh(any_app, (3, 1, None))
    any_app.write()
    portald("--relays=2")
    seen = Counter(any_app.fetch(any_app.lab.client) for _ in range(50))
    assert seen == {"pod1": 30, "pod2": 10, "pod3": 10}


def test_weighted_turns_are_interleaved(app, serve, portald):
    """Smooth: of five in a row, no more than three in a row go to the one of weight 3."""
    app.serve(serve)
    weigh(app, (3, 1, 1))
    app.write()
    portald("--relays=1")
    text = "".join(app.fetch(app.lab.client)[-1] for _ in range(20))
    assert "1111" not in text and text.count("1") == 12, text


def test_weight_of_a_pod_is_its_annotation(app, serve, portald):
    """Where the endpoints are made from Pods."""
    app.serve(serve)
    app.spec["selector"] = {"app": "web"}
    app.slices = lambda: [objects.pod(pod.name, [app.family.of(pod)], {"app": "web"}, {WEIGHT: weight})
                          for pod, weight in zip(app.lab.pods, ("2", "1", "1"))]
    app.write()
    portald()
    assert Counter(app.fetch(app.lab.client) for _ in range(40)) == {"pod1": 20, "pod2": 10, "pod3": 10}


def test_weight_zero_gets_no_new_connection_and_keeps_its_old_ones(app, serve, portald):
    app.serve(serve, peers.identity_and_hold)
    weigh(app, (1, 0, 0))
    app.write()
    running = portald()
    with app.lab.client.connect(app.at()) as connection:
        assert connection.recv(100) == b"pod1"
        weigh(app, (0, 1, 0))
        running.change(app.write)
        for _ in range(6):
            other, name = peers.hold_open(app.lab.client, app.at())
            other.close()
            assert name == "pod2"
        peers.ping(connection)


def test_a_change_of_weights_alone_takes_effect(any_app, serve_any, portald):
    any_app.serve(serve_any)
    weigh(any_app, (1, 1, 1))
    any_app.write()
    running = portald()
    assert any_app.names(any_app.lab.client) == PODS
    weigh(any_app, (4, 1, 0))
    running.change(any_app.write)
    seen = Counter(any_app.fetch(any_app.lab.client) for _ in range(50))
    assert seen == {"pod1": 40, "pod2": 10}


def test_wrr_and_wlc_are_names_too(app, serve, portald):
    app.serve(serve)
    weigh(app, (3, 1, 1))
    app.annotations = {SCHEDULER: "wrr"}
    app.write()
    running = portald()
    assert Counter(app.fetch(app.lab.client) for _ in range(10)) == {"pod1": 6, "pod2": 2, "pod3": 2}
    app.annotations = {SCHEDULER: "wlc"}
    running.change(app.write)
    assert app.fetch(app.lab.client) in PODS


# ---- lc, sed, nq: by open connections ----

@pytest.mark.parametrize("by", ["annotation", "flag"])
def test_lc_goes_where_fewest_connections_are_open(app, serve, portald, held, by):
    app.serve(serve, peers.identity_and_hold)
    if by == "annotation":
        app.annotations = {SCHEDULER: "lc"}
    app.write()
    portald("--relays=2", *(["--scheduler=lc"] if by == "flag" else []))
    mine = {name: [] for name in PODS}
    for _ in range(9):
        connection, name = peers.hold_open(app.lab.client, app.at())
        held.append(connection)
        mine[name].append(connection)
    assert {name: len(connections) for name, connections in mine.items()} == dict.fromkeys(PODS, 3)
    for connection in mine["pod1"]:
        connection.shutdown(socket.SHUT_WR)
        assert peers.read_all(connection) == b"", "both ways are at their end, so the relay has counted it"
    time.sleep(0.05)  # the relay tells the client before it counts
    assert open_many(app, held, 3) == {"pod1": 3}


def test_lc_honours_weights(app, serve, portald, held):
    app.serve(serve, peers.identity_and_hold)
    app.annotations = {SCHEDULER: "lc"}
    weigh(app, (2, 1, 1))
    app.write()
    portald("--relays=2")
    assert open_many(app, held, 12) == {"pod1": 6, "pod2": 3, "pod3": 3}


def test_sed_prefers_the_shortest_expected_delay(app, serve, portald, held):
    """(open + 1) / weight: of weights 10, 1, 1 the first takes nine before another is as good."""
    app.serve(serve, peers.identity_and_hold)
    app.annotations = {SCHEDULER: "sed"}
    weigh(app, (10, 1, 1))
    app.write()
    portald("--relays=2")
    assert open_many(app, held, 9) == {"pod1": 9}


def test_nq_uses_an_idle_pod_first(app, serve, portald, held):
    app.serve(serve, peers.identity_and_hold)
    app.annotations = {SCHEDULER: "nq"}
    weigh(app, (10, 1, 1))
    app.write()
    portald("--relays=2")
    assert open_many(app, held, 3) == dict.fromkeys(PODS, 1)
    assert open_many(app, held, 6) == {"pod1": 6}


def test_lc_counts_udp_flows(udp_app, serve_udp, portald):
    udp_app.serve(serve_udp)
    udp_app.annotations = {SCHEDULER: "lc"}
    udp_app.write()
    portald("--relays=2")
    clients = [udp_app.lab.client.udp(udp_app.at()) for _ in range(9)]
    assert Counter(udp.ask(client) for client in clients) == dict.fromkeys(PODS, 3)
    udp.close_all(clients)


def test_counts_survive_the_death_of_a_relay(app, serve, portald, held):
    """What a dead relay had open is open no longer."""
    app.serve(serve, peers.identity_and_hold)
    app.annotations = {SCHEDULER: "lc"}
    weigh(app, (1, 1, 1))
    app.write()
    running = portald("--relays=1")
    open_many(app, held, 7)
    running.kill_role("relay 0")
    assert open_many(app, held, 6) == dict.fromkeys(PODS, 2)


# ---- sh, dh: by hash ----

def by_client(app, sources):
    return {source: app.fetch(app.lab.client, source=source) for source in sources}


def test_sh_gives_a_client_always_the_same_pod_and_a_lost_pod_moves_only_its_own(any_app, serve_any, portald):
    """Of 40 clients, were they hashed at random, one of three pods would get none once in 3,600,000 runs."""
    sources = any_app.family.more_addresses(any_app.lab.client, 40)
    any_app.serve(serve_any)
    any_app.annotations = {SCHEDULER: "sh"}
    any_app.write()
    running = portald("--relays=2")
    first = by_client(any_app, sources)
    assert set(first.values()) == PODS
    assert by_client(any_app, reversed(sources)) == first
    any_app.use(1, 3)
    running.change(any_app.write)
    second = by_client(any_app, sources)
    assert {source: name for source, name in second.items() if first[source] != "pod2"} == \
        {source: name for source, name in first.items() if name != "pod2"}
    assert set(second.values()) == {"pod1", "pod3"}
    any_app.use(1, 2, 3)
    running.change(any_app.write)
    assert by_client(any_app, sources) == first, "a pod that comes back gets its own clients back"


def test_sh_passes_over_a_dead_pod(app, serve, portald):
    servers = dict(zip(("pod1", "pod2", "pod3"), app.serve(serve)))
    app.annotations = {SCHEDULER: "sh"}
    app.write()
    portald("--relays=2")
    first = app.fetch(app.lab.client)
    servers[first].close()
    second = app.names(app.lab.client)
    assert len(second) == 1 and first not in second


def test_dh_goes_by_the_address_that_is_asked_for(app, serve, portald):
    """The same pod for every client of one portal address; addresses differ. 40 of them, as for sh."""
    addresses = [app.family.external_ip(number) for number in range(1, 41)]
    app.serve(serve)
    app.annotations = {SCHEDULER: "dh"}
    app.spec["externalIPs"] = addresses
    app.write()
    running = portald("--relays=2")

    def by_address(namespace):
        return {address: app.fetch(namespace, app.at(address)) for address in addresses}

    first = by_address(app.lab.client)
    assert set(first.values()) == PODS
    assert by_address(app.lab.outside) == first
    app.use(1, 2)
    running.change(app.write)
    second = by_address(app.lab.client)
    assert all(second[address] == name for address, name in first.items() if name != "pod3")


def test_an_annotation_overrides_the_flag(app, serve, portald):
    app.serve(serve)
    app.annotations = {SCHEDULER: "rr"}
    app.write()
    running = portald("--scheduler=sh")
    assert Counter(app.fetch(app.lab.client) for _ in range(9)) == dict.fromkeys(PODS, 3)
    app.annotations = {}
    running.change(app.write)
    assert len(app.names(app.lab.client)) == 1
    app.annotations = {SCHEDULER: "rr"}
    running.change(app.write)
    assert Counter(app.fetch(app.lab.client) for _ in range(9)) == dict.fromkeys(PODS, 3)


def test_an_unknown_scheduler_is_reported_and_the_service_works(app, serve, portald):
    app.serve(serve)
    app.annotations = {SCHEDULER: "fastest"}
    app.write()
    running = portald()
    running.wait_log(r"portald\.io/scheduler")
    assert app.names(app.lab.client) == PODS


def test_the_turn_is_one_for_all_portals_of_a_service(app, serve, portald):
    app.serve(serve)
    app.node_port()
    app.write()
    portald("--relays=2")
    seen = [peers.fetch(namespace, at) for _ in range(3)
            for namespace, at in ((app.lab.client, app.at()), (app.lab.outside, app.node_at()))]
    assert Counter(seen) == dict.fromkeys(PODS, 2)
