"""What a Service says may change in any way while it is used: at once, and without harm to anything else."""
import re

import app as app_module
import families
import lab as lab_module
import manifests as objects
import peers
import pytest
import rules
import wait

PODS = {"pod1", "pod2", "pod3"}
OTHER = 11  # the second Service's ClusterIP
TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "headless")


class Bystander:
    """Another Service, of which nothing may change: its connection, its proxy port, its rules."""

    def __init__(self, app, serve):
        self.app = app_module.App(app.lab, app.family, app.directory, name="bystander", number=OTHER)
        self.app.ports = [objects.service_port(80, target=9000, node_port=30090)]
        self.app.spec["type"] = "NodePort"
        self.app.use(1)
        serve(app.lab.pods[0], app.family.at(app.lab.pods[0], 9000), peers.echo)
        self.app.write()
        self.connections = []

    def watch(self):
        lab = self.app.lab
        self.connections = [namespace.connect(self.app.at()) for namespace in (lab.client, lab.node)]
        self.connections.append(lab.outside.connect(self.app.node_at(port=30090)))
        self.before = self.rules()
        assert self.before
        self.check()

    def rules(self):
        return rules.about(self.app.lab.node, self.app.key(), self.app.cluster_ips, self.app.family.name)

    def check(self):
        for connection in self.connections:
            peers.ping(connection)
        assert self.rules() == self.before

    def close(self):
        for connection in self.connections:
            connection.close()


@pytest.fixture
def bystander(app, serve):
    made = Bystander(app, serve)
    yield made
    made.close()


@pytest.fixture
def unsteered(lab, family, serve):
    """What the node doesn't steer is answered by `outside`, which takes all addresses of Services (and so
    can't be a client of them itself)."""
    ranges = {"v4": ("10.96.0.0/12", "203.0.113.0/24"), "v6": ("fd00:96::/112", "2001:db8::/64")}
    lab.outside.ip(*(f"route add local {cidr} dev lo" for cidr in ranges[family.name]))
    for port in (80, 81):
        serve(lab.outside, lab_module.join({"v4": "0.0.0.0", "v6": "::"}[family.name], port),
              peers.identity("outside"))


@pytest.fixture
def changing(app, serve, bystander, unsteered, portald):
    """A Service in front of three pods that say their names and then echo, a bystander, and portald."""
    app.serve(serve, peers.identity_and_hold)
    app.write()
    app.running = portald()
    bystander.watch()
    app.bystander = bystander

    def change():
        app.running.change(app.write)
        bystander.check()

    app.change = change
    return app


def who(app, namespace, at):
    """Who answers: "pod", "outside" (the node didn't steer), "refused"."""
    try:
        connection, name = peers.hold_open(namespace, at, timeout=4)
    except ConnectionRefusedError:
        return "refused"
    connection.close()
    return re.sub(r"\d", "", name)


def proxy_port(app):
    return rules.proxy_port(app.lab.node, app.key(), family=app.family.name)


def tour(names):
    """Each ordered pair of different names once, as one closed walk."""
    walk, left = [names[0]], {name: [other for other in names if other != name] for name in names}
    while any(left.values()):
        if not left[walk[-1]]:  # go on from a place that still has ways out
            turn = next(index for index, name in enumerate(walk) if left[name])
            walk = walk[turn:] + walk[1:turn + 1]
        walk.append(left[walk[-1]].pop(0))
    return walk


def become(app, kind):
    """Makes the Service one of TYPES, with everything that this type may have."""
    app.spec, app.status = {"type": kind}, None
    app.cluster_ips = [app.family.cluster_ip()]
    app.ports = [objects.service_port()]
    if kind in ("NodePort", "LoadBalancer"):
        app.ports[0]["nodePort"] = app_module.NODE_PORT
    if kind == "LoadBalancer":
        app.load_balancer(app.family.external_ip())
    if kind == "ExternalName":
        app.cluster_ips = []
        app.spec["externalName"] = "example.com"
    if kind == "headless":
        app.cluster_ips = []
        app.spec = {"type": "ClusterIP", "clusterIP": "None"}


def check_type(app, kind, came_from, becomes):
    steered = kind in ("ClusterIP", "NodePort", "LoadBalancer")
    expected = [(app.at(app.family.cluster_ip()), "pod" if steered else "outside"),
                (app.node_at(), "pod" if kind in ("NodePort", "LoadBalancer") else "refused"),
                (app.at(app.family.external_ip()), "pod" if kind == "LoadBalancer" else "outside")]
    for at, answer in expected:
        for namespace in (app.lab.client, app.lab.node):
            becomes(lambda: (came_from, kind, namespace.name, at, who(app, namespace, at)),
                    (came_from, kind, namespace.name, at, answer))


def test_type_changes_in_every_direction(changing, becomes):
    walk = tour(TYPES)
    assert len(set(zip(walk, walk[1:]))) == len(walk) - 1 == len(TYPES) * (len(TYPES) - 1)
    for came_from, kind in zip(["ClusterIP", *walk], walk):
        become(changing, kind)
        if kind != came_from:
            changing.change()
        check_type(changing, kind, came_from, becomes)


def changed_port(app):
    app.ports[0]["port"] = 81
    return [app.at(port=81)], [app.at(port=80)]


def changed_node_port(app):
    app.ports[0]["nodePort"] = 30081
    return [app.at(), app.node_at(port=30081)], [app.node_at()]


def changed_cluster_ip(app):
    old = app.at()
    app.cluster_ips = [app.family.cluster_ip(99)]
    return [app.at(), app.node_at()], [old]


def changed_external_ip(app):
    app.spec["externalIPs"] = [app.family.external_ip(7)]
    return [app.at(), app.at(app.family.external_ip(7))], [app.at(app.family.external_ip(5))]


@pytest.mark.parametrize("alter", [changed_port, changed_node_port, changed_cluster_ip, changed_external_ip])
def test_a_portal_moves_at_once_and_connections_through_it_go_on(changing, alter):
    app = changing
    app.node_port()
    app.spec["externalIPs"] = [app.family.external_ip(5)]
    app.change()
    port = proxy_port(app)
    connections = [peers.hold_open(app.lab.client, at)[0]
                   for at in (app.at(), app.node_at(), app.at(app.family.external_ip(5)))]
    reached, gone = alter(app)
    app.change()
    for at in reached:
        assert [who(app, namespace, at) for namespace in (app.lab.client, app.lab.node)] == ["pod"] * 2, at
    for at in gone:
        assert who(app, app.lab.node, at) in ("outside", "refused"), at
    for connection in connections:
        peers.ping(connection)
        connection.close()
    assert proxy_port(app) == port, "the proxy port has changed"


def test_a_changed_target_port_takes_effect_at_once(changing, serve):
    app = changing
    port = proxy_port(app)
    connection, _ = peers.hold_open(app.lab.client, app.at())
    app.serve(serve, lambda name: peers.identity(name + " new"), port=8081)
    app.ports[0]["targetPort"] = 8081
    app.change()
    assert app.names(app.lab.client, count=3) == {name + " new" for name in PODS}
    peers.ping(connection)
    connection.close()
    assert proxy_port(app) == port


def test_a_renamed_port_keeps_its_node_port(changing):
    app = changing
    app.node_port()
    app.change()
    for name in ("web", "http", "other"):
        since = len(app.running.log())
        app.ports[0]["name"] = name
        app.change()
        assert who(app, app.lab.outside, app.node_at()) == "pod"
        assert who(app, app.lab.client, app.at()) == "pod"
        found = re.search(r"(?i).*(conflict|in use|level=(error|warn)).*", app.running.log()[since:])
        assert not found, found[0]


def test_two_services_exchange_their_node_ports_at_once(changing, serve):
    app = changing
    other = app_module.App(app.lab, app.family, app.directory, name="other", number=12)
    other.ports[0]["targetPort"] = 8081
    other.serve(serve, lambda name: peers.identity("other"), port=8081)
    numbers = [30080, 30081]

    def write():
        for one, number in zip((app, other), numbers):
            one.node_port(number)
        app.directory.write("web.yaml", app.service(), *app.slices(), other.service(), *other.slices())

    for _ in range(3):
        app.running.change(write)
        app.bystander.check()
        assert who(app, app.lab.outside, app.node_at(port=numbers[0])) == "pod"
        assert peers.fetch(app.lab.outside, app.node_at(port=numbers[1])) == "other"
        numbers.reverse()


def test_an_added_and_a_removed_port_leave_the_others_alone(changing):
    app = changing
    port = proxy_port(app)
    connection, _ = peers.hold_open(app.lab.client, app.at())
    app.ports.append(objects.service_port(81, "more"))
    app.change()
    assert who(app, app.lab.client, app.at(port=81)) == "pod"
    app.ports.pop()
    app.change()
    assert who(app, app.lab.node, app.at(port=81)) in ("outside", "refused")
    assert proxy_port(app) == port
    peers.ping(connection)
    connection.close()


def test_a_changed_policy_takes_effect_at_once(app, serve, portald):
    app.serve(serve)
    app.endpoints = [app.endpoint(pod, node=node) for pod, node in
                     zip(app.lab.pods, ("node-a", "node-b", "node-b"))]
    app.node_port()
    app.write()
    running = portald("--hostname-override=node-a")
    connection = app.lab.client.connect(app.at())
    for field, at, namespace in (("externalTrafficPolicy", app.node_at(), app.lab.outside),
                                 ("internalTrafficPolicy", app.at(), app.lab.client)):
        assert app.names(namespace, at) == PODS
        app.spec[field] = "Local"
        running.change(app.write)
        assert app.names(namespace, at) == {"pod1"}, field
        app.spec[field] = "Cluster"
        running.change(app.write)
        assert app.names(namespace, at) == PODS, field
    connection.close()


def test_a_policy_for_external_traffic_leaves_the_internal_listener_alone(app, serve, portald):
    app.serve(serve, peers.identity_and_hold)
    app.endpoints = [app.endpoint(pod, node=node) for pod, node in
                     zip(app.lab.pods, ("node-a", "node-b", "node-b"))]
    app.node_port()
    app.write()
    running = portald("--hostname-override=node-a")
    port = proxy_port(app)
    connections = [peers.hold_open(app.lab.client, app.at())[0],
                   peers.hold_open(app.lab.outside, app.node_at())[0]]
    for policy in ("Local", "Cluster", "Local"):
        app.spec["externalTrafficPolicy"] = policy
        running.change(app.write)
        assert proxy_port(app) == port
        for connection in connections:
            peers.ping(connection)
    for connection in connections:
        connection.close()


def test_connections_go_on_while_a_service_loses_and_regains_all_endpoints(changing, becomes):
    app = changing
    connection, _ = peers.hold_open(app.lab.client, app.at())
    app.endpoints = []
    app.change()
    becomes(lambda: who(app, app.lab.client, app.at()), "refused")
    peers.ping(connection)
    app.use(1, 2, 3)
    app.change()
    assert who(app, app.lab.client, app.at()) == "pod"
    peers.ping(connection)
    connection.close()


def test_connections_made_during_changes_are_never_refused(changing):
    """Each of many changes to the Service's own rules is one transaction."""
    app = changing
    app.node_port()
    app.change()
    stop, answers = [], []

    def load():
        while not stop:
            answers.append(who(app, app.lab.client, app.at()))

    finish = peers.in_thread(load)
    for number in range(10):
        app.ports[0]["nodePort"] = 30080 + number % 2
        app.spec["externalIPs"] = [app.family.external_ip(number + 5)]
        app.change()
    stop.append(True)
    finish()
    assert len(answers) > 20 and set(answers) == {"pod"}


def test_a_family_added_to_a_service_leaves_the_other_alone(app, serve, portald):
    other = families.V6 if app.family is families.V4 else families.V4
    app.serve(serve, peers.identity_and_hold)
    app.write()
    running = portald()
    port = proxy_port(app)
    connection, _ = peers.hold_open(app.lab.client, app.at())
    second = app_module.App(app.lab, other, app.directory)
    second.serve(serve, peers.identity_and_hold)

    def write_both():
        app.directory.write("web.yaml", objects.service_of(
            "web", [app.cluster_ips[0], second.cluster_ips[0]], app.ports, [app.family.api, other.api],
            ipFamilyPolicy="PreferDualStack"), *app.slices(), *second.slices())

    for write, seen in ((write_both, "pod"), (app.write, None), (write_both, "pod")):
        running.change(write)
        peers.ping(connection)
        assert proxy_port(app) == port
        if seen:
            assert who(second, app.lab.client, second.at()) == seen
        else:
            wait.until(lambda: not rules.about(app.lab.node, app.key(), second.cluster_ips, other.name), 5)
    connection.close()
