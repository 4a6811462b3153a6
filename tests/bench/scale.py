"""How following an API server scales: `bench.py --scale`.

The daemon, with listeners on loopback instead of rules, follows the fake API server, which runs in this process. A change
is timed from the server's hands until a connection through the listener is answered by the new endpoint,
so encoding, TLS and the connection are in it.
"""

import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[1:1] = [os.path.join(HERE, "..", "tools"), os.path.join(HERE, "..", "api")]

# pylint: disable=wrong-import-position
from api_daemon import Daemon, Pod, ask, endpoints, service, wait_for  # noqa: E402
from fake_apiserver import FakeApiServer  # noqa: E402
from fake_store import generate  # noqa: E402

COUNTS = (100, 10000)
ENDPOINTS = 5
CHANGES = 300
LOAD_S = 5.0
LOAD_RATE = 1000
WEB = "default/web:http"


def cpu_ms(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * 1000 / os.sysconf("SC_CLK_TCK")


def resident_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


class Cluster:
    """A fake API server with that many Services, and the daemon that follows it."""

    def __init__(self, directory, services):
        os.chmod(directory, 0o755)
        self.pods = Pod("one", "127.0.0.11"), Pod("two", "127.0.0.12")
        self.now, self.services = 0, services
        self.fake = FakeApiServer(directory)
        generate(self.fake.store, services, ENDPOINTS)
        self.fake.put(service("web", 250))
        self.fake.put(endpoints("web", self.pods[0]))
        self.fake.start()
        self.daemon = Daemon(directory, "--kubeconfig", self.fake.kubeconfig())
        wait_for(lambda: "msg=ready" in self.daemon.log(), "ready", 120)
        self.at = self.daemon.address(WEB)
        self.control = self.daemon.control()

    def close(self):
        self.daemon.__exit__()
        self.fake.stop()
        for pod in self.pods:
            pod.close()

    def change(self):
        """The endpoint becomes the other one. Returns the milliseconds until a connection meets it."""
        self.now = 1 - self.now
        pod = self.pods[self.now]
        begin = time.perf_counter()
        self.fake.put(endpoints("web", pod))
        while ask(self.at) != pod.name:
            if time.perf_counter() - begin > 60:
                raise TimeoutError("a change is not in force after a minute")
            time.sleep(0.0005)
        return (time.perf_counter() - begin) * 1000

    def changes(self):
        """Median and 99th percentile of a change, and control's and the supervisor's CPU for it, in ms."""
        before = cpu_ms(self.control) + cpu_ms(self.daemon.process.pid)
        times = sorted(self.change() for _ in range(CHANGES))
        spent = cpu_ms(self.control) + cpu_ms(self.daemon.process.pid) - before
        return times[CHANGES // 2], times[CHANGES * 99 // 100], spent / CHANGES

    def load(self):
        """Changes at a rate. Returns the rate that was reached, the milliseconds by which the daemon was behind at
        the end, the CPU of control as a part of one, and the number of syncs."""
        slices = [item for item in self.fake.store.objects["endpointslices"].values()
                  if item["metadata"]["namespace"] != "default"]
        since, before, begin, count = len(self.daemon.log()), cpu_ms(self.control), time.perf_counter(), 0
        while (passed := time.perf_counter() - begin) < LOAD_S:
            while count < passed * LOAD_RATE:
                item = slices[count % len(slices)]
                few = dict(item, endpoints=item["endpoints"][1 - count // len(slices) % 2:])
                few["metadata"] = {k: v for k, v in item["metadata"].items() if k != "resourceVersion"}
                self.fake.put(few)
                count += 1
            time.sleep(0.001)
        spent = (cpu_ms(self.control) - before) / (passed * 1000)
        behind = self.change()
        return count / passed, behind, spent, self.daemon.log()[since:].count('msg="plan in force"')


def measure(services):
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(directory, services)
        try:
            start = cpu_ms(cluster.control), resident_mb(cluster.control)
            return (services, *start, *cluster.changes(), *cluster.load())
        finally:
            cluster.close()


def run():
    """Measures and prints a table."""
    sys.setswitchinterval(0.0005)
    print("| Services | endpoints | control's CPU until ready, ms | control, MB | a change, ms: median | p99 | "
          "its CPU, ms | changes/s | behind after 5 s, ms | control's CPU | syncs |")
    print("|" + " ---: |" * 11)
    for services in COUNTS:
        row = measure(services)
        print(f"| {row[0]:,} | {row[0] * ENDPOINTS:,} | {row[1]:.0f} | {row[2]:.1f} | {row[3]:.1f} | {row[4]:.1f} | "
              f"{row[5]:.2f} | {row[6]:.0f} | {row[7]:.1f} | {row[8] * 100:.0f}% | {row[9]} |", flush=True)
    return 0
