"""Every address at which a Service is reached: from a pod, from the node itself, from outside."""
import errno
import time

import app as app_module
import families
import lab as lab_module
import manifests as objects
import peers
import pytest
import rules
import udp
import wait

PODS = {"pod1", "pod2", "pod3"}
KINDS = {"tcp": lab_module.STREAM, "udp": lab_module.DATAGRAM}
REFUSED = ("refused", "reset")


@pytest.fixture
def any_app(lab, family, protocol, manifests):
    """The Service in both families and over both protocols."""
    return app_module.App(lab, family, manifests, protocol)


@pytest.fixture
def serve_any(serve, serve_udp, protocol):
    return serve if protocol == "tcp" else serve_udp


@pytest.fixture
def unsteered(lab, family, serve):
    """What the node doesn't steer is answered by `outside`, which takes all addresses of Services (and so
    can't be a client of them itself)."""
    ranges = {"v4": ("10.96.0.0/12", "203.0.113.0/24"), "v6": ("fd00:96::/112", "2001:db8::/64")}
    lab.outside.ip(*(f"route add local {cidr} dev lo" for cidr in ranges[family.name]))
    serve(lab.outside, lab_module.join(any_address(family), 80), peers.identity("outside"))


def ways(app):
    """(namespace, where it connects to) for every portal and every standpoint that can reach it."""
    family = app.family
    for namespace in app.standpoints():
        for at in (app.at(), app.at(family.external_ip(5)), app.at(family.external_ip(6))):
            yield namespace, at
        for address in family.node_addresses():
            yield namespace, app.node_at(address)
    yield app.lab.node, app.node_at(family.loopback)


# ---- reached ----

@pytest.mark.every_backend
def test_every_portal_is_reached_from_pod_node_and_outside(any_app, serve_any, portald):
    any_app.serve(serve_any)
    any_app.load_balancer(any_app.family.external_ip(6))
    any_app.node_port()
    any_app.spec["externalIPs"] = [any_app.family.external_ip(5)]
    any_app.write()
    portald()
    for namespace, at in ways(any_app):
        assert any_app.names(namespace, at, 3) == PODS, f"from {namespace.name} to {at}"


def test_one_service_is_reached_in_both_families(lab, manifests, serve, portald):
    both = [app_module.App(lab, family, manifests) for family in (families.V4, families.V6)]
    for app in both:
        app.serve(serve)
    first = both[0]
    ips = [app.cluster_ips[0] for app in both]
    ports = [objects.service_port(node_port=30080)]
    manifests.write("web.yaml", objects.service_of("web", ips, ports, ["IPv4", "IPv6"], type="NodePort",
                                                   ipFamilyPolicy="RequireDualStack"),
                    *(app.slices()[0] for app in both))
    portald()
    for app in both:
        for at in (app.at(), app.node_at()):
            for namespace in first.standpoints():
                assert app.names(namespace, at, 3) == PODS, f"from {namespace.name} to {at}"


def test_a_slice_of_the_other_family_is_not_used(app, serve, portald):
    """The Service has but one family; endpoints of the other one can't be its backends."""
    app.serve(serve)
    app.use(1)
    other = families.V6 if app.family is families.V4 else families.V4
    app.extra = [objects.slice_of("web", other.api, [objects.endpoint(other.of(app.lab.pods[1]))],
                                  [objects.slice_port(app.ports[0])])]
    app.write()
    portald()
    assert app.names(app.lab.client) == {"pod1"}


def test_load_balancer_ip_with_ip_mode_proxy_is_skipped(app, serve, unsteered, portald):
    app.serve(serve)
    app.load_balancer(app.family.external_ip(6), ipMode="Proxy")
    app.status["loadBalancer"]["ingress"].append({"ip": app.family.external_ip(7), "ipMode": "VIP"})
    app.write()
    portald()
    for namespace in (app.lab.client, app.lab.node):
        assert app.fetch(namespace, app.at(app.family.external_ip(6))) == "outside"
        assert app.fetch(namespace, app.at(app.family.external_ip(7))) in PODS


def test_load_balancer_known_by_name_only_does_no_harm(app, serve, portald):
    app.serve(serve)
    app.load_balancer()
    app.status["loadBalancer"]["ingress"] = [{"hostname": "lb.example.com"}]
    app.write()
    portald()
    assert app.names(app.lab.client) == PODS


def test_same_number_over_tcp_and_udp_coexists(app, serve, serve_udp, portald):
    app.ports = [objects.service_port(53, "dns-tcp", "tcp", 5353, 30053),
                 objects.service_port(53, "dns", "udp", 5353, 30053)]
    app.spec["type"] = "NodePort"
    pod = app.lab.pods[0]
    serve(pod, app.family.at(pod, 5353), peers.identity("by tcp"))
    serve_udp(pod, app.family.at(pod, 5353), udp.identity("by udp"))
    app.use(1)
    app.write()
    portald()
    for namespace in app.standpoints():
        for at in (app.at(port=53), app.node_at(port=30053)):
            assert peers.fetch(namespace, at) == "by tcp" and udp.fetch(namespace, at) == "by udp"


def test_named_target_port_is_resolved_for_each_endpoint(any_app, serve_any, portald):
    """EndpointSlices of one Service may give the port different numbers."""
    make = peers.identity if any_app.protocol == "tcp" else udp.identity
    for number, pod in enumerate(any_app.lab.pods):
        serve_any(pod, any_app.family.at(pod, 8000 + number), make(pod.name))
    any_app.ports[0]["targetPort"] = "web"
    any_app.slices = lambda: [
        objects.slice_of("web", any_app.family.api, [any_app.endpoint(pod)],
                         [objects.slice_port(any_app.ports[0], 8000 + number)], number)
        for number, pod in enumerate(any_app.lab.pods)]
    any_app.write()
    portald()
    assert any_app.names(any_app.lab.client, count=3) == PODS


def test_named_target_port_of_pods_is_resolved_for_each_pod(app, serve, portald):
    for number, pod in enumerate(app.lab.pods):
        serve(pod, app.family.at(pod, 8000 + number), peers.identity(pod.name))
    app.ports[0]["targetPort"] = "web"
    app.spec["selector"] = {"app": "web"}
    app.slices = lambda: [objects.pod(pod.name, [app.family.of(pod)], {"app": "web"},
                                      ports=[("web", 8000 + number, "TCP")])
                          for number, pod in enumerate(app.lab.pods)]
    app.write()
    portald()
    assert app.names(app.lab.client, count=3) == PODS


def test_a_service_of_a_hundred_ports_is_reached_at_each(any_app, serve_any, portald):
    make = peers.identity if any_app.protocol == "tcp" else udp.identity
    pod = any_app.lab.pods[0]
    targets = range(8000, 8004)
    for target in targets:
        serve_any(pod, any_app.family.at(pod, target), make(str(target)))
    any_app.ports = [objects.service_port(1000 + n, f"port-{n}", any_app.protocol, targets[n % 4])
                     for n in range(100)]
    any_app.use(1)
    any_app.write()
    portald()
    for n in range(100):
        assert any_app.fetch(any_app.lab.client, any_app.at(port=1000 + n)) == str(targets[n % 4])


def test_a_pod_reaches_itself_through_its_service(any_app, serve_any, portald):
    any_app.serve(serve_any)
    any_app.use(1)
    any_app.node_port()
    any_app.write()
    portald()
    for at in (any_app.at(), any_app.node_at()):
        assert any_app.names(any_app.lab.pods[0], at, 3) == {"pod1"}


# ---- NodePort ----

@pytest.mark.every_backend
def test_nodeport_addresses_limits_where_a_node_port_is_reached(any_app, serve_any, portald):
    inner, outer = any_app.family.node_addresses()
    any_app.serve(serve_any)
    any_app.node_port()
    any_app.write()
    portald(f"--nodeport-addresses={any_app.family.networks()[1]}")
    for namespace in any_app.standpoints():
        assert any_app.names(namespace, any_app.node_at(outer), 3) == PODS, namespace.name
        assert any_app.outcome(namespace, any_app.node_at(inner)) in REFUSED, namespace.name
    assert any_app.outcome(any_app.lab.node, any_app.node_at(any_app.family.loopback)) in REFUSED
    assert any_app.names(any_app.lab.client, count=3) == PODS


def test_nodeport_addresses_primary_means_the_nodes_own(app, serve, portald):
    """The Node object and the default route agree which address that is."""
    inner, outer = app.family.node_addresses()
    app.serve(serve)
    app.node_port()
    app.extra = [objects.node("node-a", addresses=[outer])]
    app.write()
    portald("--nodeport-addresses=primary", "--hostname-override=node-a")
    assert app.names(app.lab.outside, app.node_at(outer), 3) == PODS
    assert app.outcome(app.lab.client, app.node_at(inner)) in REFUSED


def holdable(app, at):
    """True if a process of the node could serve at that address."""
    try:
        app.lab.node.bind(at, KINDS[app.protocol]).close()
        return True
    except OSError as error:
        assert error.errno == errno.EADDRINUSE
        return False


def any_address(family):
    return {"v4": "0.0.0.0", "v6": "::"}[family.name]


def test_a_node_port_is_claimed_while_the_service_has_it(any_app, serve_any, portald):
    any_app.serve(serve_any)
    any_app.node_port()
    any_app.write()
    running = portald()
    places = [any_app.node_at(address) for address in
              (any_address(any_app.family), any_app.family.outer_address(), any_app.family.loopback)]
    assert not any(holdable(any_app, at) for at in places)
    del any_app.ports[0]["nodePort"]
    any_app.spec["type"] = "ClusterIP"
    running.change(any_app.write)
    wait.until(lambda: all(holdable(any_app, at) for at in places), 5, "the claim to be given up")


def test_a_node_port_that_another_process_holds_is_left_to_it_until_it_goes(any_app, serve_any, portald):
    make = peers.identity_and_hold if any_app.protocol == "tcp" else udp.identity
    foreign = serve_any(any_app.lab.node, any_app.node_at(any_address(any_app.family)), make("foreign"))
    any_app.serve(serve_any)
    any_app.node_port()
    any_app.write()
    running = portald()
    running.wait_log(r"(?i)^.*(level=err|level=warn|error|warn).*30080")
    assert any_app.names(any_app.lab.client, count=3) == PODS, "the ClusterIP has nothing to do with it"
    for namespace in (any_app.lab.node, any_app.lab.outside):
        assert asked(any_app, namespace) == "foreign"
    foreign.close()
    wait.until(lambda: any_app.outcome(any_app.lab.outside, any_app.node_at(), timeout=1) == "answered", 20,
               lambda: f"the node port to be taken; log:\n{running.log_tail()}")
    assert any_app.names(any_app.lab.outside, any_app.node_at(), 3) == PODS


def asked(app, namespace):
    """Who is at the node port; a client that closes first leaves no TIME_WAIT with the server."""
    if app.protocol == "udp":
        return app.fetch(namespace, app.node_at())
    connection, name = peers.hold_open(namespace, app.node_at())
    connection.close()
    return name


def test_an_external_ip_of_the_node_itself_is_claimed(any_app, serve_any, portald):
    outer = any_app.family.outer_address()
    any_app.serve(serve_any)
    any_app.spec["externalIPs"] = [outer]
    any_app.write()
    running = portald()
    for namespace in any_app.standpoints():
        assert any_app.names(namespace, any_app.at(outer), 3) == PODS, namespace.name
    assert not holdable(any_app, any_app.at(outer))
    assert holdable(any_app, any_app.at(any_app.family.node_addresses()[0])), "only that address"
    any_app.spec["externalIPs"] = []
    running.change(any_app.write)
    wait.until(lambda: holdable(any_app, any_app.at(outer)), 5, "the claim to be given up")


def test_claims_outlive_a_restart_of_control_and_relays(any_app, serve_any, portald):
    any_app.serve(serve_any)
    any_app.node_port()
    any_app.write()
    running = portald("--relays=1")
    running.kill_role("control")
    running.kill_role("relay 0")
    assert not holdable(any_app, any_app.node_at(any_address(any_app.family)))
    wait.until(lambda: any_app.outcome(any_app.lab.outside, any_app.node_at(), timeout=1) == "answered")


# ---- nobody there ----

@pytest.mark.every_backend
def test_without_endpoints_clients_are_refused_at_once(any_app, portald):
    """As if nothing listened there: ECONNREFUSED, which a reset of an accepted connection is not."""
    any_app.load_balancer(any_app.family.external_ip(6))
    any_app.node_port()
    any_app.spec["externalIPs"] = [any_app.family.external_ip(5)]
    any_app.endpoints = []
    any_app.write()
    portald()
    for namespace, at in ways(any_app):
        begin = time.monotonic()
        assert any_app.outcome(namespace, at, timeout=3) == "refused", f"from {namespace.name} to {at}"
        assert time.monotonic() - begin < 0.5


def test_with_endpoints_that_are_not_ready_clients_are_refused(any_app, serve_any, portald):
    any_app.serve(serve_any)
    any_app.use(1, 2, 3, ready=False)
    any_app.write()
    portald()
    for namespace in any_app.standpoints():
        assert any_app.outcome(namespace) == "refused"


@pytest.mark.every_backend
def test_the_last_endpoint_that_goes_and_comes_back_takes_effect_at_once(any_app, serve_any, portald, becomes):
    any_app.serve(serve_any)
    any_app.use(1)
    any_app.node_port()
    any_app.write()
    running = portald()
    port = proxy_port(any_app)
    for _ in range(2):
        any_app.endpoints = []
        running.change(any_app.write)
        for namespace in any_app.standpoints():
            becomes(lambda: any_app.outcome(namespace), "refused")
        becomes(lambda: any_app.outcome(any_app.lab.outside, any_app.node_at()), "refused")
        any_app.use(2)
        running.change(any_app.write)
        for namespace in any_app.standpoints():
            assert any_app.fetch(namespace) == "pod2"
        assert any_app.fetch(any_app.lab.outside, any_app.node_at()) == "pod2"
        assert proxy_port(any_app) == port


@pytest.mark.every_backend
def test_local_policy_with_remote_endpoints_only_drops_what_comes_from_outside(any_app, serve_any, portald, have):
    any_app.serve(serve_any)
    any_app.use(1, 2, 3, node="elsewhere")
    any_app.load_balancer(any_app.family.external_ip(6))
    any_app.node_port()
    any_app.spec["externalTrafficPolicy"] = "Local"
    any_app.write()
    portald("--hostname-override=node-a")
    for at in (any_app.node_at(), any_app.at(any_app.family.external_ip(6))):
        assert any_app.outcome(any_app.lab.outside, at, timeout=0.3) == "hangs", at
        if have("host scope"):
            assert any_app.names(any_app.lab.node, at, 3) == PODS, "the node's own traffic goes anywhere"
    for namespace in any_app.standpoints():
        assert any_app.names(namespace, count=3) == PODS, "and so does the ClusterIP's"


def test_local_policy_without_any_endpoint_refuses(any_app, portald):
    any_app.endpoints = []
    any_app.node_port()
    any_app.spec["externalTrafficPolicy"] = "Local"
    any_app.write()
    portald("--hostname-override=node-a")
    assert any_app.outcome(any_app.lab.outside, any_app.node_at()) == "refused"


# ---- out of scope ----

@pytest.mark.parametrize("label", ["service-proxy-name", "headless"])
def test_labels_put_a_service_out_of_scope(app, serve, unsteered, portald, becomes, label):
    app.serve(serve)
    app.node_port()
    app.write()
    running = portald()
    for _ in range(2):
        assert app.names(app.lab.client, count=3) == PODS
        app.labels = {f"service.kubernetes.io/{label}": "another-proxy"}
        running.change(app.write)
        becomes(lambda: app.fetch(app.lab.client), "outside")
        becomes(lambda: app.outcome(app.lab.outside, app.node_at()), "refused")
        app.labels = {}
        running.change(app.write)


# ---- proxy ports ----

def proxy_port(app):
    return rules.proxy_port(app.lab.node, app.key(), family=app.family.name, protocol=app.protocol)


@pytest.mark.every_backend
@pytest.mark.needs("proxy ports")
def test_a_proxy_port_is_reached_by_redirection_only(any_app, serve_any, portald):
    servers = any_app.serve(serve_any)
    any_app.write()
    portald()
    port = proxy_port(any_app)
    assert any_app.fetch(any_app.lab.client) in PODS

    def served():
        return sum(len(server.received) if any_app.protocol == "udp" else server.accepted
                   for server in servers)

    before = served()
    for namespace in any_app.standpoints():
        for address in any_app.family.node_addresses():
            at = lab_module.join(address, port)
            assert any_app.outcome(namespace, at, timeout=0.3) != "answered", f"from {namespace.name} to {at}"
    at = lab_module.join(any_app.family.loopback, port)
    assert any_app.outcome(any_app.lab.node, at, timeout=0.3) != "answered"
    assert served() == before, "a backend saw one of them"
    assert any_app.fetch(any_app.lab.client) in PODS
