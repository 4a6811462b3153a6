"""What a way of steering has put into a node, as the host's own tools show it: our part and everybody else's,
in one family; and what others may do to it."""
import re

import rules

NFT_FAMILY = {"v4": "ip", "v6": "ip6"}
IP = {"v4": ("ip", "-4"), "v6": ("ip", "-6")}
ROUTE_MARK = " proto 112 "

# Before, between and after what is ours, wherever that may stand.
FOREIGN_RULES = """*nat
:KUBE-SERVICES - [0:0]
:MINE - [0:0]
-A PREROUTING -p tcp -m tcp --dport 4444 -j MINE
-A OUTPUT -d {outside} -m comment --comment "with \\"quotes\\" and  spaces" -j MINE
-A POSTROUTING -s {pods} -o eth9 -j MASQUERADE
-A MINE -p tcp -j RETURN
-A KUBE-SERVICES -d {cluster_ip} -p udp -m udp --dport 80 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
-A INPUT -p tcp -m tcp --dport 4444 -j DROP
-A INPUT -m comment --comment "default/web:http" -j ACCEPT
-A FORWARD -i cbr0 -j ACCEPT
-A FORWARD -o cbr0 -j ACCEPT
COMMIT
"""
FOREIGN_TABLES = """add table {f} others
add chain {f} others input {{ type filter hook input priority 0; }}
add rule {f} others input tcp dport 1 drop
add map {f} others portals {{ type {type} : inet_service; }}
add element {f} others portals {{ {address} : 80 }}
add table inet portald
add chain inet portald input
"""


class Node:
    """The lab's node under one way of steering (a name of conftest.BACKENDS) in one family."""

    def __init__(self, lab, backend, family):
        self.node, self.backend, self.family = lab.node, backend, family
        self.variant = {"iptables-legacy": "legacy"}.get(backend, "nft")
        self.iptables = f"{rules.TOOLS[family.name]}-{self.variant}"
        self.table = (NFT_FAMILY[family.name], "portald")

    def told(self):
        """The kernel tells portald of what others do to it."""
        return self.backend != "iptables-legacy"

    # ---- what is there ----

    def _routes(self):
        return rules.lasting(self.node.run(*IP[self.family.name], "-N", "route", "show", "table", "all"))

    def _tables(self, ours):
        """nft's word for tables; those of iptables-nft are left to iptables-nft-save."""
        text = self.node.run("nft", "-n", "list", "ruleset")
        tables = re.findall(r"(?m)^table (\S+) (\S+) \{\n(.*?)^\}", text, re.DOTALL)
        return [table for table in tables
                if (table[:2] in (("ip", "portald"), ("ip6", "portald"))) == ours
                and table[1] not in ("nat", "filter", "mangle", "raw")]

    def ours(self):
        """All that portald has made in this family, in a form that two states can be compared by."""
        if self.backend == "local":
            return sorted(line for line in self._routes() if ROUTE_MARK in f"{line} ")
        if self.backend == "nftables":
            # nft lists elements in the order of a hash table.
            return [(name, sorted(re.split(r"[\s,]+", text))) for name, _, text in self._tables(True)
                    if name == self.table[0]]
        return rules.ours(self.node, self.variant, self.family.name)

    def foreign(self):
        """All of others, byte for byte; not that a built-in chain is there that does nothing."""
        saved = rules.foreign(self.node, self.variant, self.family.name)
        return ([line for line in saved if line[0] in "-:" and not line.endswith(" ACCEPT")],
                self._tables(False),
                [line for line in self._routes() if ROUTE_MARK not in f"{line} "])

    def add_foreign(self):
        """Rules, tables and routes of others, some of which look like ours."""
        number, pods = self.family.cluster_ip(99), self.family.networks()[0]
        self.node.run(f"{self.iptables}-restore", "--noflush", stdin=FOREIGN_RULES.format(
            outside=self.family.host(self.family.networks()[1].replace("0/24", "9").replace("::/64", "::9")),
            pods=pods, cluster_ip=self.family.host(self.family.cluster_ip())))
        self.node.run("nft", "-f", "-", stdin=FOREIGN_TABLES.format(
            f=self.table[0], type="ipv4_addr" if self.family.name == "v4" else "ipv6_addr", address=number))
        self.node.run(*IP[self.family.name], "route", "add", "local", number, "dev", "lo", "table", "local")

    def in_place(self):
        """Our jumps stand before all others' rules and behind them."""
        if not self.backend.startswith("iptables"):
            return True
        for chain, first, last in (("PREROUTING", "KUBE-PORTALS-CONTAINER", "KUBE-NODEPORT-CONTAINER"),
                                   ("OUTPUT", "KUBE-PORTALS-HOST", "KUBE-NODEPORT-HOST")):
            found = rules.chain(self.node, chain, self.variant, self.family.name, "nat")
            if not (len(found) > 1 and found[0].endswith(f"-j {first}") and found[-1].endswith(f"-j {last}")
                    and "--dst-type LOCAL" in found[-1]):
                return False
        found = rules.chain(self.node, "INPUT", self.variant, self.family.name, "filter")
        return len(found) > 1 and [found[0].endswith("-j KUBE-PORTALS-REJECT"),
                                   found[1].endswith("-j KUBE-NODEPORT-NON-LOCAL")] == [True, True]

    # ---- what others do ----

    def _do(self, *argv):
        return lambda: self.node.run(*argv)

    def _do_all(self, *commands):
        return lambda: [self.node.run(*argv) for argv in commands]

    def junk(self):
        """{what: function} that leave something of ours too much: an older run's, or a half-applied set's."""
        stale, fam = self.family.cluster_ip(77), self.table
        nat, other = (self.iptables, "-w", "-t", "nat"), ("-p", "tcp", "--dport", "9", "-j", "RETURN")
        if self.backend == "local":
            return {"a stale route": self._do(*IP[self.family.name], "route", "add", "local", stale, "dev",
                                              "lo", "table", "local", "proto", "112")}
        if self.backend == "nftables":
            return {
                "a stale element": self._do("nft", "add", "element", *fam, "portals",
                                            f"{{ {stale} . tcp . 9 : 9 }}"),
                "a stale map": self._do("nft", "add", "map", *fam, "older",
                                        "{ type inet_service : inet_service ; }"),
                "a doubled rule": self._do("nft", "insert", "rule", *fam, "host", "accept"),
            }
        return {
            "a stale line": self._do(*nat, "-A", "KUBE-PORTALS-HOST", "-d", stale, *other),
            "a doubled line": self._do_all(*2 * ((*nat, "-A", "KUBE-NODEPORT-HOST", *other),)),
            "a doubled jump": self._do(*nat, "-A", "PREROUTING", "-j", "KUBE-PORTALS-CONTAINER"),
        }

    def misplacements(self):
        """{what: function} that put something of others where ours should be."""
        nat, other = (self.iptables, "-w", "-t", "nat"), ("-p", "tcp", "--dport", "9", "-j", "RETURN")
        if not self.backend.startswith("iptables"):
            return {}
        return {"a jump that is not the first": self._do(*nat, "-I", "PREROUTING", *other),
                "a jump that is not the last": self._do(*nat, "-A", "OUTPUT", *other)}

    def losses(self):
        """{what: function} that take something of ours away, the worst at last."""
        fam, ip = self.table, IP[self.family.name]
        nat, own = (self.iptables, "-w", "-t", "nat"), self.family.cluster_ip()
        if self.backend == "local":
            return {"a route": self._do(*ip, "route", "del", "local", own, "table", "local"),
                    "all routes": self._do(*ip, "route", "flush", "table", "local", "proto", "112")}
        if self.backend == "nftables":
            return {"elements": self._do("nft", "flush", "map", *fam, "portals"),
                    "a chain's rules": self._do("nft", "flush", "chain", *fam, "host"),
                    "the table": self._do("nft", "delete", "table", *fam),
                    "all": self._do("nft", "flush", "ruleset")}
        losses = {"a jump": self._do(*nat, "-D", "PREROUTING", "1"),
                  "a chain's rules": self._do(*nat, "-F", "KUBE-PORTALS-HOST"),
                  "filter": self._do(self.iptables, "-w", "-F"),
                  "nat": self._do(*nat, "-F"),
                  "chains": self._do_all((*nat, "-F"), (*nat, "-X"))}
        if self.variant == "nft":
            losses |= {"the table": self._do("nft", "delete", "table", fam[0], "nat"),
                       "all": self._do("nft", "flush", "ruleset")}
        return losses
