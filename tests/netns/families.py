"""The two address families of the lab, so that one text tests both."""
import lab as lab_module


class Family:
    """What differs. `api` is the name in EndpointSlices and ipFamilies."""

    def __init__(self, name, api, loopback, cluster, external, bits):
        self.name, self.api, self.loopback = name, api, loopback
        self._cluster, self._external, self.bits = cluster, external, bits

    def __repr__(self):
        return self.name

    def of(self, namespace):
        """Its address in this family."""
        return namespace.address if self.name == "v4" else namespace.address6

    def at(self, namespace, port):
        return lab_module.join(self.of(namespace), port)

    def cluster_ip(self, number=10):
        return self._cluster.format(number)

    def many(self, number):
        """One of some hundred ClusterIPs, apart from the others."""
        return f"10.97.{number // 250}.{number % 250 + 1}" if self.name == "v4" else f"fd00:96::1:{number:x}"

    def external_ip(self, number=5):
        """An address that nobody has; `outside` routes it to the node."""
        return self._external.format(number)

    def host(self, address):
        """A CIDR of this address alone."""
        return f"{address}/{self.bits}"

    def node_addresses(self):
        """The node's addresses, towards the pods and towards outside."""
        return ("10.1.0.1", "10.2.0.1") if self.name == "v4" else ("fd00:1::1", "fd00:2::1")

    def networks(self):
        """The CIDRs of the pods and of outside."""
        return ("10.1.0.0/24", "10.2.0.0/24") if self.name == "v4" else ("fd00:1::/64", "fd00:2::/64")

    def outer_address(self):
        """The node's, as outside knows it."""
        return self.node_addresses()[1]

    def more_addresses(self, namespace, count):
        """Gives the namespace that many more addresses, next to its own; returns them."""
        head = "10.1.0." if self.name == "v4" else "fd00:1::1:"
        added = [f"{head}{100 + number}" for number in range(count)]
        namespace.ip(*(f"addr add {address}/{24 if self.name == 'v4' else 64} dev eth0" for address in added))
        return added


V4 = Family("v4", "IPv4", "127.0.0.1", "10.96.0.{}", "203.0.113.{}", 32)
V6 = Family("v6", "IPv6", "::1", "fd00:96::{}", "2001:db8::{}", 128)
BY_NAME = {"v4": V4, "v6": V6}
