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
