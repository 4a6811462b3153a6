#!/usr/bin/env python3
"""`portald --help`, the manual page, the configuration's reference and the documents name the same flags and
fields, and files that documents name are there. Environment: srcdir; top_builddir or PORTALD."""
import os
import re
import subprocess
import sys

SRCDIR = os.environ.get("srcdir", ".")
PORTALD = os.environ.get("PORTALD", os.path.join(os.environ.get("top_builddir", "."), "portald"))
PAGE = "doc/portald.8"
FIELDS = "src/proc/config_fields.c"
IGNORED = "src/proc/flags_ignored.c"
REFERENCE = "doc/portald.yaml.5"
DOCUMENTS = ["README.md", "doc/ARCHITECTURE.md", "doc/HACKING.md", "doc/THREATS.md", "NEWS"]
COMMANDS = ["run", "plan", "cleanup"]


def read(path):
    with open(os.path.join(SRCDIR, path), encoding="utf-8") as file:
        return file.read()


def help_text():
    done = subprocess.run([PORTALD, "--help"], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        sys.exit(f"{PORTALD} --help: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def flags_of_help(text):
    """-x and --long, as whole words."""
    return set(re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]*|-[a-zA-Z](?![\w-]))", text))


def flags_of_page(text):
    """The flags that head an item: `.It Fl f Ar path , Fl -manifests Ns = Ns Ar path`."""
    flags = set()
    for line in text.split("\n"):
        if line.startswith(".It "):
            flags.update("-" + name for name in re.findall(r"\bFl (-[a-z][a-z0-9-]*|[a-zA-Z])(?=\s|$)", line))
    return flags


def fields_of_table():
    """path -> (flag, whether a change takes a new start); flag is None for a field without effect."""
    ignored = set(re.findall(r'\{"([a-z0-9-]+)"', read(IGNORED)))
    row = r'\{"([A-Za-z.]+)", CONFIG_\w+,\s+(?:"([a-z0-9-]+)"|NULL),\s+(?:"[^"]*"|NULL),\s+([^,]+),'
    rows = re.findall(row, read(FIELDS))
    return {path: (flag or None, bool(flag) and flag not in ignored and "LIVE" not in marks)
            for path, flag, marks in rows}


def fields_of_reference():
    """The same: `.It Cm conntrack.min Pq Fl -conntrack-min No , at start`, `.It Cm winkernel` head items."""
    fields = {}
    for line in read(REFERENCE).split("\n"):
        if line.startswith(".It "):
            for path, flag, start in re.findall(
                    r"Cm ([A-Za-z.]+)(?: Pq Fl -([a-z0-9-]+))?( No , at start)?", line):
                fields[path] = (flag or None, bool(start))
    return fields


def field_text(field):
    if not field:
        return "nothing"
    return f"--{field[0]}{', at start' if field[1] else ''}" if field[0] else "no flag"


def field_findings(in_help):
    table, reference = fields_of_table(), fields_of_reference()
    if not table or not reference:
        yield f"no fields found: {FIELDS} or {REFERENCE} has changed its form"
    for path in sorted(set(table) | set(reference)):
        if table.get(path) != reference.get(path):
            yield (f"the field {path}: {FIELDS} has {field_text(table.get(path))}, "
                   f"{REFERENCE} has {field_text(reference.get(path))}")
    for path, (flag, _) in sorted(table.items()):
        if flag and f"--{flag}" not in in_help:
            yield f"the field {path} stands for --{flag}, which is not in --help"


def findings():
    in_help = flags_of_help(help_text())
    in_page = flags_of_page(read(PAGE))
    if not in_help or not in_page:
        yield "no flags found: --help or the manual page has changed its form"
    for flag in sorted(in_help - in_page):
        yield f"{flag} is in --help but has no item in {PAGE}"
    for flag in sorted(in_page - in_help):
        yield f"{flag} has an item in {PAGE} but is not in --help"
    yield from field_findings(in_help)
    for command in COMMANDS:
        if not re.search(rf"\b{command}\b", help_text()):
            yield f"the command {command} is not in --help"
    known = in_help | in_page
    for path in DOCUMENTS:
        yield from document_findings(path, read(path), known)


def document_findings(path, text, known):
    """In commands that run portald: flags it has. Anywhere: links to files that are there."""
    for line in text.split("\n"):
        for command in re.findall(r"(?:^|[\s`/])portald ((?:(?! -- )[^`|#&;])*)", line):
            for flag in flags_of_help(command.split(" -- ")[0]) - known:
                yield f"{path}: portald has no flag {flag}: {line.strip()}"
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        at = os.path.normpath(os.path.join(SRCDIR, os.path.dirname(path), link))
        if not os.path.exists(at):
            yield f"{path}: {link} is not there"


def main():
    found = list(findings())
    for text in found:
        print(text)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
