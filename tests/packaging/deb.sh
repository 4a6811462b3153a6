#!/bin/bash
# Builds the Debian package from a release's files, checks it with lintian, and installs, runs and removes it: in a
# copy of this machine's file system (an overlay) that a systemd of its own boots, with the unit's watchdog and
# hardening in force. Nothing of it is left on the machine.
#
#     tests/packaging/deb.sh DISTDIR      DISTDIR: as `make distdir` makes it
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
timeout_seconds=120

say() {
	printf '== %s\n' "$*"
}

fail() {
	printf 'deb.sh: %s\n' "$*" >&2
	exit 1
}

need() {
	command -v "$1" >/dev/null || fail "needs $1 (Debian: $2)"
}

build() {
	say 'build'
	mkdir "$work/build"
	cp -a "$1" "$work/build/portald"
	if ! (cd "$work/build/portald" && DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)" \
		dpkg-buildpackage -us -uc -b) >"$work/build.log" 2>&1; then
		tail -n 60 "$work/build.log"
		fail 'the package cannot be built'
	fi
	mv "$work"/build/portald_*.deb "$work/portald.deb"
}

check() {
	say 'lintian'
	lintian --allow-root --fail-on error,warning "$work/portald.deb"
}

# The system reports by files in $work/shared.
boot() {
	local pid waited=0 shared=$work/shared
	if [ ! -x /lib/systemd/systemd ]; then
		say 'not installed: there is no systemd on this machine'
		return
	fi
	say 'install, run, remove'
	mkdir "$shared"
	cp "$work/portald.deb" "$here/deb_unit.sh" "$here/../../contrib/demo/backend.py" \
		"$here/../../contrib/demo/manifests.yaml" "$shared"
	unshare --mount --net --uts --ipc --pid --cgroup --fork --kill-child --propagation private \
		"$here/deb_boot.sh" "$work" "$shared" >"$work/boot.log" 2>&1 </dev/null &
	pid=$!
	until [ -e "$shared/result" ] || ! kill -0 $pid 2>/dev/null || [ $((waited++)) -ge $((timeout_seconds * 5)) ]; do
		sleep 0.2
	done
	# unshare ignores what would end it in good order.
	kill -KILL $pid 2>/dev/null || true
	wait $pid 2>/dev/null || true
	[ -s "$shared/result" ] || cat "$work/boot.log"
	cat "$shared/log" 2>/dev/null || true
	[ "$(cat "$shared/result" 2>/dev/null)" = ok ] || fail 'the package does not work as it should'
}

[ $# -eq 1 ] || fail 'which directory?'
[ "$(id -u)" -eq 0 ] || fail 'it boots a copy of the system: run it as root'
need dpkg-buildpackage dpkg-dev
need dh debhelper
need lintian lintian
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build "$1"
check
boot
say 'done'
