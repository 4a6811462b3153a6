"""iptables rules of a namespace, as iptables-save prints them."""
import re

OUR_CHAINS = ("KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST", "KUBE-NODEPORT-CONTAINER",
              "KUBE-NODEPORT-HOST", "KUBE-NODEPORT-NON-LOCAL")
VARIANTS = ("nft", "legacy")


def save(namespace, variant="nft"):
    """iptables-save's lines but for what changes by itself: time stamps, counters, warnings."""
    text = namespace.run(f"iptables-{variant}-save")
    return [re.sub(r" \[\d+:\d+\]$", "", line) for line in text.splitlines() if not line.startswith("#")]


def is_ours(line):
    return any(re.search(rf"[: ]{chain}\b", line) for chain in OUR_CHAINS)


def ours(namespace, variant="nft"):
    return [line for line in save(namespace, variant) if is_ours(line)]


def foreign(namespace, variant="nft"):
    return [line for line in save(namespace, variant) if not is_ours(line)]


def chain(namespace, name, variant="nft"):
    """The rules of one chain, in order, without "-A CHAIN "."""
    head = f"-A {name} "
    return [line.removeprefix(head) for line in save(namespace, variant) if line.startswith(head)]


def state(namespace):
    """What portald must leave as it was: all rules of both variants, all IPv4 routes and addresses.

    Built-in chains and tables that hold nothing are passed over: looking at them makes them."""
    saved = [line for variant in VARIANTS for line in save(namespace, variant)
             if line.startswith("-A") or (line.startswith(":") and line.endswith("-"))]
    addresses = re.sub(r"(?m)^\d+: ", "", namespace.run("ip", "-4", "-o", "addr"))
    return saved, namespace.run("ip", "-4", "route", "show", "table", "all"), addresses


def proxy_port(namespace, key, variant="nft"):
    """The proxy port to which the ClusterIP rule of "namespace/name:port" redirects."""
    for rule in chain(namespace, "KUBE-PORTALS-CONTAINER", variant):
        if re.search(rf'--comment "?{re.escape(key)}"? ', rule):
            return int(re.search(r"(?:--to-ports |--to-destination \S+:)(\d+)", rule)[1])
    raise AssertionError(f"no rule for {key}: {save(namespace, variant)}")
