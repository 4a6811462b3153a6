"""Health and metrics of a daemon that has its Services from an API server."""
import datetime
import sys
import time
from pathlib import Path

import daemon
import manifests as objects
import peers
import pytest
import scrape
import wait

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from fake_apiserver import FakeApiServer  # noqa: E402

HERE = "node-a"


@pytest.fixture
def cluster(lab, workdir):
    with lab.node.entered():
        fake = FakeApiServer(str(workdir)).start()
    fake.put(objects.service("web", "10.96.0.10"))
    fake.put(objects.endpoints("web", [lab.pods[0].address]))
    fake.put(node())
    yield fake
    fake.stop()


def node(**spec):
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": HERE}, "spec": spec}


@pytest.fixture
def running(lab, cluster, serve, binary, workdir):
    for pod in lab.pods:
        serve(pod, f"{pod.address}:8080", peers.identity(pod.name))
    made = daemon.Portald(binary, lab.node, workdir / "log")
    made.start("--kubeconfig", cluster.kubeconfig(), f"--hostname-override={HERE}")
    yield made
    made.finish()


def triggered(slice_, seconds_ago=0.0):
    """The slice with the time of its change, as the controller writes it."""
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds_ago)
    slice_["metadata"]["annotations"] = {
        "endpoints.kubernetes.io/last-change-trigger-time": then.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    return slice_


def test_a_node_about_to_go_is_not_healthy_but_alive(lab, cluster, running):
    def status(path):
        return scrape.get(lab.node, "127.0.0.1:10256", path)[0]

    assert status("/healthz") == 200
    cluster.put(node(taints=[{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]))
    wait.until(lambda: status("/healthz") == 503, 15, "/healthz to fail")
    assert status("/livez") == 200
    assert '"nodeEligible": false' in scrape.get(lab.node, "127.0.0.1:10256", "/healthz")[2]
    cluster.put(node())
    wait.until(lambda: status("/healthz") == 200, 15, "/healthz to be well again")
    assert peers.fetch(lab.client, "10.96.0.10:80") == "pod1"


def test_changes_and_requests_are_counted(lab, cluster, running):
    before = scrape.metrics(lab.node)
    assert before.sum("rest_client_requests_total", code="200", method="GET") >= 5, "lists and watches"
    assert before.sum("kubeproxy_network_programming_duration_seconds_count") == 0
    time.sleep(0.4)  # what was triggered before the process was there doesn't count
    cluster.put(triggered(objects.endpoints("web", [pod.address for pod in lab.pods[:2]]), seconds_ago=0.3))
    cluster.put(objects.service("more", "10.96.0.11"))

    def grown(name, by=1):
        return scrape.metrics(lab.node).sum(name) >= before.sum(name) + by

    for kind in ("service", "endpoint"):
        wait.until(lambda: grown(f"kubeproxy_sync_proxy_rules_{kind}_changes_total"), 15, f"{kind} changes")
        wait.until(lambda: scrape.metrics(lab.node).sum(
            f"kubeproxy_sync_proxy_rules_{kind}_changes_pending") == 0, 15, "nothing to be pending")
    wait.until(lambda: grown("kubeproxy_network_programming_duration_seconds_count"), 15, "the change's time")
    after = scrape.metrics(lab.node)
    assert after.sum("kubeproxy_network_programming_duration_seconds_count") == 1
    assert 0.3 <= after.sum("kubeproxy_network_programming_duration_seconds_sum") < 15


def test_health_does_not_depend_on_the_api_server(lab, cluster, running):
    cluster.fault("status", status=503)
    cluster.hang_up()
    wait.until(lambda: scrape.metrics(lab.node).sum("rest_client_requests_total", code="503"), 20,
               "a failed request to be counted")
    assert scrape.get(lab.node, "127.0.0.1:10256", "/healthz")[0] == 200
    assert peers.fetch(lab.client, "10.96.0.10:80") == "pod1"
