"""What the fake API server holds: objects, their history, the rules of resourceVersion, list pages and watches."""
import base64
import copy
import json
import threading

RESOURCES = {
    # resource: (kind, API version of the objects as they are kept)
    "services": ("Service", "v1"),
    "endpoints": ("Endpoints", "v1"),
    "nodes": ("Node", "v1"),
    "pods": ("Pod", "v1"),
    "endpointslices": ("EndpointSlice", "discovery.k8s.io/v1"),
}
KINDS = {kind: resource for resource, (kind, _) in RESOURCES.items()}


class Gone(Exception):
    """Asked for something older than what is kept: 410."""


class Bad(Exception):
    """Not a request: 400."""


class TooLarge(Exception):
    """A resourceVersion that is to come: 504."""


def key_of(item):
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def selects(selector, labels):
    """A label selector of the forms a, !a, a=b, a==b, a!=b, joined by commas."""
    for term in filter(None, (selector or "").split(",")):
        if "!=" in term:
            name, value = term.split("!=", 1)
            if labels.get(name) == value:
                return False
        elif "=" in term:
            name, value = term.replace("==", "=").split("=", 1)
            if labels.get(name) != value:
                return False
        elif (term.lstrip("!") in labels) == term.startswith("!"):
            return False
    return True


class Selection:
    """The objects of a resource that a request means."""

    def __init__(self, resource, namespace=None, labels=None, fields=None):
        self.resource, self.namespace, self.labels = resource, namespace, labels
        self.fields = dict(term.replace("==", "=").split("=", 1) for term in fields.split(",")) if fields else {}
        for field in self.fields:
            if field not in ("metadata.name", "metadata.namespace"):
                raise Bad(f"field label not supported: {field}")

    def has(self, item):
        meta = item["metadata"]
        if self.namespace and meta.get("namespace") != self.namespace:
            return False
        if any(meta.get(field.split(".")[1], "") != value for field, value in self.fields.items()):
            return False
        return selects(self.labels, meta.get("labels") or {})


class Store:
    """All objects. Each change has a resourceVersion and stands in the history until compact()."""

    def __init__(self):
        self.lock = threading.Condition()
        self.version = 1
        self.compacted = 0
        self.objects = {resource: {} for resource in RESOURCES}
        self.history = []  # (version, resource, type, item, what was there before)
        self.pages = {}  # continue token: (version, what is left)
        self.bookmarks = 0

    def put(self, item):
        """Adds or replaces one object, or those of a List. Returns the version."""
        if item.get("kind", "").endswith("List"):
            for part in item.get("items") or []:
                part.setdefault("kind", item["kind"][:-4])
                self.put(part)
            return self.version
        resource = KINDS.get(item.get("kind"))
        if not resource:
            raise Bad(f"unknown kind {item.get('kind')}")
        item = copy.deepcopy(item)
        item["apiVersion"] = RESOURCES[resource][1]
        if resource != "nodes":
            item["metadata"].setdefault("namespace", "default")
        with self.lock:
            self.version += 1
            item["metadata"]["resourceVersion"] = str(self.version)
            item["metadata"].setdefault("uid", f"00000000-0000-0000-0000-{self.version:012}")
            before = self.objects[resource].get(key_of(item))
            self.objects[resource][key_of(item)] = item
            self._record(resource, "MODIFIED" if before else "ADDED", item, before)
            return self.version

    def delete(self, resource, namespace, name):
        with self.lock:
            before = self.objects[resource].pop((namespace, name))
            self.version += 1
            item = copy.deepcopy(before)
            item["metadata"]["resourceVersion"] = str(self.version)
            self._record(resource, "DELETED", item, before)
            return self.version

    def _record(self, resource, kind, item, before):
        self.history.append((self.version, resource, kind, item, before))
        self.lock.notify_all()

    def compact(self):
        """Forgets the history: older watches and pages are gone."""
        with self.lock:
            self.compacted = self.version
            self.history.clear()
            self.pages.clear()

    def bookmark(self):
        """Every watch that takes bookmarks gets one now."""
        with self.lock:
            self.bookmarks += 1
            self.lock.notify_all()

    def _check_version(self, text):
        if not text:
            return
        if not text.isdigit():
            raise Bad(f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
        if int(text) > self.version:
            raise TooLarge(f"Too large resource version: {text}, current: {self.version}")

    def list(self, selection, limit=0, token=None, version=None):
        """(resourceVersion, items, continue token, how many remain)."""
        with self.lock:
            if token:
                if token not in self.pages:
                    self._check_token(token)
                at, items = self.pages[token]
            else:
                self._check_version(version)
                held = self.objects[selection.resource]
                at, items = self.version, [held[k] for k in sorted(held) if selection.has(held[k])]
            if not limit or len(items) <= limit:
                return at, items, None, 0
            rest = items[limit:]
            token = base64.urlsafe_b64encode(json.dumps(
                {"v": "meta.k8s.io/v1", "rv": at, "start": "/".join(key_of(rest[0]))}).encode()).decode().rstrip("=")
            self.pages[token] = (at, rest)
            return at, items[:limit], token, len(rest)

    @staticmethod
    def _check_token(token):
        try:
            json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["rv"]
        except (ValueError, KeyError, TypeError):
            raise Bad("continue key is not valid") from None
        raise Gone("The provided continue parameter is too old to display a consistent list result. You can "
                   "start a new list without the continue parameter.")

    def events(self, selection, after):
        """(type, item) of all changes after a version, as a watch of the selection sees them. Under lock."""
        if after < self.compacted:
            raise Gone(f"too old resource version: {after} ({self.compacted})")
        for version, resource, kind, item, before in self._since(after):
            if resource != selection.resource:
                continue
            now = kind != "DELETED" and selection.has(item)
            then = before is not None and selection.has(before)
            if now:
                yield version, "MODIFIED" if then else "ADDED", item
            elif then:
                yield version, "DELETED", item

    def _since(self, after):
        """The history's tail; watches are near its end."""
        first = len(self.history)
        while first > 0 and self.history[first - 1][0] > after:
            first -= 1
        return self.history[first:]


def slice_as(version, item):
    """An EndpointSlice as this version of its API shows it."""
    if version == "v1":
        return item
    shown = dict(item, apiVersion="discovery.k8s.io/v1beta1")
    shown["endpoints"] = [_endpoint_v1beta1(endpoint) for endpoint in item.get("endpoints") or []]
    return shown


def _endpoint_v1beta1(endpoint):
    shown = {name: value for name, value in endpoint.items() if name not in ("zone", "deprecatedTopology")}
    topology = dict(endpoint.get("deprecatedTopology") or {})
    if endpoint.get("nodeName"):
        topology["kubernetes.io/hostname"] = endpoint["nodeName"]
    if endpoint.get("zone"):
        topology["topology.kubernetes.io/zone"] = endpoint["zone"]
    if topology:
        shown["topology"] = topology
    return shown


def generate(store, services, endpoints):
    """Fills the store with a cluster of that many Services with that many endpoints each."""
    for number in range(services):
        name, namespace = f"svc-{number}", f"ns-{number % 100}"
        store.put({"kind": "Service", "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
                   "spec": {"clusterIP": f"10.{96 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}",
                            "selector": {"app": name}, "type": "ClusterIP",
                            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]}})
        store.put({"kind": "EndpointSlice", "addressType": "IPv4",
                   "metadata": {"name": name + "-abcde", "namespace": namespace,
                                "labels": {"kubernetes.io/service-name": name}},
                   "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                   "endpoints": [{"addresses": [f"10.{128 + number // 5000}.{number // 20 % 250}."
                                                f"{(number % 20) * 12 + at % 12 + 1}"],
                                  "conditions": {"ready": True}, "nodeName": f"node-{at}"}
                                 for at in range(endpoints)]})
