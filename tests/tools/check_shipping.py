#!/usr/bin/env python3
"""What ships portald agrees with portald: the manifests for Kubernetes, the systemd unit, the Containerfile and
the Debian package name flags, fields, ports, capabilities, libraries and versions that it has.
Environment: srcdir; top_builddir or PORTALD. Checks whose tool is missing are left out, with a line that says so."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import yaml
except ImportError:
    print("skipped: needs a YAML reader (Debian: python3-yaml)")
    sys.exit(77)

SRCDIR = Path(os.environ.get("srcdir", ".")).resolve()
PORTALD = os.environ.get("PORTALD", os.path.join(os.environ.get("top_builddir", "."), "portald"))
KUBERNETES = SRCDIR / "contrib/kubernetes"
UNIT = SRCDIR / "contrib/systemd/portald.service.in"
CONTAINERFILE = SRCDIR / "contrib/container/Containerfile"
SERVICE_ACCOUNT_FILES = "/var/run/secrets/kubernetes.io/serviceaccount/"
# systemd-analyze's scale is 0 to 100; a root service that may administer the network cannot reach 0.
EXPOSURE_LIMIT = 35


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def read(path):
    return (SRCDIR / path).read_text(encoding="utf-8")


def objects():
    """{kind: object} of all that the kustomization names."""
    kustomization = yaml.safe_load(read(KUBERNETES / "kustomization.yaml"))
    found = [yaml.safe_load(read(KUBERNETES / name)) for name in kustomization["resources"]]
    return {one["kind"]: one for one in found}


def version():
    return re.search(r"AC_INIT\(\[portald\], \[([^]]+)\]", read("configure.ac")).group(1)


def option_of(container, name):
    """The value of --name in its arguments."""
    return next(one.split("=", 1)[1] for one in container["args"] if one.startswith(f"--{name}="))


# ---- Kubernetes ----

def check_references(made):
    """Names in one object that stand for another."""
    pod = made["DaemonSet"]["spec"]["template"]["spec"]
    account, binding = made["ServiceAccount"]["metadata"], made["ClusterRoleBinding"]
    if pod["serviceAccountName"] != account["name"]:
        yield "the DaemonSet runs as another ServiceAccount"
    if binding["subjects"] != [{"kind": "ServiceAccount", "name": account["name"],
                                "namespace": account["namespace"]}]:
        yield "the ClusterRoleBinding is for another ServiceAccount"
    if binding["roleRef"]["name"] != "system:node-proxier":
        yield "the ClusterRoleBinding is to another role than kube-proxy's"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    if volumes["config"]["configMap"]["name"] != made["ConfigMap"]["metadata"]["name"]:
        yield "the DaemonSet mounts another ConfigMap"
    for container in pod["initContainers"] + pod["containers"]:
        for mount in container["volumeMounts"]:
            if mount["name"] not in volumes:
                yield f"{container['name']} mounts {mount['name']}, which is no volume"
    labels = made["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    if made["DaemonSet"]["spec"]["selector"]["matchLabels"].items() - labels.items():
        yield "the DaemonSet does not select its own pods"


def check_arguments(made):
    known = set(re.findall(r"--[a-z][a-z0-9-]*", run(PORTALD, "--help").stdout))
    pod = made["DaemonSet"]["spec"]["template"]["spec"]
    for container in pod["initContainers"] + pod["containers"]:
        for argument in container["args"]:
            if argument.split("=", 1)[0] not in known:
                yield f"{container['name']} is given {argument}, which portald does not know"
        at = Path(option_of(container, "config"))
        mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "config"]
        if [str(at.parent)] != [mount["mountPath"] for mount in mounts]:
            yield f"{container['name']} reads {at}, where its ConfigMap is not mounted"
        if at.name not in made["ConfigMap"]["data"]:
            yield f"{container['name']} reads {at}, which is not in the ConfigMap"


def check_configuration(made):
    """portald reads it without a warning, and it names what is there."""
    data = made["ConfigMap"]["data"]
    config = yaml.safe_load(data["config.conf"])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "config.conf")
        path.write_text(data["config.conf"], encoding="utf-8")
        done = run(PORTALD, f"--config={path}", f"--write-config-to={directory}/out")
    if done.returncode != 0 or "warning" in done.stderr or "error" in done.stderr:
        yield f"portald says of config.conf: {done.stderr.strip()}"
    kubeconfig = Path(config["clientConnection"]["kubeconfig"])
    if kubeconfig.name not in data:
        yield f"config.conf names {kubeconfig}, which is not in the ConfigMap"
    paths = re.findall(r"/var/run\S+", data["kubeconfig.conf"])
    if {os.path.dirname(path) + "/" for path in paths} != {SERVICE_ACCOUNT_FILES}:
        yield f"kubeconfig.conf names {paths}"


def check_ports(made):
    config = yaml.safe_load(made["ConfigMap"]["data"]["config.conf"])
    container = made["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    served = int(config["healthzBindAddress"].rsplit(":", 1)[1])
    for probe in ("livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]["port"]
        if ports.get(asked, asked) != served:
            yield f"the {probe} asks port {asked}, and healthzBindAddress is {served}"


# ---- privilege ----

def capabilities_in_code():
    """What src/proc/confine.c keeps in the roles that have root's uid."""
    kept = re.findall(r"unsigned keep\[\] = \{([^}]*)\}", read("src/proc/confine.c"))
    return {name.strip().removeprefix("CAP_") for part in kept for name in part.split(",")}


def check_capabilities(made):
    code = capabilities_in_code()
    unit = set(re.findall(r"CAP_(\w+)", "\n".join(re.findall(r"^CapabilityBoundingSet=.*", read(UNIT), re.M))))
    if unit != code:
        yield f"the unit's capabilities and confine.c's differ: {sorted(unit ^ code)}"
    context = made["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    # Files of the pod are root's: none must be read that is closed to root.
    if set(context["capabilities"]["add"]) != code - {"DAC_READ_SEARCH"}:
        yield f"the container's capabilities are {context['capabilities']['add']}, and confine.c's {sorted(code)}"
    if context["capabilities"]["drop"] != ["ALL"] or not context["readOnlyRootFilesystem"] or \
            context["allowPrivilegeEscalation"]:
        yield "the container has more privilege than it needs"


# ---- systemd ----

def check_unit():
    if not shutil.which("systemd-analyze"):
        print("left out: the unit is not checked without systemd-analyze (Debian: systemd)")
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "portald.service")
        program = shutil.which("true") or "/bin/true"
        path.write_text(read(UNIT).replace("@sbindir@/portald", program), encoding="utf-8")
        done = run("systemd-analyze", "verify", "--man=no", path)
        if done.returncode != 0 or done.stderr:
            yield f"systemd-analyze verify: {done.stdout}{done.stderr}".strip()
        done = run("systemd-analyze", "security", "--no-pager", "--offline=true",
                   f"--threshold={EXPOSURE_LIMIT}", path)
        if done.returncode != 0:
            yield f"systemd-analyze security: {done.stdout[-300:]}{done.stderr}".strip()


# ---- container image, Debian package ----

def packages_of(stage):
    """The packages that a stage of the Containerfile installs."""
    text = re.split(r"^FROM .*$", read(CONTAINERFILE), flags=re.M)[stage].replace("\\\n", " ")
    listed = re.search(r"apt-get install -y --no-install-recommends ([^&\n]*)", text).group(1)
    return set(listed.split())


def section_of_packages(name):
    text = read("contrib/packages.txt").split(f"[{name}]\n")[1].split("\n[")[0]
    return {line.split("#")[0].strip() for line in text.splitlines()} - {""}


def libraries():
    """The packages of the libraries that the built portald names."""
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", PORTALD).stdout)
    paths = dict(re.findall(r"(\S+) => (/\S+)", run("ldd", PORTALD).stdout))
    found = set()
    for path in (paths[name] for name in needed if name in paths):
        owners = [run("dpkg", "--search", name) for name in (path, os.path.realpath(path), "/usr" + path)]
        found.update(owner.stdout.split(":")[0] for owner in owners if owner.returncode == 0)
    return found - {"libc6"}


def check_image():
    missing = packages_of(1) - section_of_packages("build")
    if missing:
        yield f"the image is built with {sorted(missing)}, which contrib/packages.txt does not have"
    if not shutil.which("dpkg") or not shutil.which("objdump") or "asan" in run("ldd", PORTALD).stdout:
        print("left out: the image's libraries cannot be checked with this build")
        return
    for name in sorted(libraries() - packages_of(2)):
        yield f"portald links {name}, which the image does not install"


def check_versions(made):
    now = version()
    pod = made["DaemonSet"]["spec"]["template"]["spec"]
    for container in pod["initContainers"] + pod["containers"]:
        if container["image"].rsplit(":", 1)[1] != now:
            yield f"{container['name']} runs {container['image']}, and this is version {now}"
    label = re.search(r'image\.version="([^"]+)"', read(CONTAINERFILE)).group(1)
    if label != now:
        yield f"the image is labelled {label}, and this is version {now}"
    package = re.match(r"portald \(([^-)]+)-", read("debian/changelog"))
    if not package or package.group(1) != now:
        yield f"debian/changelog begins with another version than {now}"


def findings():
    made = objects()
    for check in (check_references, check_arguments, check_configuration, check_ports, check_capabilities,
                  check_versions):
        yield from check(made)
    yield from check_unit()
    yield from check_image()


def main():
    found = list(findings())
    for line in found:
        print(line)
    print(f"check_shipping: {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
