"""The configuration file, and what is set on the host at start."""
import subprocess
from pathlib import Path

import peers
import pytest
import wait

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
    (KUBE_PROXY + "conntrack:\n  min: many\n",
     "config.yaml:4:8: error: KubeProxyConfiguration: conntrack.min"),
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
    running = portald("--iptables-masquerade-bit=15", "--masquerade_all", "--ipvs-scheduler=wrr")
    assert peers.fetch(lab.client, SERVICE) == "pod1"
    lines = [line for line in running.log().splitlines() if "without effect" in line]
    assert len(lines) == 1
    for flag in ("--iptables-masquerade-bit", "--masquerade-all", "--ipvs-scheduler"):
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
                               "mount --bind /proc/sys /proc/sys && "
                               'mount -o remount,ro,bind /proc/sys && exec "$@"',
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


# ---- a file that changes ----

TAKEN = 'msg="the changed configuration is taken up"'


@pytest.fixture
def configured(lab, web, portald, config):
    """A daemon with an empty configuration, in front of `web`."""
    path = config(KUBE_PROXY)
    return portald(f"--config={path}", "--relays=1")


def change(running, config, text):
    """Changes the file and waits until control, started anew with it, has its plan in force."""
    since = len(running.log())
    config(text)
    taken = running.wait_log(TAKEN + ".*", since).group(0)
    running.wait_log(r'role=supervisor .*msg="plan in force"', since + running.log()[since:].index(taken))
    return taken


def test_changed_file_is_taken_up_without_dropping_a_connection(lab, serve, manifests, portald, config):
    serve(lab.pods[0], "10.1.0.11:8080", peers.echo)
    manifests.web(["10.1.0.11"])
    running = portald(f"--config={config(KUBE_PROXY)}")
    with lab.client.connect(SERVICE) as connection:
        peers.ping(connection)
        change(running, config, KUBE_PROXY + "udpIdleTimeout: 7s\n" + PORTALD + "scheduler: lc\n")
        peers.ping(connection)
        with lab.client.connect(SERVICE) as second:
            peers.ping(second)


def test_node_ports_follow_a_change_of_their_addresses(lab, configured, config):
    node = lab.node.address
    assert peers.outcome(lab.client, f"{node}:30080") == "answered"
    change(configured, config, KUBE_PROXY + "nodePortAddresses: [192.0.2.0/24]\n")
    wait.until(lambda: peers.outcome(lab.client, f"{node}:30080") == "refused", 15, "the nodePort to close")
    change(configured, config, KUBE_PROXY)
    wait.until(lambda: peers.outcome(lab.client, f"{node}:30080") == "answered", 15, "the nodePort to open")


@pytest.mark.parametrize("text", [KUBE_PROXY + "mode: ipvs\n", KUBE_PROXY + "conntrack: [\n",
                                  KUBE_PROXY + PORTALD + "steering: none\nscheduler: 3\n", ""])
def test_mistake_in_a_changed_file_keeps_the_last_good_state(lab, configured, config, text):
    control = configured.roles()["control"]
    config(text)
    configured.wait_log('msg="the changed configuration is not taken')
    assert "config.yaml:" in configured.log()
    assert peers.fetch(lab.client, SERVICE)
    assert configured.roles()["control"] == control
    change(configured, config, KUBE_PROXY + "udpIdleTimeout: 3s\n")


def test_what_takes_a_new_start_is_named_and_stays(lab, configured, config, have):
    relays = configured.relays()
    bind = "bindAddress: 10.1.0.1\n" if have("proxy ports") else ""
    taken = change(configured, config, KUBE_PROXY + bind + "oomScoreAdj: 5\n" + PORTALD +
                   "relays: 2\nzone: west\n")
    assert '"--zone"' in taken or "flags=--zone" in taken
    fixed = configured.wait_log(".*needs a new start.*").group(0)
    for flag in (*(["--bind-address"] if bind else []), "--oom-score-adj", "--relays"):
        assert flag in fixed
    assert "--zone" not in fixed
    assert configured.relays() == relays
    assert peers.fetch(lab.client, SERVICE)


def test_volume_of_a_config_map_shows_its_changes(lab, web, portald, workdir):
    """The name stays a link into a link, which is replaced."""
    def publish(name, text):
        (volume / name).mkdir()
        (volume / name / "config.conf").write_text(text, encoding="utf-8")
        (volume / "..fresh").symlink_to(name)
        (volume / "..fresh").rename(volume / "..data")
    volume = Path(workdir) / "volume"
    volume.mkdir()
    publish("..1", KUBE_PROXY)
    (volume / "config.conf").symlink_to("..data/config.conf")
    running = portald(f"--config={volume}/config.conf")
    publish("..2", KUBE_PROXY + "udpIdleTimeout: 3s\n")
    assert "--udp-timeout" in running.wait_log(TAKEN + ".*").group(0)
