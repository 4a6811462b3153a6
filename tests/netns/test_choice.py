"""Which endpoints a connection may go to: policies, readiness, zones, and which clients may come at all."""
import http.client
import json

import app as app_module
import manifests as objects
import peers
import pytest

PODS = {"pod1", "pod2", "pod3"}
HERE = "--hostname-override=node-a"


@pytest.fixture
def any_app(lab, family, protocol, manifests):
    return app_module.App(lab, family, manifests, protocol)


@pytest.fixture
def serve_any(serve, serve_udp, protocol):
    return serve if protocol == "tcp" else serve_udp


@pytest.fixture
def spread(any_app, serve_any):
    """pod1 on this node (node-a), the others elsewhere; a NodePort and a load balancer's address."""
    any_app.serve(serve_any)
    any_app.endpoints = [any_app.endpoint(pod, node=node) for pod, node in
                         zip(any_app.lab.pods, ("node-a", "node-b", "node-b"))]
    any_app.load_balancer(any_app.family.external_ip(6))
    any_app.node_port()
    return any_app


def external(app):
    return app.node_at(), app.at(app.family.external_ip(6))


# ---- policies ----

def test_internal_traffic_policy_local_keeps_cluster_ip_traffic_on_the_node(spread, portald):
    spread.spec["internalTrafficPolicy"] = "Local"
    spread.write()
    portald(HERE)
    for namespace in spread.standpoints():
        assert spread.names(namespace) == {"pod1"}, namespace.name
    for at in external(spread):
        assert spread.names(spread.lab.outside, at) == PODS, "external traffic has a policy of its own"


def test_internal_traffic_policy_local_without_a_local_endpoint_is_dropped(spread, portald, becomes):
    """As by kube-proxy: there are endpoints, only none here. Without any it is refused."""
    spread.spec["internalTrafficPolicy"] = "Local"
    spread.endpoints = spread.endpoints[1:]
    spread.write()
    running = portald(HERE)
    for namespace in (spread.lab.client, spread.lab.node):
        assert spread.outcome(namespace, timeout=0.3) == "hangs", namespace.name
    assert spread.names(spread.lab.outside, spread.node_at()) == {"pod2", "pod3"}
    spread.endpoints = []
    running.change(spread.write)
    for namespace in (spread.lab.client, spread.lab.node):
        becomes(lambda: spread.outcome(namespace), "refused")


@pytest.mark.every_backend
def test_external_traffic_policy_local_keeps_external_traffic_on_the_node(spread, portald, have):
    spread.spec["externalTrafficPolicy"] = "Local"
    spread.write()
    portald(HERE)
    for at in external(spread):
        assert spread.names(spread.lab.outside, at) == {"pod1"}, at
        own = PODS if have("host scope") else {"pod1"}
        assert spread.names(spread.lab.node, at) == own, f"the node's own traffic to {at}"
    for namespace in spread.standpoints():
        assert spread.names(namespace) == PODS, "the ClusterIP's has a policy of its own"


@pytest.mark.every_backend
@pytest.mark.needs("pods' scope")
def test_external_traffic_policy_local_is_not_for_pods(spread, portald):
    """As by kube-proxy, where it knows who they are: as if they had gone out to the load balancer."""
    here, *elsewhere = spread.endpoints
    spread.spec["externalTrafficPolicy"] = "Local"
    spread.endpoints = elsewhere
    spread.write()
    running = portald(HERE, "--cluster-cidr=10.1.0.0/24,fd00:1::/64")
    for at in external(spread):
        assert spread.names(spread.lab.client, at) == {"pod2", "pod3"}, at
        assert spread.outcome(spread.lab.outside, at, timeout=0.3) == "hangs", at
    spread.endpoints = [here, *elsewhere]
    running.change(spread.write)
    for at in external(spread):
        assert spread.names(spread.lab.client, at) == PODS, at
        assert spread.names(spread.lab.outside, at) == {"pod1"}, at


def test_node_name_is_the_hosts_without_an_override(spread, portald):
    own_name = spread.lab.node.run("uname", "-n").strip().lower()
    spread.spec["internalTrafficPolicy"] = "Local"
    spread.endpoints[1]["nodeName"] = own_name
    spread.write()
    portald()
    assert spread.names(spread.lab.client) == {"pod2"}


# ---- readiness ----

def test_ready_endpoints_come_first_then_serving_and_terminating_ones(any_app, serve_any, portald, becomes):
    any_app.serve(serve_any)
    one, two, three = any_app.lab.pods
    leaving = any_app.endpoint(two, ready=False, serving=True, terminating=True)
    gone = any_app.endpoint(three, ready=False, serving=False, terminating=True)
    any_app.endpoints = [any_app.endpoint(one), leaving, gone]
    any_app.write()
    running = portald()
    assert any_app.names(any_app.lab.client) == {"pod1"}
    any_app.endpoints = [any_app.endpoint(one, ready=False), leaving, gone]
    running.change(any_app.write)
    assert any_app.names(any_app.lab.client) == {"pod2"}
    any_app.endpoints = [any_app.endpoint(one, ready=False), gone]
    running.change(any_app.write)
    becomes(lambda: any_app.outcome(any_app.lab.client), "refused")


def test_local_policy_falls_back_to_terminating_endpoints_of_the_node(spread, portald):
    """To those rather than to ready ones of other nodes: the load balancer hasn't noticed yet."""
    one, _, three = spread.lab.pods
    spread.endpoints[0] = spread.endpoint(one, ready=False, serving=True, terminating=True, node="node-a")
    spread.spec["externalTrafficPolicy"] = "Local"
    spread.write()
    running = portald(HERE)
    assert spread.names(spread.lab.outside, spread.node_at()) == {"pod1"}
    assert spread.names(spread.lab.client) == {"pod2", "pod3"}
    spread.endpoints[2] = spread.endpoint(three, node="node-a")
    running.change(spread.write)
    assert spread.names(spread.lab.outside, spread.node_at()) == {"pod3"}


@pytest.mark.parametrize("publish", [False, True])
def test_publish_not_ready_addresses_uses_pods_that_are_not_ready(app, serve, portald, publish):
    app.serve(serve)
    app.spec["selector"] = {"app": "web"}
    app.spec["publishNotReadyAddresses"] = publish
    app.slices = lambda: [
        objects.pod(pod.name, [app.family.of(pod)], {"app": "web"}, ready=pod.name == "pod1")
        for pod in app.lab.pods]
    app.write()
    portald()
    assert app.names(app.lab.client) == (PODS if publish else {"pod1"})


# ---- topology ----

def hinted(app, *zones, **what):
    """Each pod is for one zone by its hint; None: no hint."""
    app.endpoints = [app.endpoint(pod, for_zones=[zone] if zone else [], **what)
                     for pod, zone in zip(app.lab.pods, zones)]


def test_zone_hints_keep_connections_in_the_zone(any_app, serve_any, portald):
    any_app.serve(serve_any)
    hinted(any_app, "zone-a", "zone-a", "zone-b")
    any_app.write()
    running = portald("--zone=zone-a")
    assert any_app.names(any_app.lab.client) == {"pod1", "pod2"}
    for distribution, zones, seen in (("PreferClose", "bab", {"pod2"}),
                                      ("PreferSameZone", "aba", {"pod1", "pod3"})):
        any_app.spec["trafficDistribution"] = distribution
        hinted(any_app, *(f"zone-{letter}" for letter in zones))
        running.change(any_app.write)
        assert any_app.names(any_app.lab.client) == seen, distribution


def test_zone_hints_are_ignored_unless_all_have_one_and_one_is_for_this_zone(app, serve, portald):
    app.serve(serve)
    hinted(app, "zone-a", None, "zone-b")
    app.write()
    running = portald("--zone=zone-a")
    assert app.names(app.lab.client) == PODS, "one has no hint"
    hinted(app, "zone-b", "zone-b", "zone-c")
    running.change(app.write)
    assert app.names(app.lab.client) == PODS, "none is for this zone"


def test_zone_hints_are_ignored_where_the_zone_is_unknown(app, serve, portald):
    app.serve(serve)
    hinted(app, "zone-a", "zone-b", "zone-b")
    app.write()
    portald(HERE)
    assert app.names(app.lab.client) == PODS


def test_the_zone_is_known_from_the_nodes_labels(app, serve, portald):
    app.serve(serve)
    hinted(app, "zone-a", "zone-b", "zone-b")
    app.extra = [objects.node("node-a", {"topology.kubernetes.io/zone": "zone-a"}),
                 objects.node("node-b", {"topology.kubernetes.io/zone": "zone-b"})]
    app.write()
    running = portald(HERE)
    assert app.names(app.lab.client) == {"pod1"}
    app.extra[0] = objects.node("node-a", {"topology.kubernetes.io/zone": "zone-b"})
    running.change(app.write)
    assert app.names(app.lab.client) == {"pod2", "pod3"}


def test_node_hints_keep_connections_on_the_node(app, serve, portald):
    app.serve(serve)
    app.spec["trafficDistribution"] = "PreferSameNode"
    app.endpoints = [app.endpoint(pod, node=node, for_nodes=[node], for_zones=["zone-a"]) for pod, node in
                     zip(app.lab.pods, ("node-a", "node-b", "node-c"))]
    app.write()
    running = portald(HERE, "--zone=zone-a")
    assert app.names(app.lab.client) == {"pod1"}
    app.endpoints = app.endpoints[1:]
    running.change(app.write)
    assert app.names(app.lab.client) == {"pod2", "pod3"}, "none is for this node: the zone's"


# ---- health check ----

def health(app, namespace, port=32100):
    """GET /healthz: (status, headers, body) as a load balancer sees it."""
    sock = namespace.connect(app.node_at(port=port))
    connection = http.client.HTTPConnection("node")
    connection.sock = sock
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, body


def test_health_check_node_port_tells_how_many_endpoints_are_on_the_node(app, serve, portald):
    app.serve(serve)
    app.load_balancer(app.family.external_ip(6))
    app.node_port()
    app.spec |= {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32100}
    nodes = [("node-a", "node-a", "node-b"), ("node-b", "node-b", "node-b"), ("node-b", "node-a", "node-b")]

    def place(names):
        app.endpoints = [app.endpoint(pod, node=node) for pod, node in zip(app.lab.pods, names)]
        app.write()

    place(nodes[0])
    running = portald(HERE)
    for step, names in enumerate(nodes):
        if step:
            running.change(place, names)
        count = names.count("node-a")
        for namespace in app.standpoints():
            status, headers, body = health(app, namespace)
            assert status == (200 if count else 503)
            assert headers["Content-Type"] == "application/json"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Load-Balancing-Endpoint-Weight"] == str(count)
            assert json.loads(body) == {"service": {"namespace": "default", "name": "web"},
                                        "localEndpoints": count, "serviceProxyHealthy": True}
    app.spec["externalTrafficPolicy"] = "Cluster"
    del app.spec["healthCheckNodePort"]
    running.change(app.write)
    assert peers.outcome(app.lab.outside, app.node_at(port=32100), timeout=1) == "refused"


# ---- source ranges ----

@pytest.fixture
def ranged(any_app, serve_any):
    """A load balancer for clients of the outside network only; the lab's client is not one."""
    any_app.serve(serve_any)
    any_app.load_balancer(any_app.family.external_ip(6))
    any_app.node_port()
    any_app.spec["loadBalancerSourceRanges"] = [any_app.family.networks()[1]]
    any_app.write()
    return any_app


def turned_away(app, at):
    return app.outcome(app.lab.client, at, timeout=0.4) in ("reset", "refused", "hangs")


@pytest.mark.every_backend
def test_source_ranges_let_in_their_clients_and_no_other(ranged, portald):
    running = portald()
    address = ranged.at(ranged.family.external_ip(6))
    assert ranged.names(ranged.lab.outside, address, 3) == PODS
    assert turned_away(ranged, address)
    assert ranged.names(ranged.lab.client, count=3) == PODS, "they are not for the ClusterIP"
    assert ranged.names(ranged.lab.client, ranged.node_at(), 3) == PODS, "nor for NodePorts, unless asked"
    ranged.spec["loadBalancerSourceRanges"].append(ranged.family.host(ranged.family.of(ranged.lab.client)))
    running.change(ranged.write)
    assert ranged.names(ranged.lab.client, address, 3) == PODS
    ranged.spec["loadBalancerSourceRanges"] = ["192.0.2.0/24", "2001:db8:ffff::/48"]
    running.change(ranged.write)
    assert turned_away(ranged, address)
    del ranged.spec["loadBalancerSourceRanges"]
    running.change(ranged.write)
    assert ranged.names(ranged.lab.client, address, 3) == PODS


def test_source_ranges_hold_for_node_ports_where_asked(ranged, portald):
    portald("--source-ranges-on-nodeports")
    assert ranged.names(ranged.lab.outside, ranged.node_at(), 3) == PODS
    assert turned_away(ranged, ranged.node_at())
    assert turned_away(ranged, ranged.at(ranged.family.external_ip(6)))
    assert ranged.names(ranged.lab.client, count=3) == PODS


def test_ranges_of_the_other_family_mean_nothing_in_this_one(ranged, portald):
    """As in kube-proxy: a family without ranges has none that could be broken."""
    ranged.spec["loadBalancerSourceRanges"] = [
        "2001:db8:ffff::/48" if ranged.family.name == "v4" else "192.0.2.0/24"]
    ranged.write()
    portald()
    assert ranged.names(ranged.lab.client, ranged.at(ranged.family.external_ip(6)), 3) == PODS
