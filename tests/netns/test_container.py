"""The DaemonSet's container: portald with exactly the privilege that contrib/kubernetes gives it."""
import os
import signal
import subprocess
from pathlib import Path

import manifests as objects
import processes
import pytest
import rules
import wait

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
    manifests.write("more.yaml", objects.service("more", "10.96.0.11"), objects.endpoints("more", ["10.1.0.11"]))


def test_a_relay_that_hangs_is_ended_at_the_end(lab, web, container, portald):
    """The starter needs its capability for that: a relay has another uid."""
    running = portald("--relays=1", wrapper=container)
    relay = running.roles()["relay 0"]
    os.kill(relay, signal.SIGSTOP)
    assert running.terminate() == 0
    wait.until(lambda: not os.path.exists(f"/proc/{relay}"), 15, "the relay to be ended")
