"""The DaemonSet's container: portald with exactly the privilege that contrib/kubernetes gives it."""
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import daemon
import manifests as objects
import peers
import processes
import pytest
import rules
import scrape
import wait

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from fake_apiserver import FakeApiServer  # noqa: E402

yaml = pytest.importorskip("yaml", reason="needs a YAML reader (Debian: python3-yaml)")

DAEMON_SET = Path(__file__).parents[2] / "contrib/kubernetes/daemonset.yaml"
# Every file system is read-only but for the kernel's own and the lock; WRITABLE is what the pod mounts.
CONTAINER = """
set -e
touch /run/xtables.lock
mount --bind /run/xtables.lock /run/xtables.lock
mkdir -p /run/portald
mount -t tmpfs run /run/portald
findmnt -rno TARGET,FSTYPE | while read -r target type; do
    case $type:$target in
    proc:*|sysfs:*|cgroup*:*|devpts:*|mqueue:*|*:/run/xtables.lock|*:/run/portald) ;;
    *) mount -o remount,bind,ro "$target" ;;
    esac
done
mount --bind -o ro /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
exec setpriv --no-new-privs --bounding-set "$BOUNDS" --inh-caps=-all -- "$@"
"""


def security_context():
    pod = yaml.safe_load(DAEMON_SET.read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    return pod["containers"][0]["securityContext"]


@pytest.fixture
def container():
    """A command that runs another one as the container's first process would run."""
    names = [name.lower() for name in security_context()["capabilities"]["add"]]
    bounds = ",".join(["-all", *(f"+{name}" for name in names)])
    made = ["env", f"BOUNDS={bounds}", "unshare", "--mount", "--propagation", "private",
            "sh", "-c", CONTAINER, "sh"]
    probe = subprocess.run([*made, "touch", "/run/of-test", "/root/of-test"], capture_output=True, text=True,
                           check=False, timeout=30)
    assert probe.returncode != 0 and probe.stderr.count("Read-only file system") == 2, probe.stderr
    return made


def test_steers_and_relays_and_cleans_up(lab, web, variant, container, portald):
    running = portald(f"--iptables-variant={variant}", wrapper=container)
    with lab.client.connect("10.96.0.10:80") as connection:
        assert connection.recv(100)
    with lab.outside.connect("10.2.0.1:30080") as connection:
        assert connection.recv(100)
    assert running.terminate() == 0
    assert rules.state(lab.node) == running.before


def test_control_and_relays_are_confined_as_on_a_node(lab, web, container, portald):
    roles = portald(wrapper=container).roles()
    for role in ("control", "relay 0"):
        status = processes.status(roles[role])
        assert "0" not in status["Uid"].split(), role
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == 0, f"{role}: {kind} {status[kind]}"


def test_a_killed_relay_and_a_killed_control_come_back(lab, web, manifests, container, portald):
    running = portald("--relays=1", wrapper=container)
    running.kill_role("relay 0")
    since = len(running.log())
    running.kill_role("control")
    running.wait_log(r'msg="plan in force"', since, 30)
    running.change(add_service, manifests)
    with lab.client.connect("10.96.0.11:80") as connection:
        assert connection.recv(100)


def test_an_external_ip_of_the_node_is_taken_at_a_low_port(lab, web, manifests, container, portald):
    """Claiming it takes a capability of its own."""
    service = objects.service("low", "10.96.0.12")
    service["spec"]["externalIPs"] = ["10.2.0.1"]
    manifests.write("low.yaml", service, objects.endpoints("low", ["10.1.0.11"]))
    portald(wrapper=container)
    with lab.outside.connect("10.2.0.1:80") as connection:
        assert connection.recv(100)


def add_service(manifests):
    manifests.write("more.yaml", objects.service("more", "10.96.0.11"),
                    objects.endpoints("more", ["10.1.0.11"]))


def test_a_relay_that_hangs_is_ended_at_the_end(lab, web, container, portald):
    """The starter needs its capability for that: a relay has another uid."""
    running = portald("--relays=1", wrapper=container)
    relay = running.roles()["relay 0"]
    os.kill(relay, signal.SIGSTOP)
    assert running.terminate() == 0
    wait.until(lambda: not os.path.exists(f"/proc/{relay}"), 15, "the relay to be ended")


# ---- with the ConfigMap and the pod's own token ----

@pytest.fixture
def cluster(lab, workdir):
    with lab.node.entered():
        fake = FakeApiServer(str(workdir)).start()
    fake.put(objects.service("web", "10.96.0.10"))
    fake.put(objects.endpoints("web", [pod.address for pod in lab.pods]))
    yield fake
    fake.stop()


def write_config_map(cluster, directory):
    """The ConfigMap's files and the ServiceAccount's, at paths of the test; returns config.conf's path."""
    data = yaml.safe_load((DAEMON_SET.parent / "configmap.yaml").read_text(encoding="utf-8"))["data"]
    for name, text in data.items():
        text = text.replace("/var/run/secrets/kubernetes.io/serviceaccount", str(directory))
        text = text.replace("/etc/portald", str(directory))
        text = text.replace("https://api.cluster.example:6443", cluster.url)
        (directory / name).write_text(text, encoding="utf-8")
    shutil.copy(directory / "pki/ca.crt", directory / "ca.crt")
    token = directory / "token"
    token.write_text("token-1", encoding="ascii")
    token.chmod(0o600)  # as the kubelet makes it: root's alone
    return directory / "config.conf"


def test_config_map_and_token_are_all_it_takes(lab, cluster, serve, container, binary, workdir):
    for pod in lab.pods:
        serve(pod, f"{pod.address}:8080", peers.identity(pod.name))
    running = daemon.Portald(binary, lab.node, workdir / "log", wrapper=container)
    running.start(f"--config={write_config_map(cluster, workdir)}", "--hostname-override=node-a")
    try:
        assert {peers.fetch(lab.client, "10.96.0.10:80") for _ in range(6)} == {"pod1", "pod2", "pod3"}
        for path in ("/livez", "/readyz", "/healthz"):
            assert scrape.get(lab.node, "127.0.0.1:10256", path)[0] == 200, path
    finally:
        running.finish()
