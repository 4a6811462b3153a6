# Shared by the scripts in this directory; sourced, never run. Expects set -euo pipefail.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
	printf '== %s\n' "$*"
}

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# The packages of the named sections of packages.txt.
packages_of() {
	local section
	for section; do
		awk -v wanted="[$section]" '
			{ sub(/#.*/, "") }
			/^\[/ { on = ($1 == wanted); next }
			on && NF { print $1 }' "$top/contrib/packages.txt"
	done
}

# Which of the packages given are not installed.
packages_missing() {
	local installed
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
	printf '%s\n' "$@" | grep -vxF "$installed" || true
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "not root and no sudo; run as root: $*"
	fi
}

# Runs a command of apt-get that starts no server of a package that has one: they are wanted for their tools.
without_servers() {
	local policy=/usr/sbin/policy-rc.d made='' rc=0
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin $policy
		made=yes
	fi
	as_root "$@" || rc=$?
	[ -z "$made" ] || as_root rm $policy
	return $rc
}

# Installs what is missing of the named sections. Where everything is there it takes no time and needs
# neither root nor a network.
install_packages() {
	local wanted missing
	mapfile -t wanted < <(packages_of "$@")
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		say "not a Debian system: going on without installing. Needed, by Debian's names:"
		printf '%s\n' "${wanted[*]}" | fold -s -w 100
		return
	fi
	mapfile -t missing < <(packages_missing "${wanted[@]}")
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installing ${missing[*]}"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
	without_servers env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
}

# Makes configure where it is missing or older than what it is made from.
bootstrap() {
	if [ ! -x "$top/configure" ] || [ ! -f "$top/Makefile.in" ] ||
		[ -n "$(find "$top" -name .git -prune -o -name build -prune -o \
			\( -name '*.mk' -o -name Makefile.am -o -name configure.ac \) \
			-newer "$top/Makefile.in" -print -quit)" ]; then
		say 'making configure'
		(cd "$top" && autoreconf -fi >/dev/null 2>"$top/autoreconf.log") || {
			cat "$top/autoreconf.log" >&2
			die 'autoreconf failed'
		}
		rm -f "$top/autoreconf.log"
		touch "$top/Makefile.in"
	fi
}

# configure_in DIRECTORY [ARGUMENT...]: configures there unless it was, with the same arguments.
configure_in() {
	local directory=$1
	shift
	mkdir -p "$directory"
	if [ -f "$directory/Makefile" ] && [ "$(cat "$directory/.arguments" 2>/dev/null)" = "$*" ]; then
		return
	fi
	(cd "$directory" && "$top/configure" -q "$@")
	printf '%s' "$*" >"$directory/.arguments"
}
