#!/bin/bash
# What becomes of the package in a running system. Runs there as a service; /mnt is shared with deb.sh.
set -euo pipefail

url=http://10.97.97.97:6379/
result=failed

finish() {
	[ $result = ok ] || cat /mnt/portald.log 2>/dev/null
	echo $result >/mnt/result
}
trap finish EXIT

say() {
	printf -- '-- %s\n' "$*"
}

fail() {
	printf 'FAILED: %s\n' "$*"
	exit 1
}

property() {
	systemctl show --value --property "$1" portald
}

# until_true SECONDS WHAT COMMAND...
until_true() {
	local left=$(($1 * 10)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $((left--)) -gt 0 ] || fail "waited in vain until $what"
		sleep 0.1
	done
}

is_active() {
	[ "$(property ActiveState)" = active ]
}

asks_well() {
	[ "$(curl -sS --noproxy '*' -m 5 $url)" = red ]
}

has_rules() {
	iptables-save | grep -q KUBE-
}

has_other_pid_than() {
	[ "$(property MainPID)" -gt 0 ] && [ "$(property MainPID)" != "$1" ] && is_active
}

files() {
	find /etc /usr /lib/systemd ! -name '*-' ! -name '*.cache' ! -path '/etc/.pwd.lock' | sort
}

user_of() {
	ps -o user= -p "$(pgrep -f "^portald: $1$")"
}

prepare() {
	dpkg --purge portald || true
	mkdir -p /etc/systemd/system/portald.service.d
	printf '[Service]\nStandardError=append:/mnt/portald.log\nWatchdogSec=2s\n' \
		>/etc/systemd/system/portald.service.d/test.conf
	python3 -B /mnt/backend.py red 127.0.0.11 9376 &
	until_true 20 'the backend answers' curl -sS --noproxy '*' http://127.0.0.11:9376/
}

install() {
	say 'install'
	dpkg --install /mnt/portald.deb
	getent passwd portald | grep -q ':/usr/sbin/nologin$' || fail 'there is no user portald'
	! is_active || fail 'it was started though nobody asked for it'
	! systemctl -q is-enabled portald || fail 'it was enabled though nobody asked for it'
	test -s /usr/share/man/man8/portald.8.gz || fail 'there is no manual page'
}

# One of the demo's three backends is there: what the others refuse is to cost no request.
run() {
	say 'run'
	cp /mnt/manifests.yaml /etc/portald/manifests/
	systemctl enable --now portald
	is_active || fail 'it is said to be ready but not active'
	[ "$(property StatusText)" = Serving ] || fail "its status is $(property StatusText)"
	asks_well || fail 'the Service does not answer'
	[ "$(user_of control) $(user_of 'relay 0')" = 'portald portald' ] || fail 'it does not run as portald'
	systemctl --no-pager status portald
}

# What needs the unit's directory and sockets: the health and metrics addresses, the status socket.
tell() {
	say 'it tells how it is'
	curl -sS --noproxy '*' -m 5 http://127.0.0.1:10256/healthz
	curl -sS --noproxy '*' -m 5 http://127.0.0.1:10249/proxyMode
	portald status
	setpriv --reuid=nobody --regid=nogroup --groups=portald portald status >/dev/null ||
		fail 'a member of the group portald is told nothing'
	! setpriv --reuid=nobody --regid=nogroup --clear-groups portald status >/dev/null 2>&1 ||
		fail 'a stranger is told the status'
}

# The connection that is descriptor 3, which is closed.
still_answers() {
	local status
	printf 'GET / HTTP/1.0\r\n\r\n' >&3
	read -r _ status _ <&3
	exec 3<&-
	[ "$status" = 200 ]
}

says_serving() {
	[ "$(property StatusText)" = Serving ]
}

is_gone() {
	! kill -0 "$1"
}

# The connection is there before and after; the new main process is one that systemd watches.
reload() {
	local pid
	say 'a reload executes the program anew, and a connection goes on'
	exec 3<>/dev/tcp/10.97.97.97/6379
	for _ in 1 2; do
		pid=$(property MainPID)
		systemctl reload portald
		until_true 30 'another process is the main one' has_other_pid_than "$pid"
		asks_well || fail 'the Service does not answer'
	done
	still_answers || fail 'the connection was cut'
	until_true 30 'the old processes have ended' is_gone "$pid"
	[ "$(property NRestarts)" = 0 ] || fail 'it was started again'
	until_true 20 'it is said to serve' says_serving
	curl -sS --noproxy '*' -m 5 http://127.0.0.1:10256/healthz
	portald status >/dev/null
}

watchdog() {
	local pid
	say 'a supervisor that hangs is replaced'
	pid=$(property MainPID)
	kill -STOP "$pid"
	until_true 30 'the watchdog has acted' has_other_pid_than "$pid"
	until_true 20 'the Service answers again' asks_well
}

upgrade() {
	local pid
	say 'an upgrade of the package starts the new program, and a connection goes on'
	until_true 20 'it serves' asks_well
	pid=$(property MainPID)
	exec 3<>/dev/tcp/10.97.97.97/6379
	dpkg --install /mnt/portald.deb
	until_true 30 'another process is the main one' has_other_pid_than "$pid"
	asks_well || fail 'the Service does not answer'
	still_answers || fail 'the connection was cut'
}

remove() {
	say 'remove'
	dpkg --remove portald
	! has_rules || fail 'the removal left rules'
	! pgrep -f '^portald: ' || fail 'the removal left processes'
	test -e /etc/default/portald || fail 'a configuration file went with the removal'
	rm /etc/portald/manifests/manifests.yaml
	dpkg --purge portald
}

prepare
files >/tmp/before
install
run
tell
reload
watchdog
upgrade
remove
files >/tmp/after
diff /tmp/before /tmp/after || fail 'the purge left files'
result=ok
