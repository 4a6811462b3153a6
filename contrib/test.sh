#!/bin/bash
# Runs every test there is: installs what is missing, builds in build/test-*, goes on after a failure so
# that one run shows all of them, and ends with a count. Exit code 0 only if every stage passed.
#
#     contrib/test.sh [STAGE...]      only these stages, named at the end; a check needs its build's stage
#
# Stages run in lanes side by side where two processors can be used and nothing is spoilt by it: what only
# computes beside what only computes, what mostly waits beside its like or beside what gives way.
#
# FUZZ_SECONDS (default 20) bounds each fuzzer.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

jobs=-j$(nproc)
fuzz_seconds=${FUZZ_SECONDS:-20}
logs=$top/build/test-logs
chosen=("$@")

gcc_build=$top/build/test-gcc
clang_build=$top/build/test-clang
san_build=$top/build/test-san
fuzz_build=$top/build/test-fuzz

# What a report of the sanitizers must do: name functions, end the process.
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=1:detect_leaks=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}

build_gcc() {
	configure_in "$gcc_build" CC=gcc --enable-werror && make -C "$gcc_build" "$jobs" check TESTS=
}

build_clang() {
	configure_in "$clang_build" CC=clang --enable-werror && make -C "$clang_build" check TESTS=
}

build_san() {
	configure_in "$san_build" CC=gcc --enable-werror --enable-sanitizers CFLAGS='-O1 -g' &&
		make -C "$san_build" check TESTS=
}

build_fuzz() {
	configure_in "$fuzz_build" CC=clang --enable-fuzzer --enable-sanitizers CFLAGS='-O1 -g' &&
		make -C "$fuzz_build" all
}

# One test at a time: several measure what happens at once. They mostly wait, so that several builds'
# checks, and valgrind's, leave each other the processors.
check_clang() {
	make -C "$clang_build" check
}

check_san() {
	make -C "$san_build" check
}

# It has the processors when tests leave them idle.
lint() {
	nice -n 15 make -C "$gcc_build" lint
}

# make check-netns as root, since it makes network namespaces: half of the tests in each of two runs, which
# mostly wait. netns_of BUILD [PYTEST_ARGS]
netns_of() {
	local half status=0 pids=()
	make -C "$1" "$jobs" all || return
	for half in 1 2; do
		as_root env ASAN_OPTIONS="$ASAN_OPTIONS" UBSAN_OPTIONS="$UBSAN_OPTIONS" \
			PORTALD_BACKENDS="${PORTALD_BACKENDS:-iptables-nft}" make -C "$1" check-netns \
			PYTEST_ARGS="--shard=$half/2 ${2:-}" >"$1/netns-$half.log" 2>&1 &
		pids+=($!)
	done
	for half in 1 2; do
		wait "${pids[half - 1]}" || status=$?
	done
	cat "$1/netns-1.log" "$1/netns-2.log"
	return $status
}

netns_gcc() {
	netns_of "$gcc_build"
}

# What makes the processes work hard; the many variants of rules and choices ran without the sanitizers. There
# it was over one way of steering, but for some tests; here each test takes another one.
netns_san() {
	PORTALD_BACKENDS=each netns_of "$san_build" "-k 'test_relay or test_roles or test_reload or test_udp or test_options or test_run'"
}

valgrind() {
	make -C "$gcc_build" "$jobs" check-valgrind
}

fuzz() {
	make -C "$fuzz_build" fuzz FUZZ_SECONDS="$fuzz_seconds"
}

demo() {
	"$top/contrib/demo/demo.sh" "$gcc_build/portald"
}

install_() {
	rm -rf "$gcc_build/installed"
	make -C "$gcc_build" install DESTDIR="$gcc_build/installed" &&
		"$gcc_build/installed/usr/local/sbin/portald" --version &&
		test -s "$gcc_build/installed/usr/local/share/man/man8/portald.8"
}

distcheck() {
	make -C "$gcc_build" distcheck
}

deb() {
	as_root make -C "$gcc_build" check-deb
}

is_chosen() {
	local one
	[ ${#chosen[@]} -gt 0 ] || return 0
	for one in "${chosen[@]}"; do
		[ "$one" != "$1" ] || return 0
	done
	return 1
}

# The counts that make check, pytest and the fuzzers print.
summary_of() {
	grep -hE '^# (PASS|FAIL|ERROR): *[1-9]|^=* ?[0-9]+ (passed|failed).* in |^lint: |^fuzz: .* inputs in ' "$1" |
		sed 's/^=* *//; s/ *=*$//; s/^# //; s/  */ /g' | paste -sd';' | sed 's/;/; /g'
}

# Prints its input in one piece: lanes print side by side.
print_whole() {
	flock "$logs" cat
}

# stage NAME FUNCTION [BUILD]: runs it with its output in a log, which is shown if it fails, and notes in a
# file how it went. BUILD is the stage without which it cannot run.
stage() {
	local name=$1 log=$logs/$1.log start=$SECONDS status=0
	is_chosen "$name" || return 0
	if [ -n "${3:-}" ] && [ "$(cat "$logs/$3.status" 2>/dev/null)" = failed ]; then
		echo failed >"$logs/$name.status"
		printf '== %-12s FAIL         (there is no build: %s failed)\n' "$name" "$3" | print_whole
		return
	fi
	"$2" >"$log" 2>&1 </dev/null || status=$?
	if [ $status -eq 0 ]; then
		echo passed >"$logs/$name.status"
		printf '== %-12s ok   %4d s  %s\n' "$name" $((SECONDS - start)) "$(summary_of "$log")" | print_whole
		return
	fi
	echo failed >"$logs/$name.status"
	{
		printf '== %-12s FAIL %4d s  (exit code %d) %s\n' "$name" $((SECONDS - start)) $status "$log"
		grep -nE '^FAIL:|^FAILED |\*\*\*|: error: |^E  ' "$log" | head -n 40 | sed 's/^/    > /'
		tail -n 100 "$log" | sed 's/^/    | /'
	} | print_whole
}

# The names of the stages that went so.
stages_that() {
	{ grep -lsx "$1" "$logs"/*.status || true; } | sed 's|.*/||; s|\.status$||' | paste -sd' '
}

install_packages build test
bootstrap
mkdir -p "$logs"
rm -f "$logs"/*.status

if [ ${#chosen[@]} -gt 0 ]; then
	say "only: ${chosen[*]}"
fi

stage gcc build_gcc

{
	stage fuzz-build build_fuzz
	stage clang build_clang
} &
stage san build_san &
wait
stage fuzz fuzz fuzz-build

stage lint lint gcc &
{
	stage gcc-netns netns_gcc gcc
	stage san-netns netns_san san
} &
wait

# distcheck runs make check with gcc, from what a release has.
stage distcheck distcheck gcc &
stage san-check check_san san &
{
	stage clang-check check_clang clang
	stage install install_ gcc
	stage demo demo gcc
	stage deb deb gcc
} &
stage valgrind valgrind gcc &
wait

failed=$(stages_that failed)
printf '== %d passed, %d failed%s, %d s\n' "$(stages_that passed | wc -w)" "$(wc -w <<<"$failed")" \
	"${failed:+ ($failed)}" "$SECONDS"
[ -z "$failed" ]
