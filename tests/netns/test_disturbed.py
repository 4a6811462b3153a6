"""Other programs' rules and routes beside ours: theirs stay as they are, and ours come back."""
import os
import signal

import app as app_module
import pytest
import wait

PODS = {"pod1", "pod2", "pod3"}


def is_served(app):
    return all(app.outcome(namespace, at, timeout=2) == "answered" for namespace, at in (
        (app.lab.client, app.at()), (app.lab.node, app.at()), (app.lab.outside, app.node_at())))


def put_right(node, app, running, what, harm, in_force):
    supervisor = running.roles()["supervisor"]
    os.kill(supervisor, signal.SIGSTOP)  # nothing is put right before it is looked at
    harm()
    foreign = node.foreign()
    os.kill(supervisor, signal.SIGCONT)
    wait.until(lambda: node.ours() == in_force and node.in_place(), 15,
               lambda: f"{what} to be put right: {node.ours()}; log:\n{running.log_tail()}")
    assert is_served(app), f"after {what}"
    assert node.foreign() == foreign, f"after {what}"


@pytest.mark.every_backend
def test_what_others_do_is_put_right_and_nothing_of_theirs_is_touched(portals, node, portald):
    """At once where the kernel tells (the period is an hour), else with the period."""
    node.add_foreign()
    foreign = node.foreign()
    period = "1h" if node.told() else "100ms"
    running = portald(f"--iptables-sync-period={period}")
    assert node.foreign() == foreign and is_served(portals)
    in_force = node.ours()
    assert in_force and node.in_place()
    for what, harm in (node.junk() | node.misplacements() | node.losses()).items():
        put_right(node, portals, running, what, harm, in_force)
    foreign = node.foreign()
    other = app_module.App(portals.lab, portals.family, portals.directory, name="other", number=11)
    running.change(other.write)
    assert other.fetch(portals.lab.client) in PODS
    assert node.foreign() == foreign
    assert running.terminate() == 0
    assert not node.ours() and node.foreign() == foreign
    running.leaves_rules = True  # of others, there are fewer than at the beginning
