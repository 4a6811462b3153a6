"""Kubernetes objects as the tests need them, and the directory they are written to."""
import json
import os


def service(name, cluster_ip=None, port=80, target_port=8080, node_port=None, port_name="http"):
    entry = {"name": port_name, "port": port, "targetPort": target_port, "protocol": "TCP"}
    spec = {"ports": [entry]}
    if node_port:
        entry["nodePort"] = node_port
        spec["type"] = "NodePort"
    if cluster_ip:
        spec["clusterIP"] = cluster_ip
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": spec}


def endpoints(name, addresses, port=8080, port_name="http"):
    """An EndpointSlice of the Service `name`."""
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-1", "namespace": "default",
                         "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]}


def endpoints_at(name, places, port_name="http"):
    """An Endpoints object of ("10.1.0.11:8080", ...), each with a port of its own."""
    subsets = [{"addresses": [{"ip": at.rsplit(":", 1)[0]}],
                "ports": [{"name": port_name, "port": int(at.rsplit(":", 1)[1]), "protocol": "TCP"}]}
               for at in places]
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name, "namespace": "default"},
            "subsets": subsets}


def service_port(number=80, name="http", protocol="tcp", target=8080, node_port=None):
    entry = {"name": name, "port": number, "protocol": protocol.upper(), "targetPort": target}
    return entry | ({"nodePort": node_port} if node_port else {})


def _meta(name, labels=None, annotations=None, namespace="default"):
    given = {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
    return {key: value for key, value in given.items() if value}


def service_of(name, cluster_ips, ports, families="IPv4", labels=None, annotations=None, status=None, **spec):
    """A Service with whatever else its spec says. families: "IPv4" or a list."""
    if cluster_ips:
        spec = {"clusterIP": cluster_ips[0], "clusterIPs": list(cluster_ips)} | spec
    if spec.get("type") != "ExternalName":  # which may not have any
        spec["ipFamilies"] = [families] if isinstance(families, str) else list(families)
    spec = {"ports": ports} | spec
    made = {"apiVersion": "v1", "kind": "Service", "metadata": _meta(name, labels, annotations), "spec": spec}
    return made | ({"status": status} if status else {})


def endpoint(address, ready=True, serving=None, terminating=False, node=None, zone=None, for_zones=(),
             for_nodes=(), target=None):
    """One endpoint of an EndpointSlice. serving: as ready, unless said. target: a Pod's name."""
    made = {"addresses": [address], "conditions": {
        "ready": ready, "serving": ready if serving is None else serving, "terminating": terminating}}
    hints = {key: [{"name": name} for name in names]
             for key, names in (("forZones", for_zones), ("forNodes", for_nodes)) if names}
    reference = {"kind": "Pod", "name": target, "namespace": "default"} if target else None
    more = {"nodeName": node, "zone": zone, "hints": hints, "targetRef": reference}
    return made | {key: value for key, value in more.items() if value}


def slice_port(port, number=None):
    """The port of an EndpointSlice for one of a Service."""
    return {"name": port["name"], "protocol": port["protocol"], "port": number or port["targetPort"]}


def slice_of(name, family, endpoints, ports, number=1, annotations=None):
    """An EndpointSlice of the Service `name`; number tells it from its others."""
    labels = {"kubernetes.io/service-name": name}
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": _meta(f"{name}-{family.lower()}-{number}", labels, annotations),
            "addressType": family, "ports": ports, "endpoints": endpoints}


def node(name, labels=None, addresses=()):
    """addresses: its InternalIPs."""
    meta = _meta(name, labels)
    del meta["namespace"]
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta,
            "status": {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]}}


def pod(name, addresses, labels=None, annotations=None, ready=True, ports=()):
    """A running Pod; ports: (name, number, "TCP")."""
    listed = [{"name": port[0], "containerPort": port[1], "protocol": port[2]} for port in ports]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _meta(name, labels, annotations),
            "spec": {"containers": [{"name": "main", "image": "none", "ports": listed}]},
            "status": {"phase": "Running", "podIP": addresses[0],
                       "podIPs": [{"ip": address} for address in addresses],
                       "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}}


def _lines(value, indent):
    """Block style YAML of a mapping or a list."""
    pairs = value.items() if isinstance(value, dict) else [(None, entry) for entry in value]
    for key, entry in pairs:
        head = f"{indent}-" if key is None else f"{indent}{key}:"
        if isinstance(entry, (dict, list)) and entry:
            yield head
            yield from _lines(entry, indent + "  ")
        else:
            yield f"{head} {json.dumps(entry)}"


def yaml(*objects):
    return "".join("---\n" + "\n".join(_lines(entry, "")) + "\n" for entry in objects)


class Directory:
    """A manifest directory. Each write takes effect as a whole, by rename."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        path.chmod(0o755)

    def write_text(self, name, text):
        fresh = self.path.parent / f"{name}.fresh"
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o644)
        os.rename(fresh, self.path / name)

    def write(self, name, *objects):
        self.write_text(name, yaml(*objects))

    def remove(self, name):
        (self.path / name).unlink()

    def web(self, addresses):
        """web.yaml: default/web:http at 10.96.0.10:80 and NodePort 30080; pods' port 8080."""
        self.write("web.yaml", service("web", "10.96.0.10", node_port=30080), endpoints("web", addresses))
