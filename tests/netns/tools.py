"""Firewall tools that do as the test says: programs of the same names in front of the host's, for the portald
that is started with `wrapper=tools.wrapper`."""
import itertools
import os

NAMES = ("nft", *("".join(parts) for parts in itertools.product(
    ("iptables", "ip6tables"), ("-nft", "-legacy", ""), ("-save", "-restore"))))

# The process stays the same, as portald knows its own changes by that.
SCRIPT = """#!/bin/sh
real=/usr/sbin/{name} input={directory}/given/$$-{name}
case "{name} $1" in
*restore*|nft\\ -*f) cat >"$input" ;;
*) exec "$real" "$@" ;;
esac
test -e {directory}/trouble && . {directory}/trouble
mv "$input" "$input.done"
exec "$real" "$@" <"$input.done"
"""


class Tools:
    def __init__(self, directory):
        self.directory = directory
        self.bin, self._given, self._trouble = directory / "bin", directory / "given", directory / "trouble"
        for path in (directory, self.bin, self._given):
            path.mkdir()
        for name in NAMES:
            path = self.bin / name
            path.write_text(SCRIPT.format(name=name, directory=directory), encoding="ascii")
            path.chmod(0o755)
        self.wrapper = ["env", f"PATH={self.bin}:/usr/sbin:/usr/bin:/sbin:/bin"]

    def given(self):
        """What was given to the tools so far, a text for each run, the oldest first. Not what they were
        only asked about."""
        paths = sorted(self._given.glob("*.done"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_text(encoding="ascii") for path in paths]

    def trouble(self, script):
        """From now on that is done first, with the text in the file $input and the host's tool as $real."""
        fresh = self.directory / "fresh"
        fresh.write_text(script + "\n", encoding="ascii")
        os.rename(fresh, self._trouble)

    def refuse(self, *addresses):
        """What is about port 80 of the addresses makes no sense to the tool."""
        self.trouble("\n".join(f"sed -i '/{address}[ \\/]/s/ 80 / nonsense /' $input" for address in addresses))

    def heal(self):
        self._trouble.unlink(missing_ok=True)

    def remove(self):
        """The tools are gone, until put_back()."""
        os.rename(self.bin, self.directory / "away")

    def put_back(self):
        os.rename(self.directory / "away", self.bin)
