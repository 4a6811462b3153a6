"""How steering scales with the number of Services, for each back end: `bench.py --services`.

One run of portald for each back end and number, as deployed, with one relay, on one CPU. Times are those between
its own log lines: from a plan in control's hands to its rules in force.
"""

import datetime
import os
import re
import resource
import statistics
import sys
import tempfile
import time

import candidates
import netns

BACKENDS = {
    "iptables (nft)": ["--iptables-variant=nft"],
    "iptables (legacy)": ["--iptables-variant=legacy"],
    "nftables": ["--steering=nftables"],
    "local": ["--steering=local"],
}
OPEN_FILES = 20000  # a listening socket for each Service
AUDIT_S = 2
AUDITS = 3
CONNECTION_ROUNDS = 5
ADDITIONS = 3  # one of them may meet an audit
PLOTTED = ("sync_ms", "add_ms", "connection_us")

COLUMNS = {
    "sync_ms": "full sync, ms",
    "add_ms": "one more, ms",
    "connections": "connections/s, last Service",
    "connection_us": "CPU of a connection there, us",
    "last_to_first": "the same, last / first Service",
    "audit_ms": "CPU of an audit, ms",
    "supervisor_mb": "supervisor, MB",
    "control_mb": "control, MB",
    "relay 0_mb": "relay, MB",
}

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: default}}
spec: {{clusterIP: {at}, ports: [{{name: tcp, port: 80, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s{number}-1, namespace: default, labels: {{kubernetes.io/service-name: s{number}}}}}
addressType: IPv4
ports: [{{name: tcp, port: {port}, protocol: TCP}}]
endpoints: [{{addresses: [{backend}], conditions: {{ready: true}}}}]
"""


def cluster_ip(number):
    return f"10.96.{number // 250}.{number % 250 + 1}"


class Portald(candidates.Portald):
    """portald in front of `count` Services, which have one backend in common."""

    def __init__(self, topology, directory, cpu, count):
        super().__init__(topology, directory, cpu)
        self.count = count
        self.manifests = os.path.join(directory, "manifests")
        os.mkdir(self.manifests)
        os.chmod(self.manifests, 0o755)

    def manifest(self):
        self.write_services("all.yaml", range(self.count))
        return self.manifests

    def write_services(self, name, numbers):
        backend, _, port = self.topology.backends[0].partition(":")
        text = "---\n".join(SERVICE.format(number=number, at=cluster_ip(number), port=port, backend=backend)
                            for number in numbers)
        os.rename(self.write("new.yaml", text), os.path.join(self.manifests, name))

    def log(self):
        with open(self.errors.name) as lines:
            return lines.read()

    def is_ready(self):
        return "msg=ready" in self.log()

    def wait_for(self, ready, what, seconds=120):
        return super().wait_for(ready, what, seconds)

    def milliseconds(self, since=0):
        """From the first plan in the log to the word after it that it is in force; None as long as it isn't."""
        end = '(?:msg=ready|msg="plan in force")'
        found = re.search(rf'time=(\S+?)Z [^\n]*"manifests loaded".*?time=(\S+?)Z [^\n]*{end}',
                          self.log()[since:], re.DOTALL)
        if not found:
            return None
        begin, done = (datetime.datetime.fromisoformat(stamp) for stamp in found.groups())
        return max(1, (done - begin).total_seconds() * 1000)

    def add_one(self, number):
        since = len(self.log())
        self.write_services(f"{number}.yaml", [number])
        return self.wait_for(lambda: self.milliseconds(since), "the new Service is not in force")

    def roles(self):
        """{title: pid} of portald's processes, without the tools that it runs for a moment."""
        found = {}
        for pid in netns.descendants(self.process.pid):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as line:
                    title = line.read().partition(b"\0")[0].decode().strip()
            except OSError:
                continue
            if title.startswith("portald: "):
                found[title.removeprefix("portald: ")] = pid
        return found

    def resident_mb(self):
        sizes = {}
        for role, pid in self.roles().items():
            with open(f"/proc/{pid}/status") as status:
                sizes[f"{role}_mb"] = int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024
        return sizes

    def audit_ms(self):
        """CPU time of the supervisor and of the tools that it has waited for, for one audit."""
        ticks = os.sysconf("SC_CLK_TCK")
        pid = self.roles()["supervisor"]

        def used():
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
            return sum(int(field) for field in fields[11:15]) / ticks * 1000

        before = used()
        time.sleep(AUDIT_S * AUDITS)
        return (used() - before) / AUDITS


def connect(topology, portald, number, options):
    """One round of connections through a Service: how many a second, and the CPU time of client, relay and
    backends for one: the kernel's work for a packet is counted where it was sent."""
    relay = portald.roles()["relay 0"]

    def used():
        client = resource.getrusage(resource.RUSAGE_CHILDREN)
        others = sum(netns.cpu_seconds(pid) for pid in (relay, *(one.pid for one in topology.processes)))
        return others + client.ru_utime + client.ru_stime

    before = used()
    result = topology.run_load(["conn", "--connections=64", "--bytes=64"], f"{cluster_ip(number)}:80",
                               options.seconds)
    cost = (used() - before) / max(1, result["units"]) * 1e6
    return result["units"] / result["seconds"], cost, result["errors"]


def connections(topology, portald, count, options):
    """Through the first and the last Service in turn. Of rates the best: what else the machine does can only make
    one slower. Of CPU times the median."""
    rounds = [(connect(topology, portald, 0, options), connect(topology, portald, count - 1, options))
              for _ in range(CONNECTION_ROUNDS)]
    first, last = ([one[place] for one in rounds] for place in (0, 1))
    return {
        "connections": max(rate for rate, _, _ in last),
        "connection_us": statistics.median(cost for _, cost, _ in last),
        "last_to_first": statistics.median(one[1][1] / one[0][1] for one in rounds),
        "errors": sum(errors for _, _, errors in first + last),
    }


def measure(topology, flags, count, options):
    with tempfile.TemporaryDirectory(prefix="portald-bench-") as directory:
        os.chmod(directory, 0o755)
        portald = Portald(topology, directory, options.proxy_cpu, count)
        try:
            portald.launch_portald(*flags, f"--iptables-sync-period={AUDIT_S}s",
                                   "--iptables-min-sync-period=0s")
            row = {"sync_ms": portald.wait_for(portald.milliseconds, "the Services are not in force"),
                   "add_ms": min(portald.add_one(count + i) for i in range(ADDITIONS))}
            row.update(connections(topology, portald, count, options))
            row.update(portald.resident_mb())
            row["audit_ms"] = portald.audit_ms()
            return row
        finally:
            portald.stop()


def run(topology_class, options):
    """{(back end, number of Services): row}."""
    netns.OPEN_FILES = OPEN_FILES
    rows = {}
    for count in options.counts:
        for name, flags in BACKENDS.items():
            if options.only and not any(word in name for word in options.only):
                continue
            topology = topology_class(options.load)
            try:
                topology.serve("echo", topology.backends)
                rows[name, count] = measure(topology, flags, count, options)
            finally:
                topology.close()
            print(f"{count} Services, {name}: {rows[name, count]}", file=sys.stderr, flush=True)
    return rows


def number(value):
    return "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def table(rows):
    lines = ["| Services | back end | " + " | ".join(COLUMNS.values()) + " |",
             "| ---: | --- |" + " ---: |" * len(COLUMNS)]
    lines += [f"| {count:,} | {name} | " + " | ".join(number(row.get(key)) for key in COLUMNS) + " |"
              for (name, count), row in rows.items()]
    return "\n".join(lines)


def plot(rows, key):
    """Bars of text, as long as the logarithm of what they stand for."""
    lines = [COLUMNS[key], ""]
    for (name, count), row in rows.items():
        bar = "#" * max(1, round(12 * (len(f"{row[key]:.0f}") - 1 + row[key] / 10 ** len(f"{row[key]:.0f}"))))
        lines.append(f"{count:>6,} {name:<18} {bar} {number(row[key])}")
    return "\n".join(lines)
