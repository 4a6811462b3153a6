"""What steers in a namespace: iptables' rules as iptables-save prints them, and what other back ends make."""
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


def lasting(text):
    """The lines of what `ip` prints of routes or addresses, but for what is link-local: the kernel gives an interface
    that when it finds it up, a moment after the lab is made, and until then marks others' addresses and routes."""
    return [re.sub(r" (tentative|linkdown)\b", "", line) for line in text.splitlines()
            if not re.search(r"\b(fe80:|ff00::/8)", line)]


def state(namespace):
    """What portald must leave as it was: all rules of both variants, no table of its own, all routes and
    addresses, for both families.

    Built-in chains and tables that hold nothing are passed over: looking at them makes them."""
    saved = [line for family in TOOLS for variant in VARIANTS for line in save(namespace, variant, family)
             if line.startswith("-A") or (line.startswith(":") and line.endswith("-"))]
    addresses = lasting(re.sub(r"(?m)^\d+: ", "", namespace.run("ip", "-o", "addr")))
    routes = [lasting(namespace.run("ip", flag, "route", "show", "table", "all")) for flag in ("-4", "-6")]
    tables = [line for line in namespace.run("nft", "list", "tables").splitlines() if " portald" in line]
    return saved, tables, routes, addresses


def difference(before, after):
    """What of a state is new, and what is gone, as lines that say so."""
    def lines(state_):
        saved, tables, routes, addresses = state_
        return {*saved, *tables, *routes[0], *routes[1], *addresses}

    one, other = lines(before), lines(after)
    return [f"+ {line}" for line in sorted(other - one)] + [f"- {line}" for line in sorted(one - other)]


# ---- of any back end ----

NFT_FAMILY = {"v4": "ip", "v6": "ip6"}


def nftables(namespace, family="v4"):
    """The table of the nftables back end, a line for each element, which nft prints in no order; [] if none."""
    text = namespace.run("nft", "-n", "list", "table", NFT_FAMILY[family], "portald", check=False)
    if text.startswith("Error"):
        return []
    lines = re.sub(r"(elements = \{|,) ", r"\1\n", text).splitlines()
    return sorted(line.strip(" \t,}") for line in lines)


def local_routes(namespace, family="v4"):
    """The addresses that the local back end has made the node's."""
    shown = namespace.run("ip", {"v4": "-4", "v6": "-6"}[family], "route", "show", "table", "local",
                          "proto", "112")
    return [line.split()[1] for line in shown.splitlines()]


def listeners(namespace, addresses):
    """What listens at the addresses: another socket at the same place differs."""
    shown = [line.split() for line in namespace.run("ss", "-HOlntue").splitlines()]
    return sorted(" ".join((line[0], line[4], *(word for word in line if word.startswith("ino:"))))
                  for line in shown if line[4].rsplit(":", 1)[0].strip("[]") in addresses)


def in_force(namespace, family="v4"):
    """All that portald has made there, in whatever way it steers, for comparing."""
    saved = [line for variant in VARIANTS for line in ours(namespace, variant, family)]
    routes = local_routes(namespace, family)
    return saved + nftables(namespace, family) + routes + listeners(namespace, routes)


def about(namespace, key, addresses=(), family="v4"):
    """That of it which is about "namespace/name:port": with a comment that says so, of any chain; with the
    local back end, which has none, at the Service's own addresses."""
    commented = [line for variant in VARIANTS for line in save(namespace, variant, family)
                 if re.search(rf'--comment "?{re.escape(key)}"? ', line)]
    commented += [line for line in nftables(namespace, family) if f'comment "{key}"' in line]
    own = [address for address in local_routes(namespace, family) if address in addresses]
    return commented + own + listeners(namespace, own)


def proxy_port(namespace, key, variant=None, family="v4", protocol="tcp"):
    """The proxy port to which the ClusterIP rule of "namespace/name:port" leads; None where portald steers
    without any. variant: only by that iptables."""
    number = {"tcp": 6, "udp": 17}[protocol]
    for rule in nftables(namespace, family):
        found = re.search(rf' \. {number} \. \d+ comment "{re.escape(key)}" : (\d+)', rule)
        if found:
            return int(found[1])
    for rule in (rule for each in ([variant] if variant else VARIANTS)
                 for rule in chain(namespace, "KUBE-PORTALS-CONTAINER", each, family)):
        if re.search(rf'--comment "?{re.escape(key)}"? ', rule) and f"-p {protocol} " in rule:
            return int(re.search(r"(?:--to-ports |--to-destination \S+:)(\d+)", rule)[1])
    assert local_routes(namespace, family), f"no rule for {key}: {in_force(namespace, family)}"
    return None
