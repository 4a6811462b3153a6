"""What a start meets: a daemon that runs, and what one has left that was killed, by the same way of steering
or another."""
import re
import subprocess

import app as app_module
import conftest
import families
import pytest
import rules
import tools as tools_module
import wait

PODS = {"pod1", "pod2", "pod3"}
MANY = 100


@pytest.fixture
def both(lab, serve, manifests):
    """A Service of each family."""
    made = [app_module.App(lab, family, manifests, name=family.name)
            for family in (families.V4, families.V6)]
    for number, app in enumerate(made):
        app.serve(serve)
        app.node_port(30080 + number)
        app.write()
    return made


def all_served(apps):
    return all(app.names(app.lab.client, count=3) == PODS for app in apps)


# ---- another daemon ----

@pytest.mark.every_backend
def test_a_second_daemon_is_refused_and_harms_nobody(lab, both, binary, manifests, portald):
    """Whatever way of steering it would take, and before it changes anything: handles tell a rule that was
    removed and made again."""
    def in_force():
        listed = lab.node.run("nft", "-a", "list", "ruleset")
        return rules.state(lab.node), re.sub(r"packets \d+ bytes \d+", "", listed)

    portald()
    before = in_force()
    run = ["-f", str(manifests.path), "--status-socket="]
    for command in (["cleanup"], [*run, "--steering=auto"],
                    *([*run, *flags] for flags in conftest.BACKENDS.values())):
        second = lab.node.popen([str(binary), *command], stderr=subprocess.PIPE, text=True)
        said = second.communicate(timeout=15)[1]
        assert second.returncode == 1, said
        assert "another portald steers this network namespace" in said, said
        assert in_force() == before, command
    assert all_served(both)


def test_daemons_in_other_namespaces_are_no_concern(lab, host, web, manifests, start_portald):
    start_portald(lab.node, manifests.path)
    start_portald(host, manifests.path)


# ---- what a killed one has left ----

@pytest.mark.every_backend
def test_a_start_takes_over_what_is_right_and_removes_what_is_not(portals, node, portald):
    """Proxy ports stay too. What is not right: a Service of the past, and what nobody should have made."""
    first = portald()
    in_force = node.ours()
    first.kill_all()
    assert in_force and node.ours() == in_force
    second = portald()
    assert node.ours() == in_force
    other = app_module.App(portals.lab, portals.family, portals.directory, name="other", number=11)
    second.change(other.write)
    second.kill_all()
    portals.directory.remove("other.yaml")
    for harm in node.junk().values():
        harm()
    assert node.ours() != in_force
    third = portald()
    third.before = first.before
    assert node.ours() == in_force
    assert portals.names(portals.lab.client, count=3) == portals.names(portals.lab.node, count=3) == PODS


def many(app):
    """MANY more Services in one file, all in front of pod1."""
    made = [app_module.App(app.lab, app.family, app.directory, name=f"svc{n}", number=100 + n)
            for n in range(MANY)]
    for each in made:
        each.use(1)
    app.directory.write("many.yaml", *(part for each in made for part in (each.service(), *each.slices())))
    return made


def without_ports(ours):
    """The same whichever proxy ports the Services have."""
    return sorted(re.sub(r"\b[3-6]\d{4}\b", "N", str(line)) for line in ours)


@pytest.mark.every_backend
def test_a_start_after_a_kill_in_the_middle_of_a_sync_has_exactly_its_rules(
        portals, node, portald, binary, workdir):
    """With iptables one table has come into force and the other has not; nftables has but one transaction."""
    tools = tools_module.Tools(workdir / "tools")
    first = portald(wrapper=tools.wrapper)
    before = node.ours()
    tools.trouble("sed '/^COMMIT/q' $input | $real \"$@\"; touch $input.half; exec sleep 60"
                  if node.backend.startswith("iptables") else "touch $input.half; exec sleep 60")
    services = many(portals)
    wait.until(lambda: list((workdir / "tools").glob("given/*.half")) or
               (node.backend == "local" and node.ours() != before), 20, "the sync")
    first.kill_all()
    tools.heal()
    second = portald()
    second.before = first.before
    found = node.ours()
    assert found != before
    assert services[-1].fetch(portals.lab.client) == "pod1"
    second.kill_all()
    portals.lab.node.run(str(binary), "cleanup")
    third = portald()
    third.before = first.before
    assert without_ports(found) == without_ports(node.ours())


# ---- another way of steering ----

@pytest.mark.parametrize("first", list(conftest.BACKENDS))
@pytest.mark.parametrize("second", list(conftest.BACKENDS))
def test_another_way_of_steering_leaves_nothing_of_a_killed_ones(lab, both, portald, first, second):
    clean = rules.state(lab.node)
    portald(*conftest.BACKENDS[first]).kill_all()
    assert rules.state(lab.node) != clean
    running = portald(*conftest.BACKENDS[second])
    assert all_served(both)
    running.before = clean
    running.terminate()
    assert rules.state(lab.node) == clean


@pytest.mark.every_backend
def test_cleanup_removes_what_a_killed_portald_has_left(lab, both, binary, portald):
    clean = rules.state(lab.node)
    portald().kill_all()
    assert rules.state(lab.node) != clean
    for _ in range(2):
        lab.node.run(str(binary), "cleanup")
        assert rules.state(lab.node) == clean
