"""A change costs what it changes: what the tools, or the kernel's routes, are given for it."""
import re
import time

import app as app_module
import families
import pytest
import steered
import tools as tools_module
import wait

PODS = {"pod1", "pod2", "pod3"}
HALF = 500


class Given:
    """What a way of steering gives to its host."""

    def __init__(self, node, tools, log_path):
        self.node, self.tools, self.log_path = node, tools, log_path
        self.monitor = None
        if node.backend == "local":
            with open(log_path, "wb") as output:
                self.monitor = node.node.popen(["stdbuf", "-oL", "ip", "monitor", "route"], stdout=output)
            wait.until(self._listens, 15, "ip monitor to listen")
        self.seen = len(self._all())

    def _listens(self):
        self.node.node.ip("route add 192.0.2.1 dev lo", "route del 192.0.2.1 dev lo")
        return "192.0.2.1" in self.log_path.read_text()

    def _all(self):
        if self.node.backend != "local":
            return self.tools.given()
        lines = self.log_path.read_text().splitlines()
        return [line for line in lines if steered.ROUTE_MARK in f"{line} "]

    def more(self):
        """What has been given since this was asked last: texts for a tool, or routes."""
        given = self._all()
        fresh, self.seen = given[self.seen:], len(given)
        return fresh

    def close(self):
        if self.monitor:
            self.monitor.kill()
            self.monitor.wait()


@pytest.fixture
def tools(workdir):
    return tools_module.Tools(workdir / "tools")


@pytest.fixture
def node(lab, backend):
    return steered.Node(lab, backend, families.V4)


@pytest.fixture
def given(node, tools, workdir):
    made = Given(node, tools, workdir / "routes")
    yield made
    made.close()


def about(text):
    """The lines of a text for a tool that name something, without what stands around them."""
    return [line for line in text.splitlines()
            if line[0] not in "*:}#" and line != "COMMIT" and " element " not in line]


def only_about(texts, app, backend):
    """There is one, and all of it is about the one Service."""
    if backend == "local":
        return len(texts) == 1 and app.cluster_ips[0] in texts[0]
    return len(texts) == 1 and all(f"default/{app.name}:http" in line for line in about(texts[0]))


@pytest.mark.every_backend
def test_an_endpoint_changes_no_rule_and_a_service_only_its_own(
        app, serve, given, tools, backend, portald):
    app.serve(serve)
    app.node_port()
    app.write()
    running = portald(wrapper=tools.wrapper)
    assert app.names(app.lab.client, count=3) == PODS and given.more()
    app.use(1)
    running.change(app.write)
    assert app.names(app.lab.client, count=3) == {"pod1"}
    assert given.more() == []
    other = app_module.App(app.lab, app.family, app.directory, name="other", number=11)
    running.change(other.write)
    assert other.fetch(app.lab.client) in PODS
    wait.until(lambda: given.seen < len(given._all()), 15, "the change")
    texts = given.more()
    assert only_about(texts, other, backend), texts
    running.change(app.directory.remove, "other.yaml")
    wait.until(lambda: given.seen < len(given._all()), 15, "the change")
    texts = given.more()
    assert only_about(texts, other, backend), texts


@pytest.mark.every_backend
def test_a_thousand_services_at_once_are_one_transaction(
        lab, serve, manifests, given, tools, backend, portald):
    """One for each family with iptables, which has a tool for each. The time from the write to an answer has a
    limit for busy machines; on an idle one it is below a second."""
    services = [app_module.App(lab, family, manifests, name=f"{family.name}-{number}", number=number)
                for family in (families.V4, families.V6) for number in range(HALF)]
    for family in (families.V4, families.V6):
        serve(lab.pods[0], family.at(lab.pods[0], 8080), app_module.peers.identity("pod1"))
    for number, service in enumerate(services):
        service.cluster_ips = [service.family.many(number % HALF)]
        service.use(1)
    parts = [part for service in services for part in (service.service(), *service.slices())]
    running = portald(wrapper=tools.wrapper)
    given.more()
    since = len(running.log())
    manifests.write("many.yaml", *parts)
    begin = time.monotonic()
    for service in (services[-1], services[HALF - 1], services[0]):
        wait.until(lambda: service.outcome(lab.client, timeout=0.2) == "answered", 30, service.name)
    took = time.monotonic() - begin
    running.wait_log("plan in force", since)
    assert took < 15
    assert len(re.findall("plan in force", running.log()[since:])) == 1
    print(f"{backend}: {took:.3f} s from the write to an answer")
    if backend != "local":
        assert len(given.more()) == (1 if backend == "nftables" else 2)
