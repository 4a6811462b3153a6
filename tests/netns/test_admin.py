"""Health and metrics as probes, load balancers and Prometheus see them."""
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import daemon
import manifests as objects
import peers
import rules
import pytest
import scrape
import tools as tools_module
import udp
import wait

WEB = {"namespace": "default", "service": "web", "port": "http"}
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000 UTC m=\+\d+\.\d+")

# A name that the checker would have otherwise, but kube-proxy has it.
EXCUSED = re.compile(r"kubeproxy_sync_proxy_rules_iptables_total ")


def reachable(namespace, at):
    try:
        namespace.connect(at).close()
        return True
    except ConnectionRefusedError:
        return False


# ---- where it is served ----

def test_health_is_told_to_everybody_and_metrics_to_the_node_only(lab, web, portald):
    portald()
    for standpoint, at in ((lab.client, "10.1.0.1:10256"), (lab.client, "[fd00:1::1]:10256"),
                           (lab.outside, "10.2.0.1:10256"), (lab.node, "[::1]:10256")):
        for path in ("/healthz", "/livez", "/readyz"):
            assert scrape.get(standpoint, at, path)[0] == 200
    assert scrape.get(lab.node, "127.0.0.1:10249", "/healthz")[2] == "ok"
    assert scrape.get(lab.node, "127.0.0.1:10249", "/proxyMode")[2] == "userspace"
    assert not reachable(lab.client, "10.1.0.1:10249")


def test_the_body_of_healthz_is_kube_proxys(lab, web, portald):
    portald()
    _, headers, body = scrape.get(lab.node, "127.0.0.1:10256", "/healthz")
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Content-Type-Options"] == "nosniff"
    answer = json.loads(body)
    assert set(answer) == {"lastUpdated", "currentTime", "nodeEligible"} and answer["nodeEligible"] is True
    assert TIME.fullmatch(answer["lastUpdated"]) and TIME.fullmatch(answer["currentTime"])


def test_configz_is_the_configuration_in_force(lab, web, portald):
    portald("--iptables-sync-period=7s", "--nodeport-addresses=10.0.0.0/8,fd00::/16", "--conntrack-min=3",
            "--feature-gates=A=true,B=false")
    status, headers, body = scrape.get(lab.node, "127.0.0.1:10249", "/configz")
    config = json.loads(body)["kubeproxy.config.k8s.io"]
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert config["mode"] == "userspace" and config["bindAddress"] == "0.0.0.0"
    assert config["iptables"]["syncPeriod"] == "7s" and config["conntrack"]["min"] == 3
    assert config["nodePortAddresses"] == ["10.0.0.0/8", "fd00::/16"]
    assert config["featureGates"] == {"A": True, "B": False}
    assert config["healthzBindAddress"] == "0.0.0.0:10256" and config["bindAddressHardFail"] is False


@pytest.mark.parametrize("flags", [
    ("--healthz-bind-address=", "--metrics-bind-address="),
    ("--healthz-bind-address=0.0.0.0:0", "--metrics-bind-address=127.0.0.1:0"),
    ("--healthz-port=0", "--metrics-port=0")])
def test_an_empty_address_or_port_zero_is_none(lab, web, portald, flags):
    portald(*flags)
    assert not reachable(lab.node, "127.0.0.1:10256")
    assert not reachable(lab.node, "127.0.0.1:10249")


def test_addresses_are_as_the_flags_say(lab, web, portald):
    portald("--healthz-bind-address=127.0.0.1", "--healthz-port=9001", "--metrics-bind-address=[::]:9002")
    assert scrape.get(lab.node, "127.0.0.1:9001", "/healthz")[0] == 200
    assert not reachable(lab.client, "10.1.0.1:9001")
    for at in ("10.1.0.1:9002", "[fd00:1::1]:9002"):
        assert scrape.get(lab.client, at, "/metrics")[0] == 200, "a wildcard is of both families"


def test_what_is_no_nodes_daemon_serves_nothing_unasked(host, manifests, start_portald):
    manifests.web(["127.0.0.1"])
    start_portald(host, manifests.path, "--steering=none")
    assert not reachable(host, "127.0.0.1:10256") and not reachable(host, "127.0.0.1:10249")


def test_without_rules_it_serves_what_was_asked_for(host, manifests, start_portald):
    manifests.web(["127.0.0.1"])
    start_portald(host, manifests.path, "--steering=none", "--metrics-bind-address=127.0.0.1")
    assert not reachable(host, "127.0.0.1:10256")
    assert scrape.get(host, "127.0.0.1:10249", "/healthz")[0] == 200


def test_an_address_in_use_is_tried_again(lab, web, portald):
    with lab.node.listen("0.0.0.0:10256"):
        running = portald()
        running.wait_log("cannot serve")
    wait.until(lambda: reachable(lab.node, "127.0.0.1:10256"), 20, "the port that is free now")


def test_an_address_in_use_is_the_end_if_asked(lab, web, manifests, binary, workdir):
    with lab.node.listen("0.0.0.0:10256"):
        running = daemon.Portald(binary, lab.node, workdir / "log")
        running.spawn("-f", str(manifests.path), "--bind-address-hard-fail")
        assert running.exit_code() == 1
    assert "cannot serve" in running.log()
    running.finish()


@pytest.mark.needs("tools")
@pytest.mark.parametrize("change", ["added", "removed"])
def test_healthz_fails_while_rules_cannot_be_changed(lab, web, manifests, workdir, portald, change):
    tools = tools_module.Tools(workdir / "tools")

    def add():
        manifests.write("more.yaml", objects.service("more", "10.96.0.11"),
                        objects.endpoints("more", [lab.pods[0].address]))

    if change == "removed":
        add()
    portald("--iptables-sync-period=1s", wrapper=tools.wrapper)

    def status(path="/healthz"):
        return scrape.get(lab.node, "127.0.0.1:10256", path)[0]

    assert status() == 200
    tools.trouble("exit 4")
    if change == "added":
        add()
    else:
        manifests.remove("more.yaml")
    wait.until(lambda: status() == 503, 20, "/healthz to fail")
    assert status("/livez") == 503
    assert status("/readyz") == 200, "the last good state is in force"
    assert scrape.metrics(lab.node).sum("kubeproxy_sync_proxy_rules_iptables_restore_failures_total") >= 1
    tools.heal()
    wait.until(lambda: status() == 200, 45, "/healthz to be well again")


# ---- metrics ----

def test_metrics_are_valid(lab, web, portald):
    if not shutil.which("promtool"):
        pytest.skip("needs promtool (Debian: prometheus)")
    portald()
    peers.fetch(lab.client, "10.96.0.10:80")
    text = scrape.metrics(lab.node).text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, timeout=30,
                             capture_output=True, check=False)
    findings = [line for line in (checked.stdout + checked.stderr).splitlines() if not EXCUSED.match(line)]
    assert not findings


def test_every_metric_is_documented_and_none_besides(lab, web, portald):
    portald()
    families = scrape.metrics(lab.node).families()
    text = (Path(__file__).parents[2] / "doc/METRICS.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`((?:portald|kubeproxy|rest_client|kubernetes)_[a-z_]+)`", text))
    assert documented == {name for name in families if not name.startswith("process_")}


def test_connections_are_counted_by_service_and_backend(lab, web, portald):
    portald()
    for _ in range(6):
        peers.fetch(lab.client, "10.96.0.10:80")

    def settled():
        metrics = scrape.metrics(lab.node)
        return metrics if metrics.sum("portald_connections_active", **WEB) == 0 else None

    metrics = wait.until(settled, what="all connections to end")
    assert metrics.sum("portald_connections_total", **WEB) == 6
    assert metrics.sum("portald_sent_bytes_total", **WEB) == 6 * len("pod1")
    assert metrics.sum("portald_connect_duration_seconds_count", **WEB) == 6
    assert metrics.sum("portald_backends", **WEB) == 3
    for pod in lab.pods:
        backend = WEB | {"backend": f"{pod.address}:8080"}
        assert metrics.sum("portald_backend_connections_total", **backend) == 2
        assert metrics.sum("portald_backend_sent_bytes_total", **backend) == 2 * len("pod1")
    for name in ("control", "supervisor", "relay"):
        assert metrics.sum("portald_process_cpu_seconds_total", process=name) >= 0
        assert metrics.sum("portald_process_resident_memory_bytes", process=name) > 0
    assert metrics.sum("portald_process_open_fds", process="relay", index="0") > 0
    assert metrics.sum("portald_process_open_fds", process="supervisor") > 0
    assert metrics.sum("kubeproxy_sync_proxy_rules_last_timestamp_seconds") > 1e9
    for table in ("nat", "filter"):
        lines = [line for variant in rules.VARIANTS for line in rules.save(lab.node, variant, table=table)
                 if line.startswith("-A KUBE-")]
        assert metrics.sum("kubeproxy_sync_proxy_rules_iptables_total", table=table) == len(lines), lines


def test_a_failed_backend_is_counted_and_set_aside(lab, serve, manifests, portald):
    serve(lab.pods[0], f"{lab.pods[0].address}:8080", peers.identity("pod1"))
    manifests.web(pod.address for pod in lab.pods[:2])
    portald()
    for _ in range(4):
        assert peers.fetch(lab.client, "10.96.0.10:80") == "pod1"
    metrics = scrape.metrics(lab.node)
    dead = WEB | {"backend": f"{lab.pods[1].address}:8080"}
    assert metrics.sum("portald_failures_total", reason="refused", **WEB) >= 1
    assert metrics.sum("portald_connect_retries_total", **WEB) >= 1
    assert metrics.sum("portald_backends_set_aside", **WEB) == 1
    assert metrics.sum("portald_backend_set_aside", **dead) == 1
    assert metrics.sum("portald_backend_failures_total", **dead) >= 1


def test_udp_flows_and_datagrams_are_counted(lab, udp_app, serve_udp, portald):
    serve_udp(udp_app.lab.pods[0], udp_app.family.at(udp_app.lab.pods[0], 8080), udp.echo)
    udp_app.use(1)
    udp_app.write()
    portald()
    for _ in range(2):
        with lab.client.udp(udp_app.at()) as client:
            for text in (b"one", b"three"):
                client.send(text)
                assert client.recv(100) == text
    metrics = scrape.metrics(lab.node)
    flows = {"service": "web", "protocol": "UDP", "family": "IPv6" if udp_app.family.name == "v6" else "IPv4"}
    assert metrics.sum("portald_connections_total", **flows) == 2
    assert metrics.sum("portald_connections_active", **flows) <= 2
    for way in ("received", "sent"):
        assert metrics.sum(f"portald_{way}_datagrams_total", **flows) == 4
        assert metrics.sum(f"portald_{way}_bytes_total", **flows) == 16
        assert metrics.sum(f"portald_backend_{way}_bytes_total", **flows) == 16
    assert metrics.sum("portald_backend_connections_total", **flows) == 2


def test_who_comes_from_elsewhere_is_counted_as_refused(app, serve, portald):
    app.serve(serve)
    app.load_balancer(app.family.external_ip(6))
    elsewhere = "203.0.113.0/24" if app.family.name == "v4" else "2001:db8::/32"
    app.spec |= {"loadBalancerSourceRanges": [elsewhere]}
    app.write()
    portald()
    assert app.outcome(app.lab.outside, app.at(app.family.external_ip(6))) == "reset"
    metrics = scrape.metrics(app.lab.node)
    assert metrics.sum("portald_failures_total", service="web", reason="source_range") == 1


def test_counters_outlive_control(lab, web, portald):
    running = portald()
    for _ in range(3):
        peers.fetch(lab.client, "10.96.0.10:80")
    running.kill_role("control")

    def counted():
        try:
            metrics = scrape.metrics(lab.node)
        except ConnectionError:
            return False
        return (metrics.sum("portald_connections_total", **WEB) == 3
                and metrics.sum("portald_backend_connections_total", **WEB) == 3)

    wait.until(counted, 20, "the counters of before, at the same Service")


def test_many_series_are_left_out_in_steps(lab, web, manifests, portald):
    portald("--metrics-max-series=40")
    peers.fetch(lab.client, "10.96.0.10:80")
    metrics = scrape.metrics(lab.node)
    assert metrics.sum("portald_connections_total", **WEB) == 1
    assert metrics.sum("portald_backend_connections_total") is None
    assert metrics.sum("portald_metrics_omitted_series") > 0


def test_no_series_by_service_if_none_are_wanted(lab, web, portald):
    portald("--metrics-max-series=0")
    peers.fetch(lab.client, "10.96.0.10:80")
    metrics = scrape.metrics(lab.node)
    assert metrics.sum("portald_connections_total", **WEB) is None
    assert metrics.sum("portald_connections_total") == 1
    assert metrics.sum("portald_connect_duration_seconds_count") == 1


def test_a_stopped_relay_does_not_hold_up_the_answers(lab, web, portald):
    running = portald("--relays=1")
    pid = running.relays()["relay 0"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert scrape.get(lab.node, "127.0.0.1:10256", "/healthz")[0] == 200
        assert scrape.metrics(lab.node).sum("portald_connections_total", **WEB) == 0
    finally:
        os.kill(pid, signal.SIGCONT)


def test_connections_that_ask_for_health_leave_descriptors_for_the_work(lab, web, manifests, portald):
    running = portald(wrapper=["prlimit", "--nofile=300:300"])
    idle = [lab.outside.connect("10.2.0.1:10256") for _ in range(240)]
    running.wait_log("many connections ask for health")
    running.change(manifests.write, "more.yaml", objects.service("more", "10.96.0.11"),
                   objects.endpoints("more", ["10.1.0.11"]))
    assert peers.fetch(lab.client, "10.96.0.11:80") == "pod1"
    for connection in idle:
        connection.close()
    assert scrape.get(lab.node, "127.0.0.1:10256", "/healthz")[0] == 200


# ---- the dashboard ----

DASHBOARD = Path(__file__).parents[2] / "contrib/grafana/portald.json"
METRIC = re.compile(r"\b(?:portald|kubeproxy|rest_client|process|kubernetes)_[a-z_]+\b(?=[{ \[,)]|$)")


def dashboard_queries():
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']}: {target['expr']}"
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def test_the_dashboard_uses_only_metrics_that_there_are(lab, web, portald):
    portald()
    families = scrape.metrics(lab.node).families()
    exported = families | {f"{name}_{part}" for name in families for part in ("bucket", "sum", "count")}
    used = {query: METRIC.findall(query) for query in dashboard_queries()}
    assert len(used) > 20 and all(used.values())
    missing = {query: set(names) - exported for query, names in used.items() if set(names) - exported}
    assert not missing


def test_the_dashboards_queries_are_valid(workdir):
    if not shutil.which("promtool"):
        pytest.skip("needs promtool (Debian: prometheus)")
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    records = [{"record": f"query:{panel['id']}:{target['refId']}",
                "expr": target["expr"].replace("$__rate_interval", "5m")}
               for panel in board["panels"] for target in panel.get("targets", [])]
    path = workdir / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": records}]}), encoding="utf-8")
    checked = subprocess.run(["promtool", "check", "rules", str(path)], text=True, timeout=30,
                             capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
