"""The command line: what it takes, what it prints, how it exits."""
import json
import subprocess
from pathlib import Path

import daemon
import peers
import pytest


@pytest.fixture
def command(host, binary):
    """command(argument, ...) is (exit code, output and log) of portald."""
    def run(*arguments):
        child = host.popen([str(binary), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
        output = child.communicate(timeout=10)[0]
        return child.returncode, output
    return run


@pytest.mark.parametrize("arguments", [(), ("-f",), ("--no-such-flag",), ("-f", "x", "--relays=none"),
                                       ("-f", "x", "--relays=0"), ("-f", "x", "--steering=magic"),
                                       ("-f", "x", "--iptables-variant=old"),
                                       ("-f", "x", "--bind-address=home"),
                                       ("-f", "x", "--service-node-port-range=9-1"),
                                       ("-f", "x", "--proxy-port-range=70000-70001"),
                                       ("-f", "x", "--service-cluster-ip-range=10.96.0.1/12"),
                                       ("-f", "x", "--log-format=xml"), ("plan",), ("run",), ("dance",)])
def test_usage_error_exits_with_2_and_says_what_is_wrong(command, arguments):
    code, output = command(*arguments)
    assert code == 2 and output, output


def test_user_that_does_not_exist_is_an_error(command, manifests):
    manifests.web([])
    code, output = command("-f", str(manifests.path), "--user=no-such-user")
    assert code in (1, 2) and "no-such-user" in output


def test_missing_path_is_an_error_at_start(command):
    code, output = command("-f", "/no/such/path")
    assert code == 1 and "/no/such/path" in output


def test_version_and_help_exit_with_0(command):
    code, output = command("--version")
    assert code == 0 and output.startswith("portald ")
    code, output = command("--help")
    assert code == 0
    for flag in ("--manifests", "--steering", "--bind-address", "--keep-rules", "cleanup", "plan", "run"):
        assert flag in output


def test_daemon_may_be_said(lab, web, manifests, binary, workdir):
    running = daemon.Portald(binary, lab.node, workdir / "log")
    running.spawn("daemon", "-f", str(manifests.path), "--foreground", "--iptables-variant=nft")
    try:
        running.wait_log("msg=ready")
        assert peers.fetch(lab.client, "10.96.0.10:80")
    finally:
        running.finish()


def test_json_log_is_json_line_by_line(lab, web, portald):
    running = portald("--log-format=json", "--v=2")
    assert peers.fetch(lab.client, "10.96.0.10:80")
    assert running.terminate() == 0
    lines = [json.loads(line) for line in running.log().splitlines()]
    assert {"msg", "level"} <= set(lines[0]) and "ready" in [line["msg"] for line in lines]


# ---- completion ----

def complete(binary, *words):
    """What bash offers for the last of the words."""
    script = Path(__file__).parents[2] / "contrib/completion/portald"
    ask = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _portald; '
           'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", ask, "bash", str(script), str(binary), *words], capture_output=True,
                          text=True, timeout=10, check=True)
    assert not done.stderr
    return done.stdout.split()


def test_completion_offers_commands_flags_and_values(binary):
    assert complete(binary, "pl") == ["plan"]
    assert complete(binary, "--conntrack-mi") == ["--conntrack-min="]
    assert {"--manifests=", "--strict", "--ipvs-scheduler="} <= set(complete(binary, "-"))
    assert complete(binary, "--log-format", "=", "j") == ["json"]
    assert complete(binary, "--scheduler", "n") == ["nq"]
