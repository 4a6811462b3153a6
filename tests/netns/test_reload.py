"""Manifests that change while the daemon runs, and what is wrong with them."""
import json
import os
import socket
import threading
import time

import daemon as daemon_module
import manifests as objects
import peers
import pytest
import rules
import wait

SERVICE = "10.96.0.10:80"
MORE = "10.96.0.11:80"
BROKEN = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n spec: [\n"
BAD_SERVICE = """apiVersion: v1
kind: Service
metadata:
  name: myapp-NodePort
spec:
  ports:
  - port: 80
"""


def add_more(manifests):
    manifests.write("more.yaml", objects.service("more", "10.96.0.11"),
                    objects.endpoints("more", ["10.1.0.11"]))


def names(lab, count=6, at=SERVICE):
    return {peers.fetch(lab.client, at) for _ in range(count)}


# ---- changes ----

def test_added_service_appears(lab, web, manifests, portald):
    running = portald()
    running.change(add_more, manifests)
    assert peers.fetch(lab.client, MORE) == "pod1"


def test_endpoint_removed_and_added_takes_effect(lab, web, manifests, portald):
    running = portald()
    running.change(manifests.web, ["10.1.0.11", "10.1.0.12"])
    assert names(lab) == {"pod1", "pod2"}
    running.change(manifests.web, ["10.1.0.13", "10.1.0.12"])
    assert names(lab) == {"pod3", "pod2"}


def test_connection_to_a_removed_endpoint_finishes(lab, serve, manifests, portald):
    serve(lab.pods[0], "10.1.0.11:8080", peers.echo)
    serve(lab.pods[1], "10.1.0.12:8080", peers.identity("pod2"))
    manifests.web(["10.1.0.11"])
    running = portald()
    with lab.client.connect(SERVICE) as connection:
        peers.ping(connection)
        running.change(manifests.web, ["10.1.0.12"])
        assert names(lab) == {"pod2"}
        peers.ping(connection)


def test_removed_service_closes_and_its_connection_finishes(lab, serve, manifests, portald):
    serve(lab.pods[0], "10.1.0.11:8080", peers.echo)
    manifests.web(["10.1.0.11"])
    add_more(manifests)
    running = portald()
    port = rules.proxy_port(lab.node, "default/web:http")
    with lab.client.connect(SERVICE) as connection:
        peers.ping(connection)
        running.change(manifests.remove, "web.yaml")
        if port:
            wait.until(lambda: peers.outcome(lab.node, f"127.0.0.1:{port}") == "refused", 5,
                       "the listener to close")
        assert not rules.about(lab.node, "default/web:http")
        assert not rules.listeners(lab.node, ["10.96.0.10"])
        peers.ping(connection)
        connection.shutdown(socket.SHUT_WR)
        assert peers.read_all(connection) == b""


def test_changed_cluster_ip_and_node_port_move(lab, web, manifests, portald, becomes):
    running = portald()
    running.change(manifests.write, "web.yaml", objects.service("web", "10.96.0.99", node_port=30099),
                   objects.endpoints("web", ["10.1.0.11"]))
    assert peers.fetch(lab.client, "10.96.0.99:80") == "pod1"
    assert peers.fetch(lab.outside, "10.2.0.1:30099") == "pod1"
    becomes(lambda: peers.outcome(lab.node, "127.0.0.1:30080"), "refused")


@pytest.mark.slow
def test_twenty_reloads_under_load_touch_no_other_service(lab, serve, web, manifests, portald):
    serve(lab.pods[0], "10.1.0.11:9000", peers.echo)
    manifests.write("echo.yaml", objects.service("echo", "10.96.0.12", target_port=9000),
                    objects.endpoints("echo", ["10.1.0.11"], port=9000))
    running = portald()
    ports = [rules.proxy_port(lab.node, f"default/{name}:http") for name in ("web", "echo")]
    stop, failures, count = threading.Event(), [], []

    def load():
        while not stop.is_set():
            try:
                count.append(peers.fetch(lab.client, SERVICE, timeout=5))
            except OSError as error:
                failures.append(error)

    loads = [peers.in_thread(load) for _ in range(2)]
    with lab.client.connect("10.96.0.12:80") as connection:
        for _ in range(10):
            running.change(add_more, manifests)
            peers.ping(connection)
            running.change(manifests.remove, "more.yaml")
            peers.ping(connection)
    stop.set()
    for finish in loads:
        finish()
    assert not failures and "" not in count, f"{failures}, {count.count('')} empty of {len(count)}"
    assert len(count) > 100
    assert [rules.proxy_port(lab.node, f"default/{name}:http") for name in ("web", "echo")] == ports


def test_untouched_rules_stay_byte_for_byte(lab, web, manifests, portald):
    running = portald()
    before = rules.in_force(lab.node)
    running.change(add_more, manifests)
    assert rules.in_force(lab.node) != before
    running.change(manifests.remove, "more.yaml")
    assert rules.in_force(lab.node) == before


def test_file_written_in_place_is_seen(lab, web, manifests, portald):
    running = portald()
    text = objects.yaml(objects.service("more", "10.96.0.11"), objects.endpoints("more", ["10.1.0.11"]))
    running.change((manifests.path / "more.yaml").write_text, text)
    assert peers.fetch(lab.client, MORE) == "pod1"


# ---- where manifests come from ----

def write_generation(directory, name, text):
    """Puts web.yaml into a ConfigMap volume as the kubelet does it: ..data is a link that is swapped."""
    (directory / name).mkdir()
    (directory / name).chmod(0o755)
    (directory / name / "web.yaml").write_text(text, encoding="utf-8")
    os.symlink(name, directory / "..data_tmp")
    os.rename(directory / "..data_tmp", directory / "..data")


@pytest.mark.slow
def test_files_written_one_after_another_are_few_reloads_but_never_wait_for_the_end(lab, web, manifests, portald):
    running = portald()
    since = len(running.log())
    begun = time.monotonic()
    for number in range(80):
        manifests.write(f"more{number}.yaml", objects.service(f"more{number}", f"10.96.1.{number + 1}"),
                        objects.endpoints(f"more{number}", ["10.1.0.11"]))
        time.sleep(0.025)
    took, loads = time.monotonic() - begun, running.log()[since:].count("manifests loaded")
    assert took > 2 and loads >= 1, "what was written first had to wait for what was written last"
    assert loads <= took * 10, f"{loads} reloads in {took} s"
    wait.until(lambda: peers.outcome(lab.client, "10.96.1.80:80", timeout=1) == "answered", what="the last one")


def test_config_map_symlink_swap_is_seen(lab, web, workdir, portald):
    directory = workdir / "volume"
    directory.mkdir()
    directory.chmod(0o755)

    def web_at(address):
        return objects.yaml(objects.service("web", "10.96.0.10"), objects.endpoints("web", [address]))

    write_generation(directory, "..2024_01", web_at("10.1.0.11"))
    os.symlink("..data/web.yaml", directory / "web.yaml")
    running = portald(path=directory)
    assert names(lab) == {"pod1"}
    running.change(write_generation, directory, "..2024_02", web_at("10.1.0.12"))
    assert names(lab) == {"pod2"}


def test_single_file_replaced_by_rename_is_seen(lab, web, manifests, portald):
    running = portald(path=manifests.path / "web.yaml")
    for address, name in (("10.1.0.11", "pod1"), ("10.1.0.12", "pod2")):
        running.change(manifests.web, [address])
        assert names(lab) == {name}


def test_several_paths_and_json_make_one_set(lab, web, manifests, workdir, portald):
    more = workdir / "more.json"
    more.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [
        objects.service("more", "10.96.0.11"), objects.endpoints("more", ["10.1.0.12"])]}), encoding="utf-8")
    portald("--manifests", str(more))
    assert names(lab) == {"pod1", "pod2", "pod3"} and names(lab, at=MORE) == {"pod2"}


def test_standard_input_is_read(lab, web, manifests, portald):
    with open(manifests.path / "web.yaml", "rb") as text:
        portald(path="-", stdin=text)
    assert names(lab) == {"pod1", "pod2", "pod3"}


def test_directory_that_only_root_can_read_works(lab, web, manifests, portald):
    (manifests.path / "web.yaml").chmod(0o600)
    manifests.path.chmod(0o700)
    manifests.path.parent.chmod(0o700)
    running = portald()
    assert names(lab) == {"pod1", "pod2", "pod3"}
    running.change(add_more, manifests)
    assert peers.fetch(lab.client, MORE) == "pod1"


# ---- what is wrong with them ----

def test_broken_yaml_keeps_the_last_good_state_and_says_where(lab, web, manifests, portald):
    running = portald()
    before = rules.in_force(lab.node)
    since = len(running.log())
    manifests.write_text("web.yaml", BROKEN)
    running.wait_log(r"web\.yaml:\d+:\d+: error: ", since)
    assert rules.in_force(lab.node) == before
    assert names(lab) == {"pod1", "pod2", "pod3"}
    running.change(manifests.web, ["10.1.0.12"])
    assert names(lab) == {"pod2"}


def test_bad_object_does_not_take_down_others(lab, web, manifests, portald):
    manifests.write_text("bad.yaml", BAD_SERVICE)
    running = portald()
    assert names(lab) == {"pod1", "pod2", "pod3"}
    running.wait_log(r"bad\.yaml:4:\d+: error: .*myapp-NodePort")


def test_strict_refuses_to_start_with_a_bad_object(lab, web, manifests, binary, workdir):
    manifests.write_text("bad.yaml", BAD_SERVICE)
    running = daemon_module.Portald(binary, lab.node, workdir / "log")
    running.spawn("-f", str(manifests.path), "--strict", "--iptables-variant=nft")
    assert running.exit_code() == 1
    assert "bad.yaml:4:" in running.log()
    running.finish()


def test_unknown_field_is_reported_with_the_one_meant(lab, web, manifests, portald):
    manifests.write_text("typo.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: typo}\nspec:\n"
                         "  type: NodePort\n  ports:\n  - port: 80\n    nodeport: 30099\n")
    portald().wait_log(r"typo\.yaml:8:\d+: .*nodeport.*nodePort")
