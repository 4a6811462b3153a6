"""The proxies that are compared. Each writes its own configuration and runs in the foreground as our child.

All forward to the same backends, round-robin, with one worker, TCP_NODELAY (the default of each) and without
a log line for each connection. Everything else is as Debian installs it.
"""

import os
import re
import select
import subprocess
import time

import netns

HAPROXY = """\
global
    maxconn 4096
    nbthread 1

defaults
    mode tcp
    timeout connect 5000
    timeout client  50000
    timeout server  50000
{options}

listen bench
    bind {listen}
    balance roundrobin
{servers}
"""

NGINX = """\
load_module modules/ngx_stream_module.so;
user www-data;
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
events {{
    worker_connections 8192;
}}
stream {{
    upstream bench {{
{servers}
    }}
    server {{
        listen {listen};
        proxy_pass bench;
    }}
    server {{
        listen {listen} udp;
        proxy_pass bench;
    }}
}}
"""

MANIFEST = """\
apiVersion: v1
kind: Service
metadata:
  name: bench
  namespace: default
spec:
  clusterIP: {cluster_ip}
  ports:
  - name: tcp
    port: {port}
    targetPort: {backend_port}
  - name: udp
    port: {port}
    protocol: UDP
    targetPort: {backend_port}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: bench-1
  namespace: default
  labels:
    kubernetes.io/service-name: bench
addressType: IPv4
ports:
- name: tcp
  port: {backend_port}
  protocol: TCP
- name: udp
  port: {backend_port}
  protocol: UDP
endpoints:
{endpoints}
"""


class Unavailable(Exception):
    """The program isn't there, or didn't start: the row says so."""


def version(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return "not installed"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def portald_program():
    return os.environ.get("PORTALD", "./portald")


class Candidate:
    """start() returns the address that clients connect to; process is None for what the kernel does alone."""

    relays_udp = True
    udp_address = None  # where it isn't the same as for TCP

    def __init__(self, topology, directory, cpu):
        self.topology = topology
        self.directory = directory
        self.cpu = cpu
        self.process = None
        self.errors = None

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as out:
            out.write(text)
        return path

    def launch(self, *command, **options):
        self.errors = open(os.path.join(self.directory, "stderr"), "w+")
        try:
            self.process = self.topology.node.start(
                ["taskset", "--cpu-list", str(self.cpu), *command],
                stdin=subprocess.DEVNULL, stderr=self.errors, **options)
        except OSError as error:
            raise Unavailable(str(error))

    def last_words(self):
        with open(self.errors.name) as lines:
            return (lines.read().strip().splitlines() or ["no message"])[-1]

    def wait_for(self, ready, what, seconds=10):
        """Polls ready() until it gives something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = ready()
            if found:
                return found
            if self.process.poll() is not None:
                raise Unavailable(f"ended with {self.process.returncode}: {self.last_words()}")
            time.sleep(0.02)
        raise Unavailable(f"{what} within {seconds} s: {self.last_words()}")

    def wait_listening(self, address):
        port = address.rpartition(":")[2]
        self.wait_for(lambda: self.topology.node.run("ss", "-Hltn", "sport", "=", f":{port}"), "no listener")
        return address

    def cpu_seconds(self):
        return netns.cpu_seconds(self.process.pid) if self.process else None

    def stop(self):
        if self.process:
            netns.stop(self.process)
        if self.errors:
            self.errors.close()


class Haproxy(Candidate):
    label = "haproxy"
    options = ""
    relays_udp = False

    def start(self):
        listen = self.topology.proxy
        servers = "\n".join(f"    server s{i} {at}" for i, at in enumerate(self.topology.backends))
        config = self.write("haproxy.cfg", HAPROXY.format(
            listen=listen, options=self.options, servers=servers))
        self.launch("haproxy", "-db", "-f", config)
        return self.wait_listening(listen)


class HaproxySplice(Haproxy):
    """Not the default; splice-auto makes its own choice, which was to copy in every run of this benchmark."""

    label = "haproxy, splice on"
    options = "    option splice-request\n    option splice-response"


class Nginx(Candidate):
    label = "nginx stream"

    def start(self):
        listen = self.topology.proxy
        servers = "\n".join(f"        server {at};" for at in self.topology.backends)
        config = self.write("nginx.conf", NGINX.format(
            directory=self.directory, listen=listen, servers=servers))
        self.launch("nginx", "-c", config)
        return self.wait_listening(listen)


class Dnat(Candidate):
    """A rule for each backend, chosen at random: kube-proxy's iptables mode, less its chains."""

    label = "iptables DNAT"

    def start(self):
        address, port = self.topology.service.split(":")
        rules = []
        for i, backend in enumerate(self.topology.backends):
            left = len(self.topology.backends) - i
            chance = f"-m statistic --mode random --probability {1 / left:.5f} " if left > 1 else ""
            rules += [f"-A PREROUTING -d {address}/32 -p {proto} -m {proto} --dport {port} "
                      f"{chance}-j DNAT --to-destination {backend}" for proto in ("tcp", "udp")]
        self.topology.node.run("iptables-restore", text="\n".join(["*nat", *rules, "COMMIT", ""]))
        return self.topology.service


class Portald(Candidate):
    label = "portald"

    def manifest(self):
        address, port = self.topology.service.split(":")
        endpoints = "\n".join(f"- addresses: [\"{backend.partition(':')[0]}\"]\n  conditions: {{ready: true}}"
                              for backend in self.topology.backends)
        return self.write("bench.yaml", MANIFEST.format(
            cluster_ip=address, port=port, endpoints=endpoints,
            backend_port=self.topology.backends[0].partition(":")[2]))

    def launch_portald(self, *flags, **options):
        program = os.path.abspath(portald_program())
        # The unprivileged roles get their files from the starter; the directory needn't be open to them.
        self.launch(program, "-f", self.manifest(), "--relays", "1", "--status-socket=", *flags, **options)
        self.wait_for(self.is_ready, "not ready")

    def is_ready(self):
        with open(self.errors.name) as lines:
            return "msg=ready" in lines.read()


class PortaldDeployed(Portald):
    label = "portald, as deployed"

    def start(self):
        self.launch_portald()
        return self.topology.service


class PortaldDirect(Portald):
    label = "portald, listeners reached directly"

    def start(self):
        self.launch_portald("--steering=none", stdout=subprocess.PIPE)
        self.table = b""
        local = self.wait_for(self.local_addresses, "no table with local addresses")
        self.udp_address = local[b"UDP"]
        return local[b"TCP"]

    def local_addresses(self):
        """The table SERVICE PORT LOCAL-ADDRESS."""
        if select.select([self.process.stdout], [], [], 0)[0]:
            self.table += os.read(self.process.stdout.fileno(), 65536)
        found = re.findall(rb"/(TCP|UDP) +(127\.0\.0\.1:\d+)", self.table)
        return {proto: at.decode() for proto, at in found} if len(found) == 2 else None
