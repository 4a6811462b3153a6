"""--steering=none: no privilege and no rules; a table tells where each Service port listens."""
import re

import daemon
import manifests as objects
import peers
import pytest
import rules
import wait


@pytest.fixture
def unsteered(host, serve, manifests, start_portald):
    serve(host, "127.0.0.1:8080", peers.identity("laptop"))
    manifests.web(["127.0.0.1"])
    return start_portald(host, manifests.path, "--steering=none", wrapper=daemon.NOBODY)


def local_address(running, service, port=80):
    """Where the table says that the Service port listens; None if it doesn't say."""
    found = re.findall(rf"(?m)^default/{service}\S*\s+{port}\S*\s+(\S+)", running.output())
    return found[-1] if found else None


def test_table_tells_where_each_service_is_reached(host, unsteered):
    at = wait.until(lambda: local_address(unsteered, "web"), what="the table")
    assert "SERVICE" in unsteered.output() and "LOCAL ADDRESS" in unsteered.output()
    assert at.startswith("127.0.0.1:")
    assert peers.fetch(host, at) == "laptop"


def test_no_rule_is_made(host, unsteered):
    for variant in rules.VARIANTS:
        assert not rules.ours(host, variant)


def test_added_service_is_listed_and_works(host, manifests, unsteered):
    at = wait.until(lambda: local_address(unsteered, "web"), what="the table")
    unsteered.change(manifests.write, "more.yaml", objects.service("more"),
                     objects.endpoints("more", ["127.0.0.1"]))
    more = wait.until(lambda: local_address(unsteered, "more"), what="the new table")
    assert peers.fetch(host, more) == "laptop"
    assert local_address(unsteered, "web") == at


def test_steering_by_iptables_without_root_says_what_to_do(host, manifests, binary, workdir):
    manifests.web(["127.0.0.1"])
    running = daemon.Portald(binary, host, workdir / "log", wrapper=daemon.NOBODY)
    running.spawn("-f", str(manifests.path))
    assert running.exit_code() == 1
    assert "portald run" in running.log() or "--steering=none" in running.log()
    running.finish()
