"""Namespace tests: the real portald binary, real iptables, real sockets, in a cluster of one node.

    outside 10.2.0.2 -- eth0 10.2.0.1 [ node: portald ] cbr0 10.1.0.1 --+-- client 10.1.0.10
    (routes to node)                  ClusterIPs 10.96.0.0/12           +-- pod1   10.1.0.11
                                                                        +-- pod2   10.1.0.12
                                                                        +-- pod3   10.1.0.13

IPv6 is laid out alike: fd00:1::/64 for the pods, fd00:2::/64 outside, ClusterIPs fd00:96::/112 (families.py).
"From three standpoints" is: from `client` (a pod), from `node` itself, from `outside`.

Each test gets its own lab: every box is a network namespace without a name, held by a descriptor of the
test process, so none outlives it. A socket stays in the namespace in which it was made: tests and their
backends are ordinary threads of one process (lab.py, peers.py). portald runs in `node` (daemon.py). The
laptop's tests use `host` instead, a namespace with nothing but a loopback interface.

Run as root: PORTALD=path/to/portald pytest-3 tests/netns    (default: ./portald)
Runs may go side by side: --shard=1/2 and --shard=2/2 have one half of the tests each.
"""
import os
import resource
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
pytest.register_assert_rewrite("app", "daemon", "families", "lab", "peers", "rules", "udp")

import app as app_module  # noqa: E402
import daemon  # noqa: E402
import families  # noqa: E402
import lab as lab_module  # noqa: E402
import manifests as manifests_module  # noqa: E402
import peers  # noqa: E402
import steered  # noqa: E402
import udp  # noqa: E402
import wait  # noqa: E402


# How traffic gets to the proxy ports: the suite's one parameter, by name, and the flags for it. A test marked
# with every_backend runs over all of these, any other one over the first, or over those of PORTALD_BACKENDS
# ("all", or names separated by commas) if it goes through `portald` and says nothing of steering itself. With
# PORTALD_BACKENDS=each all of these tests run over one, not all over the same: all ways in the time of one.
BACKENDS = {
    "iptables-nft": ("--iptables-variant=nft",),
    "iptables-legacy": ("--iptables-variant=legacy",),
    "nftables": ("--steering=nftables",),
    "local": ("--steering=local",),
}


BACKENDS_VARIABLE = "PORTALD_BACKENDS"

# What some back ends can't do by nature, as portald(8) and doc/ARCHITECTURE.md say: a test that is marked with
# needs("...") is skipped with them for that reason. have(...), a fixture, is for a test that needs it in part.
LACKING = {
    "proxy ports": {"local": "its listeners are at the Services' own addresses and ports"},
    "tools": {"local": "it runs no program"},
    "ends at once": {"local": "the relays close listeners and the kernel connections, a moment after a change"},
    "host scope": {"local": "what the node itself sends can't be told from what arrives"},
    "pods' scope": {"local": "there is no rule that could tell pods from other clients"},
    "new ways for old sockets": {"local": "a UDP socket that was connected over IPv6 before its peer's address "
                                          "became the node's keeps the way that it has found"},
}


def wanted_backends(metafunc):
    names = os.environ.get(BACKENDS_VARIABLE, "iptables-nft")
    if names in ("all", "each") or metafunc.definition.get_closest_marker("every_backend"):
        return list(BACKENDS)
    return names.split(",")


def reason_against(metafunc, name):
    for mark in metafunc.definition.iter_markers("needs"):
        if name in LACKING[mark.args[0]]:
            return f"{name} lacks {mark.args[0]}: {LACKING[mark.args[0]][name]}"
    return None


def pytest_generate_tests(metafunc):
    if "backend" not in metafunc.fixturenames:
        return
    reasons = {name: reason_against(metafunc, name) for name in wanted_backends(metafunc)}
    metafunc.parametrize("backend", [
        pytest.param(name, marks=[pytest.mark.skip(reason=reason)] if reason else [])
        for name, reason in reasons.items()], indirect=True)


def is_in_turn(item):
    """Whether the test's back end is the one for it. The same in every run, so that a failure comes again."""
    backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")
    if backend is None:
        return True
    turn = zlib.crc32(item.nodeid.replace(backend, "").encode()) % len(BACKENDS)
    return backend == list(BACKENDS)[turn]


def deselect(config, items, kept):
    config.hook.pytest_deselected(items=[item for item, keep in zip(items, kept) if not keep])
    items[:] = [item for item, keep in zip(items, kept) if keep]


def pytest_addoption(parser):
    parser.addoption("--shard", metavar="K/N", default="1/1",
                     help="only each N-th test, beginning with the K-th: for N runs side by side")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if os.environ.get(BACKENDS_VARIABLE) == "each":
        deselect(config, items, [is_in_turn(item) for item in items])
    number, count = map(int, config.getoption("shard").split("/"))
    deselect(config, items, [place % count == number - 1 for place in range(len(items))])


def pytest_unconfigure(config):
    if hasattr(config, "own_lock"):
        config.own_lock.close()


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than two seconds")
    config.addinivalue_line("markers", "every_backend: runs over every way of steering")
    config.addinivalue_line("markers", "needs(what): not for a way of steering that lacks it (LACKING)")
    if os.geteuid() != 0:
        pytest.exit("the namespace tests need root", returncode=1)
    if not Path(daemon.binary_path()).is_file():
        pytest.exit(f"no portald at {daemon.binary_path()} (set PORTALD)", returncode=1)
    names = os.environ.get(BACKENDS_VARIABLE, "all")
    unknown = set() if names in ("all", "each") else set(names.split(",")) - set(BACKENDS)
    if unknown:
        pytest.exit(f"{BACKENDS_VARIABLE}: no such back end: {', '.join(sorted(unknown))} (there are "
                    f"{', '.join(BACKENDS)}; or all, or each)", returncode=1)
    config.own_lock = tempfile.NamedTemporaryFile(prefix="portald-xtables-lock-")
    lab_module.own_file("/run/xtables.lock", config.own_lock.name)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session")
def binary():
    """portald where an unprivileged user can execute it."""
    directory = Path(tempfile.mkdtemp(prefix="portald-netns-"))
    directory.chmod(0o755)
    shutil.copy(daemon.binary_path(), directory / "portald")
    yield directory / "portald"
    shutil.rmtree(directory)


@pytest.fixture
def workdir():
    """An empty directory that an unprivileged user can read; pytest's own is closed to them."""
    directory = Path(tempfile.mkdtemp(prefix="portald-netns-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def lab():
    made = lab_module.Lab()
    yield made
    made.close()


@pytest.fixture
def host():
    made = lab_module.Namespace("host")
    made.loopback_up()
    yield made
    made.close()


@pytest.fixture
def serve():
    """serve(namespace, "10.1.0.11:8080", handler) starts a backend that lives as long as the test."""
    servers = []

    def start(namespace, at, handler):
        servers.append(peers.Server(namespace, at, handler))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def serve_udp():
    """The same for UDP: serve_udp(namespace, "10.1.0.11:8080", handler)."""
    servers = []

    def start(namespace, at, handler):
        servers.append(udp.Server(namespace, at, handler))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(params=["v4", "v6"])
def family(request):
    """Runs the test in both families."""
    return families.BY_NAME[request.param]


@pytest.fixture(params=["tcp", "udp"])
def protocol(request):
    """Runs the test over both protocols."""
    return request.param


@pytest.fixture
def app(lab, family, manifests):
    """A Service over TCP, in the test's family, to be described and served by the test (app.py)."""
    return app_module.App(lab, family, manifests)


@pytest.fixture
def udp_app(lab, family, manifests):
    return app_module.App(lab, family, manifests, "udp")


@pytest.fixture
def portals(app, serve):
    """The Service with a ClusterIP and a NodePort."""
    app.serve(serve)
    app.node_port()
    app.write()
    return app


@pytest.fixture
def node(lab, backend, family):
    """The lab's node, as the test's way of steering leaves it (steered.py)."""
    return steered.Node(lab, backend, family)


@pytest.fixture
def manifests(workdir):
    """A manifest directory: manifests.write("web.yaml", object, ...)."""
    return manifests_module.Directory(workdir / "manifests")


@pytest.fixture(params=["nft", "legacy"])
def variant(request):
    """Runs the test with both kinds of iptables."""
    return request.param


PATIENT = ("--iptables-min-sync-period=0", "--udp-timeout=60s")


@pytest.fixture
def start_portald(binary, workdir):
    """start_portald(namespace, manifests, *flags) runs the daemon until it is ready, and checks at the end
    of the test that it stops cleanly and leaves nothing. For daemons that fail: spawn(). Unless a flag says
    otherwise, changes don't wait for each other, and no flow ends because the test is slow."""
    started = []

    def start(namespace, manifests, *flags, **options):
        started.append(daemon.Portald(binary, namespace, workdir / f"log{len(started)}", **options))
        started[-1].start("-f", str(manifests), *PATIENT, *flags)
        return started[-1]

    yield start
    daemon.finish_all(started)


@pytest.fixture
def backend(request):
    """The name of the way of steering that the test's portald takes."""
    return request.param


@pytest.fixture
def have(backend):
    """have("tools"): whether the test's back end has what LACKING names."""
    return lambda what: backend not in LACKING[what]


@pytest.fixture
def becomes(have):
    """becomes(ask, answer): after a change ask() gives that answer: at once, if the back end can."""
    def given(ask):
        try:
            return ask()
        except OSError as error:
            return str(error)

    def check(ask, answer):
        if have("ends at once"):
            assert ask() == answer
        else:
            wait.until(lambda: given(ask) == answer, 10, lambda: f"{answer}, not {given(ask)}")

    return check


@pytest.fixture
def portald(start_portald, lab, manifests, backend):
    """portald(*flags) in the lab's node, on the test's manifests (or path), steering by the test's back end."""

    def start(*flags, path=manifests.path, **options):
        if not any(flag.startswith(("--iptables-variant", "--steering")) for flag in flags):
            flags = (*BACKENDS[backend], *flags)
        return start_portald(lab.node, path, *flags, **options)

    return start


@pytest.fixture
def web(lab, serve, manifests):
    """The Service most tests use: default/web:http at 10.96.0.10:80 and NodePort 30080, in front of three
    pods that answer with their names."""
    servers = [serve(pod, f"{pod.address}:8080", peers.identity(pod.name)) for pod in lab.pods]
    manifests.web(pod.address for pod in lab.pods)
    return servers
