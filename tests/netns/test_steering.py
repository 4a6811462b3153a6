"""Traffic for ClusterIPs and NodePorts reaches the backends; the rules are kube-proxy's classic ones."""
import re
from collections import Counter

import manifests as objects
import peers
import pytest
import rules

CLUSTER_IP = "10.96.0.10:80"
PODS = {"pod1", "pod2", "pod3"}


@pytest.fixture
def steered(web, portald, variant):
    """portald in front of `web`, with either kind of iptables."""
    return portald(f"--iptables-variant={variant}")


def test_every_way_to_the_service_is_steered(lab, steered):
    ways = [(lab.client, CLUSTER_IP), (lab.node, CLUSTER_IP), (lab.outside, CLUSTER_IP),
            (lab.outside, "10.2.0.1:30080"), (lab.client, "10.1.0.1:30080"), (lab.client, "10.2.0.1:30080"),
            (lab.node, "10.1.0.1:30080"), (lab.node, "10.2.0.1:30080"), (lab.node, "127.0.0.1:30080")]
    for namespace, at in ways:
        seen = {peers.fetch(namespace, at) for _ in range(3)}
        assert seen == PODS, f"from {namespace.name} to {at}"


def test_thirty_requests_are_ten_for_each_backend(lab, steered):
    assert Counter(peers.fetch(lab.client, CLUSTER_IP) for _ in range(30)) == dict.fromkeys(PODS, 10)


def test_a_pod_reaches_itself_through_the_service(lab, steered):
    assert {peers.fetch(lab.pods[0], CLUSTER_IP) for _ in range(3)} == PODS


@pytest.mark.slow
def test_three_thousand_connections_are_a_thousand_each_across_relays(lab, web, portald):
    portald("--relays=2")

    def many():
        return Counter(peers.fetch(lab.client, CLUSTER_IP) for _ in range(750))

    finish = [peers.in_thread(many) for _ in range(4)]
    assert sum((part() for part in finish), Counter()) == dict.fromkeys(PODS, 1000)
    assert [server.accepted for server in web] == [1000, 1000, 1000]


def test_other_ports_and_addresses_are_left_alone(lab, serve, steered):
    serve(lab.outside, "10.2.0.2:30080", peers.identity("outside"))
    assert peers.fetch(lab.client, "10.2.0.2:30080") == "outside"
    serve(lab.node, "10.1.0.1:80", peers.identity("node"))
    assert peers.fetch(lab.client, "10.1.0.1:80") == "node"


def test_rules_have_the_classic_form(lab, steered, variant):
    port = rules.proxy_port(lab.node, "default/web:http", variant)
    comment = r'-m comment --comment "default/web:http" -m tcp'
    to_host = rf"-j (?:REDIRECT --to-ports {port}|DNAT --to-destination [\d.]+:{port})"
    expected = {
        "KUBE-PORTALS-CONTAINER":
            rf"-d 10\.96\.0\.10/32 -p tcp {comment} --dport 80 -j REDIRECT --to-ports {port}",
        "KUBE-PORTALS-HOST": rf"-d 10\.96\.0\.10/32 -p tcp {comment} --dport 80 {to_host}",
        "KUBE-NODEPORT-CONTAINER": rf"-p tcp {comment} --dport 30080 -j REDIRECT --to-ports {port}",
        "KUBE-NODEPORT-HOST": rf"-p tcp {comment} --dport 30080 {to_host}",
        "KUBE-NODEPORT-NON-LOCAL":
            rf"-p tcp {comment} --dport {port} -m (?:state --state|conntrack --ctstate) NEW -j ACCEPT",
    }
    for chain, pattern in expected.items():
        found = rules.chain(lab.node, chain, variant)
        assert len(found) == 1 and re.fullmatch(pattern, found[0]), f"{chain}: {found}"


FOREIGN = """*nat
:KUBE-SERVICES - [0:0]
:MINE - [0:0]
-A PREROUTING -p tcp -m tcp --dport 4444 -j MINE
-A OUTPUT -d 10.2.0.9/32 -m comment --comment "with \\"quotes\\" and  spaces" -j MINE
-A POSTROUTING -s 10.1.0.0/24 -o eth9 -j MASQUERADE
-A MINE -p tcp -j RETURN
-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m udp --dport 80 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
-A INPUT -p tcp -m tcp --dport 4444 -j DROP
-A INPUT -m comment --comment "default/web:http" -j ACCEPT
-A FORWARD -i cbr0 -j ACCEPT
-A FORWARD -o cbr0 -j ACCEPT
COMMIT
"""


@pytest.fixture
def foreign_rules(lab, variant):
    """Rules that somebody else put into the node, before portald."""
    lab.node.run(f"iptables-{variant}-restore", stdin=FOREIGN)
    return rules.save(lab.node, variant)


def test_auto_takes_the_variant_that_the_host_uses(lab, web, foreign_rules, variant, portald):
    portald("--iptables-variant=auto")
    assert peers.fetch(lab.client, CLUSTER_IP) in PODS
    assert rules.ours(lab.node, variant)
    assert not any(rules.ours(lab.node, other) for other in rules.VARIANTS if other != variant)


def test_sigterm_removes_everything(lab, steered, variant):
    assert rules.ours(lab.node, variant)
    assert steered.terminate() == 0
    assert not rules.ours(lab.node, variant)
    assert peers.outcome(lab.node, "127.0.0.1:30080") == "refused"


def test_bind_address_is_where_traffic_is_sent_by_dnat(lab, web, portald, variant):
    portald(f"--iptables-variant={variant}", "--bind-address=10.1.0.1")
    port = rules.proxy_port(lab.node, "default/web:http", variant)
    for chain in ("KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST", "KUBE-NODEPORT-CONTAINER",
                  "KUBE-NODEPORT-HOST"):
        assert rules.chain(lab.node, chain, variant)[0].endswith(f"-j DNAT --to-destination 10.1.0.1:{port}")
    for namespace, at in ((lab.client, CLUSTER_IP), (lab.node, CLUSTER_IP), (lab.outside, "10.2.0.1:30080"),
                          (lab.node, "10.2.0.1:30080")):
        assert peers.fetch(namespace, at) in PODS
    assert peers.outcome(lab.node, f"127.0.0.1:{port}") == "refused", "listens elsewhere too"


def test_node_port_passes_an_input_chain_that_drops(lab, serve, web, portald, variant):
    iptables = f"iptables-{variant}"
    serve(lab.node, "10.2.0.1:7777", peers.identity("node"))
    assert peers.fetch(lab.outside, "10.2.0.1:7777") == "node"
    lab.node.run(iptables, "-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED",
                 "-j", "ACCEPT")
    lab.node.run(iptables, "-A", "INPUT", "-p", "tcp", "-j", "DROP")
    lab.node.run(iptables, "-P", "INPUT", "DROP")
    assert peers.outcome(lab.outside, "10.2.0.1:7777", timeout=0.5) == "hangs"
    portald(f"--iptables-variant={variant}")
    assert peers.fetch(lab.outside, "10.2.0.1:30080") in PODS
    assert peers.outcome(lab.outside, "10.2.0.1:7777", timeout=0.5) == "hangs"


@pytest.mark.needs("proxy ports")
def test_proxy_port_range_holds_the_proxy_ports(lab, web, portald):
    portald("--proxy-port-range=36000-36009")
    assert 36000 <= rules.proxy_port(lab.node, "default/web:http") <= 36009


def test_many_services_are_all_steered(lab, serve, manifests, portald):
    for pod in lab.pods:
        serve(pod, f"{pod.address}:8080", peers.identity(pod.name))
    names = [f"svc{n}" for n in range(200)]
    for n, name in enumerate(names):
        manifests.write(f"{name}.yaml", objects.service(name, f"10.96.1.{n + 1}"),
                        objects.endpoints(name, [lab.pods[n % 3].address]))
    portald()
    for n in range(200):
        assert peers.fetch(lab.client, f"10.96.1.{n + 1}:80") == f"pod{n % 3 + 1}"
