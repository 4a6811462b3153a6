"""Network namespaces and the lab made of them. A namespace is held by a descriptor and has no name."""
import contextlib
import ctypes
import errno
import os
import socket
import subprocess

import wait

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def _check(result):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def parse_address(at):
    """("10.1.0.11", 8080) of "10.1.0.11:8080"; IPv6 as in "[fd00:1::11]:8080"."""
    host, port = at.rsplit(":", 1)
    return host.strip("[]"), int(port)


def join(host, port):
    """What parse_address takes."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_family(at):
    return socket.AF_INET6 if at.startswith("[") else socket.AF_INET


def own_file(path, content_path):
    """From here on this process and its children see the other file at the path. The kernel keeps what is
    not of the network, such as the lock of iptables-legacy, for all network namespaces together."""
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None))
    open(path, "ab").close()
    _check(_libc.mount(os.fsencode(content_path), os.fsencode(path), None, _MS_BIND, None))


class Namespace:
    """A network namespace. Sockets and processes made inside `with namespace.entered()` belong to it."""

    def __init__(self, name, address=None, address6=None):
        self.name = name
        self.address, self.address6 = address, address6
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _check(_libc.unshare(_CLONE_NEWNET))
        self._udp_port = 0
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _check(_libc.setns(home, _CLONE_NEWNET))
        os.close(home)
        self.inode = os.fstat(self.fd).st_ino
        # The machine's default may be BBR, which is slow on paths without delay.
        self.sysctl("net.ipv4.tcp_congestion_control", "reno")
        # Every refusal is told: the tenth within a second, and one right after a redirect.
        self.sysctl("net.ipv4.icmp_ratelimit", 0)
        self.sysctl("net.ipv6.icmp.ratelimit", 0)
        # An address is good at once, and routes come from nobody but the tests.
        for name, value in (("accept_dad", 0), ("accept_ra", 0), ("router_solicitations", 0)):
            self.sysctl(f"net.ipv6.conf.all.{name}", value)
            self.sysctl(f"net.ipv6.conf.default.{name}", value)

    def close(self):
        os.close(self.fd)

    @property
    def path(self):
        """A name for it that `ip` and `nsenter` take."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextlib.contextmanager
    def entered(self):
        """Moves the calling thread, and no other."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _check(_libc.setns(self.fd, _CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET))
            os.close(home)

    def popen(self, argv, **options):
        with self.entered():
            return subprocess.Popen(argv, **options)

    def run(self, *argv, stdin="", check=True, timeout=30):
        """Runs a command; returns what it printed (standard output and error)."""
        child = self.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True)
        try:
            output = child.communicate(stdin, timeout=timeout)[0]
        except subprocess.TimeoutExpired:
            child.kill()
            raise AssertionError(f"{' '.join(argv)} hangs: {child.communicate()[0]}") from None
        if check and child.returncode != 0:
            raise AssertionError(f"{' '.join(argv)} exited with {child.returncode}: {output}")
        return output

    def ip(self, *commands):
        self.run("ip", "-batch", "-", stdin="\n".join(commands) + "\n")

    def sysctl(self, name, value):
        with self.entered():
            with open("/proc/sys/" + name.replace(".", "/"), "w", encoding="ascii") as file:
                file.write(str(value))

    def loopback_up(self):
        self.ip("link set lo up")

    def socket(self, at="", kind=STREAM):
        """A socket of the family of the address."""
        with self.entered():
            made = socket.socket(address_family(at), kind)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

    def connect(self, at, timeout=10, source=None):
        """A connected TCP socket; timeout (seconds) holds for everything done with it. source: an address
        of the namespace to connect from."""
        made = self.socket(at)
        made.settimeout(timeout)
        try:
            if source:
                made.bind((source, 0))
            made.connect(parse_address(at))
        except OSError:
            made.close()
            raise
        return made

    def udp(self, at, timeout=10, source=None, connected=True):
        """A UDP socket for talking to `at`; unconnected, it sees which address an answer comes from. Its port
        is none that was used before: to a proxy, a new socket on an old port is an old client."""
        made = self.socket(at, DATAGRAM)
        made.settimeout(timeout)
        while True:
            self._udp_port = 10000 + (self._udp_port + 1) % 19000
            try:
                made.bind((source or "", self._udp_port))
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        if connected:
            made.connect(parse_address(at))
        return made

    def bind(self, at, kind=STREAM, timeout=10):
        """A socket that holds an address as a server does; OSError if it can't be had."""
        made = self.socket(at, kind)
        made.settimeout(timeout)
        try:
            if kind == STREAM:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(parse_address(at))
            if kind == STREAM:
                made.listen(1024)
        except OSError:
            made.close()
            raise
        return made

    def listen(self, at, timeout=10):
        return self.bind(at, timeout=timeout)


class Lab:
    """The cluster of one node that conftest.py draws."""

    def __init__(self):
        self.node = Namespace("node", "10.1.0.1", "fd00:1::1")
        self.more = []
        self.outside = Namespace("outside", "10.2.0.2", "fd00:2::2")
        self.client = Namespace("client", "10.1.0.10", "fd00:1::10")
        self.pods = [Namespace(f"pod{n}", f"10.1.0.1{n}", f"fd00:1::1{n}") for n in (1, 2, 3)]
        self.node.ip("link set lo up", "link add cbr0 type bridge", "addr add 10.1.0.1/24 dev cbr0",
                     "addr add fd00:1::1/64 dev cbr0", "link set cbr0 up")
        self.node.sysctl("net.ipv4.ip_forward", 1)
        self.node.sysctl("net.ipv6.conf.all.forwarding", 1)
        for pod in (self.client, *self.pods):
            self._attach(pod, pod.name)
            self.node.ip(f"link set {pod.name} master cbr0")
            pod.ip("route add default via 10.1.0.1", "route add default via fd00:1::1")
        self._attach(self.outside, "eth0")
        self.node.ip("addr add 10.2.0.1/24 dev eth0", "addr add fd00:2::1/64 dev eth0",
                     "route add default via 10.2.0.2", "route add default via fd00:2::2")
        self.outside.ip("route add default via 10.2.0.1", "route add default via fd00:2::1")
        wait.until(self._has_addresses, 20, "the node's addresses")

    def _has_addresses(self):
        """The kernel takes up IPv6 addresses a moment after they were given."""
        routes = self.node.run("ip", "-6", "route", "show", "table", "local")
        return all(f"local {address} " in routes and f"anycast {address[:-1]} " in routes
                   for address in ("fd00:1::1", "fd00:2::1"))

    def _attach(self, namespace, device):
        """Connects it with a pair of interfaces: `device` in the node, eth0 in it."""
        self.node.ip(f"link add {device} type veth peer name eth0 netns {namespace.path}",
                     f"link set {device} up")
        namespace.ip("link set lo up", f"addr add {namespace.address}/24 dev eth0",
                     f"addr add {namespace.address6}/64 dev eth0", "link set eth0 up")

    def add_routed_pod(self):
        """A pod behind a link of its own whose end in the node has no address, as Calico lays it out: the
        node routes the pod's address to the link and answers for the pod's gateway."""
        pod = Namespace("routed", "10.3.0.10", "fd00:3::10")
        self.more.append(pod)
        self.node.ip(f"link add routed type veth peer name eth0 netns {pod.path}", "link set routed up",
                     "addr add fe80::1/64 dev routed", "route add 10.3.0.10/32 dev routed",
                     "route add fd00:3::10/128 dev routed")
        self.node.sysctl("net.ipv4.conf.routed.proxy_arp", 1)
        pod.ip("link set lo up", "addr add 10.3.0.10/32 dev eth0", "addr add fd00:3::10/128 dev eth0",
               "link set eth0 up", "route add 169.254.1.1 dev eth0 scope link",
               "route add default via 169.254.1.1", "route add default via fe80::1 dev eth0")
        return pod

    def close(self):
        for namespace in (self.node, self.outside, self.client, *self.pods, *self.more):
            namespace.close()
