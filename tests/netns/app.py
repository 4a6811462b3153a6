"""The Service under test: described by plain attributes that a test changes, then written as manifests.

    app.spec["externalTrafficPolicy"] = "Local"
    running.change(app.write)
"""
import lab as lab_module
import manifests as objects
import peers
import udp

NODE_PORT = 30080


class App:
    """default/web at the family's first ClusterIP, port `http` 80 -> 8080, in front of the lab's pods (None: of
    nothing)."""

    def __init__(self, lab, family, directory, protocol="tcp", name="web", number=10):
        self.lab, self.family, self.directory, self.name = lab, family, directory, name
        self.protocol = protocol
        self.cluster_ips = [family.cluster_ip(number)]
        self.ports = [objects.service_port(protocol=protocol)]
        self.spec, self.labels, self.annotations, self.status = {}, {}, {}, None
        self.endpoints = [self.endpoint(pod) for pod in lab.pods] if lab else []
        self.extra = []  # more objects for the same file

    # ---- the manifests ----

    def endpoint(self, namespace, **what):
        return objects.endpoint(self.family.of(namespace), **what)

    def use(self, *numbers, **what):
        """Makes these pods (1, 2, 3) the endpoints."""
        self.endpoints = [self.endpoint(self.lab.pods[number - 1], **what) for number in numbers]

    def node_port(self, number=NODE_PORT):
        """A NodePort for the (first) port; LoadBalancer stays what it is."""
        self.ports[0]["nodePort"] = number
        self.spec.setdefault("type", "NodePort")

    def load_balancer(self, *addresses, **status):
        self.spec["type"] = "LoadBalancer"
        self.status = {"loadBalancer": {"ingress": [{"ip": address, **status} for address in addresses]}}

    def service(self):
        return objects.service_of(self.name, self.cluster_ips, self.ports, self.family.api, self.labels,
                                  self.annotations, self.status, **self.spec)

    def slices(self):
        return [objects.slice_of(self.name, self.family.api, self.endpoints,
                                 [objects.slice_port(port) for port in self.ports])]

    def write(self):
        self.directory.write(f"{self.name}.yaml", self.service(), *self.slices(), *self.extra)

    # ---- its backends ----

    def serve(self, serve, handler=None, port=8080):
        """Every pod answers with its name; handler(name) makes another handler. The servers."""
        handler = handler or (peers if self.protocol == "tcp" else udp).identity
        return [serve(pod, self.family.at(pod, port), handler(pod.name)) for pod in self.lab.pods]

    # ---- its clients ----

    def at(self, address=None, port=80):
        """Where a client connects to; without an address: the ClusterIP."""
        return lab_module.join(address or self.cluster_ips[0], port)

    def node_at(self, address=None, port=NODE_PORT):
        """Its NodePort; without an address: at the node's address towards outside."""
        return lab_module.join(address or self.family.outer_address(), port)

    def fetch(self, namespace, at=None, timeout=4, **options):
        """The name of the pod that answers one new client."""
        return (peers if self.protocol == "tcp" else udp).fetch(
            namespace, at or self.at(), timeout=timeout, **options)

    def outcome(self, namespace, at=None, timeout=4):
        return (peers if self.protocol == "tcp" else udp).outcome(namespace, at or self.at(), timeout)

    def names(self, namespace, at=None, count=6):
        """The names of the pods that answer so many new clients."""
        return {self.fetch(namespace, at) for _ in range(count)}

    def standpoints(self):
        """A pod, the node itself, outside."""
        return self.lab.client, self.lab.node, self.lab.outside

    def key(self):
        return f"default/{self.name}:{self.ports[0]['name']}"
