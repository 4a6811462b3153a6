#!/usr/bin/env python3
"""The real daemon against a real cluster, whose kubeconfig PORTALD_TEST_KUBECONFIG names. It needs to list and watch
Services, EndpointSlices and Nodes, changes nothing, and reaches the API server through its own Service."""
import os
import shutil
import ssl
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE]
CONFIG = os.environ.get("PORTALD_TEST_KUBECONFIG")

if not CONFIG:
    print("skipped: PORTALD_TEST_KUBECONFIG names no cluster")
    sys.exit(77)

try:
    import pytest
except ImportError:
    if shutil.which("pytest-3"):
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.execvp("pytest-3", ["pytest-3", "-q", "-p", "no:cacheprovider", __file__, *sys.argv[1:]])
    print("skipped: needs pytest (Debian: python3-pytest)")
    sys.exit(77)

from api_daemon import Daemon, wait_for  # noqa: E402

KUBERNETES = "default/kubernetes:https"


@pytest.fixture(name="daemon")
def cluster_daemon(tmp_path):
    with Daemon(tmp_path, f"--kubeconfig={CONFIG}") as daemon:
        yield daemon


def handshakes(address):
    try:
        return bool(ssl.get_server_certificate(address, timeout=10))
    except (OSError, ssl.SSLError):
        return False


def test_the_clusters_services_are_opened(daemon):
    daemon.wait_log("msg=ready")
    assert KUBERNETES in daemon.services()


def test_the_api_server_is_reached_through_its_service(daemon):
    address = daemon.address(KUBERNETES)
    wait_for(lambda: handshakes(address), "a TLS handshake through the Service")


def test_a_killed_control_comes_to_the_same(daemon):
    before = daemon.address(KUBERNETES)
    since = len(daemon.log())
    daemon.kill_control()
    daemon.wait_log("in force", since)
    assert daemon.address(KUBERNETES) == before


if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", __file__, *sys.argv[1:]]))
