"""What a start meets: the rules of a run before, a second daemon, and other people's disturbances."""
import subprocess

import manifests as objects
import peers
import processes
import rules
import wait

CLUSTER_IP = "10.96.0.10:80"
PODS = {"pod1", "pod2", "pod3"}


def test_a_second_daemon_is_refused_and_harms_nobody(lab, web, binary, manifests, variant, portald):
    portald(f"--iptables-variant={variant}")
    in_force = rules.save(lab.node, variant)
    for command in (["-f", str(manifests.path)], ["cleanup"]):
        second = lab.node.popen([str(binary), *command], stderr=subprocess.PIPE, text=True)
        said = second.communicate(timeout=15)[1]
        assert second.returncode == 1, said
        assert "another portald steers this network namespace" in said, said
    assert rules.save(lab.node, variant) == in_force
    assert {peers.fetch(lab.client, CLUSTER_IP) for _ in range(3)} == PODS


def test_daemons_in_other_namespaces_are_no_concern(lab, host, web, manifests, start_portald):
    start_portald(lab.node, manifests.path)
    start_portald(host, manifests.path)


def test_rules_and_proxy_ports_of_a_killed_run_are_taken_over(lab, web, variant, portald):
    first = portald(f"--iptables-variant={variant}")
    in_force = rules.save(lab.node, variant)
    first.kill_all()
    second = portald(f"--iptables-variant={variant}")
    second.before = first.before
    assert rules.save(lab.node, variant) == in_force
    assert {peers.fetch(lab.client, CLUSTER_IP) for _ in range(3)} == PODS
    assert second.terminate() == 0
    first.leaves_rules = False


def test_a_start_after_a_kill_in_the_middle_of_a_sync_has_exactly_its_rules(
        lab, web, manifests, variant, portald):
    first = portald(f"--iptables-variant={variant}")
    objects_of = [(objects.service(f"svc{n}", f"10.96.1.{n + 1}"), objects.endpoints(f"svc{n}", ["10.1.0.11"]))
                  for n in range(100)]
    manifests.write("more.yaml", *(part for pair in objects_of for part in pair))
    wait.until(lambda: any("restore" in processes.title(process.pid) for process in first.family()) or
               rules.about(lab.node, "default/svc99:http", variant), what="iptables-restore to run")
    first.kill_all()
    second = portald(f"--iptables-variant={variant}")
    second.before = first.before
    assert len(rules.chain(lab.node, "KUBE-PORTALS-CONTAINER", variant)) == 101
    assert len(rules.chain(lab.node, "KUBE-PORTALS-HOST", variant)) == 101
    assert peers.fetch(lab.client, "10.96.1.100:80") == "pod1"
    assert second.terminate() == 0
    first.leaves_rules = False


def test_one_more_service_leaves_the_rules_of_others_as_they_are(lab, web, manifests, portald):
    """Their handles tell: a rule that is removed and made again gets another one."""
    def handles():
        lines = lab.node.run("nft", "-a", "list", "chain", "ip", "nat", "KUBE-PORTALS-CONTAINER").splitlines()
        return [line for line in lines if "10.96.0.10" in line]

    daemon = portald("--iptables-variant=nft")
    before = handles()
    daemon.change(manifests.write, "more.yaml", objects.service("more", "10.96.0.11"),
                  objects.endpoints("more", ["10.1.0.11"]))
    assert peers.fetch(lab.client, "10.96.0.11:80") == "pod1"
    assert handles() == before and before
