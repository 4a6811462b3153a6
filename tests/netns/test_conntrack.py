"""conntrack: what the kernel remembers of UDP clients from before a portal's rules is forgotten, no more."""
import re

import pytest
import udp
import wait

FOREIGN_PORT = 9999


def entries(namespace, family, *filters):
    """conntrack's lines for UDP, with their ids, without what counts down."""
    text = namespace.run("conntrack", "-L", "-f", {"v4": "ipv4", "v6": "ipv6"}[family.name], "-p", "udp",
                         "-o", "id", *filters)
    return [re.sub(r"^(udp +17) \d+", r"\1", line) for line in text.splitlines() if line.startswith("udp")]


@pytest.fixture
def tracking(lab, family):
    """The node tracks connections already before portald runs, as every node of a cluster does."""
    tool = {"v4": "iptables-nft", "v6": "ip6tables-nft"}[family.name]
    lab.node.run(tool, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")
    lab.node.run(tool, "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")


@pytest.fixture
def bystander(lab, family, serve_udp, tracking):
    """A flow through the node that is no portal's; its conntrack entries."""
    serve_udp(lab.outside, family.at(lab.outside, FOREIGN_PORT), udp.identity("outside"))
    client = lab.client.udp(family.at(lab.outside, FOREIGN_PORT))
    assert udp.ask(client) == "outside"

    def read():
        return entries(lab.node, family, "--orig-port-dst", str(FOREIGN_PORT))

    assert len(read()) == 1
    yield read
    client.close()


def try_early(client):
    """A datagram for a portal that isn't there yet: whatever becomes of it, conntrack remembers it."""
    client.settimeout(0.2)
    try:
        client.send(b"early")
        client.recv(100)
    except OSError:
        pass
    client.settimeout(5)


def clear_error(client):
    """Takes an ICMP error that came for an earlier datagram."""
    client.setblocking(False)
    try:
        client.recv(100)
    except OSError:
        pass
    client.settimeout(5)


def ask_again(client):
    """The answer to it. Its old entry is removed right after the rules are there, and may take one along."""
    clear_error(client)
    client.settimeout(0.5)
    for _ in range(20):
        try:
            return udp.ask(client)
        except TimeoutError:
            pass  # and with the old entry in force every one would be lost
    raise AssertionError("no answer")


def test_clients_from_before_portald_are_served_and_others_untouched(
        udp_app, serve_udp, bystander, portald, have):
    lab = udp_app.lab
    udp_app.serve(serve_udp)
    udp_app.node_port()
    udp_app.spec["externalIPs"] = [udp_app.family.external_ip()]
    udp_app.write()
    before = bystander()
    ways = [(lab.client, udp_app.at()), (lab.node, udp_app.at()), (lab.outside, udp_app.at()),
            (lab.outside, udp_app.node_at()), (lab.outside, udp_app.at(udp_app.family.external_ip()))]
    if udp_app.family.name == "v6" and not have("new ways for old sockets"):
        del ways[1]
    clients = [namespace.udp(at) for namespace, at in ways]
    for client in clients:
        try_early(client)
    portald()
    for client, (namespace, at) in zip(clients, ways):
        assert ask_again(client).startswith("pod"), f"from {namespace.name} to {at}"
    assert bystander() == before, "an entry of somebody else's was deleted"
    udp.close_all(clients)


def test_clients_of_a_dead_proxy_port_are_served_after_a_new_start(udp_app, serve_udp, bystander, portald):
    udp_app.serve(serve_udp)
    udp_app.write()
    before = bystander()
    first = portald()
    clients = [namespace.udp(udp_app.at()) for namespace in udp_app.standpoints()]
    for client in clients:
        assert udp.ask(client).startswith("pod")
    first.kill_all()
    for client in clients:
        try_early(client)
    second = portald()
    second.before = first.before
    assert [ask_again(client)[:3] for client in clients] == ["pod"] * 3
    assert bystander() == before
    assert second.terminate() == 0
    first.leaves_rules = False  # the second run has removed what the first one left
    udp.close_all(clients)


def test_clients_of_a_service_that_went_and_came_are_served(udp_app, serve_udp, bystander, portald):
    udp_app.serve(serve_udp)
    udp_app.write()
    before = bystander()
    running = portald()
    with udp_app.lab.client.udp(udp_app.at()) as client:
        assert udp.ask(client).startswith("pod")
        running.change(udp_app.directory.remove, "web.yaml")
        try_early(client)
        running.change(udp_app.write)
        assert ask_again(client).startswith("pod")
    assert bystander() == before


def test_another_services_flows_are_left_alone_by_a_change(udp_app, serve_udp, tracking, portald):
    """Their entries keep their ids, so their clients keep their flows."""
    servers = udp_app.serve(serve_udp)
    udp_app.use(1)
    udp_app.write()
    running = portald()
    with udp_app.lab.client.udp(udp_app.at()) as client:
        udp.ask(client)
        before = wait.until(lambda: entries(udp_app.lab.node, udp_app.family, "--orig-dst",
                                            udp_app.cluster_ips[0]), 5, "a conntrack entry")
        udp_app.name, cluster_ips = "more", udp_app.cluster_ips
        udp_app.cluster_ips = [udp_app.family.cluster_ip(11)]
        running.change(udp_app.write)
        udp.ask(client)
        running.change(udp_app.directory.remove, "more.yaml")
        udp.ask(client)
        udp_app.cluster_ips = cluster_ips
        after = entries(udp_app.lab.node, udp_app.family, "--orig-dst", udp_app.cluster_ips[0])
        ids = [re.search(r" id=\d+", line)[0] for line in before]
        assert [re.search(r" id=\d+", line)[0] for line in after] == ids
    assert len(set(servers[0].sources())) == 1
