"""What is particular to the ways of steering: choosing one, changing it, and what each leaves alone."""
import app as app_module
import conftest
import lab as lab_module
import manifests as objects
import peers
import pytest
import rules
import steered
import wait

CLUSTER_IP = "10.96.0.10:80"
PODS = {"pod1", "pod2", "pod3"}


def tables(namespace):
    return namespace.run("nft", "list", "ruleset")


def is_served(lab):
    return all(peers.outcome(namespace, at, timeout=2) == "answered" for namespace in (lab.client, lab.node)
               for at in (CLUSTER_IP, "10.2.0.1:30080"))


# ---- all of them ----

@pytest.mark.every_backend
def test_kept_rules_stay_until_cleanup_and_a_new_start_takes_them(app, serve, binary, portald, backend):
    app.serve(serve)
    app.node_port()
    app.write()
    node = steered.Node(app.lab, backend, app.family)
    clean = rules.state(app.lab.node)
    running = portald("--keep-rules")
    in_force = node.ours()
    assert in_force and running.terminate() == 0
    assert node.ours() == in_force
    again = portald()
    again.before = clean
    assert node.ours() == in_force and app.names(app.lab.client, count=3) == PODS
    assert again.terminate() == 0 and not node.ours()
    portald("--keep-rules").terminate()
    for command in ("cleanup", "--cleanup"):
        app.lab.node.run(str(binary), command)
        assert rules.state(app.lab.node) == clean


@pytest.mark.every_backend
def test_a_service_works_in_a_bare_namespace(host, serve, manifests, start_portald, backend, family):
    """The endpoints are on loopback, which the API would refuse and a laptop has nothing else."""
    made = app_module.App(None, family, manifests)
    made.endpoints = [objects.endpoint(family.loopback)]
    made.node_port()
    made.write()
    serve(host, lab_module.join(family.loopback, 8080), peers.identity("laptop"))
    start_portald(host, manifests.path, *conftest.BACKENDS[backend])
    assert peers.fetch(host, made.at()) == "laptop"
    assert peers.fetch(host, made.node_at(family.loopback)) == "laptop"


# ---- local ----

def test_a_removed_address_lingers_until_its_last_connection_has_ended(lab, serve, family, manifests, portald):
    kept, removed = (app_module.App(lab, family, manifests, name=name, number=number)
                     for name, number in (("kept", 9), ("removed", 10)))
    removed.serve(serve, peers.identity_and_hold)
    for app in (kept, removed):
        app.write()
    running = portald("--steering=local", "--iptables-sync-period=200ms")
    connections = [peers.hold_open(namespace, removed.at())[0] for namespace in removed.standpoints()]
    running.change(manifests.remove, "removed.yaml")
    address = removed.cluster_ips[0]
    for namespace in removed.standpoints():  # the relays close a moment later
        wait.until(lambda: removed.outcome(namespace) == "refused", what="new connections to be refused")
    assert address in rules.local_routes(lab.node, family.name)
    if family.name == "v4":  # iproute2 can't say which of IPv6's local routes is meant
        lab.node.run("ip", "route", "del", "local", address, "table", "local")
        running.wait_log("somebody else had changed rules of ours")
        assert address in rules.local_routes(lab.node, family.name)
    since = len(running.log())
    while connections:
        for connection in connections:
            peers.ping(connection)
        assert address in rules.local_routes(lab.node, family.name)
        connections.pop().close()
    wait.until(lambda: rules.local_routes(lab.node, family.name) == kept.cluster_ips, 20, "the route to go")
    assert "somebody else" not in running.log()[since:]


def test_a_lingering_address_can_be_a_services_again(lab, web, manifests, portald):
    text = (manifests.path / "web.yaml").read_text(encoding="utf-8")
    running = portald("--steering=local")
    with lab.client.connect(CLUSTER_IP):
        running.change(manifests.remove, "web.yaml")
        running.change(manifests.write_text, "web.yaml", text)
        assert is_served(lab)
    assert is_served(lab)


def test_a_start_after_a_kill_keeps_no_address_that_nobody_uses(lab, web, manifests, portald):
    killed = portald("--steering=local")
    with lab.client.connect(CLUSTER_IP):
        killed.kill_all()
        manifests.remove("web.yaml")
        manifests.write("other.yaml", objects.service("other", "10.96.0.30"))
        portald("--steering=local").before = killed.before
        wait.until(lambda: rules.local_routes(lab.node) == ["10.96.0.30"], what="the unused route to go")


def test_no_connection_is_tracked_and_no_rule_made(lab, web, portald):
    before = tables(lab.node)
    portald("--steering=local")
    assert is_served(lab)
    assert tables(lab.node) == before
    assert "10.96.0.10" not in lab.node.run("cat", "/proc/net/nf_conntrack", check=False)


def test_a_port_that_the_node_has_everywhere_is_left_to_it_until_it_is_free(lab, serve, web, portald):
    foreign = serve(lab.node, "0.0.0.0:80", peers.identity_and_hold("foreign"))
    running = portald("--steering=local")
    running.wait_log("another process has the port.*10.96.0.10:80")
    assert peers.outcome(lab.outside, "10.2.0.1:30080") == "answered"
    connection, name = peers.hold_open(lab.outside, "10.2.0.1:80")
    assert name == "foreign"
    connection.close()
    foreign.close()
    running.wait_log("the port is free now", timeout=20)
    wait.until(lambda: peers.outcome(lab.client, CLUSTER_IP, timeout=2) == "answered", 15, "the ClusterIP")


def test_node_ports_and_services_with_the_same_number_are_apart(lab, serve, web, manifests, portald):
    serve(lab.pods[0], "10.1.0.11:9090", peers.identity("other"))
    manifests.write("other.yaml", objects.service("other", "10.96.0.30", port=30080, target_port=9090),
                    objects.endpoints("other", ["10.1.0.11"], port=9090))
    portald("--steering=local")
    assert peers.fetch(lab.client, "10.96.0.30:30080") == "other"
    assert peers.fetch(lab.outside, "10.2.0.1:30080") in PODS
    assert peers.outcome(lab.client, "10.96.0.10:30080", timeout=2) == "refused"


# ---- choosing ----

def test_auto_says_what_it_takes_and_why(lab, web, portald):
    running = portald("--steering=auto")
    running.wait_log(r'auto takes this" steering=nftables because="\S+')
    assert is_served(lab)
