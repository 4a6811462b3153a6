"""The processes: what power each has, and what goes on while one of them is gone."""
import os
import signal
import time

import manifests as objects
import peers
import processes
import pytest
import rules
import wait

SERVICE = "10.96.0.10:80"
CAPABILITY = {"net_bind_service": 1 << 10, "net_admin": 1 << 12, "net_raw": 1 << 13}


@pytest.fixture
def echoing(lab, serve, manifests):
    """The Service in front of one pod that echoes."""
    server = serve(lab.pods[0], "10.1.0.11:8080", peers.echo)
    manifests.web(["10.1.0.11"])
    return server


def add_service(manifests, name="more", cluster_ip="10.96.0.11"):
    manifests.write(f"{name}.yaml", objects.service(name, cluster_ip), objects.endpoints(name, ["10.1.0.11"]))


def ping_once(lab, at=SERVICE):
    with lab.client.connect(at) as connection:
        peers.ping(connection)


# ---- power ----

def test_every_role_runs(echoing, portald):
    running = portald("--relays=3")
    # Nobody waits for relays to be ready: their sockets are there.
    wait.until(lambda: set(running.roles()) == {"supervisor", "starter", "control", "relay 0", "relay 1", "relay 2"},
               15, lambda: f"every role; there are {running.roles()}")
    assert running.roles()["supervisor"] == running.process.pid


def test_one_relay_for_each_cpu(echoing, portald):
    running = portald()
    wait.until(lambda: len(running.relays()) == len(os.sched_getaffinity(0)), 15, "the relays")


def test_control_and_relays_have_no_power(echoing, portald):
    roles = portald().roles()
    for role in ("control", *(role for role in roles if role.startswith("relay"))):
        status = processes.status(roles[role])
        assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split(), role
        assert status["Groups"] in ("", status["Gid"].split()[0]), role
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[kind], 16) == 0, f"{role}: {kind} {status[kind]}"
        assert status["NoNewPrivs"] == "1", role


def test_relays_run_under_seccomp(echoing, portald):
    for role, pid in portald().relays().items():
        assert processes.status(pid)["Seccomp"] == "2", role


def test_supervisor_keeps_only_network_capabilities(echoing, portald):
    status = processes.status(portald().roles()["supervisor"])
    for kind in ("CapPrm", "CapEff"):
        extra = int(status[kind], 16) & ~sum(CAPABILITY.values())
        assert extra == 0, f"{kind}: {extra:#x} too much"


def test_user_flag_chooses_the_unprivileged_user(echoing, portald):
    roles = portald("--user=daemon").roles()
    assert processes.status(roles["control"])["Uid"].split() == ["1"] * 4
    assert processes.status(roles["relay 0"])["Uid"].split() == ["1"] * 4


def test_relays_hold_no_descriptor_of_a_file(echoing, portald):
    running = portald()
    expected = {"/dev/null", str(running.log_path), str(running.output_path)}
    for role, pid in running.relays().items():
        targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        files = [target for target in targets if target.startswith("/") and not target.startswith("/memfd:")]
        assert not set(files) - expected, f"{role} holds {files}"


# ---- death of control ----

def test_control_killed_mid_transfer(lab, echoing, manifests, portald):
    running = portald()
    port = rules.proxy_port(lab.node, "default/web:http")
    with lab.client.connect(SERVICE) as connection:
        peers.ping(connection)
        since = len(running.log())
        os.kill(running.roles()["control"], signal.SIGKILL)
        peers.ping(connection)
        ping_once(lab)
        # The next control sends the whole plan again.
        running.wait_log(r'msg="plan in force"', since, 20)
        running.change(add_service, manifests)
        peers.ping(connection)
    ping_once(lab, "10.96.0.11:80")
    assert rules.proxy_port(lab.node, "default/web:http") == port


def test_change_made_while_control_is_dead_takes_effect(lab, echoing, manifests, portald):
    running = portald()
    roles = running.roles()
    os.kill(roles["starter"], signal.SIGSTOP)  # nobody can start another control
    os.kill(roles["control"], signal.SIGKILL)
    manifests.remove("web.yaml")
    add_service(manifests)
    ping_once(lab)
    os.kill(roles["starter"], signal.SIGCONT)
    wait.until(lambda: peers.outcome(lab.node, "127.0.0.1:30080", 0.5) == "refused", 20, "the old Service to go")
    ping_once(lab, "10.96.0.11:80")


def test_stopped_control_blocks_nothing(lab, echoing, portald):
    running = portald()
    os.kill(running.roles()["control"], signal.SIGSTOP)
    ping_once(lab)
    assert running.terminate() == 0


# ---- death of relays ----

def test_connections_wait_in_the_backlog_while_the_relay_is_dead(lab, echoing, portald):
    running = portald("--relays=1")
    roles = running.roles()
    os.kill(roles["starter"], signal.SIGSTOP)  # nobody can start another relay
    os.kill(roles["relay 0"], signal.SIGKILL)
    wait.until(lambda: not running.relays(), 5, "the relay to be gone")
    waiting = [lab.client.connect(SERVICE) for _ in range(20)]
    for connection in waiting:
        connection.sendall(b"early")
    os.kill(roles["starter"], signal.SIGCONT)
    for connection in waiting:
        assert peers.read_exactly(connection, 5) == b"early"
        connection.close()


def test_connection_of_a_killed_relay_ends_for_both_sides(lab, manifests, portald):
    listener = lab.pods[0].listen("10.1.0.11:8080")
    manifests.web(["10.1.0.11"])
    running = portald("--relays=1")
    client = lab.client.connect(SERVICE)
    server = listener.accept()[0]
    server.settimeout(10)
    peers.ping_pong(client, server)
    running.kill_role("relay 0")
    for end in (client, server):
        try:
            assert end.recv(1) == b""
        except ConnectionResetError:
            pass
        end.close()
    listener.close()


def test_one_dead_relay_does_not_touch_the_connections_of_another(lab, echoing, portald):
    running = portald("--relays=2")
    connections = [lab.client.connect(SERVICE) for _ in range(40)]
    for connection in connections:
        peers.ping(connection)
    running.kill_role("relay 0")
    living = [connection for connection in connections if still_echoes(connection)]
    assert 0 < len(living) < 40, "the kernel spreads them over both relays"
    for _ in range(20):
        ping_once(lab)
    for connection in connections:
        connection.close()


def still_echoes(connection):
    try:
        connection.sendall(b"?")
        return connection.recv(1) == b"?"
    except OSError:
        return False


@pytest.mark.slow
def test_relays_killed_again_and_again_are_restarted_with_backoff(lab, echoing, portald):
    running = portald("--relays=2")
    took = []
    for _ in range(4):
        for role in ("relay 0", "relay 1"):
            took.append(running.kill_role(role))
    assert max(took[6:]) > max(took[:2]), f"no backoff: {took}"
    wait.until(lambda: len(running.relays()) == 2, 20, "both relays to run")
    for _ in range(20):
        ping_once(lab)


def test_new_relay_knows_services_added_before_and_after(lab, echoing, manifests, portald):
    running = portald("--relays=1")
    running.change(add_service, manifests, "before", "10.96.0.21")
    running.kill_role("relay 0")
    running.change(add_service, manifests, "after", "10.96.0.22")
    for at in (SERVICE, "10.96.0.21:80", "10.96.0.22:80"):
        ping_once(lab, at)


# ---- the end ----

@pytest.mark.every_backend
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_cleanly_and_tells_the_clients_of_open_connections(lab, echoing, portald, number):
    running = portald()
    connections = [lab.client.connect(SERVICE) for _ in range(20)]
    for connection in connections:
        peers.ping(connection)
    os.kill(running.process.pid, number)
    assert running.exit_code() == 0
    for connection in connections:
        assert peers.becomes_of(connection, 10) in ("reset", "closed")
        connection.close()


def test_stops_cleanly_when_the_whole_group_is_interrupted(lab, echoing, portald):
    """As Control-C in a terminal does it: every process gets the signal."""
    running = portald()
    ping_once(lab)
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.exit_code() == 0


def test_no_process_outlives_a_killed_supervisor(echoing, portald):
    running = portald()
    family = running.family()
    running.leaves_rules = True
    os.kill(running.process.pid, signal.SIGKILL)
    wait.until(lambda: not any(map(processes.is_alive, family)), 10,
               lambda: f"all to end: {running.roles()}")
    running.process.wait()


def test_starter_killed_is_either_replaced_or_the_end(lab, echoing, portald):
    """Without a starter nothing could be restarted: the daemon must not linger half alive."""
    running = portald()
    family = running.family()
    starter = running.roles()["starter"]
    os.kill(starter, signal.SIGKILL)
    wait.until(lambda: running.process.poll() is not None or
               running.roles().get("starter", starter) != starter, 20, "an end or another starter")
    if running.process.poll() is None:
        ping_once(lab)
    else:
        assert running.process.returncode == 1
        wait.until(lambda: not any(map(processes.is_alive, family)), 10, "the others to end too")


def test_idle_daemon_uses_no_cpu(lab, echoing, portald):
    running = portald()
    ping_once(lab)
    pids = running.roles().values()
    used = sum(map(processes.cpu_seconds, pids))
    time.sleep(1)  # the subject is what happens while nothing does
    assert sum(map(processes.cpu_seconds, pids)) - used < 0.05


def test_more_services_than_there_are_descriptors_for_each_relay_are_all_served(lab, web, manifests, portald):
    """Then a listener has one socket, which one of the relays serves; which one differs."""
    numbers = range(1, 241)
    manifests.write("more.yaml", *(part for n in numbers for part in
                                   (objects.service(f"more{n}", f"10.96.1.{n}"),
                                    objects.endpoints(f"more{n}", ["10.1.0.11"]))))
    running = portald("--relays=2", wrapper=["prlimit", "--nofile=400:400"])
    assert "not_open=0" in running.log()
    for n in (1, 2, 100, 237, 238, 239, 240):
        assert peers.fetch(lab.client, f"10.96.1.{n}:80") == "pod1"
    running.change(manifests.remove, "more.yaml")
    assert peers.fetch(lab.client, SERVICE) in ("pod1", "pod2", "pod3")
