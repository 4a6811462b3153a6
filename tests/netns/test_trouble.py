"""Tools that refuse, hang or are gone, and a lock that another program holds: what works goes on working,
what can be done is done, and the rest when it can be."""
import fcntl
import re
import subprocess
import time

import app as app_module
import families
import pytest
import scrape
import tools as tools_module
import wait

PODS = {"pod1", "pod2", "pod3"}


@pytest.fixture
def tools(workdir):
    return tools_module.Tools(workdir / "tools")


@pytest.fixture
def pair(lab, serve, manifests):
    """pair(number) is a Service of each family, which are written together."""
    for family in (families.V4, families.V6):
        app_module.App(lab, family, manifests).serve(serve)

    def make(number):
        return [app_module.App(lab, family, manifests, name=f"{family.name}-{number}", number=number)
                for family in (families.V4, families.V6)]

    return make


def write(*apps):
    apps[0].directory.write(f"{apps[0].name}.yaml",
                            *(part for app in apps for part in (app.service(), *app.slices())))


def answered(*apps):
    return all(app.outcome(app.lab.client, timeout=0.3) == "answered" for app in apps)


def explain(running, binary, app):
    return running.namespace.run(str(binary), "explain", app.name, f"--status-socket={running.socket}")


@pytest.mark.needs("tools")
@pytest.mark.every_backend
def test_a_rule_that_is_refused_closes_its_portal_and_no_other(pair, tools, portald, binary, workdir):
    """It is quoted in the log, and to who asks; what is tried again in vain is nobody's disturbance."""
    first, bad, good = pair(10), pair(11), pair(12)
    write(*first)
    socket = workdir / "status"
    running = portald(f"--status-socket={socket}", "--iptables-sync-period=300ms", wrapper=tools.wrapper)
    running.socket = socket
    tools.refuse(*(app.cluster_ips[0] for app in bad))
    since = len(running.log())
    write(*bad, *good)
    wait.until(lambda: answered(*good), 15, "the others' rules")
    running.wait_log(r'a rule was refused.*service=default/v4-11:http.* detail=".*nonsense', since)
    assert not answered(bad[0]) and not answered(bad[1]) and answered(*first)
    for app in bad:
        wait.until(lambda: "rule refused: " in explain(running, binary, app), 15, "the explanation")
        assert "nonsense" in explain(running, binary, app)
    assert "open" in explain(running, binary, good[0])
    assert scrape.metrics(running.namespace).sum("portald_portals_closed", reason="rule") == len(bad)
    tools.heal()
    wait.until(lambda: answered(*bad), 15, "the rules that were refused")
    wait.until(lambda: "refused" not in explain(running, binary, bad[1]), 15, "the explanation")
    assert scrape.metrics(running.namespace).sum("portald_portals_closed") == 0
    assert "somebody else" not in running.log()
    assert running.log().count("a rule was refused") == len(bad), "each audit says it again"


@pytest.mark.needs("tools")
@pytest.mark.every_backend
def test_a_tool_that_is_gone_or_hangs_stops_nothing_else(pair, tools, portald):
    first, more, last = pair(10), pair(11), pair(12)
    write(*first)
    running = portald(wrapper=tools.wrapper)
    since = len(running.log())
    tools.remove()
    write(*more)
    running.wait_log('rules not in force: will try again.*No such file or directory', since)
    tools.put_back()
    assert answered(*first)
    wait.until(lambda: answered(*more), 15, "the rules")
    tools.trouble("touch $input.hangs; exec sleep 60")
    write(*last)
    wait.until(lambda: list(tools.directory.glob("given/*.hangs")), 15, "the tool to hang")
    for app in first:
        app.use(1)
    write(*first)
    wait.until(lambda: all(app.names(app.lab.client, count=3) == {"pod1"} for app in first), 15,
               "other endpoints")
    tools.heal()


@pytest.mark.slow
def test_a_lock_held_for_ten_seconds_delays_rules_and_nothing_else(
        pair, host, binary, manifests, portald, start_portald):
    """The legacy tools exclude each other by it: a pass waits for half of that, and is tried again; who removes
    rules, a daemon that ends or `portald cleanup`, waits for longer."""
    first, more = pair(10), pair(11)
    write(*first)
    left = start_portald(host, manifests.path, "--iptables-variant=legacy")
    left.kill_all()
    running = portald("--iptables-variant=legacy")
    with open("/run/xtables.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release = time.monotonic() + 10
        cleaner = host.popen([str(binary), "cleanup"])
        since = len(running.log())
        write(*more)
        running.wait_log("rules not in force: will try again.*lock", since, timeout=20)
        for app in first:
            assert app.names(app.lab.client, count=3) == PODS
            app.use(1)
        write(*first)
        wait.until(lambda: all(app.names(app.lab.client, count=3) == {"pod1"} for app in first), 15,
                   "other endpoints")
        time.sleep(max(0, release - time.monotonic()))
    wait.until(lambda: answered(*more), 15, "the rules")
    assert cleaner.wait(20) == 0
    left.leaves_rules = False


@pytest.mark.parametrize("flags, names, hint", [
    (["--steering=nftables"], ["nft"], "no nft found.*install the package nftables"),
    (["--iptables-variant=nft"], ["iptables-nft-restore", "iptables-restore"],
     "no iptables found.*wanted=nft.*install the package iptables"),
    (["--iptables-variant=legacy"], ["iptables-legacy-save"], "no iptables found.*wanted=legacy"),
])
def test_a_start_without_the_tool_says_what_to_install(lab, web, binary, manifests, flags, names, hint):
    hide = "; ".join(f"mount --bind /dev/null /usr/sbin/{name}" for name in names)
    command = ["unshare", "-m", "sh", "-c", f'{hide}; exec "$@"', "sh", str(binary), "-f", str(manifests.path),
               "--status-socket=", *flags]
    child = lab.node.popen(command, stderr=subprocess.PIPE, text=True)
    said = child.communicate(timeout=20)[1]
    assert child.returncode == 1 and re.search(hint, said), said
