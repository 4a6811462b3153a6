"""IPv6 goes through ip6tables as IPv4 through iptables: same chains, same rules, same care for others'."""
import re

import app as app_module
import families
import pytest
import rules

PODS = {"pod1", "pod2", "pod3"}


@pytest.fixture
def web6(lab, manifests, serve):
    made = app_module.App(lab, families.V6, manifests)
    made.serve(serve)
    made.node_port()
    made.write()
    return made


@pytest.fixture
def steered(web6, portald, variant):
    return portald(f"--iptables-variant={variant}")


def test_rules_have_the_classic_form_in_ipv6(lab, web6, steered, variant):
    port = rules.proxy_port(lab.node, web6.key(), variant, "v6")
    comment = r'-m comment --comment "default/web:http" -m tcp'
    to_host = rf"-j (?:REDIRECT --to-ports {port}|DNAT --to-destination \S+:{port})"
    expected = {
        "KUBE-PORTALS-CONTAINER":
            rf"-d fd00:96::10/128 -p tcp {comment} --dport 80 -j REDIRECT --to-ports {port}",
        "KUBE-PORTALS-HOST": rf"-d fd00:96::10/128 -p tcp {comment} --dport 80 {to_host}",
        "KUBE-NODEPORT-CONTAINER": rf"-p tcp {comment} --dport 30080 -j REDIRECT --to-ports {port}",
        "KUBE-NODEPORT-HOST": rf"-p tcp {comment} --dport 30080 {to_host}",
        "KUBE-NODEPORT-NON-LOCAL":
            rf"-p tcp {comment} --dport {port} -m (?:state --state|conntrack --ctstate) NEW -j ACCEPT",
    }
    for chain, pattern in expected.items():
        found = rules.chain(lab.node, chain, variant, "v6")
        assert len(found) == 1 and re.fullmatch(pattern, found[0]), f"{chain}: {found}"
        assert not rules.chain(lab.node, chain, variant, "v4"), "an IPv6 Service has a rule in iptables"


def test_a_service_of_one_family_works_where_the_other_has_no_firewall(lab, manifests, serve, portald):
    """IPv4 only, as before IPv6 was known: no rule of ours is in ip6tables that anything goes to."""
    made = app_module.App(lab, families.V4, manifests)
    made.serve(serve)
    made.write()
    portald()
    assert made.names(lab.client, count=3) == PODS
    assert not rules.about(lab.node, made.key(), made.cluster_ips, "v6")
