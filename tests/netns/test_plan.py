"""portald plan and the rules it prints, as other programs take them. The text itself has golden tests."""
import json
import re

import manifests as objects
import peers
import pytest


@pytest.fixture
def plan(host, binary, manifests):
    """plan(*flags) is what `portald plan` prints of two Services."""
    manifests.web(["10.1.0.11", "10.1.0.12"])
    manifests.write("empty.yaml", objects.service("empty", "10.96.0.12"))

    def run(*flags):
        # What the plan leaves out is said on standard error; the plan alone is on standard output.
        return host.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c",
                        'exec "$@" 2>/dev/null', "sh", str(binary), "plan", "-f", str(manifests.path), *flags)

    return run


def test_table_names_services_portals_and_backends(plan):
    text = plan()
    for part in ("default/web:http", "10.96.0.10:80", "30080", "10.1.0.11:8080", "10.1.0.12:8080",
                 "default/empty:http"):
        assert part in text


def test_json_parses_and_holds_every_listener(plan):
    text = json.dumps(json.loads(plan("-o", "json")))
    for part in ("default/web:http", "10.96.0.10", "10.1.0.11", "default/empty:http"):
        assert part in text


def test_yaml_is_the_same_as_json(plan):
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(plan("-o", "yaml")) == json.loads(plan("-o", "json"))


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_rules_are_accepted_by_iptables_restore(plan, host, variant):
    text = plan("--rules")
    restore = text[re.search(r"(?m)^\*(nat|filter)$", text).start():]
    host.run(f"iptables-{variant}-restore", "--test", "--noflush", stdin=restore)
    assert "KUBE-PORTALS-CONTAINER" in restore and "default/web:http" in restore
    assert "KUBE-" not in host.run(f"iptables-{variant}-save")


def test_printed_rules_are_the_ones_in_force(plan, lab, serve, manifests, start_portald):
    """But for the proxy ports, which nobody knows before the listeners are open."""
    def shape(text):
        lines = (line for line in text.splitlines() if re.match(r"-A KUBE-\S+ .*default/", line))
        words = (re.sub(r"(--to-ports|--to-destination|KUBE-NODEPORT-NON-LOCAL .*--dport) \S+", r"\1 N", line)
                 for line in lines)
        return sorted(" ".join(sorted(set(line.replace('"', "").split()))) for line in words)

    printed = plan("--rules")
    serve(lab.pods[0], "10.1.0.11:8080", peers.identity("pod1"))
    start_portald(lab.node, manifests.path, "--iptables-variant=nft")
    assert shape(printed) == shape(lab.node.run("iptables-nft-save"))


def test_findings_are_printed_with_their_place(host, binary, manifests):
    manifests.write_text("bad.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: myapp-NodePort\n"
                         "spec:\n  ports:\n  - port: 80\n")
    output = host.run(str(binary), "plan", "-f", str(manifests.path), check=False)
    assert re.search(r"bad\.yaml:4:\d+: error: Service default/myapp-NodePort: metadata\.name: ", output)
