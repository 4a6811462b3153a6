#!/usr/bin/env python3
"""Follows contrib/container/Containerfile step by step in directories, where there is no container engine: each
stage is a minimal Debian made by debootstrap, in which the steps are run. Then runs what the last stage starts.
Takes minutes, and Debian's archive; root. container.py SOURCE-TREE [KEPT-DIRECTORY]"""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Another mirror than debootstrap's own.
MIRROR = [os.environ["DEBIAN_MIRROR"]] if os.environ.get("DEBIAN_MIRROR") else []


def run(*argv):
    print("+", shlex.join(map(str, argv)), flush=True)
    subprocess.run(argv, check=True, timeout=900)


def instructions(path):
    """[("FROM", "debian:12-slim AS build"), ...]"""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


class Build:
    def __init__(self, source, work):
        self.source, self.work = source, work
        self.stages = []  # directories
        self.names = {}
        self.directory = "/"
        self.entry_point = None

    @property
    def root(self):
        return self.stages[-1]

    def chroot(self, *argv):
        """In namespaces of its own, so that nothing that a step starts or mounts is left."""
        run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
            'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"', self.root, *argv)

    def step_from(self, argument):
        image, _, name = argument.partition(" AS ")
        if not image.startswith("debian:12"):
            sys.exit(f"no way to make {image}")
        base = self.work / "base"
        if not base.exists():
            run("debootstrap", "--variant=minbase", "bookworm", base, *MIRROR)
            shutil.copy("/etc/resolv.conf", base / "etc/resolv.conf")
        self.stages.append(self.work / f"stage{len(self.stages)}")
        self.names[name] = self.root
        self.directory = "/"
        run("cp", "-a", base, self.root)

    def step_run(self, argument):
        self.chroot("/usr/bin/env", "DEBIAN_FRONTEND=noninteractive", "/bin/sh", "-c",
                    f"cd {self.directory} && {argument}")

    def step_copy(self, argument):
        *sources, target = argument.split()
        origin = self.source
        if sources[0].startswith("--from="):
            origin = self.names[sources.pop(0).removeprefix("--from=")]
        ignored = [f"--exclude=./{name}" for name in (self.source / ".dockerignore").read_text().split()]
        for source in sources:
            into = self.root / target.lstrip("/")
            into.mkdir(parents=True, exist_ok=True)
            run("sh", "-c", 'cd "$0" && tar -c "$@" . | tar -xC "$1"'.replace('"$@"', shlex.join(ignored)),
                origin / source.lstrip("/"), into)

    def step_workdir(self, argument):
        self.directory = argument
        (self.root / argument.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def step_label(self, _argument):
        pass

    def step_entrypoint(self, argument):
        self.entry_point = json.loads(argument)

    def follow(self):
        for name, argument in instructions(self.source / "contrib/container/Containerfile"):
            getattr(self, f"step_{name.lower()}")(argument)


def main():
    source = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        build = Build(source, Path(sys.argv[2] if len(sys.argv) > 2 else temporary))
        build.work.mkdir(exist_ok=True)
        build.follow()
        build.chroot(*build.entry_point, "--version")
        build.chroot("/usr/sbin/iptables", "--version")
        build.chroot("getent", "passwd", "portald")
        run("du", "-sh", build.root)


if __name__ == "__main__":
    main()
