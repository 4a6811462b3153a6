#!/bin/bash
# Shows portald on one screen, with nothing to type and no root: demo.sh PORTALD
#
# Starts three backends on this machine's loopback, then inside.sh under `portald run`, which asks them
# through a Service. Everything is stopped at the end.
set -euo pipefail

portald=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
pids=()

finish() {
	kill "${pids[@]}" 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT

# start NAME ADDRESS: a backend; waits until it answers.
start() {
	local tries
	python3 "$here/backend.py" "$1" "$2" 9376 2>"$work/$1.log" &
	pids+=($!)
	disown # or else bash reports its end on the screen
	for tries in {1..100}; do
		[ "$(curl -s --noproxy "*" -m 1 "http://$2:9376/" || true)" != "$1" ] || return 0
		kill -0 "${pids[-1]}" 2>/dev/null || break
		sleep 0.05
	done
	echo "demo: the backend $1 does not answer on $2:9376 ($tries tries)" >&2
	tail -n 1 "$work/$1.log" >&2
	exit 1
}

start red 127.0.0.11
start green 127.0.0.12
start blue 127.0.0.13

echo 'Three backends on this machine: red 127.0.0.11:9376, green 127.0.0.12:9376, blue 127.0.0.13:9376'
echo 'A Service in front of them:     demo/colour 10.97.97.97:6379'
echo
echo '$ portald run -f contrib/demo/manifests.yaml -- contrib/demo/inside.sh'

status=0
GREEN_PID=${pids[1]} "$portald" run -f "$here/manifests.yaml" -- "$here/inside.sh" 2>"$work/portald.log" || status=$?
if [ $status -ne 0 ]; then
	echo "demo: portald run ended with code $status and said:" >&2
	tail -n 15 "$work/portald.log" >&2
	cat >&2 <<END

Where user namespaces are forbidden, portald can do without: it then listens on loopback, without rules.
    $portald --steering=none -f $here/manifests.yaml
END
	exit $status
fi
