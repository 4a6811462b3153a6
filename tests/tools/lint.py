#!/usr/bin/env python3
"""make lint: all that can be checked without running the program. Exit code 0: nothing found; 1: findings;
2: a tool is missing.

    lint.py [--root DIR] [--build DIR --cppflags FLAGS] [--quick] [--only CHECK]...

--quick needs no build and runs the rules of lint_source.py and the format check only.
"""
import argparse
import concurrent.futures
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import lint_source


def run(command, directory):
    """None if the command is content, else what it printed."""
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    return None if done.returncode == 0 else done.stdout.strip() or f"exit code {done.returncode}"


def chunks(items, size):
    return [items[i:i + size] for i in range(0, len(items), size)]


class Lint:
    """Collects jobs (check, what on, function) that run on all CPUs."""

    def __init__(self, options):
        self.options = options
        self.root = os.path.abspath(options.root)
        self.build = os.path.abspath(options.build)
        self.tools = os.path.dirname(os.path.abspath(__file__))
        self.tree = lint_source.Tree(self.root)
        self.flags = [self.from_root(f) for f in shlex.split(options.cppflags)]
        self.jobs = []

    def from_root(self, flag):
        """Makefile's -I are relative to the build directory, tools run in the root: as absolute paths."""
        if flag.startswith("-I") and not os.path.isabs(flag[2:]):
            return "-I" + os.path.normpath(os.path.join(self.build, flag[2:]))
        return flag

    def add(self, check, function):
        if not self.options.only or check in self.options.only:
            self.jobs.append((check, function))

    def add_command(self, check, command):
        self.add(check, lambda: run(command, self.root))

    def add_rule(self, rule, *arguments):
        def report():
            found = [f"{path}:{line}: {text}" for path, line, text in rule(self.tree, *arguments)]
            return "\n".join(found) or None

        self.add(rule.__name__.removeprefix("rule_"), report)

    def scripts(self, interpreter, suffix):
        found = []
        for path in self.tree.files:
            first = "" if self.tree.is_link(path) else self.tree.text(path).split("\n", 1)[0]
            if path.endswith(suffix) or re.match(r"#!.*\b" + interpreter, first):
                found.append(path)
        return found

    def sources(self, *suffixes):
        return [p for d in ("include/", "src/", "tests/") for p in self.tree.under(d, *suffixes)]

    def quick_jobs(self):
        for rule in lint_source.QUICK:
            self.add_rule(rule)
        for part in chunks(self.sources(".c", ".h"), 40):
            self.add_command("clang-format", ["clang-format", "--dry-run", "-Werror", *part])

    def full_jobs(self):
        self.add_rule(lint_source.rule_globals, self.build)
        # The long ones first.
        sources = sorted(self.sources(".c"), key=lambda p: -os.path.getsize(os.path.join(self.root, p)))
        for path in sources:
            self.add("clang-tidy", lambda path=path: self.tidy(path))
        # Of the tests it would say that what only the assertions use is not used.
        for part in chunks(self.tree.under("src/", ".c"), 12):
            self.add_command("cppcheck", ["cppcheck", "-q", "--std=c11", "--error-exitcode=1",
                                          "--enable=warning,performance,portability,style",
                                          "--library=posix", "--library=gnu", f"--library={self.tools}/cppcheck.cfg",
                                          f"--suppressions-list={self.tools}/cppcheck.suppress",
                                          "--template={file}:{line}:{column}: {message} [{id}]",
                                          *[f for f in self.flags if f.startswith(("-I", "-D"))], *part])
        self.script_jobs()

    def tidy(self, path):
        model = os.path.join(self.tools, "analyzer.h")
        found = run(["clang-tidy", "--quiet", path, "--", "-std=gnu11", "-include", model, *self.flags],
                    self.root)
        if found is None:
            return None
        noise = r"^(\d+ (warnings?|errors?)\b.*generated\.|Error while processing .*)\n"
        return re.sub(noise, "", found, flags=re.M).replace(self.root + "/", "")

    def script_jobs(self):
        shell = self.scripts(r"(ba)?sh\b", ".sh")
        self.add_command("shellcheck", ["shellcheck", "-x", "--source-path=SCRIPTDIR", *shell])
        for path in self.scripts("python3", ".py"):
            self.add("python", lambda path=path: python_compiles(self.root, path))
        self.add_command("pyflakes", ["pyflakes3", *self.scripts("python3", ".py")])
        self.add_command("mandoc", ["mandoc", "-Tlint", "-Wwarning", *self.tree.under("doc/", ".8", ".5")])
        self.add_command("lint's own tests", [*shlex.split(self.options.pytest), "-q", "-p",
                                              "no:cacheprovider", "tests/tools/test_lint.py"])

    def execute(self):
        """Runs the jobs; prints a line a check with its findings; returns how many checks failed."""
        outcome = {check: [] for check, _ in self.jobs}
        seconds = dict.fromkeys(outcome, 0.0)

        def timed(job):
            start = time.monotonic()
            return job[0], job[1](), time.monotonic() - start

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for check, found, took in pool.map(timed, self.jobs):
                seconds[check] += took
                # What is wrong in a header is found wherever it is included.
                if found and found not in outcome[check]:
                    outcome[check].append(found)
        for check, found in outcome.items():
            found[:] = distinct(found)
            print(f"{'FAIL' if found else 'ok  '} {check} ({seconds[check]:.1f} s)")
            for text in found:
                print("    " + text.replace("\n", "\n    "))
        return sum(1 for found in outcome.values() if found)


def distinct(reports):
    """Each finding once: a tool reports one in a header with every file that includes it."""
    findings = [f.rstrip() for r in reports for f in re.split(r"^(?=\S+:\d+:\d+: (?:error|warning): )", r, flags=re.M)]
    return list(dict.fromkeys(f for f in findings if f))


def python_compiles(root, path):
    try:
        with open(os.path.join(root, path), encoding="utf-8") as file:
            compile(file.read(), path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{path}:{error.lineno}: {error.msg}"
    return None


def missing_tools(quick):
    needed = ["clang-format"]
    if not quick:
        needed += ["clang-tidy", "cppcheck", "shellcheck", "pyflakes3", "mandoc", "objdump"]
    return [tool for tool in needed if not shutil.which(tool)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), "../.."))
    parser.add_argument("--build", default=".")
    parser.add_argument("--cppflags", default="")
    parser.add_argument("--pytest", default="pytest-3")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    options = parser.parse_args()
    missing = missing_tools(options.quick)
    if missing:
        print("lint: missing: " + " ".join(missing) + " (contrib/packages.txt)", file=sys.stderr)
        return 2
    lint = Lint(options)
    lint.quick_jobs()
    if not options.quick:
        lint.full_jobs()
    failed = lint.execute()
    print(f"lint: {failed} checks failed" if failed else "lint: clean")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
