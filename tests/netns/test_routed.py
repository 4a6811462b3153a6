"""Pod networks: pods on a bridge, and pods on routed links whose end in the node has no IPv4 address, which
nothing can be redirected to."""
import pytest
import wait

PODS = {"pod1", "pod2", "pod3"}


@pytest.fixture
def served(protocol, app, udp_app, serve, serve_udp):
    """The Service over either protocol, with a NodePort, and its backends."""
    made = app if protocol == "tcp" else udp_app
    made.serve(serve if protocol == "tcp" else serve_udp)
    made.node_port()
    made.write()
    return made


@pytest.mark.every_backend
def test_bridged_and_routed_pods_reach_a_service(lab, served, portald):
    routed = lab.add_routed_pod()
    portald()
    for pod in (routed, lab.client, lab.outside, lab.node):
        for at in (served.at(), served.node_at()):
            assert served.fetch(pod, at) in PODS, f"{pod.name} to {at}"


def test_the_first_routed_pod_may_come_when_the_daemon_runs(lab, served, portald):
    portald()
    assert served.fetch(lab.client) in PODS
    routed = lab.add_routed_pod()
    wait.until(lambda: served.outcome(routed, timeout=1) == "answered", what="the Service at the routed pod")
    assert served.fetch(lab.client) in PODS
    lab.node.ip("link del routed")
