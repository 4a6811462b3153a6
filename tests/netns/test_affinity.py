"""sessionAffinity ClientIP: one client, one pod; by client address, across relays, reloads and restarts."""
import time

import app as app_module
import manifests as objects
import pytest
import udp

PODS = {"pod1", "pod2", "pod3"}


@pytest.fixture
def any_app(lab, family, protocol, manifests):
    made = app_module.App(lab, family, manifests, protocol)
    sticky(made)
    return made


@pytest.fixture
def serve_any(serve, serve_udp, protocol):
    return serve if protocol == "tcp" else serve_udp


def sticky(app, seconds=None):
    app.spec["sessionAffinity"] = "ClientIP"
    if seconds:
        app.spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": seconds}}


def by_client(app, sources):
    """{client's address: the pod that answers it}, for new connections."""
    return {source: app.fetch(app.lab.client, source=source) for source in sources}


def test_a_client_gets_the_same_pod_every_time_across_relays(any_app, serve_any, portald):
    any_app.serve(serve_any)
    any_app.node_port()
    any_app.write()
    portald("--relays=2")
    for namespace in any_app.standpoints():
        assert len(any_app.names(namespace, count=30)) == 1, namespace.name
    assert len(any_app.names(any_app.lab.outside, any_app.node_at(), 30)) == 1


def test_other_clients_are_spread(any_app, serve_any, portald):
    """Were each choice random, 30 clients would miss one of three pods once in 60,000 runs."""
    sources = any_app.family.more_addresses(any_app.lab.client, 30)
    any_app.serve(serve_any)
    any_app.write()
    portald("--relays=2")
    first = by_client(any_app, sources)
    assert set(first.values()) == PODS
    assert by_client(any_app, reversed(sources)) == first


def test_the_sixth_connection_at_once_gets_the_same_pod_too(app, serve, portald):
    """Connections that come before the first one has found its pod."""
    sticky(app)
    app.serve(serve)
    app.write()
    portald("--relays=2")
    connections = [app.lab.client.connect(app.at()) for _ in range(20)]
    assert len({connection.recv(100) for connection in connections}) == 1
    for connection in connections:
        connection.close()


@pytest.mark.slow
def test_the_timeout_slides(app, serve, portald):
    """A client that comes back in time stays, however often; one that stays away longer is free again.

    Free again, 20 clients that come in the reverse order do not by chance all get what they had:
    taking turns can't give that, and random choice would once in 3^20."""
    sources = app.family.more_addresses(app.lab.client, 20)
    sticky(app, 2)
    app.serve(serve)
    app.write()
    portald("--relays=2")
    first = by_client(app, sources)
    for _ in range(2):
        time.sleep(1.2)
        assert by_client(app, sources) == first
    time.sleep(2.8)
    assert by_client(app, reversed(sources)) != first


@pytest.mark.slow
def test_a_change_of_the_timeout_alone_takes_effect(app, serve, portald):
    sources = app.family.more_addresses(app.lab.client, 20)
    sticky(app, 10800)
    app.serve(serve)
    app.write()
    running = portald()
    first = by_client(app, sources)
    sticky(app, 1)
    running.change(app.write)
    assert by_client(app, sources) == first
    time.sleep(2.2)
    assert by_client(app, reversed(sources)) != first


def test_affinity_switched_on_and_off_takes_effect(app, serve, portald):
    app.serve(serve)
    app.write()
    running = portald()
    assert app.names(app.lab.client, count=3) == PODS
    sticky(app)
    running.change(app.write)
    assert len(app.names(app.lab.client, count=10)) == 1
    app.spec["sessionAffinity"] = "None"
    running.change(app.write)
    assert app.names(app.lab.client, count=3) == PODS


def test_a_dead_pod_is_replaced_within_the_same_connect(any_app, serve_any, portald):
    servers = dict(zip(("pod1", "pod2", "pod3"), any_app.serve(serve_any)))
    any_app.write()
    portald("--relays=2")
    first = any_app.fetch(any_app.lab.client)
    servers[first].close()
    second = any_app.fetch(any_app.lab.client)
    assert second in PODS - {first}
    assert any_app.names(any_app.lab.client, count=20) == {second}, "the client stays with the new one"


def test_a_removed_pod_is_replaced_and_other_clients_stay(any_app, serve_any, portald):
    sources = any_app.family.more_addresses(any_app.lab.client, 15)
    any_app.serve(serve_any)
    any_app.write()
    running = portald()
    first = by_client(any_app, sources)
    any_app.use(2, 3)
    running.change(any_app.write)
    second = by_client(any_app, sources)
    assert set(second.values()) <= {"pod2", "pod3"}
    assert all(second[source] == name for source, name in first.items() if name != "pod1")
    any_app.use(1, 2, 3)
    running.change(any_app.write)
    assert by_client(any_app, sources) == second, "a pod that comes back takes no client away"


def test_affinity_survives_a_reload(any_app, serve_any, portald):
    sources = any_app.family.more_addresses(any_app.lab.client, 12)
    any_app.serve(serve_any)
    any_app.write()
    running = portald("--relays=2")
    first = by_client(any_app, sources)
    any_app.extra = [objects.service_of("more", [any_app.family.cluster_ip(11)], [objects.service_port()],
                                        any_app.family.api)]
    any_app.node_port()
    running.change(any_app.write)
    assert by_client(any_app, sources) == first


def test_affinity_survives_the_death_of_each_relay_and_of_control(any_app, serve_any, portald):
    sources = any_app.family.more_addresses(any_app.lab.client, 12)
    any_app.serve(serve_any)
    any_app.write()
    running = portald("--relays=2")
    first = by_client(any_app, sources)
    since = len(running.log())
    for role in ("relay 0", "relay 1", "control"):
        running.kill_role(role)
    running.wait_log(r'msg="plan in force"', since, 20)
    assert by_client(any_app, sources) == first


def test_udp_flows_of_one_client_go_to_one_pod(udp_app, serve_udp, portald):
    """Each socket is a flow of its own; the client's address is what counts."""
    sticky(udp_app)
    udp_app.serve(serve_udp)
    udp_app.write()
    portald("--relays=2")
    clients = [udp_app.lab.client.udp(udp_app.at()) for _ in range(20)]
    assert len({udp.ask(client) for client in clients}) == 1
    udp.close_all(clients)
