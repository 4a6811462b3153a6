#!/bin/bash
# What demo.sh runs inside the namespace that `portald run` made. GREEN_PID: the backend to kill.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

url=http://10.97.97.97:6379/
failed=0

# Thirty requests, each a connection of its own; prints who answered how often.
ask() {
	local answers='' answer
	echo "  \$ curl $url    (30 times)"
	for _ in {1..30}; do
		if answer=$(curl -sS --noproxy "*" -m 5 "$url"); then
			answers+=$answer$'\n'
		else
			failed=$((failed + 1))
			answers+=$'failed\n'
		fi
	done
	sort <<<"${answers%$'\n'}" | uniq -c | awk '{ printf "  %8s %s", $1, $2 } END { print "" }'
}

ask
echo "  \$ kill green"
kill "$GREEN_PID"
ask
echo "  \$ iptables -t nat -S | grep KUBE-PORTALS"
iptables -t nat -S | grep KUBE-PORTALS | sed 's/^/    /'
echo
if [ $failed -gt 0 ]; then
	echo "$failed of 60 requests failed."
	exit 1
fi
echo '60 requests, none failed.'
