"""The benchmark of portald against haproxy, nginx stream and iptables DNAT: see doc/BENCHMARKS.md.

One proxy runs at a time, in namespaces made for that run. Rounds go through all of them in turn, so that a
noisy minute of the machine falls on all; what is printed are medians over the rounds.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import candidates
import netns
import report
import scale
import services

BACKEND_PORT = 9000
PROXY_PORT = 7000
SERVICE = "10.96.0.10:80"


class Workload:
    def __init__(self, name, serve, command, unit, unit_size):
        self.name = name
        self.serve = serve
        self.command = command
        self.unit = unit
        self.unit_size = unit_size


WORKLOADS = {
    "bulk": Workload("bulk, 8 streams, download", "source",
                     ["bulk", "--connections=8", "--direction=down"], "GB", 1e9),
    "bulk-up": Workload("bulk, 8 streams, upload", "sink",
                        ["bulk", "--connections=8", "--direction=up"], "GB", 1e9),
    "bulk-both": Workload("bulk, 8 streams, both ways at once", "both",
                          ["bulk", "--connections=8", "--direction=both"], "GB", 1e9),
    "rr": Workload("request/response, 64 connections, 64 bytes", "echo",
                   ["rr", "--connections=64", "--bytes=64"], "1,000 requests", 1e3),
    "conn": Workload("connect, request, response, close; 64 at a time", "echo",
                     ["conn", "--connections=64", "--bytes=64"], "1,000 connections", 1e3),
    "udp": Workload("UDP request/response, 64 flows, 64 bytes", "udp",
                    ["udp", "--connections=64", "--bytes=64"], "1,000 requests", 1e3),
}


class Topology:
    """A node between clients and backends; start and stop everything but the proxy."""

    def __init__(self, load):
        self.load = load
        self.spaces = []
        self.processes = []

    def space(self):
        self.spaces.append(netns.Netns())
        return self.spaces[-1]

    def fix_congestion_control(self):
        for space in self.spaces:
            space.fix_congestion_control()

    def serve(self, kind, addresses):
        command = [self.load, "backend", f"--serve={kind}", "--cpu=0", "--seconds=600"]
        command += [f"--listen={at}" for at in addresses]
        process = self.pods.start(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the backends did not start")
        return process

    def run_load(self, arguments, target, seconds):
        command = [self.load, *arguments, f"--connect={target}", f"--seconds={seconds}", "--cpu=0"]
        process = self.clients.start(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.processes.append(process)
        try:
            line = process.communicate(timeout=seconds + 30)[0]
        finally:
            netns.stop(process)
            self.processes.remove(process)
        if process.returncode != 0:
            raise RuntimeError(f"load {' '.join(arguments)} ended with {process.returncode}")
        return json.loads(line)

    def close(self):
        for process in self.processes:
            netns.stop(process)
        for space in reversed(self.spaces):
            space.close()


class Loopback(Topology):
    """All in one namespace, over loopback: the proxy's listeners reached directly."""

    name = "direct"
    title = "Listeners reached directly (one namespace, loopback)"

    def __init__(self, load):
        super().__init__(load)
        self.clients = self.node = self.pods = self.space()
        self.fix_congestion_control()
        self.backends = [f"127.0.0.{host}:{BACKEND_PORT}" for host in (11, 12, 13)]
        self.proxy = f"127.0.0.1:{PROXY_PORT}"
        self.service = SERVICE


class Routed(Topology):
    """Client, node and backends in namespaces of their own, joined by veth pairs."""

    name = "deployed"
    title = "As deployed (client, node and backends in three namespaces, veth)"

    def __init__(self, load):
        super().__init__(load)
        self.clients, self.node, self.pods = self.space(), self.space(), self.space()
        netns.veth(self.clients, "eth0", self.node, "clients")
        netns.veth(self.pods, "eth0", self.node, "pods")
        self.clients.address("eth0", "10.77.1.2/24")
        self.node.address("clients", "10.77.1.1/24")
        self.node.address("pods", "10.77.2.1/24")
        self.pods.address("eth0", *(f"10.77.2.{host}/24" for host in (11, 12, 13)))
        self.clients.run("ip", "route", "add", "default", "via", "10.77.1.1")
        self.pods.run("ip", "route", "add", "default", "via", "10.77.2.1")
        self.fix_congestion_control()
        self.backends = [f"10.77.2.{host}:{BACKEND_PORT}" for host in (11, 12, 13)]
        self.proxy = f"10.77.1.1:{PROXY_PORT}"
        self.service = SERVICE


TOPOLOGIES = {
    "direct": (Loopback, [candidates.Haproxy, candidates.HaproxySplice, candidates.Nginx,
                          candidates.PortaldDirect]),
    "deployed": (Routed, [candidates.Haproxy, candidates.HaproxySplice, candidates.Nginx, candidates.Dnat,
                          candidates.PortaldDeployed]),
}


def measure(topology, candidate, target, workload, options):
    """One workload on a running proxy, warmed up: the load's result and the proxy's CPU time."""
    backend = topology.serve(workload.serve, topology.backends)
    try:
        topology.run_load(workload.command, target, options.warm_up)
        before = candidate.cpu_seconds()
        result = topology.run_load(workload.command, target, options.seconds)
        after = candidate.cpu_seconds()
    finally:
        netns.stop(backend)
        topology.processes.remove(backend)
    units = result["units"] / workload.unit_size
    result["per_second"] = units / result["seconds"]
    result["cpu"] = (after - before) / units if before is not None and units else None
    return result


def run_candidate(topology_class, candidate_class, options, keep_result):
    topology = topology_class(options.load)
    try:
        with tempfile.TemporaryDirectory(prefix="portald-bench-") as directory:
            os.chmod(directory, 0o755)  # nginx's worker and portald's roles aren't root
            candidate = candidate_class(topology, directory, options.proxy_cpu)
            try:
                target = candidate.start()
                for name in options.workloads:
                    if name == "udp" and not candidate.relays_udp:
                        continue
                    address = candidate.udp_address if name == "udp" else None
                    keep_result(name, measure(
                        topology, candidate, address or target, WORKLOADS[name], options))
            finally:
                candidate.stop()
    finally:
        topology.close()


def run_rounds(options):
    """{topology: {workload: {label: [result a round]}}}, and what couldn't run: {label: why}."""
    results, missing = {}, {}
    plan = [(TOPOLOGIES[name][0], one) for name in options.topologies for one in TOPOLOGIES[name][1]
            if not options.only or any(word in one.label for word in options.only)]
    for number in range(options.rounds):
        for topology_class, one in plan:
            if one.label in missing:
                continue
            table = results.setdefault(topology_class.name, {})

            def keep_result(name, result):
                table.setdefault(name, {}).setdefault(one.label, []).append(result)
                print(f"round {number + 1}/{options.rounds} {topology_class.name} {one.label}: {name} "
                      f"{result['per_second']:.4g}/s cpu {result['cpu'] or 0:.4g} errors {result['errors']}",
                      file=sys.stderr, flush=True)

            try:
                run_candidate(topology_class, one, options, keep_result)
            except candidates.Unavailable as error:
                missing[one.label] = str(error)
                print(f"{one.label}: left out: {error}", file=sys.stderr, flush=True)
    return results, missing


# ---- the latency goal: a good, a refusing and a black-holed backend ----

RATE = 200
GOALS_US = {"p50_us": 300, "p99_us": 5000}


def run_rate(options):
    """Connections on schedule through portald's ClusterIP while two of its three backends are dead, each its way;
    and, as what this machine can do at best, to the good backend itself."""
    topology = Routed(options.load)
    good, _, hole = (at.partition(":")[0] for at in topology.backends)
    try:
        with tempfile.TemporaryDirectory(prefix="portald-bench-") as directory:
            os.chmod(directory, 0o755)
            # Frames to a neighbour that nobody is: they vanish, as those to a dead node do.
            topology.pods.run("ip", "address", "del", f"{hole}/24", "dev", "eth0")
            topology.node.run("ip", "neighbour", "add", hole, "lladdr", "02:00:00:00:00:99",
                              "dev", "pods", "nud", "permanent")
            topology.serve("echo", [f"{good}:{BACKEND_PORT}"])
            command = ["rate", f"--rate={RATE}", "--skip=1"]
            floor = topology.run_load(command, f"{good}:{BACKEND_PORT}", options.rate_seconds)
            candidate = candidates.PortaldDeployed(topology, directory, options.proxy_cpu)
            try:
                return floor, topology.run_load(command, candidate.start(), options.rate_seconds)
            finally:
                candidate.stop()
    finally:
        topology.close()


def print_rate(floor, result, options):
    late = [name for name, most in GOALS_US.items() if result.get(name, most) >= most]
    print(report.rate(floor, result, RATE, GOALS_US))
    print(report.programs(options, ["portald"]))
    return 1 if result["errors"] or late else 0


def print_services(rows, options):
    print(services.table(rows))
    print("\n```\n" + "\n\n".join(services.plot(rows, key) for key in services.PLOTTED) + "\n```\n")
    print(report.programs(options, ["portald", "iptables", "nft"]))
    return 1 if any(row["errors"] for row in rows.values()) else 0


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round: does it all still run?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=0.3)
    parser.add_argument("--topologies", default="direct,deployed", help="direct, deployed")
    parser.add_argument("--workloads", default="bulk,rr,conn,udp", help=", ".join(WORKLOADS))
    parser.add_argument("--only", default="", help="proxies whose name has one of these words")
    parser.add_argument("--proxy-cpu", type=int, help="1, and 0 with --rate; the load runs on CPU 0")
    parser.add_argument("--json", metavar="FILE", help="every single measurement")
    parser.add_argument("--rate", action="store_true", help="the latency goal, two dead backends, instead")
    parser.add_argument("--services", action="store_true", help="how steering scales with Services, instead")
    parser.add_argument("--scale", action="store_true", help="following an API server, instead")
    parser.add_argument("--counts", default="1,100,1000,10000", help="of Services, for --services")
    parser.add_argument("--rate-seconds", type=float, default=10.0)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warm_up, options.rate_seconds = 1, 0.2, 0.05, 3.0
    if options.proxy_cpu is None:
        # One CPU for --rate: nothing is busy there, and waking an idle CPU takes a time of the machine's own.
        options.proxy_cpu = 0 if options.rate else 1
    options.counts = [int(count) for count in options.counts.split(",")]
    options.load = os.path.abspath(os.environ.get("LOAD", "./tests/bench/load"))
    for name, known in (("topologies", TOPOLOGIES), ("workloads", WORKLOADS), ("only", None)):
        words = [word for word in getattr(options, name).split(",") if word]
        if known is not None and (not words or set(words) - set(known)):
            parser.error(f"--{name}: one or more of {', '.join(known)}")
        setattr(options, name, words)
    return options


def check_machine(options):
    if os.geteuid() != 0:
        return "needs root: it makes network namespaces"
    if not os.access(options.load, os.X_OK):
        return f"{options.load} is missing: make tests/bench/load"
    if not {0, options.proxy_cpu} <= os.sched_getaffinity(0):
        return f"CPUs 0 and {options.proxy_cpu} are both needed"
    return None


def portald_failed(results, missing):
    """Whether portald could not serve, or not everybody: then this was no benchmark."""
    rows = [row for by_workload in results.values() for by_label in by_workload.values()
            for label, some in by_label.items() if label.startswith("portald") for row in some]
    return any(label.startswith("portald") for label in missing) or any(row["errors"] for row in rows)


def main():
    options = parse_arguments()
    problem = check_machine(options)
    if problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is in `finally` runs
    if options.rate:
        try:
            return print_rate(*run_rate(options), options)
        except candidates.Unavailable as error:
            print(f"bench: portald can't serve: {error}", file=sys.stderr)
            return 1
    if options.scale:
        return scale.run()
    if options.services:
        return print_services(services.run(Routed, options), options)
    started = time.monotonic()
    results, missing = run_rounds(options)
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"results": results, "missing": missing}, out, indent=1)
    titles = {name: TOPOLOGIES[name][0].title for name in TOPOLOGIES}
    print(report.tables(results, missing, WORKLOADS, titles))
    print(report.machine(sys.argv[1:], options, time.monotonic() - started))
    return 1 if portald_failed(results, missing) else 0


if __name__ == "__main__":
    sys.exit(main())
