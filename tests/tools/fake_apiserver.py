#!/usr/bin/env python3
"""A fake Kubernetes API server: HTTPS, lists in pages, watches, and everything that goes wrong with them.

    python3 tests/tools/fake_apiserver.py --manifests DIR

prints where it listens and writes a kubeconfig; then it takes commands on standard input ("help" lists them).
The same can be done by HTTP on the control port, and by the methods of FakeApiServer in a test:

    POST   /objects                    a manifest (JSON): add or replace
    DELETE /objects/RESOURCE/NAMESPACE/NAME
    GET    /requests                   what was asked, and by whom; DELETE forgets it
    POST   /faults                     see Fault; DELETE mends all
    POST   /set                        {"tokens": [...], "missing": [...], "forbidden": [...], "bookmark_s": 60}
    POST   /compact, /bookmark, /hangup
"""
import argparse
import base64
import contextlib
import gzip
import http.server
import json
import os
import re
import shlex
import socket
import ssl
import sys
import tempfile
import threading
import time
import urllib.parse

from fake_pki import Pki
from fake_store import RESOURCES, Bad, Gone, Selection, Store, TooLarge, generate, slice_as

GZIP_BYTES = 128 * 1024
CHUNK_BYTES = 32 * 1024
REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 410: "Expired",
           429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
ROUTE = re.compile(r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
                   r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?$")


class Fault:
    """Something that goes wrong with requests whose path and query hold `match`.

    what   status    answer `status`, with Retry-After if `retry_after` is set
           gone      410; on a watch as an ERROR event, after `after` bytes
           slow      `delay` seconds before each piece of the body
           truncate  hang up after `after` bytes of the body
           corrupt   put bytes that are not JSON into the body after `after` bytes
           stall     say nothing, or nothing more after `after` bytes of the body, and stay connected
    watch  True: watches only; False: anything but watches; None: both
    count  how many requests it hits; 0: all
    """

    def __init__(self, what, match="", watch=None, count=0, status=500, retry_after=None, after=None, delay=0.1):
        if what not in ("status", "gone", "slow", "truncate", "corrupt", "stall"):
            raise ValueError(f"no such fault: {what}")
        self.what, self.match, self.watch, self.count = what, match, watch, count
        self.status, self.retry_after, self.after, self.delay = status, retry_after, after, delay

    def hits(self, path, watch):
        return self.match in path and self.watch in (None, watch)


def status_object(code, message, details=None):
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": REASONS.get(code, "Unknown"), "details": details or {}, "code": code}


class HangUp(Exception):
    """The connection ends here."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""
    protocol_version = "HTTP/1.1"
    server_version = "fake"
    fault = None
    sent = 0
    zipped = False

    def setup(self):
        # In the connection's own thread, so that a slow client holds up nobody.
        if self.server.fake.tls:
            self.request.settimeout(20)
            self.request.do_handshake()
        self.request.settimeout(None)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.fake.connections.add(self.request)
        super().setup()

    def finish(self):
        self.server.fake.connections.discard(self.request)
        super().finish()

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        if self.server.fake.verbose:
            print(f"{self.address_string()} {format % args}", file=sys.stderr)

    # ---- answering ----

    def begin(self, code, headers=()):
        self.send_response(code)
        self.send_header("Cache-Control", "no-cache, private")
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.sent = 0

    def chunk(self, data):
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
            self.sent += len(data)

    def body(self, data):
        """Writes a piece of the body, unless a fault has it otherwise."""
        fault = self.fault
        if fault and fault.what == "slow":
            time.sleep(fault.delay)
        limit = fault.after if fault and fault.after is not None else None
        if fault and fault.what in ("truncate", "stall", "corrupt") and self.sent + len(data) >= (limit or 0):
            at = max(0, (limit or 0) - self.sent)
            if fault.what == "corrupt":
                self.fault = None
                data = data[:at] + b'}]"\x00{,' + data[at:]
            else:
                self.chunk(data[:at])
                self.stop(fault.what)
        self.chunk(data)

    def stop(self, how):
        if how == "stall":
            self.server.fake.stopping.wait(3600)
        raise HangUp

    def end(self):
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def answer(self, code, value, headers=()):
        data = json.dumps(value).encode()
        if len(data) > GZIP_BYTES and "gzip" in self.headers.get("Accept-Encoding", ""):
            data = gzip.compress(data, 1)
            headers = [*headers, ("Content-Encoding", "gzip")]
        self.begin(code, headers)
        for at in range(0, len(data), CHUNK_BYTES):
            self.body(data[at:at + CHUNK_BYTES])
        self.end()

    def refuse(self, code, message, retry_after=None, details=None):
        headers = [("Retry-After", str(retry_after))] if retry_after is not None else []
        self.answer(code, status_object(code, message, details), headers)

    # ---- who asks ----

    def user(self):
        """The name of who asks; None if the credentials are bad, "" without any."""
        fake = self.server.fake
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer":
            return "token" if value in fake.tokens else None
        if kind == "Basic":
            return base64.b64decode(value).decode() if base64.b64decode(value).decode() in fake.passwords else None
        certificate = self.request.getpeercert() if fake.tls else None
        if certificate:
            return dict(pair[0] for pair in certificate["subject"])["commonName"]
        return ""

    def note(self, user):
        certificate = self.request.getpeercert(binary_form=True) if self.server.fake.tls else None
        self.server.fake.requests.append({
            "path": self.path, "user": user, "headers": dict(self.headers.items()),
            "client_port": self.client_address[1], "sni": getattr(self.request, "asked_for", None),
            "tls": self.request.version() if self.server.fake.tls else None,
            "groups": self.headers.get_all("Impersonate-Group") or [],
            "certificate": ssl.DER_cert_to_PEM_cert(certificate) if certificate else None})

    # ---- requests ----

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
        fake = self.server.fake
        user = self.user()
        self.note(user)
        path = url.path.removeprefix(fake.prefix)
        try:
            self.fault = fake.take_fault(self.path, query.get("watch") in ("true", "1"))
            if self.fault and self.fault.what == "stall" and self.fault.after is None:
                self.stop("stall")
            if self.fault and self.fault.what == "status":
                fault, self.fault = self.fault, None
                self.refuse(fault.status, f"fault {fault.status}", fault.retry_after)
            elif user is None or (user == "" and fake.require_user):
                self.refuse(401, "Unauthorized")
            elif path == "/version":
                self.answer(200, {"major": "1", "minor": "20", "gitVersion": "v1.20.0-fake",
                                  "platform": "linux/amd64"})
            else:
                self.route(path, query, user)
        except HangUp:
            self.close_connection = True
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def route(self, path, query, user):
        fake = self.server.fake
        match = ROUTE.match(path)
        resource = match and match["resource"]
        group = match and (match["core"] or f"{match['group']}/{match['version']}")
        served = fake.served.get(resource, ())
        if not match or group not in served:
            self.refuse(404, "the server could not find the requested resource")
            return
        watch = query.get("watch") in ("true", "1")
        verb = "watch" if watch else "get" if match["name"] else "list"
        if f"{verb} {resource}" in fake.forbidden or resource in fake.forbidden:
            self.refuse(403, f'{resource} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API '
                        f'group "{match["group"] or ""}" at the cluster scope', details={"kind": resource})
            return
        try:
            if match["name"]:
                self.get_one(match, group)
                return
            selection = Selection(resource, match["namespace"], query.get("labelSelector"),
                                  query.get("fieldSelector"))
            (self.watch if watch else self.list)(selection, group, query)
        except Gone as error:
            self.refuse(410, str(error))
        except Bad as error:
            self.refuse(400, str(error))
        except TooLarge as error:
            self.refuse(504, f"Timeout: {error}", 1, {"causes": [{"reason": "ResourceVersionTooLarge",
                                                                 "message": "Too large resource version"}]})

    def shown(self, item, group):
        return slice_as(group.split("/")[1], item) if item["kind"] == "EndpointSlice" else item

    def get_one(self, match, group):
        store = self.server.fake.store
        item = store.objects[match["resource"]].get((match["namespace"] or "", match["name"]))
        if item:
            self.answer(200, self.shown(item, group))
        else:
            self.refuse(404, f'{match["resource"]} "{match["name"]}" not found')

    def list(self, selection, group, query):
        if self.fault and self.fault.what == "gone":
            self.fault = None
            raise Gone("fault: too old")
        version, items, token, left = self.server.fake.store.list(
            selection, int(query.get("limit") or 0), query.get("continue"), query.get("resourceVersion"))
        meta = {"resourceVersion": str(version)}
        if token:
            meta.update({"continue": token, "remainingItemCount": left})
        kind = RESOURCES[selection.resource][0]
        # Items of a list have no kind of their own.
        bare = [{k: v for k, v in self.shown(i, group).items() if k not in ("kind", "apiVersion")} for i in items]
        self.answer(200, {"kind": kind + "List", "apiVersion": group, "metadata": meta, "items": bare})

    # ---- watches ----

    def event(self, kind, item):
        self.body(json.dumps({"type": kind, "object": item}, separators=(",", ":")).encode() + b"\n")

    def watch(self, selection, group, query):
        fake, store = self.server.fake, self.server.fake.store
        text = query.get("resourceVersion", "")
        deadline = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
        with store.lock:
            store._check_version(text)  # pylint: disable=protected-access
            after = int(text or 0)
            first = []
            if after == 0:
                first = [i for i in store.objects[selection.resource].values() if selection.has(i)]
                after = store.version
        self.begin(200)
        for item in first:
            self.event("ADDED", self.shown(item, group))
        bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        hangups = fake.hangups
        gone = self.fault and self.fault.what == "gone"
        try:
            if gone:
                raise Gone("fault: too old resource version")
            while self.follow(selection, group, after, deadline, bookmarks, hangups):
                after = self.at
        except Gone as error:
            self.event("ERROR", dict(status_object(410, str(error)), reason="Expired"))
        self.end()

    def follow(self, selection, group, after, deadline, bookmarks, hangups):
        """Waits for something to tell and tells it. Returns False when the watch is over."""
        fake, store = self.server.fake, self.server.fake.store
        seen = store.bookmarks
        mark = time.monotonic() + fake.bookmark_s
        with store.lock:
            events = list(store.events(selection, after))
            while not events and store.bookmarks == seen and hangups == fake.hangups:
                left = min(deadline, mark) - time.monotonic()
                if left <= 0 or fake.stopping.is_set():
                    break
                store.lock.wait(left)
                events = list(store.events(selection, after))
            self.at = store.version
        for version, kind, item in events:
            shown = dict(self.shown(item, group))
            shown["metadata"] = dict(shown["metadata"], resourceVersion=str(version))
            self.event(kind, shown)
        over = time.monotonic() >= deadline or fake.stopping.is_set() or hangups != fake.hangups
        if bookmarks and not events and not over:
            self.event("BOOKMARK", {"kind": RESOURCES[selection.resource][0], "apiVersion": group,
                                    "metadata": {"resourceVersion": str(self.at), "creationTimestamp": None}})
        return not over


class ControlHandler(http.server.BaseHTTPRequestHandler):
    """The control port."""

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    def reply(self, value):
        data = json.dumps(value).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        value = json.loads(self.rfile.read(length)) if length else None
        try:
            self.reply(self.server.fake.control(self.command, self.path, value))
        except (Bad, KeyError, ValueError, TypeError) as error:
            self.send_error(400, repr(error))

    do_GET = do_POST = do_DELETE = handle_any


class Listener(http.server.ThreadingHTTPServer):
    """The API's port; each connection gets a thread."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, fake, address, handler):
        self.fake = fake
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def get_request(self):
        connection, address = super().get_request()
        if self.fake.tls and self.RequestHandlerClass is Handler:
            connection = self.fake.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        if self.fake.verbose:
            super().handle_error(request, client_address)


class FakeApiServer:
    """The whole server. directory gets the certificates and the kubeconfig."""

    def __init__(self, directory, tls=True, client_certificates="optional", tokens=("token-1",), hosts=None,
                 host="127.0.0.1", port=0, control_port=0, prefix="", verbose=False, missing=()):
        self.store = Store()
        os.makedirs(directory, exist_ok=True)
        self.directory, self.prefix, self.verbose = directory, prefix, verbose
        self.tokens, self.passwords = set(tokens), set()
        self.require_user = True
        self.faults, self.requests, self.forbidden = [], [], set()
        self.connections = set()
        self.bookmark_s = 60.0
        self.hangups = 0
        self.stopping = threading.Event()
        self.set_missing(missing)
        self.pki = Pki(os.path.join(directory, "pki")) if tls else None
        self.tls = self._tls_context(client_certificates, hosts) if tls else None
        self.listener = Listener(self, (host, port), Handler)
        self.controller = Listener(self, ("127.0.0.1", control_port), ControlHandler)
        self.port, self.control_port = (s.server_address[1] for s in (self.listener, self.controller))
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self.port}{prefix}"

    def _tls_context(self, client_certificates, hosts):
        certificate, key = self.pki.server(hosts=hosts or ("localhost", "127.0.0.1", "::1"))
        self.client_certificate, self.client_key = self.pki.client()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(self.pki.ca)
        context.verify_mode = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL,
                               "required": ssl.CERT_REQUIRED}[client_certificates]

        def on_name(connection, name, _context):
            connection.asked_for = name
        context.sni_callback = on_name
        return context

    def start(self):
        for listener in (self.listener, self.controller):
            threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        self.stopping.set()
        with self.store.lock:
            self.store.lock.notify_all()
        for listener in (self.listener, self.controller):
            listener.shutdown()
            listener.server_close()

    # ---- what a test changes ----

    def put(self, item):
        return self.store.put(item)

    def delete(self, resource, namespace, name):
        return self.store.delete(resource, namespace, name)

    def fault(self, what, **settings):
        self.faults.append(Fault(what, **settings))

    def take_fault(self, path, watch):
        for fault in list(self.faults):
            if not fault.hits(path, watch):
                continue
            if fault.count == 1:
                self.faults.remove(fault)
            elif fault.count > 1:
                fault.count -= 1
            return fault
        return None

    def set_missing(self, missing):
        """Takes away "endpointslices" or one of its versions, "discovery.k8s.io/v1", and gives back the rest."""
        slices = [v for v in ("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1")
                  if v not in missing and "endpointslices" not in missing]
        self.served = {r: ("v1",) for r in RESOURCES if r != "endpointslices" and r not in missing}
        self.served["endpointslices"] = slices

    def hang_up(self):
        """Ends all watches, as timeoutSeconds does."""
        with self.store.lock:
            self.hangups += 1
            self.store.lock.notify_all()

    def cut(self):
        """Ends all connections, as a server's death does."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def set(self, tokens=None, passwords=None, missing=None, forbidden=None, bookmark_s=None, require_user=None):
        self.tokens = set(tokens) if tokens is not None else self.tokens
        self.passwords = set(passwords) if passwords is not None else self.passwords
        self.forbidden = set(forbidden) if forbidden is not None else self.forbidden
        self.bookmark_s = bookmark_s if bookmark_s is not None else self.bookmark_s
        self.require_user = require_user if require_user is not None else self.require_user
        if missing is not None:
            self.set_missing(missing)

    def load(self, path):
        """Puts the objects of a manifest file, or of a directory's .json and .yaml files."""
        names = [os.path.join(path, n) for n in sorted(os.listdir(path))] if os.path.isdir(path) else [path]
        for name in names:
            if name.endswith((".json", ".yaml", ".yml")):
                for item in read_manifests(name):
                    with contextlib.suppress(Bad):
                        self.put(item)

    def control(self, method, path, value):
        """A request on the control port, or a command."""
        parts = path.strip("/").split("/")
        if method == "GET" and parts[0] == "requests":
            return list(self.requests)
        if method == "GET" and parts[0] == "state":
            return {"version": self.store.version, "compacted": self.store.compacted,
                    "objects": {r: len(o) for r, o in self.store.objects.items()}}
        if method == "DELETE" and parts[0] == "objects":
            return self.delete(*(parts[1:] if len(parts) == 4 else (parts[1], "", parts[2])))
        actions = {("POST", "objects"): lambda: self.put(value), ("POST", "faults"): lambda: self.fault(**value),
                   ("DELETE", "faults"): self.faults.clear, ("DELETE", "requests"): self.requests.clear,
                   ("POST", "set"): lambda: self.set(**value), ("POST", "compact"): self.store.compact,
                   ("POST", "bookmark"): self.store.bookmark, ("POST", "hangup"): self.hang_up}
        if (method, parts[0]) not in actions:
            raise Bad(f"no {method} {path}")
        return actions[method, parts[0]]()

    def kubeconfig(self, name="kubeconfig", user=None, cluster=None):
        """Writes a kubeconfig and returns its path. By default with the client's certificate."""
        path = os.path.join(self.directory, name)
        if user is None:
            user = {"client-certificate": "pki/client.crt", "client-key": "pki/client.key"} if self.tls \
                else {"token": sorted(self.tokens)[0]}
        whole = {"server": self.url, **({"certificate-authority": "pki/ca.crt"} if self.tls else {})}
        whole.update(cluster or {})
        whole = {k: v for k, v in whole.items() if v is not None}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "fake",
                       "clusters": [{"name": "fake", "cluster": whole}], "users": [{"name": "me", "user": user}],
                       "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}]}, file, indent=1)
            file.write("\n")
        return path


def read_manifests(path):
    with open(path, encoding="utf-8") as file:
        if path.endswith(".json"):
            return [json.load(file)]
        try:
            import yaml  # not in the standard library: only for who has YAML to load
        except ImportError:
            raise SystemExit(f"{path}: needs Python's yaml (Debian: python3-yaml), or write JSON") from None
        return [item for item in yaml.safe_load_all(file) if item]


HELP = """put FILE                       add or replace the objects of a manifest file
delete RESOURCE [NAMESPACE/]NAME
fault {"what": "status", "match": "services", "status": 429, "retry_after": 2, "count": 1}
mend                           no faults any more
set {"tokens": [...], "missing": ["discovery.k8s.io/v1"], "forbidden": ["watch services"]}
compact | bookmark | hangup | requests | state | quit"""


def command(fake, line):
    word, _, rest = line.strip().partition(" ")
    if word == "put":
        for path in shlex.split(rest):
            fake.load(path)
    elif word == "delete":
        resource, name = shlex.split(rest)
        namespace, _, name = name.rpartition("/")
        fake.delete(resource, namespace or ("" if resource == "nodes" else "default"), name)
    elif word in ("fault", "set"):
        fake.control("POST", "/faults" if word == "fault" else "/set", json.loads(rest))
    elif word == "mend":
        fake.faults.clear()
    elif word in ("requests", "state"):
        print(json.dumps(fake.control("GET", "/" + word, None), indent=1))
    elif word in ("compact", "bookmark", "hangup"):
        fake.control("POST", "/" + word, None)
    elif word:
        print(HELP)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifests", action="append", default=[], metavar="PATH")
    parser.add_argument("--generate", metavar="SERVICESxENDPOINTS", help="10000x5: so many of each")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--directory", help="for certificates and kubeconfig (default: a new one)")
    parser.add_argument("--plain", action="store_true", help="HTTP without TLS")
    parser.add_argument("--client-certificates", choices=["none", "optional", "required"], default="optional")
    parser.add_argument("--token", action="append", default=[])
    parser.add_argument("--missing", action="append", default=[], help="an API version that is not served")
    parser.add_argument("--prefix", default="", help="a path before all others")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = options.directory or stack.enter_context(tempfile.TemporaryDirectory())
        fake = FakeApiServer(directory, not options.plain, options.client_certificates, options.token or ["token-1"],
                             None, options.host, options.port, options.control_port, options.prefix,
                             options.verbose, options.missing)
        for path in options.manifests:
            fake.load(path)
        if options.generate:
            generate(fake.store, *(int(n) for n in options.generate.split("x")))
        fake.start()
        stack.callback(fake.stop)
        print(f"server {fake.url}\ncontrol http://127.0.0.1:{fake.control_port}\nkubeconfig {fake.kubeconfig()}",
              flush=True)
        serve(fake)


def serve(fake):
    """Commands until the end of standard input; a terminal's or a pipe's, but /dev/null means for ever."""
    try:
        for line in sys.stdin:
            if line.strip() == "quit":
                return
            try:
                command(fake, line)
            except (Bad, KeyError, ValueError, TypeError, OSError) as error:
                print(f"error: {error!r}", file=sys.stderr)
        while os.path.exists("/proc/self/fd/0") and os.path.realpath("/proc/self/fd/0") == "/dev/null":
            time.sleep(3600)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
