"""The configuration file, and what is set on the host at start."""
import subprocess
from pathlib import Path

import peers
import pytest

SERVICE = "10.96.0.10:80"
KUBE_PROXY = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
PORTALD = "---\napiVersion: portald.io/v1alpha1\nkind: PortaldConfiguration\n"
NETFILTER = "net.netfilter."


@pytest.fixture
def command(host, binary):
    """command(argument, ...) is (exit code, output and log) of portald."""
    def run(*arguments):
        child = host.popen([str(binary), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
        return child.communicate(timeout=30)[0], child.returncode
    return run


@pytest.fixture
def config(workdir):
    """config(text) writes the file; its path is config.path."""
    class Config:
        path = Path(workdir) / "config.yaml"

        def __call__(self, text):
            fresh = self.path.with_suffix(".new")
            fresh.write_text(text, encoding="utf-8")
            fresh.rename(self.path)
            return str(self.path)
    return Config()


def sysctl(namespace, name):
    return int(namespace.run("sysctl", "-n", NETFILTER + name))


# ---- at start ----

def test_daemon_takes_everything_from_the_file(lab, web, manifests, start_portald, config):
    path = config(KUBE_PROXY + "mode: userspace\nnodePortAddresses: []\n" + PORTALD +
                  f"manifests: ['{manifests.path}']\niptablesVariant: nft\n")
    start_portald(lab.node, "/not/used", f"--config={path}")
    assert peers.fetch(lab.client, SERVICE) == "pod1"


def test_unknown_field_is_a_warning_with_its_place(command, config, workdir):
    path = config(KUBE_PROXY + "conntrack:\n  minn: 4\n")
    output, code = command("--config", path, f"--write-config-to={workdir}/out.yaml")
    assert code == 0
    assert "config.yaml:4:3: warning:" in output and 'did you mean \\"min\\"?' in output


@pytest.mark.parametrize("text, message", [
    (KUBE_PROXY + "mode: ipvs\n", "config.yaml:3:7: error: KubeProxyConfiguration: mode"),
    (KUBE_PROXY + "conntrack:\n  min: many\n", "config.yaml:4:8: error: KubeProxyConfiguration: conntrack.min"),
    (KUBE_PROXY + "conntrack: [\n", "config.yaml:"),
    ("", "holds no configuration"),
])
def test_mistake_in_the_file_is_an_error_with_its_place(command, config, manifests, text, message):
    output, code = command("-f", str(manifests.path), "--config", config(text))
    assert code == 1 and message in output, output


def test_file_that_is_not_there_is_an_error(command):
    output, code = command("--config=/no/such/file")
    assert code == 1 and "/no/such/file" in output


def test_mode_of_the_kernel_is_refused_with_the_reason(command):
    output, code = command("-f", "x", "--proxy-mode=iptables")
    assert code == 2 and "the kernel forwards" in output


def test_what_was_written_is_read_back_the_same(command, workdir):
    first, second = f"{workdir}/first.yaml", f"{workdir}/second.yaml"
    output, code = command("-f", "a", "--zone=west", "--conntrack-min=7", f"--write-config-to={first}")
    assert code == 0 and not output
    output, code = command(f"--config={first}", f"--write-config-to={second}")
    assert code == 0 and not output
    text = Path(first).read_text(encoding="utf-8")
    assert text == Path(second).read_text(encoding="utf-8")
    assert "zone: west\n" in text and "  min: 7\n" in text


def test_flags_without_effect_are_named_once(lab, web, portald):
    running = portald("--cluster-cidr=10.0.0.0/8", "--masquerade_all", "--ipvs-scheduler=wrr")
    assert peers.fetch(lab.client, SERVICE) == "pod1"
    lines = [line for line in running.log().splitlines() if "without effect" in line]
    assert len(lines) == 1
    for flag in ("--cluster-cidr", "--masquerade-all", "--ipvs-scheduler"):
        assert flag in lines[0]


# ---- the host ----

def test_connection_tracking_is_set_as_kube_proxy_sets_it(lab, web, portald):
    lab.node.run("sysctl", "-q", "-w", NETFILTER + "nf_conntrack_tcp_timeout_established=432000",
                 NETFILTER + "nf_conntrack_udp_timeout=31")
    portald("--conntrack-tcp-timeout-close-wait=77s", "--conntrack-udp-timeout-stream=55s")
    assert sysctl(lab.node, "nf_conntrack_tcp_timeout_established") == 86400
    assert sysctl(lab.node, "nf_conntrack_tcp_timeout_close_wait") == 77
    assert sysctl(lab.node, "nf_conntrack_udp_timeout_stream") == 55
    assert sysctl(lab.node, "nf_conntrack_udp_timeout") == 31


def test_read_only_proc_is_a_warning(lab, web, portald):
    running = portald("--conntrack-udp-timeout-stream=66s",
                      wrapper=["unshare", "--mount", "sh", "-c",
                               'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"',
                               "sh"])
    assert peers.fetch(lab.client, SERVICE) == "pod1"
    assert "level=warning" in running.log() and "nf_conntrack_udp_timeout_stream" in running.log()


def test_init_only_sets_up_and_ends(lab, command, binary):
    lab.node.run(str(binary), "-f", "/dev/null", "--init-only", "--conntrack-udp-timeout-stream=44s")
    assert sysctl(lab.node, "nf_conntrack_udp_timeout_stream") == 44


def test_all_processes_have_the_oom_score(lab, web, portald):
    running = portald("--oom-score-adj=123")
    scores = {Path(f"/proc/{process.pid}/oom_score_adj").read_text(encoding="ascii").strip()
              for process in running.family()}
    assert scores == {"123"}
