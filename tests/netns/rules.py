"""iptables rules of a namespace, as iptables-save prints them."""
import re

OUR_CHAINS = ("KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST", "KUBE-NODEPORT-CONTAINER",
              "KUBE-NODEPORT-HOST", "KUBE-NODEPORT-NON-LOCAL", "KUBE-PORTALS-REJECT")
VARIANTS = ("nft", "legacy")


TOOLS = {"v4": "iptables", "v6": "ip6tables"}


def save(namespace, variant="nft", family="v4", table=None):
    """iptables-save's lines but for what changes by itself: time stamps, counters, warnings. table: only
    that one's."""
    text = namespace.run(f"{TOOLS[family]}-{variant}-save", *(("-t", table) if table else ()))
    return [re.sub(r" \[\d+:\d+\]$", "", line) for line in text.splitlines() if not line.startswith("#")]


def is_ours(line):
    return any(re.search(rf"[: ]{chain}\b", line) for chain in OUR_CHAINS)


def ours(namespace, variant="nft", family="v4"):
    return [line for line in save(namespace, variant, family) if is_ours(line)]


def foreign(namespace, variant="nft", family="v4"):
    return [line for line in save(namespace, variant, family) if not is_ours(line)]


def chain(namespace, name, variant="nft", family="v4", table=None):
    """The rules of one chain, in order, without "-A CHAIN "."""
    head = f"-A {name} "
    return [line.removeprefix(head) for line in save(namespace, variant, family, table)
            if line.startswith(head)]


def state(namespace):
    """What portald must leave as it was: all rules of both variants, no table of its own, all routes and
    addresses, for both families.

    Built-in chains and tables that hold nothing are passed over: looking at them makes them. So is what is
    link-local: the kernel gives an interface that when it finds it up, a moment after the lab is made."""
    def lasting(text):
        return [line for line in text.splitlines() if not re.search(r"\b(fe80:|ff00::/8)", line)]

    saved = [line for family in TOOLS for variant in VARIANTS for line in save(namespace, variant, family)
             if line.startswith("-A") or (line.startswith(":") and line.endswith("-"))]
    addresses = lasting(re.sub(r"(?m)^\d+: ", "", namespace.run("ip", "-o", "addr")))
    routes = [lasting(namespace.run("ip", flag, "route", "show", "table", "all")) for flag in ("-4", "-6")]
    tables = [line for line in namespace.run("nft", "list", "tables").splitlines() if " portald" in line]
    return saved, tables, routes, addresses


def nftables_proxy_port(namespace, key, family="v4", protocol="tcp"):
    """The same of the nftables back end; None if it has no such element."""
    table = namespace.run("nft", "-n", "list", "ruleset", {"v4": "ip", "v6": "ip6"}[family])
    number = {"tcp": 6, "udp": 17}[protocol]
    found = re.search(rf' \. {number} \. \d+ comment "{re.escape(key)}" : (\d+)', table)
    return int(found[1]) if found else None


def proxy_port(namespace, key, variant="nft", family="v4", protocol="tcp"):
    """The proxy port to which the ClusterIP rule of "namespace/name:port" redirects."""
    port = nftables_proxy_port(namespace, key, family, protocol)
    if port:
        return port
    for rule in chain(namespace, "KUBE-PORTALS-CONTAINER", variant, family):
        if re.search(rf'--comment "?{re.escape(key)}"? ', rule) and f"-p {protocol} " in rule:
            return int(re.search(r"(?:--to-ports |--to-destination \S+:)(\d+)", rule)[1])
    raise AssertionError(f"no rule for {key}: {save(namespace, variant, family)}")


def about(namespace, key, variant="nft", family="v4"):
    """All rules with that comment, of any chain."""
    return [line for line in save(namespace, variant, family)
            if re.search(rf'--comment "?{re.escape(key)}"? ', line)]
